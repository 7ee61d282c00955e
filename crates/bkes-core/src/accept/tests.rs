//! Tables of records and what the rule says of them, and properties that hold for any log.
//!
//! A row of a table is `offset key record next decision`, and `void=N` and `cut` where they apply:
//!
//! ```text
//! record    foreign | A7@3: incarnation A, number 7, order 3 | A7@3:2/4: the same as member 2 of 4
//!           A7@3^9: the same with base 9; without it, the base is the record's own offset
//!           forwarded: the marker of another record | v2: a newer format
//! key       - for a null one, "" for an empty one
//! next      what the host looked up: the key's next order, - for a key without events
//! decision  accepted:3 | batch:3+4 (first order + members) | undecided | skipped | newer
//!           taken:3/5 (named / next) | judged | broken | late
//! ```

use super::*;
use crate::checksum::{PartsSum, PayloadSum};
use crate::limits::{
    BATCH_BYTES_MAX, BATCH_EVENTS_MAX, OPEN_BATCHES_MAX, OPEN_BYTES_MAX, OPEN_MEMBER_BYTES, ORDER_MAX,
};
use crate::{BatchPlace, Header, Partition};
use bytes::Bytes;
use proptest::prelude::*;
use std::collections::HashMap;

fn header(name: &'static str, value: &str) -> Header {
    Header {
        name: Bytes::from_static(name.as_bytes()),
        value: Some(Bytes::copy_from_slice(value.as_bytes())),
    }
}

fn record(offset: u64, key: Option<&str>, headers: Vec<Header>) -> Record {
    Record {
        partition: Partition(0),
        offset: Offset(offset),
        timestamp: None,
        key: key.map(|key| Bytes::copy_from_slice(key.as_bytes())),
        value: Some(Bytes::from(format!("value {offset}"))),
        headers,
    }
}

fn stamp(incarnation: u64, number: u64, place: Option<(u32, u32)>) -> Stamp {
    let place = place.map(|(i, count)| BatchPlace { i, count });
    Stamp { incarnation: Incarnation(incarnation), number, place }
}

fn number(text: &str) -> u64 {
    text.replace('_', "").parse().unwrap_or_else(|error| panic!("number {text:?}: {error}"))
}

/// The record with the headers that this marker has on it.
fn marked(record: Record, marker: Marker) -> Record {
    let payload = PayloadSum::of(record.key.as_deref(), record.value.as_deref());
    Record { headers: marker.headers(payload).into(), ..record }
}

/// The record that a cell of the column `record` stands for.
fn row(offset: u64, key: Option<&str>, cell: &str) -> Record {
    let plain = record(offset, key, vec![]);
    match cell {
        "foreign" => return plain,
        "forwarded" => {
            let headers = row(offset, Some("another"), "A1@0").headers;
            return Record { headers, ..plain };
        }
        "v2" => {
            let mut sum = PartsSum::over_payload(&plain);
            sum.part(None);
            sum.part(Some(b"2;anything;"));
            return Record {
                headers: vec![header("bkes", &format!("2;anything;{:08x}", sum.finish()))],
                ..plain
            };
        }
        _ => {}
    }
    let (marker, base) = match cell.split_once('^') {
        Some((marker, base)) => (marker, number(base)),
        None => (cell, offset),
    };
    let (place, marker) = match marker.split_once(':') {
        Some((marker, place)) => {
            let (i, count) = place.split_once('/').expect("i/count");
            (Some((number(i) as u32, number(count) as u32)), marker)
        }
        None => (None, marker),
    };
    let (who, order) = marker.split_once('@').expect("who@order");
    let stamp = stamp(u64::from(who.as_bytes()[0]), number(&who[1..]), place);
    marked(plain, Marker { stamp, order: Order(number(order)), base: Position(base) })
}

fn describe(applied: Result<Applied, NewerFormat>) -> String {
    let Ok(Applied { stamp: _, decision, void_records, cut }) = applied else { return "newer".into() };
    let mut text = match decision {
        Decision::Skipped => "skipped".into(),
        Decision::Accepted { order, .. } => format!("accepted:{order}"),
        Decision::AcceptedBatch { first, records } => format!("batch:{first}+{}", records.len()),
        Decision::Undecided => "undecided".into(),
        Decision::Void(VoidReason::OrderTaken { expected, next }) => format!("taken:{expected}/{next}"),
        Decision::Void(VoidReason::JudgedBefore) => "judged".into(),
        Decision::Void(VoidReason::BatchBroken) => "broken".into(),
        Decision::Void(VoidReason::BaseTooOld { .. }) => "late".into(),
    };
    if void_records > 0 {
        text += &format!(" void={void_records}");
    }
    if cut {
        text += " cut";
    }
    text
}

fn check_from(fold_start: u64, table: &str) -> AcceptRule {
    let mut rule = AcceptRule::new(Position(fold_start));
    for line in table.lines().map(str::trim).filter(|line| !line.is_empty()) {
        let cells: Vec<&str> = line.split_whitespace().collect();
        let [offset, key, what, next, expected @ ..] = &cells[..] else { panic!("short row {line:?}") };
        let key = match *key {
            "-" => None,
            "\"\"" => Some(""),
            key => Some(key),
        };
        let next = (*next != "-").then(|| Order(number(next)));
        let applied = rule.apply(row(number(offset), key, what), next);
        assert_eq!(describe(applied), expected.join(" "), "row {line:?} of {table}");
    }
    rule
}

fn check(table: &str) {
    check_from(0, table);
}

#[test]
fn a_foreign_record_is_accepted_at_the_next_order() {
    check(
        "0 k foreign - accepted:0
         1 k foreign 1 accepted:1
         2 j foreign - accepted:0
         9 k foreign 7 accepted:7",
    );
}

#[test]
fn a_single_event_is_accepted_at_the_next_order_only() {
    check(
        "0 k A1@0 - accepted:0
         1 k A2@1 1 accepted:1
         2 k B1@1 2 taken:1/2 void=1
         3 k B2@3 2 taken:3/2 void=1
         4 j B3@1 - taken:1/0 void=1
         5 k B4@2 2 accepted:2",
    );
}

#[test]
fn numbers_may_skip_and_may_start_anywhere() {
    check(
        "0 k A0@0 - accepted:0
         1 k A5@1 1 accepted:1
         2 k A18446744073709551615@2 2 accepted:2
         3 k A18446744073709551614@3 3 judged void=1",
    );
}

#[test]
fn a_copy_is_void_even_when_its_order_would_fit() {
    check(
        "0 k A1@0 - accepted:0
         1 k A1@0 1 judged void=1
         2 k A3@0 1 taken:0/1 void=1
         3 j A3@0 - judged void=1
         4 k A2@1 1 judged void=1
         5 k B2@1 1 accepted:1
         6 k A4@2 2 accepted:2",
    );
}

#[test]
fn a_batch_is_decided_at_its_last_member() {
    check(
        "0 k A1@0:1/3 - undecided
         1 k A1@1:2/3 - undecided
         2 k A1@2:3/3 - batch:0+3
         3 k A2@3:1/2 3 undecided
         4 k A2@4:2/2 3 batch:3+2",
    );
    check(
        "0 k A1@0:1/2 - undecided
         1 k B1@0 - accepted:0
         2 j foreign - accepted:0
         3 k A1@1:2/2 1 taken:0/1 void=2",
    );
    check(
        "0 k foreign - accepted:0
         1 k A1@2:1/2 1 undecided
         2 k foreign 1 accepted:1
         3 k A1@3:2/2 2 batch:2+2",
    );
}

/// What rises with the order is where appends lie, at their last records. Offsets do not: a batch is judged at its last member, so the
/// events that its writer expected before it may come after its first members. No writer expects what it has not read, but the log may have
/// lost that.
#[test]
fn the_first_members_of_a_batch_may_lie_below_an_event_before_it() {
    check(
        "0 k foreign - accepted:0
         1 k A1@3:1/3 1 undecided
         2 k B1@2:1/2 1 undecided
         3 k foreign 1 accepted:1
         4 k A1@4:2/3 2 undecided
         5 k B1@3:2/2 2 batch:2+2
         6 k A1@5:3/3 4 taken:3/4 void=3
         7 k C1@6:1/3 4 undecided
         8 k C1@7:2/3 4 undecided
         9 k D1@4:1/2 4 undecided
         10 k D1@5:2/2 4 batch:4+2
         11 k C1@8:3/3 6 batch:6+3",
    );
}

#[test]
fn an_accepted_batch_holds_its_records_in_order() {
    let mut rule = AcceptRule::new(Position::START);
    let members: Vec<Record> = [(3, "A1@0:1/3"), (5, "A1@1:2/3"), (8, "A1@2:3/3")]
        .map(|(offset, cell)| row(offset, Some("k"), cell))
        .to_vec();
    let applied: Vec<Applied> =
        members.iter().map(|member| rule.apply(member.clone(), None).expect("format 1")).collect();
    assert_eq!(applied[2].stamp, Some(stamp(u64::from(b'A'), 1, Some((3, 3)))));
    assert_eq!(applied[2].decision, Decision::AcceptedBatch { first: Order(0), records: members });
    assert_eq!(applied[2].void_records, 0);
}

#[test]
fn a_single_accepted_event_is_the_record_itself() {
    let mut rule = AcceptRule::new(Position::START);
    let one = row(4, Some("k"), "A1@0");
    let applied = rule.apply(one.clone(), None).expect("format 1");
    let stamp = Some(stamp(u64::from(b'A'), 1, None));
    let decision = Decision::Accepted { order: Order(0), record: one };
    assert_eq!(applied, Applied { stamp, decision, void_records: 0, cut: false });
    let foreign = record(5, Some("k"), vec![header("order", "0")]);
    let applied = rule.apply(foreign.clone(), Some(Order(1))).expect("format 1");
    let decision = Decision::Accepted { order: Order(1), record: foreign };
    assert_eq!(applied, Applied { stamp: None, decision, void_records: 0, cut: false });
}

#[test]
fn two_incarnations_fill_their_batches_at_the_same_time() {
    check(
        "0 k A1@0:1/2 - undecided
         1 k B1@0:1/2 - undecided
         2 j C1@0:1/2 - undecided
         3 k B1@1:2/2 - batch:0+2
         4 j C1@1:2/2 - batch:0+2
         5 k A1@1:2/2 2 taken:0/2 void=2",
    );
}

#[test]
fn a_hole_breaks_the_batch_for_good() {
    check(
        "0 k A1@0:1/3 - undecided
         1 k A1@2:3/3 - broken void=2
         2 k A1@1:2/3 - judged void=1
         3 k A1@2:3/3 - judged void=1
         4 k A1@0:1/3 - judged void=1
         5 k A2@0 - accepted:0",
    );
    check(
        "0 k A1@1:2/3 - broken void=1
         1 k A1@0:1/3 - judged void=1
         2 k A1@1:2/3 - judged void=1",
    );
}

#[test]
fn a_copy_of_a_member_changes_nothing() {
    check(
        "0 k A1@0:1/3 - undecided
         1 k A1@0:1/3 - judged void=1
         2 k A1@1:2/3 - undecided
         3 k A1@0:1/3 - judged void=1
         4 k A1@1:2/3 - judged void=1
         5 k A1@2:3/3 - batch:0+3
         6 k A1@2:3/3 3 judged void=1
         7 k A1@0:1/3 3 judged void=1",
    );
}

#[test]
fn a_lower_number_leaves_an_unfinished_batch_alone() {
    check(
        "0 k A5@0:1/2 - undecided
         1 k A4@0 - judged void=1
         2 j A3@0:1/2 - judged void=1
         3 k A5@0 - judged void=1
         4 k A5@1:2/2 - batch:0+2",
    );
}

#[test]
fn a_higher_number_voids_an_unfinished_batch() {
    check(
        "0 k A1@0:1/3 - undecided
         1 k A1@1:2/3 - undecided
         2 j A2@0 - accepted:0 void=2
         3 k A1@2:3/3 - judged void=1",
    );
    check(
        "0 k A1@0:1/3 - undecided
         1 k A2@0:1/2 - undecided void=1
         2 k A2@1:2/2 - batch:0+2",
    );
    check(
        "0 k A1@0:1/3 - undecided
         1 k A2@7 - taken:7/0 void=2",
    );
    check(
        "0 k A1@0:1/3 - undecided
         1 k A2@1:2/3 - broken void=2
         2 k A2@0:1/3 - judged void=1",
    );
}

#[test]
fn a_member_that_does_not_fit_breaks_its_batch() {
    for misfit in ["j A1@1:2/3", "k A1@1:2/4", "k A1@2:2/3", "k A1@0:2/3"] {
        check(&format!(
            "0 k A1@0:1/3 - undecided
             1 {misfit} - broken void=2
             2 k A1@1:2/3 - judged void=1
             3 k A1@2:3/3 - judged void=1
             4 k A2@0 - accepted:0"
        ));
    }
}

#[test]
fn a_batch_that_would_pass_the_last_order_is_void() {
    check(
        "1 k A2@9223372036854775806:1/3 - broken void=1
         2 k A3@9223372036854775805:1/3 - undecided
         3 k A3@9223372036854775806:2/3 - undecided
         4 k A3@9223372036854775807:3/3 - taken:9223372036854775805/0 void=3",
    );
}

/// A marked record at order 2^64 - 2 became the base of an aggregate whose head was cut off, and a foreign record of that key
/// took the last number there is: what came next did not fit, and the store was "damaged" and rebuilt for ever.
#[test]
fn the_highest_base_leaves_room_for_every_event_that_can_follow() {
    check_from(
        50,
        "50 k A1@9223372036854775807 - accepted:9223372036854775807 cut
         51 k foreign 9223372036854775808 accepted:9223372036854775808",
    );
    let last = ORDER_MAX + (i64::MAX as u64);
    assert!(last < u64::MAX, "an event at every offset that Kafka has");
}

#[test]
fn a_forwarded_record_is_an_event_and_touches_no_numbers() {
    check(
        "0 k A1@0:1/2 - undecided
         1 k forwarded - accepted:0
         2 k A1@1:2/2 1 taken:0/1 void=2
         3 k forwarded 1 accepted:1
         4 k A2@2 2 accepted:2",
    );
}

/// An incarnation is forgotten when the log is far enough past its last record. A copy that landed later was judged anew, and
/// took its order if that was still free: what was told to be void for ever became an event.
#[test]
fn a_record_a_million_offsets_above_its_base_is_void() {
    check(
        "        0 k A1@0^0 - accepted:0
           999_999 k A2@1^0 1 accepted:1
         1_000_000 k A3@2^0 2 late void=1
         1_000_001 k A4@2^2 2 accepted:2
         1_000_002 k A5@3^2 3 late void=1",
    );
    // The copy of a member of a batch that broke: its order is free, and its incarnation forgotten.
    check(
        "        0 k A1@0:1/2^0 - undecided
                 1 k A2@0:1/2^0 - undecided void=1
         1_000_001 k foreign - accepted:0 void=1
         1_000_002 k A1@1^0 1 late void=1",
    );
    // Its base may be above it: the log was copied to where offsets are lower.
    check("5 k A1@0^2_000_000 - accepted:0");
}

#[test]
fn a_late_record_uses_up_its_number_and_breaks_its_batch() {
    check(
        "1_000_000 k A5@0^0 - late void=1
         1_000_001 k A5@0 - judged void=1
         1_000_002 k A4@0 - judged void=1
         1_000_003 k A5@0^0 - judged void=1
         1_000_004 k A6@0 - accepted:0",
    );
    check(
        "  999_999 k A1@0:1/3^0 - undecided
         1_000_000 k A1@1:2/3^0 - late void=2
         1_000_001 k A1@1:2/3^1_000_000 - judged void=1
         1_000_002 k A1@2:3/3^1_000_000 - judged void=1
         1_000_003 k A2@0 - accepted:0",
    );
    // A copy was judged before, however late it is; a batch of a lower number is void because of the higher one.
    check(
        "  999_990 k A1@0:1/2^0 - undecided
         1_000_000 k A1@0:1/2^0 - judged void=1
         1_000_001 k A1@1:2/2^2 - batch:0+2
         1_000_002 k A2@2:1/2 2 undecided
         1_000_003 k A3@2^0 2 late void=2",
    );
}

#[test]
fn a_record_without_a_key_is_skipped_whatever_it_claims() {
    check(
        "0 - foreign - skipped
         1 \"\" foreign - skipped
         2 - A1@0 - skipped
         3 k A1@0 - accepted:0
         4 k A2@1:1/2 1 undecided
         5 - A3@0 - skipped
         6 - forwarded - skipped
         7 k A2@2:2/2 1 batch:1+2",
    );
}

/// The rule forgot what had expired before it saw that the record was of a newer format: it had changed although the record
/// was not applied, and the void members were counted nowhere. A newer record without a key was skipped, although this
/// version cannot know what the newer one means by it.
#[test]
fn a_newer_format_stops_the_partition_before_anything_changed() {
    let mut rule = check_from(
        0,
        "0 k A1@0:1/2 - undecided
         1 k v2 - newer",
    );
    drop(rule.take_changes());
    let before = rule.clone();
    for (offset, key) in [(2, Some("k")), (3, None), (250_000, Some("k")), (3_000_000, None)] {
        let newer = rule.apply(row(offset, key, "v2"), None);
        assert_eq!(newer, Err(NewerFormat { offset: Offset(offset), format: 2 }));
        assert_eq!(rule, before);
    }
}

fn batch(count: u32, value_bytes: impl Fn(u32) -> usize) -> Vec<String> {
    let mut rule = AcceptRule::new(Position::START);
    (1..=count)
        .map(|i| {
            let (stamp, order) = (stamp(1, 1, Some((i, count))), Order(u64::from(i) - 1));
            let value = Some(Bytes::from(vec![b'x'; value_bytes(i)]));
            let member = Record { value, ..record(u64::from(i), Some("key!"), vec![]) };
            describe(rule.apply(marked(member, Marker { stamp, order, base: Position(0) }), None))
        })
        .collect()
}

#[test]
fn a_batch_may_have_a_thousand_events() {
    let decisions = batch(BATCH_EVENTS_MAX, |_| 1);
    assert_eq!(decisions.last().expect("members"), "batch:0+1000");
    assert!(decisions[..999].iter().all(|decision| decision == "undecided"));
    assert_eq!(batch(BATCH_EVENTS_MAX + 1, |_| 1)[0], "accepted:0", "no marker says so: it is foreign");
}

#[test]
fn the_member_that_passes_16_mib_breaks_the_batch() {
    let half = BATCH_BYTES_MAX / 2;
    let key = "key!".len();
    assert_eq!(batch(2, |_| half - key), ["undecided", "batch:0+2"]);
    assert_eq!(batch(2, |i| half - key + usize::from(i == 2)), ["undecided", "broken void=2"]);
    assert_eq!(batch(3, |i| if i < 3 { half - key } else { 0 })[2], "broken void=3");
    assert_eq!(batch(2, |_| BATCH_BYTES_MAX - key + 1), ["broken void=1", "judged void=1"]);
    assert_eq!(batch(2, |i| if i == 1 { BATCH_BYTES_MAX - key } else { 0 })[0], "undecided");
}

/// A batch alone was bounded, and all of them together were not: 100,000 half batches of 1 MB were kept in memory and checkpoint.
#[test]
fn above_the_most_open_batches_the_oldest_is_void() {
    let mut rule = AcceptRule::new(Position::START);
    let member = |incarnation: u64, i, offset| {
        let stamp = stamp(incarnation, 1, Some((i, 2)));
        let key = format!("key {incarnation}");
        let marker = Marker { stamp, order: Order(u64::from(i) - 1), base: Position(offset) };
        marked(record(offset, Some(&key), vec![]), marker)
    };
    // Not in the order of their names.
    let name = |number: u64| number.wrapping_mul(0x9e37_79b9_7f4a_7c15);
    let most = OPEN_BATCHES_MAX as u64;
    for number in 0..most {
        assert_eq!(describe(rule.apply(member(name(number), 1, number), None)), "undecided");
    }
    drop(rule.take_changes());
    assert_eq!(describe(rule.apply(member(name(most), 1, most), None)), "undecided void=1");
    let changed: Vec<_> =
        rule.take_changes().into_iter().map(|(name, state)| (name, state.and_then(|s| s.open))).collect();
    assert!(changed.contains(&(Incarnation(name(0)), None)), "the oldest is void, and kept so");
    assert_eq!(changed.len(), 2);
    assert_eq!(describe(rule.apply(member(name(0), 2, most + 1), None)), "judged void=1");
    assert_eq!(describe(rule.apply(member(name(1), 2, most + 2), None)), "batch:0+2");
    // One has ended, so there is room for one.
    assert_eq!(describe(rule.apply(member(name(most + 1), 1, most + 3), None)), "undecided");
    assert_eq!(describe(rule.apply(member(name(most + 2), 1, most + 4), None)), "undecided void=1");
}

#[test]
fn above_the_most_bytes_of_open_batches_the_oldest_is_void() {
    // Headers that somebody added count too, and those of the marker do not.
    let member = |incarnation: u64, i: u32, bytes: u64| {
        let offset = incarnation * 10 + u64::from(i);
        let added = Bytes::from(vec![b'x'; bytes as usize - "k".len() - "added".len()]);
        let plain = Record { value: None, ..record(offset, Some("k"), vec![]) };
        let (stamp, order) = (stamp(incarnation, 1, Some((i, 3))), Order(u64::from(i) - 1));
        let mut record = marked(plain, Marker { stamp, order, base: Position(0) });
        record.headers.push(Header { name: "added".into(), value: Some(added) });
        record
    };
    let third = OPEN_BYTES_MAX / 3 - OPEN_MEMBER_BYTES;
    let mut rule = AcceptRule::new(Position::START);
    for incarnation in 1..=3 {
        assert_eq!(describe(rule.apply(member(incarnation, 1, third), None)), "undecided");
    }
    let resumed =
        |rule: &AcceptRule| AcceptRule::resume(Position::START, Position(40), rule.incarnations.clone());
    for mut rule in [resumed(&rule), rule] {
        // The second began before the third, and is grown further; then it is the oldest itself.
        assert_eq!(describe(rule.apply(member(3, 2, 10), None)), "undecided void=1");
        assert_eq!(describe(rule.apply(member(4, 1, third - 10 - OPEN_MEMBER_BYTES), None)), "undecided");
        assert_eq!(describe(rule.apply(member(2, 2, 1_000), None)), "broken void=2");
        assert_eq!(describe(rule.apply(member(2, 3, 1_000), None)), "judged void=1");
        assert_eq!(describe(rule.apply(member(1, 2, 1_000), None)), "judged void=1");
        assert_eq!(describe(rule.apply(member(3, 3, 10), None)), "batch:0+3");
    }
}

#[test]
fn a_single_event_may_be_larger_than_a_batch() {
    let value = Some(Bytes::from(vec![0; BATCH_BYTES_MAX + 1]));
    let large = Record { value, ..record(0, Some("k"), vec![]) };
    let large = marked(large, Marker { stamp: stamp(1, 1, None), order: Order(0), base: Position(0) });
    let applied = AcceptRule::new(Position::START).apply(large.clone(), None).expect("format 1");
    assert_eq!(applied.decision, Decision::Accepted { order: Order(0), record: large });
}

#[test]
fn null_values_count_the_bytes_of_their_key() {
    let open = Record { value: None, ..record(0, Some("key!"), vec![]) };
    let open = marked(open, Marker { stamp: stamp(1, 1, Some((1, 2))), order: Order(0), base: Position(0) });
    let mut rule = AcceptRule::new(Position::START);
    assert_eq!(describe(rule.apply(open, None)), "undecided");
    let (_, state) = rule.take_changes().pop().expect("one incarnation");
    assert_eq!(state.and_then(|state| state.open).expect("unfinished").bytes, 4);
}

/// The same member was "broken" or "judged before" depending on whether the sweep had come by, so a rule that was resumed
/// said something else than one that was not. And the writer, who does not listen to "judged before", took the delivery
/// report of that member for a log that had diverged, and rebuilt the store.
#[test]
fn a_member_100_000_offsets_behind_the_first_is_void_with_its_batch() {
    // No sweep between first and last: both lie in one span, or the edge is inside the span.
    check(
        "100_000 k A1@0:1/2 - undecided
         199_999 k A1@1:2/2 - batch:0+2",
    );
    check(
        "    500 k A1@0:1/2 - undecided
         100_000 j foreign - accepted:0
         100_499 k A1@1:2/2 - batch:0+2",
    );
    check(
        "    500 k A1@0:1/2 - undecided
         100_000 j foreign - accepted:0
         100_500 k A1@1:2/2 - judged void=2
         100_501 k A1@1:2/2 - judged void=1
         100_502 k A2@0 - accepted:0",
    );
    // The sweep comes with the member itself, and before it.
    check(
        "    500 k A1@0:1/2 - undecided
         100_500 k A1@1:2/2 - judged void=2",
    );
    check(
        "    500 k A1@0:1/2 - undecided
         200_000 j foreign - accepted:0 void=1
         200_001 k A1@1:2/2 - judged void=1",
    );
    // It is the first member that counts, not the last one seen.
    check(
        "    500 k A1@0:1/3 - undecided
          90_000 k A1@1:2/3 - undecided
         100_000 j foreign - accepted:0
         100_500 k A1@2:3/3 - judged void=3",
    );
    // A copy and a higher number find it expired too.
    for (row, decision) in
        [("k A1@0:1/3", "judged void=2"), ("k A2@0", "accepted:0 void=1"), ("- foreign", "skipped void=1")]
    {
        check(&format!(
            "    500 k A1@0:1/3 - undecided
             100_000 j foreign - accepted:0
             100_500 {row} - {decision}"
        ));
    }
}

#[test]
fn an_incarnation_is_forgotten_1_000_000_offsets_after_its_last_record() {
    // At the edge: one offset before it the number is still known. With and without a sweep in between.
    for between in ["", "1_000_000 j foreign - accepted:0"] {
        check(&format!(
            "      500 k A9@0 - accepted:0
             {between}
             1_000_499 k A9@1 1 judged void=1"
        ));
        check(&format!(
            "      500 k A9@0 - accepted:0
             {between}
             1_000_500 k A9@1 1 accepted:1"
        ));
        check(&format!(
            "      500 k A9@0 - accepted:0
             {between}
             1_000_500 k A1@1 1 accepted:1
             1_000_501 k A1@2 2 judged void=1"
        ));
    }
    // Its *last* record counts, even one that was judged before.
    check(
        "      500 k A9@0 - accepted:0
           600_000 k A9@0 1 judged void=1
         1_599_999 k A9@1 1 judged void=1
         2_599_999 k A9@1 1 accepted:1",
    );
    // Forgotten by the sweep.
    check(
        "      500 k A9@0 - accepted:0
         1_100_000 j foreign - accepted:0
         1_100_001 k A9@1 1 accepted:1",
    );
}

#[test]
fn what_expires_is_reported_as_changed() {
    let mut rule = check_from(
        0,
        "0 k A1@0:1/2 - undecided
         1 k B1@0 - accepted:0",
    );
    assert_eq!(rule.take_changes().len(), 2);
    assert_eq!(rule.take_changes(), []);
    assert_eq!(describe(rule.apply(record(100_000, Some("k"), vec![]), Some(Order(1)))), "accepted:1 void=1");
    let open_gone = IncarnationState { top: 1, last_offset: Offset(0), open: None };
    assert_eq!(rule.take_changes(), [(Incarnation(u64::from(b'A')), Some(open_gone))]);
    assert_eq!(describe(rule.apply(record(1_000_000, Some("k"), vec![]), Some(Order(2)))), "accepted:2");
    assert_eq!(rule.take_changes(), [(Incarnation(u64::from(b'A')), None)]);
    assert_eq!(describe(rule.apply(record(1_100_000, Some("k"), vec![]), Some(Order(3)))), "accepted:3");
    assert_eq!(rule.take_changes(), [(Incarnation(u64::from(b'B')), None)]);
}

#[test]
fn every_marked_record_changes_its_incarnation_and_no_other() {
    for (cell, changes) in [("A1@0", 1), ("A1@0:1/2", 1), ("A1@0:2/2", 1), ("foreign", 0), ("forwarded", 0)] {
        let mut rule = check_from(0, "0 k B1@0 - accepted:0");
        drop(rule.take_changes());
        drop(rule.apply(row(1, Some("j"), cell), None));
        assert_eq!(rule.take_changes().len(), changes, "{cell}");
    }
}

#[test]
fn a_log_that_was_cut_takes_the_first_order_it_meets_as_base() {
    check_from(
        50,
        "50 k A4@7 - accepted:7 cut
         51 k A5@8 8 accepted:8
         52 j foreign - accepted:0
         53 j B1@3 1 taken:3/1 void=1 cut
         54 j B2@0 1 taken:0/1 void=1
         55 h B3@0 - accepted:0
         56 i C1@5:1/2 - undecided
         57 i C1@6:2/2 - batch:5+2 cut",
    );
}

/// Aggregates of a topic of the original's whose head retention had removed were served cut off as if they were whole.
#[test]
fn unmarked_keys_that_count_from_above_0_show_a_cut_in_a_fold_that_began_late() {
    for (fold_start, shown) in [(0, vec![false; 4]), (50, vec![false, false, false, true])] {
        let mut rule = AcceptRule::new(Position(fold_start));
        let rows = [("a", 7, None), ("b", 0, None), ("a", 8, Some(1)), ("a", 9, Some(2))];
        let cut = (50..).zip(rows).map(|(offset, (key, order, next))| {
            let counted = record(offset, Some(key), vec![header("order", &order.to_string())]);
            let applied = rule.apply(counted, next.map(Order)).expect("format 1");
            assert_eq!(
                applied.decision,
                Decision::Accepted {
                    order: Order(next.unwrap_or(0)),
                    record: record(offset, Some(key), vec![header("order", &order.to_string())])
                }
            );
            applied.cut
        });
        assert_eq!(cut.collect::<Vec<_>>(), shown, "from {fold_start}");
    }
}

/// They are part of the format: another number is another history.
#[test]
fn the_limits_of_format_1_are_these() {
    assert_eq!((BATCH_EVENTS_MAX, BATCH_BYTES_MAX), (1_000, 16_777_216));
    assert_eq!((BATCH_SPAN_OFFSETS, INCARNATION_SPAN_OFFSETS), (100_000, 1_000_000));
    assert_eq!((OPEN_BATCHES_MAX, OPEN_BYTES_MAX, OPEN_MEMBER_BYTES), (1_000, 68_132_864, 256));
    assert_eq!((BASE_SPAN_OFFSETS, ORDER_MAX), (1_000_000, 9_223_372_036_854_775_807));
}

#[test]
fn a_whole_log_has_no_base() {
    check(
        "0 k A4@7 - taken:7/0 void=1
         1 j foreign - accepted:0
         2 j B1@3 1 taken:3/1 void=1
         3 i C1@5:1/2 - undecided
         4 i C1@6:2/2 - taken:5/0 void=2
         5 h D1@1:2/3 - broken void=1",
    );
}

/// The head of a log was cut off between the members of a batch. What is left of the batch was void as "incomplete", and
/// nothing said that another instance holds its events: the partition was not marked as cut and went on taking appends.
#[test]
fn the_rest_of_a_batch_whose_head_was_cut_off_marks_the_cut() {
    check_from(
        50,
        "50 k A4@1:2/3 - broken void=1 cut
         51 k A4@2:3/3 - judged void=1",
    );
    // A hole in a batch of an incarnation that is known, or one too far from the start, shows nothing.
    check_from(
        50,
        "     50 k A4@0 - accepted:0
              51 k A5@1:2/2 1 broken void=1
              52 k B1@1:1/3 1 undecided
              53 k B1@3:3/3 1 broken void=2
         100_049 k C1@2:2/3 1 broken void=1 cut
         100_050 k D1@2:2/3 1 broken void=1",
    );
    // A first member has its head here: what is wrong with it is not that something was cut off.
    check_from(50, "50 k A1@9223372036854775806:1/3 - broken void=1");
}

/// A log of a few incarnations, keys and numbers, so that copies, holes and misfits meet; steps are at the edges of limits.
fn any_log() -> impl Strategy<Value = Vec<Record>> {
    let step = prop_oneof![
        8 => 1u64..4,
        1 => prop::sample::select(vec![40_000, 50_000, 60_000, 99_998, 99_999, 100_000, 100_001]),
        1 => prop::sample::select(vec![500_000, 899_999, 900_001, 999_998, 999_999, 1_000_000, 1_000_001]),
    ];
    let place = prop_oneof![
        2 => Just(None),
        3 => (1u32..=3).prop_map(|i| Some((i, 3))),
        1 => (1u32..=2).prop_map(|i| Some((i, 2))),
    ];
    // How far below the record its base lies; the limit is among it.
    let age =
        prop_oneof![6 => 0u64..5, 1 => prop::sample::select(vec![999_998, 999_999, 1_000_000, 1_000_001])];
    let what = prop_oneof![
        10 => (1u64..=2, 1u64..=4, 0u64..6, place, age).prop_map(|(incarnation, number, order, place, age)| {
            let order = Order(order + place.map_or(0, |(i, _)| u64::from(i) - 1));
            Some(Some((Marker { stamp: stamp(incarnation, number, place), order, base: Position(0) }, age)))
        }),
        1 => Just(Some(None)),
        2 => Just(None),
    ];
    let key = prop_oneof![8 => Just(Some("k")), 2 => Just(Some("j")), 1 => Just(None)];
    prop::collection::vec((step, key, what), 1..40).prop_map(|rows| {
        let mut offset = 0;
        let place = |(step, key, what)| {
            offset += step;
            match what {
                None => row(offset, key, "foreign"),
                Some(None) => row(offset, key, "forwarded"),
                Some(Some((marker, age))) => {
                    let base = Position(offset.saturating_sub(age));
                    marked(record(offset, key, vec![]), Marker { base, ..marker })
                }
            }
        };
        rows.into_iter().map(place).collect()
    })
}

/// What the rule says before it decides.
fn above_next(rule: &AcceptRule, record: &Record, next: Option<Order>) -> Option<AboveNext> {
    let RecordClass::Marked(marker) = classify(record) else { return None };
    record.aggregate().and_then(|_| rule.above_next(marker, record.offset, next))
}

/// Nobody who knew no more than what was applied names an order above the next one; for a batch every member tells.
#[test]
fn an_order_above_the_next_one_is_told_before_it_is_decided() {
    let mut rule = AcceptRule::new(Position::START);
    let table = [
        (0, "A1@0", None, None),
        (1, "A2@1", Some(1), None),
        (2, "A3@4", Some(2), Some((4, 2))),
        (3, "A3@4", Some(2), None),
        (4, "B1@2:1/3", Some(2), None),
        (5, "B1@3:2/3", Some(2), None),
        (6, "C1@3:1/2", Some(2), Some((3, 2))),
        (7, "C1@4:2/2", Some(2), Some((3, 2))),
        (8, "D1@7", None, Some((7, 0))),
        (9, "E1@0:2/2", Some(2), None),
        // Whoever had applied more than lies before the record rests on what is not in this log; and a base that is too old is void.
        (10, "F1@3^11", Some(2), None),
        (10, "F1@3^10", Some(2), Some((3, 2))),
        (1_000_011, "G1@3^11", Some(2), None),
        (1_000_011, "G1@3^12", Some(2), Some((3, 2))),
    ];
    for (offset, cell, next, expected) in table {
        let (record, next) = (row(offset, Some("k"), cell), next.map(Order));
        let above = above_next(&rule, &record, next).map(|above| (above.expected.0, above.next.0));
        assert_eq!(above, expected, "{offset} {cell}");
        if offset < 10 {
            rule.apply(record, next).expect("format 1");
        }
    }
}

/// What a host keeps beside the rule: the counts it looks up.
#[derive(Default)]
struct Host {
    counts: HashMap<Bytes, u64>,
    void_records: u64,
}

impl Host {
    fn apply(&mut self, rule: &mut AcceptRule, record: &Record) -> (Option<Stamp>, Decision, bool) {
        let key = record.key.clone().unwrap_or_default();
        let next = self.counts.get(&key).map(|count| Order(*count));
        let above = above_next(rule, record, next);
        let Applied { stamp, decision, void_records, cut } =
            rule.apply(record.clone(), next).expect("format 1");
        self.void_records += void_records;
        match &decision {
            Decision::Void(VoidReason::OrderTaken { expected, next }) => {
                let RecordClass::Marked(marker) = classify(record) else { panic!("{record:?}") };
                let is_told = expected > next && marker.base <= Position(record.offset.0);
                let named = above.map(|above| (above.expected, above.next));
                assert_eq!(named, is_told.then_some((*expected, *next)), "{record:?}");
            }
            Decision::Void(VoidReason::JudgedBefore) | Decision::Skipped => assert_eq!(above, None),
            Decision::Accepted { .. } | Decision::AcceptedBatch { .. } if !cut => assert_eq!(above, None),
            _ => {}
        }
        let (first, count) = match &decision {
            Decision::Accepted { order, .. } => (*order, 1),
            Decision::AcceptedBatch { first, records } => (*first, records.len() as u64),
            _ => return (stamp, decision, cut),
        };
        self.counts.insert(key, first.0 + count);
        (stamp, decision, cut)
    }
}

/// Long after the end of any log: everything of it has expired here.
fn epilogue(log: &[Record]) -> Record {
    let last = log.last().map_or(0, |record| record.offset.0);
    record(last + 2_000_000, None, vec![])
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 2_000, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn a_resumed_rule_decides_as_the_one_that_was_never_stopped(
        log in any_log(), stops in prop::collection::vec(any::<Option<bool>>(), 40), fold_start in 0u64..2,
        limits in (1usize..3, 1u64..6),
    ) {
        let fold_start = Position(fold_start);
        let limited = |mut rule: AcceptRule| {
            (rule.open.batches_max, rule.open.bytes_max) = (limits.0, limits.1 * OPEN_MEMBER_BYTES);
            rule
        };
        let (mut whole, mut whole_host) = (limited(AcceptRule::new(fold_start)), Host::default());
        let (mut parts, mut parts_host) = (limited(AcceptRule::new(fold_start)), Host::default());
        let mut kept: BTreeMap<Incarnation, IncarnationState> = BTreeMap::new();
        for (index, (record, stop)) in log.iter().zip(stops).enumerate() {
            let said = whole_host.apply(&mut whole, record);
            prop_assert_eq!(parts_host.apply(&mut parts, record), said, "record {}", index);
            let Some(at_next) = stop else { continue };
            for (incarnation, state) in parts.take_changes() {
                match state {
                    Some(state) => drop(kept.insert(incarnation, state)),
                    None => drop(kept.remove(&incarnation)),
                }
            }
            // A checkpoint may lie anywhere up to the next record: offsets have gaps.
            let next = log.get(index + 1).filter(|_| at_next).map(|next| Position(next.offset.0));
            let position = next.unwrap_or(record.offset.next());
            parts = limited(AcceptRule::resume(fold_start, position, kept.clone()));
            prop_assert_eq!(&parts.open, &whole.open);
        }
        let last = epilogue(&log);
        whole_host.apply(&mut whole, &last);
        parts_host.apply(&mut parts, &last);
        prop_assert_eq!(whole_host.void_records, parts_host.void_records);
        prop_assert!(whole.incarnations.is_empty() && parts.incarnations.is_empty());
    }

    #[test]
    fn expiry_by_a_sweep_cannot_be_told_from_expiry_on_use(log in any_log()) {
        let mut swept_never = (AcceptRule::new(Position::START), Host::default());
        let mut swept_now_and_then = (AcceptRule::new(Position::START), Host::default());
        let mut swept_always = (AcceptRule::new(Position::START), Host::default());
        for (index, record) in log.iter().enumerate() {
            swept_never.0.span = record.offset.0 / BATCH_SPAN_OFFSETS;
            swept_always.0.span = u64::MAX;
            let said = swept_now_and_then.1.apply(&mut swept_now_and_then.0, record);
            prop_assert_eq!(swept_never.1.apply(&mut swept_never.0, record), said.clone(), "never, record {}", index);
            prop_assert_eq!(swept_always.1.apply(&mut swept_always.0, record), said, "always, record {}", index);
        }
        for (rule, host) in [&mut swept_never, &mut swept_now_and_then, &mut swept_always] {
            host.apply(rule, &epilogue(&log));
            prop_assert!(rule.incarnations.is_empty());
        }
        prop_assert_eq!(swept_never.1.void_records, swept_now_and_then.1.void_records);
        prop_assert_eq!(swept_always.1.void_records, swept_now_and_then.1.void_records);
    }

    #[test]
    fn every_record_is_an_event_or_void_or_skipped_once(log in any_log()) {
        let (mut rule, mut host) = (AcceptRule::new(Position::START), Host::default());
        let mut accepted: HashMap<Bytes, Vec<Offset>> = HashMap::new();
        let mut skipped = 0;
        for record in log.iter().chain([&epilogue(&log)]) {
            let key = record.key.clone().unwrap_or_default();
            let events = accepted.entry(key).or_default();
            match host.apply(&mut rule, record).1 {
                Decision::Skipped => skipped += 1,
                Decision::Accepted { order, record } => {
                    prop_assert_eq!(order.0, events.len() as u64);
                    events.push(record.offset);
                }
                Decision::AcceptedBatch { first, records } => {
                    prop_assert_eq!(first.0, events.len() as u64);
                    prop_assert!(records.iter().all(|member| member.key == record.key));
                    let span = records[records.len() - 1].offset.0 - records[0].offset.0;
                    prop_assert!(records.len() > 1 && span < BATCH_SPAN_OFFSETS);
                    events.extend(records.iter().map(|member| member.offset));
                }
                Decision::Undecided | Decision::Void(_) => {}
            }
        }
        let events: usize = accepted.values().map(Vec::len).sum();
        prop_assert_eq!(events as u64 + host.void_records + skipped, log.len() as u64 + 1);
    }

    #[test]
    fn no_bytes_make_the_rule_panic(
        rows in prop::collection::vec(
            (
                prop::option::of(prop::collection::vec(any::<u8>(), 0..3)),
                prop::option::of(prop::collection::vec(any::<u8>(), 0..3)),
                prop::collection::vec((any_name(), prop::option::of(any_value())), 0..5),
                prop::option::of(prop_oneof![0u64..4, any::<u64>()]),
                prop_oneof![4 => 1u64..3, 1 => any::<u64>()],
            ),
            1..20,
        ),
        fold_start in prop_oneof![Just(0), any::<u64>()],
    ) {
        let mut rule = AcceptRule::new(Position(fold_start));
        let mut offset = 0u64;
        for (key, value, headers, next, step) in rows {
            let headers = headers
                .into_iter()
                .map(|(name, value)| Header { name: name.into(), value: value.map(Bytes::from) })
                .collect();
            let record = Record {
                partition: Partition(0),
                offset: Offset(offset),
                timestamp: None,
                key: key.map(Bytes::from),
                value: value.map(Bytes::from),
                headers,
            };
            let _ = rule.apply(record, next.map(Order));
            offset = offset.saturating_add(step);
        }
    }
}

fn any_name() -> impl Strategy<Value = Vec<u8>> {
    prop_oneof![
        4 => Just(b"bkes".to_vec()),
        3 => Just(b"order".to_vec()),
        1 => prop::collection::vec(any::<u8>(), 0..6),
    ]
}

fn any_value() -> impl Strategy<Value = Vec<u8>> {
    let text = |pattern: &'static str| prop::string::string_regex(pattern).expect("a pattern");
    prop_oneof![
        4 => text("1;000000000000000[ab];[0-3](;[0-3]/[0-3])?").prop_map(String::into_bytes),
        3 => text("[0-3]").prop_map(String::into_bytes),
        1 => text("18446744073709551[56][0-9]{2}").prop_map(String::into_bytes),
        1 => text("[0-9a-f;/]{0,40}").prop_map(String::into_bytes),
        1 => prop::collection::vec(any::<u8>(), 0..40),
    ]
}
