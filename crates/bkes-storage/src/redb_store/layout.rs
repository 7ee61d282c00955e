//! The words of the file: where events and large values lie, which streams there are, and what of them is dead.

use bkes_core::{Order, Partition};
use std::collections::BTreeMap;

/// Events of a stream from one mark to the next, at most. A walk that skips so many costs about 10 us.
pub const MARK_EVENTS: u64 = 64;

/// Bytes of rows and their large values from one mark to the next, but for the last row: what a read holds beside what it returns.
pub const MARK_BYTES: u64 = 64 * 1024;

/// A row's place is its block's number and, in the lowest bits, where in the block it begins.
pub const OFFSET_BITS: u32 = 14;

/// Where a row lies in the log table. Places rise in the order of writing.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub struct Place(pub u64);

impl Place {
    /// Of a row that begins so far into a block.
    pub fn new(block: u64, offset: usize) -> Place {
        Place(block << OFFSET_BITS | offset as u64)
    }

    /// The block's number.
    pub fn block(self) -> u64 {
        self.0 >> OFFSET_BITS
    }

    /// Where in the block it begins.
    pub fn offset(self) -> usize {
        (self.0 & ((1 << OFFSET_BITS) - 1)) as usize
    }
}

/// Which event a row of the log table is: it goes into the checksum, so that a row in the wrong place is noticed.
#[derive(Clone, Copy)]
pub struct Slot {
    pub stream: u64,
    pub order: Order,
}

impl Slot {
    pub fn context(self) -> [u8; 16] {
        let mut context = [0; 16];
        context[..8].copy_from_slice(&self.stream.to_le_bytes());
        context[8..].copy_from_slice(&self.order.0.to_le_bytes());
        context
    }
}

/// Where a large value lies, and its sum.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Large {
    /// The block that it begins with.
    pub block: u64,
    pub bytes: u64,
    /// CRC-32C of the context of the event's row, and of the value.
    pub sum: u32,
}

/// One partition's share of an aggregate, and where its last event lies in the log table.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Part {
    pub partition: Partition,
    pub stream: u64,
    pub base: Order,
    pub next: Order,
    /// The place of the last event.
    pub last: Place,
    /// Events, and bytes of their rows, since the last mark.
    pub unmarked: u64,
    pub unmarked_bytes: u64,
}

/// What is dead of partitions that were dropped, and not swept yet.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Dropped(pub BTreeMap<Partition, Dead>);

/// Of one partition.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Dead {
    /// Its streams below this one.
    pub streams: u64,
    /// Its rows in the blocks below this one.
    pub blocks: u64,
    /// What of it is swept.
    pub swept: Swept,
}

/// How far sweeping has come.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Swept {
    /// Through the rows of aggregates, up to this one; empty at the beginning.
    Rows(Vec<u8>),
    /// Through all of them, and the blocks below this one.
    Blocks(u64),
}

impl Dropped {
    /// Leaves the parts of an aggregate that are not dead.
    pub fn retain_alive(&self, parts: &mut Vec<Part>) {
        if !self.0.is_empty() {
            parts.retain(|part| !self.is_dead(part));
        }
    }

    /// Whether a part of an aggregate is of a partition as it was before it was dropped.
    pub fn is_dead(&self, part: &Part) -> bool {
        self.0.get(&part.partition).is_some_and(|dead| part.stream < dead.streams)
    }

    /// Whether the rows of a partition in a block are.
    pub fn is_dead_in(&self, block: u64, partition: Partition) -> bool {
        self.0.get(&partition).is_some_and(|dead| block < dead.blocks)
    }
}
