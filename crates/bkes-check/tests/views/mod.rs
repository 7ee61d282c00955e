//! Reads that go backwards or show a moment: right ones pass, and each way to show something else is caught.

use crate::forge::{Forge, bytes};
use crate::promises;
use bkes_check::{
    Event, Fresh, History, InstanceId, Operation, Promise, ReadCall, ReadOutcome, View, Violation, check,
};
use bkes_core::{Offset, Order, Partition};

/// Key "a" has "1", the batch "2" "3", and "4"; a key of another partition lies beside it. Then one read of all, by instance 0.
fn right() -> History {
    let mut forge = Forge::default();
    forge.acknowledged(0, 0, "a", &["1"]);
    forge.acknowledged(0, 1, "b", &["b1"]);
    forge.acknowledged(0, 0, "a", &["2", "3"]);
    forge.acknowledged(0, 0, "a", &["4"]);
    forge.read(0, "a", 0, None);
    forge.finish()
}

/// Has the last call be a read of this view that showed the events at these orders.
fn shows(history: &mut History, view: View, limit: Option<u64>, (orders, more): (&[usize], bool)) {
    let all = history.contents[0].keys.values().next().expect("it is the first key").clone();
    let events: Vec<Event> = orders.iter().map(|order| all[*order].clone()).collect();
    let outcome = match events.is_empty() && view != View::Backwards {
        true => ReadOutcome::NoSuchAggregate,
        false => ReadOutcome::Events { events, more },
    };
    *read(history) = ReadCall { from: Order::FIRST, limit, view, fresh: Fresh::Local, outcome };
}

fn read(history: &mut History) -> &mut ReadCall {
    match &mut history.calls.last_mut().expect("there are calls").operation {
        Operation::Read(read) => read,
        Operation::Append(_) => panic!("the last call is a read"),
    }
}

fn finds(what: &str, promise: &[Promise], breaks: impl FnOnce(&mut History)) {
    let mut history = right();
    breaks(&mut history);
    let found = check(&history);
    let texts: Vec<String> = found.iter().map(Violation::to_string).collect();
    assert_eq!(promises(&found), promise.iter().copied().collect(), "{what}: {texts:#?}");
}

fn offset(history: &History, order: usize) -> Offset {
    history.contents[0].keys.values().next().expect("it is the first key")[order].offset
}

#[test]
fn a_read_backwards_shows_the_last_events_the_last_one_first() {
    use Promise::{ReadsAcknowledged, ReadsOneHistory};
    for (what, limit, shown, promise) in [
        ("all", None, (&[3, 2, 1, 0][..], false), &[][..]),
        ("some", Some(2), (&[3, 2], true), &[]),
        ("as many as there are", Some(4), (&[3, 2, 1, 0], false), &[]),
        ("forwards", None, (&[0, 1, 2, 3], false), &[ReadsOneHistory, ReadsAcknowledged]),
        ("with a hole", None, (&[3, 1, 0], false), &[ReadsOneHistory]),
        ("one less than asked for", Some(3), (&[3, 2], true), &[ReadsOneHistory]),
        ("one more than asked for", Some(2), (&[3, 2, 1], true), &[ReadsOneHistory]),
        ("not the last one", Some(2), (&[2, 1], true), &[ReadsAcknowledged]),
        ("more are told than there are", None, (&[3, 2, 1, 0], true), &[ReadsOneHistory]),
        ("fewer are told than there are", Some(2), (&[3, 2], false), &[ReadsOneHistory]),
        ("twice", None, (&[3, 3, 2, 1, 0], false), &[ReadsOneHistory]),
    ] {
        finds(what, promise, |history| shows(history, View::Backwards, limit, shown));
    }
    finds("on another instance the last one may be missing", &[], |history| {
        shows(history, View::Backwards, Some(2), (&[2, 1], true));
        history.calls.last_mut().expect("there are calls").instance = InstanceId(9);
    });
    finds("but not where it is a latest one", &[Promise::RefusalsTrue], |history| {
        shows(history, View::Backwards, Some(2), (&[2, 1], true));
        read(history).fresh = Fresh::Latest;
        history.calls.last_mut().expect("there are calls").instance = InstanceId(9);
    });
}

#[test]
fn a_read_as_of_an_offset_shows_the_appends_that_lie_there_or_below() {
    let wrong = &[Promise::ReadsOneHistory][..];
    for (what, at, orders, promise) in [
        ("at the first", 0, &[0][..], &[][..]),
        ("in the middle of a batch", 1, &[0], &[]),
        ("at the end of a batch", 2, &[0, 1, 2], &[]),
        ("at the last", 3, &[0, 1, 2, 3], &[]),
        ("a part of a batch", 1, &[0, 1], wrong),
        ("less", 2, &[0], wrong),
        ("more", 2, &[0, 1, 2, 3], wrong),
        ("nothing", 0, &[], wrong),
        ("backwards", 2, &[2, 1, 0], wrong),
    ] {
        finds(what, promise, |history| {
            let view = View::AsOfOffset(Partition(0), offset(history, at));
            shows(history, view, None, (orders, false));
        });
    }
    finds("before the first", &[], |history| {
        let below = Offset(offset(history, 0).0 - 1);
        shows(history, View::AsOfOffset(Partition(0), below), None, (&[], false));
    });
    finds("another value", wrong, |history| {
        let view = View::AsOfOffset(Partition(0), offset(history, 0));
        shows(history, view, None, (&[0], false));
        let ReadOutcome::Events { events, .. } = &mut read(history).outcome else {
            panic!("it shows events")
        };
        events[0].value = bytes("y");
    });
    finds("that the log does not hold it", &[Promise::RefusalsTrue], |history| {
        let view = View::AsOfOffset(Partition(0), offset(history, 0));
        shows(history, view, None, (&[0], false));
        read(history).outcome = ReadOutcome::OutOfRange;
    });
}

#[test]
fn a_read_as_of_a_time_shows_what_comes_before_the_first_later_event() {
    use Promise::{ReadsAcknowledged, ReadsOneHistory};
    // Of the events, in their order. The last but one of a batch is not later, and the batch is in part; the last event is not.
    let times = [Some(10), Some(20), Some(30), Some(15)];
    for (what, at, orders, promise) in [
        ("before the first", 9, &[][..], &[][..]),
        ("at the first", 10, &[0], &[]),
        ("in the middle of a batch", 20, &[0], &[]),
        ("at the end of a batch", 30, &[0, 1, 2, 3], &[]),
        ("a part of a batch", 20, &[0, 1], &[ReadsOneHistory]),
        ("a later one", 19, &[0, 1, 2], &[ReadsOneHistory]),
        ("one that is not later behind one that is", 15, &[0, 3], &[ReadsOneHistory]),
        ("less than was there", 30, &[0, 1, 2], &[ReadsAcknowledged]),
        ("nothing, where there is something", 10, &[], &[ReadsAcknowledged]),
    ] {
        finds(what, promise, |history| {
            for content in &mut history.contents {
                let events = content.keys.values_mut().next().expect("it is the first key");
                for (event, time) in events.iter_mut().zip(times) {
                    event.timestamp_ms = time;
                    let same = |record: &&mut bkes_check::LogRecord| {
                        (record.partition, record.offset) == (event.partition, event.offset)
                    };
                    history.log.iter_mut().find(same).expect("it is in the log").timestamp_ms = time;
                }
            }
            shows(history, View::AsOfTime(at), None, (orders, false));
        });
    }
}
