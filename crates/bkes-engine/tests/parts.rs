//! An engine in its parts, stepped by hand: no thread, no clock, and the same result every time.

use bkes_core::sequence::NowMs;
use bkes_core::{Incarnation, Key, Order, Partition, Position};
use bkes_engine::parts::{Parts, Step, Surroundings, assemble, begin_stop, end_writer};
use bkes_engine::{AppendError, AppendRequest, Appended, EngineOptions, Expected, ReadRequest, Unready};
use bkes_log::memory::{Faults, MemoryLog};
use bkes_storage::{MemoryStore, Store};
use bytes::Bytes;
use std::num::NonZeroU32;
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::task::{Context, Poll, Waker};

/// One engine and the time it lives in.
struct Bench {
    log: MemoryLog,
    parts: Parts,
    now: Arc<AtomicU64>,
}

type Answer = Pin<Box<dyn Future<Output = Result<Appended, AppendError>>>>;

impl Bench {
    fn new(faults: Faults) -> Bench {
        let log = MemoryLog::with_faults("topic", NonZeroU32::MIN, faults, 1);
        let store: Arc<dyn Store> = Arc::new(MemoryStore::new());
        let now = Arc::new(AtomicU64::new(1));
        let (time, names) = (Arc::clone(&now), AtomicU64::new(7));
        let surroundings = Surroundings {
            clock: Arc::new(move || time.load(Ordering::Relaxed)),
            draw: Arc::new(move || Incarnation(names.fetch_add(1, Ordering::Relaxed))),
        };
        let parts = assemble(Arc::new(log.clone()), store, EngineOptions::default(), surroundings)
            .expect("the engine is assembled");
        Bench { log, parts, now }
    }

    fn now(&self) -> NowMs {
        self.now.load(Ordering::Relaxed)
    }

    /// Steps everything for this long.
    fn run(&mut self, duration_ms: u64) {
        for _ in 0..duration_ms {
            let now = self.now.fetch_add(1, Ordering::Relaxed) + 1;
            while self.parts.owners.iter_mut().any(|owner| owner.step(now) == Step::Busy) {}
            while self.parts.writer.step(now) == Step::Busy {}
            if now.is_multiple_of(100) || self.parts.monitor.take_wake() {
                self.parts.monitor.step();
            }
        }
    }

    fn append(&self, name: &'static str, expected: Expected) -> Answer {
        let key = Key::new(name).expect("not empty");
        let request = AppendRequest { key, expected, values: vec![Bytes::from_static(b"value")] };
        let handle = self.parts.handle.clone();
        Box::pin(async move { handle.append(request).await })
    }
}

fn poll<F: Future + Unpin>(future: &mut F) -> Option<F::Output> {
    match Pin::new(future).poll(&mut Context::from_waker(Waker::noop())) {
        Poll::Ready(output) => Some(output),
        Poll::Pending => None,
    }
}

#[test]
fn an_engine_is_driven_by_hand_without_threads() {
    let mut bench = Bench::new(Faults { delayed: 1_000, ..Faults::default() });
    bench.run(10);
    let mut answer = bench.append("a", Expected::New);
    assert!(poll(&mut answer).is_none(), "nothing was stepped yet");
    bench.run(10);
    assert!(poll(&mut answer).is_none(), "the record is on its way");
    assert!(bench.log.step());
    bench.run(10);
    assert_eq!(poll(&mut answer).expect("decided").expect("accepted").first, Order(0));
    let key = Key::new("a").expect("not empty");
    let read = pin!(bench.parts.handle.read(ReadRequest::all(key)));
    let events = poll(&mut { read }).expect("short reads do not wait").expect("it exists");
    assert_eq!(events.events.len(), 1);
}

/// While the log did not answer, a writer that had to rebuild the store slept, asked again, and looked at nothing else: a
/// server told to stop in such a moment never did.
#[test]
fn a_stop_ends_while_a_rebuild_waits_for_the_log() {
    let mut bench = Bench::new(Faults::default());
    bench.run(10);
    let mut answer = bench.append("a", Expected::New);
    poll(&mut answer);
    bench.run(10);
    poll(&mut answer).expect("decided").expect("accepted");
    bench.log.truncate(Partition(0), Position(0));
    let now = bench.now();
    bench.parts.owners[0].step(now);
    bench.parts.owners[0].step(now);
    bench.parts.monitor.step();
    bench.parts.owners[0].step(now);
    bench.log.go_down("gone");
    bench.run(10);
    let mut refused = bench.append("b", Expected::New);
    poll(&mut refused);
    bench.run(10);
    let refused = poll(&mut refused);
    let degraded = |error: &AppendError| matches!(error, AppendError::Unavailable(Unready::Degraded { .. }));
    assert!(refused.is_some_and(|answer| answer.is_err_and(|error| degraded(&error))));
    begin_stop(&bench.parts.handle, bench.now());
    bench.run(10);
    end_writer(&bench.parts.handle);
    let now = bench.now();
    assert!((0..100).any(|_| bench.parts.writer.step(now) == Step::Stopped), "the writer ends");
}
