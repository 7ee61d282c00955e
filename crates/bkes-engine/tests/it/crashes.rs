//! Kills at the worst moments: between the write and its acknowledgement, between an answer and the store's commit, in the
//! middle of a commit, in the middle of catching up. What was answered is there, once, and a resumed instance holds what a
//! rebuilt one holds.

use crate::support::{Bench, poll};
use bkes_core::{Incarnation, Offset, Partition};
use bkes_engine::{ErrorClass, Expected};
use bkes_storage::{RedbStore, Store};
use bkes_testkit::disk::{SimulatedDisk, Unsynced};
use bkes_testkit::log::{Faults, SimulatedLog as MemoryLog};
use bkes_testkit::store::SimulatedStore as MemoryStore;
use std::num::NonZeroU32;
use std::sync::Arc;

const CACHE_BYTES: usize = 1024 * 1024;

/// Within this time what was committed is made durable.
const LASTS_MS: u64 = 10_100;

/// What a crash may do to changes that were not synced.
const UNSYNCED: [Unsynced; 3] = [Unsynced::Lost, Unsynced::Kept, Unsynced::Torn { seed: 7 }];

fn log(partitions: u32) -> MemoryLog {
    MemoryLog::new("topic", NonZeroU32::new(partitions).expect("not zero"))
}

fn store(disk: &SimulatedDisk) -> Arc<dyn Store> {
    Arc::new(RedbStore::open_on(Arc::new(disk.clone()), CACHE_BYTES).expect("the store opens").store)
}

/// What an instance holds of these keys, with all that reads show.
fn content(bench: &Bench, keys: &[String]) -> Vec<String> {
    keys.iter().map(|key| format!("{key}: {:?}", bench.read(key).map(|read| read.events))).collect()
}

/// What an instance holds that builds its store from nothing.
fn rebuilt(log: &MemoryLog, keys: &[String]) -> Vec<String> {
    content(&Bench::ready(log.clone(), Arc::new(MemoryStore::new())), keys)
}

#[test]
fn a_kill_between_the_write_and_its_acknowledgement_leaves_the_event_or_nothing_of_it() {
    for arrives in [true, false] {
        let log = log(1);
        let store = Arc::new(MemoryStore::new());
        let mut bench = Bench::ready(log.clone(), store.clone());
        bench.put("a", 0, "zero").expect("accepted");
        log.set_faults(Faults { delayed: 1_000, ..Faults::default() });
        let mut unanswered = bench.append("a", Expected::At(bkes_core::Order(1)), &["one"]);
        bench.step_owners();
        assert!(poll(&mut unanswered).is_none(), "it is on its way");
        drop((bench, unanswered));
        store.crash();
        log.set_faults(Faults::default());
        if arrives {
            assert!(log.step(), "the record was sent");
        }
        let mut bench = Bench::ready(log.clone(), store);
        let next = if arrives { 2 } else { 1 };
        assert_eq!(bench.values("a"), ["zero", "one"][..next], "it is whole, or not there");
        bench.put("a", next as u64, "after").expect("the key is free");
        // What arrives later still is judged like any other record.
        while log.step() {}
        bench.run(10);
        assert_eq!(bench.values("a").len(), next + 1);
    }
}

#[test]
fn a_kill_in_the_middle_of_a_batch_leaves_nothing_of_it() {
    let log = log(1);
    let store = Arc::new(MemoryStore::new());
    let mut bench = Bench::ready(log.clone(), store.clone());
    log.set_faults(Faults { delayed: 1_000, ..Faults::default() });
    let unanswered = bench.append("a", Expected::New, &["one", "two", "three"]);
    bench.step_owners();
    drop((bench, unanswered));
    store.crash();
    log.set_faults(Faults::default());
    assert!(log.step(), "the first member arrives, and no other");
    assert_eq!(log.records(Partition(0)).len(), 1);
    let mut bench = Bench::ready(log.clone(), store);
    assert!(bench.values("a").is_empty(), "nothing of it is an event");
    bench.put("a", 0, "anew").expect("the key is free");
    assert_eq!(bench.values("a"), ["anew"]);
}

#[test]
fn a_kill_between_an_answer_and_the_commit_loses_nothing() {
    for unsynced in UNSYNCED {
        let (log, disk) = (log(2), SimulatedDisk::new());
        let mut bench = Bench::ready(log.clone(), store(&disk));
        let keys: Vec<String> = (0..20).map(|n| format!("key-{n}")).collect();
        let answers: Vec<_> = keys.iter().map(|key| bench.append(key, Expected::New, &["value"])).collect();
        bench.step_owners();
        for mut answer in answers {
            poll(&mut answer).expect("answered before anything is committed").expect("accepted");
        }
        let shown = content(&bench, &keys);
        disk.crash(unsynced);
        drop(bench);
        let bench = Bench::ready(log.clone(), store(&disk));
        assert_eq!(content(&bench, &keys), shown, "{unsynced:?}");
        let events: u64 =
            bench.handle.status().partitions.iter().map(|partition| partition.counters.events).sum();
        assert_eq!(events, 20, "{unsynced:?}: none is counted twice");
    }
}

/// Runs a load on a store that crashes at its n-th change; says whether it came to that.
fn crash_in_load(nth: u64, unsynced: Unsynced) -> bool {
    let (log, disk) = (log(2), SimulatedDisk::new());
    let mut bench = Bench::ready(log.clone(), store(&disk));
    let keys: Vec<String> = (0..3).map(|n| format!("key-{n}")).collect();
    let mut acknowledged = vec![Vec::new(); keys.len()];
    disk.crash_at(nth, unsynced);
    for round in 0..12u64 {
        for (key, acknowledged) in keys.iter().zip(&mut acknowledged) {
            let order = acknowledged.len() as u64;
            let value = format!("{key} {round}");
            if bench.put(key, order, &value).is_ok() {
                acknowledged.push(value);
            }
        }
        // Some commits are made durable and some are not.
        bench.run(if round % 4 == 3 { LASTS_MS } else { 1 });
        if disk.crashes() > 0 {
            break;
        }
    }
    let crashed = disk.crashes() > 0;
    drop(bench);
    let bench = Bench::ready(log.clone(), store(&disk));
    for (key, acknowledged) in keys.iter().zip(&acknowledged) {
        let values = bench.values(key);
        assert_eq!(values[..acknowledged.len()], acknowledged[..], "change {nth}, {unsynced:?}");
    }
    assert_eq!(content(&bench, &keys), rebuilt(&log, &keys), "change {nth}, {unsynced:?}");
    crashed
}

#[test]
fn a_kill_at_any_change_of_a_store_commit_loses_nothing_and_doubles_nothing() {
    for unsynced in UNSYNCED {
        let crashes = (0..).take_while(|nth| crash_in_load(*nth, unsynced)).count();
        assert!(crashes > 10, "{unsynced:?}: only {crashes} crashes");
    }
}

/// Catches up with a store that crashes at its n-th change; says whether it came to that.
fn crash_in_catch_up(nth: u64, unsynced: Unsynced) -> bool {
    let (log, disk) = (log(2), SimulatedDisk::new());
    let keys: Vec<String> = (0..7).map(|n| format!("key-{n}")).collect();
    let write = |n: u64| {
        let (partition, key) = (Partition(n as u32 % 2), keys[n as usize % keys.len()].clone());
        log.append_foreign(partition, Some(key.into()), Some(format!("value {n}").into()), Vec::new());
    };
    (0..60).for_each(write);
    let mut bench = Bench::on(log.clone(), store(&disk));
    disk.crash_at(nth, unsynced);
    for n in 60..90 {
        bench.run(if n % 10 == 9 { LASTS_MS } else { 1 });
        if disk.crashes() > 0 {
            break;
        }
        write(n);
    }
    let crashed = disk.crashes() > 0;
    drop(bench);
    let bench = Bench::ready(log.clone(), store(&disk));
    assert_eq!(content(&bench, &keys), rebuilt(&log, &keys), "change {nth}, {unsynced:?}");
    let status = bench.handle.status();
    let events: u64 = status.partitions.iter().map(|partition| partition.counters.events).sum();
    let records = log.records(Partition(0)).len() + log.records(Partition(1)).len();
    assert_eq!(events, records as u64, "change {nth}, {unsynced:?}: each is applied once");
    crashed
}

#[test]
fn a_kill_at_any_change_of_catching_up_resumes_to_what_a_rebuild_gives() {
    for unsynced in UNSYNCED {
        let crashes = (0..).take_while(|nth| crash_in_catch_up(*nth, unsynced)).count();
        assert!(crashes > 10, "{unsynced:?}: only {crashes} crashes");
    }
}

/// What was applied is compared with what is read after a restart too.
#[test]
fn a_record_that_changed_while_the_instance_was_down_is_not_served_as_the_one_it_was() {
    let (log, disk) = (log(1), SimulatedDisk::new());
    let mut bench = Bench::ready(log.clone(), store(&disk));
    bench.put("a", 0, "zero").expect("accepted");
    bench.run(LASTS_MS);
    drop(bench);
    log.truncate(Partition(0), bkes_core::Position(0));
    let other = log.append_foreign(Partition(0), Some("a".into()), Some("another".into()), Vec::new());
    assert_eq!(other, Offset(0));
    let mut bench = Bench::on(log, store(&disk));
    bench.run_until("the log's own record is shown", |bench| {
        bench.read("a").is_ok_and(|read| read.events.len() == 1 && read.events[0].value == "another")
    });
}

/// All rests on names that nobody had before. If the random source repeats itself all the same, after a restart say, nothing that
/// was answered is undone.
#[test]
fn a_name_that_is_drawn_twice_costs_answers_and_no_event() {
    let (log, store) = (log(1), Arc::new(MemoryStore::new()));
    let again = || Bench::naming(log.clone(), store.clone(), || Incarnation(u64::MAX));
    let mut bench = again();
    for order in 0..3 {
        bench.put("a", order, &order.to_string()).expect("accepted");
    }
    drop(bench);
    store.crash();
    let mut bench = again();
    bench.run(10);
    let mut order = 3;
    for attempt in 0..10 {
        match bench.put("a", order, &format!("again {attempt}")) {
            Ok(stored) => {
                assert_eq!(stored.last.0, order);
                order += 1;
            }
            Err(error) => assert_ne!(error.class(), ErrorClass::Rejected, "{error:?}"),
        }
        assert_eq!(bench.values("a").len() as u64, order, "attempt {attempt}: what is refused is not there");
    }
    assert!(order > 3, "its numbers pass those of the first one");
    assert_eq!(bench.values("a")[..3], ["0", "1", "2"]);
    let keys = ["a".to_owned()];
    assert_eq!(content(&bench, &keys), rebuilt(&log, &keys));
}
