//! What reads take in: what an instance has applied, or all that anyone was told of.

use crate::support::flawed::FlawedLog;
use crate::support::{Bench, poll};
use bkes_core::{Key, Order, Partition};
use bkes_engine::{
    AggregateHead, Events, Expected, Freshness, KeyList, KeysRequest, ReadError, ReadRequest, Unready,
};
use bkes_testkit::store::SimulatedStore;
use std::pin::Pin;
use std::sync::Arc;

type Call<T> = Pin<Box<dyn Future<Output = Result<T, ReadError>>>>;

fn key(name: &str) -> Key {
    Key::new(name.to_owned()).expect("not empty")
}

fn read(bench: &Bench, name: &str, freshness: Freshness) -> Call<Events> {
    let (handle, request) = (bench.handle.clone(), ReadRequest { freshness, ..ReadRequest::all(key(name)) });
    Box::pin(async move { handle.read(request).await })
}

fn head(bench: &Bench, name: &str, freshness: Freshness) -> Call<AggregateHead> {
    let (handle, key) = (bench.handle.clone(), key(name));
    Box::pin(async move { handle.head(key, freshness).await })
}

fn keys(bench: &Bench, freshness: Freshness) -> Call<KeyList> {
    let (handle, request) = (bench.handle.clone(), KeysRequest { freshness, ..KeysRequest::default() });
    Box::pin(async move { handle.keys(request).await })
}

/// Two instances; the second has read the first event of `a`, and none of what the first one was told of since.
fn one_ahead_of_the_other(log: &FlawedLog) -> (Bench, Bench) {
    let store = || Arc::new(SimulatedStore::new());
    let (mut one, mut two) = (Bench::ready(log.clone(), store()), Bench::ready(log.clone(), store()));
    one.put("a", 0, "zero").expect("accepted");
    two.run(100);
    one.put("a", 1, "one").expect("accepted");
    one.put("b", 0, "zero").expect("accepted");
    log.flaws().asked.clear();
    (one, two)
}

#[test]
fn a_latest_read_sees_what_another_instance_was_told_before_it_began() {
    let log = FlawedLog::new(1);
    let (_one, two) = one_ahead_of_the_other(&log);
    let local = poll(&mut read(&two, "a", Freshness::Local)).expect("at once").expect("it is there");
    assert_eq!(local.events.len(), 1, "what it has applied");
    assert!(log.flaws().asked.is_empty(), "and nothing was asked");
    let mut latest = (
        read(&two, "a", Freshness::Latest),
        head(&two, "a", Freshness::Latest),
        read(&two, "b", Freshness::Latest),
        keys(&two, Freshness::Latest),
    );
    assert!(poll(&mut latest.0).is_none() && poll(&mut latest.1).is_none());
    assert!(poll(&mut latest.2).is_none() && poll(&mut latest.3).is_none());
    two.step_verifier();
    assert_eq!(log.flaws().asked.len(), 1, "they share a question");
    assert!(poll(&mut latest.0).is_none(), "what the log holds is not applied yet");
    two.step_owner(0);
    assert_eq!(poll(&mut latest.0).expect("answered").expect("it is there").events.len(), 2);
    assert_eq!(poll(&mut latest.1).expect("answered").expect("it is there").next, Order(2));
    assert_eq!(poll(&mut latest.2).expect("answered").expect("it is there").events.len(), 1);
    let listed = poll(&mut latest.3).expect("answered").expect("it is listed");
    assert_eq!(listed.keys.iter().map(|listed| listed.key.clone()).collect::<Vec<_>>(), [key("a"), key("b")]);
}

/// Nobody has it: that is said after one question, not two.
#[test]
fn a_latest_read_of_nothing_asks_once() {
    let log = FlawedLog::new(2);
    let (_one, two) = one_ahead_of_the_other(&log);
    let mut nothing = read(&two, "nowhere", Freshness::Latest);
    assert!(poll(&mut nothing).is_none());
    two.step_verifier();
    (0..2).for_each(|owner| two.owners.get(owner).into_iter().for_each(|_| two.step_owner(owner)));
    assert_eq!(
        poll(&mut nothing).expect("answered"),
        Err(ReadError::NoSuchAggregate { key: key("nowhere") })
    );
    assert_eq!(log.flaws().asked.len(), 1);
}

#[test]
fn where_the_log_does_not_answer_a_latest_read_is_unavailable_and_a_local_one_goes_on() {
    let log = FlawedLog::new(1);
    let (_one, two) = one_ahead_of_the_other(&log);
    log.flaws().leaderless = [Partition(0)].into();
    let mut latest = read(&two, "a", Freshness::Latest);
    assert!(poll(&mut latest).is_none());
    two.step_verifier();
    let refused = poll(&mut latest).expect("answered");
    assert!(matches!(refused, Err(ReadError::Unavailable(Unready::Unverified { .. }))), "{refused:?}");
    let local = poll(&mut read(&two, "a", Freshness::Local)).expect("at once").expect("it is there");
    assert_eq!(local.events.len(), 1);
}

/// Its own appends it knows without asking.
#[test]
fn a_local_read_sees_what_this_instance_was_told() {
    let log = FlawedLog::new(1);
    let (_one, mut two) = one_ahead_of_the_other(&log);
    let added = two.append("c", Expected::New, &["zero"]);
    two.answer(added).expect("accepted");
    let local = poll(&mut read(&two, "c", Freshness::Local)).expect("at once").expect("it is there");
    assert_eq!(local.events.len(), 1);
}
