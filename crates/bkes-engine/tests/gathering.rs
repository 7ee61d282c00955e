//! What is sent at once and what is gathered, by the clock: an engine stepped by hand, on a log whose leaders can be away.

mod support;

use bkes_core::{Incarnation, Key, Partition, Partitioner};
use bkes_engine::parts::{Parts, Step, Surroundings, assemble};
use bkes_engine::{AppendError, AppendRequest, Appended, EngineOptions, Expected};
use bkes_storage::MemoryStore;
use bytes::Bytes;
use std::num::NonZeroU32;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::task::{Context, Waker};
use support::flawed::FlawedLog;

const AWAY: Partition = Partition(0);
const SERVED: Partition = Partition(1);

/// As much as the memory log has under way together.
const UNDER_WAY_MAX: usize = 2;

type Append = Pin<Box<dyn Future<Output = Result<Appended, AppendError>>>>;

struct Bench {
    log: FlawedLog,
    parts: Parts,
    now: Arc<AtomicU64>,
    appends: Vec<Append>,
}

impl Bench {
    /// An engine that has caught up, on a log one of whose partitions has lost its leader since.
    fn new() -> Bench {
        let log = FlawedLog::new(2);
        let now = Arc::new(AtomicU64::new(1));
        let (time, names) = (Arc::clone(&now), AtomicU64::new(7));
        let surroundings = Surroundings {
            clock: Arc::new(move || time.load(Ordering::Relaxed)),
            draw: Arc::new(move || Incarnation(names.fetch_add(1, Ordering::Relaxed))),
        };
        let options = EngineOptions { partitioner: Some(Partitioner::Murmur2), ..EngineOptions::default() };
        let parts = assemble(Arc::new(log.clone()), Arc::new(MemoryStore::new()), options, surroundings);
        let mut bench =
            Bench { log, parts: parts.expect("the engine is assembled"), now, appends: Vec::new() };
        (0..1_000).for_each(|_| bench.pass_a_millisecond());
        bench.log.flaws().leaderless.insert(AWAY);
        bench
    }

    fn pass_a_millisecond(&mut self) {
        self.now.fetch_add(1, Ordering::Relaxed);
        self.work();
        self.parts.monitor.step();
    }

    /// Lets the owner do what is due now.
    fn work(&mut self) {
        let now = self.now.load(Ordering::Relaxed);
        while self.parts.owners.iter_mut().any(|owner| owner.step(now) == Step::Busy) {}
        while self.parts.writer.step(now) == Step::Busy {}
    }

    /// Asks for so many appends, each of a new key that hashes to this partition.
    fn append(&mut self, partition: Partition, count: usize) {
        let partitions = NonZeroU32::new(2).expect("two");
        for _ in 0..count {
            let keys = (self.appends.len()..).map(|n| format!("{partition}-{}-{n}", self.appends.len()));
            let keys = keys.map(|name| Key::new(name).expect("not empty"));
            let mut keys =
                keys.filter(|key| Partitioner::Murmur2.place(key.as_ref(), partitions) == partition);
            let key = keys.next().expect("one of many");
            let values = vec![Bytes::from_static(b"value")];
            let request = AppendRequest { key, expected: Expected::New, values };
            let handle = self.parts.handle.clone();
            let mut append: Append = Box::pin(async move { handle.append(request).await });
            let polled = append.as_mut().poll(&mut Context::from_waker(Waker::noop()));
            assert!(polled.is_pending(), "nobody has stepped the owner: {polled:?}");
            self.appends.push(append);
        }
    }

    fn records(&self, partition: Partition) -> usize {
        self.log.log.records(partition).len()
    }
}

#[test]
fn a_small_group_waits_a_moment_behind_other_partitions_and_no_longer() {
    let mut bench = Bench::new();
    bench.append(AWAY, UNDER_WAY_MAX);
    bench.work();
    bench.append(SERVED, 1);
    bench.work();
    assert_eq!(bench.records(SERVED), 0, "as much is on the way elsewhere");
    bench.pass_a_millisecond();
    assert_eq!(bench.records(SERVED), 0);
    bench.append(SERVED, 1);
    bench.pass_a_millisecond();
    assert_eq!(bench.records(SERVED), 2, "a partition that does not answer costs others two milliseconds");
}

#[test]
fn a_small_group_is_sent_as_soon_as_the_others_were_reported() {
    let mut bench = Bench::new();
    bench.append(AWAY, UNDER_WAY_MAX);
    bench.work();
    bench.append(SERVED, 1);
    bench.work();
    assert_eq!(bench.records(SERVED), 0);
    bench.log.flaws().leaderless.clear();
    bench.work();
    assert_eq!((bench.records(AWAY), bench.records(SERVED)), (UNDER_WAY_MAX, 1), "no time has passed");
}

#[test]
fn neither_a_large_group_nor_one_behind_little_waits_for_other_partitions() {
    let mut bench = Bench::new();
    bench.append(AWAY, UNDER_WAY_MAX - 1);
    bench.work();
    bench.append(SERVED, 1);
    bench.work();
    assert_eq!(bench.records(SERVED), 1, "there was room on the way");
    bench.append(AWAY, 1);
    bench.work();
    bench.append(SERVED, 4);
    bench.work();
    assert_eq!(bench.records(SERVED), 5, "four are worth a request");
}
