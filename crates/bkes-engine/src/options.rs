//! What an engine is set to, and why one does not start.

use crate::limits::{FEED_BYTES_MAX, PLACING_REST, ROOM_WAIT};
use bkes_core::{Partition, Partitioner, Position};
use bkes_log::LogError;
use bkes_storage::StoreError;
use std::time::Duration;

/// Settings of an engine. `Default` gives what most want.
#[derive(Clone, Debug)]
pub struct EngineOptions {
    /// Owner threads, each for a group of partitions.
    pub threads: usize,
    /// How new keys are placed; `None` decides from the topic (`auto`).
    pub partitioner: Option<Partitioner>,
    /// No new keys are started, however they would be placed; existing ones are served.
    pub existing_only: bool,
    /// Ready means lagging less than this.
    pub ready_lag: Duration,
    /// Most appends waiting or in flight, over all keys; more are refused as overloaded.
    pub appends_max: usize,
    /// Most bytes of their keys, values and headers, and 64 for each header; what would pass it is refused as overloaded. One that is
    /// larger is let in alone.
    pub append_bytes_max: usize,
    /// How long an append may wait for room, unless its caller gives it less time: in the overlay, and in the log's send queue.
    pub room_wait: Duration,
    /// Most bytes of applied events that the store has not committed yet; above it tailing pauses, and appends wait for room.
    pub overlay_bytes_max: usize,
    /// Most bytes of what was decided last that are kept for those who follow the log, in equal shares over all partitions. Whoever takes
    /// events so much later than they come reads them from the log.
    pub feed_bytes_max: usize,
    /// Appends to cut partitions are allowed.
    pub allow_cut: bool,
    /// Aggregates that are split over partitions are read in the order that the `order` headers of their records give, where that is
    /// one order, and are an error where it is not. Without it they are read partition by partition.
    pub split_by_order_headers: bool,
    /// Partitions are caught up one after another: the next one is begun when less than so many records are left of those before.
    /// The default is what one transaction of the store holds.
    pub catch_up_records: u64,
    /// How long new partitions of the topic rest, once they were seen and read, before keys are placed in them. Every other instance must
    /// have seen them by then.
    pub placing_rest: Duration,
}

impl Default for EngineOptions {
    fn default() -> Self {
        EngineOptions {
            threads: 1,
            partitioner: None,
            existing_only: false,
            ready_lag: Duration::from_secs(10),
            appends_max: 10_000,
            append_bytes_max: 128 * 1024 * 1024,
            room_wait: ROOM_WAIT,
            overlay_bytes_max: 32 * 1024 * 1024,
            feed_bytes_max: FEED_BYTES_MAX,
            allow_cut: false,
            split_by_order_headers: false,
            catch_up_records: 40_000,
            placing_rest: PLACING_REST,
        }
    }
}

/// Why an engine does not start: each message says what to do.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum StartError {
    /// The log did not answer.
    #[error("the log does not answer: {0}")]
    Log(#[from] LogError),
    /// The store failed.
    #[error("the store failed: {0}")]
    Store(#[from] StoreError),
    /// The store belongs to another topic or cluster.
    #[error(
        "the data directory belongs to topic {stored}, not to {found}: use another directory, or remove it to rebuild"
    )]
    ForeignStore {
        /// The topic the store was built from.
        stored: String,
        /// The topic given.
        found: String,
    },
    /// The topic was deleted and created again.
    #[error(
        "topic {topic} was created again (topic id {stored} became {found}): remove the data directory to start from the new one"
    )]
    TopicRecreated {
        /// The topic.
        topic: String,
        /// The id in the store.
        stored: String,
        /// The id now.
        found: String,
    },
    /// The topic has fewer partitions than the store has seen.
    #[error(
        "the topic has {found} partitions, the store was built from {stored}: this is not the topic it belongs to"
    )]
    PartitionsGone {
        /// Partitions in the store.
        stored: u32,
        /// Partitions now.
        found: u32,
    },
    /// The log ends below what is applied: it was truncated or re-created.
    #[error(
        "partition {partition} ends at {high}, below the applied position {applied}: it was truncated or created again; \
         remove the data directory to rebuild from what the topic holds now"
    )]
    Truncated {
        /// The partition.
        partition: Partition,
        /// The next offset to apply.
        applied: Position,
        /// The high watermark.
        high: Position,
    },
    /// The log begins above what is applied: unread events were removed.
    #[error(
        "partition {partition} begins at {low}, above the applied position {applied}: retention removed events that were never \
         read; remove the data directory to rebuild from what is left, and set retention.ms=-1"
    )]
    Removed {
        /// The partition.
        partition: Partition,
        /// The next offset to apply.
        applied: Position,
        /// The low watermark.
        low: Position,
    },
    /// A flag contradicts what the store was built with.
    #[error(
        "this store places keys with {stored}, not with {asked}: new events of a key would go to another partition"
    )]
    PartitionerChanged {
        /// The one in use.
        stored: Partitioner,
        /// The one asked for.
        asked: Partitioner,
    },
    /// A thread could not be started.
    #[error("a thread could not be started: {0}")]
    Thread(std::io::Error),
}
