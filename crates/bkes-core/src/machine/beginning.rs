//! Beginnings of folds: at a start, where the store fell back or was emptied, and where the partition was dropped.
//!
//! What is in flight stays: the new fold meets it, or its time ends. What was answered must be back before anything is served, unless
//! the log lost it.

use super::readback::Readback;
use super::tally::Strangers;
use super::{Beginning, Notice, PartitionMachine, Shown};
use crate::{AcceptRule, Checkpoint, Incarnation, Position};

impl<T> PartitionMachine<T> {
    /// The name under which records are numbered is another one.
    pub(super) fn on_renamed(&mut self, name: Incarnation, given_up: Option<Incarnation>) {
        self.sequencer.renew(name);
        if let Some(given_up) = given_up {
            self.premises.gave_up(given_up);
        }
    }

    /// The fold begins anew.
    pub(super) fn on_begin_anew(&mut self, beginning: Beginning) {
        let position = beginning.checkpoint.map_or(self.marks.low, |checkpoint| checkpoint.position);
        if self.degradation.as_ref().is_some_and(|reason| !reason.outlasts(beginning.shown, position)) {
            self.mended();
        }
        let applied = self.checkpoint.position;
        self.target = match beginning.shown {
            // The next answer about the log says what to reach.
            Shown::IsVoid => None,
            // What was answered must be back before anything is served.
            Shown::MustReturn => self.target.map(|target| target.max(applied)),
        };
        self.work.wants_watermarks |= self.target.is_none();
        self.begin_fold(beginning);
    }

    /// Begins at a checkpoint, or at the beginning of what the log holds.
    pub(super) fn begin_fold(&mut self, beginning: Beginning) {
        let Beginning { fold, checkpoint: held, incarnations, shown: _ } = beginning;
        let low = self.marks.low;
        if held.is_none() && low > Position::START {
            self.work.notices.push(Notice::HeadRemoved { low });
        }
        let fresh = Checkpoint { position: low, fold_start: low, ..Checkpoint::default() };
        let mut checkpoint = held.unwrap_or(fresh);
        // Before anything is served or sent: what follows the last record may be another log's by now.
        checkpoint.position = last_applied(&checkpoint, low);
        self.fold = fold;
        self.rule = AcceptRule::resume(checkpoint.fold_start, checkpoint.position, incarnations);
        self.readback = Readback::resume(&checkpoint);
        self.checkpoint = checkpoint;
        self.premises.begin(held.is_none());
        self.strangers = Strangers::default();
        self.evidence_left = self.settings.evidence_max;
        self.is_dirty = false;
        self.is_condemned = false;
        self.awaits_turn = true;
        self.stopped = None;
        self.lost_end = None;
        self.is_caught_up = false;
        self.note_caught_up();
    }

    /// The reader is free for this partition: it goes on where everything is met that was applied and not read.
    ///
    /// The position goes back to the last record that was applied. What followed it held nothing, unless the log lost its end
    /// since and grew again: then there are records now, and they are the next ones.
    pub(super) fn on_begin_reading(&mut self) {
        self.awaits_turn = false;
        let start = self.reading_start();
        self.work.read_from = Some(start);
    }

    pub(super) fn reading_start(&mut self) -> Position {
        let low = self.marks.low;
        let start = last_applied(&self.checkpoint, low);
        self.is_dirty |= start != self.checkpoint.position;
        self.checkpoint.position = start;
        self.readback.begin(self.checkpoint.fold_start, start, low)
    }
}

/// Behind the last record that was applied, as far as the log still holds it.
fn last_applied(checkpoint: &Checkpoint, low: Position) -> Position {
    checkpoint.behind_last().max(low).min(checkpoint.position)
}
