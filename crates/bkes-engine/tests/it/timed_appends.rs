//! Appends through the face of an event store: conflicts with what was missed, and what becomes of them when their time is over.

use crate::support::face::{Call, key};
use crate::support::{Bench, poll};
use bkes_api::{
    Append, AppendFailure, AppendId, Appended, Conflict, ErrorClass, Event, EventContent, EventStore,
    Expected, Order, Reason,
};
use bkes_core::{Offset, Partition, TimestampMs};
use bkes_engine::EngineOptions;
use bkes_storage::MemoryStore;
use bkes_testkit::log::{Faults, SimulatedLog};
use bkes_testkit::store::SimulatedStore;
use std::num::NonZeroU32;
use std::sync::Arc;
use std::time::Duration;

type Answer = Result<Appended, AppendFailure>;

fn log() -> SimulatedLog {
    SimulatedLog::new("topic", NonZeroU32::MIN)
}

fn ready() -> (SimulatedLog, Bench) {
    let log = log();
    log.set_record_bytes_max(4 * 1024 * 1024);
    let bench = Bench::ready(log.clone(), Arc::new(MemoryStore::new()));
    (log, bench)
}

fn begin(bench: &Bench, append: Append) -> Call<Answer> {
    bench.begin(async |handle| EventStore::append(&handle, append).await)
}

fn append(bench: &mut Bench, append: Append) -> Answer {
    let call = begin(bench, append);
    bench.finish(call)
}

fn conflict(answer: Answer) -> Conflict {
    match answer {
        Err(AppendFailure::Conflict(conflict)) => *conflict,
        other => panic!("no conflict: {other:?}"),
    }
}

fn orders(conflict: &Conflict) -> Vec<u64> {
    conflict.missing.iter().map(|event| event.order.0).collect()
}

#[test]
fn a_success_says_where_it_is_stored() {
    let (log, mut bench) = ready();
    log.set_now(TimestampMs(5));
    log.skip_offsets(Partition(0), 3);
    let stored = append(&mut bench, Append::start(key("a")).event("0").event("1")).expect("accepted");
    assert_eq!(stored.topic.as_str(), "topic-1");
    assert_eq!(
        (stored.partition, stored.first_offset, stored.last_offset),
        (Partition(0), Offset(3), Offset(4))
    );
    assert_eq!((stored.first, stored.last, stored.next()), (Order(0), Order(1), Order(2)));
    assert_eq!((stored.timestamp, stored.by_earlier_try), (Some(TimestampMs(5)), false));
    // That there is none yet and that the next order is 0 are the same.
    let at_0 = Append::new(key("b"), Expected::At(Order(0))).event("0");
    assert_eq!(append(&mut bench, at_0.clone()).expect("accepted").first, Order(0));
    let exists = append(&mut bench, at_0).expect_err("it exists");
    assert_eq!((exists.reason(), exists.class()), (Reason::AlreadyExists, ErrorClass::Rejected));
}

#[test]
fn a_conflict_brings_along_what_its_writer_had_not_seen() {
    let (_log, mut bench) = ready();
    for order in 0..5 {
        bench.put("a", order, &format!("event {order}")).expect("accepted");
    }
    for wait_ms in [1, 500] {
        bench.run(wait_ms);
        let behind = conflict(append(&mut bench, Append::at(key("a"), Order(2)).event("x").with_missing()));
        assert_eq!((behind.expected, behind.current, behind.more), (Expected::At(Order(2)), Order(5), false));
        let values: Vec<&[u8]> = behind.missing.iter().map(Event::value_bytes).collect();
        assert_eq!(values, [b"event 2", b"event 3", b"event 4"]);
        let begun = conflict(append(&mut bench, Append::start(key("a")).event("x").with_missing()));
        assert_eq!((begun.expected, orders(&begun), begun.more), (Expected::New, vec![0, 1, 2, 3, 4], false));
        let some = Append { missing_max: 2, ..Append::at(key("a"), Order(2)).event("x") };
        let some = conflict(append(&mut bench, some));
        assert_eq!((orders(&some), some.current, some.more), (vec![2, 3], Order(5), true));
        let none = conflict(append(&mut bench, Append::at(key("a"), Order(2)).event("x")));
        assert_eq!((orders(&none), none.current, none.more), (vec![], Order(5), true));
        let ahead = conflict(append(&mut bench, Append::at(key("a"), Order(9)).event("x").with_missing()));
        assert_eq!((orders(&ahead), ahead.current, ahead.more), (vec![], Order(5), false));
        let absent = conflict(append(&mut bench, Append::at(key("b"), Order(3)).event("x").with_missing()));
        assert_eq!((orders(&absent), absent.current, absent.more), (vec![], Order(0), false));
    }
    let id = AppendId::new("id").expect("short");
    let absent = append(&mut bench, Append::existing(key("b"), id).event("x")).expect_err("there is none");
    assert_eq!(absent.reason(), Reason::NoSuchAggregate);
}

#[test]
fn what_a_conflict_brings_along_is_bounded() {
    let (_log, mut bench) = ready();
    let events = |count, bytes| (0..count).map(move |_| EventContent::from(vec![b'x'; bytes]));
    append(&mut bench, Append::start(key("many")).events(events(1_000, 1))).expect("accepted");
    append(&mut bench, Append::at(key("many"), Order(1_000)).events(events(1, 1))).expect("accepted");
    let many = Append { missing_max: usize::MAX, ..Append::start(key("many")).event("x") };
    let many = conflict(append(&mut bench, many));
    assert_eq!((many.missing.len(), many.current, many.more), (1_000, Order(1_001), true));
    append(&mut bench, Append::start(key("large")).events(events(5, 300 * 1024))).expect("accepted");
    let large = conflict(append(&mut bench, Append::start(key("large")).event("x").with_missing()));
    assert_eq!((large.missing.len(), large.more), (3, true), "a megabyte at most");
    append(&mut bench, Append::start(key("huge")).events(events(2, 2 * 1024 * 1024))).expect("accepted");
    let huge = conflict(append(&mut bench, Append::start(key("huge")).event("x").with_missing()));
    assert_eq!((huge.missing.len(), huge.more), (0, true), "what is larger alone is to be read");
}

/// Others append between the refusal and the look: what is brought along is up to the order that is named.
#[test]
fn what_was_appended_since_the_refusal_is_in_the_conflict_or_said_to_be_there() {
    let (log, mut bench) = ready();
    bench.put("a", 0, "zero").expect("accepted");
    bench.put("a", 1, "one").expect("accepted");
    for (missing_max, seen, more) in [(1_000, vec![1, 2], false), (1, vec![1], true)] {
        let append = Append { missing_max, ..Append::at(key("a"), Order(1)).event("x") };
        let mut refused = begin(&bench, append);
        assert!(poll(&mut refused).is_none());
        bench.step_owners();
        if log.records(Partition(0)).len() == 2 {
            log.append_foreign(Partition(0), Some("a".into()), Some("two".into()), Vec::new());
        }
        bench.step_owners();
        let conflict = conflict(poll(&mut refused).expect("it was refused"));
        assert_eq!((orders(&conflict), conflict.current, conflict.more), (seen, Order(3), more));
    }
}

#[test]
fn a_conflict_is_told_though_what_was_missed_cannot_be_read() {
    let store = Arc::new(SimulatedStore::new());
    let mut bench = Bench::ready(log(), store.clone());
    for order in 0..3 {
        bench.put("a", order, "value").expect("accepted");
    }
    bench.run(500);
    let mut refused = begin(&bench, Append::at(key("a"), Order(1)).event("x").with_missing());
    assert!(poll(&mut refused).is_none());
    bench.step_owners();
    store.damage("on purpose");
    let conflict = conflict(poll(&mut refused).expect("it was refused"));
    assert_eq!((orders(&conflict), conflict.current, conflict.more), (vec![], Order(3), true));
}

/// A bench whose overlay is full, and whose writer commits when it is told to.
fn full(options: EngineOptions) -> Bench {
    let options = EngineOptions { overlay_bytes_max: 1_100, ..options };
    let mut bench = Bench::with(log(), Arc::new(MemoryStore::new()), options);
    bench.run_until("it is ready", |bench| bench.handle.is_ready());
    let mut filling = begin(&bench, Append::start(key("full")).event(vec![b'x'; 1_000]));
    assert!(poll(&mut filling).is_none());
    bench.step_owners();
    poll(&mut filling).expect("answered").expect("there is room");
    bench
}

#[test]
fn an_append_that_found_no_room_in_its_time_was_not_sent() {
    let mut bench = full(EngineOptions::default());
    let small = || Append::start(key("a")).event("x");
    let mut timed = begin(&bench, small().within(Duration::from_millis(80)));
    let mut patient = begin(&bench, small().within(Duration::from_secs(60)));
    assert!(poll(&mut timed).is_none() && poll(&mut patient).is_none());
    bench.step_owners();
    bench.jump(69);
    bench.step_owners();
    assert!(poll(&mut timed).is_none(), "an eighth of its time is left for storing it");
    bench.jump(1);
    bench.step_owners();
    let failure = poll(&mut timed).expect("its time is over").expect_err("it was not sent");
    assert_eq!((failure.reason(), failure.class()), (Reason::NotSent, ErrorClass::Unavailable));
    // One that has more time than the engine gives it hears of overload, and when to try again.
    bench.jump(10_000);
    bench.step_owners();
    let failure = poll(&mut patient).expect("its time is over").expect_err("it was not sent");
    assert_eq!(failure.reason(), Reason::Overloaded);
    assert!(failure.retry_after().is_some());
}

const TIME: Duration = Duration::from_millis(20);

/// It waits for the append of its key before it, and not for room. What was sent may be stored, and what was not will not be.
#[tokio::test]
async fn an_append_whose_time_is_over_is_unknown_if_it_was_sent_and_never_sent_if_it_was_not() {
    let (log, mut bench) = ready();
    bench.put("a", 0, "zero").expect("accepted");
    log.set_faults(Faults { delayed: 1_000, ..Faults::default() });
    let id = AppendId::new("id").expect("short");
    let mut sent = begin(&bench, Append::at(key("a"), Order(1)).event("sent").id(id.clone()).within(TIME));
    let mut waits = begin(&bench, Append::at(key("a"), Order(2)).event("waits").within(TIME));
    let mut patient = begin(&bench, Append::at(key("a"), Order(2)).event("patient"));
    assert!(poll(&mut sent).is_none() && poll(&mut waits).is_none() && poll(&mut patient).is_none());
    bench.step_owners();
    assert_eq!(log.on_the_way(), 1);
    tokio::time::sleep(2 * TIME).await;
    match poll(&mut sent).expect("its time is over") {
        Err(AppendFailure::Unknown { id: Some(named), failure }) => {
            assert_eq!((named, failure.reason), (id, Reason::OutcomeUnknown));
        }
        other => panic!("it was sent: {other:?}"),
    }
    let failure = poll(&mut waits).expect("its time is over").expect_err("it was not sent");
    assert_eq!((failure.reason(), failure.class()), (Reason::NotSent, ErrorClass::Unavailable));
    assert!(poll(&mut patient).is_none());
    while log.step() {
        bench.step_owners();
    }
    poll(&mut patient).expect("the key is free").expect("the one before it was stored");
    assert_eq!(bench.values("a"), ["zero", "sent", "patient"]);
    assert_eq!(log.records(Partition(0)).len(), 3, "what was not sent will not be");
}

/// The same while the log is asked whether the aggregate exists.
#[tokio::test]
async fn an_append_whose_time_is_over_while_it_is_verified_was_not_sent() {
    let (_log, bench) = ready();
    let mut asking = begin(&bench, Append::at(key("a"), Order(3)).event("x").within(TIME));
    assert!(poll(&mut asking).is_none());
    bench.step_owner(0);
    assert!(poll(&mut asking).is_none(), "the log is asked first");
    tokio::time::sleep(2 * TIME).await;
    let failure = poll(&mut asking).expect("its time is over").expect_err("it was not sent");
    assert_eq!(failure.reason(), Reason::NotSent);
}
