//! How new keys are placed: decided from the topic's keys, or refused with a reason of its own, and never guessed.

use crate::support::Bench;
use crate::support::flawed::FlawedLog;
use bkes_core::{Key, Partition, Partitioner};
use bkes_engine::{AppendError, EngineOptions, ErrorClass, Expected};
use bkes_log::Log;
use bkes_storage::{MemoryStore, Store};
use bkes_testkit::log::SimulatedLog as MemoryLog;
use std::num::NonZeroU32;
use std::sync::Arc;

fn count(partitions: u32) -> NonZeroU32 {
    NonZeroU32::new(partitions).expect("not zero")
}

fn name(n: u32) -> String {
    format!("order-{n}")
}

/// Others write keys `range`, placed so.
fn written(log: &MemoryLog, range: std::ops::Range<u32>, place: impl Fn(&str) -> Partition) {
    for n in range {
        let key = Key::new(name(n)).expect("not empty");
        let place = place(&name(n));
        // A key that is written often counts once.
        for _ in 0..=n % 3 {
            log.append_foreign(place, Some(key.bytes().clone()), Some("value".into()), Vec::new());
        }
    }
}

fn by(partitioner: Partitioner, partitions: u32) -> impl Fn(&str) -> Partition {
    move |name| partitioner.place(name.as_bytes(), count(partitions))
}

struct Instance {
    bench: Bench,
    store: Arc<MemoryStore>,
}

fn ready(log: &(impl Log + Clone), store: Arc<MemoryStore>, options: EngineOptions) -> Instance {
    let on: Arc<dyn Store> = Arc::clone(&store) as Arc<dyn Store>;
    let mut bench = Bench::with(log.clone(), on, options);
    bench.run_until("it is ready", |bench| bench.handle.is_ready());
    bench.run(1_000);
    Instance { bench, store }
}

fn auto(log: &MemoryLog) -> Instance {
    ready(log, Arc::default(), EngineOptions::default())
}

impl Instance {
    /// What its store keeps.
    fn decided(&self) -> Option<Partitioner> {
        self.store.load().expect("it answers").identity.expect("it is bound").partitioner
    }
}

/// One record that did not lie where the hash puts it left the partitioner open for ever, and every new key was refused.
#[test]
fn new_keys_follow_the_hash_of_the_topics_other_writers_and_one_stray_does_not_stop_it() {
    for partitioner in Partitioner::ALL {
        let log = MemoryLog::new("topic", count(5));
        written(&log, 0..40, by(partitioner, 5));
        let stray = |name: &str| Partition((partitioner.place(name.as_bytes(), count(5)).0 + 1) % 5);
        written(&log, 100..101, stray);
        let mut instance = auto(&log);
        assert_eq!(instance.decided(), Some(partitioner), "before anybody asks");
        let stored = instance.bench.put("new", 0, "value").expect("it is placed");
        assert_eq!(stored.partition, partitioner.place(b"new", count(5)));
        assert_eq!(auto(&log).decided(), Some(partitioner), "another instance decides the same");
    }
}

#[test]
fn a_topic_that_grew_is_decided_like_before() {
    let log = MemoryLog::new("topic", count(6));
    written(&log, 0..200, by(Partitioner::Crc32, 5));
    let mut instance = auto(&log);
    let stored = instance.bench.put("new", 0, "value").expect("it is placed");
    assert_eq!(
        stored.partition,
        Partitioner::Crc32.place(b"new", count(6)),
        "over all of today's partitions"
    );
}

/// An instance that knew of no foreign record took murmur2, whatever the one beside it placed its keys by.
#[test]
fn an_instance_places_keys_as_those_before_it_did() {
    let log = MemoryLog::new("topic", count(5));
    let options = EngineOptions { partitioner: Some(Partitioner::Fnv1a), ..EngineOptions::default() };
    let mut first = ready(&log, Arc::default(), options);
    (0..3).for_each(|n| assert!(first.bench.put(&name(n), 0, "value").is_ok()));
    assert_eq!(auto(&log).decided(), Some(Partitioner::Fnv1a));
    assert_eq!(
        auto(&MemoryLog::new("topic", count(5))).decided(),
        Some(Partitioner::Murmur2),
        "without keys"
    );
}

/// It was "unavailable: partition 0 is degraded", so clients tried again for ever, and partition 0 was well.
#[test]
fn a_new_key_is_rejected_where_the_partitioner_cannot_be_told_and_existing_ones_are_served() {
    let log = MemoryLog::new("topic", count(5));
    written(&log, 0..60, by(Partitioner::Murmur2, 5));
    written(&log, 100..160, by(Partitioner::Crc32, 5));
    let mut instance = auto(&log);
    let bench = &mut instance.bench;
    let refused = bench.put("new", 0, "value").expect_err("nobody knows where it belongs");
    let AppendError::PartitionerUnknown { evidence } = &refused else { panic!("{refused:?}") };
    assert_eq!((evidence.keys, evidence.foreign, refused.class()), (120, 120, ErrorClass::Rejected));
    assert!(refused.to_string().contains("--partitioner murmur2, crc32 or fnv1a"), "{refused}");
    let absent = bench.put("new", 7, "value").expect_err("it has no events");
    assert!(matches!(absent, AppendError::NoSuchAggregate { .. }), "that needs no place: {absent:?}");
    assert!(bench.handle.is_ready() && bench.handle.status().unready.is_none());
    assert_eq!(bench.put(&name(0), 1, "value").expect("it is there").last.0, 1);
    assert_eq!(instance.decided(), None);
    let options = EngineOptions { partitioner: Some(Partitioner::Crc32), ..EngineOptions::default() };
    let mut told = ready(&log, Arc::clone(&instance.store), options);
    let stored = told.bench.put("new", 0, "value").expect("now it is known");
    assert_eq!(stored.partition, Partitioner::Crc32.place(b"new", count(5)));
}

#[test]
fn an_instance_for_existing_keys_only_starts_none() {
    let log = MemoryLog::new("topic", count(5));
    written(&log, 0..40, by(Partitioner::Murmur2, 5));
    let options = EngineOptions { existing_only: true, ..EngineOptions::default() };
    let mut instance = ready(&log, Arc::default(), options);
    let bench = &mut instance.bench;
    let refused = bench.put("new", 0, "value").expect_err("it starts none");
    assert_eq!((&refused, refused.class()), (&AppendError::ExistingOnly, ErrorClass::Rejected));
    let known = bench.append(&name(0), Expected::New, &["value"]);
    assert!(matches!(bench.answer(known), Err(AppendError::AlreadyExists { .. })));
    assert_eq!(bench.put(&name(0), 1, "value").expect("it is there").last.0, 1);
    assert!(bench.handle.is_ready());
    assert_eq!(instance.decided(), None, "it decides nothing for later");
    let log = MemoryLog::new("topic", count(1));
    let options = EngineOptions { existing_only: true, ..EngineOptions::default() };
    let refused = ready(&log, Arc::default(), options).bench.put("new", 0, "value");
    assert_eq!(refused, Err(AppendError::ExistingOnly), "one partition or many");
}

/// An instance that was stopped in the middle of its first reading knew few of the keys, and with those that were left it decided as
/// if they were all.
#[test]
fn what_an_earlier_run_had_read_is_not_taken_for_an_empty_topic() {
    let log = MemoryLog::new("topic", count(5));
    written(&log, 0..40, by(Partitioner::Crc32, 5));
    let options = EngineOptions { existing_only: true, ..EngineOptions::default() };
    let first = ready(&log, Arc::default(), options);
    let mut second = ready(&log, first.store, EngineOptions::default());
    let refused = second.bench.put("new", 0, "value");
    assert!(matches!(refused, Err(AppendError::PartitionerUnknown { .. })), "{refused:?}");
    written(&log, 200..240, by(Partitioner::Crc32, 5));
    second.bench.run(2_000);
    assert_eq!(second.decided(), Some(Partitioner::Crc32), "new ones tell");
}

/// That a key is not known here does not say that nobody has begun it: such a refusal, too, is given only for what the log holds.
#[test]
fn a_key_that_another_instance_began_is_not_refused_as_new() {
    let log = FlawedLog::new(5);
    written(&log.log, 0..60, by(Partitioner::Murmur2, 5));
    written(&log.log, 100..160, by(Partitioner::Crc32, 5));
    let told = EngineOptions { partitioner: Some(Partitioner::Crc32), ..EngineOptions::default() };
    let mut other = ready(&log, Arc::default(), told);
    let existing_only = EngineOptions { existing_only: true, ..EngineOptions::default() };
    for (name, options) in [("first", existing_only), ("second", EngineOptions::default())] {
        let mut instance = ready(&log, Arc::default(), options);
        other.bench.put(name, 0, "value").expect("it is placed");
        let bench = &mut instance.bench;
        let answer = bench.append(name, Expected::New, &["value"]);
        // Judged before anything more is read.
        log.flaws().unread = (0..5).map(Partition).collect();
        bench.step_owner(0);
        log.flaws().unread.clear();
        let refused = bench.answer(answer);
        assert!(matches!(refused, Err(AppendError::AlreadyExists { .. })), "{name}: {refused:?}");
    }
}
