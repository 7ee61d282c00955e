//! Turns: partitions with much to read are caught up one after another.
//!
//! Read side by side, a transaction gets a little of every partition; read in turn, it gets much of one. Then more events of an
//! aggregate meet in it, and those of one share a row and neighbours a page: of a million records in five partitions that saves
//! a third of the writer's work. Those with little to read come first, and what is caught up is followed at once.

use super::{Owned, Owner};
use crate::limits::TURN_PATIENCE_MS;
use bkes_core::Partition;
use bkes_core::planted::{Bug, planted};
use bkes_core::sequence::NowMs;
use std::sync::atomic::Ordering;

/// Whose turn it is.
#[derive(Debug, Default)]
pub struct Turns {
    /// Whether a partition may wait.
    waiting: bool,
    /// What is left to read of those that are read, and since when it has been as much; none before that was looked at.
    left: Option<u64>,
    since: NowMs,
}

impl Turns {
    /// A partition waits from here on.
    pub fn begin(&mut self) {
        *self = Turns { waiting: true, left: None, since: self.since };
    }
}

impl Owner {
    /// Begins to read the partitions whose turn has come: while less than `catch_up_records` is left to read of others, or when
    /// those give nothing.
    pub(super) fn take_turns(&mut self, now: NowMs) {
        if !self.turns.waiting {
            return;
        }
        let reading = self.partitions.values().filter(|owned| owned.is_read());
        let mut left: u64 = reading.map(|owned| owned.left()).sum();
        // That nothing is read while the writer is behind says nothing of a partition.
        if self.turns.left != Some(left) || self.is_reading_paused(now) {
            (self.turns.left, self.turns.since) = (Some(left), now);
        }
        let mut is_stuck = now >= self.turns.since + TURN_PATIENCE_MS;
        while let Some((more, partition)) = self.next_turn() {
            let is_due = more == 0 || left == 0 || left < self.context.options.catch_up_records;
            if !is_due && !std::mem::take(&mut is_stuck) {
                return;
            }
            left += more;
            (self.turns.left, self.turns.since) = (Some(left), now);
            let owned = self.partitions.get_mut(&partition).expect("just found");
            owned.waits = false;
            self.reader.assign(partition, owned.reading_start());
        }
        self.turns.waiting = false;
    }

    /// When another partition gets its turn for the time alone.
    pub(super) fn turn_deadline(&self) -> Option<NowMs> {
        self.turns.waiting.then_some(self.turns.since + TURN_PATIENCE_MS)
    }

    /// The waiting partition with the least to read, and how much that is.
    fn next_turn(&self) -> Option<(u64, Partition)> {
        let waiting = self.partitions.iter().filter(|(_, owned)| owned.waits);
        waiting.map(|(partition, owned)| (owned.left(), *partition)).min()
    }
}

impl Owned {
    /// Whether what the reader gives of it counts.
    pub(super) fn is_read(&self) -> bool {
        self.lost.is_none() && !self.waits() && !self.is_overtaken()
    }

    /// Whether its turn has not come yet.
    pub(super) fn waits(&self) -> bool {
        self.waits && !planted(Bug::TurnNotAwaited)
    }

    /// Offsets to apply until it is served, as far as is known.
    fn left(&self) -> u64 {
        if self.is_caught_up() {
            return 0;
        }
        self.board.stable.load(Ordering::Acquire).saturating_sub(self.checkpoint.position.0)
    }
}
