//! Streams of appends: many at a time, one after the other for each key, bounded, and withdrawn when nobody waits.

use crate::support::Bench;
use crate::support::face::{Feed, key, poll_stream};
use bkes_api::{Append, AppendFailure, ErrorClass, EventStore, Order, Reason, TaggedAnswer, TaggedAppend};
use bkes_core::Partition;
use bkes_engine::{Engine, EngineOptions};
use bkes_storage::MemoryStore;
use bkes_testkit::log::{Faults, SimulatedLog};
use std::collections::BTreeMap;
use std::num::NonZeroU32;
use std::sync::Arc;
use std::time::Duration;
use tokio_stream::StreamExt;

const IN_FLIGHT_MAX: usize = 1_024;

fn ready() -> (SimulatedLog, Bench) {
    let log = SimulatedLog::new("topic", NonZeroU32::MIN);
    let bench = Bench::ready(log.clone(), Arc::new(MemoryStore::new()));
    (log, bench)
}

/// The same on a log that delivers when it is stepped.
fn held() -> (SimulatedLog, Bench) {
    let (log, bench) = ready();
    log.set_faults(Faults { delayed: 1_000, ..Faults::default() });
    (log, bench)
}

fn tagged(tag: u64, append: Append) -> TaggedAppend {
    TaggedAppend { tag, append, stands_alone: false }
}

fn alone(tag: u64, append: Append) -> TaggedAppend {
    TaggedAppend { stands_alone: true, ..tagged(tag, append) }
}

fn at(name: &str, order: u64) -> Append {
    Append::at(key(name), Order(order)).event(format!("{name} {order}"))
}

/// What became of each, by tag.
fn by_tag(answers: Vec<TaggedAnswer>) -> BTreeMap<u64, Result<u64, Reason>> {
    let count = answers.len();
    let of = |answer: TaggedAnswer| {
        (answer.tag, answer.answer.map(|stored| stored.last.0).map_err(|failure| failure.reason()))
    };
    let answers: BTreeMap<_, _> = answers.into_iter().map(of).collect();
    assert_eq!(answers.len(), count, "each is answered once");
    answers
}

#[test]
fn appends_of_many_keys_are_on_their_way_together_and_each_is_answered_by_its_tag() {
    let (log, mut bench) = held();
    let mut feed = Feed::new(&mut bench);
    for tag in 0..256 {
        feed.send(tagged(tag, at(&format!("key-{tag}"), 0)));
    }
    assert!(feed.answered().is_empty());
    bench.step_owners();
    assert_eq!(log.on_the_way(), 256);
    while log.step() {
        bench.step_owners();
    }
    let answers = by_tag(feed.answered());
    assert_eq!(answers, (0..256).map(|tag| (tag, Ok(0))).collect());
    assert!(feed.end(&mut bench).is_empty(), "and it ends");
}

#[test]
fn appends_of_one_key_wait_for_each_other() {
    let (log, mut bench) = held();
    let mut feed = Feed::new(&mut bench);
    for order in 0..50 {
        feed.send(tagged(order, at("a", order)));
    }
    let mut answers = Vec::new();
    for order in 0..50 {
        answers.extend(feed.answered());
        bench.step_owners();
        assert_eq!((answers.len(), log.on_the_way()), (order, 1));
        assert!(log.step());
        bench.step_owners();
    }
    answers.extend(feed.answered());
    assert_eq!(by_tag(answers), (0..50).map(|order| (order, Ok(order))).collect());
}

/// Others have taken the order of the first: the second names an order that would fit by now, and rests on what was never stored.
#[test]
fn what_rests_on_an_append_that_was_not_stored_is_not_sent() {
    let (log, mut bench) = ready();
    bench.put("a", 0, "of another writer").expect("accepted");
    let feed = Feed::new(&mut bench);
    feed.send(tagged(1, at("a", 0)));
    feed.send(tagged(2, at("a", 1)));
    feed.send(tagged(3, at("a", 2)));
    feed.send(tagged(4, at("b", 0)));
    feed.send(alone(5, at("a", 1)));
    feed.send(tagged(6, at("a", 2)));
    let answers = feed.end(&mut bench);
    let predecessor = answers.iter().find(|answer| answer.tag == 2).expect("answered").answer.clone();
    assert_eq!(predecessor.expect_err("it was not sent").class(), ErrorClass::Rejected);
    let failed = Err(Reason::PredecessorFailed);
    let expected =
        [(1, Err(Reason::AlreadyExists)), (2, failed), (3, failed), (4, Ok(0)), (5, Ok(1)), (6, Ok(2))];
    assert_eq!(by_tag(answers), expected.into());
    assert_eq!(bench.values("a"), ["of another writer", "a 1", "a 2"]);
    assert_eq!(log.records(Partition(0)).len(), 4, "nothing else was sent");
}

/// The same when the failure was answered before the next one came: what it rests on does not depend on who was faster.
#[test]
fn a_key_whose_append_was_not_stored_stays_failed_until_one_that_stands_alone_is_stored() {
    let (_log, mut bench) = ready();
    bench.put("a", 0, "of another writer").expect("accepted");
    let mut feed = Feed::new(&mut bench);
    let mut ask = |append| {
        feed.send(append);
        let answer = bench.next(&mut feed.answers).expect("it is answered");
        answer.answer.map(|stored| stored.last.0).map_err(|failure| failure.reason())
    };
    assert_eq!(ask(tagged(1, at("a", 0))), Err(Reason::AlreadyExists));
    assert_eq!(ask(tagged(2, at("a", 1))), Err(Reason::PredecessorFailed));
    assert_eq!(ask(alone(3, at("a", 0))), Err(Reason::AlreadyExists));
    assert_eq!(ask(tagged(4, at("a", 1))), Err(Reason::PredecessorFailed));
    assert_eq!(ask(alone(5, at("a", 1))), Ok(1));
    assert_eq!(ask(tagged(6, at("a", 2))), Ok(2));
}

/// It may be stored, and what comes next must not rest on that.
#[test]
fn what_rests_on_an_append_of_unknown_outcome_is_not_sent() {
    let (log, mut bench) = ready();
    bench.put("a", 0, "zero").expect("accepted");
    for (fault, is_there) in [
        (Faults { lost: 1_000, ..Faults::default() }, false),
        (Faults { late: 1_000, ..Faults::default() }, true),
    ] {
        log.set_faults(fault);
        let next = bench.read("a").expect("it is there").next.0;
        let mut feed = Feed::new(&mut bench);
        feed.send(tagged(1, at("a", next)));
        feed.send(tagged(2, at("a", next + 1)));
        assert!(feed.answered().is_empty());
        bench.step_owners();
        log.set_faults(Faults::default());
        let mut answers = BTreeMap::new();
        for _ in 0..2 {
            let TaggedAnswer { tag, answer } = bench.next(&mut feed.answers).expect("it is answered");
            answers.insert(tag, answer.expect_err("not known to be stored"));
        }
        assert!(matches!(answers[&1], AppendFailure::Unknown { .. }), "{:?}", answers[&1]);
        assert_eq!(answers[&2].reason(), Reason::PredecessorFailed);
        while log.step() {}
        bench.run(10);
        let found = bench.values("a");
        assert_eq!(found.contains(&format!("a {next}")), is_there, "{found:?}");
        assert!(!found.contains(&format!("a {}", next + 1)), "{found:?}");
    }
}

#[test]
fn no_more_are_taken_than_a_bounded_number_while_answers_are_not() {
    let (log, mut bench) = held();
    let mut feed = Feed::new(&mut bench);
    const APPENDS: usize = 3_000;
    for tag in 0..APPENDS as u64 {
        feed.send(tagged(tag, at(&format!("key-{tag}"), 0)));
    }
    assert!(feed.answered().is_empty());
    bench.step_owners();
    assert_eq!(log.on_the_way(), IN_FLIGHT_MAX);
    while log.step() {
        bench.step_owners();
    }
    assert_eq!(log.on_the_way(), 0, "no answer was taken, and no append");
    // An answer that is taken makes room for one more.
    for taken in 1..=10 {
        assert!(poll_stream(&mut feed.answers).is_some_and(|answer| answer.is_some()));
        bench.step_owners();
        assert!(log.on_the_way() <= taken);
    }
    log.set_faults(Faults::default());
    while log.step() {}
    assert_eq!(feed.end(&mut bench).len(), APPENDS - 10);
}

#[test]
fn no_more_bytes_are_taken_than_a_bounded_number() {
    let (log, mut bench) = held();
    let mut feed = Feed::new(&mut bench);
    for tag in 0..40 {
        feed.send(tagged(tag, Append::start(key(&format!("key-{tag}"))).event(vec![b'x'; 1_000_000])));
    }
    assert!(feed.answered().is_empty());
    bench.step_owners();
    assert_eq!(log.on_the_way(), 17, "16 MiB, and the one that passes them");
    log.set_faults(Faults::default());
    while log.step() {}
    assert_eq!(feed.end(&mut bench).len(), 40);
}

#[test]
fn when_the_answers_are_dropped_what_was_not_sent_is_withdrawn() {
    let (log, mut bench) = held();
    let mut feed = Feed::new(&mut bench);
    for order in 0..3 {
        feed.send(tagged(order, at("a", order)));
    }
    feed.send(tagged(3, at("b", 0)));
    assert!(feed.answered().is_empty());
    bench.step_owners();
    assert_eq!(log.on_the_way(), 2, "the first of each key");
    feed.send(tagged(4, at("c", 0)));
    assert!(feed.answered().is_empty());
    drop(feed);
    bench.step_owners();
    while log.step() {
        bench.step_owners();
    }
    bench.run(100);
    assert_eq!(log.records(Partition(0)).len(), 2);
    assert_eq!(
        (bench.values("a"), bench.values("b"), bench.values("c")),
        (vec!["a 0".to_owned()], vec!["b 0".to_owned()], vec![],)
    );
    log.set_faults(Faults::default());
    bench.put("c", 0, "value").expect("nothing is left of the one that was withdrawn");
}

#[test]
fn a_conflict_in_a_stream_brings_along_what_was_missed_and_holds_up_nobody() {
    let (_log, mut bench) = ready();
    for order in 0..3 {
        bench.put("a", order, "value").expect("accepted");
    }
    let feed = Feed::new(&mut bench);
    for tag in 0..20 {
        feed.send(alone(tag, at("a", 1).with_missing()));
    }
    feed.send(tagged(20, at("b", 0)));
    for TaggedAnswer { tag, answer } in feed.end(&mut bench) {
        match answer {
            Ok(_) => assert_eq!(tag, 20),
            Err(AppendFailure::Conflict(conflict)) => {
                assert_eq!((conflict.missing.len(), conflict.current, conflict.more), (2, Order(3), false));
            }
            Err(other) => panic!("{tag}: {other}"),
        }
    }
}

/// Each bad append is answered, and the others go on.
#[test]
fn an_append_that_is_refused_at_once_is_answered_like_any_other() {
    let (_log, mut bench) = ready();
    let feed = Feed::new(&mut bench);
    feed.send(tagged(1, Append::start(key("a"))));
    feed.send(tagged(2, at("a", 0)));
    feed.send(tagged(3, at("b", 0)));
    let expected = [(1, Err(Reason::InvalidRequest)), (2, Err(Reason::PredecessorFailed)), (3, Ok(0))];
    assert_eq!(by_tag(feed.end(&mut bench)), expected.into());
}

/// An append waits for the one before it no longer than its caller does, and what rests on it fails with it.
#[tokio::test]
async fn an_append_whose_time_is_over_behind_another_was_not_sent() {
    let (log, mut bench) = held();
    let mut feed = Feed::new(&mut bench);
    let time = Duration::from_millis(20);
    feed.send(tagged(1, at("a", 0)));
    feed.send(tagged(2, at("a", 1).within(time)));
    feed.send(tagged(3, at("a", 2)));
    feed.send(alone(4, at("a", 1)));
    assert!(feed.answered().is_empty());
    bench.step_owners();
    tokio::time::sleep(2 * time).await;
    let early = by_tag(feed.answered());
    assert_eq!(early, [(2, Err(Reason::NotSent)), (3, Err(Reason::PredecessorFailed))].into());
    log.set_faults(Faults::default());
    while log.step() {}
    assert_eq!(by_tag(feed.end(&mut bench)), [(1, Ok(0)), (4, Ok(1))].into());
    assert_eq!(bench.values("a"), ["a 0", "a 1"]);
}

/// With real threads, and keys that follow each other in no order: each of 50 chains is stored as it was sent.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn chains_are_stored_in_their_order_whatever_lies_between() {
    const KEYS: u64 = 50;
    const EACH: u64 = 40;
    let log = SimulatedLog::new("topic", NonZeroU32::new(4).expect("four"));
    let options = EngineOptions { threads: 2, ..EngineOptions::default() };
    let engine = Engine::start(Arc::new(log), Arc::new(MemoryStore::new()), options).expect("it starts");
    let handle = engine.handle();
    handle.ready().await;
    let random = &mut fastrand::Rng::with_seed(7);
    let mut keys: Vec<u64> = (0..KEYS * EACH).map(|number| number % KEYS).collect();
    random.shuffle(&mut keys);
    let mut next = vec![0; KEYS as usize];
    let appends: Vec<TaggedAppend> = (0..)
        .zip(keys)
        .map(|(tag, of)| {
            let order = &mut next[of as usize];
            *order += 1;
            tagged(tag, at(&format!("key-{of}"), *order - 1))
        })
        .collect();
    let fed = Box::pin(tokio_stream::iter(appends));
    let answers = EventStore::append_stream(&handle, fed).await.expect("it begins");
    let answers: Vec<TaggedAnswer> =
        tokio::time::timeout(Duration::from_secs(60), answers.collect()).await.expect("it ends");
    assert_eq!(answers.len() as u64, KEYS * EACH);
    for TaggedAnswer { tag, answer } in answers {
        answer.unwrap_or_else(|failure| panic!("{tag}: {failure}"));
    }
}
