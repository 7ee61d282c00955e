//! The topic's settings that appends rest on, read again while running: an operator changes them without a restart.
//!
//! Whoever asks how many partitions there are has them read again when they are old. An appender of which the broker refused a batch for
//! its size has them read at once, by a thread of its own: the appender's owner never waits.

use crate::lock::lock;
use crate::native::{Client, Sink};
use crate::topic::batch_bytes_max;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, Weak};
use std::time::{Duration, Instant};

/// How old the topic's settings may be: less than the time that a record has by default, so that a cause is known when it fails.
const AGE_MAX: Duration = Duration::from_secs(10);

/// How long the question may take.
const ANSWER: Duration = Duration::from_secs(5);

pub(crate) struct TopicSettings {
    client: Arc<Client>,
    /// The largest batch that the topic takes.
    batch_bytes_max: AtomicU64,
    /// How many replicas in sync a write needs, as far as is known, and when that was asked for.
    needed: Mutex<(Option<u32>, Instant)>,
    /// Readings that ended, answered or not.
    readings: AtomicU64,
    is_reading: AtomicBool,
    appenders: Mutex<Vec<Weak<Sink>>>,
}

impl TopicSettings {
    /// What was read at the start, if it could be.
    pub fn new(
        client: Arc<Client>,
        settings: Option<&[(String, String)]>,
        batch_bytes_max: u64,
    ) -> TopicSettings {
        TopicSettings {
            client,
            batch_bytes_max: AtomicU64::new(batch_bytes_max),
            needed: Mutex::new((settings.and_then(needed_in_sync), Instant::now())),
            readings: AtomicU64::new(0),
            is_reading: AtomicBool::new(false),
            appenders: Mutex::default(),
        }
    }

    /// The largest batch that the topic takes, in bytes, as it was read last.
    pub fn batch_bytes_max(&self) -> u64 {
        self.batch_bytes_max.load(Ordering::Acquire)
    }

    /// How many readings have ended.
    pub fn readings(&self) -> u64 {
        self.readings.load(Ordering::Acquire)
    }

    /// How many replicas in sync a write needs. Reads the settings again when that is some time ago; who asks meanwhile is told what was
    /// known before.
    pub fn needed(&self) -> Option<u32> {
        {
            let mut needed = lock(&self.needed);
            if needed.1.elapsed() < AGE_MAX {
                return needed.0;
            }
            needed.1 = Instant::now();
        }
        self.read();
        lock(&self.needed).0
    }

    /// Reads them by a thread, unless one does.
    pub fn read_soon(self: &Arc<TopicSettings>) {
        if self.is_reading.swap(true, Ordering::AcqRel) {
            return;
        }
        let of_thread = Arc::clone(self);
        let read = move || {
            of_thread.is_reading.store(false, Ordering::Release);
            of_thread.read();
        };
        if let Err(error) = std::thread::Builder::new().name("bkes-kafka-ask".into()).spawn(read) {
            tracing::warn!("the topic's settings are not read again: {error}");
            self.is_reading.store(false, Ordering::Release);
            self.ended();
        }
    }

    /// Appenders are told when a reading ended, and that brokers answer.
    pub fn tell(&self, appender: &Arc<Sink>) {
        lock(&self.appenders).push(Arc::downgrade(appender));
    }

    /// A broker answered a question: appenders that could not reach any may try again.
    pub fn answered(&self) {
        lock(&self.appenders).retain(|sink| sink.upgrade().map(|sink| sink.is_up()).is_some());
    }

    /// A question that fails says nothing about the settings.
    fn read(&self) {
        if let Ok(settings) = self.client.topic_settings(ANSWER) {
            lock(&self.needed).0 = needed_in_sync(&settings);
            let bytes_max = batch_bytes_max(&settings);
            let before = self.batch_bytes_max.swap(bytes_max, Ordering::AcqRel);
            if before != bytes_max {
                tracing::info!("the topic takes batches of up to {bytes_max} bytes now, no longer {before}");
            }
        }
        self.ended();
    }

    fn ended(&self) {
        self.readings.fetch_add(1, Ordering::AcqRel);
        for sink in lock(&self.appenders).iter().filter_map(Weak::upgrade) {
            sink.wake();
        }
    }
}

fn needed_in_sync(settings: &[(String, String)]) -> Option<u32> {
    settings.iter().find(|(name, _)| name == "min.insync.replicas")?.1.parse().ok()
}
