//! What an engine says while one partition is not read: an engine stepped by hand, on a log whose reader holds a partition back.

use crate::support::Bench;
use crate::support::flawed::FlawedLog;
use bkes_core::{Order, Partition, Partitioner};
use bkes_engine::{AppendError, EngineOptions, ReadError, Unready};
use bkes_storage::MemoryStore;
use std::sync::Arc;

/// The partition whose records can be held back.
const HELD: Partition = Partition(1);

/// An engine on a log of two partitions, with a record of key "zero" in one and of "one" in the other.
fn assemble(holds: bool) -> (FlawedLog, Bench) {
    let log = FlawedLog::new(2);
    foreign(&log, Partition(0), "zero");
    foreign(&log, HELD, "one");
    hold(&log, holds);
    let options = EngineOptions { partitioner: Some(Partitioner::Murmur2), ..EngineOptions::default() };
    let bench = Bench::with(log.clone(), Arc::new(MemoryStore::new()), options);
    (log, bench)
}

fn hold(log: &FlawedLog, holds: bool) {
    let unread = holds.then_some(HELD);
    log.flaws().unread = unread.into_iter().collect();
}

fn put(bench: &mut Bench, name: &str, order: u64) -> Result<Order, AppendError> {
    bench.put(name, order, "value").map(|appended| appended.last)
}

fn unready(bench: &Bench) -> Option<Unready> {
    bench.handle.status().unready
}

fn foreign(log: &FlawedLog, partition: Partition, name: &'static str) {
    log.log.append_foreign(partition, Some(name.into()), Some("value".into()), Vec::new());
}

#[test]
fn that_a_key_has_no_events_is_said_only_once_every_partition_was_read_to_its_target() {
    let (log, mut bench) = assemble(true);
    bench.run(5_000);
    assert_eq!(bench.count("zero"), Ok(1), "what is there is shown");
    for name in ["one", "nowhere"] {
        let read = bench.count(name);
        assert!(matches!(read, Err(ReadError::Unavailable(Unready::CatchingUp { .. }))), "{name}: {read:?}");
        let begun = put(&mut bench, name, 0);
        assert!(
            matches!(begun, Err(AppendError::Unavailable(Unready::CatchingUp { .. }))),
            "{name}: {begun:?}"
        );
    }
    let records = || [0, 1].map(|partition| log.log.records(Partition(partition)).len());
    assert_eq!(records(), [1, 1], "nothing is sent that is refused");
    hold(&log, false);
    bench.run(2_000);
    assert_eq!(bench.count("one"), Ok(1));
    assert!(matches!(put(&mut bench, "one", 0), Err(AppendError::AlreadyExists { current: Order(1) })));
    assert!(matches!(bench.count("nowhere"), Err(ReadError::NoSuchAggregate { .. })));
    assert_eq!(put(&mut bench, "nowhere", 0), Ok(Order(0)));
}

#[test]
fn an_engine_that_lags_is_not_ready_until_it_has_caught_up_again_and_each_time() {
    let (log, mut bench) = assemble(false);
    bench.run(3_000);
    assert_eq!(unready(&bench), None);
    for round in 1..3 {
        hold(&log, true);
        foreign(&log, HELD, "one");
        bench.run(9_000);
        assert_eq!(unready(&bench), None, "round {round}: it lags for less than the limit");
        bench.run(3_000);
        let lagging = unready(&bench);
        assert!(
            matches!(lagging, Some(Unready::Lagging { partition: HELD, lag_ms }) if lag_ms >= 10_000),
            "round {round}: {lagging:?}"
        );
        assert!(!bench.handle.is_ready());
        assert_eq!(bench.count("one"), Ok(round), "round {round}: reads go on");
        let added = put(&mut bench, "one", round as u64);
        assert!(
            matches!(added, Err(AppendError::Unavailable(Unready::Lagging { .. }))),
            "round {round}: {added:?}"
        );
        hold(&log, false);
        bench.run(2_000);
        assert_eq!(unready(&bench), None, "round {round}: it has caught up");
        assert_eq!(bench.count("one"), Ok(round + 1));
    }
    assert_eq!(put(&mut bench, "one", 3), Ok(Order(3)));
}
