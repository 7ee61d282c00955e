//! A failover that loses the end of the log: noticed, whatever was being done, and never served for long.

use crate::support::flawed::FlawedLog;
use crate::support::scene::Scene;
use crate::support::{Answer, Bench, poll, while_busy};
use bkes_core::checksum::{PartsSum, PayloadSum};
use bkes_core::{Header, Key, Offset, Order, Partition, Position};
use bkes_engine::{AppendRequest, EngineOptions, Expected, PartitionState, ReadError};
use bkes_storage::{MemoryStore, Store};
use bkes_testkit::log::{Faults, SimulatedLog as MemoryLog};
use bytes::Bytes;
use std::num::NonZeroU32;
use std::sync::Arc;

/// An engine that has read `events` foreign events of key "a".
fn bench(events: usize) -> Scene {
    let mut bench = Scene::new(Faults::default());
    bench.run(10);
    (0..events).for_each(|_| bench.foreign(0, "a", "old"));
    bench.run(10);
    assert_eq!(bench.count("a"), Ok(events));
    bench
}

/// The same, with two events, and after them three offsets that hold nothing.
fn bench_before_a_gap() -> Scene {
    let mut bench = bench(2);
    bench.log.skip_offsets(Partition(0), 3);
    bench.run(10);
    assert_eq!(bench.handle.status().partitions[0].applied, Position(5));
    bench
}

fn accepted(bench: &mut Scene, name: &str, expected: Expected) {
    let mut answer = bench.append_one(name, expected);
    poll(&mut answer);
    bench.run(10);
    poll(&mut answer).expect("it is decided").expect("it is accepted");
}

/// The same on a log that delivers when it is stepped.
fn accepted_when_delivered(bench: &mut Scene, name: &str, expected: Expected) {
    let mut answer = bench.append_one(name, expected);
    bench.run(10);
    assert!(bench.log.step());
    bench.run(10);
    poll(&mut answer).expect("it is decided").expect("it is accepted");
}

/// The log was asked where it ends; then it took an append, which was applied, and reading met a damaged record; then came the
/// answer, which was of before the append. It was taken for a log that had lost its end, and the store was thrown away.
#[test]
fn a_look_from_before_the_last_appends_is_no_loss() {
    let (log, store) = (FlawedLog::new(1), Arc::new(MemoryStore::new()));
    let mut bench = Bench::ready(log.clone(), Arc::clone(&store) as Arc<dyn Store>);
    for order in 0..3 {
        bench.put("a", order, "value").expect("accepted");
    }
    bench.run(1_000);
    let (owner, handle, now) = (Arc::clone(&bench.owners[0]), bench.handle.clone(), bench.now());
    let meanwhile = log.clone();
    log.flaws().let_in = Some(Box::new(move || {
        let (key, expected) = (Key::new("a").expect("not empty"), Expected::At(Order(3)));
        let append = AppendRequest::of_values(key, expected, vec![Bytes::from_static(b"late")]);
        let mut answer: Answer = Box::pin(async move { handle.append(append).await });
        assert!(poll(&mut answer).is_none());
        while_busy(&owner, now);
        poll(&mut answer).expect("it is decided").expect("it is accepted");
        meanwhile.flaws().damaged = Some((Partition(0), Offset(4)));
        meanwhile.log.append_foreign(Partition(0), Some("a".into()), Some("foreign".into()), Vec::new());
        while_busy(&owner, now);
    }));
    bench.step_monitor();
    bench.step_owners();
    bench.step_writer();
    let state = bench.handle.status().partitions[0].state.clone();
    assert!(
        matches!(&state, PartitionState::Degraded { reason } if reason.contains("damaged record at or after 4")),
        "{state:?}"
    );
    bench.run(1_000);
    let stored = store.load().expect("it answers").checkpoints;
    assert_eq!(stored[0].1.position, Position(4), "the store was thrown away");
    log.flaws().damaged = None;
    bench.run_until("it is served again", |bench| bench.count("a") == Ok(5));
}

/// A partition that was still catching up waited for ever for a target that the log had lost.
#[test]
fn a_partition_that_loses_its_end_while_it_catches_up_is_served() {
    let first = bench(5);
    let mut bench = Scene::on(first.log.clone(), 1);
    bench.log.truncate(Partition(0), Position(3));
    bench.run(2_000);
    assert_eq!(bench.count("a"), Ok(3));
    accepted(&mut bench, "a", Expected::At(Order(3)));
}

/// A reader that stood beyond the new end read on where it stood once the log had grown past it: what it had applied from
/// the lost end stayed, and this instance held another history than all others.
#[test]
fn a_log_that_lost_its_end_and_grew_again_is_read_again() {
    let mut bench = bench(5);
    bench.log.truncate(Partition(0), Position(2));
    (0..6).for_each(|_| bench.foreign(0, "b", "new"));
    bench.run(3_000);
    assert_eq!((bench.count("a"), bench.count("b")), (Ok(2), Ok(6)));
}

/// The same, and the last record that was read is there again at its old place, as a retry may bring it: comparing it tells nothing
/// of those before it.
#[test]
fn a_loss_is_seen_though_the_last_record_came_back_to_its_place() {
    let mut bench = bench(3);
    bench.log.truncate(Partition(0), Position(1));
    bench.foreign(0, "b", "new");
    bench.foreign(0, "a", "old");
    bench.run(3_000);
    assert_eq!((bench.count("a"), bench.count("b")), (Ok(2), Ok(1)));
}

/// The same while the instance was down: what it had read was served, and an append that rested on it acknowledged, though both were
/// lost. (Found by simulation.) Whether the record was read or applied as it was sent, the leader that took it is known.
#[test]
fn a_loss_is_seen_at_a_start_though_the_last_record_came_back_to_its_place() {
    for own in [false, true] {
        let mut bench = bench(2);
        match own {
            true => accepted(&mut bench, "c", Expected::New),
            false => bench.foreign(0, "c", "value"),
        }
        bench.run(1_000);
        let (log, store) = (bench.log.clone(), Arc::clone(&bench.store));
        drop(bench);
        let last = log.records(Partition(0)).remove(2);
        log.truncate(Partition(0), Position(1));
        log.append_foreign(Partition(0), Some("b".into()), Some("new".into()), Vec::new());
        let again = log.append_foreign(Partition(0), last.key, last.value, last.headers);
        assert_eq!(again, last.offset);
        let mut bench = Scene::with(log, store, EngineOptions::default());
        // It is not served before it is compared.
        let early = bench.count("a");
        assert!(matches!(early, Err(ReadError::Unavailable(_))), "own {own}: {early:?}");
        bench.run(3_000);
        assert_eq!(
            (bench.count("a"), bench.count("b"), bench.count("c")),
            (Ok(1), Ok(1), Ok(1)),
            "own {own}"
        );
        accepted(&mut bench, "a", Expected::At(Order(1)));
    }
}

/// The brokers changed leaders and lost nothing: no reason to read anything anew.
#[test]
fn another_leader_is_no_loss() {
    let mut bench = bench(2);
    accepted(&mut bench, "c", Expected::New);
    bench.run(1_000);
    for restarted in [false, true] {
        bench.log.go_down("no leader");
        bench.run(1_000);
        bench.log.come_up();
        if restarted {
            let (log, store) = (bench.log.clone(), Arc::clone(&bench.store));
            drop(bench);
            bench = Scene::with(log, store, EngineOptions::default());
        }
        bench.foreign(0, "a", "new");
        for _ in 0..3_000 {
            bench.run(1);
            let state = &bench.handle.status().partitions[0].state;
            assert!(!matches!(state, PartitionState::Degraded { .. }), "restarted {restarted}: {state:?}");
        }
    }
    assert_eq!((bench.count("a"), bench.count("c")), (Ok(4), Ok(1)));
}

/// The same, and what this instance had passed after its last record was a gap, where the log has records now: they were
/// taken for known.
#[test]
fn records_where_a_gap_was_before_the_log_lost_its_end_are_applied() {
    let mut bench = bench_before_a_gap();
    bench.log.truncate(Partition(0), Position(2));
    (0..6).for_each(|_| bench.foreign(0, "b", "new"));
    bench.run(3_000);
    assert_eq!((bench.count("a"), bench.count("b")), (Ok(2), Ok(6)));
}

/// The same, and an append of this very instance landed exactly after the gap: its fast path took it for the next record. Then it was
/// the last record that was applied, the records where the gap had been lay below it and were taken for known, and an order was
/// acknowledged twice. (Found by simulation, of an instance that was paused meanwhile.)
#[test]
fn records_where_a_gap_was_are_not_hidden_by_an_append_behind_them() {
    let mut bench = Scene::new(Faults { delayed: 1_000, ..Faults::default() });
    bench.run(10);
    (0..2).for_each(|_| bench.foreign(0, "a", "old"));
    bench.log.skip_offsets(Partition(0), 3);
    bench.run(10);
    let mut answer = bench.append_one("c", Expected::New);
    poll(&mut answer);
    bench.step_owner(0);
    bench.log.truncate(Partition(0), Position(2));
    (0..3).for_each(|_| bench.foreign(0, "b", "new"));
    assert!(bench.log.step());
    bench.run(3_000);
    assert_eq!((bench.count("a"), bench.count("b"), bench.count("c")), (Ok(2), Ok(3), Ok(1)));
    accepted_when_delivered(&mut bench, "b", Expected::At(Order(3)));
}

/// The same, and an append of this very instance was the first to be written after the new end, where its fast path took it
/// for the next record.
#[test]
fn an_append_behind_a_lost_end_does_not_hide_the_loss() {
    let mut bench = bench(3);
    bench.log.truncate(Partition(0), Position(2));
    bench.foreign(0, "b", "new");
    let mut answer = bench.append_one("c", Expected::New);
    poll(&mut answer);
    bench.run(3_000);
    assert_eq!((bench.count("a"), bench.count("b")), (Ok(2), Ok(1)));
}

/// The same, and the process died before it had read its append back: only the last applied record was compared at the next
/// start, and that was the append. What lies before it stayed.
#[test]
fn a_loss_behind_an_append_that_was_not_read_back_is_seen_after_a_restart() {
    // The append fills the overlay, so that reading waits for the writer.
    let full = EngineOptions { overlay_bytes_max: 1, ..EngineOptions::default() };
    let delayed = Faults { delayed: 1_000, ..Faults::default() };
    let log = MemoryLog::with_faults("topic", NonZeroU32::MIN, delayed, 1);
    let mut bench = Scene::with(log, Arc::default(), full);
    bench.run(10);
    for _ in 0..3 {
        bench.foreign(0, "a", "old");
        bench.run(10);
    }
    let mut answer = bench.append_one("c", Expected::New);
    poll(&mut answer);
    bench.step_owner(0);
    bench.log.truncate(Partition(0), Position(2));
    bench.foreign(0, "b", "new");
    assert!(bench.log.step());
    bench.step_owner(0);
    poll(&mut answer).expect("it is decided").expect("its place is the next one");
    bench.step_writer();
    assert_eq!(bench.handle.status().partitions[0].applied, Position(4));
    assert_eq!((bench.count("a"), bench.count("c")), (Ok(3), Ok(1)));

    let (log, store) = (bench.log.clone(), Arc::clone(&bench.store));
    drop(bench);
    let mut bench = Scene::with(log, store, EngineOptions::default());
    bench.run(3_000);
    assert_eq!((bench.count("a"), bench.count("b"), bench.count("c")), (Ok(2), Ok(1), Ok(1)));
}

/// The end was lost while the process was down, and the log grew again under a transaction that was still open. What stood at the
/// last applied offset could not be read to be compared, so the old history was served, and appends after it were acknowledged that
/// the next start did not show. (Found by simulation.)
#[test]
fn a_loss_under_an_open_transaction_is_seen_at_the_start_and_while_running() {
    let grow = |log: &MemoryLog, kept: u64| {
        log.truncate(Partition(0), Position(kept));
        let open = log.begin();
        log.append_in(open, Partition(0), "t".into(), "undecided".into());
        log.append_in(open, Partition(0), "t".into(), "undecided".into());
    };
    for restarted in [true, false] {
        let mut bench = bench(3);
        bench.run(1_000);
        let (log, store) = (bench.log.clone(), Arc::clone(&bench.store));
        if restarted {
            drop(bench);
            grow(&log, 2);
            bench = Scene::with(log.clone(), store, EngineOptions::default());
        } else {
            // Reading is told nothing: it has not come back to the log yet.
            grow(&log, 2);
            bench.step_monitor();
        }
        let mut append = bench.append_one("a", Expected::At(Order(3)));
        bench.run(3_000);
        let append = poll(&mut append).expect("it is answered");
        assert!(append.is_err(), "restarted {restarted}: {append:?}");
        assert_eq!(bench.count("a"), Ok(2), "restarted {restarted}");
    }
}

/// What was lost held no record: it stayed the end of what is applied, so that nothing could be caught up with any more and the
/// next start was refused. (Found by simulation.)
#[test]
fn a_lost_end_that_held_nothing_is_no_loss() {
    let mut bench = bench_before_a_gap();
    bench.log.truncate(Partition(0), Position(2));
    bench.run(3_000);
    assert_eq!(bench.handle.status().partitions[0].applied, Position(2));
    accepted(&mut bench, "a", Expected::At(Order(2)));

    bench.log.skip_offsets(Partition(0), 3);
    bench.run(1_000);
    bench.log.truncate(Partition(0), Position(3));
    let (log, store) = (bench.log.clone(), Arc::clone(&bench.store));
    drop(bench);
    let mut bench = Scene::with(log, store, EngineOptions::default());
    bench.run(3_000);
    assert_eq!(bench.count("a"), Ok(3));
    accepted(&mut bench, "a", Expected::At(Order(3)));
}

/// The same while the instance was down, and there was no record at all: it said to have applied what the log no longer had, for as long
/// as nobody wrote. (Found by simulation.)
#[test]
fn a_lost_end_that_held_nothing_is_no_loss_at_a_start() {
    let mut bench = Scene::new(Faults::default());
    bench.run(10);
    bench.log.skip_offsets(Partition(0), 2);
    bench.run(3_000);
    assert_eq!(bench.handle.status().partitions[0].stored, Position(2));
    let (log, store) = (bench.log.clone(), Arc::clone(&bench.store));
    drop(bench);
    log.truncate(Partition(0), Position(0));
    let mut bench = Scene::with(log, store, EngineOptions::default());
    bench.run(3_000);
    assert_eq!(bench.handle.status().partitions[0].applied, Position(0));
    accepted(&mut bench, "a", Expected::New);
}

/// An append was acknowledged, and its record was lost before this instance had read it back: the reader stood exactly at the
/// new end and was told nothing, and the event was shown until the next record came, if ever.
#[test]
fn an_acknowledged_event_that_is_lost_is_not_shown_for_ever() {
    let mut bench = Scene::new(Faults { delayed: 1_000, ..Faults::default() });
    bench.run(10);
    let mut answer = bench.append_one("a", Expected::New);
    poll(&mut answer);
    bench.step_owner(0);
    // The record is stored and reported; it is lost before the owner takes the report.
    assert!(bench.log.step());
    bench.log.truncate(Partition(0), Position(0));
    bench.run(3_000);
    assert!(matches!(bench.count("a"), Err(ReadError::NoSuchAggregate { .. })), "{:?}", bench.count("a"));
}

/// Of records that are fetched together the last one's fingerprint is kept; here the fold ends before the last.
#[test]
fn what_was_applied_before_a_record_of_a_newer_format_is_compared_after_a_restart() {
    let log = MemoryLog::new("topic", NonZeroU32::MIN);
    let append = |key: &str, headers: Vec<Header>| {
        let (key, value) = (Some(Bytes::from(key.to_owned())), Some(Bytes::from_static(b"value")));
        log.append_foreign(Partition(0), key, value, headers);
    };
    append("a", Vec::new());
    append("a", Vec::new());
    let mut sum = PartsSum::after(PayloadSum::of(Some(b"a"), Some(b"value")));
    sum.part(None);
    sum.part(Some(b"2;x;"));
    let newer = format!("2;x;{:08x}", sum.finish());
    let newer = Header { name: Bytes::from_static(b"bkes"), value: Some(newer.into()) };
    append("a", vec![newer]);
    let store = Arc::default();
    let mut bench = Scene::with(log.clone(), Arc::clone(&store), EngineOptions::default());
    bench.run(1_000);
    let status = &bench.handle.status().partitions[0];
    assert!(matches!(status.state, PartitionState::Degraded { .. }), "{status:?}");
    assert_eq!((status.applied, status.stored), (Position(2), Position(2)));

    drop(bench);
    log.truncate(Partition(0), Position(1));
    append("b", Vec::new());
    let mut bench = Scene::with(log, store, EngineOptions::default());
    bench.run(3_000);
    assert_eq!((bench.count("a"), bench.count("b")), (Ok(1), Ok(1)));
}

/// Of a topic that was made again, an instance said "the log diverged" when it met that first, and not what helps.
#[test]
fn a_topic_that_was_made_again_is_named_also_when_the_log_diverged_first() {
    let mut bench = Scene::on(MemoryLog::new("topic", NonZeroU32::MIN), 1);
    bench.run(10);
    accepted(&mut bench, "a", Expected::New);
    bench.log.recreate();
    let mut answer = bench.append_one("c", Expected::New);
    poll(&mut answer);
    bench.run(3_000);
    let state = &bench.handle.status().partitions[0].state;
    let PartitionState::Degraded { reason } = state else { panic!("{state:?}") };
    assert!(reason.contains("another data directory"), "{reason}");
}
