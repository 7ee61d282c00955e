//! What an engine denies while another instance may know better: engines stepped by hand, on one log.

use crate::support::flawed::FlawedLog;
use crate::support::{Bench, poll};
use bkes_core::{Key, Order, Partition, Partitioner, Position};
use bkes_engine::assembly::begin_stop;
use bkes_engine::{AppendError, EngineOptions, Expected, ReadError, Unready};
use bkes_log::Log;
use bkes_testkit::store::SimulatedStore as MemoryStore;
use std::num::NonZeroU32;
use std::sync::Arc;
use std::time::Duration;

fn store() -> Arc<MemoryStore> {
    Arc::new(MemoryStore::new())
}

fn options() -> EngineOptions {
    EngineOptions { partitioner: Some(Partitioner::Murmur2), ..EngineOptions::default() }
}

/// An instance on a log, ready.
fn instance(log: &FlawedLog, options: EngineOptions) -> Bench {
    let mut bench = Bench::with(log.clone(), store(), options);
    bench.run_until("it is ready", |bench| bench.handle.is_ready());
    log.flaws().asked.clear();
    bench
}

/// Has an instance judge the appends that came in by what it has read, although the log holds more.
fn accept(log: &FlawedLog, bench: &Bench) {
    let partitions = log.log.partition_count().expect("it answers").get();
    log.flaws().unread = (0..partitions).map(Partition).collect();
    bench.step_owner(0);
    log.flaws().unread.clear();
}

/// A key that is placed in a partition of several.
fn key_in(partition: u32, of: u32) -> String {
    let of = NonZeroU32::new(of).expect("not zero");
    let is_there = |name: &String| Partitioner::Murmur2.place(name.as_bytes(), of) == Partition(partition);
    (0..).map(|n| format!("key-{n}")).find(is_there).expect("there is one")
}

fn write(log: &FlawedLog, partition: u32, name: &str, value: &'static str) {
    let key = Key::new(name.to_owned()).expect("not empty");
    log.log.append_foreign(Partition(partition), Some(key.bytes().clone()), Some(value.into()), Vec::new());
}

/// An append that one instance had acknowledged was "no such aggregate", or "conflict, the next order is 1", at another one that had
/// not read it yet.
#[test]
fn what_one_instance_was_told_is_not_denied_by_another() {
    let log = FlawedLog::new(3);
    let (mut one, two) = (instance(&log, options()), instance(&log, options()));
    one.put("a", 0, "zero").expect("accepted");
    let mut read = two.begin_read("a");
    let mut append = two.append("a", Expected::At(Order(1)), &["one"]);
    accept(&log, &two);
    assert!(poll(&mut read).is_none(), "it is not known here, and that alone says nothing");
    assert!(poll(&mut append).is_none());
    two.step_verifier();
    assert!(poll(&mut read).is_none(), "the log holds more than was applied");
    two.step_owner(0);
    assert_eq!(poll(&mut read).expect("answered").expect("it is there").events.len(), 1);
    let mut two = two;
    assert_eq!(two.answer(append).expect("accepted").first, Order(1));

    for order in 2..5 {
        one.put("a", order, "more").expect("accepted");
    }
    assert_eq!(two.put("a", 5, "five").expect("not a conflict with 2").first, Order(5));
}

/// What stays true whatever the log holds needs no question, and one about a known aggregate concerns its partition only.
#[test]
fn only_what_the_log_may_disprove_is_asked_for() {
    let log = FlawedLog::new(3);
    let mut bench = instance(&log, options());
    let (name, home) = (key_in(1, 3), Partition(1));
    bench.put(&name, 0, "zero").expect("accepted");
    bench.put(&name, 1, "one").expect("accepted");
    let exists = bench.put(&name, 0, "again");
    assert!(matches!(exists, Err(AppendError::AlreadyExists { current: Order(2) })), "{exists:?}");
    let below = bench.put(&name, 1, "again");
    assert_eq!(below, Err(AppendError::Conflict { expected: Order(1), current: Order(2) }));
    assert!(log.flaws().asked.is_empty(), "nothing was asked");
    let above = bench.put(&name, 7, "seven");
    assert_eq!(above, Err(AppendError::Conflict { expected: Order(7), current: Order(2) }));
    assert_eq!(std::mem::take(&mut log.flaws().asked), [[home]]);
    let absent = bench.put("nowhere", 1, "one");
    assert!(matches!(absent, Err(AppendError::NoSuchAggregate { .. })), "{absent:?}");
    assert!(matches!(bench.read("nowhere"), Err(ReadError::NoSuchAggregate { .. })));
    let all = [0, 1, 2].map(Partition);
    assert_eq!(std::mem::take(&mut log.flaws().asked), [all, all]);
    assert_eq!(bench.handle.status().conflicts, 3, "each refusal is counted once");
}

#[test]
fn all_that_wait_share_a_question() {
    let log = FlawedLog::new(2);
    let bench = instance(&log, options());
    let mut reads: Vec<_> = (0..100).map(|n| bench.begin_read(&format!("nowhere-{n}"))).collect();
    assert!(reads.iter_mut().all(|read| poll(read).is_none()));
    bench.step_verifier();
    assert_eq!(log.flaws().asked.len(), 1);
    assert!(reads.iter_mut().all(|read| matches!(poll(read), Some(Err(ReadError::NoSuchAggregate { .. })))));
}

/// A question that runs may have been answered before the call began.
#[test]
fn a_call_waits_for_a_question_that_begins_after_it() {
    let log = FlawedLog::new(1);
    let (one, two) = (instance(&log, options()), instance(&log, options()));
    let mut early = two.begin_read("nowhere");
    assert!(poll(&mut early).is_none());
    let late = Arc::new(std::sync::Mutex::new(None));
    let (handle, held) = (two.handle.clone(), Arc::clone(&late));
    let one = std::sync::Mutex::new(one);
    log.flaws().in_question = Some(Box::new(move || {
        one.lock().expect("no panic").put("a", 0, "zero").expect("accepted");
        let key = Key::new("a".to_owned()).expect("not empty");
        let request = bkes_engine::ReadRequest::all(key);
        let mut read: std::pin::Pin<Box<dyn Future<Output = _> + Send>> =
            Box::pin(async move { handle.read(request).await });
        assert!(poll(&mut read).is_none(), "it waits for its own question");
        *held.lock().expect("no panic") = Some(read);
    }));
    two.step_verifier();
    let mut read = late.lock().expect("no panic").take().expect("it was begun");
    assert!(poll(&mut read).is_none(), "what it asked for is not applied yet");
    assert!(matches!(poll(&mut early), Some(Err(ReadError::NoSuchAggregate { .. }))));
    assert_eq!(log.flaws().asked.len(), 2);
    two.step_owner(0);
    assert_eq!(poll(&mut read).expect("answered").expect("it is there").events.len(), 1);
}

/// Neither yes nor no: "unavailable" has its own reason, and a partition that does not answer concerns its own keys, and unknown ones.
#[test]
fn where_the_log_does_not_answer_nothing_is_denied() {
    let log = FlawedLog::new(2);
    let mut bench = instance(&log, options());
    let (here, there) = (key_in(0, 2), key_in(1, 2));
    bench.put(&here, 0, "zero").expect("accepted");
    bench.put(&there, 0, "zero").expect("accepted");
    log.flaws().leaderless = [Partition(1)].into();
    let unverified = |unready: &Unready| matches!(unready, Unready::Unverified { cause } if cause.to_string().contains("partition 1 has no leader"));
    let read = bench.read("nowhere");
    assert!(matches!(&read, Err(ReadError::Unavailable(unready)) if unverified(unready)), "{read:?}");
    for (name, order) in [("nowhere", 1), (&there, 7)] {
        let refused = bench.put(name, order, "more");
        assert!(
            matches!(&refused, Err(AppendError::Unavailable(unready)) if unverified(unready)),
            "{name}: {refused:?}"
        );
    }
    let denied = bench.put(&here, 7, "more");
    assert_eq!(denied, Err(AppendError::Conflict { expected: Order(7), current: Order(1) }));
    log.flaws().leaderless.clear();
    log.log.go_down("no broker answers");
    bench.run_until("it is known", |bench| bench.handle.status().unready.is_some());
    log.flaws().asked.clear();
    let mut read = bench.begin_read("nowhere");
    let answer = poll(&mut read).expect("it is known, so nothing is asked");
    assert!(
        matches!(&answer, Err(ReadError::Unavailable(Unready::Unverified { cause })) if cause.to_string().contains("no broker")),
        "{answer:?}"
    );
    assert!(log.flaws().asked.is_empty());
}

#[test]
fn what_is_not_applied_in_time_is_not_denied() {
    let log = FlawedLog::new(2);
    let (one, mut two) = (instance(&log, options()), instance(&log, options()));
    let name = key_in(1, 2);
    let mut one = one;
    one.put(&name, 0, "zero").expect("accepted");
    log.flaws().unread = [Partition(1)].into();
    let mut read = two.begin_read(&name);
    assert!(poll(&mut read).is_none());
    two.run(9_000);
    assert!(poll(&mut read).is_none(), "it may come yet");
    two.run(2_000);
    let answer = poll(&mut read).expect("the time is over");
    assert!(
        matches!(&answer, Err(ReadError::Unavailable(Unready::Unverified { cause }))
            if cause.to_string() == "partition 1 is applied up to 0, and the log holds more up to 1"),
        "{answer:?}"
    );
    log.flaws().unread.clear();
    two.run(100);
    assert_eq!(two.count(&name), Ok(1));
}

/// Nothing was sent, so a caller that goes away withdraws its append; its place is another's.
#[test]
fn an_append_is_withdrawn_while_its_refusal_is_verified() {
    let log = FlawedLog::new(1);
    let (mut one, mut two) =
        (instance(&log, options()), instance(&log, EngineOptions { appends_max: 1, ..options() }));
    one.put("a", 0, "zero").expect("accepted");
    let mut append = two.append("a", Expected::At(Order(1)), &["one"]);
    accept(&log, &two);
    assert!(poll(&mut append).is_none());
    let mut other = Box::pin({
        let handle = two.handle.clone();
        let key = Key::new("b".to_owned()).expect("not empty");
        let request = bkes_engine::AppendRequest::of_values(key, Expected::New, vec!["zero".into()]);
        async move { handle.append(request).await }
    });
    let full = poll(&mut other).expect("at once");
    assert!(matches!(full, Err(AppendError::Unavailable(Unready::Overloaded { .. }))), "it keeps its place");
    drop(append);
    two.run(100);
    assert_eq!(two.put("b", 0, "zero").expect("there is a place").first, Order(0));
    assert_eq!(two.values("a"), ["zero"], "it was never sent");
}

#[test]
fn a_stop_answers_those_whose_refusal_is_verified() {
    let log = FlawedLog::new(1);
    let bench = instance(&log, options());
    log.flaws().unread = [Partition(0)].into();
    let mut asked = bench.begin_read("nowhere");
    assert!(poll(&mut asked).is_none());
    write(&log, 0, "a", "zero");
    bench.step_verifier();
    let mut asking = bench.append("nowhere", Expected::At(Order(3)), &["three"]);
    bench.step_owner(0);
    assert!(poll(&mut asking).is_none());
    begin_stop(&bench.handle, bench.now());
    bench.step_verifier();
    let answer = poll(&mut asked);
    assert!(matches!(answer, Some(Err(ReadError::Unavailable(Unready::ShuttingDown)))), "{answer:?}");
    let answer = poll(&mut asking);
    assert!(matches!(answer, Some(Err(AppendError::Unavailable(Unready::ShuttingDown)))), "{answer:?}");
    let mut late = bench.begin_read("nowhere");
    assert!(matches!(poll(&mut late), Some(Err(ReadError::Unavailable(Unready::ShuttingDown)))));
}

/// The monitor looks once a second; an unknown key may be in a partition that is younger than its last look.
#[test]
fn a_key_in_a_partition_that_was_just_added_is_not_denied() {
    let log = FlawedLog::new(1);
    let bench = instance(&log, options());
    log.log.add_partitions(2);
    write(&log, 2, "a", "zero");
    assert_eq!(bench.count("a"), Ok(1));
    assert_eq!(bench.handle.status().partitions.len(), 3);
    assert!(matches!(bench.read("nowhere"), Err(ReadError::NoSuchAggregate { .. })));
}

/// An instance that had seen and read a new partition began keys there, while another one, which had not, began the same keys elsewhere.
#[test]
fn keys_are_placed_in_new_partitions_a_minute_after_those_were_read() {
    let log = FlawedLog::new(1);
    let on = store();
    let mut bench = Bench::with(log.clone(), on.clone(), options());
    bench.run_until("it is ready", |bench| bench.handle.is_ready());
    log.log.add_partitions(1);
    let names: Vec<String> = (0..)
        .map(|n| format!("{n}-{}", key_in(1, 2)))
        .filter(|name| in_two(name) == Partition(1))
        .take(3)
        .collect();
    log.flaws().unread = [Partition(1)].into();
    write(&log, 1, "a", "zero");
    bench.run(3_000);
    log.flaws().unread.clear();
    bench.run(58_000);
    assert_eq!(bench.put(&names[0], 0, "zero").expect("accepted").partition, Partition(0));
    bench.run(4_000);
    assert_eq!(bench.put(&names[1], 0, "zero").expect("accepted").partition, Partition(1));
    bench.run(200);
    drop(bench);
    // A start in the middle is no reason for haste.
    log.log.add_partitions(2);
    on.crash();
    let mut bench = Bench::with(log.clone(), on, options());
    bench.run_until("it is ready", |bench| bench.handle.is_ready());
    assert_eq!(bench.put(&names[2], 0, "zero").expect("accepted").partition, in_two(&names[2]));
    let late = (0..).map(|n| format!("late-{n}")).find(|name| in_four(name).0 >= 2).expect("there is one");
    bench.run(62_000);
    assert_eq!(bench.put(&late, 0, "zero").expect("accepted").partition, in_four(&late));
}

fn in_two(name: &str) -> Partition {
    Partitioner::Murmur2.place(name.as_bytes(), NonZeroU32::new(2).expect("two"))
}

fn in_four(name: &str) -> Partition {
    Partitioner::Murmur2.place(name.as_bytes(), NonZeroU32::new(4).expect("four"))
}

/// With threads: many callers on two engines, each reading at once what the other was told.
#[tokio::test(flavor = "multi_thread")]
async fn two_engines_never_deny_what_the_other_was_told() {
    let log = FlawedLog::new(3);
    let start = || {
        let engine = bkes_engine::Engine::start(Arc::new(log.clone()), store(), options());
        engine.expect("it starts")
    };
    let engines = [start(), start()];
    let handles = [engines[0].handle(), engines[1].handle()];
    for handle in &handles {
        handle.ready().await;
    }
    let mut callers = tokio::task::JoinSet::new();
    for caller in 0..8 {
        let handles = handles.clone();
        callers.spawn(async move {
            let key = Key::new(format!("caller-{caller}")).expect("not empty");
            for order in 0..100u64 {
                let handle = &handles[order as usize % 2];
                let expected = if order == 0 { Expected::New } else { Expected::At(Order(order)) };
                let values = vec![order.to_string().into()];
                let request = bkes_engine::AppendRequest::of_values(key.clone(), expected, values);
                let appended = handle.append(request).await.expect("what the other was told is known");
                assert_eq!(appended.first, Order(order));
            }
        });
    }
    let done = tokio::time::timeout(Duration::from_secs(120), callers.join_all()).await;
    assert!(done.is_ok(), "they are done");
    for engine in engines {
        engine.stop(Duration::from_secs(10)).expect("it stops");
    }
}

/// A failover lost the end of the log, and another instance began an aggregate where the lost records had been. What was applied here
/// was above the new end, so everything seemed to be applied, and the aggregate was denied. (Found by simulation.)
#[test]
fn what_lies_below_a_lost_end_is_not_denied() {
    let log = FlawedLog::new(1);
    let mut bench = instance(&log, options());
    bench.put("a", 0, "zero").expect("accepted");
    bench.put("a", 1, "one").expect("accepted");
    log.log.truncate(Partition(0), Position(0));
    write(&log, 0, "b", "of another instance");
    let mut read = bench.begin_read("b");
    let mut append = bench.append("b", Expected::At(Order(1)), &["one"]);
    accept(&log, &bench);
    assert!(poll(&mut read).is_none() && poll(&mut append).is_none());
    bench.step_verifier();
    let read = poll(&mut read).expect("answered");
    assert!(matches!(read, Err(ReadError::Unavailable(Unready::Unverified { .. }))), "{read:?}");
    let append = poll(&mut append).expect("answered");
    assert!(matches!(append, Err(AppendError::Unavailable(Unready::Unverified { .. }))), "{append:?}");

    bench.run_until("the fold has begun anew", |bench| bench.read("b").is_ok());
}
