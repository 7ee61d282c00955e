//! Trouble in one partition: that partition is read anew, and meanwhile nobody else is away (P20).

use crate::support::flawed::FlawedLog;
use crate::support::scene::Scene;
use crate::support::{Bench, poll};
use bkes_core::{Order, Partition, Partitioner, Position};
use bkes_engine::{AppendError, EngineOptions, Expected, PartitionState, ReadError, Unready};
use bkes_storage::{Heads, RedbStore, Store};
use bkes_testkit::disk::{SimulatedDisk, Unsynced};
use bkes_testkit::log::SimulatedLog as MemoryLog;
use bkes_testkit::store::SimulatedStore as MemoryStore;
use std::num::NonZeroU32;
use std::sync::Arc;

const PARTITIONS: u32 = 2;
const KEPT: Partition = Partition(0);
const LOST: Partition = Partition(1);

fn two_partitions() -> MemoryLog {
    MemoryLog::new("topic", NonZeroU32::new(PARTITIONS).expect("two"))
}

/// Keys that belong to a partition.
fn keys_of(partition: Partition) -> impl Iterator<Item = String> {
    let count = NonZeroU32::new(PARTITIONS).expect("two");
    let names = (0..).map(|number| format!("key-{number}"));
    names.filter(move |name| Partitioner::Murmur2.place(name.as_bytes(), count) == partition)
}

fn foreign(log: &MemoryLog, partition: Partition, key: &str, value: &str) {
    log.append_foreign(partition, Some(key.to_owned().into()), Some(value.to_owned().into()), Vec::new());
}

/// Both partitions with events of keys of their own, and one key that lies in both.
fn filled(log: &MemoryLog) -> (String, String) {
    let [kept, lost] = [KEPT, LOST].map(|partition| keys_of(partition).next().expect("there is one"));
    for n in 0..6 {
        foreign(log, KEPT, &kept, &format!("kept {n}"));
        foreign(log, LOST, &lost, &format!("lost {n}"));
    }
    foreign(log, KEPT, "split", "in the kept one");
    foreign(log, LOST, "split", "in the lost one");
    (kept, lost)
}

/// What an instance holds that builds its store from nothing.
fn expect_as_rebuilt(bench: &Bench, log: &MemoryLog, keys: &[&str], at: &str) {
    let rebuilt = Bench::ready(log.clone(), Arc::new(MemoryStore::new()));
    for key in keys {
        assert_eq!(bench.values(key), rebuilt.values(key), "{at}: key {key}");
    }
    let counters =
        |bench: &Bench| bench.handle.status().partitions.iter().map(|p| p.counters).collect::<Vec<_>>();
    let events = |bench: &Bench| counters(bench).iter().map(|counters| counters.events).collect::<Vec<_>>();
    assert_eq!(events(bench), events(&rebuilt), "{at}: each is applied once");
}

/// The end that one partition had lost took the store of all along: every partition was read from its beginning, and none was served
/// before that was done.
#[test]
fn while_a_partition_is_read_anew_the_others_are_read_and_appended_to() {
    for owners in [1, 2] {
        let log = two_partitions();
        let (kept, lost) = filled(&log);
        let options = EngineOptions {
            threads: owners,
            partitioner: Some(Partitioner::Murmur2),
            ..EngineOptions::default()
        };
        let mut scene = Scene::with(log.clone(), Arc::default(), options);
        scene.run_until("it is ready", |bench| bench.handle.is_ready());
        // Some of it is stored, and some is not.
        scene.run(1_000);
        foreign(&log, KEPT, &kept, "kept late");
        foreign(&log, LOST, &lost, "lost late");
        scene.step_owners();
        log.truncate(LOST, Position(3));
        (0..9).for_each(|n| foreign(&log, LOST, &lost, &format!("new {n}")));
        let mut new_keys = keys_of(KEPT).skip(1);
        let (mut next, mut away) = (7, 0);
        for _ in 0..3_000 {
            scene.run(1);
            let stored = scene.store.load().expect("loads");
            let of_kept = stored.checkpoints.iter().find(|(partition, _)| *partition == KEPT);
            assert!(of_kept.is_some_and(|(_, checkpoint)| checkpoint.counters.events >= 7), "{stored:?}");
            assert_eq!(scene.count(&kept), Ok(next), "it is served whatever happens elsewhere");
            match scene.count(&lost) {
                Ok(count) => assert!(away == 0 && count >= 6 || count == 12, "{count} events"),
                Err(ReadError::Unavailable(_)) => {
                    away += 1;
                    // Nobody can say whether these exist, as long as that lasts.
                    let absent = scene.read("absent").map(|_| ());
                    let mut new = scene.append_one(&new_keys.next().expect("endless"), Expected::New);
                    scene.step_owners();
                    let new = poll(&mut new).expect("it is refused");
                    if scene.count(&lost).is_err() {
                        assert!(matches!(absent, Err(ReadError::Unavailable(_))), "{absent:?}");
                        assert!(matches!(new, Err(AppendError::Unavailable(_))), "{new:?}");
                    }
                    let mut append = scene.append_one(&kept, Expected::At(Order(next as u64)));
                    scene.step_owners();
                    poll(&mut append).expect("it is decided").expect("it is accepted");
                    next += 1;
                }
                Err(error) => panic!("{error:?}"),
            }
        }
        assert!(away > 0, "{owners} owners: the loss was not noticed");
        assert!(scene.handle.is_ready());
        assert_eq!(scene.values("split"), ["in the kept one"], "the other part was lost");
        let mut answer = scene.append_one(&lost, Expected::At(Order(12)));
        scene.run(10);
        poll(&mut answer).expect("it is decided").expect("it is served again");
        scene.run(1_000);
        expect_as_rebuilt(&scene, &log, &[&kept, &lost, "split"], &format!("{owners} owners"));
    }
}

/// What the old fold had applied and nobody had committed was in the overlay, among what the other partitions had there.
#[test]
fn what_was_applied_of_a_dropped_partition_and_not_stored_does_not_come_back() {
    let log = two_partitions();
    let store = Arc::new(MemoryStore::new());
    let mut bench = Bench::ready(log.clone(), store.clone());
    let (kept, lost) = filled(&log);
    // Applied by the owner, and not seen by the writer.
    bench.step_owners();
    log.truncate(LOST, Position(2));
    foreign(&log, LOST, "other", "new");
    bench.step_monitor();
    bench.step_owners();
    let state = &bench.handle.status().partitions[LOST.0 as usize].state;
    assert!(matches!(state, PartitionState::Degraded { .. }), "{state:?}");
    bench.run(3_000);
    let keys = [&kept, &lost, "split", "other"];
    expect_as_rebuilt(&bench, &log, &keys, "running");
    drop(bench);
    store.crash();
    expect_as_rebuilt(&Bench::ready(log.clone(), store), &log, &keys, "after a restart");
}

/// A stalled log tells nothing of whether it is the same: until it answers the partition waits, and the others do not.
#[test]
fn a_partition_waits_for_the_log_before_it_is_dropped_and_the_others_are_served() {
    let log = FlawedLog::new(PARTITIONS);
    let (kept, lost) = filled(&log.log);
    let mut bench = Bench::ready(log.clone(), Arc::new(MemoryStore::new()));
    bench.run(1_000);
    log.log.truncate(LOST, Position(3));
    bench.step_monitor();
    bench.step_owners();
    log.flaws().denied = true;
    bench.run(3_000);
    let away = bench.count(&lost);
    assert!(matches!(away, Err(ReadError::Unavailable(Unready::Degraded { .. }))), "{away:?}");
    assert_eq!(bench.count(&kept), Ok(6));
    log.flaws().denied = false;
    bench.run_until("it is read anew", |bench| bench.count(&lost) == Ok(3));
}

/// Loses the end of a partition on a store that crashes at its n-th change after that; says whether it came to that.
fn crash_while_dropping(nth: u64, unsynced: Unsynced) -> bool {
    const CACHE_BYTES: usize = 1024 * 1024;
    let (log, disk) = (two_partitions(), SimulatedDisk::new());
    let open = || -> Arc<dyn Store> {
        Arc::new(RedbStore::open_on(Arc::new(disk.clone()), CACHE_BYTES).expect("the store opens").store)
    };
    let (kept, lost) = filled(&log);
    let store = open();
    let mut bench = Bench::ready(log.clone(), Arc::clone(&store));
    bench.run(10_100);
    log.truncate(LOST, Position(2));
    (0..7).for_each(|n| foreign(&log, LOST, &lost, &format!("new {n}")));
    disk.crash_at(nth, unsynced);
    for n in 0..40 {
        if disk.crashes() > 0 {
            break;
        }
        foreign(&log, KEPT, &kept, &format!("kept behind {n}"));
        bench.run(100);
    }
    let crashed = disk.crashes() > 0;
    drop((bench, store));
    let at = format!("change {nth}, {unsynced:?}");
    let store = open();
    let mut bench = Bench::ready(log.clone(), Arc::clone(&store));
    bench.run(3_000);
    let keys = [&kept, &lost, "split"];
    expect_as_rebuilt(&bench, &log, &keys, &at);
    while store.sweep().expect("sweeps") {}
    expect_as_rebuilt(&bench, &log, &keys, &at);
    let mut heads = Vec::new();
    store.heads(&[bkes_core::Key::new("split").expect("not empty")], &mut heads).expect("looks");
    assert!(matches!(heads[..], [Heads::One(head)] if head.partition == KEPT), "{at}: {heads:?}");
    crashed
}

#[test]
fn a_kill_at_any_change_of_a_store_that_drops_a_partition_resumes_to_what_the_log_holds() {
    for unsynced in [Unsynced::Lost, Unsynced::Kept, Unsynced::Torn { seed: 5 }] {
        let crashes = (0..).take_while(|nth| crash_while_dropping(*nth, unsynced)).count();
        assert!(crashes > 10, "{unsynced:?}: only {crashes} crashes");
    }
}
