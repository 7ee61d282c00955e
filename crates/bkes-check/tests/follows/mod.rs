//! Followers: a right record passes, and each way to show something else is caught.

use crate::forge::{Forge, Tried, bytes, key};
use crate::promises;
use bkes_check::{
    AppendOutcome, ClientId, Event, Expecting, FollowStream, Followed, FollowedFrom, FollowedItem, Follower,
    History, InstanceId, Promise, Truncation, Violation, check,
};
use bkes_core::{Key, Offset, Partition, Position};

/// In partition 0, in the order of decision: "1", "f1", the batch "2" "3", which "f1" lies inside of, "c2"; in partition 1: "b1", "b2". A
/// record "x" is void. Calls take two units of time each: 0 is "1", 1 is "b1", 2 is the batch, 3 is "c2", 4 is "b2".
fn right() -> History {
    let mut forge = Forge::default();
    forge.acknowledged(0, 0, "a", &["1"]);
    forge.acknowledged(0, 1, "b", &["b1"]);
    forge.other(AppendOutcome::Unknown, None, "a", &["2", "3"]);
    forge.store(0, "a", &["2"]);
    forge.foreign(0, "c", Some("f1"));
    forge.store(0, "a", &["3"]);
    forge.void(0, "a", "x");
    forge.acknowledged(1, 0, "c", &["c2"]);
    forge.acknowledged(0, 1, "b", &["b2"]);
    let mut history = forge.finish();
    let positions = |places: &[&str]| positions(&history, places);
    let streams = vec![
        stream(
            positions(&[]),
            vec![
                events(&history, &["1", "b1"]),
                FollowedItem::Positions(positions(&["1", "b1"])),
                events(&history, &["f1"]),
            ],
        ),
        stream(
            positions(&["1", "b1"]),
            vec![
                events(&history, &["f1", "2", "3"]),
                FollowedItem::CaughtUp,
                events(&history, &["b2", "c2"]),
                FollowedItem::FellBehind,
                FollowedItem::Positions(positions(&["c2", "b2"])),
            ],
        ),
    ];
    history.follows = vec![Follower { client: ClientId(7), followed: Followed::All, streams }];
    history
}

fn stream(from: Vec<(Partition, Position)>, items: Vec<FollowedItem>) -> FollowStream {
    let from = FollowedFrom::Positions(from);
    FollowStream { instance: InstanceId(0), begin: 6, opened: Some(7), from, items, is_out_of_range: false }
}

fn event(history: &History, value: &str) -> (Key, Event) {
    let all = history.contents[0].keys.iter();
    let mut all = all.flat_map(|(key, events)| events.iter().map(move |event| (key.clone(), event.clone())));
    all.find(|(_, event)| event.value == bytes(value)).expect("it is an event")
}

fn events(history: &History, values: &[&str]) -> FollowedItem {
    FollowedItem::Events(values.iter().map(|value| event(history, value)).collect())
}

/// The positions behind these events.
fn positions(history: &History, values: &[&str]) -> Vec<(Partition, Position)> {
    let place = |value: &&str| {
        let (_, event) = event(history, value);
        (event.partition, event.offset.next())
    };
    values.iter().map(place).collect()
}

fn finds(what: &str, promise: &[Promise], breaks: impl FnOnce(&mut History)) {
    let mut history = right();
    breaks(&mut history);
    let found = check(&history);
    let texts: Vec<String> = found.iter().map(Violation::to_string).collect();
    assert_eq!(promises(&found), promise.iter().copied().collect(), "{what}: {texts:#?}");
}

/// Changes the items of the second stream.
fn items(history: &mut History) -> &mut Vec<FollowedItem> {
    &mut history.follows[0].streams[1].items
}

/// Has the follower be one of these events, with one stream from the beginning.
fn only(history: &mut History, followed: Followed, items: Vec<FollowedItem>) {
    history.follows[0].followed = followed;
    history.follows[0].streams = vec![stream(Vec::new(), items)];
}

#[test]
fn a_follower_that_was_shown_everything_once_breaks_no_promise() {
    finds("nothing is changed", &[], |_| {});
    finds("it goes on lower than it could", &[], |history| {
        let again =
            stream(positions(history, &["1"]), vec![events(history, &["b1", "f1", "2", "3", "c2", "b2"])]);
        history.follows[0].streams.push(again);
    });
    finds("it is never shown anything", &[], |history| history.follows[0].streams.clear());
    finds("a position in the middle of a batch", &[], |history| {
        let middle = event(history, "2").1.offset.next();
        let all = events(history, &["f1", "2", "3", "c2"]);
        history.follows[0].streams = vec![stream(vec![(Partition(0), middle)], vec![all])];
    });
}

#[test]
fn a_follower_that_misses_an_event_is_caught() {
    use Promise::FollowedOnce;
    finds("in between", &[FollowedOnce], |history| items(history)[0] = events(history, &["2", "3"]));
    finds("the first one of a partition that it did not name", &[FollowedOnce], |history| {
        history.follows[0].streams[1].from = FollowedFrom::Positions(positions(history, &["1"]));
    });
    finds("a part of a batch", &[FollowedOnce], |history| items(history)[0] = events(history, &["f1", "3"]));
    finds("the rest of a batch, at the end of what is shown together", &[FollowedOnce], |history| {
        items(history).truncate(1);
        items(history)[0] = events(history, &["f1", "2"]);
    });
    finds("the rest of a batch, until the next message", &[FollowedOnce], |history| {
        items(history)[0] = events(history, &["f1", "2"]);
        let rest = events(history, &["3"]);
        items(history).insert(1, rest);
    });
    finds("the last one, and a position behind it", &[FollowedOnce], |history| {
        items(history)[2] = events(history, &["b2"]);
    });
    finds("everything, and a position behind it", &[FollowedOnce], |history| {
        let end = FollowedItem::Positions(positions(history, &["c2"]));
        only(history, Followed::All, vec![end]);
    });
    finds("what its instance had told before, when it was caught up", &[FollowedOnce], |history| {
        only(history, Followed::All, vec![FollowedItem::CaughtUp]);
    });
    finds("what another one had told may be missing then", &[], |history| {
        only(history, Followed::All, vec![FollowedItem::CaughtUp]);
        history.follows[0].streams[0].instance = InstanceId(3);
    });
}

#[test]
fn a_follower_that_is_shown_something_else_is_caught() {
    use Promise::FollowedOnce;
    for (what, values) in [
        ("an event twice", &["f1", "f1", "2", "3"][..]),
        ("one that was shown before it went on", &["1", "f1", "2", "3"]),
        ("the order of offsets", &["2", "f1", "3"]),
        ("a batch the wrong way round", &["f1", "3", "2"]),
        ("a part of a batch before what lies inside of it", &["2", "3", "f1"]),
    ] {
        finds(what, &[FollowedOnce], |history| items(history)[0] = events(history, values));
    }
    finds("a void record", &[FollowedOnce], |history| {
        let (key, mut void) = event(history, "3");
        (void.offset, void.value) = (Offset(void.offset.0 + 1), bytes("x"));
        items(history).insert(1, FollowedItem::Events(vec![(key, void)]));
    });
    for (what, change) in [
        ("another value", (|event| event.value = bytes("y")) as fn(&mut Event)),
        ("another order", |event| event.order.0 += 1),
        ("another timestamp", |event| event.timestamp_ms = None),
        ("a tombstone that is none", |event| event.tombstone = true),
    ] {
        finds(what, &[FollowedOnce], |history| {
            let FollowedItem::Events(events) = &mut items(history)[0] else { panic!("they are events") };
            change(&mut events[1].1);
        });
    }
    finds("another key", &[FollowedOnce], |history| {
        let FollowedItem::Events(events) = &mut items(history)[0] else { panic!("they are events") };
        events[0].0 = key("a");
    });
    finds("an event behind the last one", &[FollowedOnce], |history| {
        let again = events(history, &["c2"]);
        items(history).push(again);
    });
}

#[test]
fn positions_that_do_not_divide_what_was_shown_are_caught() {
    use Promise::FollowedOnce;
    for (what, value) in
        [("below the last event", "3"), ("in the middle of a batch", "2"), ("far below", "1")]
    {
        finds(what, &[FollowedOnce], |history| {
            items(history)[4] = FollowedItem::Positions(positions(history, &[value]));
        });
    }
    finds("below where it began", &[FollowedOnce], |history| {
        let below = FollowedItem::Positions(vec![(Partition(1), Position::START)]);
        items(history).insert(0, below);
    });
    finds("a batch that is shown, at its first member", &[FollowedOnce], |history| {
        let middle = FollowedItem::Positions(positions(history, &["2"]));
        items(history).insert(1, middle);
    });
    finds("at a record that is no event", &[], |history| {
        let void =
            FollowedItem::Positions(vec![(Partition(0), Position(event(history, "3").1.offset.0 + 2))]);
        items(history).insert(1, void);
    });
    finds("that they are outside of the log", &[Promise::RefusalsTrue], |history| {
        history.follows[0].streams[1].is_out_of_range = true;
    });
}

#[test]
fn a_follower_of_some_is_shown_those_and_no_other() {
    use Promise::FollowedOnce;
    let end = |history: &History| FollowedItem::Positions(positions(history, &["c2", "b2"]));
    let prefix = || Followed::Prefix(bytes("c"));
    for (what, followed, values, promise) in [
        ("a prefix", prefix(), &["f1", "c2"][..], &[][..]),
        ("a prefix and what has it not", prefix(), &["f1", "2", "3", "c2"], &[FollowedOnce]),
        ("a prefix and one missing", prefix(), &["f1"], &[FollowedOnce]),
        ("a key", Followed::Key(key("a")), &["1", "2", "3"], &[]),
        ("a key and one missing", Followed::Key(key("a")), &["1", "2"], &[FollowedOnce]),
        ("a key and another", Followed::Key(key("a")), &["1", "f1", "2", "3"], &[FollowedOnce]),
        ("a partition", Followed::Partitions(vec![Partition(1)]), &["b1", "b2"], &[]),
        (
            "a partition and another",
            Followed::Partitions(vec![Partition(1)]),
            &["b1", "1", "b2"],
            &[FollowedOnce],
        ),
    ] {
        finds(what, promise, |history| {
            let shown = vec![events(history, values), end(history)];
            only(history, followed, shown);
        });
    }
}

#[test]
fn a_follower_from_now_on_is_shown_all_that_is_new_and_nothing_that_was_told() {
    use Promise::FollowedOnce;
    let now = |begin: u64, opened: u64, values: &'static [&'static str]| {
        move |history: &mut History| {
            let shown = vec![events(history, values)];
            only(history, Followed::All, shown);
            let stream = &mut history.follows[0].streams[0];
            (stream.begin, stream.opened, stream.from) = (begin, Some(opened), FollowedFrom::Now);
        }
    };
    finds("all that was begun after it was open", &[], now(5, 5, &["c2", "b2"]));
    finds("what was under way may be shown", &[], now(7, 9, &["b2", "c2"]));
    finds("or not", &[], now(6, 7, &["b2"]));
    finds("what was told before", &[FollowedOnce], now(8, 8, &["c2", "b2"]));
    finds("what was told before, and lies lower", &[FollowedOnce], now(5, 5, &["b1", "c2", "b2"]));
    let told = |value: &'static str, opened: u64| {
        move |history: &mut History| {
            now(opened, opened, &[])(history);
            let place = FollowedItem::Positions(positions(history, &[value]));
            history.follows[0].streams[0].items.push(place);
        }
    };
    finds("a position behind what is new, which is not shown", &[FollowedOnce], told("c2", 5));
    finds("a position before what was told", &[FollowedOnce], told("3", 8));
    finds("a position behind all that was told", &[], told("c2", 8));
}

/// The story: a try was unanswered and stored, a follower began after that, and then a second try was told where the first one lay.
#[test]
fn what_a_later_try_found_was_there_before_a_follower_began() {
    let began = |opened: u64| {
        let mut forge = Forge::default();
        forge.acknowledged(0, 1, "b", &["b1"]);
        let expected = Expecting::Any;
        let tried = Tried { instance: 0, name: "a", id: "x", expected, seen: 0, values: &["1"] };
        forge.tried(tried, AppendOutcome::Unanswered);
        let found = forge.store(0, "a", &["1"]);
        forge.tried(tried, found);
        let mut history = forge.finish();
        let end = FollowedItem::Positions(positions(&history, &["1"]));
        let mut stream = stream(Vec::new(), vec![end]);
        (stream.begin, stream.opened, stream.from) = (opened, Some(opened), FollowedFrom::Now);
        let (client, followed) = (ClientId(7), Followed::All);
        history.follows = vec![Follower { client, followed, streams: vec![stream] }];
        promises(&check(&history)).into_iter().collect::<Vec<_>>()
    };
    assert_eq!(began(3), [], "between the two");
    assert_eq!(began(1), [Promise::FollowedOnce], "before both");
}

#[test]
fn a_lost_end_excuses_what_was_shown_before_it_was_known() {
    finds("an event that is gone", &[], |history| {
        items(history)[0] = events(history, &["2", "3"]);
        let lost = Truncation { partition: Partition(0), from: Offset(0), at: 6, until: 20 };
        history.excuses.truncations.push(lost);
    });
    finds("in that partition only", &[Promise::FollowedOnce], |history| {
        items(history)[2] = events(history, &["c2"]);
        let lost = Truncation { partition: Partition(0), from: Offset(0), at: 6, until: 20 };
        history.excuses.truncations.push(lost);
    });
    finds("and not what began later", &[Promise::FollowedOnce], |history| {
        items(history)[0] = events(history, &["2", "3"]);
        let lost = Truncation { partition: Partition(0), from: Offset(0), at: 1, until: 5 };
        history.excuses.truncations.push(lost);
    });
    finds("a partition that it did not name and that lost its head", &[], |history| {
        only(history, Followed::All, Vec::new());
        history.follows[0].streams[0].is_out_of_range = true;
        history.excuses.cuts.push((Partition(2), Offset(1)));
    });
    finds("no partition that it did not name", &[Promise::RefusalsTrue], |history| {
        only(history, Followed::All, Vec::new());
        history.follows[0].streams[0].from = FollowedFrom::Positions(vec![(Partition(2), Position::START)]);
        history.follows[0].streams[0].is_out_of_range = true;
        history.excuses.cuts.push((Partition(2), Offset(0)));
    });
    finds("positions that are gone", &[], |history| {
        history.follows[0].streams[1].is_out_of_range = true;
        let lost = Truncation { partition: Partition(0), from: Offset(0), at: 6, until: 20 };
        history.excuses.truncations.push(lost);
    });
}
