//! The board: what the threads of an engine know of each other, without waiting for each other.
//!
//! Of each partition there is one [`PartitionState`]: what its machine sees, as its owner published it last, and which of its folds
//! counts, which the writer says. The monitor, the verifier, readers and the status look. Nothing here decides.
//!
//! A fold that has begun anew and is not announced yet, or whose owner has not taken over, is not caught up: nothing is read from it.

mod fault_flag;
mod readiness;
mod store_view;

use self::fault_flag::FaultFlag;
use self::store_view::StoreView;
use crate::epoch::Epoch;
use crate::fault::Fault;
use crate::feed::Ring;
use crate::limits::LOCATE_TRIES;
use crate::lock::lock;
use bkes_api::{PartitionState as State, PartitionStatus};
use bkes_core::append::Unready;
use bkes_core::machine::{BeforeQuestion, FoldId, Snapshot};
use bkes_core::sequence::NowMs;
use bkes_core::topic::TopicMachine;
use bkes_core::{Cause, Counters, Partition, Position, Watermarks};
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, RwLock, RwLockReadGuard};

/// A number that rises whenever a fold begins anew, and when that is announced.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug, Default)]
pub struct Version(u64);

/// Which fold of a partition counts.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Counting {
    /// This one.
    Fold(FoldId),
    /// None: it begins anew, and that is not announced yet.
    Beginning,
}

/// One partition as all threads know it.
#[derive(Clone, Debug)]
pub struct PartitionState {
    /// What its machine sees. It may be of a fold that no longer counts.
    pub seen: Snapshot,
    /// Which fold counts.
    pub counting: Counting,
    /// Since when.
    pub since: Version,
    /// The end of what is committed.
    pub stored: Position,
    /// Whether it is read anew while the others are served: until it is caught up, or all begin anew.
    pub is_read_anew: bool,
}

impl PartitionState {
    /// What its machine sees, if that is of the fold that counts.
    pub fn current(&self) -> Option<&Snapshot> {
        (self.counting == Counting::Fold(self.seen.fold)).then_some(&self.seen)
    }

    /// Whether the fold that counts was applied up to its target.
    pub fn is_caught_up(&self) -> bool {
        self.current().is_some_and(|seen| seen.is_caught_up)
    }

    /// How far the fold that counts has come. One whose owner has not taken over yet has applied nothing.
    pub fn progress(&self) -> Progress {
        let Some(seen) = self.current() else { return Progress::default() };
        let target = seen.target.map(|target| target.max(seen.applied).0);
        Progress { applied: seen.applied.0, target }
    }

    /// Why it is not served, if that is so.
    pub fn unserved(&self) -> Option<Unready> {
        match self.current() {
            Some(seen) => seen.unserved(),
            // A fold whose owner has not taken over yet has applied nothing.
            None => self.seen.degraded().or(Some(Unready::CatchingUp { applied: 0, target: None })),
        }
    }

    /// What is compared with the log's answer to a question that begins now.
    pub fn before_question(&self) -> Option<BeforeQuestion> {
        let Snapshot { fold, applied, target, .. } = *self.current()?;
        Some(BeforeQuestion { fold, applied, target })
    }

    /// Whether it alone is not served.
    fn is_away(&self) -> bool {
        self.seen.degradation.is_some() || self.is_read_anew
    }

    fn status(&self, ready_lag_ms: NowMs, now: NowMs) -> PartitionStatus {
        let PartitionState { seen, stored, .. } = self;
        let caught_up = self.is_caught_up();
        let state = match &seen.degradation {
            Some(reason) => State::Degraded { reason: reason.to_string() },
            None if !caught_up || seen.lag_ms(now) >= ready_lag_ms => State::CatchingUp,
            None if seen.is_stalled => State::Stalled,
            None if seen.is_cut => State::Cut,
            None => State::Ready,
        };
        let stable = seen.marks.stable.max(seen.applied);
        let target = seen.target.filter(|_| !caught_up).unwrap_or(stable);
        PartitionStatus {
            partition: seen.partition,
            state,
            applied: seen.applied,
            stored: *stored,
            target,
            high: seen.marks.high.max(seen.applied),
            lag: target.0.saturating_sub(seen.applied.0),
            counters: seen.counters,
        }
    }
}

/// A partition's place on the board.
#[derive(Debug)]
pub struct PartitionBoard {
    pub partition: Partition,
    /// What was decided last, for those who follow.
    pub ring: Ring,
    state: RwLock<PartitionState>,
}

impl PartitionBoard {
    /// A partition that is read up to what is stable now before it is served.
    pub fn new(partition: Partition, marks: Watermarks) -> PartitionBoard {
        let seen = Snapshot {
            partition,
            fold: FoldId::default(),
            applied: marks.low,
            target: Some(marks.stable),
            is_caught_up: false,
            marks,
            lagging_since: None,
            is_stalled: false,
            is_cut: false,
            degradation: None,
            counters: Counters::default(),
        };
        let state = PartitionState {
            seen,
            counting: Counting::Fold(FoldId::default()),
            since: Version::default(),
            stored: Position::START,
            is_read_anew: false,
        };
        PartitionBoard { partition, ring: Ring::default(), state: RwLock::new(state) }
    }

    /// It, as it is now. Whoever changes it waits meanwhile.
    pub fn state(&self) -> RwLockReadGuard<'_, PartitionState> {
        self.state.read().unwrap_or_else(PoisonError::into_inner)
    }

    /// Whether this fold counts.
    pub fn counts(&self, fold: FoldId) -> bool {
        self.state().counting == Counting::Fold(fold)
    }
}

/// How much is applied, and how much is to be, as far as that is known.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Progress {
    pub applied: u64,
    pub target: Option<u64>,
}

/// Calls, by how they ended.
#[derive(Debug, Default)]
pub struct Ended {
    pub appended: AtomicU64,
    pub conflicts: AtomicU64,
    pub unknown: AtomicU64,
}

/// The board of an engine.
#[derive(Debug)]
pub struct Board {
    partitions: RwLock<Vec<Arc<PartitionBoard>>>,
    /// How many of them are not caught up; changed under the lock of the one that changes.
    unread: AtomicUsize,
    topic: Mutex<TopicMachine>,
    epoch: AtomicU64,
    version: AtomicU64,
    pub stopping: AtomicBool,
    pub ended: Ended,
    pub store_view: StoreView,
    log_down: FaultFlag<Cause>,
    store_down: FaultFlag<Cause>,
    fault: FaultFlag<Fault>,
}

impl Board {
    pub fn new(partitions: Vec<Arc<PartitionBoard>>, topic: TopicMachine) -> Board {
        Board {
            unread: AtomicUsize::new(partitions.len()),
            partitions: RwLock::new(partitions),
            topic: Mutex::new(topic),
            epoch: AtomicU64::new(0),
            version: AtomicU64::new(0),
            stopping: AtomicBool::new(false),
            ended: Ended::default(),
            store_view: StoreView::default(),
            log_down: FaultFlag::default(),
            store_down: FaultFlag::default(),
            fault: FaultFlag::default(),
        }
    }

    pub fn partitions(&self) -> RwLockReadGuard<'_, Vec<Arc<PartitionBoard>>> {
        self.partitions.read().unwrap_or_else(PoisonError::into_inner)
    }

    pub fn partition(&self, partition: Partition) -> Option<Arc<PartitionBoard>> {
        self.partitions().get(partition.0 as usize).cloned()
    }

    /// The topic machine; whoever else asks it waits.
    pub fn topic(&self) -> MutexGuard<'_, TopicMachine> {
        lock(&self.topic)
    }

    /// Changes a partition's state.
    pub fn change<R>(&self, board: &PartitionBoard, change: impl FnOnce(&mut PartitionState) -> R) -> R {
        let mut state = board.state.write().unwrap_or_else(PoisonError::into_inner);
        let was_unread = !state.is_caught_up();
        let changed = change(&mut state);
        let is_caught_up = state.is_caught_up();
        state.is_read_anew &= !is_caught_up;
        match (was_unread, !is_caught_up) {
            (true, false) => drop(self.unread.fetch_sub(1, Ordering::SeqCst)),
            (false, true) => drop(self.unread.fetch_add(1, Ordering::SeqCst)),
            _ => {}
        }
        changed
    }

    /// What readers go by: while it does not change, no fold has begun anew.
    pub fn version(&self) -> Version {
        Version(self.version.load(Ordering::SeqCst))
    }

    /// What is found if no fold begins anew meanwhile and the store is not opened anew, either of which may take events away while they
    /// are looked for: it is looked for again then, a few times.
    pub fn not_overtaken<T>(&self, look: impl Fn(Version) -> T) -> Option<T> {
        (0..LOCATE_TRIES).find_map(|_| {
            let version = self.version();
            let found = look(version);
            (self.store_view.is_settled() && self.version() == version).then_some(found)
        })
    }

    /// Why what was looked for is not told, where it was overtaken.
    pub fn overtaken(&self) -> Unready {
        match self.store_down() {
            Some(cause) if !self.store_view.is_settled() => Unready::Store { cause },
            _ => self.still_catching_up(),
        }
    }

    /// The folds of these partitions begin anew: nothing is read from them until that is announced. Only the writer calls this.
    pub fn begin(&self, partitions: &[Arc<PartitionBoard>]) {
        self.set_counting(partitions, |_| Counting::Beginning);
    }

    /// They have begun anew, as the fold returned. Only the writer calls this.
    pub fn announce(&self, partitions: &[Arc<PartitionBoard>]) -> FoldId {
        let fold = |Version(version)| FoldId(version);
        fold(self.set_counting(partitions, |version| Counting::Fold(fold(version))))
    }

    fn set_counting(
        &self,
        partitions: &[Arc<PartitionBoard>],
        counting: impl Fn(Version) -> Counting,
    ) -> Version {
        let since = Version(self.version().0 + 1);
        for board in partitions {
            self.change(board, |state| (state.counting, state.since) = (counting(since), since));
        }
        self.version.store(since.0, Ordering::SeqCst);
        since
    }

    /// Whether what was seen in the store of these partitions since the board had this version counts: none of them began anew, and the
    /// store is not being opened anew.
    pub fn holds_since(&self, version: Version, partitions: impl Iterator<Item = Partition>) -> bool {
        self.store_view.is_settled() && self.is_as_in(version, partitions)
    }

    /// Whether what was seen in the store of a partition counts for this fold: it counts itself, and the store is not being opened anew.
    pub fn holds_for(&self, board: &PartitionBoard, fold: FoldId) -> bool {
        self.store_view.is_settled() && board.counts(fold)
    }

    /// Whether none of these partitions began anew since the board had this version.
    pub fn is_as_in(&self, version: Version, mut partitions: impl Iterator<Item = Partition>) -> bool {
        let is_as_then =
            |partition| self.partition(partition).is_some_and(|board| board.state().since <= version);
        self.version() == version || partitions.all(is_as_then)
    }

    /// Which run of all folds this is.
    pub fn epoch(&self) -> Epoch {
        Epoch(self.epoch.load(Ordering::SeqCst))
    }

    /// All folds begin anew, or have. Only the writer calls this.
    pub fn next_epoch(&self) -> Epoch {
        Epoch(self.epoch.fetch_add(1, Ordering::SeqCst) + 1)
    }

    /// Adds the next partition; says whether it was not there yet.
    pub fn add_partition(&self, partition: Arc<PartitionBoard>) -> bool {
        let mut partitions = self.partitions.write().unwrap_or_else(PoisonError::into_inner);
        let number = partition.partition.0 as usize;
        assert!(number <= partitions.len(), "partitions are added in order");
        if number < partitions.len() {
            return false;
        }
        self.unread.fetch_add(1, Ordering::SeqCst);
        partitions.push(partition);
        true
    }

    pub fn set_log_down(&self, cause: Option<Cause>) {
        self.log_down.set(cause);
    }

    pub fn log_down(&self) -> Option<Cause> {
        self.log_down.get()
    }

    pub fn set_store_down(&self, cause: Option<Cause>) {
        self.store_down.set(cause);
    }

    pub fn store_down(&self) -> Option<Cause> {
        self.store_down.get()
    }

    /// Something is wrong with the whole engine.
    pub fn set_fault(&self, fault: Fault) {
        if self.fault.set_if(|known| known.is_none_or(|known| known.rank() < fault.rank()), fault.clone()) {
            tracing::error!("no partition is served any more: {fault}");
        }
    }

    /// What a partition says of itself while something is wrong with all.
    pub fn faulty(&self, partition: Partition) -> Option<Unready> {
        self.fault.get().map(|fault| Unready::Degraded { partition, detail: fault.to_string() })
    }

    /// Why a partition is not served, if that is so.
    pub fn unserved(&self, board: &PartitionBoard) -> Option<Unready> {
        self.faulty(board.partition).or_else(|| board.state().unserved())
    }

    /// Whether every partition was applied up to its target.
    pub fn all_read(&self) -> bool {
        self.unread.load(Ordering::SeqCst) == 0
    }

    /// Whether a partition was not yet applied up to its target, and if it never will by itself, why. New aggregates, and saying
    /// that there is none, need all.
    pub fn catching_up(&self) -> Option<Unready> {
        if self.all_read() { None } else { self.catching_up_among(|_| true) }
    }

    fn catching_up_among(&self, is_meant: impl Fn(&PartitionState) -> bool) -> Option<Unready> {
        let partitions = self.partitions();
        let (mut is_behind, mut stuck) = (false, None);
        for board in partitions.iter() {
            let state = board.state();
            if !is_meant(&state) || state.is_caught_up() {
                continue;
            }
            is_behind = true;
            stuck = stuck.or_else(|| self.faulty(board.partition)).or_else(|| state.seen.degraded());
        }
        is_behind.then(|| stuck.unwrap_or_else(|| Board::progress(&partitions)))
    }

    /// The same where it was found so a moment ago.
    pub fn still_catching_up(&self) -> Unready {
        let unready = self.catching_up();
        unready.unwrap_or_else(|| Board::progress(&self.partitions()))
    }

    fn progress(partitions: &[Arc<PartitionBoard>]) -> Unready {
        let (mut applied, mut target) = (0, Some(0));
        for board in partitions {
            let progress = board.state().progress();
            applied += progress.applied;
            target = target.zip(progress.target).map(|(all, one)| all + one);
        }
        Unready::CatchingUp { applied, target }
    }

    /// The partitions that were not yet applied up to their targets.
    pub fn behind(&self) -> Vec<Partition> {
        let partitions = self.partitions();
        partitions.iter().filter(|board| !board.state().is_caught_up()).map(|board| board.partition).collect()
    }

    /// A partition that is degraded.
    fn degraded(&self) -> Option<Unready> {
        let degraded = |board: &Arc<PartitionBoard>| {
            self.faulty(board.partition).or_else(|| board.state().seen.degraded())
        };
        self.partitions().iter().find_map(degraded)
    }

    /// Why an owner has ended: the engine stops, or a thread panicked and every partition says so.
    pub fn why_ended(&self) -> Unready {
        let stopping = self.stopping.load(Ordering::Acquire);
        self.degraded().filter(|_| !stopping).unwrap_or(Unready::ShuttingDown)
    }

    /// Why the engine as a whole is not ready. While some of its partitions are served, it is.
    pub fn unready(&self, ready_lag_ms: NowMs, now: NowMs) -> Option<Unready> {
        if self.stopping.load(Ordering::Acquire) {
            return Some(Unready::ShuttingDown);
        }
        if let Some(unready) = self.none_served() {
            return Some(unready);
        }
        if let Some(cause) = self.log_down() {
            return Some(Unready::LogDown { cause });
        }
        if let Some(cause) = self.store_down() {
            return Some(Unready::Store { cause });
        }
        let catching_up = self.catching_up_among(|state| !state.is_read_anew);
        catching_up.or_else(|| self.lagging(ready_lag_ms, now))
    }

    /// Why no partition at all is served, if that is so.
    fn none_served(&self) -> Option<Unready> {
        let none = self.fault.is_set() || self.partitions().iter().all(|board| board.state().is_away());
        if none { self.degraded().or_else(|| self.catching_up()) } else { None }
    }

    /// A partition that lags for too long.
    fn lagging(&self, ready_lag_ms: NowMs, now: NowMs) -> Option<Unready> {
        self.partitions().iter().find_map(|board| {
            let state = board.state();
            let lag_ms = state.seen.lag_ms(now);
            let lags = !state.is_read_anew && lag_ms >= ready_lag_ms;
            lags.then_some(Unready::Lagging { partition: board.partition, lag_ms })
        })
    }

    /// The status of each partition.
    pub fn status(&self, ready_lag_ms: NowMs, now: NowMs) -> Vec<PartitionStatus> {
        let fault = self.fault.get();
        let of = |board: &Arc<PartitionBoard>| {
            let status = board.state().status(ready_lag_ms, now);
            match &fault {
                Some(fault) => {
                    PartitionStatus { state: State::Degraded { reason: fault.to_string() }, ..status }
                }
                None => status,
            }
        };
        self.partitions().iter().map(of).collect()
    }
}

#[cfg(test)]
mod tests;
