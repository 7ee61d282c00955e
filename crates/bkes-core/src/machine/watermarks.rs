//! What the log says of its marks: where it lost its end, what lags, and what a foreign transaction holds.

use super::{BeforeQuestion, Degradation, Notice, PartitionMachine, WatermarksRead};
use crate::{Position, Watermarks};

impl<T> PartitionMachine<T> {
    /// The log was asked for the partition's marks.
    pub(super) fn on_watermarks(&mut self, read: WatermarksRead) {
        let WatermarksRead { marks, asked, .. } = read;
        // What was known then of an earlier fold is of another log.
        let before = read.before.filter(|before| before.fold == self.fold);
        if let Some(before) = before {
            self.settle_target(before, marks);
        }
        self.note_lag(read);
        self.marks = marks;
        self.sequencer.probed(marks.high, asked);
        self.note_caught_up();
        self.look_for_loss(read, before);
    }

    /// Whether the log lost what was applied, or what it lost is there again.
    fn look_for_loss(&mut self, read: WatermarksRead, before: Option<BeforeQuestion>) {
        if self.is_condemned {
            // Whoever was asked may have lost it.
            self.work.rebuild.clone_from(&self.degradation);
            return;
        }
        let WatermarksRead { marks, asked, .. } = read;
        let applied = self.checkpoint.position;
        // A reader that stands at the new end is told nothing. What counts is what this fold had applied when the log was asked: its
        // position may have gone on since, or back to the last record that was applied. What was applied was stable for good: an end of
        // what is stable below it tells the same, where the log has grown again.
        let last = self.checkpoint.behind_last();
        let is_cut_off = before.is_some_and(|BeforeQuestion { applied: then, .. }| {
            marks.high < then.min(applied) || marks.stable < then.min(last)
        });
        let position = match self.stopped {
            // Nothing was applied since then, but the log may have been asked before that.
            Some(stopped) if stopped.since < asked => stopped.position,
            _ if is_cut_off => applied,
            Some(_) => return self.work.wants_watermarks = true,
            None => return,
        };
        // What retention removed is out of range too, and not lost.
        let ended = self.lost_end.take().filter(|end| *end >= marks.low);
        // Where the log has grown again past what was applied, what is stable tells where it had ended.
        let end = if applied > marks.high { marks.high } else { marks.stable };
        let ended = ended.or((is_cut_off || applied > marks.high).then_some(end));
        if let Some(end) = ended {
            self.rebuild(Degradation::Truncated { end, applied });
        } else if applied < marks.low {
            self.degrade(Degradation::Removed { low: marks.low, applied });
        } else {
            // A partition that is degraded was complained of already; it is tried again and again.
            if self.degradation.is_none() {
                self.work.notices.push(Notice::ReadAgain { position });
            }
            self.stopped = None;
            // The log may have lost its end and grown again: the last record that was read tells.
            let start = self.reading_start();
            if !self.awaits_turn {
                self.work.read_from = Some(start);
            }
        }
    }

    /// What the log says of the target as it was when the question was asked; one that is younger is left alone.
    ///
    /// A target that was not known is known now. Where the log ends below a target that it had reached, a failover lost what lay in
    /// between, and waiting for it would never end.
    fn settle_target(&mut self, before: BeforeQuestion, marks: Watermarks) {
        if self.target != before.target {
            return;
        }
        match self.target {
            None => self.target = Some(marks.stable),
            Some(target) if marks.high < target => {
                self.target = Some(marks.stable);
                self.work.notices.push(Notice::TargetLost { high: marks.high, target });
            }
            Some(_) => {}
        }
    }

    /// Compares the marks with those before.
    fn note_lag(&mut self, read: WatermarksRead) {
        let (marks, applied) = (read.marks, self.checkpoint.position);
        if let Some((before, then)) = self.marks_before {
            if applied >= before.stable {
                self.lagging_since = None;
            } else if self.lagging_since.is_none() {
                self.lagging_since = Some(then);
            }
            self.note_stall(before, marks, applied);
            if marks.low > before.low {
                self.work.notices.push(Notice::StartMoved { low: marks.low });
            }
        }
        self.marks_before = Some((marks, read.answered));
    }

    /// The marks of one look are asked for one after the other, so that a log that only just goes on seems to stand. What was the end a
    /// look ago and is not stable yet is held.
    fn note_stall(&mut self, before: Watermarks, marks: Watermarks, applied: Position) {
        let is_held = marks.stable < before.high.min(marks.high);
        let stands = is_held && before.stable == marks.stable && applied >= marks.stable;
        if stands != self.is_stalled {
            self.is_stalled = stands;
            self.work.notices.push(match stands {
                true => Notice::Stalled { stable: marks.stable, high: marks.high },
                false => Notice::NoLongerStalled,
            });
        }
    }
}
