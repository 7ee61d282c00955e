//! The accept rule: a state machine over the records of one partition.

use crate::{Key, Offset, Order, Record};

/// What the rule remembers of one incarnation in one partition.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct IncarnationState {
    /// The highest number seen.
    pub top: u64,
    /// Where its last record lay.
    pub last_offset: Offset,
    /// The batch whose last member was not seen yet.
    pub open: Option<OpenBatch>,
}

/// The members of a batch that is not decided yet.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct OpenBatch {
    /// The aggregate all members belong to.
    pub key: Key,
    /// The order the first member names.
    pub first: Order,
    /// How many members the batch says it has.
    pub count: u32,
    /// Bytes of keys and values so far.
    pub bytes: usize,
    /// The records seen so far, whole, from the first.
    pub members: Vec<Record>,
}
