//! What an engine says while one partition is not read: a log whose reader holds a partition back, and an engine stepped by hand.

use bkes_core::{Incarnation, Key, Order, Partition, Partitioner, Position};
use bkes_engine::parts::{Parts, Step, Surroundings, assemble};
use bkes_engine::{AppendError, AppendRequest, EngineOptions, Expected, ReadError, ReadRequest, Unready};
use bkes_log::memory::MemoryLog;
use bkes_log::{Log, LogAppender, LogError, LogIdentity, LogReader, ReadEvent, Waker, Watermarks};
use bkes_storage::MemoryStore;
use bytes::Bytes;
use std::num::NonZeroU32;
use std::pin::pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::task::{Context, Poll};

/// The partition whose records can be held back.
const HELD: Partition = Partition(1);

#[derive(Clone)]
struct HoldingLog {
    log: MemoryLog,
    holds: Arc<AtomicBool>,
}

impl Log for HoldingLog {
    fn identity(&self) -> Result<LogIdentity, LogError> {
        self.log.identity()
    }

    fn partition_count(&self) -> Result<NonZeroU32, LogError> {
        self.log.partition_count()
    }

    fn watermarks(&self, partition: Partition) -> Result<Watermarks, LogError> {
        self.log.watermarks(partition)
    }

    fn record_bytes_max(&self) -> u64 {
        self.log.record_bytes_max()
    }

    fn reader(&self, waker: Waker) -> Result<Box<dyn LogReader>, LogError> {
        let reader = self.log.reader(waker)?;
        Ok(Box::new(HoldingReader { reader, holds: Arc::clone(&self.holds), held: Vec::new() }))
    }

    fn appender(&self, waker: Waker) -> Result<Box<dyn LogAppender>, LogError> {
        self.log.appender(waker)
    }
}

struct HoldingReader {
    reader: Box<dyn LogReader>,
    holds: Arc<AtomicBool>,
    held: Vec<ReadEvent>,
}

impl LogReader for HoldingReader {
    fn assign(&mut self, partition: Partition, from: Position) {
        if partition == HELD {
            self.held.clear();
        }
        self.reader.assign(partition, from);
    }

    fn poll(&mut self, records_max: usize, out: &mut Vec<ReadEvent>) {
        let holds = self.holds.load(Ordering::Acquire);
        if !holds {
            out.append(&mut self.held);
        }
        let mut read = Vec::new();
        self.reader.poll(records_max, &mut read);
        for event in read {
            let partition = match &event {
                ReadEvent::Record(record) => Some(record.partition),
                ReadEvent::End { partition, .. } => Some(*partition),
                ReadEvent::Failed { partition, .. } => *partition,
            };
            if holds && partition == Some(HELD) { self.held.push(event) } else { out.push(event) }
        }
    }
}

struct Bench {
    log: HoldingLog,
    parts: Parts,
    now: Arc<AtomicU64>,
}

impl Bench {
    /// An engine on a log of two partitions, with a record of key "zero" in one and of "one" in the other.
    fn new(holds: bool) -> Bench {
        let log = MemoryLog::new("topic", NonZeroU32::new(2).expect("two"));
        let log = HoldingLog { log, holds: Arc::new(AtomicBool::new(holds)) };
        foreign(&log, Partition(0), "zero");
        foreign(&log, HELD, "one");
        let now = Arc::new(AtomicU64::new(1));
        let (time, names) = (Arc::clone(&now), AtomicU64::new(7));
        let surroundings = Surroundings {
            clock: Arc::new(move || time.load(Ordering::Relaxed)),
            draw: Arc::new(move || Incarnation(names.fetch_add(1, Ordering::Relaxed))),
        };
        let store = Arc::new(MemoryStore::new());
        let options = EngineOptions { partitioner: Some(Partitioner::Murmur2), ..EngineOptions::default() };
        let parts = assemble(Arc::new(log.clone()), store, options, surroundings);
        Bench { log, parts: parts.expect("the engine is assembled"), now }
    }

    fn hold(&self, holds: bool) {
        self.log.holds.store(holds, Ordering::Release);
    }

    fn run(&mut self, duration_ms: u64) {
        for _ in 0..duration_ms {
            let now = self.now.fetch_add(1, Ordering::Relaxed) + 1;
            while self.parts.owners.iter_mut().any(|owner| owner.step(now) == Step::Busy) {}
            while self.parts.writer.step(now) == Step::Busy {}
            if now.is_multiple_of(500) || self.parts.monitor.take_wake() {
                self.parts.monitor.step();
            }
        }
    }

    /// What a future resolves to within a moment of the engine's time.
    fn resolve<T>(&mut self, future: impl Future<Output = T>) -> T {
        let mut future = pin!(future);
        for _ in 0..1_000 {
            if let Poll::Ready(value) =
                future.as_mut().poll(&mut Context::from_waker(std::task::Waker::noop()))
            {
                return value;
            }
            self.run(1);
        }
        panic!("no answer within a second");
    }

    fn begin(&mut self, name: &'static str) -> Result<Order, AppendError> {
        self.append(name, Expected::New)
    }

    fn append(&mut self, name: &'static str, expected: Expected) -> Result<Order, AppendError> {
        let handle = self.parts.handle.clone();
        let values = vec![Bytes::from_static(b"value")];
        let request = AppendRequest { key: key(name), expected, values };
        self.resolve(async move { handle.append(request).await }).map(|appended| appended.last)
    }

    fn read(&mut self, name: &'static str) -> Result<usize, ReadError> {
        let handle = self.parts.handle.clone();
        self.resolve(async move { handle.read(ReadRequest::all(key(name))).await })
            .map(|read| read.events.len())
    }

    fn unready(&self) -> Option<Unready> {
        self.parts.handle.status().unready
    }
}

fn foreign(log: &HoldingLog, partition: Partition, name: &'static str) {
    log.log.append_foreign(partition, Some(name.into()), Some("value".into()), Vec::new());
}

fn key(name: &'static str) -> Key {
    Key::new(name).expect("not empty")
}

#[test]
fn that_a_key_has_no_events_is_said_only_once_every_partition_was_read_to_its_target() {
    let mut bench = Bench::new(true);
    bench.run(5_000);
    assert_eq!(bench.read("zero"), Ok(1), "what is there is shown");
    for name in ["one", "nowhere"] {
        let read = bench.read(name);
        assert!(matches!(read, Err(ReadError::Unavailable(Unready::CatchingUp { .. }))), "{name}: {read:?}");
        let begun = bench.begin(name);
        assert!(
            matches!(begun, Err(AppendError::Unavailable(Unready::CatchingUp { .. }))),
            "{name}: {begun:?}"
        );
    }
    let records = || [0, 1].map(|partition| bench.log.log.records(Partition(partition)).len());
    assert_eq!(records(), [1, 1], "nothing is sent that is refused");
    bench.hold(false);
    bench.run(2_000);
    assert_eq!(bench.read("one"), Ok(1));
    assert!(matches!(bench.begin("one"), Err(AppendError::AlreadyExists { current: Order(1) })));
    assert!(matches!(bench.read("nowhere"), Err(ReadError::NoSuchAggregate { .. })));
    assert_eq!(bench.begin("nowhere"), Ok(Order(0)));
    // Once is enough: what is written from now on is the log's to judge.
    bench.hold(true);
    foreign(&bench.log, HELD, "one");
    bench.run(2_000);
    assert!(matches!(bench.read("elsewhere"), Err(ReadError::NoSuchAggregate { .. })));
}

#[test]
fn an_engine_that_lags_is_not_ready_until_it_has_caught_up_again_and_each_time() {
    let mut bench = Bench::new(false);
    bench.run(3_000);
    assert_eq!(bench.unready(), None);
    for round in 1..3 {
        bench.hold(true);
        foreign(&bench.log, HELD, "one");
        bench.run(9_000);
        assert_eq!(bench.unready(), None, "round {round}: it lags for less than the limit");
        bench.run(3_000);
        let lagging = bench.unready();
        assert!(
            matches!(lagging, Some(Unready::Lagging { partition: HELD, lag_ms }) if lag_ms >= 10_000),
            "round {round}: {lagging:?}"
        );
        assert!(!bench.parts.handle.is_ready());
        assert_eq!(bench.read("one"), Ok(round), "round {round}: reads go on");
        let added = bench.append("one", Expected::At(Order(round as u64)));
        assert!(
            matches!(added, Err(AppendError::Unavailable(Unready::Lagging { .. }))),
            "round {round}: {added:?}"
        );
        bench.hold(false);
        bench.run(2_000);
        assert_eq!(bench.unready(), None, "round {round}: it has caught up");
        assert_eq!(bench.read("one"), Ok(round + 1));
    }
    assert_eq!(bench.append("one", Expected::At(Order(3))), Ok(Order(3)));
}
