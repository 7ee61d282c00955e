//! The monitor: the only one that asks the log questions while the engine runs, so that no owner ever waits for an answer.
//!
//! About every second, and when an owner wants to know, it reads the watermarks of every partition, notes what lags or
//! stalls, finds new partitions, and sees whether the topic is still the one the store belongs to. All partitions are asked for
//! together, so that one that does not answer (it may have no leader) costs the others no more than the time limit of a
//! question. The log is down when nobody answers.

use crate::board::{Board, PartitionBoard};
use crate::context::Context;
use crate::fault::Fault;
use crate::owner_inbox::{Command, OwnerInbox, owner_of};
use crate::placing;
use crate::position_waits::PositionWaits;
use crate::topic_growth::take_in;
use crate::writer_inbox::WriterInbox;
use bkes_core::machine::WatermarksRead;
use bkes_core::sequence::NowMs;
use bkes_core::{Cause, Partition};
use bkes_log::{Log, LogError, LogIdentity};
use std::collections::BTreeSet;
use std::sync::Arc;
use std::sync::atomic::Ordering;

/// The monitor's state; a thread, or a simulator, steps it.
pub struct Monitor {
    log: Arc<dyn Log>,
    board: Arc<Board>,
    owners: Arc<Vec<OwnerInbox>>,
    writer: WriterInbox,
    positions: Arc<PositionWaits>,
    identity: LogIdentity,
    /// Partitions that did not answer when they were asked last.
    silent: BTreeSet<Partition>,
}

impl Monitor {
    pub fn new(context: &Context) -> Monitor {
        Monitor {
            log: Arc::clone(&context.log),
            board: Arc::clone(&context.board),
            owners: Arc::clone(&context.owners),
            writer: context.writer.clone(),
            positions: Arc::clone(&context.positions),
            identity: context.topic.clone(),
            silent: BTreeSet::new(),
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
        let before: Vec<_> = boards.iter().map(|board| (clock(), board.state().before_question())).collect();
        let answers = self.log.watermarks_of(&partitions);
        for ((board, (asked, before)), marks) in boards.iter().zip(before).zip(answers) {
            let partition = board.partition;
            match marks {
                Ok(marks) => {
                    answered = true;
                    self.log_answers();
                    self.silent.remove(&partition);
                    let read = WatermarksRead { marks, asked, answered: clock(), before };
                    // An owner that has ended needs no marks; its partitions are degraded or the engine stops.
                    let _ = self.owner_of(partition).send(Command::Watermarks { partition, read });
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
                self.board.set_log_down(Some(Cause::of(error)));
            }
            None => self.log_answers(),
        }
        placing::place_over_new_partitions(&self.board, &self.writer, &self.identity, clock());
        placing::choose(&self.board, &self.writer, &self.identity);
        // Owners do this too, but a fault of the whole engine may leave none that does.
        self.positions.settle(&self.board, clock());
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

    /// Another topic under the same name: nothing of the store is true of it.
    fn check_topic(&self) -> Result<(), LogError> {
        let found = self.log.identity()?;
        if found != self.identity {
            self.board.set_fault(Fault::AnotherTopic { known: self.identity.clone(), found });
        }
        Ok(())
    }

    /// Takes new partitions in.
    fn check_partitions(&mut self) -> Result<(), LogError> {
        let count = self.log.partition_count()?;
        take_in(&*self.log, &self.board, &self.owners, count)
    }
}
