//! New beginnings of folds: of all, where the store fell back or was emptied, and of one, whose partition was dropped.
//!
//! What is in flight stays: the new fold meets it, or its time ends. What was answered must be back before anything is served, unless
//! the log lost it.

use super::Owner;
use crate::writer::Shown;
use bkes_core::planted::{Bug, planted};
use bkes_core::{Incarnation, Partition, Position};
use bkes_storage::Loaded;
use std::sync::Arc;
use std::sync::atomic::Ordering;

/// How every fold begins anew.
#[derive(Clone)]
pub struct Restart {
    /// Where.
    pub loaded: Arc<Loaded>,
    /// The epoch of the overlay.
    pub epoch: u64,
    /// The epoch of each partition.
    pub of_partitions: u64,
    /// What that means for what was shown.
    pub shown: Shown,
}

impl Owner {
    /// Every fold begins anew.
    pub(super) fn restart(&mut self, restart: &Restart) {
        self.epoch = restart.epoch;
        self.in_step = false;
        self.read_retry_at = 0;
        self.context.overlay.restart(self.index, restart.epoch);
        let given_up = self.take_new_name();
        let partitions: Vec<Partition> = self.partitions.keys().copied().collect();
        for partition in partitions {
            self.begin_anew(partition, &restart.loaded, (restart.of_partitions, restart.shown), given_up);
        }
    }

    /// The fold of one partition begins anew, and the others go on.
    pub(super) fn dropped(&mut self, partition: Partition, epoch: u64, shown: Shown) {
        if !self.partitions.contains_key(&partition) {
            return;
        }
        self.context.overlay.forget(self.index, partition);
        let given_up = self.take_new_name();
        self.begin_anew(partition, &Loaded::default(), (epoch, shown), given_up);
        // The writer waited for this with what the other partitions have in the overlay.
        self.context.writer.applied(self.is_overlay_full());
    }

    /// What was numbered so far may rest on what a new fold does not find: others tell it by its name. Returns that name.
    fn take_new_name(&mut self) -> Incarnation {
        let given_up = std::mem::replace(&mut self.incarnation, (self.context.draw)());
        self.partitions.values_mut().for_each(|owned| owned.sequencer.renew(self.incarnation));
        given_up
    }

    /// The fold of a partition begins anew. What is in flight stays: the new fold meets it, or its time ends.
    fn begin_anew(
        &mut self,
        partition: Partition,
        loaded: &Loaded,
        (epoch, shown): (u64, Shown),
        given_up: Incarnation,
    ) {
        let owned = self.partitions.get_mut(&partition).expect("the caller found it");
        owned.premises.gave_up(given_up);
        let board = Arc::clone(&owned.board);
        board.awaited_end.store(0, Ordering::Relaxed);
        let held = loaded.checkpoints.iter().find(|(held, _)| *held == partition);
        let low = Position(board.low.load(Ordering::Acquire));
        let is_lost = board.mend(shown, held.map_or(low, |(_, checkpoint)| checkpoint.position));
        // What was answered since the new beginning was decided on must be back too, before anything is served; unless the log
        // lost it.
        if !is_lost && !planted(Bug::FallBackUnnoticed) {
            board.target.fetch_max(owned.checkpoint.position.0, Ordering::AcqRel);
        }
        self.adopt(board, loaded, epoch);
    }
}
