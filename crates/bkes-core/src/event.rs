//! An event: an accepted record, as stores keep it and readers see it.

use crate::marker::is_reserved;
use crate::{Header, Offset, Order, Partition, Record, Stamp, TimestampMs};
use bytes::Bytes;

/// An event as the store keeps it.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct StoredEvent {
    /// Its place in its aggregate, within its partition.
    pub order: Order,
    /// Where its record lies.
    pub partition: Partition,
    /// Where its record lies in the partition.
    pub offset: Offset,
    /// The log's timestamp; old message formats have none.
    pub timestamp: Option<TimestampMs>,
    /// The value; empty for a tombstone.
    pub value: Bytes,
    /// Whether the record's value was null.
    pub tombstone: bool,
    /// Who wrote it, when BKES did.
    pub stamp: Option<Stamp>,
    /// The record's headers. Of a marked record the two reserved ones are not among them.
    pub headers: Vec<Header>,
}

impl StoredEvent {
    /// The event that an accepted record is, at this order; `stamp` if BKES wrote it.
    pub fn of(record: Record, order: Order, stamp: Option<Stamp>) -> StoredEvent {
        let Record { partition, offset, timestamp, value, mut headers, .. } = record;
        if stamp.is_some() {
            // Collected anew, so that no room is held for those that are left out.
            headers = headers.iter().filter(|header| !is_reserved(header)).cloned().collect();
        }
        let tombstone = value.is_none();
        let value = value.unwrap_or_default();
        StoredEvent { order, partition, offset, timestamp, value, tombstone, stamp, headers }
    }
}
