//! The log's handle: opens the file, starts the writer, and gives out readers and appenders.

use crate::appender::EmbeddedAppender;
use crate::disk::Directory;
use crate::file::{self, OpenError};
use crate::header::FileHeader;
use crate::index;
use crate::limits::RECORD_BYTES_MAX;
use crate::reader::EmbeddedReader;
use crate::shared::Shared;
use crate::writer::Writer;
use bkes_core::{Partition, Position};
use bkes_log::{Log, LogAppender, LogError, LogIdentity, LogReader, Waker, Watermarks};
use std::num::NonZeroU32;
use std::path::PathBuf;
use std::sync::Arc;
use std::thread::JoinHandle;

/// Where the log lies, and what a new one is like.
#[derive(Clone, Debug)]
pub struct EmbeddedOptions {
    /// The directory; made when it is not there. It belongs to the log alone.
    pub directory: PathBuf,
    /// The topic's name; an existing log must have it.
    pub topic: String,
    /// The partitions of a new log; an existing one keeps its own.
    pub partitions: NonZeroU32,
    /// The largest record, in bytes as [`NewRecord::bytes`](bkes_log::NewRecord::bytes) counts them; at most 32 MiB.
    pub record_bytes_max: u64,
}

impl EmbeddedOptions {
    /// A log of one partition in a directory, with records up to 1 MiB.
    pub fn new(directory: impl Into<PathBuf>) -> EmbeddedOptions {
        EmbeddedOptions {
            directory: directory.into(),
            topic: "events".into(),
            partitions: NonZeroU32::MIN,
            record_bytes_max: 1024 * 1024,
        }
    }
}

/// A durable log in one local file. Dropping it ends its writer thread, after what is queued is written; appenders that are left
/// are told that the log is closed, and readers read what is there.
pub struct EmbeddedLog {
    shared: Arc<Shared>,
    thread: Option<JoinHandle<()>>,
}

impl EmbeddedLog {
    /// Opens the log, or makes it. A torn tail is cut; damage elsewhere is refused.
    pub fn open(options: &EmbeddedOptions) -> Result<EmbeddedLog, OpenError> {
        let disk = Directory(options.directory.clone());
        let opened = file::open(&disk, &options.topic, options.partitions)?;
        let sealed = opened.sealed;
        let shared = Arc::new(Shared::new(opened, options.record_bytes_max.min(RECORD_BYTES_MAX)));
        let writer = Writer::new(Arc::clone(&shared), sealed);
        let thread = std::thread::Builder::new()
            .name("bkes-log-writer".into())
            .spawn(move || writer.run())
            .map_err(|source| OpenError::Unusable { path: options.directory.clone(), source })?;
        Ok(EmbeddedLog { shared, thread: Some(thread) })
    }
}

impl Drop for EmbeddedLog {
    fn drop(&mut self) {
        self.shared.queue().stop = true;
        self.shared.queued.notify_all();
        if let Some(thread) = self.thread.take() {
            drop(thread.join());
        }
    }
}

impl Log for EmbeddedLog {
    fn identity(&self) -> Result<LogIdentity, LogError> {
        let FileHeader { topic, topic_id, .. } = &self.shared.header;
        let topic_id = topic_id.iter().map(|byte| format!("{byte:02x}")).collect();
        Ok(LogIdentity { cluster: "embedded".into(), topic: topic.clone(), topic_id })
    }

    fn partition_count(&self) -> Result<NonZeroU32, LogError> {
        Ok(self.shared.header.partitions)
    }

    fn watermarks(&self, partition: Partition) -> Result<Watermarks, LogError> {
        let published = self.shared.published();
        let index = index::of(&published.index, partition).ok_or(LogError::NoSuchPartition { partition })?;
        let high = Position(index.next().0);
        Ok(Watermarks { low: Position::START, stable: high, high })
    }

    fn record_bytes_max(&self) -> u64 {
        self.shared.record_bytes_max
    }

    fn reader(&self, waker: Waker) -> Result<Box<dyn LogReader>, LogError> {
        self.shared.add_reader(waker);
        Ok(Box::new(EmbeddedReader::new(Arc::clone(&self.shared))))
    }

    fn appender(&self, waker: Waker) -> Result<Box<dyn LogAppender>, LogError> {
        Ok(Box::new(EmbeddedAppender::new(Arc::clone(&self.shared), waker)))
    }
}
