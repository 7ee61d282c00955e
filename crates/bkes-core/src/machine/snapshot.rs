//! What others may know of a partition.

use super::{Degradation, PartitionMachine};
use crate::append::Unready;
use crate::sequence::NowMs;
use crate::{Counters, Partition, Position, Watermarks};
use std::fmt;

/// Which fold of a partition: rises whenever it begins anew.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Default)]
pub struct FoldId(pub u64);

impl fmt::Display for FoldId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// A partition as its machine sees it, at one moment.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Snapshot {
    /// The partition.
    pub partition: Partition,
    /// Its fold.
    pub fold: FoldId,
    /// The next offset that this fold applies.
    pub applied: Position,
    /// Up to where it must be applied before it is served; `None` until the log says so.
    pub target: Option<Position>,
    /// Whether it was.
    pub is_caught_up: bool,
    /// What the log said last.
    pub marks: Watermarks,
    /// Since when something is known to be unread.
    pub lagging_since: Option<NowMs>,
    /// Whether an open transaction of somebody else holds it.
    pub is_stalled: bool,
    /// Whether the head of its log was cut off.
    pub is_cut: bool,
    /// Why it is not served although it is caught up.
    pub degradation: Option<Degradation>,
    /// What its records were.
    pub counters: Counters,
}

impl Snapshot {
    /// For how long something has been known to be unread.
    pub fn lag_ms(&self, now: NowMs) -> NowMs {
        self.lagging_since.map_or(0, |since| now.saturating_sub(since))
    }

    /// Why it is not served although it may be caught up, if that is so.
    pub fn degraded(&self) -> Option<Unready> {
        let reason = self.degradation.as_ref()?;
        Some(Unready::Degraded { partition: self.partition, detail: reason.to_string() })
    }

    /// Why nothing is read from it and appended to it, if that is so.
    pub fn unserved(&self) -> Option<Unready> {
        if let Some(unready) = self.degraded() {
            return Some(unready);
        }
        let target = self.target.map(|target| target.max(self.applied).0);
        (!self.is_caught_up).then_some(Unready::CatchingUp { applied: self.applied.0, target })
    }
}

impl<T> PartitionMachine<T> {
    /// The partition as it is now.
    pub fn snapshot(&self) -> Snapshot {
        Snapshot {
            partition: self.partition,
            fold: self.fold,
            applied: self.checkpoint.position,
            target: self.target,
            is_caught_up: self.is_caught_up,
            marks: self.marks,
            lagging_since: self.lagging_since,
            is_stalled: self.is_stalled,
            is_cut: self.checkpoint.cut,
            degradation: self.degradation.clone(),
            counters: self.checkpoint.counters,
        }
    }

    /// Brings a snapshot of this partition up to date: next to nothing where little has changed.
    pub fn update(&self, snapshot: &mut Snapshot) {
        snapshot.fold = self.fold;
        snapshot.applied = self.checkpoint.position;
        snapshot.target = self.target;
        snapshot.is_caught_up = self.is_caught_up;
        snapshot.marks = self.marks;
        snapshot.lagging_since = self.lagging_since;
        snapshot.is_stalled = self.is_stalled;
        snapshot.is_cut = self.checkpoint.cut;
        snapshot.counters = self.checkpoint.counters;
        if snapshot.degradation != self.degradation {
            snapshot.degradation.clone_from(&self.degradation);
        }
    }
}
