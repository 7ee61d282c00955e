//! A record that names an order above the next one: its writer knew events that this fold does not. Nothing is decided on it before
//! the log was read again from its beginning, and that happens once (P20).

use crate::support::poll;
use crate::support::scene::Scene;
use bkes_core::{Order, Partition, Position};
use bkes_engine::{AppendError, Expected, PartitionState, ReadError};
use bkes_testkit::log::{Faults, SimulatedLog as MemoryLog};
use std::num::NonZeroU32;
use std::sync::Arc;

fn scene() -> Scene {
    let mut scene = Scene::new(Faults::default());
    scene.run(10);
    scene
}

fn is_degraded(scene: &Scene) -> bool {
    matches!(scene.handle.status().partitions[0].state, PartitionState::Degraded { .. })
}

/// Copies a record as it is, headers and all, into another topic.
fn copy(from: &MemoryLog, index: usize, to: &MemoryLog) {
    let record = from.records(Partition(0)).remove(index);
    to.append_foreign(Partition(0), record.key, record.value, record.headers);
}

/// Steps for a second and says how often the partition was degraded anew.
fn degradations(scene: &mut Scene) -> u32 {
    let mut count = 0;
    for _ in 0..1_000 {
        let before = is_degraded(scene);
        scene.step_owners();
        count += u32::from(!before && is_degraded(scene));
        scene.run(1);
    }
    count
}

/// While an instance was down, its log, which does not tell which leader took a record, lost its end and grew again, and the last
/// record was back at its old place: nothing told that those before it were others. Then the instance met a record that rested on what it had missed, and took it for void; what was
/// acknowledged elsewhere was denied here, and its order given away a second time.
#[test]
fn what_a_fold_missed_is_found_when_somebody_rests_on_it() {
    let first = {
        let mut scene = scene();
        scene.log.tell_no_leaders();
        ["a", "a", "z"].iter().for_each(|key| scene.foreign(0, key, "old"));
        scene.run(3_000);
        scene
    };
    let (log, store) = (first.log.clone(), Arc::clone(&first.store));
    drop(first);
    log.truncate(Partition(0), Position(0));
    let other = Scene::on(log.clone(), 1);
    ["b", "b", "z"].iter().for_each(|key| other.foreign(0, key, "old"));
    let mut scene = Scene::with(log.clone(), store, bkes_engine::EngineOptions::default());
    scene.run(100);
    assert_eq!(scene.count("a"), Ok(2), "it is not noticed by itself");

    // An append that rests on nothing is on its way when somebody appends who has read what is there.
    log.set_faults(Faults { delayed: 1_000, ..Faults::default() });
    let mut wrong = scene.append_one("b", Expected::New);
    scene.step_owner(0);
    log.set_faults(Faults::default());
    let mut other = other;
    other.run(100);
    let mut right = other.append_one("b", Expected::At(Order(2)));
    other.run(10);
    poll(&mut right).expect("it is decided").expect("it is the next order");
    scene.step_owner(0);
    assert!(is_degraded(&scene), "{:?}", scene.handle.status());
    assert!(log.step());
    scene.step_owner(0);
    assert!(poll(&mut wrong).is_none(), "it was answered by a fold that missed something");
    let unavailable = scene.count("a");
    assert!(matches!(unavailable, Err(ReadError::Unavailable(_))), "{unavailable:?}");
    scene.run(3_000);
    assert_eq!(scene.count("b"), Ok(3));
    assert!(matches!(scene.count("a"), Err(ReadError::NoSuchAggregate { .. })));
    let exists = Err(AppendError::AlreadyExists { current: Order(3) });
    assert_eq!(poll(&mut wrong).expect("it is decided"), exists);
    assert_eq!(degradations(&mut scene), 0);
}

/// Records that a job copies from another topic rest on nothing here. The first has the log read again; later ones of its writer are
/// void at once, and so are all when that was in vain too often: a topic that is copied into this one must not stop it.
#[test]
fn records_copied_from_another_topic_are_void_and_rebuilding_ends() {
    let mut scene = scene();
    scene.foreign(0, "a", "one");
    // Where a record lies below its writer's base, it tells by that alone that it rests on another log.
    scene.log.skip_offsets(Partition(0), 100);
    let source = MemoryLog::new("topic", NonZeroU32::MIN);
    for writer in 0..20 {
        // Each process has a name of its own.
        let mut bench = Scene::on(source.clone(), 1);
        bench.run(10);
        for order in [2 * writer, 2 * writer + 1] {
            bench.put("k", order, "copied").expect("the source is sound");
        }
    }
    let mut counts = Vec::new();
    for index in 2..40 {
        copy(&source, index, &scene.log);
        counts.push(degradations(&mut scene));
        assert!(!is_degraded(&scene) && scene.handle.is_ready(), "after {index}");
    }
    let rebuilt = [1, 0].repeat(8);
    assert_eq!(counts[..16], rebuilt, "once for each writer");
    assert!(counts[16..].iter().all(|count| *count == 0), "{counts:?}");
    assert!(matches!(scene.count("k"), Err(ReadError::NoSuchAggregate { .. })));
    assert_eq!(scene.handle.status().partitions[0].counters.void, 38);
    assert_eq!(scene.put("a", 1, "two").expect("it is served").first, Order(1));
}

/// Such records that are there already when a fold begins are decided as they are met.
#[test]
fn a_first_build_meets_records_above_the_next_order_without_a_rebuild() {
    let source = {
        let mut bench = scene();
        for order in 0..3 {
            bench.put("k", order, "copied").expect("the source is sound");
        }
        bench.log.clone()
    };
    let log = MemoryLog::new("topic", NonZeroU32::MIN);
    copy(&source, 2, &log);
    let mut scene = Scene::on(log, 1);
    assert_eq!(degradations(&mut scene), 0);
    assert!(scene.handle.is_ready());
    assert_eq!(scene.handle.status().partitions[0].counters.void, 1);
}

/// Where retention has removed what a rebuild would need, the store is not thrown away for it.
#[test]
fn a_store_that_has_more_than_the_log_is_kept_and_its_partition_waits_for_its_operator() {
    let source = {
        let mut bench = scene();
        for order in 0..3 {
            bench.put("k", order, "copied").expect("the source is sound");
        }
        bench.log.clone()
    };
    let mut scene = scene();
    (0..3).for_each(|_| scene.foreign(0, "a", "one"));
    scene.run(2_000);
    scene.log.cut_start(Partition(0), Position(2));
    scene.run(2_000);
    copy(&source, 2, &scene.log);
    scene.run(3_000);
    let state = scene.handle.status().partitions[0].state.clone();
    let PartitionState::Degraded { reason } = state else { panic!("{state:?}") };
    assert!(reason.contains("remove the data directory"), "{reason}");
    let (log, store) = (scene.log.clone(), Arc::clone(&scene.store));
    drop(scene);
    let copy = bkes_storage::Store::load(&*store).expect("it loads");
    assert_eq!(copy.checkpoints[0].1.counters.events, 3, "all that was read is still there");
    assert_eq!(log.records(Partition(0)).len(), 2);
}
