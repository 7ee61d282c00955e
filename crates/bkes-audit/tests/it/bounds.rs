//! Little memory costs passes, and changes nothing that is said.

use crate::shelf::{Held, Shelf};
use crate::topic::{Topic, marked};
use bkes_audit::{AuditError, Instance, Options, Progress, Report, audit};
use bkes_core::{Incarnation, Marker, Order, Partition, Position, Stamp};
use bkes_testkit::input::cases;
use bytes::Bytes;
use tokio::runtime::Runtime;

fn checked(topic: &Topic, held: &Held, options: &Options) -> Report {
    let runtime = Runtime::new().expect("threads");
    let shelf = Shelf::fixed(held.clone());
    let instance = Instance { store: &*shelf, runtime: runtime.handle() };
    audit(&topic.log, Some(instance), options, &mut |_| {}).expect("both can be read")
}

#[test]
fn many_passes_say_what_one_says() {
    for seed in 0..cases(5) {
        let mut topic = Topic::new(2, 700, seed);
        topic.write(2_500);
        let mut held = Held::of(&topic.log);
        // Some are falsified, some are missing, some are made up.
        let keys: Vec<_> = held.events.keys().cloned().collect();
        for (index, key) in keys.iter().enumerate().filter(|(index, _)| index % 97 == 5) {
            let events = held.events.get_mut(key).expect("it is there");
            match index % 3 {
                0 => events[0].value = Some(Bytes::from_static(b"false")),
                1 => drop(held.events.remove(key)),
                _ => drop(events.remove(0)),
            }
        }
        held.list_all();
        let large = checked(&topic, &held, &Options::default());
        let options = Options { memory_bytes_max: 32 * 1024, ..Options::default() };
        let small = checked(&topic, &held, &options);
        assert_eq!(large.passes, 1);
        assert!(small.passes >= 3, "{}", small.passes);
        assert_eq!(large.is_as_the_topic(), Some(false));
        let sorted = |mut report: Report| {
            report.passes = 0;
            if let Some(compared) = &mut report.compared {
                compared.findings.kept.sort_by_key(|finding| format!("{finding:?}"));
            }
            report
        };
        assert_eq!(sorted(small), sorted(large), "seed {seed}");
        // Without an instance too.
        let alone = |options: &Options| {
            sorted(audit(&topic.log, None, options, &mut |_| {}).expect("it can be read"))
        };
        assert_eq!(alone(&options), alone(&Options::default()));
    }
}

#[test]
fn a_cut_head_changes_no_bound_and_an_instance_that_has_the_rest_is_right() {
    let mut cut = 0;
    for seed in 0..cases(12) {
        let mut topic = Topic::new(2, 300, seed);
        topic.write(900);
        let whole = Held::of(&topic.log);
        let first = topic.records(0).len() / 2;
        let low = Position(topic.records(0)[first].offset.0);
        topic.log.cut_start(Partition(0), low);
        let held = Held::of(&topic.log);
        let options = Options { memory_bytes_max: 16 * 1024, ..Options::default() };
        let (large, small) = (checked(&topic, &held, &Options::default()), checked(&topic, &held, &options));
        assert_eq!(
            (large.is_as_the_topic(), small.is_as_the_topic()),
            (Some(true), Some(true)),
            "seed {seed}"
        );
        assert!(small.passes > 1);
        assert_eq!(small.partitions, large.partitions, "seed {seed}");
        assert_eq!(large.partitions[0].begin, low);
        cut += u32::from(large.partitions[0].cut.is_some());
        assert_eq!(checked(&topic, &whole, &options).is_as_the_topic(), Some(false));
    }
    assert!(cut > 3, "orders above 0 show it");
}

/// Records of keys that a pass leaves out are of the right order, and it must not take them for others.
#[test]
fn keys_that_a_pass_leaves_out_show_no_cut() {
    let mut topic = Topic::new(1, 1, 1);
    topic.put(0, None, None, vec![]);
    for number in 0..1_200 {
        let key = format!("key {}", number % 400);
        let stamp = Stamp { incarnation: Incarnation(1), number, place: None };
        let marker = Marker { stamp, order: Order(number / 400), base: topic.end(0) };
        topic.put(0, Some(key.clone().into()), None, marked(key.as_bytes(), None, marker));
    }
    topic.log.cut_start(Partition(0), Position(1));
    for memory_bytes_max in [1 << 20, 16 * 1024] {
        let options = Options { memory_bytes_max, ..Options::default() };
        let report = audit(&topic.log, None, &options, &mut |_| {}).expect("it can be read");
        assert_eq!(report.passes > 1, memory_bytes_max < 1 << 20);
        let partition = &report.partitions[0];
        assert_eq!((partition.events, partition.cut, partition.above_next), (1_200, None, None));
    }
}

#[test]
fn a_topic_of_too_many_keys_for_its_memory_is_refused() {
    let mut topic = Topic::new(1, 50, 1);
    topic.write(50);
    let options = Options { memory_bytes_max: 1_024, ..Options::default() };
    let refused = audit(&topic.log, None, &options, &mut |_| {});
    let few = refused.map(|report| report.passes);
    assert!(matches!(few, Ok(5..) | Err(AuditError::TooLittleMemory { .. })), "{few:?}");
    let options = Options { memory_bytes_max: 100, ..Options::default() };
    let refused = audit(&topic.log, None, &options, &mut |_| {});
    assert_eq!(refused, Err(AuditError::TooLittleMemory { memory_bytes_max: 100 }));
}

#[test]
fn findings_and_aggregates_above_their_bounds_are_counted() {
    let mut topic = Topic::new(1, 60, 3);
    topic.write(600);
    let held = Held::default();
    let aggregates = Held::of(&topic.log).events.len() as u64;
    let options = Options { findings_max: 4, suspects_max: 10, ..Options::default() };
    let compared = checked(&topic, &held, &options).compared.expect("it was compared");
    let findings = compared.findings;
    assert_eq!((findings.kept.len(), findings.more), (4, 6));
    assert_eq!(findings.more_aggregates, aggregates - 10);
}

#[test]
fn progress_is_told_of_every_part() {
    let mut topic = Topic::new(1, 60, 3);
    topic.write(600);
    let runtime = Runtime::new().expect("threads");
    let shelf = Shelf::fixed(Held::default());
    let instance = Instance { store: &*shelf, runtime: runtime.handle() };
    let mut told = Vec::new();
    audit(&topic.log, Some(instance), &Options::default(), &mut |progress| told.push(progress))
        .expect("both can be read");
    assert!(matches!(told[0], Progress::Reading { pass: 1, left: 0, .. }));
    assert!(told.iter().any(|progress| matches!(progress, Progress::Comparing { .. })));
    assert!(matches!(told.last(), Some(Progress::Detailing { .. })));
}
