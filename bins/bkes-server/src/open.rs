//! Opening what the server stands on: the log, the store, and the engine over both.

use crate::data_path;
use crate::exit::{Ended, Reason};
use crate::settings::{Placement, Settings};
use bkes_core::Partitioner;
use bkes_embedded::{EmbeddedLog, EmbeddedOptions, OpenError as LogOpenError};
use bkes_engine::{Engine, EngineOptions, StartError};
use bkes_kafka::with_batch_threads;
use bkes_log::{Log, LogError};
use bkes_storage::{OpenError, Opened, RedbOptions, RedbStore, Store};
use std::fmt::Display;
use std::io;
use std::num::NonZeroU32;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

/// Opens everything; blocks while the log is asked.
pub fn engine(settings: &Settings) -> Result<Engine, Ended> {
    leave_the_original_alone(settings);
    let directory = settings.folder().join("store");
    let cache_bytes = settings.cache_mib as usize * 1024 * 1024;
    let opened = RedbStore::open(&RedbOptions { directory, cache_bytes });
    let Opened { store, set_aside } = opened.map_err(|error| match &error {
        OpenError::Unusable { path, source } => unusable(settings, &error, path, source),
        _ => Ended::new(Reason::Data, error),
    })?;
    if let Some(aside) = set_aside {
        tracing::warn!(
            "the store was damaged: set aside as {}, and built anew from the log",
            aside.display()
        );
    }
    // After the store: a data directory that cannot be used shows at once, not only when a broker answers.
    let log: Arc<dyn Log> = match &settings.kafka_brokers {
        Some(brokers) => crate::kafka::connect(settings, brokers)?,
        None => Arc::new(embedded(settings)?),
    };
    warn_of_unreadable(settings, &*log);
    let options = EngineOptions {
        threads: settings.max_consumer_threads.get(),
        partitioner: match settings.partitioner {
            Placement::Auto | Placement::ExistingOnly => None,
            Placement::Murmur2 => Some(Partitioner::Murmur2),
            Placement::Crc32 => Some(Partitioner::Crc32),
            Placement::Fnv1a => Some(Partitioner::Fnv1a),
        },
        existing_only: settings.partitioner == Placement::ExistingOnly,
        ready_lag: Duration::from_millis(settings.ready_lag_ms),
        appends_max: settings.max_in_flight.get(),
        allow_cut: settings.allow_cut,
        split_by_order_headers: settings.split_by_order_headers,
        ..EngineOptions::default()
    };
    let store = Arc::new(store);
    loop {
        let (log, store, options) = (Arc::clone(&log), Arc::clone(&store) as Arc<dyn Store>, options.clone());
        // Requests that are worked off come before the engine: what it sends in between would be small.
        match with_batch_threads(|| Engine::start(log, store, options)) {
            Ok(engine) => return Ok(engine),
            // A topic that was just made has no leaders yet, and a broker may go between two questions.
            Err(error @ StartError::Log(LogError::Unavailable { .. })) if !settings.fail_fast => {
                tracing::warn!("{error}; trying again");
                std::thread::sleep(crate::kafka::RETRY);
            }
            Err(error) => return Err(Ended::new(reason(&error), error)),
        }
    }
}

/// What a reply has beside the value of an event, at most; the key is the caller's.
const REPLY_ROOM_BYTES: u64 = 1024;

/// An event that the log takes and no reply carries is there and cannot be read.
fn warn_of_unreadable(settings: &Settings, log: &dyn Log) {
    let (record, reply) = (log.record_bytes_max(), u64::from(settings.reply_limit));
    if record.saturating_add(REPLY_ROOM_BYTES) > reply {
        let whose = if settings.kafka_brokers.is_some() { "the topic" } else { "the embedded log" };
        tracing::warn!(
            "{whose} takes events of up to {record} bytes (max.message.bytes), and a reply has {reply} at most (--reply-limit, \
             REPLY_LIMIT): an event in between can be appended and not be read. Raise --reply-limit, or lower max.message.bytes"
        );
    }
}

fn embedded(settings: &Settings) -> Result<EmbeddedLog, Ended> {
    let directory = settings.folder().join("log");
    tracing::info!("KAFKA_BROKERS is not set: running on the embedded log in {}", directory.display());
    let options = EmbeddedOptions {
        topic: settings.kafka_topic.clone(),
        partitions: settings.create_topic.unwrap_or(NonZeroU32::MIN),
        ..EmbeddedOptions::new(directory)
    };
    EmbeddedLog::open(&options).map_err(|error| match &error {
        LogOpenError::Unusable { path, source } => unusable(settings, &error, path, source),
        _ => Ended::new(Reason::Data, error),
    })
}

/// A file or directory that the system does not let us use, with what is known of the cause and the cure.
fn unusable(settings: &Settings, error: &impl Display, path: &Path, source: &io::Error) -> Ended {
    match data_path::advice(&settings.data_path, path, source) {
        Some(advice) => Ended::new(Reason::Data, format!("{error}: {advice}")),
        None => Ended::new(Reason::Data, error),
    }
}

/// The original kept its files right in the data path; they are not ours.
fn leave_the_original_alone(settings: &Settings) {
    let entries = std::fs::read_dir(&settings.data_path).into_iter().flatten().flatten();
    let foreign: Vec<String> = entries
        .map(|entry| entry.file_name().to_string_lossy().into_owned())
        .filter(|name| name != "bkes" && name != "lost+found")
        .collect();
    if !foreign.is_empty() {
        tracing::info!(
            "{} holds other files ({}): they are left as they are, ours lie in {}",
            settings.data_path.display(),
            foreign[..foreign.len().min(3)].join(", "),
            settings.folder().display()
        );
    }
}

fn reason(error: &StartError) -> Reason {
    match error {
        StartError::Log(_) | StartError::Truncated { .. } | StartError::Removed { .. } => Reason::Log,
        StartError::Store(_)
        | StartError::ForeignStore { .. }
        | StartError::TopicRecreated { .. }
        | StartError::PartitionsGone { .. }
        | StartError::PartitionerChanged { .. } => Reason::Data,
        _ => Reason::Unexpected,
    }
}
