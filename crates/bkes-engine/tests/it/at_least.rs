//! Reads that are at least as fresh as given positions: engines stepped by hand, on one log.

use crate::support::flawed::FlawedLog;
use crate::support::watched::Watched;
use crate::support::{Bench, Reading, poll};
use bkes_api::{EventStore, Failure, Read, ReadMany, Reason};
use bkes_core::{Key, Offset, Order, Partition, Position};
use bkes_engine::assembly::begin_stop;
use bkes_engine::{
    Appended, EngineHandle, Expected, Freshness, KeysRequest, Positions, PositionsError, ReadError,
    ReadRequest, TopicId, Unready,
};
use bkes_testkit::store::SimulatedStore;
use std::sync::Arc;
use std::sync::mpsc::channel;
use std::thread;

const ZERO: Partition = Partition(0);

fn key(name: &str) -> Key {
    Key::new(name.to_owned()).expect("not empty")
}

fn instance(log: &FlawedLog) -> Bench {
    let bench = Bench::ready(log.clone(), Arc::new(SimulatedStore::new()));
    log.flaws().asked.clear();
    log.flaws().asked_marks.clear();
    bench
}

fn positions(of: &[(u32, u64)]) -> Positions {
    let of = of.iter().map(|(partition, position)| (Partition(*partition), Position(*position))).collect();
    Positions { topic: None, of }
}

/// Where an append is seen.
fn after(appended: Appended) -> Positions {
    Positions { topic: None, of: vec![(appended.partition, appended.offset.next())] }
}

fn read(bench: &Bench, name: &str, at_least: &Positions) -> Reading {
    let freshness = Freshness::AtLeast(at_least.clone());
    let (handle, request) = (bench.handle.clone(), ReadRequest { freshness, ..ReadRequest::all(key(name)) });
    Box::pin(async move { handle.read(request).await })
}

/// One that has begun, and waits.
fn waiting(bench: &Bench, name: &str, at_least: &Positions) -> Reading {
    let mut reading = read(bench, name, at_least);
    let answer = count(&mut reading);
    assert!(answer.is_none(), "{answer:?}");
    reading
}

/// How many events a read shows, if it is answered.
fn count(reading: &mut Reading) -> Option<Result<usize, ReadError>> {
    poll(reading).map(|answer| answer.map(|events| events.events.len()))
}

#[test]
fn the_position_of_an_append_is_read_on_another_instance() {
    let log = FlawedLog::new(1);
    let (mut one, two) = (instance(&log), instance(&log));
    one.put("a", 0, "zero").expect("accepted");
    let place = after(one.put("b", 0, "zero").expect("accepted"));
    log.flaws().asked_marks.clear();
    let mut reads = [read(&two, "a", &place), read(&two, "b", &place)];
    let freshness = || Freshness::AtLeast(place.clone());
    let (handle, request) =
        (two.handle.clone(), KeysRequest { freshness: freshness(), ..KeysRequest::default() });
    let mut keys = Box::pin(async move { handle.keys(request).await });
    let (handle, fresh) = (two.handle.clone(), freshness());
    let mut head = Box::pin(async move { handle.head(key("a"), fresh).await });
    assert!(reads.iter_mut().all(|read| count(read).is_none()) && poll(&mut keys).is_none());
    assert!(poll(&mut head).is_none());
    two.step_verifier();
    assert_eq!(log.flaws().asked_marks, [[ZERO]], "they share a question");
    assert!(reads.iter_mut().all(|read| count(read).is_none()), "what the log holds is not applied yet");
    two.step_owner(0);
    assert_eq!(reads.each_mut().map(count), [Some(Ok(1)), Some(Ok(1))]);
    assert_eq!(poll(&mut keys).expect("answered").expect("it is listed").keys.len(), 2);
    assert_eq!(poll(&mut head).expect("answered").expect("it is there").next, Order(1));
    assert!(log.flaws().asked.is_empty(), "nothing was to be denied");
    // What is applied needs no question, and neither does nothing at all.
    assert_eq!(count(&mut read(&two, "a", &place)), Some(Ok(1)));
    assert_eq!(count(&mut read(&two, "a", &positions(&[]))), Some(Ok(1)));
    assert_eq!(log.flaws().asked_marks.len(), 1);
    // That there is no such aggregate is no matter of positions: it is asked for as ever.
    let mut nowhere = waiting(&two, "nowhere", &place);
    two.step_verifier();
    assert_eq!(count(&mut nowhere), Some(Err(ReadError::NoSuchAggregate { key: key("nowhere") })));
}

/// The question may take longer than our reader; and it does not matter then that nobody answers.
#[test]
fn what_is_applied_meanwhile_needs_no_answer_of_the_log() {
    let log = FlawedLog::new(1);
    let (mut one, two) = (instance(&log), instance(&log));
    let place = after(one.put("a", 0, "zero").expect("accepted"));
    let mut reading = waiting(&two, "a", &place);
    two.step_owner(0);
    assert_eq!(count(&mut reading), Some(Ok(1)));
}

/// Only the partitions that are named are waited for, and each to its own position.
#[test]
fn other_partitions_are_not_waited_for() {
    let log = FlawedLog::new(3);
    let two = instance(&log);
    for partition in [0, 1, 2] {
        let name = format!("foreign-{partition}");
        log.log.append_foreign(Partition(partition), Some(name.into()), Some("zero".into()), Vec::new());
    }
    log.flaws().unread = [Partition(2)].into();
    let mut reading = read(&two, "foreign-0", &positions(&[(0, 1), (1, 1)]));
    let mut held = read(&two, "foreign-0", &positions(&[(0, 1), (2, 1)]));
    assert!(count(&mut reading).is_none() && count(&mut held).is_none());
    two.step_owner(0);
    assert_eq!(count(&mut reading), Some(Ok(1)));
    assert!(count(&mut held).is_none(), "also where the aggregate itself lies elsewhere");
    log.flaws().unread.clear();
    two.step_owner(0);
    assert_eq!(count(&mut held), Some(Ok(1)));
}

/// The board knows of the end what the monitor saw last: it is asked before a position is said to lie above it.
#[test]
fn positions_above_the_end_are_out_of_range_and_not_waited_for() {
    let log = FlawedLog::new(2);
    let (mut one, two) = (instance(&log), instance(&log));
    let appended = one.put("a", 0, "zero").expect("accepted");
    let (partition, high) = (appended.partition, appended.offset.next());
    let above = Positions { topic: None, of: vec![(partition, Position(high.0 + 1))] };
    // It may be written since the last look.
    let mut reading = waiting(&two, "a", &above);
    two.step_verifier();
    let refused = PositionsError::AboveEnd { partition, position: Position(high.0 + 1), high };
    assert_eq!(count(&mut reading), Some(Err(ReadError::Positions(refused))));

    // The topic may have grown.
    let mut nowhere = waiting(&two, "a", &positions(&[(7, 0)]));
    two.step_verifier();
    let refused = PositionsError::NoSuchPartition { partition: Partition(7) };
    assert_eq!(count(&mut nowhere), Some(Err(ReadError::Positions(refused))));

    log.log.add_partitions(1);
    log.log.append_foreign(Partition(2), Some("new".into()), Some("zero".into()), Vec::new());
    let mut grown = waiting(&two, "new", &positions(&[(2, 1)]));
    two.step_verifier();
    assert!(count(&mut grown).is_none());
    two.step_owner(0);
    two.step_owner(0);
    assert_eq!(count(&mut grown), Some(Ok(1)));
}

#[test]
fn positions_of_another_topic_are_refused() {
    let log = FlawedLog::new(1);
    let bench = instance(&log);
    log.log.append_foreign(ZERO, Some("a".into()), Some("zero".into()), Vec::new());
    bench.step_owner(0);
    let of = |topic: &str| Positions { topic: Some(TopicId::new(topic)), ..positions(&[(0, 1)]) };
    assert_eq!(count(&mut read(&bench, "a", &of("topic-1"))), Some(Ok(1)));
    let refused = PositionsError::Foreign { given: TopicId::new("topic-0"), own: TopicId::new("topic-1") };
    assert_eq!(count(&mut read(&bench, "a", &of("topic-0"))), Some(Err(ReadError::Positions(refused))));
}

/// Applied and decided are two words. A batch lies where its last member lies: below a position in its middle there is no event of it,
/// so nothing of it is waited for, and nothing shown.
#[test]
fn of_a_batch_all_events_or_none_lie_below_a_position() {
    let log = FlawedLog::new(1);
    let (mut one, two) = (instance(&log), instance(&log));
    one.put("a", 0, "zero").expect("accepted");
    let batch = one.append("a", Expected::At(Order(1)), &["one", "two", "three"]);
    let appended = one.answer(batch).expect("accepted");
    assert_eq!(appended.offset, Offset(3));
    log.flaws().unread_from = Some((ZERO, Offset(3)));
    let mut reads: Vec<Reading> = (0..=4).map(|at| read(&two, "a", &positions(&[(0, at)]))).collect();
    // The first two members are applied, and the batch is open.
    two.step_owner(0);
    assert_eq!(two.handle.status().partitions[0].applied, Position(3));
    let mut counts: Vec<_> = reads.iter_mut().map(count).collect();
    assert_eq!(counts.pop(), Some(None), "position 4 covers the batch, which is not decided");
    assert_eq!(counts, vec![Some(Ok(1)); 4]);
    log.flaws().unread_from = None;
    two.step_owner(0);
    assert_eq!(count(&mut reads[4]), Some(Ok(4)));
}

/// A partition of which the log lost its end is read anew. Before it is caught up its positions are not reached, although the number on
/// the board may be as high.
#[test]
fn while_a_partition_begins_anew_its_positions_are_not_reached() {
    let log = FlawedLog::new(1);
    let mut bench = instance(&log);
    let foreign =
        |value: String| log.log.append_foreign(ZERO, Some("a".into()), Some(value.into()), Vec::new());
    for n in 0..6 {
        foreign(format!("lost {n}"));
    }
    bench.run(1_000);
    assert_eq!(bench.count("a"), Ok(6));
    log.log.truncate(ZERO, Position(3));
    for n in 0..9 {
        foreign(format!("new {n}"));
    }
    let (mut reads, mut waited, mut away) = (Vec::new(), 0, 0);
    for _ in 0..3_000 {
        reads.push((bench.now(), read(&bench, "a", &positions(&[(0, 12)]))));
        bench.run(1);
        let now = bench.now();
        reads.retain_mut(|(since, reading)| match count(reading) {
            None => true,
            Some(Ok(shown)) => {
                assert_eq!(shown, 12, "of the log as it is");
                waited += usize::from(now - *since > 1);
                false
            }
            Some(Err(error)) => {
                assert!(matches!(error, ReadError::Unavailable(Unready::Degraded { .. })), "{error:?}");
                away += 1;
                false
            }
        });
    }
    assert!(reads.is_empty(), "all are answered");
    assert!(waited + away > 0, "the loss was not noticed");
}

/// A store that was thrown away: nothing degrades the partition, and its fold begins at nothing.
#[test]
fn a_fold_that_begins_at_nothing_is_waited_for() {
    let log = FlawedLog::new(1);
    let store = Arc::new(SimulatedStore::new());
    let mut bench = Bench::ready(log.clone(), store.clone());
    for n in 0..6 {
        log.log.append_foreign(ZERO, Some("a".into()), Some(n.to_string().into()), Vec::new());
    }
    bench.run(1_000);
    store.damage("a page");
    assert!(bench.read("a").is_err(), "it meets the damage");
    log.flaws().unread = [ZERO].into();
    bench.run(100);
    // The board says 6 of a fold that is over, or nothing.
    let mut reading = waiting(&bench, "a", &positions(&[(0, 6)]));
    bench.run(11_000);
    let late = count(&mut reading);
    assert!(
        matches!(late, Some(Err(ReadError::Unavailable(Unready::CatchingUp { applied: 0, .. })))),
        "{late:?}"
    );
    let mut reading = waiting(&bench, "a", &positions(&[(0, 6)]));
    log.flaws().unread.clear();
    bench.run(1_000);
    assert_eq!(count(&mut reading), Some(Ok(6)));
}

/// An aggregate in two partitions, of which the first is read anew and does not come.
fn split() -> (FlawedLog, Arc<Watched>, Bench) {
    let (log, store) = (FlawedLog::new(2), Arc::new(Watched::default()));
    let mut bench = Bench::ready(log.clone(), store.clone());
    for (partition, value) in [(0, "0/0"), (0, "0/1"), (1, "1/0")] {
        log.log.append_foreign(Partition(partition), Some("a".into()), Some(value.into()), Vec::new());
    }
    bench.run(1_000);
    assert_eq!(bench.count("a"), Ok(3));
    (log, store, bench)
}

/// Whoever found the part that is left took it for the whole.
#[test]
fn what_was_waited_for_and_is_read_anew_is_waited_for_again() {
    let (log, store, mut bench) = split();
    let wanted = positions(&[(0, 3)]);
    let mut reading = waiting(&bench, "a", &wanted);
    let (latest, key_list) = (Freshness::Latest, bench.handle.clone());
    let latest = ReadRequest { freshness: latest, ..ReadRequest::all(key("a")) };
    let handle = bench.handle.clone();
    let mut latest: Reading = Box::pin(async move { handle.read(latest).await });
    assert!(count(&mut latest).is_none(), "it asks the log");
    let freshness = Freshness::AtLeast(wanted.clone());
    let mut listing =
        Box::pin(async move { key_list.keys(KeysRequest { freshness, ..KeysRequest::default() }).await });
    assert!(poll(&mut listing).is_none(), "it waits");
    log.log.append_foreign(ZERO, Some("a".into()), Some("0/2".into()), Vec::new());
    bench.run(10);
    // All of them have what they waited for, and do not know it yet.
    store.inner.damage("a page");
    assert!(bench.read("a").is_err(), "it meets the damage");
    log.flaws().unread = [ZERO].into();
    bench.run_until("the other partition is there", |bench| bench.count("a") == Ok(1));
    assert_eq!(count(&mut reading), None);
    assert_eq!(count(&mut latest), None);
    assert!(poll(&mut listing).is_none());
    log.flaws().unread.clear();
    bench.run(1_000);
    assert_eq!(count(&mut reading), Some(Ok(4)));
    assert_eq!(count(&mut latest), Some(Ok(4)));
    assert_eq!(poll(&mut listing).expect("it is there").expect("it is there").keys[0].next, Order(4));
}

/// What was there when it was waited for is gone when it is looked up.
#[test]
fn what_is_read_anew_while_it_is_looked_up_is_not_left_out() {
    type Call = Box<dyn FnOnce(EngineHandle, Freshness) -> Option<Reason> + Send>;
    let failed = |failure: Failure| failure.reason;
    let calls: [(&str, Call); 4] = [
        (
            "read",
            Box::new(move |handle, freshness| {
                let mut read = Box::pin(handle.read(ReadRequest { freshness, ..ReadRequest::all(key("a")) }));
                let refused = poll(&mut read).expect("nothing is missing").err()?;
                assert!(matches!(refused, ReadError::Unavailable(Unready::CatchingUp { .. })), "{refused:?}");
                Some(Reason::CatchingUp)
            }),
        ),
        (
            "head",
            Box::new(move |handle, freshness| {
                poll(&mut EventStore::head(&handle, key("a"), freshness)).expect("at once").err().map(failed)
            }),
        ),
        (
            "read in pages",
            Box::new(move |handle, freshness| {
                let read = Read { part_by_part: true, freshness, ..Read::all(key("a")) };
                poll(&mut EventStore::read(&handle, read)).expect("at once").err().map(failed)
            }),
        ),
        (
            "read of many",
            Box::new(move |handle, freshness| {
                let (from, with_headers) = (Order(0), true);
                let many = ReadMany { keys: vec![key("a")], from, limit: 9, freshness, with_headers };
                poll(&mut EventStore::read_many(&handle, many)).expect("at once").err().map(failed)
            }),
        ),
    ];
    for (name, call) in calls {
        let (log, store, mut bench) = split();
        let ((looks_up, is_looking), (goes_on, may_go_on)) = (channel(), channel());
        *store.before_heads.lock().expect("no panic") = Some(Box::new(move || {
            looks_up.send(()).expect("somebody waits for this");
            may_go_on.recv().expect("the engine has stepped");
        }));
        let (handle, freshness) = (bench.handle.clone(), Freshness::AtLeast(positions(&[(0, 2)])));
        let calling = thread::spawn(move || call(handle, freshness));
        is_looking.recv().expect("it looks it up");
        store.inner.damage("a page");
        assert!(bench.read("a").is_err(), "it meets the damage");
        log.flaws().unread = [ZERO].into();
        bench.run_until("the other partition is there", |bench| bench.count("a") == Ok(1));
        goes_on.send(()).expect("it waits for this");
        assert_eq!(calling.join().expect("no panic"), Some(Reason::CatchingUp), "{name}");
    }
}

/// What is said at the end of ten seconds tells why.
#[test]
fn what_is_not_applied_in_time_is_unavailable_for_its_reason() {
    let log = FlawedLog::new(1);
    let (mut one, mut two) = (instance(&log), instance(&log));
    let place = after(one.put("a", 0, "zero").expect("accepted"));
    log.flaws().unread = [ZERO].into();
    let mut reading = waiting(&two, "a", &place);
    two.run(9_900);
    assert!(count(&mut reading).is_none(), "it may come yet");
    two.run(200);
    let late = count(&mut reading);
    assert!(
        matches!(late, Some(Err(ReadError::Unavailable(Unready::Lagging { lag_ms: 10_000.., .. })))),
        "{late:?}"
    );
    log.flaws().unread.clear();
    two.run(10);

    // Nobody says whether the log holds as much.
    log.flaws().leaderless = [ZERO].into();
    let mut reading = waiting(&two, "a", &positions(&[(0, 5)]));
    two.run(10_100);
    let late = count(&mut reading);
    assert!(
        matches!(&late, Some(Err(ReadError::Unavailable(Unready::Unverified { cause })))
            if cause.to_string().contains("no leader")),
        "{late:?}"
    );
    log.flaws().leaderless.clear();
    two.run(2_000);

    let transaction = log.log.begin();
    log.log.append_in(transaction, ZERO, "b".into(), "zero".into());
    let mut reading = waiting(&two, "b", &positions(&[(0, 2)]));
    two.run(10_100);
    let late = count(&mut reading);
    let stalled = Unready::Stalled { partition: ZERO, stable: Position(1), high: Position(2) };
    assert_eq!(late, Some(Err(ReadError::Unavailable(stalled))));
    let mut reading = waiting(&two, "b", &positions(&[(0, 2)]));
    two.run(100);
    assert!(count(&mut reading).is_none());
    log.log.end(transaction, true);
    two.run(100);
    assert_eq!(count(&mut reading), Some(Ok(1)));
}

#[test]
fn of_a_degraded_partition_no_position_is_waited_for() {
    let log = FlawedLog::new(1);
    let mut bench = instance(&log);
    log.flaws().damaged = Some((ZERO, Offset(0)));
    let early = waiting(&bench, "a", &positions(&[(0, 1)]));
    log.log.append_foreign(ZERO, Some("a".into()), Some("zero".into()), Vec::new());
    bench.run(10);
    for mut reading in [early, read(&bench, "a", &positions(&[(0, 1)]))] {
        let answer = count(&mut reading);
        assert!(matches!(answer, Some(Err(ReadError::Unavailable(Unready::Degraded { .. })))), "{answer:?}");
    }
}

#[test]
fn a_stop_answers_those_who_wait_for_positions() {
    let log = FlawedLog::new(1);
    let (mut one, two) = (instance(&log), instance(&log));
    let place = after(one.put("a", 0, "zero").expect("accepted"));
    let mut readings = [read(&two, "a", &place), read(&two, "a", &positions(&[(0, 9)]))];
    assert!(readings.iter_mut().all(|reading| count(reading).is_none()));
    two.step_verifier();
    begin_stop(&two.handle, two.now());
    let stopped = || Err(ReadError::Unavailable(Unready::ShuttingDown));
    assert_eq!(count(&mut readings[0]), Some(stopped()));
    let above = count(&mut readings[1]);
    let is_above = matches!(above, Some(Err(ReadError::Positions(PositionsError::AboveEnd { .. }))));
    assert!(is_above || above == Some(stopped()), "{above:?}");
    assert_eq!(count(&mut read(&two, "a", &place)), Some(stopped()), "whoever comes late is told at once");
}

#[test]
fn those_who_wait_for_positions_are_bounded_and_whoever_goes_away_makes_room() {
    let log = FlawedLog::new(1);
    let (mut one, mut two) = (instance(&log), instance(&log));
    let place = after(one.put("a", 0, "zero").expect("accepted"));
    log.flaws().unread = [ZERO].into();
    two.step_monitor();
    two.step_owners();
    let mut readings: Vec<Reading> = (0..10_000).map(|_| read(&two, "a", &place)).collect();
    assert!(readings.iter_mut().all(|reading| count(reading).is_none()));
    let refused = count(&mut read(&two, "a", &place));
    assert!(matches!(refused, Some(Err(ReadError::Unavailable(Unready::Overloaded { .. })))), "{refused:?}");
    readings.truncate(9_999);
    readings.push(read(&two, "a", &place));
    assert!(count(&mut readings[9_999]).is_none(), "there is room again");
    log.flaws().unread.clear();
    two.run(1);
    assert!(readings.iter_mut().all(|reading| count(reading) == Some(Ok(1))));
}
