//! What an engine says while one partition is not read: an engine stepped by hand, on a log whose reader holds a partition back.

mod support;

use bkes_core::{Order, Partition, Partitioner};
use bkes_engine::{AppendError, EngineOptions, ReadError, Unready};
use bkes_storage::MemoryStore;
use std::ops::{Deref, DerefMut};
use std::sync::Arc;
use support::Bench;
use support::flawed::FlawedLog;

/// The partition whose records can be held back.
const HELD: Partition = Partition(1);

/// A bench and the log that it is on.
struct Scene {
    log: FlawedLog,
    bench: Bench,
}

impl Deref for Scene {
    type Target = Bench;

    fn deref(&self) -> &Bench {
        &self.bench
    }
}

impl DerefMut for Scene {
    fn deref_mut(&mut self) -> &mut Bench {
        &mut self.bench
    }
}

impl Scene {
    /// An engine on a log of two partitions, with a record of key "zero" in one and of "one" in the other.
    fn new(holds: bool) -> Scene {
        let log = FlawedLog::new(2);
        foreign(&log, Partition(0), "zero");
        foreign(&log, HELD, "one");
        let options = EngineOptions { partitioner: Some(Partitioner::Murmur2), ..EngineOptions::default() };
        let bench = Bench::with(log.clone(), Arc::new(MemoryStore::new()), options);
        let scene = Scene { log, bench };
        scene.hold(holds);
        scene
    }

    fn hold(&self, holds: bool) {
        let mut flaws = self.log.flaws();
        if holds {
            flaws.unread.insert(HELD)
        } else {
            flaws.unread.remove(&HELD)
        };
    }

    fn put(&mut self, name: &str, order: u64) -> Result<Order, AppendError> {
        self.bench.put(name, order, "value").map(|appended| appended.last)
    }

    fn count(&self, name: &str) -> Result<usize, ReadError> {
        self.read(name).map(|read| read.events.len())
    }

    fn unready(&self) -> Option<Unready> {
        self.handle.status().unready
    }
}

fn foreign(log: &FlawedLog, partition: Partition, name: &'static str) {
    log.log.append_foreign(partition, Some(name.into()), Some("value".into()), Vec::new());
}

#[test]
fn that_a_key_has_no_events_is_said_only_once_every_partition_was_read_to_its_target() {
    let mut scene = Scene::new(true);
    scene.run(5_000);
    assert_eq!(scene.count("zero"), Ok(1), "what is there is shown");
    for name in ["one", "nowhere"] {
        let read = scene.count(name);
        assert!(matches!(read, Err(ReadError::Unavailable(Unready::CatchingUp { .. }))), "{name}: {read:?}");
        let begun = scene.put(name, 0);
        assert!(
            matches!(begun, Err(AppendError::Unavailable(Unready::CatchingUp { .. }))),
            "{name}: {begun:?}"
        );
    }
    let records = || [0, 1].map(|partition| scene.log.log.records(Partition(partition)).len());
    assert_eq!(records(), [1, 1], "nothing is sent that is refused");
    scene.hold(false);
    scene.run(2_000);
    assert_eq!(scene.count("one"), Ok(1));
    assert!(matches!(scene.put("one", 0), Err(AppendError::AlreadyExists { current: Order(1) })));
    assert!(matches!(scene.count("nowhere"), Err(ReadError::NoSuchAggregate { .. })));
    assert_eq!(scene.put("nowhere", 0), Ok(Order(0)));
    // Once is enough: what is written from now on is the log's to judge.
    scene.hold(true);
    foreign(&scene.log, HELD, "one");
    scene.run(2_000);
    assert!(matches!(scene.count("elsewhere"), Err(ReadError::NoSuchAggregate { .. })));
}

#[test]
fn an_engine_that_lags_is_not_ready_until_it_has_caught_up_again_and_each_time() {
    let mut scene = Scene::new(false);
    scene.run(3_000);
    assert_eq!(scene.unready(), None);
    for round in 1..3 {
        scene.hold(true);
        foreign(&scene.log, HELD, "one");
        scene.run(9_000);
        assert_eq!(scene.unready(), None, "round {round}: it lags for less than the limit");
        scene.run(3_000);
        let lagging = scene.unready();
        assert!(
            matches!(lagging, Some(Unready::Lagging { partition: HELD, lag_ms }) if lag_ms >= 10_000),
            "round {round}: {lagging:?}"
        );
        assert!(!scene.handle.is_ready());
        assert_eq!(scene.count("one"), Ok(round), "round {round}: reads go on");
        let added = scene.put("one", round as u64);
        assert!(
            matches!(added, Err(AppendError::Unavailable(Unready::Lagging { .. }))),
            "round {round}: {added:?}"
        );
        scene.hold(false);
        scene.run(2_000);
        assert_eq!(scene.unready(), None, "round {round}: it has caught up");
        assert_eq!(scene.count("one"), Ok(round + 1));
    }
    assert_eq!(scene.put("one", 3), Ok(Order(3)));
}
