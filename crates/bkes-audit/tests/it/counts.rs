//! What the audit says of a topic, without an instance.

use crate::topic::{Topic, header, marked};
use bkes_audit::{AuditError, Options, Report, VoidCounts, audit};
use bkes_core::checksum::PartsSum;
use bkes_core::{
    AcceptRule, Decision, Incarnation, Marker, Order, Partition, Position, Record, Stamp, VoidReason,
};
use bkes_log::Log;
use bkes_testkit::input::cases;
use bytes::Bytes;
use std::collections::{BTreeSet, HashMap};
use std::time::Duration;

const ZERO: Partition = Partition(0);

fn report_of(topic: &Topic) -> Report {
    audit(&topic.log, None, &Options::default(), &mut |_| {}).expect("the log can be read")
}

/// Counts of a partition, by the rule alone: events, void records, skipped ones, and all keys with events.
fn counted(records: Vec<Record>) -> (u64, VoidCounts, u64, BTreeSet<Bytes>) {
    let (mut rule, mut counts) = (AcceptRule::new(Position::START), HashMap::<Bytes, u64>::new());
    let (mut void, mut skipped, mut all_void) = (VoidCounts::default(), 0, 0);
    for record in records {
        let key = record.key.clone().unwrap_or_default();
        let applied = rule.apply(record, counts.get(&key).map(|next| Order(*next))).expect("of this format");
        all_void += applied.void_records;
        match applied.decision {
            Decision::Accepted { order, .. } => drop(counts.insert(key, order.0 + 1)),
            Decision::AcceptedBatch { first, records } => {
                counts.insert(key, first.0 + records.len() as u64);
            }
            Decision::Skipped => skipped += 1,
            Decision::Void(VoidReason::OrderTaken { .. }) => {
                void.order_taken += applied.stamp.map_or(1, |stamp| u64::from(stamp.count()));
            }
            Decision::Void(VoidReason::JudgedBefore) => void.judged_before += 1,
            Decision::Void(VoidReason::BaseTooOld { .. }) => void.base_too_old += 1,
            Decision::Void(VoidReason::BatchBroken) | Decision::Undecided => {}
        }
    }
    void.batch_broken = all_void - void.total();
    (counts.values().sum(), void, skipped, counts.into_keys().collect())
}

#[test]
fn a_report_has_the_counts_that_the_rule_has() {
    for seed in 0..cases(150) {
        let mut topic = Topic::new(3, 1 + seed % 9, seed);
        topic.write(120);
        let report = report_of(&topic);
        let mut keys = Vec::new();
        for (index, partition) in report.partitions.iter().enumerate() {
            let records = topic.records(index);
            let (all, end) = (records.len() as u64, topic.end(index));
            let (events, void, skipped, of_partition) = counted(records);
            assert_eq!(
                (partition.records, partition.events, partition.skipped, partition.end),
                (all, events, skipped, end),
                "seed {seed}"
            );
            assert_eq!(partition.void, void, "seed {seed}");
            assert_eq!(partition.gap_offsets + all, end.0);
            assert_eq!((partition.begin, partition.cut, partition.newer_format), (Position(0), None, None));
            keys.push(of_partition);
        }
        let all: BTreeSet<&Bytes> = keys.iter().flatten().collect();
        let split = all.iter().filter(|key| keys.iter().filter(|of| of.contains(**key)).count() > 1);
        assert_eq!((report.aggregates, report.split), (all.len() as u64, split.count() as u64));
        assert_eq!((report.passes, report.is_as_the_topic()), (1, None));
    }
}

#[test]
fn foreign_and_forwarded_records_gaps_and_members_that_wait_are_counted() {
    let mut topic = Topic::new(1, 1, 1);
    let key = || Some(Bytes::from_static(b"k"));
    topic.put(0, key(), None, vec![]);
    topic.put(0, key(), None, vec![header(b"bkes", Some(b"1;of another"))]);
    topic.log.skip_offsets(ZERO, 7);
    let place = Some(bkes_core::BatchPlace { i: 1, count: 2 });
    let stamp = Stamp { incarnation: Incarnation(1), number: 1, place };
    let marker = Marker { stamp, order: Order(2), base: Position(9) };
    topic.put(0, key(), None, marked(b"k", None, marker));
    topic.log.skip_offsets(ZERO, 2);
    let report = report_of(&topic);
    let partition = &report.partitions[0];
    assert_eq!((partition.foreign, partition.forwarded, partition.undecided), (2, 1, 1));
    assert_eq!((partition.gaps, partition.gap_offsets, partition.end), (2, 9, Position(12)));
}

#[test]
fn a_head_that_was_removed_and_orders_above_the_next_one_are_told_with_their_place() {
    let topic = Topic::new(1, 1, 1);
    let write = |key: &'static [u8], number, order| {
        let end = topic.log.watermarks(ZERO).expect("the log is there").high;
        let stamp = Stamp { incarnation: Incarnation(1), number, place: None };
        let headers = marked(key, None, Marker { stamp, order: Order(order), base: end });
        topic.log.append_foreign(ZERO, Some(Bytes::from_static(key)), None, headers)
    };
    write(b"k", 1, 0);
    write(b"j", 2, 0);
    let above = write(b"j", 3, 5);
    assert_eq!(report_of(&topic).partitions[0].above_next, Some(above));
    topic.log.cut_start(ZERO, Position(1));
    let shows = write(b"k", 4, 1);
    let report = report_of(&topic);
    assert_eq!((report.partitions[0].begin, report.partitions[0].cut), (Position(1), Some(above)));
    topic.log.cut_start(ZERO, Position(3));
    let partition = report_of(&topic).partitions.remove(0);
    assert_eq!((partition.begin, partition.cut, partition.events), (Position(3), Some(shows), 1));
}

#[test]
fn a_newer_format_ends_a_partition_in_every_pass() {
    let mut topic = Topic::new(1, 300, 1);
    topic.write(700);
    let before = report_of(&topic).partitions.remove(0);
    topic.log.skip_offsets(ZERO, 3);
    let write = |headers| topic.log.append_foreign(ZERO, Some(Bytes::from_static(b"k")), None, headers);
    let mut sum = PartsSum::new();
    [Some(&b"k"[..]), None, None, Some(b"2;anything;")].into_iter().for_each(|part| sum.part(part));
    let newer = write(vec![header(b"bkes", Some(format!("2;anything;{:08x}", sum.finish()).as_bytes()))]);
    write(vec![]);
    for memory_bytes_max in [1 << 20, 16 * 1024] {
        let options = Options { memory_bytes_max, ..Options::default() };
        let mut report = audit(&topic.log, None, &options, &mut |_| {}).expect("the log can be read");
        assert_eq!(report.passes > 1, memory_bytes_max < 1 << 20);
        let partition = report.partitions.remove(0);
        assert_eq!((partition.events, partition.end), (before.events, Position(newer.0)));
        assert_eq!(partition.newer_format.map(|newer| newer.offset), Some(newer));
    }
}

#[test]
fn a_log_that_changes_below_the_end_is_an_error_and_no_report() {
    let topic = Topic::new(1, 1, 1);
    let write = || topic.log.append_foreign(ZERO, Some(Bytes::from_static(b"k")), None, vec![]);
    for _ in 0..5_000 {
        write();
    }
    let options = Options { wait_max: Duration::from_millis(50), ..Options::default() };
    let mut is_first = true;
    let lost = audit(&topic.log, None, &options, &mut |_| {
        if std::mem::take(&mut is_first) {
            topic.log.truncate(ZERO, Position(1_000));
        }
    });
    assert!(matches!(lost, Err(AuditError::LogChanged { .. })), "{lost:?}");
    let mut is_first = true;
    let other = audit(&topic.log, None, &options, &mut |_| {
        if std::mem::take(&mut is_first) {
            topic.log.recreate();
        }
    });
    assert!(matches!(other, Err(AuditError::AnotherLog { .. })), "{other:?}");
    topic.log.go_down("gone");
    assert!(matches!(audit(&topic.log, None, &options, &mut |_| {}), Err(AuditError::Log(_))));
}

#[test]
fn an_audit_waits_for_a_log_that_is_away_and_not_for_ever() {
    let topic = Topic::new(1, 1, 1);
    let write = || topic.log.append_foreign(ZERO, Some(Bytes::from_static(b"k")), None, vec![]);
    for _ in 0..5_000 {
        write();
    }
    let options = Options { wait_max: Duration::from_millis(50), ..Options::default() };
    let mut is_first = true;
    let silent = audit(&topic.log, None, &options, &mut |_| {
        if std::mem::take(&mut is_first) {
            topic.log.go_down("gone");
        }
    });
    assert!(matches!(silent, Err(AuditError::Silent { .. })), "{silent:?}");
}
