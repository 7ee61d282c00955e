//! The engine's face.

use crate::{AppendError, AppendRequest, Appended, Events, ReadError, ReadRequest, Status};
use bkes_core::{Partition, Partitioner, Position};
use bkes_log::{Log, LogError};
use bkes_storage::{Store, StoreError};
use std::sync::Arc;
use std::time::Duration;

/// Settings of an engine. `Default` gives what most want.
#[derive(Clone, Debug)]
pub struct EngineOptions {
    /// Owner threads, each for a group of partitions.
    pub threads: usize,
    /// How new keys are placed; `None` decides from the topic (`auto`).
    pub partitioner: Option<Partitioner>,
    /// Ready means lagging less than this.
    pub ready_lag: Duration,
    /// Most appends waiting or in flight per owner; more are refused as overloaded.
    pub appends_max: usize,
    /// Most bytes of applied events that the store has not committed yet; tailing pauses above it.
    pub overlay_bytes_max: usize,
    /// Appends to cut partitions are allowed.
    pub allow_cut: bool,
}

impl Default for EngineOptions {
    fn default() -> Self {
        EngineOptions {
            threads: 1,
            partitioner: None,
            ready_lag: Duration::from_secs(10),
            appends_max: 10_000,
            overlay_bytes_max: 32 * 1024 * 1024,
            allow_cut: false,
        }
    }
}

/// Why an engine does not start: each message says what to do.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// The log did not answer.
    #[error("the log does not answer: {0}")]
    Log(#[from] LogError),
    /// The store failed.
    #[error("the store failed: {0}")]
    Store(#[from] StoreError),
    /// The store belongs to another topic or cluster.
    #[error("the data directory belongs to topic {stored}, not to {found}: use another directory, or remove it to rebuild")]
    ForeignStore {
        /// The topic the store was built from.
        stored: String,
        /// The topic given.
        found: String,
    },
    /// The topic was deleted and created again.
    #[error("topic {topic} was created again (topic id {stored} became {found}): remove the data directory to start from the new one")]
    TopicRecreated {
        /// The topic.
        topic: String,
        /// The id in the store.
        stored: String,
        /// The id now.
        found: String,
    },
    /// The topic has fewer partitions than the store has seen.
    #[error("the topic has {found} partitions, the store was built from {stored}: this is not the topic it belongs to")]
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
    #[error("this store places keys with {stored}, not with {asked}: new events of a key would go to another partition")]
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

/// A running engine; dropping it stops it without grace. [`EngineHandle`]s are what callers use.
pub struct Engine {
    handle: EngineHandle,
}

/// The way into a running engine: cheap to clone, from any task.
#[derive(Clone)]
pub struct EngineHandle {}

impl Engine {
    /// Starts on `log` and `store`: checks that they belong together, then catches up in the background.
    pub fn start(log: Arc<dyn Log>, store: Arc<dyn Store>, options: EngineOptions) -> Result<Engine, StartError> {
        let _ = (log, store, options);
        unimplemented!()
    }

    /// The way in.
    pub fn handle(&self) -> EngineHandle {
        self.handle.clone()
    }

    /// Stops gracefully: queued appends are refused, sent ones awaited until `deadline`, the store closed. Blocks.
    pub fn stop(self, deadline: Duration) -> Result<(), StoreError> {
        let _ = deadline;
        unimplemented!()
    }
}

impl EngineHandle {
    /// Appends and waits until the log has decided. Dropping the future before the append was sent withdraws it; a sent one
    /// runs to its end.
    pub async fn append(&self, request: AppendRequest) -> Result<Appended, AppendError> {
        let _ = request;
        unimplemented!()
    }

    /// Reads events. Short reads run on the spot, long ones off the executor.
    pub async fn read(&self, request: ReadRequest) -> Result<Events, ReadError> {
        let _ = request;
        unimplemented!()
    }

    /// The status as of now; cheap enough to ask every second.
    pub fn status(&self) -> Status {
        unimplemented!()
    }

    /// Whether appends and reads are served.
    pub fn is_ready(&self) -> bool {
        unimplemented!()
    }

    /// Waits until [`is_ready`](Self::is_ready).
    pub async fn ready(&self) {
        unimplemented!()
    }
}
