//! An event: an accepted record, as stores keep it and readers see it.

use crate::limits::HEADER_MEMORY_BYTES;
use crate::marker::{ID_HEADER, is_reserved};
use crate::{Header, Offset, Order, Partition, Record, Stamp, TimestampMs};
use bytes::Bytes;
use std::ops::Range;

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

/// An event without its content: where it is, who wrote it, and which append it begins.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct EventOutline {
    /// Its place in its aggregate, within its partition.
    pub order: Order,
    /// Where its record lies.
    pub partition: Partition,
    /// Where its record lies in the partition.
    pub offset: Offset,
    /// The log's timestamp; old message formats have none.
    pub timestamp: Option<TimestampMs>,
    /// Who wrote it, when BKES did.
    pub stamp: Option<Stamp>,
    /// The id of the append that it begins, if that has one.
    pub append_id: Option<Bytes>,
}

impl EventOutline {
    /// The orders of the append that it is of.
    pub fn append(&self) -> Range<Order> {
        Stamp::append_of(self.stamp, self.order)
    }
}

impl StoredEvent {
    /// The orders of the append that it is of.
    pub fn append(&self) -> Range<Order> {
        Stamp::append_of(self.stamp, self.order)
    }

    /// Value and headers together, as the limits of reads count them: each header with what it takes in memory beside its bytes.
    pub fn content_bytes(&self) -> usize {
        content_bytes(self.value.len(), &self.headers)
    }

    /// The id of the append that this event begins, if that has one.
    pub fn append_id(&self) -> Option<&Bytes> {
        append_id(self.stamp, &self.headers)
    }

    /// The event without its content.
    pub fn outline(&self) -> EventOutline {
        let append_id = self.append_id().cloned();
        let StoredEvent { order, partition, offset, timestamp, stamp, .. } = *self;
        EventOutline { order, partition, offset, timestamp, stamp, append_id }
    }
}

/// What a value of so many bytes and these headers take in memory. A header with nothing in it takes 64 bytes all the same: without them
/// a page of a thousand such headers an event would be as large as one likes.
pub fn content_bytes(value_bytes: usize, headers: &[Header]) -> usize {
    let of = |header: &Header| header.bytes() + HEADER_MEMORY_BYTES as usize;
    value_bytes + headers.iter().map(of).sum::<usize>()
}

/// The id of the append that an event begins, by its stamp and its headers: the first member of what BKES wrote has one if its writer
/// gave one.
pub(crate) fn append_id(stamp: Option<Stamp>, headers: &[Header]) -> Option<&Bytes> {
    let is_first = stamp.is_some_and(|stamp| stamp.i() == 1);
    let header = headers.iter().find(|header| is_first && header.name == ID_HEADER)?;
    header.value.as_ref().filter(|id| !id.is_empty())
}
