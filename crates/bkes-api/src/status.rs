//! What a store is, and how it is.

use crate::failure::Failure;
use crate::positions::TopicId;
use bkes_core::{Counters, Partition, Position};

/// A store's status.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Status {
    /// The program that serves.
    pub build: Build,
    /// The cluster the topic lives in.
    pub cluster: String,
    /// The topic's name.
    pub topic: String,
    /// The topic's own id.
    pub topic_id: TopicId,
    /// Why it is not ready; `None` when it is.
    pub unready: Option<Failure>,
    /// Every partition.
    pub partitions: Vec<PartitionStatus>,
    /// Aggregates in the store.
    pub keys: u64,
    /// Size of the store's file in bytes.
    pub store_bytes: u64,
    /// Appends answered with success since start.
    pub appended: u64,
    /// Appends answered with a conflict since start.
    pub conflicts: u64,
    /// Appends answered "unknown" since start.
    pub unknown: u64,
}

/// Which program serves.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Build {
    /// Its name.
    pub name: String,
    /// Its version.
    pub version: String,
}

/// The state of a partition.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum PartitionState {
    /// Reading up to the target.
    CatchingUp,
    /// Caught up and following.
    Ready,
    /// An open foreign transaction holds the last stable offset back.
    Stalled,
    /// The head of its log is gone: reads only (unless allowed by a flag).
    Cut,
    /// Not served.
    Degraded {
        /// Why, and what to do.
        reason: String,
    },
}

/// One partition, for people and metrics.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct PartitionStatus {
    /// The partition.
    pub partition: Partition,
    /// Its state.
    pub state: PartitionState,
    /// The next offset to apply.
    pub applied: Position,
    /// Up to where the store is committed.
    pub stored: Position,
    /// The end of what can be applied, as of the last look.
    pub target: Position,
    /// The high watermark, as of the last look.
    pub high: Position,
    /// Offsets between applied and target.
    pub lag: u64,
    /// Counts of what was met, over the life of the store.
    pub counters: Counters,
}
