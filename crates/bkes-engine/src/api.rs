//! What a caller of the engine says and hears: requests, answers, errors and the status. Plain data, no behaviour.

use crate::epoch::Epoch;
use crate::layout::{Layout, NoOrder};
use crate::limits::{KEYS_BYTES_MAX, KEYS_MAX};
use bkes_core::append::{EventContent, List, Unready};
use bkes_core::{Cause, Counters, Key, Offset, Order, Partition, Position, StoredEvent, TimestampMs};
use bytes::Bytes;

/// How much of what the log holds an answer takes in.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub enum Freshness {
    /// What this instance has applied: what it was itself told of, and what it has read of others.
    #[default]
    Local,
    /// All that anyone was told of, on any instance, before the call began: the log is asked how far it goes, and everything up to there
    /// applied first. Where that cannot be done in 10 s the answer is unavailable.
    Latest,
}

/// Which events of an aggregate to read.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct ReadRequest {
    /// The aggregate.
    pub key: Key,
    /// The first event wanted. (Of a split aggregate: its index over all partitions.)
    pub from: Order,
    /// Most events to return.
    pub events_max: usize,
    /// The read ends after the event that reaches this many bytes of values and headers.
    pub bytes_max: usize,
    /// All or nothing: if there are more than `events_max` events, none is read, and the answer says that there are more.
    pub whole: bool,
    /// Show appends that are not decided yet too. Whoever decides on one decides on a false premise.
    pub include_pending: bool,
    /// What the answer takes in.
    pub freshness: Freshness,
}

impl ReadRequest {
    /// Everything of an aggregate, without a bound.
    pub fn all(key: Key) -> ReadRequest {
        ReadRequest {
            key,
            from: Order::FIRST,
            events_max: usize::MAX,
            bytes_max: usize::MAX,
            whole: false,
            include_pending: false,
            freshness: Freshness::Local,
        }
    }
}

/// Events of an aggregate.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Events {
    /// Accepted events, in order.
    pub events: Vec<StoredEvent>,
    /// What is sent and not decided, when asked for and `events` reaches the end: if it is accepted, the first of these takes the
    /// order `next`, which no event had taken when this was read.
    pub pending: Vec<EventContent>,
    /// The order the aggregate's next event takes, as of this read.
    pub next: Order,
    /// Whether there are accepted events after these.
    pub more: bool,
    /// Whether they lie in one partition, and how they are shown if not.
    pub layout: Layout,
}

/// Which aggregates to list. The default is the first page of all, as large as one may be.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct KeysRequest {
    /// Those whose keys begin with this; empty for all.
    pub prefix: Bytes,
    /// Those above this key: the last one of the page before.
    pub after: Option<Key>,
    /// Most keys to return; [`KEYS_MAX`](crate::KEYS_MAX) at most are. One is returned where this is 0, so that whoever goes on after
    /// the last key of a page comes to the end.
    pub keys_max: usize,
    /// Stop after the key with which the keys reach this many bytes in all; [`KEYS_BYTES_MAX`](crate::KEYS_BYTES_MAX) counts if that
    /// is less. At least one key is returned.
    pub bytes_max: usize,
    /// What the list takes in.
    pub freshness: Freshness,
}

impl Default for KeysRequest {
    fn default() -> KeysRequest {
        let (prefix, after, freshness) = (Bytes::new(), None, Freshness::Local);
        KeysRequest { prefix, after, keys_max: KEYS_MAX, bytes_max: KEYS_BYTES_MAX, freshness }
    }
}

/// Aggregates in the order of their keys.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct KeyList {
    /// Each key once.
    pub keys: Vec<ListedKey>,
    /// Whether there are keys after these.
    pub more: bool,
}

/// An aggregate of a list.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct ListedKey {
    /// Its key.
    pub key: Key,
    /// The order its next event takes, as of this list. (Of a split aggregate: the number of its events.)
    pub next: Order,
    /// Where its events lie, lowest first: one partition, unless it is split.
    pub partitions: Vec<Partition>,
}

/// Where an aggregate stands.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct AggregateHead {
    /// The order its next event takes.
    pub next: Order,
    /// Its last event. Of a split aggregate: the last of the order that reads show it in.
    pub last: LastEvent,
    /// Whether its events lie in one partition.
    pub layout: Layout,
}

/// The place and time of an event.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct LastEvent {
    /// Its partition.
    pub partition: Partition,
    /// Its offset.
    pub offset: Offset,
    /// The time the log gave it.
    pub timestamp: Option<TimestampMs>,
}

/// Why a read has no answer.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
pub enum ReadError {
    /// The aggregate has no events.
    #[error("no aggregate with key {key}")]
    NoSuchAggregate {
        /// The key asked for.
        key: Key,
    },
    /// Not now.
    #[error("unavailable: {0}")]
    Unavailable(Unready),
    /// With [`EngineOptions::split_by_order_headers`](crate::EngineOptions::split_by_order_headers): the aggregate is split over
    /// partitions, and its headers give no order.
    #[error(
        "the aggregate is split over partitions {}, and its order headers are not one order: {why}",
        List(partitions)
    )]
    Split {
        /// Where its events lie.
        partitions: Vec<Partition>,
        /// What is wrong with the headers.
        why: NoOrder,
    },
    /// Stored bytes are not what was written; the store is rebuilt from the log by itself.
    #[error("the store is damaged and is being rebuilt: {detail}")]
    Damaged {
        /// What was found.
        detail: String,
        /// Which of the engine's folds met it.
        epoch: Epoch,
    },
    /// The store could not be read.
    #[error("the store failed: {cause}")]
    Store {
        /// What went wrong.
        #[source]
        cause: Cause,
    },
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

/// The engine's status.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Status {
    /// Why it is not ready; `None` when it is.
    pub unready: Option<Unready>,
    /// Every partition.
    pub partitions: Vec<PartitionStatus>,
    /// Appends answered "unknown" since start.
    pub unknown: u64,
    /// Appends answered "conflict" since start, and start on an existing aggregate.
    pub conflicts: u64,
    /// Appends answered with success since start.
    pub appended: u64,
    /// Aggregates in the store.
    pub keys: u64,
    /// Size of the store's file in bytes.
    pub store_bytes: u64,
}
