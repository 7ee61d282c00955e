//! Append ids: a retry is known for one, by its content; whoever is asked, and whatever happened in between.

use crate::support::flawed::FlawedLog;
use crate::support::{Answer, Bench, poll};
use bkes_core::append_id::{AppendId, Identity};
use bkes_core::marker::ID_HEADER;
use bkes_core::{Key, Order, Partition};
use bkes_engine::{AppendError, AppendRequest, Appended, ErrorClass, EventContent, Expected, Header};
use bkes_storage::{RedbOptions, RedbStore, Store};
use bkes_testkit::log::SimulatedLog;
use bkes_testkit::store::SimulatedStore;
use bytes::Bytes;
use std::num::NonZeroU32;
use std::sync::Arc;

fn log() -> SimulatedLog {
    SimulatedLog::new("topic", NonZeroU32::MIN)
}

fn store() -> Arc<SimulatedStore> {
    Arc::new(SimulatedStore::new())
}

fn named(id: &str) -> Identity {
    Identity::of(AppendId::new(id.to_owned()).expect("it is short"))
}

fn events(values: &[&str]) -> Vec<EventContent> {
    values.iter().map(|value| Bytes::copy_from_slice(value.as_bytes()).into()).collect()
}

fn request(expected: Expected, identity: Identity, events: Vec<EventContent>) -> AppendRequest {
    let key = Key::new("a").expect("not empty");
    AppendRequest { key, expected, events, identity: Some(identity) }
}

fn begin(bench: &Bench, request: AppendRequest) -> Answer {
    let handle = bench.handle.clone();
    Box::pin(async move { handle.append(request).await })
}

fn append(bench: &mut Bench, request: AppendRequest) -> Result<Appended, AppendError> {
    let mut answer = begin(bench, request);
    match poll(&mut answer) {
        Some(answer) => answer,
        None => bench.answer(answer),
    }
}

fn at(order: u64) -> Expected {
    Expected::At(Order(order))
}

/// Fills the aggregate up to an order.
fn fill(bench: &mut Bench, next: u64) {
    let there = bench.read("a").map_or(0, |read| read.next.0);
    for order in there..next {
        bench.put("a", order, "filler").expect("accepted");
    }
}

#[test]
fn a_retry_has_the_answer_of_the_try_that_was_stored() {
    let mut bench = Bench::ready(log(), store());
    for (order, expected) in [Expected::New, at(1), Expected::Exists, Expected::Any].into_iter().enumerate() {
        let request = request(expected, named(&format!("id-{order}")), events(&["one", "two"]));
        let request = if expected == at(1) { AppendRequest { expected: at(2), ..request } } else { request };
        let first = append(&mut bench, request.clone()).expect("accepted");
        assert!(!first.by_earlier_try);
        assert_eq!((first.first, first.last), (Order(2 * order as u64), Order(2 * order as u64 + 1)));
        assert_eq!((first.first_offset.0, first.offset.0), (2 * order as u64, 2 * order as u64 + 1));
        for _ in 0..2 {
            let again = append(&mut bench, request.clone()).expect("it is stored");
            assert_eq!(again, Appended { by_earlier_try: true, ..first }, "{expected:?}");
            bench.run(500);
        }
    }
    assert_eq!(bench.count("a"), Ok(8), "each once");
    assert_eq!(bench.handle.status().conflicts, 0);
}

#[test]
fn another_append_under_the_same_id_is_refused_with_its_place() {
    let mut bench = Bench::ready(log(), store());
    let header = |value: &'static [u8]| Header { name: "h".into(), value: Some(Bytes::from_static(value)) };
    let content = |value: Option<&'static [u8]>, headers: Vec<Header>| EventContent {
        value: value.map(Bytes::from_static),
        headers,
    };
    let stored = vec![content(Some(b"v"), vec![header(b"1")]), content(None, Vec::new())];
    append(&mut bench, request(Expected::New, named("x"), stored.clone())).expect("accepted");
    let others = [
        vec![stored[0].clone()],
        vec![stored[0].clone(), content(Some(b""), Vec::new())],
        vec![content(Some(b"w"), vec![header(b"1")]), stored[1].clone()],
        vec![content(Some(b"v"), vec![header(b"2")]), stored[1].clone()],
        vec![content(Some(b"v"), Vec::new()), stored[1].clone()],
        vec![content(Some(b"v"), vec![header(b"1"), header(b"1")]), stored[1].clone()],
        [stored.clone(), stored.clone()].concat(),
    ];
    for other in others {
        for expected in [Expected::New, Expected::Any, Expected::Exists] {
            let refused = append(&mut bench, request(expected, named("x"), other.clone()));
            let id = AppendId::new("x").expect("it is short");
            assert_eq!(refused, Err(AppendError::IdReused { id, first: Order(0) }), "{other:?}");
        }
    }
    let anew =
        append(&mut bench, request(at(2), named("x"), stored.clone())).expect_err("it was carried out");
    let AppendError::IdUsed { first: Order(0), partition: Partition(0), .. } = anew else { panic!("{anew}") };
    assert_eq!(anew.class(), ErrorClass::Rejected);
    assert!(
        append(&mut bench, request(Expected::New, named("x"), stored))
            .expect("it is this one")
            .by_earlier_try
    );
    assert_eq!(bench.count("a"), Ok(2));
}

#[test]
fn an_append_without_an_order_needs_an_id() {
    let mut bench = Bench::ready(log(), store());
    for expected in [Expected::Any, Expected::Exists] {
        let request = AppendRequest { identity: None, ..request(expected, named("x"), events(&["v"])) };
        assert_eq!(append(&mut bench, request), Err(AppendError::NeedsId));
    }
    let absent = append(&mut bench, request(Expected::Exists, named("x"), events(&["v"])));
    assert!(matches!(absent, Err(AppendError::NoSuchAggregate { .. })), "{absent:?}");
    let reserved =
        EventContent { value: None, headers: vec![Header { name: "bkes-id".into(), value: None }] };
    let reserved = append(&mut bench, request(Expected::New, named("x"), vec![reserved]));
    assert!(matches!(reserved, Err(AppendError::ReservedHeader { .. })), "{reserved:?}");
    assert_eq!(bench.values("a"), [""; 0]);
}

/// The id is kept with the event: in what is not committed, in the store, in a rebuilt one, and for every instance.
#[test]
fn an_id_holds_after_restarts_and_rebuilds_and_on_every_instance() {
    let directory = tempfile::tempdir().expect("a directory");
    let open = || -> Arc<dyn Store> {
        let options = RedbOptions { directory: directory.path().join("store"), cache_bytes: 1024 * 1024 };
        Arc::new(RedbStore::open(&options).expect("it opens").store)
    };
    let log = log();
    let mut bench = Bench::ready(log.clone(), open());
    // Larger than what is looked at.
    let batch: Vec<String> = (0..200).map(|n| format!("event {n}")).collect();
    let batch =
        request(Expected::Any, named("batch"), events(&batch.iter().map(String::as_str).collect::<Vec<_>>()));
    let stored = append(&mut bench, batch.clone()).expect("accepted");
    fill(&mut bench, 210);
    let again = Ok(Appended { by_earlier_try: true, ..stored });
    assert_eq!(append(&mut bench, batch.clone()), again, "of what is applied");
    bench.run(3_000);
    assert_eq!(append(&mut bench, batch.clone()), again, "of what is committed");
    drop(bench);
    let mut restarted = Bench::ready(log.clone(), open());
    assert_eq!(append(&mut restarted, batch.clone()), again, "after a restart");
    drop(restarted);
    let mut other = Bench::ready(log, store());
    assert_eq!(append(&mut other, batch), again, "on another instance, which read the log");
    assert_eq!(other.count("a"), Ok(210));
}

/// An instance that has not read the first try yet sends the second: that one is void, and compared.
#[test]
fn two_copies_in_flight_on_two_instances_are_one_append() {
    for expected in [Expected::New, Expected::Any] {
        let log = FlawedLog::new(1);
        let (mut one, mut two) = (Bench::ready(log.clone(), store()), Bench::ready(log.clone(), store()));
        // Both say that they are the first, as copies on the way do: what is unknown here is not asked for.
        let identity = Identity { is_first: true, ..named("x") };
        let request = request(expected, identity, events(&["v"]));
        let (mut first, mut second) = (begin(&one, request.clone()), begin(&two, request));
        assert!(poll(&mut first).is_none() && poll(&mut second).is_none());
        one.step_owner(0);
        log.flaws().unread = [Partition(0)].into();
        two.step_owner(0);
        log.flaws().unread.clear();
        let (first, second) = (one.answer(first).expect("stored"), two.answer(second).expect("stored"));
        assert_eq!((first.first, second.first, first.offset), (Order(0), Order(0), second.offset));
        assert!(!first.by_earlier_try && second.by_earlier_try, "{expected:?}");
        two.run(100);
        assert_eq!(two.handle.status().partitions[0].counters.void, 1, "it was sent twice");
        assert_eq!(two.values("a"), ["v"]);
        assert_eq!(two.handle.status().conflicts, 0);
    }
}

/// Others are faster: it goes to the next order, looks for its id among what came meanwhile, and is stored once. What it has looked at
/// before counts, though the window has moved on.
#[test]
fn an_append_without_an_order_goes_on_where_others_took_its_place() {
    let log = FlawedLog::new(1);
    let (mut one, mut two) = (Bench::ready(log.clone(), store()), Bench::ready(log.clone(), store()));
    fill(&mut one, 128);
    two.run(100);
    for order in 128..131 {
        one.put("a", order, "another").expect("accepted");
    }
    // It has read the first 128 events only.
    log.flaws().unread = [Partition(0)].into();
    let mut answer = begin(&two, request(Expected::Exists, named("x"), events(&["mine"])));
    assert!(poll(&mut answer).is_none());
    two.step_owner(0);
    log.flaws().unread.clear();
    assert_eq!(two.answer(answer).expect("stored").first, Order(131));
    assert_eq!(
        two.handle.status().partitions[0].counters.void,
        1,
        "it was sent where another one came first"
    );
    assert_eq!(two.values("a").iter().filter(|value| *value == "mine").count(), 1);
}

/// An instance that has not read the first try yet reads it before it sends the second.
#[test]
fn a_retry_of_an_unknown_key_is_looked_for_in_all_that_the_log_holds() {
    for expected in [Expected::New, Expected::Any] {
        let log = FlawedLog::new(3);
        let (mut one, mut two) = (Bench::ready(log.clone(), store()), Bench::ready(log.clone(), store()));
        let request = request(expected, named("x"), events(&["v"]));
        let stored = append(&mut one, request.clone()).expect("stored");
        log.flaws().unread = [0, 1, 2].map(Partition).into();
        let mut again = begin(&two, request);
        assert!(poll(&mut again).is_none());
        two.step_owner(0);
        log.flaws().unread.clear();
        assert_eq!(two.answer(again), Ok(Appended { by_earlier_try: true, ..stored }), "{expected:?}");
        let void: u64 = two.handle.status().partitions.iter().map(|state| state.counters.void).sum();
        assert_eq!(void, 0, "nothing was sent");
    }
}

/// The answer was lost: whoever asks again is told the truth.
#[test]
fn a_retry_after_an_unknown_outcome_is_settled() {
    let log = log();
    let mut bench = Bench::ready(log.clone(), store());
    for (order, expected) in [Expected::New, Expected::Exists, Expected::Any].into_iter().enumerate() {
        let again = request(expected, named(&format!("id-{order}")), events(&["v"]));
        let identity = again.identity.clone().map(|identity| Identity { is_first: true, ..identity });
        let mut answer = begin(&bench, AppendRequest { identity, ..again.clone() });
        assert!(poll(&mut answer).is_none());
        bench.step_owners();
        // The caller goes away, and the instance dies: what it sent is in the log.
        drop(answer);
        drop(bench);
        bench = Bench::ready(log.clone(), store());
        let again = append(&mut bench, again).expect("it was stored");
        assert!(again.by_earlier_try, "{expected:?}");
        assert_eq!(again.first, Order(order as u64));
    }
    assert_eq!(bench.count("a"), Ok(3));
}

/// A header of another writer's is a header.
#[test]
fn only_what_bkes_wrote_has_an_id() {
    let log = log();
    let mut bench = Bench::ready(log.clone(), store());
    let key = Some(Bytes::from_static(b"a"));
    let header = Header { name: Bytes::from_static(ID_HEADER), value: Some("x".into()) };
    log.append_foreign(Partition(0), key, Some("v".into()), vec![header]);
    bench.run(100);
    let stored =
        append(&mut bench, request(Expected::Any, named("x"), events(&["v"]))).expect("it is another one");
    assert_eq!((stored.first, stored.by_earlier_try), (Order(1), false));
}

#[test]
fn what_lies_below_the_window_is_unknown_unless_it_was_said_how_far_the_aggregate_was() {
    let mut bench = Bench::ready(log(), store());
    fill(&mut bench, 10);
    let any = |identity| request(Expected::Any, identity, events(&["v"]));
    let stored = append(&mut bench, any(named("x"))).expect("accepted");
    fill(&mut bench, 11 + 128);
    let lost = append(&mut bench, any(named("x"))).expect_err("it is out of sight");
    assert!(matches!(lost, AppendError::IdWindow { from: Order(11), .. }), "{lost}");
    assert_eq!(lost.class(), ErrorClass::Unknown);
    let seen = Identity { seen: Some(Order(10)), ..named("x") };
    let found = append(&mut bench, any(seen)).expect("it is found");
    assert_eq!(found, Appended { by_earlier_try: true, ..stored });
    let fresh = Identity { seen: Some(Order(100)), ..named("y") };
    assert_eq!(append(&mut bench, any(fresh)).expect("it is not there").first, Order(139));
    let first = Identity { is_first: true, ..named("z") };
    assert_eq!(append(&mut bench, any(first)).expect("it is the first").first, Order(140));
}
