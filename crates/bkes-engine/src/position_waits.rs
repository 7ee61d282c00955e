//! Those who wait until positions are applied here, and perhaps until a consumer group has committed up to them.
//!
//! *Applied far enough* means of a partition: the fold that counts is caught up, and the next offset that it applies is at the position
//! or above. That is also *decided*. What lies below the applied position is decided but for batches whose last member is not applied
//! yet; a batch lies where its last member lies, which is at the position or above; so no event of it lies below. A fold that begins
//! anew has applied nothing until it is caught up again, since nothing is read from it.
//!
//! Who waits is queued at one position that is not reached, so that an owner which has applied something looks at the nearest ones
//! only, however many wait. Lock order: this lock, then that of a partition's state.

mod groups;

use crate::board::{Board, PartitionBoard};
use crate::limits::{POSITION_WAITS_MAX, WAITED_PLACES_MAX};
use crate::lock::lock;
use bkes_core::append::{Unit, Unready};
use bkes_core::sequence::NowMs;
use bkes_core::{Cause, Partition, Position};
use bkes_log::LogError;
pub use groups::Commits;
use groups::Groups;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use tokio::sync::oneshot;

/// Where somebody wants a partition to be.
pub type Place = (Arc<PartitionBoard>, Position);

/// What came of waiting.
pub type Waited = Result<(), WaitEnd>;

/// Why waiting came to nothing.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum WaitEnd {
    /// A partition is not served, and that will not pass by waiting.
    Unready(Unready),
    /// The time is over.
    Late(Late),
    /// The group has committed nothing in this topic.
    NoCommits { group: Arc<str> },
    /// The group is not told about.
    Refused(LogError),
}

/// What was still missing when the time was over.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Late {
    /// A partition was not applied far enough; `unready` says why.
    Applying { partition: Partition, applied: Position, position: Position, unready: Unready },
    /// The group had not committed far enough, or did not tell.
    Committing { group: Arc<str>, silence: Option<Cause> },
}

/// Rises with each that comes.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug, Default)]
struct WaitId(u64);

/// Everybody who waits.
#[derive(Default)]
pub struct PositionWaits {
    state: Mutex<State>,
    /// How many there are: read by owners whenever they have applied something, without the lock.
    count: AtomicUsize,
    /// When the time of the first is over; 0 for never.
    deadline: AtomicU64,
}

#[derive(Default)]
struct State {
    waits: BTreeMap<WaitId, Wait>,
    /// Each that waits for a partition, at a position that is not reached.
    missing: BTreeSet<(Partition, Position, WaitId)>,
    deadlines: BTreeSet<(NowMs, WaitId)>,
    groups: Groups,
    /// The places of all of them together.
    places: usize,
    next: WaitId,
    closed: bool,
}

struct Wait {
    places: Vec<Place>,
    /// Where it is queued; `None` when all is applied.
    missing: Option<(Partition, Position)>,
    /// The group that has not committed far enough yet.
    group: Option<Arc<str>>,
    since: NowMs,
    deadline: NowMs,
    to: oneshot::Sender<Waited>,
}

/// What is waited for.
pub struct Wanted {
    /// Each partition once.
    pub places: Vec<Place>,
    /// The group that has to commit as far.
    pub group: Option<Arc<str>>,
    pub now: NowMs,
    pub deadline: NowMs,
}

/// Somebody who waits. Dropping it ends the waiting.
pub struct Waiting {
    waits: Arc<PositionWaits>,
    id: WaitId,
    /// Closed without an answer when the engine stops.
    pub answer: oneshot::Receiver<Waited>,
    /// Its time is over before that of any other: owners have to know.
    pub is_next: bool,
    /// It waits for a group: askers have to know.
    pub wakes_askers: bool,
}

impl Drop for Waiting {
    fn drop(&mut self) {
        let mut state = lock(&self.waits.state);
        state.remove(self.id);
        self.waits.publish(&state);
    }
}

/// Answers that are given when the lock is released.
type Answers = Vec<(oneshot::Sender<Waited>, Waited)>;

/// How far a partition is, for those who wait.
enum Reach {
    /// Applied up to here, and served.
    UpTo(Position),
    /// Not served, for a reason that does not pass by reading on.
    Failed(Unready),
}

fn reach(board: &Board, partition: &PartitionBoard) -> Reach {
    if let Some(unready) = board.faulty(partition.partition) {
        return Reach::Failed(unready);
    }
    let state = partition.state();
    match (state.seen.degraded(), state.current()) {
        (Some(unready), _) => Reach::Failed(unready),
        (None, Some(seen)) if seen.is_caught_up => Reach::UpTo(seen.applied),
        (None, _) => Reach::UpTo(Position::START),
    }
}

/// Whether all of these are applied, and if not which is missing.
pub fn missing_of(board: &Board, places: &[Place]) -> Result<Option<usize>, Unready> {
    for (index, (partition, position)) in places.iter().enumerate() {
        match reach(board, partition) {
            Reach::Failed(unready) => return Err(unready),
            Reach::UpTo(applied) if applied < *position => return Ok(Some(index)),
            Reach::UpTo(_) => {}
        }
    }
    Ok(None)
}

impl PositionWaits {
    /// Waits. The answer may be there already.
    ///
    /// Nobody is overlooked: who comes is counted first, then looks, and is queued under the same lock; owners publish what they
    /// applied, then look at the count. The lock of a partition's state orders the two.
    pub fn enter(waits: &Arc<PositionWaits>, board: &Board, wanted: Wanted) -> Result<Waiting, Unready> {
        let Wanted { places, group, now, deadline } = wanted;
        let (to, answer) = oneshot::channel();
        let mut state = lock(&waits.state);
        if state.closed {
            return Err(board.why_ended());
        }
        state.has_room(places.len(), group.as_ref())?;
        let id = state.next;
        state.next = WaitId(id.0 + 1);
        state.places += places.len();
        state.deadlines.insert((deadline, id));
        if let Some(group) = &group {
            state.groups.join(group, id, now);
        }
        state.waits.insert(id, Wait { places, missing: None, group, since: now, deadline, to });
        waits.publish(&state);
        let mut answers = Vec::new();
        state.look(board, id, &mut answers);
        let wakes_askers = state.waits.get(&id).is_some_and(|wait| wait.group.is_some());
        let is_next = state.deadlines.first() == Some(&(deadline, id));
        waits.publish(&state);
        drop(state);
        give(answers);
        Ok(Waiting { waits: Arc::clone(waits), id, answer, is_next, wakes_askers })
    }

    /// Answers those for whom enough is applied, or whose time is over. Called by owners at the end of each step: next to nothing
    /// while nobody waits.
    pub fn settle(&self, board: &Board, now: NowMs) {
        if self.count.load(Ordering::Relaxed) > 0 {
            self.change(|state, answers| {
                state.apply(board, answers);
                state.expire(now, answers);
            });
        }
    }

    /// When the time of the first is over.
    pub fn deadline(&self) -> Option<NowMs> {
        Some(self.deadline.load(Ordering::Relaxed)).filter(|deadline| *deadline > 0)
    }

    /// The engine stops: nobody waits any more.
    pub fn close(&self) {
        let mut state = lock(&self.state);
        let closed = State { closed: true, ..State::default() };
        let waits = std::mem::replace(&mut *state, closed);
        self.publish(&state);
        drop(state);
        drop(waits);
    }

    fn change<R>(&self, change: impl FnOnce(&mut State, &mut Answers) -> R) -> R {
        let mut answers = Vec::new();
        let mut state = lock(&self.state);
        let changed = change(&mut state, &mut answers);
        self.publish(&state);
        drop(state);
        give(answers);
        changed
    }

    fn publish(&self, state: &State) {
        self.count.store(state.waits.len(), Ordering::Relaxed);
        let deadline = state.deadlines.first().map_or(0, |(deadline, _)| (*deadline).max(1));
        self.deadline.store(deadline, Ordering::Relaxed);
    }
}

fn give(answers: Answers) {
    for (to, answer) in answers {
        // Whoever went away is not told.
        let _ = to.send(answer);
    }
}

impl State {
    fn has_room(&self, places: usize, group: Option<&Arc<str>>) -> Result<(), Unready> {
        let queue = "the queue of those who wait for positions";
        if self.waits.len() >= POSITION_WAITS_MAX {
            return Err(Unready::Overloaded { queue, limit: POSITION_WAITS_MAX as u64, unit: Unit::Calls });
        }
        if self.places > 0 && self.places.saturating_add(places) > WAITED_PLACES_MAX {
            let queue = "the list of positions that are waited for";
            return Err(Unready::Overloaded {
                queue,
                limit: WAITED_PLACES_MAX as u64,
                unit: Unit::Positions,
            });
        }
        group.map_or(Ok(()), |group| self.groups.has_room(group))
    }

    /// Answers one, or queues it at what is missing.
    fn look(&mut self, board: &Board, id: WaitId, answers: &mut Answers) {
        let Some(wait) = self.waits.get_mut(&id) else { return };
        if let Some((partition, position)) = wait.missing.take() {
            self.missing.remove(&(partition, position, id));
        }
        match missing_of(board, &wait.places) {
            Err(unready) => self.answer(id, Err(WaitEnd::Unready(unready)), answers),
            Ok(Some(index)) => {
                let (partition, position) = &wait.places[index];
                wait.missing = Some((partition.partition, *position));
                self.missing.insert((partition.partition, *position, id));
            }
            Ok(None) if wait.group.is_none() => self.answer(id, Ok(()), answers),
            Ok(None) => {}
        }
    }

    /// Looks at those who may have what they wait for.
    fn apply(&mut self, board: &Board, answers: &mut Answers) {
        let mut from = Partition(0);
        while let Some((partition, _, id)) =
            self.missing.range((from, Position::START, WaitId::default())..).next().copied()
        {
            let places = self.waits.get(&id).map_or(&[][..], |wait| &wait.places);
            let place = places.iter().find(|(of, _)| of.partition == partition);
            let last = match place.map(|(of, _)| reach(board, of)) {
                Some(Reach::UpTo(applied)) => applied,
                Some(Reach::Failed(_)) | None => Position(u64::MAX),
            };
            let first = (partition, Position::START, WaitId::default());
            let reached = self.missing.range(first..=(partition, last, WaitId(u64::MAX)));
            for id in reached.map(|(.., id)| *id).collect::<Vec<_>>() {
                self.look(board, id, answers);
            }
            let Some(next) = partition.0.checked_add(1) else { return };
            from = Partition(next);
        }
    }

    fn expire(&mut self, now: NowMs, answers: &mut Answers) {
        while let Some((deadline, id)) = self.deadlines.first().copied() {
            if deadline > now {
                return;
            }
            let late = self.waits.get(&id).map(|wait| self.late(wait, now));
            match late {
                Some(late) => self.answer(id, Err(WaitEnd::Late(late)), answers),
                None => drop(self.deadlines.remove(&(deadline, id))),
            }
        }
    }

    fn late(&self, wait: &Wait, now: NowMs) -> Late {
        let missing = wait
            .missing
            .and_then(|(partition, _)| wait.places.iter().find(|(board, _)| board.partition == partition));
        match (missing, &wait.group) {
            (Some((board, position)), _) => applying(board, *position, now.saturating_sub(wait.since)),
            (None, Some(group)) => {
                Late::Committing { group: Arc::clone(group), silence: self.groups.silence(group) }
            }
            (None, None) => unreachable!("it has all it waits for, and was answered"),
        }
    }

    fn answer(&mut self, id: WaitId, answer: Waited, answers: &mut Answers) {
        answers.extend(self.remove(id).map(|wait| (wait.to, answer)));
    }

    fn remove(&mut self, id: WaitId) -> Option<Wait> {
        let wait = self.waits.remove(&id)?;
        if let Some((partition, position)) = wait.missing {
            self.missing.remove(&(partition, position, id));
        }
        self.deadlines.remove(&(wait.deadline, id));
        self.places -= wait.places.len();
        if let Some(group) = &wait.group {
            self.groups.leave(group, id);
        }
        Some(wait)
    }
}

/// Why a partition is not applied far enough after so long.
fn applying(board: &PartitionBoard, position: Position, waited_ms: u64) -> Late {
    let state = board.state();
    let partition = board.partition;
    let applied = Position(state.progress().applied);
    let unready = match (state.unserved(), &state.seen) {
        (Some(unready), _) => unready,
        (None, seen) if seen.is_stalled && position > seen.marks.stable => {
            Unready::Stalled { partition, stable: seen.marks.stable, high: seen.marks.high }
        }
        (None, _) => Unready::Lagging { partition, lag_ms: waited_ms },
    };
    Late::Applying { partition, applied, position, unready }
}

impl std::fmt::Debug for PositionWaits {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{} waits", self.count.load(Ordering::Relaxed))
    }
}

#[cfg(test)]
mod tests;
