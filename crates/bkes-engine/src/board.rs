//! The board: what every thread of an engine may know of every other, without waiting for it.
//!
//! Owners write where their partitions stand, the monitor what the log says, the writer what is stored; readers, the status
//! and the admission of appends look. Nothing here decides: the accept rule and the sequencer do.

use crate::degraded::Degradation;
use crate::lock::lock;
use crate::placing::Sample;
use crate::verifier::Awaited;
use crate::writer::Shown;
use crate::{PartitionState, PartitionStatus, Unready};
use bkes_core::evidence::{Completeness, PlacedKey};
use bkes_core::{Key, Partition, Partitioner, Position};
use bkes_storage::Counters;
use std::num::NonZeroU32;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, RwLock, RwLockReadGuard};

/// A target that the next look at the log has to prove.
pub const TARGET_UNKNOWN: u64 = u64::MAX;

const NEVER: u64 = u64::MAX;

/// One partition as others see it.
#[derive(Debug)]
pub struct PartitionBoard {
    pub partition: Partition,
    /// Which of its folds counts: rises when it begins anew and when that is announced, odd in between. See [`Board::version`].
    epoch: AtomicU64,
    /// The next offset to apply, in the fold of the epoch beside it.
    pub applied: AtomicU64,
    /// The epoch of the fold that `applied` is of; `NEVER` before there is one, and while one takes over.
    fold: AtomicU64,
    /// The end of what is committed.
    pub stored: AtomicU64,
    /// Up to where it must be applied before it is served: the proven target of the start, or what was shown before a fall-back.
    pub target: AtomicU64,
    /// The low watermark, the last stable offset and the high watermark at the last look.
    pub low: AtomicU64,
    pub stable: AtomicU64,
    pub high: AtomicU64,
    /// Up to where somebody waits for it to be applied: reading is prompt below.
    pub awaited_end: AtomicU64,
    /// Since when something is known to be unread, in engine milliseconds; 0 when nothing is. Catching up begins it anew.
    pub behind_since_ms: AtomicU64,
    /// The epoch of the fold that was applied up to its target; `NEVER` before.
    caught_up_in: AtomicU64,
    /// Whether it is read anew while the others are served: until it is caught up, or all begin anew.
    pub is_read_anew: AtomicBool,
    /// Whether an open foreign transaction holds it.
    pub stalled: AtomicBool,
    /// Whether the head of its log was cut off.
    pub cut: AtomicBool,
    degraded: Mutex<Option<Degradation>>,
    counters: Mutex<Counters>,
}

impl PartitionBoard {
    pub fn new(partition: Partition, low: Position, target: Position) -> PartitionBoard {
        PartitionBoard {
            partition,
            epoch: AtomicU64::new(0),
            applied: AtomicU64::new(low.0),
            fold: AtomicU64::new(NEVER),
            stored: AtomicU64::new(0),
            target: AtomicU64::new(target.0),
            low: AtomicU64::new(low.0),
            stable: AtomicU64::new(target.0),
            high: AtomicU64::new(target.0),
            awaited_end: AtomicU64::new(0),
            behind_since_ms: AtomicU64::new(0),
            caught_up_in: AtomicU64::new(NEVER),
            is_read_anew: AtomicBool::new(false),
            stalled: AtomicBool::new(false),
            cut: AtomicBool::new(false),
            degraded: Mutex::new(None),
            counters: Mutex::new(Counters::default()),
        }
    }

    /// Which of its folds counts.
    pub fn epoch(&self) -> u64 {
        self.epoch.load(Ordering::SeqCst)
    }

    /// Whether it begins anew and that is not announced yet.
    pub fn is_beginning(&self) -> bool {
        !self.epoch().is_multiple_of(2)
    }

    /// A fold takes over where it begins.
    pub fn begin_fold(&self, epoch: u64, position: Position) {
        self.fold.store(NEVER, Ordering::SeqCst);
        self.applied.store(position.0, Ordering::SeqCst);
        self.fold.store(epoch, Ordering::SeqCst);
    }

    /// What is applied, and the epoch of the fold that applied it; none while one takes over.
    pub fn applied_in(&self) -> Option<(u64, Position)> {
        let before = self.fold.load(Ordering::SeqCst);
        let applied = Position(self.applied.load(Ordering::SeqCst));
        let is_one = before != NEVER && before == self.fold.load(Ordering::SeqCst);
        is_one.then_some((before, applied))
    }

    /// Lets the partition be served once the fold of this epoch is applied up to its target. An owner that has not heard of
    /// a new beginning yet speaks of the old epoch, and that counts for nothing.
    pub fn note_caught_up(&self, epoch: u64) {
        let is_there = self.applied.load(Ordering::Acquire) >= self.target.load(Ordering::Acquire);
        if is_there && !self.is_caught_up_in(epoch) {
            // How long it took is no lag, which only the monitor's next look would end.
            self.behind_since_ms.store(0, Ordering::Release);
            self.caught_up_in.store(epoch, Ordering::Release);
            if epoch == self.epoch() {
                self.is_read_anew.store(false, Ordering::Release);
            }
        }
    }

    /// Whether the fold of this epoch was applied up to its target.
    pub fn is_caught_up_in(&self, epoch: u64) -> bool {
        self.caught_up_in.load(Ordering::Acquire) == epoch
    }

    /// Whether the fold that counts was applied up to its target.
    pub fn is_caught_up(&self) -> bool {
        // No fold has an odd epoch.
        self.is_caught_up_in(self.epoch())
    }

    /// Marks the partition as not served, unless it is so for a reason that takes as much to be mended.
    pub fn degrade(&self, reason: Degradation) {
        let mut degraded = lock(&self.degraded);
        if degraded.as_ref().is_none_or(|known| known.rank() < reason.rank()) {
            tracing::error!(partition = self.partition.0, "partition degraded: {reason}");
            *degraded = Some(reason);
        }
    }

    /// Everything below `position` was read: what lay in a record below it is over. Says where the next such record is.
    pub fn passed(&self, position: Position) -> Option<Position> {
        let mut degraded = lock(&self.degraded);
        let stopped_at = degraded.as_ref()?.stopped_at()?;
        if position > stopped_at {
            let reason = degraded.take().map(|reason| reason.to_string()).unwrap_or_default();
            tracing::info!(partition = self.partition.0, "no longer degraded: {reason}");
            return None;
        }
        Some(stopped_at)
    }

    /// The fold begins anew at `position`: what that mends is over. Says whether the log had lost what was applied.
    pub fn mend(&self, shown: Shown, position: Position) -> bool {
        let mut degraded = lock(&self.degraded);
        let is_loss = degraded.as_ref().is_some_and(Degradation::is_loss);
        if let Some(reason) = degraded.take_if(|reason| !reason.outlasts(shown, position)) {
            tracing::info!(partition = self.partition.0, "no longer degraded: {reason}");
            return is_loss;
        }
        false
    }

    /// Why it is not served, in words.
    pub fn degraded(&self) -> Option<String> {
        lock(&self.degraded).as_ref().map(Degradation::to_string)
    }

    /// Where the record is that reading has to come past before it is served.
    pub fn stopped_at(&self) -> Option<Position> {
        lock(&self.degraded).as_ref().and_then(Degradation::stopped_at)
    }

    /// Why it is not served, if that is so.
    pub fn unserved(&self) -> Option<Unready> {
        let partition = self.partition;
        if let Some(detail) = self.degraded() {
            return Some(Unready::Degraded { partition, detail });
        }
        (!self.is_caught_up()).then(|| {
            let Progress { applied, target } = self.progress();
            Unready::CatchingUp { applied, target }
        })
    }

    /// How far the fold that counts has come. One that has not taken over yet has applied nothing.
    pub fn progress(&self) -> Progress {
        let epoch = self.epoch();
        let of_this = self.applied_in().filter(|(fold, _)| *fold == epoch);
        let Some((_, applied)) = of_this else { return Progress { applied: 0, target: None } };
        let target = self.target.load(Ordering::Acquire);
        let target = (target != TARGET_UNKNOWN).then_some(target.max(applied.0));
        Progress { applied: applied.0, target }
    }

    pub fn set_counters(&self, counters: Counters) {
        *lock(&self.counters) = counters;
    }

    pub fn status(&self, ready_lag_ms: u64, now_ms: u64) -> PartitionStatus {
        let position = |value: &AtomicU64| Position(value.load(Ordering::Acquire));
        let (applied, stable) = (position(&self.applied), position(&self.stable));
        let caught_up = self.is_caught_up();
        let state = match self.degraded() {
            Some(reason) => PartitionState::Degraded { reason },
            None if !caught_up || self.lag_ms(now_ms) >= ready_lag_ms => PartitionState::CatchingUp,
            None if self.stalled.load(Ordering::Acquire) => PartitionState::Stalled,
            None if self.cut.load(Ordering::Acquire) => PartitionState::Cut,
            None => PartitionState::Ready,
        };
        let target = position(&self.target);
        let target = if caught_up || target.0 == TARGET_UNKNOWN { stable.max(applied) } else { target };
        PartitionStatus {
            partition: self.partition,
            state,
            applied,
            stored: position(&self.stored),
            target,
            high: position(&self.high).max(applied),
            lag: target.0.saturating_sub(applied.0),
            counters: *lock(&self.counters),
        }
    }

    /// Whether it alone is not served.
    fn is_away(&self) -> bool {
        self.degraded().is_some() || self.is_read_anew.load(Ordering::Acquire)
    }

    /// For how long something has been known to be unread.
    pub fn lag_ms(&self, now_ms: u64) -> u64 {
        match self.behind_since_ms.load(Ordering::Acquire) {
            0 => 0,
            since => now_ms.saturating_sub(since),
        }
    }
}

/// How much is applied, and how much is to be, as far as that is known.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Progress {
    pub applied: u64,
    pub target: Option<u64>,
}

/// How new keys are placed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Placing {
    pub partitions: NonZeroU32,
    pub partitioner: Option<Partitioner>,
}

impl Placing {
    /// The partition that a key hashes to. Where its aggregate lives may be another one.
    pub fn guess(&self, key: &Key) -> Partition {
        self.partitioner.map_or(Partition(0), |partitioner| partitioner.place(key.as_ref(), self.partitions))
    }
}

/// The board of an engine.
#[derive(Debug)]
pub struct Board {
    partitions: RwLock<Vec<Arc<PartitionBoard>>>,
    placing: Mutex<Placing>,
    /// Those who wait for something to be applied.
    pub awaited: Awaited,
    sample: Mutex<Sample>,
    sample_wanted: AtomicBool,
    /// Whether an earlier run read keys that are not in the sample.
    completeness: Completeness,
    /// Rises by one when all folds begin anew and by one when that is announced: odd while reads must not be answered.
    pub epoch: AtomicU64,
    /// Rises by two when any fold begins anew and when that is announced.
    version: AtomicU64,
    pub stopping: AtomicBool,
    pub appended: AtomicU64,
    pub conflicts: AtomicU64,
    pub unknown: AtomicU64,
    log_down: FaultFlag,
    store_down: FaultFlag,
    /// When the log last answered the monitor, in engine milliseconds.
    pub looked_ms: AtomicU64,
}

impl Board {
    pub fn new(partitions: Vec<Arc<PartitionBoard>>, placing: Placing) -> Board {
        Board {
            partitions: RwLock::new(partitions),
            placing: Mutex::new(placing),
            awaited: Awaited::default(),
            sample: Mutex::default(),
            sample_wanted: AtomicBool::new(placing.partitioner.is_none()),
            completeness: Completeness::Whole,
            epoch: AtomicU64::new(0),
            version: AtomicU64::new(0),
            stopping: AtomicBool::new(false),
            appended: AtomicU64::new(0),
            conflicts: AtomicU64::new(0),
            unknown: AtomicU64::new(0),
            log_down: FaultFlag::default(),
            store_down: FaultFlag::default(),
            looked_ms: AtomicU64::new(0),
        }
    }

    pub fn partitions(&self) -> RwLockReadGuard<'_, Vec<Arc<PartitionBoard>>> {
        self.partitions.read().unwrap_or_else(std::sync::PoisonError::into_inner)
    }

    pub fn partition(&self, partition: Partition) -> Option<Arc<PartitionBoard>> {
        self.partitions().get(partition.0 as usize).cloned()
    }

    /// What readers go by: while it does not change, no fold has begun anew. If it has, a partition whose fold has is one whose epoch
    /// is higher than this was.
    pub fn version(&self) -> u64 {
        self.version.load(Ordering::SeqCst)
    }

    /// The folds of these partitions begin anew: nothing is read from them until that is announced. Only the writer calls this.
    pub fn begin(&self, partitions: &[Arc<PartitionBoard>]) {
        let version = self.version() + 2;
        partitions.iter().for_each(|board| board.epoch.store(version + 1, Ordering::SeqCst));
        self.version.store(version, Ordering::SeqCst);
    }

    /// They have begun anew, in the epoch returned. Only the writer calls this.
    pub fn announce(&self, partitions: &[Arc<PartitionBoard>]) -> u64 {
        let version = self.version() + 2;
        partitions.iter().for_each(|board| board.epoch.store(version, Ordering::SeqCst));
        self.version.store(version, Ordering::SeqCst);
        version
    }

    /// Whether none of these partitions began anew since the board had this version.
    pub fn is_as_in(&self, version: u64, mut partitions: impl Iterator<Item = Partition>) -> bool {
        let is_as_then = |partition| self.partition(partition).is_some_and(|board| board.epoch() <= version);
        self.version() == version || partitions.all(is_as_then)
    }

    /// Adds the next partition; says whether it was not there yet.
    pub fn add_partition(&self, partition: Arc<PartitionBoard>) -> bool {
        let mut partitions = self.partitions.write().unwrap_or_else(std::sync::PoisonError::into_inner);
        let number = partition.partition.0 as usize;
        assert!(number <= partitions.len(), "partitions are added in order");
        if number < partitions.len() {
            return false;
        }
        let of_all =
            |board: &Arc<PartitionBoard>| lock(&board.degraded).clone().filter(Degradation::is_of_all);
        if let Some(reason) = partitions.iter().find_map(of_all) {
            partition.degrade(reason);
        }
        partitions.push(partition);
        true
    }

    pub fn placing(&self) -> Placing {
        *lock(&self.placing)
    }

    /// Changes how new keys are placed; whoever else does waits.
    pub fn change_placing<T>(&self, change: impl FnOnce(&mut Placing) -> T) -> T {
        let mut placing = lock(&self.placing);
        let changed = change(&mut placing);
        if placing.partitioner.is_some() {
            self.sample_wanted.store(false, Ordering::Relaxed);
        }
        changed
    }

    /// New keys are refused whatever the topic says.
    pub fn refuse_new_keys(&mut self) {
        self.sample_wanted.store(false, Ordering::Relaxed);
    }

    /// Keys that an earlier run had read are not seen in this one.
    pub fn set_completeness(&mut self, completeness: Completeness) {
        self.completeness = completeness;
    }

    pub fn completeness(&self) -> Completeness {
        self.completeness
    }

    /// Whether the topic's keys still matter for the choice of the partitioner.
    pub fn wants_evidence(&self) -> bool {
        self.sample_wanted.load(Ordering::Relaxed)
    }

    pub fn add_evidence(&self, keys: impl IntoIterator<Item = PlacedKey>) {
        self.sample().add(keys);
    }

    pub fn sample(&self) -> MutexGuard<'_, Sample> {
        lock(&self.sample)
    }

    pub fn set_log_down(&self, detail: Option<String>) {
        self.log_down.set(detail);
    }

    pub fn log_down(&self) -> Option<String> {
        self.log_down.get()
    }

    pub fn set_store_down(&self, detail: Option<String>) {
        self.store_down.set(detail);
    }

    pub fn store_down(&self) -> Option<String> {
        self.store_down.get()
    }

    /// Whether a partition was not yet applied up to its target, and if it never will by itself, why. New aggregates, and saying
    /// that there is none, need all.
    pub fn catching_up(&self) -> Option<Unready> {
        self.catching_up_among(|_| true)
    }

    fn catching_up_among(&self, is_meant: impl Fn(&PartitionBoard) -> bool) -> Option<Unready> {
        let partitions = self.partitions();
        let is_behind = |p: &&Arc<PartitionBoard>| is_meant(p) && !p.is_caught_up();
        partitions.iter().find(is_behind)?;
        let stuck = partitions
            .iter()
            .filter(is_behind)
            .find_map(|p| p.degraded().map(|detail| Unready::Degraded { partition: p.partition, detail }));
        stuck.or_else(|| Some(Board::progress(&partitions)))
    }

    /// The same where it was found so a moment ago.
    pub fn still_catching_up(&self) -> Unready {
        let unready = self.catching_up();
        unready.unwrap_or_else(|| Board::progress(&self.partitions()))
    }

    fn progress(partitions: &[Arc<PartitionBoard>]) -> Unready {
        let (mut applied, mut target) = (0, Some(0));
        for partition in partitions {
            let progress = partition.progress();
            applied += progress.applied;
            target = target.zip(progress.target).map(|(all, one)| all + one);
        }
        Unready::CatchingUp { applied, target }
    }

    /// The partitions that were not yet applied up to their targets.
    pub fn behind(&self) -> Vec<Partition> {
        let partitions = self.partitions();
        partitions.iter().filter(|p| !p.is_caught_up()).map(|p| p.partition).collect()
    }

    /// A partition that is degraded.
    fn degraded(&self) -> Option<Unready> {
        self.partitions()
            .iter()
            .find_map(|p| p.degraded().map(|detail| Unready::Degraded { partition: p.partition, detail }))
    }

    /// Why an owner has ended: the engine stops, or a thread panicked and every partition says so.
    pub fn ended(&self) -> Unready {
        let stopping = self.stopping.load(Ordering::Acquire);
        self.degraded().filter(|_| !stopping).unwrap_or(Unready::ShuttingDown)
    }

    /// Why the engine as a whole is not ready. While some of its partitions are served, it is.
    pub fn unready(&self, ready_lag_ms: u64, now_ms: u64) -> Option<Unready> {
        if self.stopping.load(Ordering::Acquire) {
            return Some(Unready::ShuttingDown);
        }
        if self.partitions().iter().all(|p| p.is_away()) {
            return self.degraded().or_else(|| self.catching_up());
        }
        if let Some(detail) = self.log_down() {
            return Some(Unready::LogDown { detail });
        }
        if let Some(detail) = self.store_down() {
            return Some(Unready::Store { detail });
        }
        let is_here = |p: &PartitionBoard| !p.is_read_anew.load(Ordering::Acquire);
        if let Some(unready) = self.catching_up_among(is_here) {
            return Some(unready);
        }
        self.partitions().iter().filter(|p| is_here(p)).find_map(|p| {
            let lag_ms = p.lag_ms(now_ms);
            (lag_ms >= ready_lag_ms).then_some(Unready::Lagging { partition: p.partition, lag_ms })
        })
    }
}

/// What is wrong, if anything; looked at for each append, so without a lock while nothing is.
#[derive(Debug, Default)]
struct FaultFlag {
    words: Mutex<Option<String>>,
    /// Written under the lock of the words.
    is_set: AtomicBool,
}

impl FaultFlag {
    fn get(&self) -> Option<String> {
        if !self.is_set.load(Ordering::Acquire) {
            return None;
        }
        lock(&self.words).clone()
    }

    fn set(&self, words: Option<String>) {
        let mut before = lock(&self.words);
        self.is_set.store(words.is_some(), Ordering::Release);
        *before = words;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A partition that had taken half a minute to read was not served before the monitor's next look, up to ten seconds later.
    #[test]
    fn a_partition_does_not_lag_when_it_has_only_just_caught_up() {
        let board = PartitionBoard::new(Partition(0), Position(0), Position(10));
        board.behind_since_ms.store(1, Ordering::Release);
        board.note_caught_up(0);
        assert_eq!(board.lag_ms(60_001), 60_000, "it is on its way");
        board.applied.store(10, Ordering::Release);
        board.note_caught_up(0);
        assert_eq!((board.is_caught_up(), board.lag_ms(60_001)), (true, 0));
        board.behind_since_ms.store(60_001, Ordering::Release);
        board.note_caught_up(0);
        assert_eq!(board.lag_ms(60_011), 10, "what it missed since then is not forgotten");
    }

    /// While the folds begin anew, and where a partition caught up in the middle of a look, it said "0 of 0 offsets applied".
    #[test]
    fn catching_up_is_told_in_true_numbers_or_said_to_be_unknown() {
        let boards = [(0, 10), (1, 20)].map(|(number, target)| {
            Arc::new(PartitionBoard::new(Partition(number), Position(0), Position(target)))
        });
        let placing = Placing { partitions: NonZeroU32::MIN, partitioner: None };
        let board = Board::new(boards.to_vec(), placing);
        let unready = |applied, target| Unready::CatchingUp { applied, target };
        assert_eq!(board.still_catching_up(), unready(0, None), "no fold has begun");
        boards[0].begin_fold(0, Position(3));
        boards[1].begin_fold(0, Position(4));
        assert_eq!(board.catching_up(), Some(unready(7, Some(30))));
        assert_eq!(boards[1].unserved(), Some(unready(4, Some(20))), "of its own");
        boards[0].begin_fold(0, Position(10));
        boards[1].begin_fold(0, Position(20));
        boards.iter().for_each(|board| board.note_caught_up(0));
        assert_eq!((board.catching_up(), boards[0].unserved()), (None, None));
        assert_eq!(board.still_catching_up(), unready(30, Some(30)), "it was not a moment ago");
        board.begin(&boards);
        assert_eq!(board.still_catching_up(), unready(0, None), "what the folds apply anew is not known");
    }

    #[test]
    fn of_one_partition_that_begins_anew_the_others_know_nothing() {
        let boards =
            [0, 1].map(|number| Arc::new(PartitionBoard::new(Partition(number), Position(0), Position(0))));
        let board = Board::new(boards.to_vec(), Placing { partitions: NonZeroU32::MIN, partitioner: None });
        for board in &boards {
            board.begin_fold(0, Position(0));
            board.note_caught_up(0);
        }
        let before = board.version();
        board.begin(&boards[1..]);
        assert_eq!(boards[0].unserved(), None);
        assert_eq!(boards[1].unserved(), Some(Unready::CatchingUp { applied: 0, target: None }));
        let is_as_before = |partition| board.is_as_in(before, [Partition(partition)].into_iter());
        assert!(is_as_before(0) && !is_as_before(1));
        let epoch = board.announce(&boards[1..]);
        assert!(is_as_before(0) && !is_as_before(1) && !boards[1].is_caught_up());
        // What an owner says that has not heard of it yet.
        boards[1].note_caught_up(0);
        assert!(!boards[1].is_caught_up());
        boards[1].begin_fold(epoch, Position(0));
        boards[1].note_caught_up(epoch);
        assert!(boards[1].is_caught_up() && board.is_as_in(board.version(), [Partition(1)].into_iter()));
    }

    /// An instance of which one partition is read anew said that it does not serve, and was taken away whole by whoever goes by that.
    #[test]
    fn an_instance_is_ready_while_one_partition_is_read_anew_and_not_while_all_are() {
        let boards =
            [0, 1].map(|number| Arc::new(PartitionBoard::new(Partition(number), Position(0), Position(9))));
        let board = Board::new(boards.to_vec(), Placing { partitions: NonZeroU32::MIN, partitioner: None });
        let begin = |board: &PartitionBoard, applied| {
            board.begin_fold(board.epoch(), Position(applied));
            board.note_caught_up(board.epoch());
        };
        begin(&boards[0], 9);
        begin(&boards[1], 3);
        assert!(board.unready(1_000, 1).is_some(), "one is read for the first time");
        begin(&boards[1], 9);
        assert_eq!(board.unready(1_000, 1), None);
        for (count, is_ready) in [(1, true), (2, false)] {
            let anew = &boards[..count];
            board.begin(anew);
            anew.iter().for_each(|board| board.is_read_anew.store(true, Ordering::Release));
            board.announce(anew);
            boards[0].behind_since_ms.store(1, Ordering::Release);
            assert_eq!(board.unready(1_000, 60_000).is_none(), is_ready, "{count} are read anew");
        }
        boards.iter().for_each(|board| begin(board, 9));
        assert_eq!(board.unready(1_000, 60_000), None);
        assert!(boards.iter().all(|board| !board.is_away()));
    }

    /// A panic was forgotten in a partition that came later.
    #[test]
    fn what_is_wrong_with_all_partitions_is_wrong_with_a_new_one() {
        let new = |number| Arc::new(PartitionBoard::new(Partition(number), Position(0), Position(0)));
        let board = Board::new(vec![new(0)], Placing { partitions: NonZeroU32::MIN, partitioner: None });
        let panicked = Degradation::Panicked { thread: "bkes-writer".into(), message: "on purpose".into() };
        board.partitions()[0].degrade(panicked.clone());
        board.add_partition(new(1));
        assert_eq!(
            board.partition(Partition(1)).and_then(|board| board.degraded()),
            Some(panicked.to_string())
        );
    }
}
