//! Following while something goes wrong: it falls behind, the log loses something or does not answer, the store begins anew. Whoever
//! follows is told, or waits; nothing is left out without a word (P25).

use crate::support::Bench;
use crate::support::flawed::FlawedLog;
use crate::support::follows::{Follows, Shown, all, marked, model};
use crate::support::watched::Watched;
use bkes_api::{ErrorClass, FollowFrom, Reason};
use bkes_core::{Key, Partition, Position};
use bkes_testkit::log::SimulatedLog as MemoryLog;
use bkes_testkit::store::SimulatedStore;
use bytes::Bytes;
use std::num::NonZeroU32;
use std::sync::mpsc::channel;
use std::sync::{Arc, Mutex};
use std::thread;

fn log() -> MemoryLog {
    MemoryLog::new("topic", NonZeroU32::MIN)
}

fn foreign(log: &MemoryLog, key: &str, value: impl Into<Bytes>) {
    let key = Some(Bytes::copy_from_slice(key.as_bytes()));
    log.append_foreign(Partition(0), key, Some(value.into()), Vec::new());
}

/// Records that writers of BKES numbered, each of a key of its own.
fn own(log: &MemoryLog, numbers: std::ops::Range<u64>) {
    for number in numbers {
        let key = format!("own-{number}");
        let headers = marked(&key, "x", (1, number), (0, None));
        log.append_foreign(Partition(0), Some(key.into()), Some("x".into()), headers);
    }
}

fn expected(log: &MemoryLog) -> Vec<Shown> {
    model(0, log.records(Partition(0))).into_iter().flat_map(|(_, append)| append).collect()
}

fn go_on(follows: &Follows) -> bkes_api::Follow {
    all(FollowFrom::Positions(follows.positions.clone()))
}

/// It took nothing while more came than is kept for it.
#[test]
fn whoever_falls_behind_is_told_and_misses_nothing() {
    let log = log();
    let mut bench = Bench::ready(log.clone(), Arc::new(SimulatedStore::new()));
    let mut follows = Follows::on(&mut bench, all(FollowFrom::Now));
    let mut quick = Follows::on(&mut bench, all(FollowFrom::Now));
    follows.catch_up(&mut bench);
    quick.catch_up(&mut bench);
    for number in 0..50 {
        let mut value = vec![b' '; 900_000];
        value.extend(number.to_string().bytes());
        foreign(&log, "a", value);
        bench.run(2);
        quick.drain();
    }
    follows.catch_up(&mut bench);
    bench.run(1_100);
    follows.drain();
    let orders = |follows: &Follows| follows.shown.iter().map(|shown| shown.3).collect::<Vec<_>>();
    assert_eq!(orders(&follows), (0..50).collect::<Vec<_>>());
    assert_eq!(follows.told, ["caught up", "positions", "fell behind", "caught up", "positions"]);
    assert_eq!(orders(&quick), (0..50).collect::<Vec<_>>());
    assert!(!quick.told.contains(&"fell behind"), "nobody is held up by another");
    // And it goes on with what is new.
    foreign(&log, "a", "new");
    bench.run(2);
    assert_eq!((follows.drain().shown.len(), follows.groups.last()), (51, Some(&1)));
}

#[test]
fn one_who_goes_away_leaves_the_others_as_they_were() {
    let log = log();
    own(&log, 0..300);
    let mut bench = Bench::ready(log.clone(), Arc::new(SimulatedStore::new()));
    let mut stays = Follows::on(&mut bench, all(FollowFrom::Beginning));
    let mut goes = Follows::on(&mut bench, all(FollowFrom::Beginning));
    assert!(goes.next(), "it is in the middle of the past");
    drop(goes);
    stays.catch_up(&mut bench);
    own(&log, 300..310);
    bench.run(10);
    assert_eq!(stays.drain().shown, expected(&log));
}

/// The file was damaged: every fold begins anew, on the same log.
#[test]
fn a_new_beginning_ends_it_and_it_goes_on_at_the_positions_that_were_told() {
    let (log, store) = (log(), Arc::new(SimulatedStore::new()));
    own(&log, 0..20);
    let mut bench = Bench::ready(log.clone(), store.clone());
    let mut follows = Follows::on(&mut bench, all(FollowFrom::Beginning));
    follows.catch_up(&mut bench);
    bench.put("a", 0, "zero").expect("accepted");
    follows.drain();
    store.damage("a flipped bit");
    assert!(bench.read("a").is_err());
    bench.run_until("it has ended", |_| {
        follows.drain();
        follows.failure.is_some()
    });
    let failure = follows.failure.clone().expect("it has");
    assert_eq!((failure.reason, failure.class()), (Reason::CatchingUp, ErrorClass::Unavailable));
    assert!(failure.retry_after.is_some() && follows.has_ended);
    assert_eq!((follows.told.last(), follows.position(0)), (Some(&"positions"), 21));
    bench.run_until("it is ready", |bench| bench.handle.is_ready());
    let mut again = Follows::on(&mut bench, go_on(&follows));
    bench.put("a", 1, "one").expect("accepted");
    again.catch_up(&mut bench);
    follows.shown.append(&mut again.shown);
    assert_eq!(follows.shown, expected(&log));
}

/// The store was emptied while records of the past were looked up in it: every one of them would have been taken for void.
#[test]
fn what_is_looked_up_while_the_fold_begins_anew_is_not_taken_for_void() {
    let (log, store) = (log(), Arc::new(Watched::default()));
    own(&log, 0..20);
    let mut bench = Bench::ready(log.clone(), store.clone());
    bench.run(500);
    let mut follows = Follows::on(&mut bench, all(FollowFrom::Beginning));
    let ((looks_up, is_looking), (goes_on, may_go_on)) = (channel(), channel());
    *store.before_look.lock().expect("no panic") = Some(Box::new(move || {
        looks_up.send(()).expect("somebody waits for this");
        may_go_on.recv().expect("the writer has stepped");
    }));
    let following = thread::spawn(move || {
        follows.drain();
        follows
    });
    is_looking.recv().expect("it looks them up");
    store.inner.damage("a flipped bit");
    assert!(bench.read("own-1").is_err());
    bench.step_writer();
    goes_on.send(()).expect("it waits for this");
    let follows = following.join().expect("no panic");
    assert_eq!(
        (follows.failure.as_ref().map(|failure| failure.reason), follows.shown.len()),
        (Some(Reason::CatchingUp), 0)
    );
    assert_eq!(follows.position(0), 0, "nothing counts as shown");
    bench.run_until("it is ready", |bench| bench.handle.is_ready());
    let mut again = Follows::on(&mut bench, go_on(&follows));
    assert_eq!(again.catch_up(&mut bench).shown, expected(&log));
}

/// The store fell back when it was opened anew, and that was not announced yet.
#[test]
fn what_is_looked_up_while_the_store_is_opened_anew_is_looked_up_again() {
    for of_key in [false, true] {
        let (log, store) = (log(), Arc::new(Watched::default()));
        let mut bench = Bench::ready(log.clone(), store.clone());
        own(&log, 0..1);
        bench.run(11_000);
        // What is committed from here on is not durable.
        own(&log, 1..20);
        bench.run(500);
        let follow = match of_key {
            false => all(FollowFrom::Beginning),
            true => {
                let key = bkes_api::Followed::Key(Key::new("own-7").expect("not empty"));
                crate::support::follows::of(key, FollowFrom::Beginning)
            }
        };
        let follows = Arc::new(Mutex::new(Follows::on(&mut bench, follow)));
        store.inner.fail_writes(Some("no space left"));
        bench.put("a", 0, "zero").expect("an answer does not wait for the store");
        bench.step_writer();
        store.inner.fail_writes(None);
        let meanwhile = Arc::clone(&follows);
        *store.after_reopen.lock().expect("no panic") = Some(Box::new(move || {
            meanwhile.lock().expect("no panic").drain();
        }));
        bench.run_until("it is opened anew", |_| store.after_reopen.lock().expect("no panic").is_none());
        let mut follows = Arc::into_inner(follows).expect("no other").into_inner().expect("no panic");
        assert!(
            follows.shown.is_empty() && !follows.told.contains(&"caught up"),
            "nothing is said meanwhile"
        );
        assert_eq!(follows.positions.get(Partition(0)).unwrap_or_default(), Position(0));
        bench.run_until("it is ready", |bench| bench.handle.is_ready());
        follows.drain();
        let reason = follows.failure.as_ref().map(|failure| failure.reason);
        assert_eq!(reason, Some(Reason::CatchingUp), "of a key: {of_key}; {:?}", follows.told);
        let again = if of_key {
            let key = bkes_api::Followed::Key(Key::new("own-7").expect("not empty"));
            crate::support::follows::of(key, FollowFrom::Positions(follows.positions.clone()))
        } else {
            go_on(&follows)
        };
        let mut again = Follows::on(&mut bench, again);
        let count = again.catch_up(&mut bench).shown.len();
        assert_eq!(count, if of_key { 1 } else { 21 });
    }
}

/// The same of a look that had begun before the store was opened anew.
#[test]
fn what_the_store_lost_in_the_middle_of_a_look_is_not_taken_for_void() {
    let (log, store) = (log(), Arc::new(Watched::default()));
    let mut bench = Bench::ready(log.clone(), store.clone());
    own(&log, 0..1);
    bench.run(11_000);
    // What is committed from here on is not durable.
    own(&log, 1..20);
    bench.run(500);
    let mut follows = Follows::on(&mut bench, all(FollowFrom::Beginning));
    store.inner.fail_writes(Some("no space left"));
    bench.put("a", 0, "zero").expect("an answer does not wait for the store");
    bench.step_writer();
    store.inner.fail_writes(None);
    let ((looks_up, is_looking), (goes_on, may_go_on)) = (channel(), channel());
    *store.before_look.lock().expect("no panic") = Some(Box::new(move || {
        looks_up.send(()).expect("somebody waits for this");
        may_go_on.recv().expect("the store was opened anew");
    }));
    let following = thread::spawn(move || {
        follows.drain();
        follows
    });
    is_looking.recv().expect("it looks them up");
    let (looked, has_looked) = channel();
    *store.after_reopen.lock().expect("no panic") = Some(Box::new(move || {
        goes_on.send(()).expect("it waits for this");
        looked.send(following.join().expect("no panic")).expect("somebody waits for this");
    }));
    bench.jump(2_000);
    bench.step_writer();
    let mut follows = has_looked.recv().expect("it has looked");
    assert!(follows.shown.is_empty(), "nothing is said of what it found");
    bench.run_until("it is ready", |bench| bench.handle.is_ready());
    follows.drain();
    assert_eq!(follows.position(0), 0, "and none of it counts as shown");
    let mut again = Follows::on(&mut bench, go_on(&follows));
    assert_eq!(again.catch_up(&mut bench).shown, expected(&log));
}

#[test]
fn a_log_that_loses_its_end_ends_it() {
    let log = log();
    own(&log, 0..20);
    let mut bench = Bench::ready(log.clone(), Arc::new(SimulatedStore::new()));
    let mut live = Follows::on(&mut bench, all(FollowFrom::Beginning));
    live.catch_up(&mut bench);
    let mut past = Follows::on(&mut bench, all(FollowFrom::Beginning));
    log.truncate(Partition(0), Position(10));
    bench.run_until("they have ended", |_| {
        [&mut live, &mut past].into_iter().all(|follows| follows.drain().failure.is_some())
    });
    for follows in [&live, &past] {
        let failure = follows.failure.as_ref().expect("it has failed");
        assert_eq!(failure.class(), ErrorClass::Unavailable, "{failure:?}");
    }
    bench.run_until("it is read anew", |bench| bench.handle.is_ready());
    // It was told a position that is not there any more.
    let refused = Follows::try_on(&mut bench, go_on(&live)).map(drop).expect_err("above the end");
    assert_eq!(refused.reason, Reason::OutOfRange);
    let mut anew = Follows::on(&mut bench, all(FollowFrom::Beginning));
    assert_eq!(anew.catch_up(&mut bench).shown, expected(&log));
}

#[test]
fn while_the_log_does_not_answer_the_past_is_waited_for_and_a_recent_position_is_not() {
    let log = log();
    own(&log, 0..20);
    let mut bench = Bench::ready(log.clone(), Arc::new(SimulatedStore::new()));
    let mut past = Follows::on(&mut bench, all(FollowFrom::Beginning));
    let mut live = Follows::on(&mut bench, all(FollowFrom::Now));
    live.catch_up(&mut bench);
    log.go_down("away");
    bench.run(200);
    assert_eq!((past.drain().shown.len(), past.failure.clone()), (0, None));
    let mut recent = Follows::on(&mut bench, go_on(&live));
    recent.catch_up(&mut bench);
    let refused = Follows::try_on(&mut bench, all(FollowFrom::Beginning)).map(drop).expect_err("it is away");
    assert_eq!((refused.reason, refused.class()), (Reason::LogDown, ErrorClass::Unavailable));
    log.come_up();
    assert_eq!(past.catch_up(&mut bench).shown, expected(&log));
}

#[test]
fn events_that_are_removed_before_they_were_shown_are_missed_with_a_word() {
    let log = log();
    own(&log, 0..20);
    let mut bench = Bench::ready(log.clone(), Arc::new(SimulatedStore::new()));
    let mut follows = Follows::on(&mut bench, all(FollowFrom::Beginning));
    log.cut_start(Partition(0), Position(5));
    bench.run_until("it has ended", |_| follows.drain().failure.is_some());
    let failure = follows.failure.expect("it has failed");
    assert!([Reason::OutOfRange, Reason::LogDown].contains(&failure.reason), "{failure:?}");
    bench.run(1_100);
    let refused =
        Follows::try_on(&mut bench, crate::support::follows::all(crate::support::follows::at(&[(0, 0)])));
    let refused = refused.map(drop).expect_err("it was removed");
    assert!(refused.reason == Reason::OutOfRange && refused.message.contains('5'), "{refused}");
}

/// It was read well when it was applied.
#[test]
fn a_record_of_the_past_that_cannot_be_read_any_more_is_an_error() {
    let log = FlawedLog::new(1);
    own(&log.log, 0..20);
    let mut bench = Bench::ready(log.clone(), Arc::new(SimulatedStore::new()));
    log.flaws().damaged = Some((Partition(0), bkes_core::Offset(7)));
    let mut follows = Follows::on(&mut bench, all(FollowFrom::Beginning));
    bench.run_until("it has ended", |_| follows.drain().failure.is_some());
    assert_eq!(follows.failure.as_ref().map(|failure| failure.reason), Some(Reason::Degraded));
    log.flaws().damaged = None;
    let mut again = Follows::on(&mut bench, go_on(&follows));
    again.catch_up(&mut bench);
    follows.shown.append(&mut again.shown);
    assert_eq!(follows.shown, expected(&log.log));
}

/// A degraded partition is not followed, and the others are.
#[test]
fn a_partition_that_is_degraded_ends_what_follows_it_and_nothing_else() {
    let log = FlawedLog::new(2);
    let mut bench = Bench::ready(log.clone(), Arc::new(SimulatedStore::new()));
    let mut both = Follows::on(&mut bench, all(FollowFrom::Now));
    let one = bkes_api::Followed::Partitions(vec![Partition(1)]);
    let mut one = Follows::on(&mut bench, crate::support::follows::of(one, FollowFrom::Now));
    log.flaws().damaged = Some((Partition(0), bkes_core::Offset(0)));
    foreign(&log.log, "a", "damaged");
    bench.run_until("it has ended", |_| both.drain().failure.is_some());
    assert_eq!(both.failure.as_ref().map(|failure| failure.reason), Some(Reason::Degraded));
    log.log.append_foreign(Partition(1), Some("b".into()), Some("x".into()), Vec::new());
    bench.run(10);
    assert_eq!((one.drain().shown.len(), one.failure.clone()), (1, None));
}
