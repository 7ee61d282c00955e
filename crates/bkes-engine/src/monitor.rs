//! The monitor: the only one that asks the log questions while the engine runs, so that no owner ever waits for an answer.
//!
//! About every second, and when an owner wants to know, it reads the watermarks of every partition, notes what lags or
//! stalls, finds new partitions, and sees whether the topic is still the one the store belongs to. All partitions are asked for
//! together, so that one that does not answer (it may have no leader) costs the others no more than the time limit of a
//! question. The log is down when nobody answers.

use crate::board::{Board, PartitionBoard, TARGET_UNKNOWN};
use crate::degraded::Degradation;
use crate::owner::{Command, Look, OwnerInbox, owner_of};
use crate::start::identity_of;
use crate::topic_growth::take_in;
use crate::writer::WriterInbox;
use bkes_core::sequence::NowMs;
use bkes_core::{Partition, Position};
use bkes_log::{Log, LogError, LogIdentity, Watermarks};
use std::collections::BTreeSet;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

/// The monitor's state; a thread, or a simulator, steps it.
pub struct Monitor {
    log: Arc<dyn Log>,
    board: Arc<Board>,
    owners: Arc<Vec<OwnerInbox>>,
    writer: WriterInbox,
    identity: LogIdentity,
    /// What each partition looked like last, and when.
    last: Vec<Option<(Watermarks, NowMs)>>,
    /// Partitions that did not answer when they were asked last.
    silent: BTreeSet<Partition>,
    low_warned: bool,
    /// How long new partitions rest before keys are placed in them.
    placing_rest_ms: NowMs,
    /// How many partitions were read, and since when they rest.
    resting: Option<(u32, NowMs)>,
}

impl Monitor {
    pub fn new(
        log: Arc<dyn Log>,
        board: Arc<Board>,
        owners: Arc<Vec<OwnerInbox>>,
        writer: WriterInbox,
        identity: LogIdentity,
        placing_rest: Duration,
    ) -> Monitor {
        Monitor {
            log,
            board,
            owners,
            writer,
            identity,
            last: Vec::new(),
            silent: BTreeSet::new(),
            low_warned: false,
            placing_rest_ms: placing_rest.as_millis() as NowMs,
            resting: None,
        }
    }

    /// Whether the engine stops.
    pub fn is_stopping(&self) -> bool {
        self.board.stopping.load(Ordering::Acquire)
    }

    /// Looks at the log once. `clock` tells the time between questions.
    pub fn step(&mut self, clock: &dyn Fn() -> NowMs) {
        let looked = self.check_topic().and_then(|()| self.check_partitions());
        if let Err(error) = &looked {
            tracing::debug!("the topic could not be looked at: {error}");
        }
        let (mut failed, mut answered) = (looked.err(), false);
        let boards: Vec<Arc<PartitionBoard>> = self.board.partitions().clone();
        let partitions: Vec<Partition> = boards.iter().map(|board| board.partition).collect();
        // What the answers are compared with is what was there before the question.
        let before =
            |board: &Arc<PartitionBoard>| (clock(), board.target.load(Ordering::Acquire), board.applied_in());
        let before: Vec<_> = boards.iter().map(before).collect();
        let answers = self.log.watermarks_of(&partitions);
        for ((board, (asked, target, applied_before)), marks) in boards.iter().zip(before).zip(answers) {
            let partition = board.partition;
            match marks {
                Ok(marks) => {
                    answered = true;
                    self.log_answers();
                    self.silent.remove(&partition);
                    settle_target(board, target, marks);
                    self.note(board, Look { partition, marks, asked, applied_before }, clock());
                }
                Err(error) => {
                    self.fell_silent(partition, &error);
                    failed = Some(error);
                }
            }
        }
        match failed.filter(|_| !answered) {
            Some(error) => {
                if self.board.log_down().is_none() {
                    tracing::warn!("the log does not answer: {error}; reads go on, appends are refused");
                }
                self.board.set_log_down(Some(error.to_string()));
            }
            None => {
                self.log_answers();
                self.board.looked_ms.store(clock(), Ordering::Release);
            }
        }
        self.place_over_new_partitions(clock());
        crate::placing::decide(&self.board, &self.writer, &self.identity);
    }

    /// Somebody answered: appends are taken again at once, however long the rest of the look takes.
    fn log_answers(&self) {
        if self.board.log_down().is_some() {
            tracing::info!("the log answers again");
            self.board.set_log_down(None);
        }
    }

    /// A partition did not answer.
    fn fell_silent(&mut self, partition: Partition, error: &LogError) {
        if self.silent.insert(partition) {
            tracing::warn!(%partition, "the partition does not answer: {error}");
        } else {
            tracing::debug!(%partition, "the watermarks could not be read: {error}");
        }
    }

    fn owner_of(&self, partition: Partition) -> &OwnerInbox {
        &self.owners[owner_of(partition, &self.owners)]
    }

    fn note(&mut self, board: &Arc<PartitionBoard>, look: Look, now: NowMs) {
        let marks = look.marks;
        let index = board.partition.0 as usize;
        if self.last.len() <= index {
            self.last.resize(index + 1, None);
        }
        let applied = Position(board.applied.load(Ordering::Acquire));
        board.low.store(marks.low.0, Ordering::Release);
        board.stable.store(marks.stable.0, Ordering::Release);
        board.high.store(marks.high.0, Ordering::Release);
        if let Some((before, then)) = self.last[index] {
            if applied >= before.stable {
                board.behind_since_ms.store(0, Ordering::Release);
            } else if board.behind_since_ms.load(Ordering::Acquire) == 0 {
                board.behind_since_ms.store(then.max(1), Ordering::Release);
            }
            // The marks of one look are asked for one after the other, so that a log that only just goes on seems to stand. What
            // was the end a look ago and is not stable yet is held.
            let is_held = marks.stable < before.high.min(marks.high);
            let stands = is_held && before.stable == marks.stable && applied >= marks.stable;
            if board.stalled.swap(stands, Ordering::AcqRel) != stands {
                let partition = board.partition;
                if stands {
                    tracing::warn!(%partition, "stalled at {} below {} by an open transaction of another producer", marks.stable, marks.high);
                } else {
                    tracing::info!(%partition, "no longer stalled");
                }
            }
            if marks.low > before.low && !self.low_warned {
                self.low_warned = true;
                tracing::warn!(
                    partition = board.partition.0,
                    "the log's start moved to {}: retention removes events; the store still has them, a rebuild would not. \
                     Set retention.ms=-1 and retention.bytes=-1",
                    marks.low
                );
            }
        }
        self.last[index] = Some((marks, now));
        // An owner that has ended needs no marks; its partitions are degraded or the engine stops.
        let _ = self.owner_of(board.partition).send(Command::Marks(look));
    }

    /// Another topic under the same name: nothing of the store is true of it.
    fn check_topic(&self) -> Result<(), LogError> {
        let found = self.log.identity()?;
        if found != self.identity {
            for board in self.board.partitions().iter() {
                let (known, found) = (self.identity.clone(), found.clone());
                board.degrade(Degradation::AnotherTopic { known, found });
            }
        }
        Ok(())
    }

    /// Takes new partitions in.
    fn check_partitions(&mut self) -> Result<(), LogError> {
        let count = self.log.partition_count()?;
        take_in(&*self.log, &self.board, &self.owners, count)
    }

    /// Places keys over new partitions once they were read, and others had the time to see and read them too.
    fn place_over_new_partitions(&mut self, now: NowMs) {
        let count = self.board.partitions().len() as u32;
        let placing = self.board.placing();
        if placing.partitions.get() >= count || self.board.catching_up().is_some() {
            self.resting = None;
            return;
        }
        let (of, since) = *self.resting.get_or_insert((count, now));
        if of != count {
            self.resting = Some((count, now));
        }
        if of != count || now < since + self.placing_rest_ms {
            return;
        }
        let partitions = placing.partitions.saturating_add(count - placing.partitions.get());
        self.board.change_placing(|placing| {
            placing.partitions = partitions;
            self.writer.set_identity(identity_of(&self.identity, *placing));
        });
        tracing::info!("keys are placed over {partitions} partitions now");
    }
}

/// What the log says of the target as it was when the question was asked; one that is younger is left alone.
///
/// A target that was not known is known now. Where the log ends below a target that it had reached, a failover lost what lay in
/// between, and waiting for it would never end.
fn settle_target(board: &PartitionBoard, target: u64, marks: Watermarks) {
    let set = |to: Position| board.target.compare_exchange(target, to.0, Ordering::AcqRel, Ordering::Acquire);
    if target == TARGET_UNKNOWN {
        let _ = set(marks.stable);
        return;
    }
    let lost = marks.high.0 < target;
    if lost && set(marks.stable).is_ok() {
        tracing::error!(
            partition = board.partition.0,
            "the log ends at {}, below {target}, which it had reached: it was truncated",
            marks.high
        );
    }
}
