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
//! An end below what was applied before the question proves the opposite: the log lost its end, what this instance has applied is of
//! another one, and others may have been told of events that it will read only when its fold has begun anew.

use crate::api::{Unit, Unready};
use crate::board::{Board, PartitionBoard};
use crate::limits::{VERIFY_MS_MAX, VERIFY_WAITING_MAX};
use crate::lock::lock;
use crate::owner::OwnerInbox;
use crate::topic_growth::take_in;
use bkes_core::sequence::NowMs;
use bkes_core::{Partition, Position};
use bkes_log::{Log, LogError, Waker};
use std::collections::BTreeMap;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard};
use tokio::sync::oneshot;

/// What must be read before a refusal is true.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub enum Scope {
    /// The partition in which the aggregate lives.
    One(Partition),
    /// Every partition that the log has now: the aggregate may live in any.
    All,
}

/// Whether everything is applied that had to be.
pub type Verified = Result<(), Unready>;

/// Somebody who waits for a refusal to be verified.
struct Caller {
    deadline: NowMs,
    to: oneshot::Sender<Verified>,
}

/// Those who wait for the next question.
#[derive(Default)]
struct Asking {
    callers: BTreeMap<Scope, Vec<Caller>>,
    count: usize,
    closed: bool,
}

/// The way to the verifier; cheap to clone.
#[derive(Clone)]
pub struct VerifierInbox {
    asking: Arc<Mutex<Asking>>,
    waker: Waker,
}

impl VerifierInbox {
    pub fn new(waker: Waker) -> VerifierInbox {
        VerifierInbox { asking: Arc::default(), waker }
    }

    /// Asks that everything in `scope` be applied that the log holds now. The answer comes when it is, or cannot be had, and not at all
    /// when the verifier has ended.
    pub fn ask(&self, scope: Scope, now: NowMs) -> Result<oneshot::Receiver<Verified>, Unready> {
        let (to, answer) = oneshot::channel();
        let caller = Caller { deadline: now + VERIFY_MS_MAX, to };
        let mut asking = self.lock();
        if asking.closed {
            return Ok(answer);
        }
        if asking.count >= VERIFY_WAITING_MAX {
            let (queue, limit) = ("the queue for questions to the log", VERIFY_WAITING_MAX as u64);
            return Err(Unready::Overloaded { queue, limit, unit: Unit::Calls });
        }
        asking.count += 1;
        asking.callers.entry(scope).or_default().push(caller);
        drop(asking);
        self.waker.wake();
        Ok(answer)
    }

    pub fn wake(&self) {
        self.waker.wake();
    }

    fn take(&self) -> BTreeMap<Scope, Vec<Caller>> {
        let mut asking = self.lock();
        asking.count = 0;
        std::mem::take(&mut asking.callers)
    }

    fn close(&self) {
        self.lock().closed = true;
        drop(self.take());
    }

    fn lock(&self) -> MutexGuard<'_, Asking> {
        lock(&self.asking)
    }
}

/// Those whose question was answered, and who wait until that much is applied.
#[derive(Default)]
pub struct Awaited {
    waits: Mutex<Vec<Wait>>,
    /// How many there are: read by owners whenever they have applied something, without the lock.
    count: AtomicUsize,
}

struct Wait {
    ends: Vec<(Arc<PartitionBoard>, Position)>,
    callers: Vec<Caller>,
}

impl Wait {
    /// What it comes to, if that is known.
    fn judge(&self) -> Option<Verified> {
        let degraded = self.ends.iter().find_map(|(board, _)| {
            let degraded = board.degraded();
            degraded.map(|detail| Unready::Degraded { partition: board.partition, detail })
        });
        match degraded {
            Some(unready) => Some(Err(unready)),
            None => self.missing().is_none().then_some(Ok(())),
        }
    }

    /// A partition that is not applied far enough.
    fn missing(&self) -> Option<&(Arc<PartitionBoard>, Position)> {
        self.ends.iter().find(|(board, end)| board.applied.load(Ordering::Acquire) < end.0)
    }

    /// Callers whose time is over, and what they are told.
    fn expire(&mut self, now: NowMs) -> Option<(Vec<Caller>, Verified)> {
        let expired: Vec<Caller> = self.callers.extract_if(.., |caller| caller.is_over(now)).collect();
        if expired.is_empty() {
            return None;
        }
        let detail = match self.missing() {
            Some((board, end)) => {
                let (partition, applied) = (board.partition, board.applied.load(Ordering::Acquire));
                format!(
                    "partition {partition} is applied up to {applied}, and the log holds more up to {end}"
                )
            }
            None => "it took too long".into(),
        };
        Some((expired, Err(Unready::Unverified { detail })))
    }
}

impl Caller {
    fn is_over(&self, now: NowMs) -> bool {
        now >= self.deadline || self.to.is_closed()
    }
}

impl Awaited {
    /// Answers those for whom enough is applied. Called by owners when they have applied something: next to nothing while nobody waits.
    ///
    /// A wait is entered before the owners it concerns are woken, and a woken owner comes by here: so none is overlooked.
    pub fn settle(&self) {
        if self.count.load(Ordering::Relaxed) > 0 {
            self.settle_those_there();
        }
    }

    #[cold]
    fn settle_those_there(&self) {
        let mut judged = Vec::new();
        let mut waits = lock(&self.waits);
        waits.retain_mut(|wait| {
            let verified = wait.judge();
            let is_left = verified.is_none();
            judged.extend(verified.map(|verified| (std::mem::take(&mut wait.callers), verified)));
            is_left
        });
        self.count.store(waits.len(), Ordering::Relaxed);
        drop(waits);
        judged.into_iter().for_each(|(callers, verified)| answer(callers, &verified));
    }

    fn enter(&self, wait: Wait) {
        let mut waits = lock(&self.waits);
        waits.push(wait);
        self.count.store(waits.len(), Ordering::Relaxed);
    }

    fn expire(&self, now: NowMs) {
        let mut expired = Vec::new();
        let mut waits = lock(&self.waits);
        waits.retain_mut(|wait| {
            expired.extend(wait.expire(now));
            !wait.callers.is_empty()
        });
        self.count.store(waits.len(), Ordering::Relaxed);
        drop(waits);
        expired.into_iter().for_each(|(callers, verified)| answer(callers, &verified));
    }

    /// When the time of the first is over.
    fn deadline(&self) -> Option<NowMs> {
        let waits = lock(&self.waits);
        waits.iter().flat_map(|wait| &wait.callers).map(|caller| caller.deadline).min()
    }

    fn clear(&self) {
        let waits = std::mem::take(&mut *lock(&self.waits));
        self.count.store(0, Ordering::Relaxed);
        drop(waits);
    }
}

impl std::fmt::Debug for Awaited {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{} waits", self.count.load(Ordering::Relaxed))
    }
}

/// The verifier's state; a thread, or a simulator, steps it.
pub struct Verifier {
    log: Arc<dyn Log>,
    board: Arc<Board>,
    owners: Arc<Vec<OwnerInbox>>,
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
    pub fn new(
        log: Arc<dyn Log>,
        board: Arc<Board>,
        owners: Arc<Vec<OwnerInbox>>,
        inbox: VerifierInbox,
        look: Waker,
    ) -> Verifier {
        Verifier { log, board, owners, inbox, look }
    }

    /// Asks the question that waits, if one does, and answers those whose time is over.
    pub fn step(&mut self, now: NowMs) -> VerifierStep {
        if self.board.stopping.load(Ordering::Acquire) {
            self.end();
            return VerifierStep::Stopped;
        }
        let callers = self.inbox.take();
        let asks = !callers.is_empty();
        if asks {
            self.ask(callers);
        }
        self.board.awaited.expire(now);
        if asks { VerifierStep::Busy } else { VerifierStep::Idle(self.board.awaited.deadline()) }
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
        let before: Vec<_> = boards.iter().map(|board| board.applied_in()).collect();
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

    /// Partitions that the topic has got since are read before anything is denied.
    fn take_in_new(&self) -> Result<(), LogError> {
        let count = self.log.partition_count()?;
        take_in(&*self.log, &self.board, &self.owners, count)
    }

    fn await_applied(&self, wait: Wait) {
        if let Some(verified) = wait.judge() {
            return answer(wait.callers, &verified);
        }
        let mut owners: Vec<usize> = Vec::new();
        for (board, end) in &wait.ends {
            if board.applied.load(Ordering::Acquire) < end.0 {
                board.awaited_end.fetch_max(end.0, Ordering::Relaxed);
                owners.push(crate::owner::owner_of(board.partition, &self.owners));
            }
        }
        self.board.awaited.enter(wait);
        // What was applied since the look above may have been all.
        self.board.awaited.settle();
        // They see that somebody waits, read at once, and answer when they are there, or are there already.
        owners.sort_unstable();
        owners.dedup();
        owners.into_iter().for_each(|owner| self.owners[owner].wake());
    }

    fn end(&self) {
        self.inbox.close();
        self.board.awaited.clear();
    }
}

impl Drop for Verifier {
    /// However it ends, nobody waits for it in vain.
    fn drop(&mut self) {
        self.end();
    }
}

/// Whether the log was told to end below what had been applied when it was asked.
fn is_lost(before: Option<(u64, Position)>, end: Position) -> bool {
    before.is_some_and(|(_, applied)| end < applied)
}

fn unverified(detail: &str) -> Unready {
    Unready::Unverified { detail: detail.into() }
}

fn answer(callers: Vec<Caller>, verified: &Verified) {
    for caller in callers {
        // Whoever went away is not told.
        let _ = caller.to.send(verified.clone());
    }
}
