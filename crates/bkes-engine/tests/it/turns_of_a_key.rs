//! Appends of one key take turns on an instance, also when the key's place changes while one is undecided (P10).

use crate::support::flawed::FlawedLog;
use crate::support::scene::Scene;
use crate::support::{Answer, Bench, poll};
use bkes_core::{Order, Partition, Partitioner};
use bkes_engine::{AppendError, Expected};
use bkes_storage::MemoryStore;
use bkes_testkit::log::{Faults, SimulatedLog as MemoryLog};
use std::num::NonZeroU32;
use std::sync::Arc;

const TWO: NonZeroU32 = NonZeroU32::new(2).unwrap();

/// A key that belongs to partition 0 of two.
fn key() -> String {
    let placed = |name: &String| Partitioner::Murmur2.place(name.as_bytes(), TWO);
    (0..).map(|n| format!("key-{n}")).find(|name| placed(name) == Partition(0)).expect("there is one")
}

/// An engine that is ready, on a log of two partitions that delivers nothing by itself.
fn scene(owners: usize) -> Scene {
    let delayed = Faults { delayed: 1_000, ..Faults::default() };
    let mut scene = Scene::on(MemoryLog::with_faults("topic", TWO, delayed, 1), owners);
    scene.run(10);
    scene
}

/// Somebody began the aggregate in another partition than ours, where an append of it was undecided and a second one waited. A third
/// went to the other partition at once; and when the first one ended, the second was sent there as well, beside the third: the
/// engine panicked, "one append per key is in flight". (Found by simulation, in a topic that grew.)
#[test]
fn appends_take_turns_though_the_key_turns_up_in_another_partition() {
    for owners in [1, 2] {
        let (mut scene, key) = (scene(owners), key());
        let mut first = scene.append_one(&key, Expected::New);
        scene.run(10);
        assert_eq!(scene.log.on_the_way(), 1);
        let mut second = scene.append_one(&key, Expected::At(Order(1)));
        scene.run(10);
        scene.foreign(1, &key, "elsewhere");
        scene.run(10);
        assert_eq!(scene.values(&key), ["elsewhere"]);
        let mut third = scene.append_one(&key, Expected::At(Order(1)));
        scene.run(10);
        assert_eq!(scene.log.on_the_way(), 1, "{owners} owners: two appends of a key are undecided");
        assert!(poll(&mut second).is_none() && poll(&mut third).is_none());

        // The first one ends as unknown: the others have their turns, one after the other.
        assert!(scene.log.give_up());
        scene.run(6_000);
        let ended = poll(&mut first).expect("its doubt is over");
        assert!(matches!(ended, Err(AppendError::Unknown { .. })), "{ended:?}");
        assert_eq!(scene.log.on_the_way(), 2, "{owners} owners: the second is sent, and the third is not");
        assert!(poll(&mut third).is_none());
        while scene.log.records(Partition(1)).len() < 2 {
            assert!(scene.log.step());
            scene.run(1);
        }
        scene.run(10);
        let second = poll(&mut second).expect("its record was read").expect("its order was the next one");
        assert_eq!((second.partition, second.first), (Partition(1), Order(1)));
        let third = poll(&mut third).expect("it was judged when its turn came");
        let current = Order(2);
        let is_split = matches!(third, Err(AppendError::Split { .. }));
        let conflict = third == Err(AppendError::Conflict { expected: Order(1), current });
        assert!(conflict || is_split, "{third:?}");
    }
}

/// The same in a topic that grows, where the key's hash leads to the new partition from some moment on.
#[test]
fn appends_take_turns_while_the_topic_grows() {
    const FOUR: NonZeroU32 = NonZeroU32::new(4).unwrap();
    let moved = |name: &String| {
        Partitioner::Murmur2.place(name.as_bytes(), TWO) == Partition(0)
            && Partitioner::Murmur2.place(name.as_bytes(), FOUR) == Partition(2)
    };
    let key = (0..).map(|n| format!("key-{n}")).find(moved).expect("there is one");
    for owners in [1, 3] {
        let mut scene = scene(owners);
        let mut first = scene.append_one(&key, Expected::New);
        scene.run(10);
        let mut second = scene.append_one(&key, Expected::New);
        scene.run(10);
        scene.log.add_partitions(2);
        // Long enough for keys to be placed in the new ones.
        scene.run(200);
        scene.jump(100_000);
        scene.run(200);
        let other = (0..).map(|n| format!("other-{n}"));
        let mut other =
            other.filter(|name| Partitioner::Murmur2.place(name.as_bytes(), FOUR) == Partition(2));
        let mut placed = scene.append_one(&other.next().expect("there is one"), Expected::New);
        let mut third = scene.append_one(&key, Expected::New);
        scene.run(10);
        assert_eq!(scene.log.on_the_way(), 2, "{owners} owners: the other key's, and one of this key");
        while scene.log.step() {
            scene.run(10);
        }
        let placed = poll(&mut placed).expect("it was read").expect("it is the first");
        assert_eq!(placed.partition, Partition(2), "the new partition takes keys");
        let first = poll(&mut first).expect("it was read").expect("it is the first");
        assert_eq!(first.partition, Partition(0));
        for later in [&mut second, &mut third] {
            let exists = Err(AppendError::AlreadyExists { current: Order(1) });
            assert_eq!(poll(later).expect("it was judged"), exists, "{owners} owners");
        }
    }
}

/// Sending stopped in the middle of a batch, and the one that waited after it had its turn there and then, was cut short as well,
/// and so on, each within the one before: as many as may wait were more than the stack holds, and the process ended.
#[test]
fn thousands_of_batches_that_are_cut_short_one_behind_the_other_need_no_stack() {
    const WAITING: usize = 9_000;
    let log = FlawedLog::new(1);
    log.log.set_faults(Faults { delayed: 1_000, ..Faults::default() });
    let mut bench = Bench::on(log.clone(), Arc::new(MemoryStore::new()));
    bench.run_until("it is ready", |bench| bench.handle.is_ready());
    let mut first = bench.append("a", Expected::New, &["0", "1"]);
    bench.run(1);
    let next = || bench.append("a", Expected::At(Order(2)), &["2", "3"]);
    let mut waiting: Vec<Answer> = (0..WAITING).map(|_| next()).collect();
    // Until they have been gathered, and wait after the first.
    bench.run(30);
    log.flaws().every_second_full = true;
    assert!(log.log.step() && log.log.step());
    bench.run(1);
    poll(&mut first).expect("it is decided").expect("it is the first");
    for answer in &mut waiting {
        let answer = poll(answer).expect("it had its turn");
        assert!(matches!(answer, Err(AppendError::NotStored { .. })), "{answer:?}");
    }
    log.flaws().every_second_full = false;
    log.log.set_faults(Faults::default());
    while log.log.step() {}
    assert_eq!(bench.put("a", 2, "2").expect("the key is free").first, Order(2));
}
