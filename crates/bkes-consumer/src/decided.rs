//! What a partition's records come to once they are decided.

use bkes_core::{Key, Offset, Partition, Position, Stamp, StoredEvent, VoidReason};
use std::slice;

/// Something that was decided. Every record is in exactly one, once it is decided; every offset without a record is in a gap.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Decided {
    /// Events: one, or all of a batch, which comes whole where its last member lies.
    Events(Decision),
    /// A record that BKES wrote and that is not an event.
    Void(VoidRecord),
    /// A record without a key: not an event of anything.
    Skipped {
        /// The partition.
        partition: Partition,
        /// Where it lies.
        offset: Offset,
    },
    /// Offsets without records that can be read: marks and aborted records of transactions, or what was removed.
    Gap {
        /// The partition.
        partition: Partition,
        /// The first of them.
        from: Position,
        /// Behind the last of them.
        to: Position,
    },
    /// The record that is decided next shows that the head of the partition's log was removed after events had been numbered there
    /// (docs/consistency.md, P21): orders may be others than those of whoever still has the head. It is told once.
    Cut {
        /// The partition.
        partition: Partition,
        /// The record that shows it.
        offset: Offset,
    },
}

/// Events of one aggregate that were decided together.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Decision {
    /// The aggregate.
    pub key: Key,
    /// Who wrote them.
    pub writer: Writer,
    /// Whether the aggregate had no event in this partition before.
    pub is_first: bool,
    /// The events.
    pub events: Events,
}

/// Who wrote an event.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Writer {
    /// BKES.
    Bkes,
    /// A producer that knows nothing of it.
    Foreign,
    /// The same, and the record carries the marker of another one.
    Forwarded,
}

/// One event, or those of a batch.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Events {
    /// One.
    One(StoredEvent),
    /// Those of a batch, in their order.
    Batch(Vec<StoredEvent>),
}

impl Events {
    /// All of them.
    pub fn as_slice(&self) -> &[StoredEvent] {
        match self {
            Events::One(event) => slice::from_ref(event),
            Events::Batch(events) => events,
        }
    }

    /// The last one: there is one at least.
    pub fn last(&self) -> &StoredEvent {
        match self {
            Events::One(event) => event,
            Events::Batch(events) => events.last().expect("a batch has events"),
        }
    }
}

/// A record that is not an event.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct VoidRecord {
    /// The aggregate it was meant for.
    pub key: Key,
    /// The partition.
    pub partition: Partition,
    /// Where it lies. A member of a batch lies below the record that decided it.
    pub offset: Offset,
    /// Who numbered it.
    pub stamp: Stamp,
    /// Why it is none.
    pub reason: VoidReason,
}
