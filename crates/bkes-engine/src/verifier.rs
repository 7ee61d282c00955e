//! The verifier: asks the log how far it goes before something is denied that another instance may have been told.
//!
//! What this instance has applied says what there is, and never what there is not: another instance may have appended, and been
//! answered, while our reader was a moment behind. So "no such aggregate", and a conflict in which the order asked for is above the
//! next one, are answered only when everything is applied that the log held, stable, at some moment *after the call began*.
//!
//! One question to the log runs, one waits, and all that come meanwhile share the one that waits: one that runs may have begun before
//! they did. What was asked for is then awaited without looking again and again: owners answer those who wait when they have applied
//! far enough. Whoever gets no answer in time is told that it could not be verified, which is neither yes nor no.
//!
//! It asks for high watermarks too, in the same way, for those who wait for positions: one that lies above is not waited for.
//!
//! An end below what was applied before the question proves the opposite: the log lost its end, what this instance has applied is of
//! another one, and others may have been told of events that it will read only when its fold has begun anew.

use crate::board::{Board, PartitionBoard};
use crate::context::Context;
use crate::owner_inbox::OwnerInbox;
use crate::topic_growth::take_in;
use crate::verifier_inbox::{Asking, Marks, VerifierInbox};
use crate::waits::{Awaited, Caller, Wait, answer};
use bkes_core::append::Unready;
use bkes_core::machine::{BeforeQuestion, Scope};
use bkes_core::sequence::NowMs;
use bkes_core::{Cause, Partition, Position};
use bkes_log::{Log, LogError, Waker, Watermarks};
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::sync::atomic::Ordering;
use tokio::sync::oneshot;

/// The verifier's state; a thread, or a simulator, steps it.
pub struct Verifier {
    log: Arc<dyn Log>,
    board: Arc<Board>,
    owners: Arc<Vec<OwnerInbox>>,
    awaited: Arc<Awaited>,
    inbox: VerifierInbox,
    /// Asks the monitor to look now.
    look: Waker,
}

/// What the verifier wants after a step.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum VerifierStep {
    /// There may be more to do at once.
    Busy,
    /// Nothing until woken, or until then.
    Idle(Option<NowMs>),
    /// The engine stops: nobody waits any more.
    Stopped,
}

impl Verifier {
    pub fn new(context: &Context) -> Verifier {
        Verifier {
            log: Arc::clone(&context.log),
            board: Arc::clone(&context.board),
            owners: Arc::clone(&context.owners),
            awaited: Arc::clone(&context.awaited),
            inbox: context.verifier.clone(),
            look: context.look.clone(),
        }
    }

    /// Asks the question that waits, if one does, and answers those whose time is over.
    pub fn step(&mut self, now: NowMs) -> VerifierStep {
        if self.board.stopping.load(Ordering::Acquire) {
            self.end();
            return VerifierStep::Stopped;
        }
        let Asking { callers, marks, partitions, .. } = self.inbox.take();
        let asks = !callers.is_empty() || !marks.is_empty();
        if !callers.is_empty() {
            self.ask(callers);
        }
        if !marks.is_empty() {
            self.ask_marks(marks, &partitions);
        }
        self.awaited.expire(now);
        if asks { VerifierStep::Busy } else { VerifierStep::Idle(self.awaited.deadline()) }
    }

    /// One question for all that wait.
    fn ask(&self, mut callers: BTreeMap<Scope, Vec<Caller>>) {
        if callers.contains_key(&Scope::All)
            && let Err(error) = self.take_in_new()
        {
            let those = callers.remove(&Scope::All).unwrap_or_default();
            answer(those, &Err(unverified(&format!("the partitions of the topic are not known: {error}"))));
        }
        let boards: Vec<Arc<PartitionBoard>> = self.board.partitions().clone();
        let is_asked = |board: &&Arc<PartitionBoard>| {
            callers.contains_key(&Scope::All) || callers.contains_key(&Scope::One(board.partition))
        };
        let boards: Vec<Arc<PartitionBoard>> = boards.iter().filter(is_asked).cloned().collect();
        let partitions: Vec<Partition> = boards.iter().map(|board| board.partition).collect();
        let before: Vec<_> = boards.iter().map(|board| board.state().before_question()).collect();
        let ends = before.into_iter().zip(self.log.stable_ends(&partitions));
        let ends: Vec<_> = boards.into_iter().zip(ends).collect();
        if ends.iter().any(|(_, (before, end))| end.as_ref().is_ok_and(|end| is_lost(*before, *end))) {
            self.look.wake();
        }
        for (scope, callers) in callers {
            let within = ends.iter().filter(|(board, _)| match scope {
                Scope::One(partition) => board.partition == partition,
                Scope::All => true,
            });
            let ends = within.map(|(board, (before, end))| match end {
                Ok(end) if is_lost(*before, *end) => Err(unverified(&format!(
                    "partition {} ends at {end}, below what was applied: the log lost its end",
                    board.partition
                ))),
                Ok(end) => Ok((Arc::clone(board), *end)),
                Err(error) => Err(unverified(&format!("partition {}: {error}", board.partition))),
            });
            match ends.collect::<Result<Vec<_>, Unready>>() {
                Ok(ends) => self.await_applied(Wait { ends, callers }),
                Err(unready) => answer(callers, &Err(unready)),
            }
        }
    }

    /// One question for all that want to know where partitions end.
    fn ask_marks(&self, askers: Vec<oneshot::Sender<Arc<Marks>>>, wanted: &BTreeSet<Partition>) {
        let known = || self.board.partitions().len();
        let is_known = |partition: &&Partition| (partition.0 as usize) < known();
        let growth = if wanted.iter().all(|partition| is_known(&partition)) {
            Ok(())
        } else {
            self.take_in_new().map_err(Cause::of)
        };
        let partitions: Vec<Partition> = wanted.iter().filter(is_known).copied().collect();
        let answers = self.log.watermarks_of(&partitions);
        let high = |marks: Result<Watermarks, LogError>| marks.map(|marks| marks.high).map_err(Cause::of);
        let highs = partitions.into_iter().zip(answers.into_iter().map(high)).collect();
        let marks = Arc::new(Marks { growth, highs });
        for to in askers {
            // Whoever went away is not told.
            let _ = to.send(Arc::clone(&marks));
        }
    }

    /// Partitions that the topic has got since are read before anything is denied.
    fn take_in_new(&self) -> Result<(), LogError> {
        let count = self.log.partition_count()?;
        take_in(&*self.log, &self.board, &self.owners, count)
    }

    fn await_applied(&self, wait: Wait) {
        if let Some(verified) = wait.judge() {
            return answer(wait.callers, &verified);
        }
        self.awaited.enter(wait);
        // What was applied since the look above may have been all. From here on owners look at the end of each step.
        self.awaited.settle();
    }

    fn end(&self) {
        self.inbox.close();
        self.awaited.clear();
    }
}

impl Drop for Verifier {
    /// However it ends, nobody waits for it in vain.
    fn drop(&mut self) {
        self.end();
    }
}

/// Whether the log was told to end below what had been applied when it was asked.
fn is_lost(before: Option<BeforeQuestion>, end: Position) -> bool {
    before.is_some_and(|before| end < before.applied)
}

fn unverified(detail: &str) -> Unready {
    Unready::Unverified { cause: detail.into() }
}
