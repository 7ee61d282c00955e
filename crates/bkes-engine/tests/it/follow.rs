//! Following the log: what is shown, in which order, and what a place in it means (P25).

use crate::support::Bench;
use crate::support::follows::{Follows, Shown, all, at, is_last_of_append, marked, model, of};
use crate::support::scene::Scene;
use bkes_api::{Detail, FollowFrom, Followed, Reason, TopicId};
use bkes_core::{Header, Key, Partition, Position};
use bkes_engine::{EngineOptions, Expected};
use bkes_storage::{RedbStore, Store};
use bkes_testkit::disk::SimulatedDisk;
use bkes_testkit::log::{Faults, SimulatedLog as MemoryLog};
use bkes_testkit::store::SimulatedStore;
use bytes::Bytes;
use std::num::NonZeroU32;
use std::sync::Arc;

fn log(partitions: u32) -> MemoryLog {
    MemoryLog::new("topic", NonZeroU32::new(partitions).expect("not zero"))
}

fn write(log: &MemoryLog, partition: u32, key: &str, value: &str, headers: Vec<Header>) {
    let bytes = |text: &str| Some(Bytes::copy_from_slice(text.as_bytes()));
    log.append_foreign(Partition(partition), bytes(key), bytes(value), headers);
}

/// A log of all that there may be: events of BKES and of others, forwarded records, batches among other records, whole, broken and
/// rejected; void records and copies; records without a key; gaps.
fn everything(log: &MemoryLog, partition: u32) {
    let put = |key: &str, value: &str, headers| write(log, partition, key, value, headers);
    put("a", "a0", marked("a", "a0", (1, 0), (0, None)));
    put("f", "f0", Vec::new());
    // A batch of three of key b, and between its members: an event of a, one of b by another writer's batch that is void with it, f.
    put("b", "b0", marked("b", "b0", (1, 1), (0, Some((1, 3)))));
    put("a", "a1", marked("a", "a1", (2, 0), (1, None)));
    put("b", "b1", marked("b", "b1", (1, 1), (1, Some((2, 3)))));
    put("f", "f1", Vec::new());
    put("b", "x0", marked("b", "x0", (2, 1), (0, Some((1, 2)))));
    put("b", "b2", marked("b", "b2", (1, 1), (2, Some((3, 3)))));
    put("b", "x1", marked("b", "x1", (2, 1), (1, Some((2, 2)))));
    // Void: its order is taken. A copy of what was judged.
    put("a", "late", marked("a", "late", (3, 0), (1, None)));
    put("a", "a1", marked("a", "a1", (2, 0), (1, None)));
    // Forwarded: a marker of another record. A foreign event between a batch's members voids that batch.
    put("g", "g0", marked("a", "a0", (1, 0), (0, None)));
    put("c", "c0", marked("c", "c0", (3, 1), (0, Some((1, 2)))));
    put("c", "others", Vec::new());
    put("c", "c1", marked("c", "c1", (3, 1), (1, Some((2, 2)))));
    log.skip_offsets(Partition(partition), 2);
    log.append_foreign(Partition(partition), None, Some("no key".into()), Vec::new());
    log.append_foreign(Partition(partition), Some(Bytes::new()), Some("no key".into()), Vec::new());
    // A batch of a that ends as the last record but one; a tombstone; an unfinished batch.
    put("a", "a2", marked("a", "a2", (2, 2), (2, Some((1, 2)))));
    log.append_foreign(Partition(partition), Some("f".into()), None, Vec::new());
    put("a", "a3", marked("a", "a3", (2, 2), (3, Some((2, 2)))));
    put("h", "h0", marked("h", "h0", (4, 0), (0, Some((1, 2)))));
}

/// Where that ends.
const END: u64 = 23;

fn flat(appends: Vec<(u64, Vec<Shown>)>, from: u64) -> Vec<Shown> {
    appends.into_iter().filter(|(last, _)| *last >= from).flat_map(|(_, append)| append).collect()
}

fn stores() -> Vec<Arc<dyn Store>> {
    let disk = Arc::new(SimulatedDisk::new());
    let redb = RedbStore::open_on(disk, 1024 * 1024).expect("the store opens").store;
    vec![Arc::new(SimulatedStore::new()), Arc::new(redb)]
}

#[test]
fn from_the_beginning_exactly_the_events_are_shown_in_the_order_they_were_decided() {
    for store in stores() {
        let log = log(2);
        everything(&log, 1);
        write(&log, 0, "other", "0", Vec::new());
        let mut bench = Bench::ready(log.clone(), store);
        let mut follows = Follows::on(&mut bench, all(FollowFrom::Beginning));
        follows.catch_up(&mut bench);
        let expected = flat(model(1, log.records(Partition(1))), 0);
        assert_eq!(expected.len(), 12, "the model: {expected:?}");
        assert_eq!(follows.of_partition(1), expected);
        assert_eq!(follows.of_partition(0).len(), 1);
        assert_eq!(follows.told, ["caught up", "positions"]);
        assert_eq!(follows.positions.topic, Some(TopicId::new(&topic_id(&log))));
        assert_eq!(
            (follows.position(0), follows.position(1)),
            (1, END),
            "behind gaps and what is undecided too"
        );
    }
}

fn topic_id(log: &MemoryLog) -> String {
    bkes_log::Log::identity(log).expect("it answers").topic_id
}

/// For every position of the log: what is shown up to it and what is shown from it are the whole, and no batch is torn.
#[test]
fn from_every_position_exactly_what_was_decided_at_it_or_above_is_shown() {
    for store in stores() {
        let log = log(1);
        everything(&log, 0);
        let mut bench = Bench::ready(log.clone(), store);
        for committed in [false, true] {
            for position in 0..=END {
                let mut follows = Follows::on(&mut bench, all(at(&[(0, position)])));
                follows.catch_up(&mut bench);
                let expected = flat(model(0, log.records(Partition(0))), position);
                assert_eq!(follows.shown, expected, "from {position}, committed: {committed}");
            }
            bench.run(500);
        }
        let above =
            Follows::try_on(&mut bench, all(at(&[(0, END + 1)]))).map(drop).expect_err("above the end");
        assert_eq!(above.reason, Reason::OutOfRange, "{above}");
    }
}

/// The same with what is decided while somebody follows: each position, whether it lies in the ring or before it.
#[test]
fn what_is_fed_and_what_is_read_of_the_past_are_the_same() {
    let log = log(1);
    let mut bench = Bench::ready(log.clone(), Arc::new(SimulatedStore::new()));
    let mut live = Follows::on(&mut bench, all(FollowFrom::Now));
    live.catch_up(&mut bench);
    everything(&log, 0);
    bench.run(10);
    live.drain();
    let expected = flat(model(0, log.records(Partition(0))), 0);
    assert_eq!(live.shown, expected);
    for position in 0..=END {
        let mut follows = Follows::on(&mut bench, all(at(&[(0, position)])));
        follows.catch_up(&mut bench);
        assert_eq!(follows.shown, flat(model(0, log.records(Partition(0))), position), "from {position}");
    }
    let whole = |follows: &Follows| follows.events.last().is_some_and(is_last_of_append);
    assert!(whole(&live));
}

#[test]
fn from_now_on_nothing_is_shown_that_was_answered_before_and_everything_after() {
    let mut scene = Scene::new(Faults::default());
    scene.run(10);
    scene.put("a", 0, "before").expect("accepted");
    let mut follows = Follows::on(&mut scene, all(FollowFrom::Now));
    follows.drain();
    assert_eq!((follows.shown.len(), &follows.told[..]), (0, &["caught up", "positions"][..]));
    assert_eq!(follows.position(0), 1);
    scene.put("a", 1, "after").expect("accepted");
    assert!(follows.is_woken(), "whoever waits is told");
    follows.drain();
    assert_eq!(follows.shown, [(0, 1, "a".into(), 1, "after".into())]);
    // Positions are told every second while they change, and not when they do not.
    scene.run(1_000);
    follows.drain();
    assert_eq!((follows.position(0), follows.told.len()), (2, 3));
    scene.run(5_000);
    assert_eq!(follows.drain().told.len(), 3);
}

/// Where an instance lagged, a follower from now on was shown what another one had acknowledged before the call.
#[test]
fn from_now_on_nothing_is_shown_that_another_instance_was_told_before() {
    for followed in [Followed::All, Followed::Key(Key::new("a").expect("not empty"))] {
        let log = log(1);
        let mut one = Bench::ready(log.clone(), Arc::new(SimulatedStore::new()));
        let mut two = Bench::ready(log.clone(), Arc::new(SimulatedStore::new()));
        one.put("a", 0, "before").expect("accepted");
        let mut follows = Follows::on(&mut two, of(followed.clone(), FollowFrom::Now));
        follows.catch_up(&mut two);
        assert_eq!((follows.shown.len(), follows.position(0)), (0, 1), "{followed:?}");
        one.put("a", 1, "after").expect("accepted");
        two.run(10);
        follows.drain();
        assert_eq!(follows.shown, [(0, 1, "a".into(), 1, "after".into())], "{followed:?}");
        log.go_down("no broker answers");
        let refused = Follows::try_on(&mut two, of(followed, FollowFrom::Now)).map(drop);
        let refused = refused.expect_err("what others were told is not known");
        assert_eq!(refused.reason, Reason::Unverified);
    }
}

#[test]
fn headers_and_append_ids_come_with_events_or_headers_stay_away() {
    let log = log(1);
    let other = Header { name: "h".into(), value: Some("v".into()) };
    write(&log, 0, "a", "a0", vec![other.clone()]);
    let mut bench = Bench::ready(log, Arc::new(SimulatedStore::new()));
    for (with_headers, headers) in [(true, vec![other]), (false, vec![])] {
        let follow = bkes_api::Follow { with_headers, ..all(FollowFrom::Beginning) };
        let mut follows = Follows::on(&mut bench, follow);
        follows.catch_up(&mut bench);
        assert_eq!(follows.events[0].headers, headers);
    }
}

#[test]
fn a_prefix_and_partitions_show_their_own_and_positions_all_the_same() {
    let log = log(3);
    (0..3).for_each(|partition| everything(&log, partition));
    let mut bench = Bench::ready(log.clone(), Arc::new(SimulatedStore::new()));
    let mut prefix = Follows::on(&mut bench, of(Followed::Prefix("b".into()), FollowFrom::Beginning));
    prefix.catch_up(&mut bench);
    let expected: Vec<Shown> =
        flat(model(1, log.records(Partition(1))), 0).into_iter().filter(|shown| shown.2 == "b").collect();
    assert_eq!((expected.len(), prefix.of_partition(1)), (3, expected));
    assert_eq!((prefix.shown.len(), prefix.position(2)), (9, END));

    let two = Followed::Partitions(vec![Partition(2), Partition(0), Partition(2)]);
    let mut some = Follows::on(&mut bench, of(two, at(&[(0, END), (1, 0)])));
    some.catch_up(&mut bench);
    assert_eq!(
        some.shown,
        flat(model(2, log.records(Partition(2))), 0),
        "one that is not named: from its beginning"
    );
    assert_eq!(some.positions.of, [(Partition(0), Position(END)), (Partition(2), Position(END))]);
    // Live as well.
    write(&log, 1, "b", "not followed", Vec::new());
    write(&log, 2, "x", "followed", Vec::new());
    bench.run(10);
    assert_eq!(some.drain().shown.last().map(|shown| &shown.4[..]), Some("followed"));
    assert_eq!(prefix.drain().shown.last().map(|shown| &shown.4[..]), Some("not followed"));
    let named = || Some(Detail::Field("partitions".into()));
    for none in [vec![], vec![Partition(3)]] {
        let refused = Follows::try_on(&mut bench, of(Followed::Partitions(none), FollowFrom::Now));
        assert_eq!(refused.map(drop).expect_err("no such partition").detail, named());
    }
}

#[test]
fn a_key_is_followed_from_every_position_as_a_whole_log_is() {
    for store in stores() {
        let log = log(1);
        everything(&log, 0);
        let mut bench = Bench::ready(log.clone(), store);
        for name in ["a", "b", "c", "f", "h"] {
            let key = || Followed::Key(Key::new(name).expect("not empty"));
            for position in 0..=END {
                let mut follows = Follows::on(&mut bench, of(key(), at(&[(0, position)])));
                follows.catch_up(&mut bench);
                let mut expected = flat(model(0, log.records(Partition(0))), position);
                expected.retain(|shown| shown.2 == name);
                assert_eq!(follows.shown, expected, "{name} from {position}");
                assert_eq!(follows.position(0), END);
            }
        }
    }
}

#[test]
fn a_key_is_followed_live_and_from_now_and_before_it_exists() {
    let mut scene = Scene::new(Faults::default());
    scene.run(10);
    scene.put("a", 0, "zero").expect("accepted");
    let key = |name: &str| Followed::Key(Key::new(name.to_owned()).expect("not empty"));
    let mut now = Follows::on(&mut scene, of(key("a"), FollowFrom::Now));
    let mut all = Follows::on(&mut scene, of(key("a"), FollowFrom::Beginning));
    let mut new = Follows::on(&mut scene, of(key("new"), FollowFrom::Now));
    for follows in [&mut now, &mut all, &mut new] {
        follows.catch_up(&mut scene);
    }
    assert_eq!((now.shown.len(), all.shown.len(), new.shown.len()), (0, 1, 0));
    scene.put("b", 0, "another").expect("accepted");
    let batch = scene.append("a", Expected::At(bkes_core::Order(1)), &["one", "two"]);
    scene.answer(batch).expect("accepted");
    scene.put("new", 0, "first").expect("accepted");
    for follows in [&mut now, &mut all, &mut new] {
        follows.drain();
    }
    let values = |follows: &Follows| follows.shown.iter().map(|shown| shown.4.clone()).collect::<Vec<_>>();
    assert_eq!(values(&now), ["one", "two"]);
    assert_eq!(values(&all), ["zero", "one", "two"]);
    assert_eq!(values(&new), ["first"]);
    assert_eq!(now.groups, [2]);
}

/// A page ends by its bytes or events: never in the middle of a batch.
#[test]
fn a_long_key_comes_in_pages_of_whole_batches() {
    let mut scene = Scene::new(Faults::default());
    scene.run(10);
    let values: Vec<String> = (0..90).map(|value| value.to_string()).collect();
    let values: Vec<&str> = values.iter().map(String::as_str).collect();
    for batch in 0..10 {
        let expected = if batch == 0 { Expected::New } else { Expected::At(bkes_core::Order(batch * 90)) };
        let answer = scene.append("a", expected, &values);
        scene.answer(answer).expect("accepted");
    }
    let key = Followed::Key(Key::new("a").expect("not empty"));
    let mut follows = Follows::on(&mut scene, of(key, FollowFrom::Beginning));
    follows.catch_up(&mut scene);
    assert!(follows.shown.iter().map(|shown| shown.3).eq(0..900));
    assert!(
        follows.groups.len() > 2 && follows.groups.iter().all(|group| group % 90 == 0),
        "{:?}",
        follows.groups
    );
}

#[test]
fn positions_of_another_topic_or_outside_the_log_are_refused_with_the_numbers() {
    let log = log(1);
    (0..10).for_each(|_| write(&log, 0, "a", "x", Vec::new()));
    let mut bench = Bench::ready(log.clone(), Arc::new(SimulatedStore::new()));
    let refused = |bench: &mut Bench, from| {
        let failure = Follows::try_on(bench, all(from)).map(drop).expect_err("refused");
        (failure.reason, failure.message)
    };
    let FollowFrom::Positions(mut foreign) = at(&[(0, 3)]) else { unreachable!() };
    foreign.topic = Some(TopicId::new("another"));
    assert_eq!(refused(&mut bench, FollowFrom::Positions(foreign.clone())).0, Reason::ForeignPositions);
    foreign.topic = Some(TopicId::new(&topic_id(&log)));
    Follows::on(&mut bench, all(FollowFrom::Positions(foreign)));
    let (reason, message) = refused(&mut bench, at(&[(0, 11)]));
    assert!(reason == Reason::OutOfRange && message.contains("11") && message.contains("10"), "{message}");
    assert_eq!(refused(&mut bench, at(&[(7, 0)])).0, Reason::OutOfRange);
    // The head is removed: what lay there would be missing without a word.
    log.cut_start(Partition(0), Position(4));
    bench.run(200);
    let (reason, message) = refused(&mut bench, at(&[(0, 3)]));
    assert!(reason == Reason::OutOfRange && message.contains('3') && message.contains('4'), "{message}");
    let mut follows = Follows::on(&mut bench, all(FollowFrom::Beginning));
    assert_eq!(follows.catch_up(&mut bench).shown.len(), 6, "the beginning is what the log still has");
}

/// The last look at the log does not know of what was written since; whoever has read that elsewhere may follow from there.
#[test]
fn a_position_that_the_log_has_and_this_instance_has_not_applied_is_waited_for() {
    let log = log(1);
    let mut bench = Bench::ready(log.clone(), Arc::new(SimulatedStore::new()));
    (0..3).for_each(|_| write(&log, 0, "a", "skipped", Vec::new()));
    write(&log, 0, "a", "shown", Vec::new());
    let handle = bench.handle.clone();
    let mut beginning = Box::pin(async move { handle.follow(all(at(&[(0, 3)]))).await.map(drop) });
    crate::support::poll(&mut beginning).expect("it waits for nobody").expect("the log holds it");
    let mut follows = Follows::on(&mut bench, all(at(&[(0, 3)])));
    let key = Followed::Key(Key::new("a").expect("not empty"));
    let mut of_key = Follows::on(&mut bench, of(key, at(&[(0, 3)])));
    for follows in [&mut follows, &mut of_key] {
        follows.catch_up(&mut bench);
        let values: Vec<&str> = follows.shown.iter().map(|shown| &shown.4[..]).collect();
        assert_eq!(values, ["shown"]);
    }
}

#[test]
fn new_partitions_are_followed_from_their_beginning() {
    let log = log(1);
    let mut bench = Bench::ready(log.clone(), Arc::new(SimulatedStore::new()));
    let mut follows = Follows::on(&mut bench, all(FollowFrom::Now));
    let mut named = Follows::on(&mut bench, of(Followed::Partitions(vec![Partition(0)]), FollowFrom::Now));
    follows.catch_up(&mut bench);
    log.add_partitions(1);
    (0..5).for_each(|_| write(&log, 1, "new", "x", Vec::new()));
    bench.run(300);
    follows.drain();
    assert_eq!((follows.of_partition(1).len(), &follows.told[..2]), (5, &["caught up", "positions"][..]));
    write(&log, 1, "new", "live", Vec::new());
    bench.run(1_100);
    assert_eq!(follows.drain().of_partition(1).len(), 6);
    assert_eq!((follows.position(1), named.drain().shown.len()), (6, 0));
    assert!(!follows.told.contains(&"fell behind"));
}

/// Another instance had met the new partition before, and told of a position in it: that was refused for good here.
#[test]
fn a_position_in_a_partition_that_is_not_known_yet_is_no_rejection() {
    let log = log(1);
    let mut bench = Bench::ready(log.clone(), Arc::new(SimulatedStore::new()));
    log.add_partitions(1);
    (0..3).for_each(|_| write(&log, 1, "new", "x", Vec::new()));
    let refused = Follows::try_on(&mut bench, all(at(&[(1, 2)]))).map(drop).expect_err("it is not read yet");
    assert_eq!(refused.reason, Reason::CatchingUp, "{refused}");
    bench.run(300);
    let mut follows = Follows::on(&mut bench, all(at(&[(1, 2)])));
    assert_eq!(follows.catch_up(&mut bench).of_partition(1).len(), 1);
    let refused = Follows::try_on(&mut bench, all(at(&[(2, 0)]))).map(drop).expect_err("there is none");
    assert_eq!(refused.reason, Reason::OutOfRange, "{refused}");
}

#[test]
fn as_many_follow_as_may_and_a_place_is_given_back() {
    let mut scene = Scene::new(Faults::default());
    scene.run(10);
    let mut following: Vec<Follows> =
        (0..64).map(|_| Follows::on(&mut scene, all(FollowFrom::Now))).collect();
    let refused = Follows::try_on(&mut scene, all(FollowFrom::Now)).map(drop).expect_err("no place is left");
    assert_eq!((refused.reason, refused.class()), (Reason::Overloaded, bkes_api::ErrorClass::Unavailable));
    following.pop();
    following.push(Follows::on(&mut scene, all(FollowFrom::Now)));
    scene.put("a", 0, "zero").expect("accepted");
    assert!(following.iter_mut().all(|follows| follows.drain().shown.len() == 1));
    // When all are gone, and others come, nothing of what was not fed in between is missing.
    following.clear();
    scene.put("a", 1, "one").expect("accepted");
    let mut late = Follows::on(&mut scene, all(at(&[(0, 0)])));
    scene.put("a", 2, "two").expect("accepted");
    let values: Vec<String> = late.catch_up(&mut scene).shown.iter().map(|shown| shown.4.clone()).collect();
    assert_eq!(values, ["zero", "one", "two"]);
}

#[test]
fn a_stop_ends_it_with_positions_and_the_cause() {
    let mut scene = Scene::on(log(1), 1);
    scene.run(10);
    let mut follows = Follows::on(&mut scene, all(FollowFrom::Beginning));
    scene.put("a", 0, "zero").expect("accepted");
    follows.catch_up(&mut scene);
    scene.put("a", 1, "one").expect("accepted");
    follows.drain();
    bkes_engine::assembly::begin_stop(&scene.handle, scene.now());
    assert!(follows.is_woken());
    follows.drain();
    let failure = follows.failure.clone().expect("it has failed");
    assert_eq!(
        (failure.reason, follows.told.last(), follows.position(0)),
        (Reason::ShuttingDown, Some(&"positions"), 2)
    );
    assert!(follows.has_ended);
    let refused = Follows::try_on(&mut scene, all(FollowFrom::Now)).map(drop).expect_err("it stops");
    assert_eq!(refused.reason, Reason::ShuttingDown);
}

#[test]
fn what_another_instance_appended_is_shown_here() {
    let log = log(2);
    let mut one = Bench::ready(log.clone(), Arc::new(SimulatedStore::new()));
    let mut two = Bench::ready(log.clone(), Arc::new(SimulatedStore::new()));
    let mut follows = Follows::on(&mut two, all(FollowFrom::Beginning));
    follows.catch_up(&mut two);
    for order in 0..20 {
        one.put("a", order, "x").expect("accepted");
        one.put(&format!("key-{order}"), 0, "y").expect("accepted");
        two.run(1);
        follows.drain();
    }
    let mut expected: Vec<Shown> =
        (0..2).flat_map(|partition| flat(model(partition, log.records(Partition(partition))), 0)).collect();
    let mut shown = follows.shown.clone();
    shown.sort();
    expected.sort();
    assert_eq!((shown.len(), shown), (40, expected));
}

/// Before it has caught up an instance cannot say what is decided.
#[test]
fn nothing_is_followed_that_is_not_served() {
    let log = log(2);
    write(&log, 0, "a", "x", Vec::new());
    let mut bench = Bench::with(log, Arc::new(SimulatedStore::new()), EngineOptions::default());
    let key = Followed::Key(Key::new("a").expect("not empty"));
    for follow in [all(FollowFrom::Beginning), of(key, FollowFrom::Beginning)] {
        let handle = bench.handle.clone();
        let mut beginning = Box::pin(async move { handle.follow(follow).await.map(drop) });
        let refused = crate::support::poll(&mut beginning).expect("it waits for nobody");
        assert_eq!(refused.expect_err("not caught up").reason, Reason::CatchingUp);
    }
    bench.run_until("it is ready", |bench| bench.handle.is_ready());
    Follows::on(&mut bench, all(FollowFrom::Beginning)).catch_up(&mut bench);
}
