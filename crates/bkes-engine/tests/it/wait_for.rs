//! Waiting until positions are applied, and until a consumer group has committed as far.

use crate::support::flawed::FlawedLog;
use crate::support::{Bench, poll};
use bkes_api::Detail;
use bkes_core::{Partition, Position};
use bkes_engine::assembly::begin_stop;
use bkes_engine::{Engine, EngineOptions, Positions, TopicId, WaitFor};
use bkes_engine::{Failure, Reason};
use bkes_log::Log;
use bkes_storage::MemoryStore;
use bkes_testkit::store::SimulatedStore;
use std::num::NonZeroU32;
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

type Call = Pin<Box<dyn Future<Output = Result<(), Failure>>>>;

const ZERO: Partition = Partition(0);

fn instance(log: impl Log) -> Bench {
    Bench::ready(log, Arc::new(SimulatedStore::new()))
}

fn wait(of: &[(u32, u64)], group: Option<&str>, seconds: u64) -> WaitFor {
    let of = of.iter().map(|(partition, position)| (Partition(*partition), Position(*position))).collect();
    let positions = Positions { topic: None, of };
    WaitFor { positions, group: group.map(str::to_owned), timeout: Duration::from_secs(seconds) }
}

fn begin(bench: &Bench, wait: WaitFor) -> Call {
    let handle = bench.handle.clone();
    let mut call: Call = Box::pin(async move { handle.wait_for(wait).await });
    // What is told at once is told again: the call is made anew where a test wants the answer.
    assert!(poll(&mut call).is_none(), "it is answered before anything was stepped");
    call
}

/// The answer of one that is told at once.
fn at_once(bench: &Bench, wait: WaitFor) -> Result<(), Reason> {
    let handle = bench.handle.clone();
    let mut call: Call = Box::pin(async move { handle.wait_for(wait).await });
    poll(&mut call).expect("it is told at once").map_err(|failure| failure.reason)
}

fn reason(call: &mut Call) -> Option<Result<(), Reason>> {
    poll(call).map(|answer| answer.map_err(|failure| failure.reason))
}

fn write(log: &FlawedLog, partition: u32, value: &'static str) {
    log.log.append_foreign(Partition(partition), Some("a".into()), Some(value.into()), Vec::new());
}

#[test]
fn positions_are_waited_for_until_they_are_applied_or_the_time_is_over() {
    let log = FlawedLog::new(1);
    let mut bench = instance(log.clone());
    write(&log, 0, "zero");
    let mut waiting = begin(&bench, wait(&[(0, 1)], None, 30));
    bench.step_owner(0);
    assert_eq!(reason(&mut waiting), Some(Ok(())));
    assert_eq!(at_once(&bench, wait(&[(0, 1)], None, 0)), Ok(()));

    log.flaws().unread = [ZERO].into();
    write(&log, 0, "one");
    for (asked, taken) in [(3, 3), (600, 60)] {
        let mut waiting = begin(&bench, wait(&[(0, 2)], None, asked));
        bench.run(taken * 1_000 - 10);
        assert_eq!(reason(&mut waiting), None, "{asked} s");
        bench.run(20);
        let failure = poll(&mut waiting).expect("the time is over").expect_err("in vain");
        let words = format!("after {} ms partition 0 is applied up to 1, and not to 2", taken * 1_000);
        assert_eq!((failure.reason, failure.message), (Reason::DeadlineExceeded, words));
    }
    // No owner has anything else to do: it wakes by itself for who comes last and waits shortest.
    let (_long, mut short) =
        (begin(&bench, wait(&[(0, 2)], None, 30)), begin(&bench, wait(&[(0, 2)], None, 0)));
    bench.jump(1);
    bench.step_owner(0);
    assert_eq!(reason(&mut short), Some(Err(Reason::DeadlineExceeded)));
}

#[test]
fn what_can_never_come_is_not_waited_for() {
    let log = FlawedLog::new(1);
    let mut bench = instance(log.clone());
    for group in [None, Some("group")] {
        let mut above = begin(&bench, wait(&[(0, 1)], group, 30));
        bench.step_verifier();
        assert_eq!(reason(&mut above), Some(Err(Reason::OutOfRange)));
        let mut nowhere = begin(&bench, wait(&[(5, 1)], group, 30));
        bench.step_verifier();
        assert_eq!(reason(&mut nowhere), Some(Err(Reason::OutOfRange)));
    }
    let mut foreign = wait(&[(0, 1)], None, 30);
    foreign.positions.topic = Some(TopicId::new("another"));
    assert_eq!(at_once(&bench, foreign), Err(Reason::ForeignPositions));
    let long = "g".repeat(1_025);
    for group in ["", "a\0b", &long] {
        let (handle, wait) = (bench.handle.clone(), wait(&[], Some(group), 30));
        let mut call: Call = Box::pin(async move { handle.wait_for(wait).await });
        let refused = poll(&mut call).expect("it is told at once").expect_err("no such name");
        let field = Some(Detail::Field("group".into()));
        assert_eq!((refused.reason, refused.detail), (Reason::InvalidRequest, field));
    }
    bench.step_askers();
    assert_eq!(bench.values("a"), Vec::<String>::new());
}

#[test]
fn a_group_is_waited_for_until_it_has_committed_as_far() {
    let log = FlawedLog::new(2);
    let mut bench = instance(log.clone());
    (0..3).for_each(|_| write(&log, 0, "value"));
    write(&log, 1, "value");
    log.log.commit("group", ZERO, Position(1));
    let mut waits = [1, 2, 3].map(|at| begin(&bench, wait(&[(0, at)], Some("group"), 30)));
    let mut other = begin(&bench, wait(&[(1, 1)], Some("group"), 30));
    bench.run(1);
    let reasons = |waits: &mut [Call; 3]| waits.each_mut().map(reason);
    assert_eq!(reasons(&mut waits), [Some(Ok(())), None, None]);
    let mut waits = [2, 3].map(|at| begin(&bench, wait(&[(0, at)], Some("group"), 30)));
    log.log.commit("group", ZERO, Position(3));
    bench.run(600);
    assert_eq!(waits.each_mut().map(reason), [Some(Ok(())); 2]);
    assert_eq!(reason(&mut other), None, "in that partition it has committed nothing yet");
    log.log.commit("group", Partition(1), Position(1));
    bench.run(600);
    assert_eq!(reason(&mut other), Some(Ok(())));

    // What the group has read is not shown here before it is applied.
    log.flaws().unread = [ZERO].into();
    write(&log, 0, "late");
    log.log.commit("group", ZERO, Position(4));
    let mut late = begin(&bench, wait(&[(0, 4)], Some("group"), 30));
    bench.run(600);
    assert_eq!(reason(&mut late), None);
    log.flaws().unread.clear();
    bench.run(1);
    assert_eq!(reason(&mut late), Some(Ok(())));
    bench.run(10_000);
    log.flaws().asked_groups.clear();
    bench.run(10_000);
    assert!(log.flaws().asked_groups.is_empty(), "nobody waits any more");
}

#[test]
fn a_group_that_has_committed_nothing_is_told_at_once() {
    let log = FlawedLog::new(2);
    let mut bench = instance(log.clone());
    write(&log, 0, "value");
    let mut nobody = begin(&bench, wait(&[(0, 1)], Some("nobody"), 30));
    bench.step_askers();
    assert_eq!(reason(&mut nobody), Some(Err(Reason::NoSuchGroup)));
    let mut of_nothing = begin(&bench, wait(&[], Some("nobody"), 30));
    bench.step_askers();
    assert_eq!(reason(&mut of_nothing), Some(Err(Reason::NoSuchGroup)));
    // One that is deleted meanwhile.
    log.log.commit("group", Partition(1), Position(0));
    let mut deleted = begin(&bench, wait(&[(0, 1)], Some("group"), 30));
    bench.run(2_000);
    assert_eq!(reason(&mut deleted), None);
    log.log.delete_group("group");
    bench.run(600);
    assert_eq!(reason(&mut deleted), Some(Err(Reason::NoSuchGroup)));
}

#[test]
fn a_group_is_asked_once_for_all_who_wait_for_it() {
    let log = FlawedLog::new(1);
    let mut bench = instance(log.clone());
    (0..2).for_each(|_| write(&log, 0, "value"));
    log.log.commit("group", ZERO, Position(1));
    bench.run(1);
    let mut waits: Vec<Call> =
        (0..10_000).map(|_| begin(&bench, wait(&[(0, 2)], Some("group"), 60))).collect();
    bench.run(10_000);
    let asked = log.flaws().asked_groups.len();
    assert!((20..=26).contains(&asked), "twice a second, whatever their number: {asked}");
    let handle = bench.handle.clone();
    let mut more: Call = Box::pin(async move { handle.wait_for(wait(&[(0, 2)], Some("group"), 60)).await });
    assert_eq!(reason(&mut more), Some(Err(Reason::Overloaded)));
    drop(waits.split_off(5_000));
    log.log.commit("group", ZERO, Position(2));
    bench.run(500);
    assert!(waits.iter_mut().all(|call| reason(call) == Some(Ok(()))));
}

/// A coordinator that does not answer is asked until the time is over; what it refuses is told.
#[test]
fn what_is_not_told_of_a_group_is_no_commit() {
    let log = FlawedLog::new(1);
    let mut bench = instance(log.clone());
    write(&log, 0, "value");
    for group in ["silent", "denied", "well"] {
        log.log.commit(group, ZERO, Position(1));
    }
    log.flaws().silent_groups = ["silent".to_owned()].into();
    log.flaws().denied_groups = ["denied".to_owned()].into();
    let mut calls = ["silent", "denied", "well"].map(|group| begin(&bench, wait(&[(0, 1)], Some(group), 5)));
    bench.run(10);
    assert_eq!(calls.each_mut().map(reason), [None, Some(Err(Reason::PermissionDenied)), Some(Ok(()))]);
    let [mut silent, ..] = calls;
    bench.run(5_000);
    let failure = poll(&mut silent).expect("the time is over").expect_err("in vain");
    assert_eq!(failure.reason, Reason::DeadlineExceeded);
    assert!(failure.message.contains("no coordinator"), "{failure}");
    let mut silent = begin(&bench, wait(&[(0, 1)], Some("silent"), 5));
    bench.run(10);
    log.flaws().silent_groups.clear();
    bench.run(1_100);
    assert_eq!(reason(&mut silent), Some(Ok(())), "it is asked again");

    let mut bench = instance(bkes_log::MemoryLog::new("topic", NonZeroU32::MIN));
    let mut unsupported = begin(&bench, wait(&[(0, 0)], Some("group"), 5));
    bench.run(1);
    assert_eq!(reason(&mut unsupported), Some(Err(Reason::Unsupported)));
}

#[test]
fn a_stop_ends_all_waiting() {
    let log = FlawedLog::new(1);
    let mut bench = instance(log.clone());
    log.flaws().unread = [ZERO].into();
    write(&log, 0, "value");
    log.log.commit("group", ZERO, Position(0));
    bench.run(1);
    let mut calls = [None, Some("group")].map(|group| begin(&bench, wait(&[(0, 1)], group, 60)));
    bench.run(1_000);
    assert_eq!(calls.each_mut().map(reason), [None; 2]);
    begin_stop(&bench.handle, bench.now());
    assert_eq!(calls.each_mut().map(reason), [Some(Err(Reason::ShuttingDown)); 2]);
    assert_eq!(at_once(&bench, wait(&[(0, 1)], Some("group"), 60)), Err(Reason::ShuttingDown));
}

/// With threads: positions that are written and commits that are made meanwhile, and a stop.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn threads_tell_those_who_wait() {
    const PATIENCE: Duration = Duration::from_secs(60);
    let log = FlawedLog::new(1);
    let engine = Engine::start(Arc::new(log.clone()), Arc::new(MemoryStore::new()), EngineOptions::default());
    let engine = engine.expect("it starts");
    let handle = engine.handle();
    tokio::time::timeout(PATIENCE, handle.ready()).await.expect("it becomes ready");
    log.log.commit("group", ZERO, Position(0));
    for round in 1..=20 {
        write(&log, 0, "value");
        let handle = engine.handle();
        let waiting =
            tokio::spawn(async move { handle.wait_for(wait(&[(0, round)], Some("group"), 60)).await });
        tokio::time::sleep(Duration::from_millis(round % 3)).await;
        log.log.commit("group", ZERO, Position(round));
        let answer = tokio::time::timeout(PATIENCE, waiting).await.expect("it is answered");
        assert_eq!(answer.expect("no panic"), Ok(()), "round {round}");
    }
    log.flaws().unread = [ZERO].into();
    write(&log, 0, "value");
    let timeout = Duration::from_millis(50);
    let short = WaitFor { timeout, ..wait(&[(0, 21)], None, 0) };
    let answer = tokio::time::timeout(PATIENCE, handle.wait_for(short)).await.expect("its time is over");
    assert_eq!(answer.map_err(|failure| failure.reason), Err(Reason::DeadlineExceeded));
    let waiting = tokio::spawn(async move { handle.wait_for(wait(&[(0, 21)], Some("group"), 60)).await });
    tokio::time::sleep(Duration::from_millis(20)).await;
    let stopping = tokio::task::spawn_blocking(move || engine.stop(Duration::from_secs(10)));
    stopping.await.expect("no panic").expect("it closes");
    let answer = tokio::time::timeout(PATIENCE, waiting).await.expect("it is answered").expect("no panic");
    assert_eq!(answer.map_err(|failure| failure.reason), Err(Reason::ShuttingDown));
}
