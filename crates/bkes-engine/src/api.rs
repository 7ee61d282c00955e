//! What a caller of the engine says and hears: requests, answers, errors and the status. Plain data, no behaviour.

use crate::epoch::Epoch;
use crate::no_order::NoOrder;
use crate::positions_error::PositionsError;
use bkes_api::{Freshness, Layout, PartitionStatus};
use bkes_core::append::{EventContent, List, Unready};
use bkes_core::{Cause, Key, Offset, Order, Partition, StoredEvent, TimestampMs};

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
    /// The order of the first event that the aggregate has: above 0 where the head of the log was removed.
    pub first: Order,
    /// The order the aggregate's next event takes, as of this read.
    pub next: Order,
    /// Whether there are accepted events after these.
    pub more: bool,
    /// Whether they lie in one partition, and how they are shown if not.
    pub layout: Layout,
}

/// Where an aggregate stands.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct AggregateHead {
    /// The order of its first event: above 0 where the head of the log was removed.
    pub first: Order,
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
    /// [`Freshness::AtLeast`]: the positions cannot be waited for.
    #[error(transparent)]
    Positions(PositionsError),
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
