//! A stop while the log does not answer: it ends in its time, and what was asked of the log is left behind.

use bkes_core::{Key, Partition};
use bkes_engine::{Engine, EngineOptions, ReadRequest};
use bkes_log::{Log, LogAppender, LogError, LogIdentity, LogReader, Waker, Watermarks};
use bkes_storage::MemoryStore;
use bkes_testkit::log::SimulatedLog as MemoryLog;
use std::num::NonZeroU32;
use std::sync::{Arc, Condvar, Mutex};
use std::time::{Duration, Instant};

const PATIENCE: Duration = Duration::from_secs(30);

/// Whether questions wait, and how many do.
#[derive(Default)]
struct Held {
    holds: bool,
    waiting: usize,
}

/// A log whose brokers are dead when it is told so: its questions get no answer until they are let go.
struct HeldLog {
    log: MemoryLog,
    held: Arc<(Mutex<Held>, Condvar)>,
}

impl HeldLog {
    fn question(&self) {
        let (held, changed) = &*self.held;
        let mut state = held.lock().expect("no panic");
        state.waiting += 1;
        changed.notify_all();
        state = changed.wait_while(state, |state| state.holds).expect("no panic");
        state.waiting -= 1;
    }
}

impl Log for HeldLog {
    fn identity(&self) -> Result<LogIdentity, LogError> {
        self.question();
        self.log.identity()
    }

    fn partition_count(&self) -> Result<NonZeroU32, LogError> {
        self.question();
        self.log.partition_count()
    }

    fn watermarks(&self, partition: Partition) -> Result<Watermarks, LogError> {
        self.question();
        self.log.watermarks(partition)
    }

    fn record_bytes_max(&self) -> u64 {
        self.log.record_bytes_max()
    }

    fn reader(&self, waker: Waker) -> Result<Box<dyn LogReader>, LogError> {
        self.log.reader(waker)
    }

    fn appender(&self, waker: Waker) -> Result<Box<dyn LogAppender>, LogError> {
        self.log.appender(waker)
    }
}

/// The stop waited for the monitor, and the monitor for a dead broker: two questions of ten seconds for each partition.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_stop_does_not_wait_for_a_log_that_does_not_answer() {
    let held = Arc::<(Mutex<Held>, Condvar)>::default();
    let log = HeldLog { log: MemoryLog::new("topic", NonZeroU32::MIN), held: Arc::clone(&held) };
    let (log, store) = (Arc::new(log), Arc::new(MemoryStore::new()));
    let weak = Arc::downgrade(&log);
    let engine = Engine::start(log, store, EngineOptions::default()).expect("it starts");
    let handle = engine.handle();
    tokio::time::timeout(PATIENCE, handle.ready()).await.expect("it becomes ready");
    held.0.lock().expect("no panic").holds = true;
    // So that the verifier asks too.
    let reader = handle.clone();
    let key = Key::new("nobody").expect("not empty");
    let reading = tokio::spawn(async move { reader.read(ReadRequest::all(key)).await });
    let both_ask = || {
        let state = held.0.lock().expect("no panic");
        drop(held.1.wait_timeout_while(state, PATIENCE, |state| state.waiting < 2));
        assert_eq!(held.0.lock().expect("no panic").waiting, 2, "monitor and verifier");
    };
    tokio::task::block_in_place(both_ask);
    drop(handle);
    let began = Instant::now();
    let stopping = tokio::task::spawn_blocking(move || engine.stop(Duration::from_millis(200)));
    let stopped = tokio::time::timeout(PATIENCE, stopping).await.expect("it ends while nobody answers");
    stopped.expect("no panic").expect("it closes");
    assert!(began.elapsed() < Duration::from_secs(10), "it took {:?}", began.elapsed());
    assert!(weak.upgrade().is_some(), "somebody still asks");
    held.0.lock().expect("no panic").holds = false;
    held.1.notify_all();
    tokio::time::timeout(PATIENCE, reading)
        .await
        .expect("it is answered")
        .expect("no panic")
        .expect_err("stopped");
    let until = Instant::now() + PATIENCE;
    while weak.upgrade().is_some() {
        assert!(Instant::now() < until, "threads that were left behind end, and let the log go");
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}
