//! Each row of the table at the top of the sequencer, and what must not end an append.

use super::*;
use crate::marker::BatchPlace;
use crate::{Partition, Record};

type Ended = Vec<(Settled<&'static str>, VecDeque<u32>)>;

fn key(name: &str) -> Key {
    Key::new(name.to_owned()).expect("not empty")
}

fn sequencer() -> Sequencer<u32, &'static str> {
    Sequencer::new(Incarnation(7))
}

fn begin(sequencer: &mut Sequencer<u32, &'static str>, name: &'static str, count: u32) -> u64 {
    let (incarnation, number) = sequencer.begin(claim(name, 3, count), name, VecDeque::new());
    assert_eq!(incarnation, Incarnation(7));
    number
}

fn single(number: u64) -> Stamp {
    Stamp { incarnation: Incarnation(7), number, place: None }
}

fn member(number: u64, i: u32, count: u32) -> Stamp {
    Stamp { incarnation: Incarnation(7), number, place: Some(BatchPlace { i, count }) }
}

fn accepted() -> Decision {
    let record = Record {
        partition: Partition(0),
        offset: Offset(10),
        timestamp: None,
        key: Some("a".into()),
        value: Some("v".into()),
        headers: Vec::new(),
    };
    Decision::Accepted { order: Order(3), record }
}

/// How appends ended: ticket and outcome, in the order they did.
fn outcomes(ended: &Ended) -> Vec<(&'static str, &Outcome)> {
    ended.iter().map(|(settled, _)| (settled.ticket, &settled.outcome)).collect()
}

fn claim(name: &str, first: u64, count: u32) -> Claim {
    Claim { key: key(name), first: Order(first), count }
}

fn at(offset: u64) -> Position {
    Position(offset)
}

fn moment(position: u64, now: NowMs) -> Moment {
    Moment { position: at(position), now }
}

#[test]
fn an_applied_record_ends_its_append_by_what_the_rule_said() {
    let taken = VoidReason::OrderTaken { expected: Order(3), next: Order(5) };
    let incomplete = Outcome::NotStored(BATCH_INCOMPLETE.into());
    let too_late = Outcome::NotStored(TOO_LATE.into());
    let rows: [(Decision, Option<Outcome>); 6] = [
        (accepted(), Some(Outcome::Accepted)),
        (Decision::Void(taken), Some(Outcome::Conflict { next: Order(5) })),
        (Decision::Void(VoidReason::BatchBroken), Some(incomplete)),
        (Decision::Void(VoidReason::BaseTooOld { base: Position(0) }), Some(too_late)),
        (Decision::Void(VoidReason::JudgedBefore), Some(Outcome::NotStored(NUMBER_TAKEN.into()))),
        (Decision::Skipped, None),
    ];
    for (decision, outcome) in rows {
        let (mut sequencer, mut ended) = (sequencer(), Ended::new());
        let number = begin(&mut sequencer, "a", 1);
        sequencer.applied(single(number), &decision, &mut ended);
        let wanted: Vec<_> = outcome.iter().map(|outcome| ("a", outcome)).collect();
        assert_eq!(outcomes(&ended), wanted, "{decision:?}");
        assert_eq!(sequencer.is_busy(&key("a")), outcome.is_none(), "{decision:?}");
    }
}

#[test]
fn a_report_alone_never_means_success() {
    let (mut sequencer, mut ended) = (sequencer(), Ended::new());
    let number = begin(&mut sequencer, "a", 1);
    let said = Delivery::Stored { offset: Some(Offset(10)), timestamp: None };
    sequencer.reported(single(number), said, moment(10, 0), &mut ended).expect("it is ahead of reading");
    sequencer.tick(moment(10, TAIL_WAIT_MS - 1), &mut ended);
    assert_eq!(outcomes(&ended), []);
    sequencer.applied(single(number), &accepted(), &mut ended);
    assert_eq!(outcomes(&ended), [("a", &Outcome::Accepted)]);
    assert_eq!(sequencer.deadline(), None);
}

#[test]
fn what_the_log_says_is_not_stored_frees_the_key_at_once() {
    let (mut sequencer, mut ended) = (sequencer(), Ended::new());
    let number = begin(&mut sequencer, "a", 1);
    sequencer.wait(&key("a"), 42);
    sequencer
        .reported(single(number), Delivery::NotStored { detail: "no".into() }, moment(0, 0), &mut ended)
        .expect("no");
    assert_eq!(outcomes(&ended), [("a", &Outcome::NotStored("no".into()))]);
    assert_eq!((ended[0].1.clone(), sequencer.waiting()), (VecDeque::from([42]), 0));
}

#[test]
fn a_higher_number_that_is_applied_first_proves_the_lower_ones_not_stored() {
    let (mut sequencer, mut ended) = (sequencer(), Ended::new());
    begin(&mut sequencer, "a", 1);
    begin(&mut sequencer, "b", 1);
    let third = begin(&mut sequencer, "c", 1);
    sequencer.applied(single(third), &accepted(), &mut ended);
    let told = outcomes(&ended);
    assert!(matches!(told[..], [("a", Outcome::NotStored(_)), ("b", Outcome::NotStored(_)), ("c", _)]));
    assert_eq!(told[2].1, &Outcome::Accepted);
}

/// A handle drew a name that another had before it: its record came with a number that was judged, the fast path applied it,
/// and nobody was ever told. What waited for the key waited for ever.
#[test]
fn a_record_whose_number_was_judged_before_it_came_frees_its_key() {
    let (mut sequencer, mut ended) = (sequencer(), Ended::new());
    let number = begin(&mut sequencer, "a", 1);
    sequencer.wait(&key("a"), 42);
    sequencer.applied(single(number), &Decision::Void(VoidReason::JudgedBefore), &mut ended);
    assert_eq!(outcomes(&ended), [("a", &Outcome::NotStored(NUMBER_TAKEN.into()))]);
    assert_eq!((ended[0].1.clone(), sequencer.is_busy(&key("a"))), (VecDeque::from([42]), false));
}

#[test]
fn a_batch_ends_with_its_last_member() {
    let (mut sequencer, mut ended) = (sequencer(), Ended::new());
    let number = begin(&mut sequencer, "a", 2);
    sequencer.applied(member(number, 1, 2), &Decision::Undecided, &mut ended);
    // A copy of a member that was met says nothing.
    sequencer.applied(member(number, 1, 2), &Decision::Void(VoidReason::JudgedBefore), &mut ended);
    assert_eq!(outcomes(&ended), []);
    let decision = Decision::AcceptedBatch { first: Order(3), records: Vec::new() };
    sequencer.applied(member(number, 2, 2), &decision, &mut ended);
    assert_eq!(outcomes(&ended), [("a", &Outcome::Accepted)]);
}

#[test]
fn only_the_report_of_its_last_member_puts_a_batch_in_doubt() {
    let (mut sequencer, mut ended) = (sequencer(), Ended::new());
    let number = begin(&mut sequencer, "a", 2);
    assert_eq!(sequencer.in_flight(), 1);
    let mut stored = |sequencer: &mut Sequencer<_, _>, i, offset| {
        let said = Delivery::Stored { offset: Some(Offset(offset)), timestamp: None };
        sequencer
            .reported(member(number, i, 2), said, moment(10, 0), &mut ended)
            .expect("it is ahead of reading");
    };
    stored(&mut sequencer, 1, 10);
    assert_eq!(sequencer.deadline(), None, "the others may be on their way for as long as the log lets them");
    assert!(!sequencer.in_doubt());
    stored(&mut sequencer, 2, 11);
    assert_eq!(sequencer.deadline(), Some(TAIL_WAIT_MS), "reading must reach it now");
    assert!(sequencer.in_doubt());
    let decision = Decision::AcceptedBatch { first: Order(3), records: Vec::new() };
    sequencer.applied(member(number, 2, 2), &decision, &mut ended);
    assert_eq!((outcomes(&ended), sequencer.in_flight()), (vec![("a", &Outcome::Accepted)], 0));
    assert!(!sequencer.in_doubt());
}

#[test]
fn a_member_that_was_met_may_be_reported_below_the_position() {
    let (mut sequencer, mut ended) = (sequencer(), Ended::new());
    let number = begin(&mut sequencer, "a", 2);
    sequencer.applied(member(number, 1, 2), &Decision::Undecided, &mut ended);
    let said = || Delivery::Stored { offset: Some(Offset(10)), timestamp: None };
    sequencer.reported(member(number, 1, 2), said(), moment(11, 0), &mut ended).expect("it was met there");
    assert!(sequencer.reported(member(number, 2, 2), said(), moment(11, 0), &mut ended).is_err());
}

/// Whole runs are compared by it.
#[test]
fn the_same_state_is_the_same_text_and_another_one_is_not() {
    let text = |names: [&'static str; 4]| {
        let mut sequencer = sequencer();
        for name in names {
            begin(&mut sequencer, name, 1);
        }
        format!("{sequencer:?}")
    };
    assert_eq!(text(["a", "b", "c", "d"]), text(["a", "b", "c", "d"]));
    assert_ne!(text(["a", "b", "c", "d"]), text(["a", "b", "d", "c"]));
}

#[test]
fn a_batch_that_expired_before_its_next_member_came_is_not_stored() {
    let (mut sequencer, mut ended) = (sequencer(), Ended::new());
    let number = begin(&mut sequencer, "a", 3);
    sequencer.applied(member(number, 1, 3), &Decision::Undecided, &mut ended);
    sequencer.applied(member(number, 2, 3), &Decision::Void(VoidReason::JudgedBefore), &mut ended);
    assert_eq!(outcomes(&ended), [("a", &Outcome::NotStored(BATCH_INCOMPLETE.into()))]);
}

#[test]
fn a_doubt_ends_as_unknown_when_the_mark_read_after_it_is_passed() {
    let (mut sequencer, mut ended) = (sequencer(), Ended::new());
    let number = begin(&mut sequencer, "a", 1);
    assert!(!sequencer.wants_probe());
    sequencer
        .reported(single(number), Delivery::Unknown { detail: "why".into() }, moment(5, 100), &mut ended)
        .expect("no");
    assert!(sequencer.wants_probe());
    // A question that was asked before the report proves nothing about it.
    sequencer.probed(at(5), 100);
    sequencer.tick(moment(6, 101), &mut ended);
    assert_eq!(outcomes(&ended), []);
    sequencer.probed(at(9), 101);
    assert!(!sequencer.wants_probe());
    sequencer.tick(moment(8, 102), &mut ended);
    assert_eq!(outcomes(&ended), []);
    sequencer.tick(moment(9, 102), &mut ended);
    assert_eq!(outcomes(&ended), [("a", &Outcome::Unknown("why".into()))]);
}

#[test]
fn a_doubt_ends_as_unknown_when_its_time_is_over() {
    let (mut sequencer, mut ended) = (sequencer(), Ended::new());
    let number = begin(&mut sequencer, "a", 1);
    sequencer
        .reported(single(number), Delivery::Unknown { detail: "why".into() }, moment(5, 100), &mut ended)
        .expect("no");
    assert_eq!(sequencer.deadline(), Some(100 + DOUBT_MS));
    sequencer.tick(moment(5, 99 + DOUBT_MS), &mut ended);
    assert_eq!(outcomes(&ended), []);
    sequencer.tick(moment(5, 100 + DOUBT_MS), &mut ended);
    assert_eq!(outcomes(&ended), [("a", &Outcome::Unknown("why".into()))]);
}

#[test]
fn a_record_below_the_position_that_was_not_met_means_another_log() {
    let (mut sequencer, mut ended) = (sequencer(), Ended::new());
    let number = begin(&mut sequencer, "a", 1);
    let said = Delivery::Stored { offset: Some(Offset(4)), timestamp: None };
    let diverged = sequencer.reported(single(number), said, moment(5, 0), &mut ended);
    assert_eq!(diverged, Err(Diverged { offset: Offset(4), position: at(5) }));
    assert!(matches!(outcomes(&ended)[..], [("a", Outcome::Unknown(_))]));
}

#[test]
fn what_was_withdrawn_gives_its_queue_back_and_frees_the_key() {
    let mut sequencer = sequencer();
    let (incarnation, number) = sequencer.begin(claim("a", 0, 1), "a", VecDeque::from([1, 2]));
    assert_eq!((sequencer.waiting(), sequencer.flight(&key("a")).map(|(_, ticket)| ticket)), (2, Some(&"a")));
    let (ticket, queue) = sequencer.withdraw((incarnation, number));
    assert_eq!((ticket, queue, sequencer.waiting()), ("a", VecDeque::from([1, 2]), 0));
    assert!(!sequencer.is_busy(&key("a")) && sequencer.in_flight() == 0);
}

#[test]
fn a_new_handle_leaves_what_is_in_flight_to_be_resolved_by_its_own_name() {
    let (mut sequencer, mut ended) = (sequencer(), Ended::new());
    let old = begin(&mut sequencer, "a", 1);
    sequencer.renew(Incarnation(8));
    let (incarnation, number) = sequencer.begin(claim("b", 0, 1), "b", VecDeque::new());
    assert_eq!((incarnation, number), (Incarnation(8), 1));
    // Numbers of one incarnation say nothing about those of another.
    sequencer.applied(Stamp { incarnation, number, place: None }, &accepted(), &mut ended);
    assert_eq!(outcomes(&ended), [("b", &Outcome::Accepted)]);
    sequencer.applied(single(old), &accepted(), &mut ended);
    assert_eq!(outcomes(&ended).len(), 2);
}

#[test]
fn giving_up_ends_what_is_in_flight_and_hands_back_what_waits() {
    let (mut sequencer, mut ended) = (sequencer(), Ended::new());
    begin(&mut sequencer, "a", 1);
    begin(&mut sequencer, "b", 1);
    sequencer.wait(&key("b"), 9);
    assert_eq!(sequencer.take_waiting(), [9]);
    sequencer.give_up("the end", &mut ended);
    let unknown = Outcome::Unknown("the end".into());
    assert_eq!(outcomes(&ended), [("a", &unknown), ("b", &unknown)]);
    assert_eq!((sequencer.in_flight(), sequencer.waiting()), (0, 0));
}
