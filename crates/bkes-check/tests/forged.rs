//! The checker passes a right history and catches each promise broken on purpose, and says which.

mod follows;
mod forge;
mod ids;
mod views;

use bkes_check::{
    AppendCall, AppendOutcome, Call, ClientId, ContentOf, Event, Expecting, Fresh, History, InstanceId,
    LogRecord, Operation, Premise, Promise, ReadCall, ReadOutcome, Truncation, View, Violation, WaitCall,
    WaitOutcome, check,
};
use bkes_core::{Offset, Order, Partition, Position};
use forge::{Forge, bytes, key};
use std::collections::BTreeSet;

/// Everything that may be in a history, kept small. Calls by their number:
///
/// ```text
///  0 read a: none     5 batch a: "4" "5"     10 unavailable a: "10"    15 read a from 3, at most 3
///  1 append a: "1"    6 read a (i1)          11 unanswered a: stored   16 read b: unavailable
///  2 read a           7 stale a: "7"         12 unanswered a: not      17 read b (i1)
///  3 append a (i1)    8 unknown b: stored    13 unknown batch a: not   18 read b: unanswered
///  4 append b         9 unknown b: not       14 read a                 19 append a: "19"  20 read a
/// ```
///
/// Foreign: "f1" in a after call 3, a tombstone in b after call 9; a record without a key; a void one.
fn right() -> History {
    let mut forge = Forge::default();
    forge.read(0, "a", 0, None);
    forge.acknowledged(0, 0, "a", &["1"]);
    forge.read(0, "a", 0, None);
    forge.acknowledged(1, 0, "a", &["3"]);
    forge.foreign(0, "a", Some("f1"));
    forge.acknowledged(0, 1, "b", &["b4"]);
    forge.acknowledged(0, 0, "a", &["4", "5"]);
    forge.read(1, "a", 0, None);
    forge.stale("a", 1, "7");
    forge.void(0, "a", "7");
    forge.other(AppendOutcome::Unknown, Some(1), "b", &["8"]);
    forge.other(AppendOutcome::Unknown, None, "b", &["9"]);
    forge.foreign(1, "b", None);
    forge.other(AppendOutcome::Unavailable, None, "a", &["10"]);
    forge.other(AppendOutcome::Unanswered, Some(0), "a", &["11"]);
    forge.other(AppendOutcome::Unanswered, None, "a", &["12"]);
    forge.other(AppendOutcome::Unknown, None, "a", &["13a", "13b"]);
    forge.read(0, "a", 0, None);
    forge.read(0, "a", 3, Some(3));
    forge.unread("b", ReadOutcome::Unavailable);
    forge.read(1, "b", 0, None);
    forge.unread("b", ReadOutcome::Unanswered);
    forge.acknowledged(0, 0, "a", &["19"]);
    forge.read(0, "a", 0, None);
    let mut history = forge.finish();
    let keyless = Offset(99);
    let record = LogRecord {
        partition: Partition(1),
        offset: keyless,
        timestamp_ms: None,
        key: None,
        value: None,
        foreign: true,
    };
    history.log.push(record);
    history
}

fn append(history: &mut History, call: usize) -> &mut AppendCall {
    match &mut history.calls[call].operation {
        Operation::Append(append) => append,
        Operation::Read(_) => panic!("call {call} is a read"),
    }
}

fn read(history: &mut History, call: usize) -> &mut ReadCall {
    match &mut history.calls[call].operation {
        Operation::Read(read) => read,
        Operation::Append(_) => panic!("call {call} is an append"),
    }
}

fn shown(history: &mut History, call: usize) -> &mut Vec<Event> {
    match &mut read(history, call).outcome {
        ReadOutcome::Events { events, .. } => events,
        other => panic!("call {call} showed {other:?}"),
    }
}

/// Does something to the events of a key in every content.
fn everywhere(history: &mut History, name: &str, change: impl Fn(&mut Vec<Event>)) {
    for content in &mut history.contents {
        change(content.keys.get_mut(&key(name)).expect("the key is there"));
    }
}

/// Puts an event at the end of a key in every content, and its record at the end of the log.
fn stored(history: &mut History, name: &str, value: &str) {
    everywhere(history, name, |events| {
        let last = events.last().expect("the key has events").clone();
        let (order, offset) = (Order(last.order.0 + 1), Offset(last.offset.0 + 50));
        events.push(Event { order, offset, value: bytes(value), tombstone: false, ..last });
    });
    let event = history.contents[0].keys[&key(name)].last().expect("it was just put there").clone();
    let Event { partition, offset, timestamp_ms, value, .. } = event;
    let (key, value) = (Some(key(name)), Some(value));
    history.log.push(LogRecord { partition, offset, timestamp_ms, key, value, foreign: false });
}

fn promises(found: &[Violation]) -> BTreeSet<Promise> {
    found.iter().map(Violation::promise).collect()
}

fn finds(what: &str, promise: &[Promise], breaks: impl FnOnce(&mut History)) {
    let mut history = right();
    breaks(&mut history);
    let found = check(&history);
    let texts: Vec<String> = found.iter().map(Violation::to_string).collect();
    assert_eq!(promises(&found), promise.iter().copied().collect(), "{what}: {texts:#?}");
}

#[test]
fn a_right_history_breaks_no_promise() {
    let found = check(&right());
    assert!(found.is_empty(), "{found:#?}");
}

#[test]
fn an_order_acknowledged_twice_is_caught() {
    use Promise::{AcknowledgedStays, OneEachOrder};
    finds(
        "a refused append was acknowledged at a taken order",
        &[OneEachOrder, AcknowledgedStays],
        |history| {
            append(history, 7).outcome =
                AppendOutcome::Acknowledged { partition: Partition(0), offset: Offset(12), first: Order(1) };
        },
    );
    finds("the same event was acknowledged to two calls", &[OneEachOrder, Promise::Checkable], |history| {
        let twin = history.calls[19].clone();
        history.calls.push(twin);
    });
    finds("within a batch", &[OneEachOrder, AcknowledgedStays], |history| {
        append(history, 10).outcome =
            AppendOutcome::Acknowledged { partition: Partition(0), offset: Offset(9), first: Order(4) };
    });
}

#[test]
fn an_acknowledged_event_that_is_not_there_is_caught() {
    use Promise::AcknowledgedStays;
    finds("it lies at another offset", &[AcknowledgedStays], |history| {
        let AppendOutcome::Acknowledged { offset, .. } = &mut append(history, 1).outcome else { panic!() };
        offset.0 += 1;
    });
    finds("it lies in another partition", &[AcknowledgedStays], |history| {
        let AppendOutcome::Acknowledged { partition, .. } = &mut append(history, 1).outcome else { panic!() };
        partition.0 = 1;
    });
    finds("it was not stored at all", &[AcknowledgedStays], |history| {
        append(history, 9).outcome =
            AppendOutcome::Acknowledged { partition: Partition(1), offset: Offset(70), first: Order(3) };
    });
    let both = [AcknowledgedStays, Promise::ReadsAcknowledged];
    finds("it was acknowledged at another order than it asked for", &both, |history| {
        let AppendOutcome::Acknowledged { first, .. } = &mut append(history, 19).outcome else { panic!() };
        first.0 += 1;
    });
    finds("it is void: delivered, and not accepted", &[AcknowledgedStays], |history| {
        history.calls.truncate(8);
        let offset = history.log.iter().find(|record| record.value == Some(bytes("7"))).map(|r| r.offset);
        let append = append(history, 7);
        append.expected = Expecting::At(Order(6));
        let (partition, offset) = (Partition(0), offset.expect("it is in the log"));
        append.outcome = AppendOutcome::Acknowledged { partition, offset, first: Order(6) };
        for value in ["8", "11", "19"] {
            // Of the calls that are gone; what they wrote becomes foreign.
            let record = history.log.iter_mut().find(|record| record.value == Some(bytes(value)));
            record.expect("it is in the log").foreign = true;
        }
    });
    finds("the last event is gone everywhere", &[AcknowledgedStays, Promise::ReadsOneHistory], |history| {
        everywhere(history, "a", |events| drop(events.pop()));
        history.log.retain(|record| record.value != Some(bytes("19")));
    });
    finds("the log has another value there", &[AcknowledgedStays, Promise::AllAgree], |history| {
        let record = history.log.iter_mut().find(|record| record.value == Some(bytes("1")));
        record.expect("it is in the log").value = Some(bytes("x"));
    });
}

#[test]
fn a_refused_event_that_is_stored_is_caught() {
    use Promise::RefusedNeverStored;
    finds("unavailable, and stored at its order", &[RefusedNeverStored], |history| {
        append(history, 11).outcome = AppendOutcome::Unavailable;
    });
    finds("rejected, and stored at its order", &[RefusedNeverStored], |history| {
        append(history, 8).outcome = AppendOutcome::Rejected { current: None };
    });
    finds("a batch", &[RefusedNeverStored], |history| {
        append(history, 5).outcome = AppendOutcome::Unavailable;
    });
    finds("stored later, elsewhere", &[RefusedNeverStored, Promise::PremiseHeld], |history| {
        stored(history, "b", "7");
        let record = history.log.pop().expect("it was just put there");
        history.log.retain(|other| other.value != record.value);
        history.log.push(record);
        history.calls[7].key = key("b");
    });
}

#[test]
fn what_is_stored_twice_or_torn_is_caught() {
    use Promise::OnceAndWhole;
    finds("an unknown one twice", &[OnceAndWhole], |history| stored(history, "b", "8"));
    finds("an unanswered one twice", &[OnceAndWhole], |history| stored(history, "a", "11"));
    finds("an acknowledged one twice", &[OnceAndWhole], |history| stored(history, "a", "1"));
    finds("half a batch", &[OnceAndWhole], |history| {
        append(history, 13).expected = Expecting::At(Order(7));
        let all = history.contents[0].keys[&key("a")].iter().map(|event| event.value.clone());
        append(history, 13).premise = Premise::of(all.collect::<Vec<_>>().iter().map(|value| &value[..]));
        stored(history, "a", "13a");
    });
    finds("the wrong half of a batch", &[OnceAndWhole, Promise::PremiseHeld], |history| {
        // It has no first event whose premise could hold; the second is judged as it stands.
        append(history, 13).values.swap(0, 1);
        stored(history, "a", "13b");
    });
    finds("a batch with something in between", &[OnceAndWhole], |history| {
        append(history, 13).expected = Expecting::At(Order(7));
        let all = history.contents[0].keys[&key("a")].iter().map(|event| event.value.clone());
        append(history, 13).premise = Premise::of(all.collect::<Vec<_>>().iter().map(|value| &value[..]));
        stored(history, "a", "13a");
        stored(history, "a", "f9");
        history.log.last_mut().expect("it was just put there").foreign = true;
        stored(history, "a", "13b");
    });
    finds("under another key", &[OnceAndWhole], |history| stored(history, "a", "9"));
    finds("an event that nobody wrote", &[OnceAndWhole], |history| stored(history, "a", "nobody's"));
}

#[test]
fn orders_with_a_gap_are_caught() {
    use Promise::{AllAgree, NoGaps};
    finds("a hole in one content", &[NoGaps, AllAgree], |history| {
        history.contents[1].keys.get_mut(&key("a")).expect("it is there").remove(2);
    });
    finds("a key that does not begin at 0", &[NoGaps, AllAgree], |history| {
        history.contents[2].keys.get_mut(&key("b")).expect("it is there").remove(0);
    });
    finds("an order twice", &[NoGaps, AllAgree], |history| {
        let events = history.contents[0].keys.get_mut(&key("a")).expect("it is there");
        events.insert(3, events[2].clone());
    });
    finds("offsets that go back, everywhere", &[NoGaps, AllAgree], |history| {
        // The foreign tombstone of b.
        everywhere(history, "b", |events| events[2].offset = Offset(0));
        shown(history, 17)[2].offset = Offset(0);
    });
    finds("a hole everywhere", &[NoGaps, AllAgree], |history| {
        // The foreign tombstone of b is gone and something else stands after the hole.
        everywhere(history, "b", |events| events[2].order = Order(3));
        shown(history, 17).pop();
        history.log.retain(|record| record.value.is_some());
    });
}

/// The checker took it for offsets that go back: a batch is written at an order that is not reached, and another record fills the gap
/// before its last member comes. What rises with the order is where appends lie.
#[test]
fn an_event_may_lie_between_the_members_of_a_batch_of_higher_orders() {
    let history = || {
        let mut forge = Forge::default();
        forge.acknowledged(0, 0, "a", &["1"]);
        forge.other(AppendOutcome::Unknown, None, "a", &["2", "3"]);
        forge.store(0, "a", &["2"]);
        forge.foreign(0, "a", Some("f"));
        forge.store(0, "a", &["3"]);
        let mut history = forge.finish();
        everywhere(&mut history, "a", |events| {
            events.swap(1, 2);
            (events[1].order, events[2].order) = (Order(1), Order(2));
        });
        let batch = append(&mut history, 1);
        batch.expected = Expecting::At(Order(2));
        batch.premise = Premise::of([&b"1"[..], b"f"]);
        history
    };
    assert_eq!(check(&history()), []);
    let mut within = history();
    everywhere(&mut within, "a", |events| {
        (events[2].offset, events[3].offset) = (events[3].offset, events[2].offset);
    });
    let mut between = history();
    everywhere(&mut between, "a", |events| {
        (events[1].offset, events[3].offset) = (events[3].offset, events[1].offset);
    });
    for (what, history) in [("within the batch", within), ("from one append to the next", between)] {
        let found = check(&history);
        let goes_back = |one: &&Violation| matches!(one, Violation::OffsetsGoBack { .. });
        assert!(found.iter().filter(goes_back).count() >= history.contents.len(), "{what}: {found:#?}");
    }
}

#[test]
fn a_premise_that_did_not_hold_is_caught() {
    use Promise::PremiseHeld;
    finds("its writer had seen fewer events", &[PremiseHeld], |history| {
        append(history, 19).premise = Premise::of([&b"1"[..], b"3", b"f1"]);
    });
    finds("its writer had seen as many, and another one", &[PremiseHeld], |history| {
        append(history, 5).premise = Premise::of([&b"1"[..], b"3", b"pending"]);
    });
    finds("an unanswered one, too", &[PremiseHeld], |history| {
        append(history, 11).premise = Premise::NOTHING;
    });
    finds("an unknown one took another order than it asked for", &[PremiseHeld], |history| {
        append(history, 8).expected = Expecting::At(Order(5));
    });
    finds("a new aggregate was not new", &[PremiseHeld], |history| {
        append(history, 11).expected = Expecting::New;
    });
}

#[test]
fn a_read_that_is_no_part_of_the_history_is_caught() {
    use Promise::{ReadsAcknowledged, ReadsOneHistory};
    finds("another value", &[ReadsOneHistory], |history| shown(history, 14)[1].value = bytes("x"));
    finds("another offset", &[ReadsOneHistory], |history| shown(history, 14)[1].offset = Offset(77));
    finds("another timestamp", &[ReadsOneHistory], |history| shown(history, 14)[1].timestamp_ms = None);
    finds("a tombstone that is none", &[ReadsOneHistory], |history| shown(history, 17)[2].tombstone = false);
    finds("a hole", &[ReadsOneHistory, ReadsAcknowledged], |history| drop(shown(history, 20).remove(2)));
    finds("a pending event shown as accepted", &[ReadsOneHistory], |history| {
        let mut last = shown(history, 14).last().expect("it showed some").clone();
        (last.order, last.value) = (Order(last.order.0 + 1), bytes("12"));
        shown(history, 14).push(last);
    });
    finds("another page", &[ReadsOneHistory], |history| read(history, 15).from = Order(2));
    finds("a page too long", &[ReadsOneHistory], |history| read(history, 15).limit = Some(2));
    finds("more events promised than there are", &[ReadsOneHistory], |history| {
        let ReadOutcome::Events { more, .. } = &mut read(history, 20).outcome else { panic!() };
        *more = true;
    });
}

#[test]
fn a_read_that_goes_back_is_caught() {
    use Promise::ReadsOneHistory;
    // On instance 1 nobody was acknowledged b, so that only reads can show what it had.
    let goes_back = |events: usize, begin: u64, outcome: Option<ReadOutcome>| {
        move |history: &mut History| {
            let mut earlier = history.calls[17].clone();
            (earlier.begin, earlier.end) = (80, Some(81));
            // Only `earlier` is to be what `later` is held against.
            read(history, 17).outcome = ReadOutcome::Unavailable;
            let mut later = earlier.clone();
            (later.begin, later.end) = (begin, Some(begin + 1));
            let Operation::Read(call) = &mut later.operation else { panic!() };
            let ReadOutcome::Events { events: all, .. } = &mut call.outcome else { panic!() };
            all.truncate(events);
            call.outcome = outcome.unwrap_or(call.outcome.clone());
            history.calls.extend([later, earlier]);
        }
    };
    finds("by one event", &[ReadsOneHistory], goes_back(2, 82, None));
    finds(
        "to nothing",
        &[ReadsOneHistory, Promise::RefusalsTrue],
        goes_back(0, 90, Some(ReadOutcome::NoSuchAggregate)),
    );
    finds("it shows as much", &[], goes_back(3, 82, None));
    finds("it overlaps the earlier one", &[], goes_back(2, 81, None));
    finds("it ends at its limit", &[], |history| {
        goes_back(2, 82, None)(history);
        let place = history.calls.len() - 2;
        let read = read(history, place);
        read.limit = Some(2);
        let ReadOutcome::Events { more, .. } = &mut read.outcome else { panic!() };
        *more = true;
    });
}

#[test]
fn a_read_that_misses_an_acknowledged_event_is_caught() {
    use Promise::ReadsAcknowledged;
    finds("the last one", &[ReadsAcknowledged], |history| drop(shown(history, 20).pop()));
    finds("no such aggregate", &[ReadsAcknowledged, Promise::RefusalsTrue], |history| {
        read(history, 2).outcome = ReadOutcome::NoSuchAggregate;
    });
    finds("an empty page at what it takes for the end", &[ReadsAcknowledged], |history| {
        *read(history, 20) = ReadCall {
            from: Order(6),
            limit: Some(9),
            view: View::Now,
            fresh: Fresh::Local,
            outcome: ReadOutcome::Events { events: Vec::new(), more: false },
        };
    });
    finds("on another instance it may be missing", &[], |history| {
        shown(history, 20).pop();
        history.calls[20].instance = InstanceId(7);
    });
    finds("an append that was under way may be missing", &[], |history| {
        shown(history, 20).pop();
        history.calls[19].end = Some(history.calls[20].begin);
    });
}

/// A read of all of a by another instance, at the end: it shows the first `events` and is to take in what lies below a position.
fn at_least(events: usize, (partition, position): (u32, u64)) -> impl FnOnce(&mut History) {
    move |history: &mut History| {
        let mut call = history.calls[20].clone();
        (call.instance, call.begin, call.end) = (InstanceId(9), 90, Some(91));
        let Operation::Read(read) = &mut call.operation else { panic!() };
        read.fresh = Fresh::AtLeast(vec![(Partition(partition), Position(position))]);
        let ReadOutcome::Events { events: all, .. } = &mut read.outcome else { panic!() };
        all.truncate(events);
        history.calls.push(call);
    }
}

#[test]
fn a_read_that_misses_what_lies_below_its_positions_is_caught() {
    use Promise::ReadsAcknowledged;
    let history = right();
    let all = &history.contents[0].keys[&key("a")];
    // The third and the fourth event are a batch.
    let at = |order: usize| all[order].offset.0;
    assert_eq!((all.len(), &all[3].value, &all[4].value), (7, &bytes("4"), &bytes("5")));
    finds("it shows all", &[], at_least(7, (0, at(6) + 1)));
    finds("the last one", &[ReadsAcknowledged], at_least(6, (0, at(6) + 1)));
    finds("the position of the last one is before it", &[], at_least(6, (0, at(6))));
    finds("a batch", &[ReadsAcknowledged], at_least(3, (0, at(4) + 1)));
    finds("the position is in the middle of a batch", &[], at_least(3, (0, at(4))));
    finds("another partition says nothing of it", &[], at_least(1, (1, at(6) + 1)));
    finds("it ends at its limit", &[], |history| {
        at_least(6, (0, at(6) + 1))(history);
        let read = read(history, 21);
        read.limit = Some(6);
        let ReadOutcome::Events { more, .. } = &mut read.outcome else { panic!() };
        *more = true;
    });
    finds("a lost end excuses it", &[], |history| {
        at_least(6, (0, at(6) + 1))(history);
        let lost = Truncation { partition: Partition(0), from: Offset(at(6)), at: 1, until: 100 };
        history.excuses.truncations.push(lost);
    });
}

/// Somebody is told by the instance of the last read of "a" that positions are reached, before a call begins.
fn waited(before: usize, positions: &[(u32, u64)], outcome: WaitOutcome) -> impl FnOnce(&mut History) {
    let of = positions.iter().map(|(partition, position)| (Partition(*partition), Position(*position)));
    let positions = of.collect();
    move |history| {
        let (begin, instance) = (history.calls[before].begin - 1, history.calls[20].instance);
        let (client, end) = (ClientId(8), Some(begin));
        history.waits.push(WaitCall { client, instance, begin, end, positions, outcome });
    }
}

#[test]
fn a_read_that_misses_what_its_instance_was_waited_for_is_caught() {
    use Promise::{ReadsAcknowledged, RefusalsTrue};
    let last = |history: &mut History| {
        let event = shown(history, 20).last().cloned().expect("it shows events");
        (event.partition.0, event.offset.0 + 1)
    };
    let end = last(&mut right());
    // An instance that acknowledged nothing of it: nothing else is broken then.
    let elsewhere = |history: &mut History| {
        let only = shown(history, 20)[0].clone();
        history.calls[20].instance = InstanceId(7);
        *shown(history, 20) = vec![only];
    };
    for (what, positions, outcome, promise) in [
        ("what lies below", end, WaitOutcome::Reached, &[ReadsAcknowledged][..]),
        ("nothing lies below", (end.0, 0), WaitOutcome::Reached, &[]),
        ("it was not reached", end, WaitOutcome::Unavailable, &[]),
        ("it is said to lie above the end", end, WaitOutcome::OutOfRange, &[RefusalsTrue]),
    ] {
        finds(what, promise, |history| {
            elsewhere(history);
            waited(20, &[positions], outcome)(history);
        });
    }
    finds("on another instance", &[], |history| {
        elsewhere(history);
        waited(20, &[end], WaitOutcome::Reached)(history);
        history.waits[0].instance = InstanceId(3);
    });
    finds("after the read began", &[], |history| {
        elsewhere(history);
        waited(20, &[end], WaitOutcome::Reached)(history);
        history.waits[0].end = Some(history.calls[20].begin);
    });
    finds("two that waited, and the farther counts", &[ReadsAcknowledged], |history| {
        elsewhere(history);
        waited(20, &[end], WaitOutcome::Reached)(history);
        waited(20, &[(end.0, 0)], WaitOutcome::Reached)(history);
    });
    finds("what was lost", &[], |history| {
        elsewhere(history);
        waited(20, &[end], WaitOutcome::Reached)(history);
        waited(20, &[end], WaitOutcome::OutOfRange)(history);
        let until = history.calls[20].begin;
        let lost = Truncation { partition: Partition(end.0), from: Offset(0), at: until, until };
        history.excuses.truncations.push(lost);
    });
    finds("what was lost and written again, by a read that begins when all know of it", &[], |history| {
        elsewhere(history);
        waited(20, &[end], WaitOutcome::Reached)(history);
        let until = history.waits[0].begin;
        let lost = Truncation { partition: Partition(end.0), from: Offset(0), at: until, until };
        history.excuses.truncations.push(lost);
    });
}

#[test]
fn a_position_that_somebody_was_told_and_that_is_denied_is_caught() {
    let denied = |history: &mut History| {
        at_least(0, (0, 5))(history);
        read(history, 21).outcome = ReadOutcome::OutOfRange;
    };
    finds("out of range", &[Promise::RefusalsTrue], denied);
    let lost = |from: u64| {
        move |history: &mut History| {
            denied(history);
            let lost = Truncation { partition: Partition(0), from: Offset(from), at: 1, until: 2 };
            history.excuses.truncations.push(lost);
        }
    };
    finds("a lost end below it", &[], lost(4));
    finds("a lost end above it", &[Promise::RefusalsTrue], lost(5));
}

#[test]
fn a_latest_read_that_misses_what_anybody_was_told_is_caught() {
    let latest = |events: usize, begin: u64| {
        move |history: &mut History| {
            at_least(events, (0, 0))(history);
            read(history, 21).fresh = Fresh::Latest;
            history.calls[21].begin = begin;
        }
    };
    finds("it shows all", &[], latest(7, 90));
    finds("the last one", &[Promise::RefusalsTrue], latest(6, 90));
    let begin = right().calls[20].begin;
    finds("what was told meanwhile may be missing", &[], latest(6, begin - 1));
}

#[test]
fn a_refusal_that_is_not_true_on_every_instance_is_caught() {
    use Promise::RefusalsTrue;
    // After everything else: "a" has 7 events, "b" 3; call 19 was acknowledged the last of a.
    let refused = |name: &'static str, asked: u64, current: u64, begin: u64| {
        move |history: &mut History| {
            let mut call = history.calls[7].clone();
            (call.key, call.instance, call.begin, call.end) =
                (key(name), InstanceId(9), begin, Some(begin + 1));
            let Operation::Append(append) = &mut call.operation else { panic!() };
            append.expected = Expecting::At(Order(asked));
            append.values = vec![bytes("denied")];
            append.outcome = AppendOutcome::Rejected { current: Some(Order(current)) };
            history.calls.push(call);
        }
    };
    let unread = |name: &'static str, begin: u64| {
        move |history: &mut History| {
            let mut call = history.calls[0].clone();
            (call.key, call.instance, call.begin, call.end) =
                (key(name), InstanceId(9), begin, Some(begin + 1));
            history.calls.push(call);
        }
    };
    finds("an acknowledged aggregate is denied by another instance", &[RefusalsTrue], unread("a", 90));
    finds("one that another instance had shown is denied", &[RefusalsTrue], |history| {
        // Nobody was acknowledged b: only the read of call 17 shows it.
        append(history, 4).outcome = AppendOutcome::Unanswered;
        unread("b", 90)(history);
    });
    finds(
        "an append to an acknowledged aggregate is told that there is none",
        &[RefusalsTrue],
        refused("a", 1, 0, 90),
    );
    finds("a conflict denies the last acknowledged event", &[RefusalsTrue], refused("a", 7, 6, 90));
    finds("a conflict denies what was only shown", &[RefusalsTrue], |history| {
        append(history, 19).outcome = AppendOutcome::Unanswered;
        refused("a", 7, 6, 90)(history);
    });
    finds("the order asked for is really above", &[], refused("a", 9, 7, 90));
    finds("a conflict from below says what was so a moment ago", &[], refused("a", 1, 6, 90));
    finds("it began before the event was acknowledged", &[], |history| {
        let end = history.calls[19].end.expect("it was answered");
        refused("a", 7, 6, end)(history);
    });
    finds("there is no such aggregate", &[], unread("c", 90));
    let mut history = right();
    refused("a", 7, 6, 90)(&mut history);
    let texts: Vec<String> = check(&history).iter().map(Violation::to_string).collect();
    let expected =
        "(10) a: call 21 was told that order 6 is the next one, after call 19 had been told of 7 events";
    assert_eq!(texts, [expected]);
}

#[test]
fn contents_that_differ_are_caught() {
    use Promise::AllAgree;
    for place in 0..3 {
        finds("the last event is missing", &[AllAgree], |history| {
            history.contents[place].keys.get_mut(&key("a")).expect("it is there").pop();
        });
        finds("a key is missing", &[AllAgree], |history| {
            history.contents[place].keys.remove(&key("b"));
        });
        finds("a key too much", &[AllAgree], |history| {
            let events = history.contents[place].keys[&key("a")].clone();
            history.contents[place].keys.insert(key("z"), events);
        });
        finds("one byte", &[AllAgree], |history| {
            history.contents[place].keys.get_mut(&key("a")).expect("it is there")[2].value = bytes("f2");
        });
        finds("a timestamp", &[AllAgree], |history| {
            history.contents[place].keys.get_mut(&key("a")).expect("it is there")[2].timestamp_ms = None;
        });
    }
    finds("an event that the log does not have", &[AllAgree], |history| {
        history.log.retain(|record| record.value != Some(bytes("11")));
    });
    finds("a foreign record that is no event", &[AllAgree], |history| {
        let mut record = history.log[0].clone();
        (record.offset, record.value, record.foreign) = (Offset(98), Some(bytes("f3")), true);
        history.log.push(record);
    });
}

#[test]
fn a_history_that_cannot_be_checked_is_caught() {
    finds("two calls with one value", &[Promise::Checkable], |history| {
        append(history, 12).values = vec![bytes("10")];
    });
    let found = check(&History::default());
    assert_eq!(found, [Violation::NoContent]);
}

#[test]
fn a_truncated_log_excuses_what_was_lost_with_it_and_nothing_else() {
    // The log lost "19", the last event of a, after call 19; call 20, made before all knew, showed it.
    let lose = |history: &mut History| {
        everywhere(history, "a", |events| drop(events.pop()));
        history.log.retain(|record| record.value != Some(bytes("19")));
    };
    let place = |history: &mut History| match append(history, 19).outcome {
        AppendOutcome::Acknowledged { partition, offset, .. } => (partition, offset),
        other => panic!("{other:?}"),
    };
    finds("lost with the end of the log", &[], |history| {
        let (partition, from) = place(history);
        lose(history);
        history.excuses.truncations.push(Truncation {
            partition,
            from,
            at: 0,
            until: history.calls[20].begin,
        });
    });
    finds("another partition", &[Promise::AcknowledgedStays, Promise::ReadsOneHistory], |history| {
        let (_, from) = place(history);
        lose(history);
        let partition = Partition(1);
        history.excuses.truncations.push(Truncation { partition, from, at: 0, until: u64::MAX });
    });
    finds("below what was lost", &[Promise::AcknowledgedStays, Promise::ReadsOneHistory], |history| {
        let (partition, from) = place(history);
        lose(history);
        let from = Offset(from.0 + 1);
        history.excuses.truncations.push(Truncation { partition, from, at: 0, until: u64::MAX });
    });
    // A copy of it, written after the loss, is the event now.
    let move_on = |history: &mut History| {
        let on = |offset: &mut Offset| *offset = Offset(offset.0 + 1_000);
        everywhere(history, "a", |events| on(&mut events.last_mut().expect("it has events").offset));
        let is_moved = |record: &&mut LogRecord| record.value == Some(bytes("19"));
        history.log.iter_mut().filter(is_moved).for_each(|record| on(&mut record.offset));
    };
    finds("lost, and a copy stands for it", &[], |history| {
        let (partition, from) = place(history);
        move_on(history);
        history.excuses.truncations.push(Truncation {
            partition,
            from,
            at: 0,
            until: history.calls[20].begin,
        });
    });
    finds(
        "a copy stands for it, and nothing was lost",
        &[Promise::AcknowledgedStays, Promise::ReadsOneHistory],
        move_on,
    );
    finds("shown after all knew", &[Promise::ReadsOneHistory], |history| {
        let (partition, from) = place(history);
        lose(history);
        history.excuses.truncations.push(Truncation {
            partition,
            from,
            at: 0,
            until: history.calls[19].begin,
        });
    });
}

#[test]
fn a_cut_log_lets_a_rebuild_begin_at_a_base() {
    let rebuilt_behind = |history: &mut History| {
        let cut = history.contents[0].keys[&key("a")][2].offset;
        history.log.retain(|record| record.partition != Partition(0) || record.offset > cut);
        let rebuilt = history.contents.last_mut().expect("it is there");
        assert_eq!(rebuilt.of, ContentOf::Rebuilt);
        rebuilt.keys.get_mut(&key("a")).expect("it is there").drain(..3);
        Offset(cut.0 + 1)
    };
    finds("it was cut", &[], |history| {
        let start = rebuilt_behind(history);
        history.excuses.cuts.push((Partition(0), start));
    });
    finds("acknowledged events above the cut are gone", &[Promise::AcknowledgedStays], |history| {
        let start = rebuilt_behind(history);
        history.excuses.cuts.push((Partition(0), start));
        history.log.retain(|record| record.value != Some(bytes("5")));
        history.contents.last_mut().expect("it is there").keys.get_mut(&key("a")).expect("it is").drain(..2);
    });
    let mut history = right();
    rebuilt_behind(&mut history);
    let found = promises(&check(&history));
    assert!(found.contains(&Promise::NoGaps) && found.contains(&Promise::AllAgree), "{found:?}");
}

/// A key that foreign writers put into a second partition: orders are of a partition, reads of all.
fn split() -> History {
    let mut forge = Forge::default();
    forge.acknowledged(0, 1, "s", &["s0"]);
    forge.acknowledged(0, 1, "s", &["s1"]);
    forge.read(0, "s", 0, None);
    forge.foreign(0, "s", Some("f0"));
    forge.foreign(2, "s", Some("f1"));
    forge.read(0, "s", 0, None);
    forge.read(0, "s", 1, Some(2));
    forge.finish()
}

#[test]
fn a_split_key_is_checked_partition_by_partition() {
    let found = check(&split());
    assert!(found.is_empty(), "{found:#?}");
    type Broken = (&'static str, Promise, fn(&mut History));
    let broken: [Broken; 5] = [
        ("its lowest partition is left out", Promise::ReadsOneHistory, |history| {
            let mut call = history.calls[3].clone();
            (call.begin, call.end) = (90, Some(91));
            history.calls.push(call);
            let last = history.calls.len() - 1;
            shown(history, last).remove(0);
        }),
        ("an acknowledged event is left out", Promise::ReadsAcknowledged, |history| {
            drop(shown(history, 3).remove(2));
        }),
        ("a hole within a partition", Promise::ReadsOneHistory, |history| {
            drop(shown(history, 3).remove(1));
        }),
        ("a page with a hole", Promise::ReadsOneHistory, |history| {
            let far = shown(history, 4)[1].clone();
            let mut beyond = far.clone();
            beyond.order = Order(far.order.0 + 2);
            shown(history, 4)[1] = beyond;
        }),
        ("a gap", Promise::NoGaps, |history| {
            history.contents[0].keys.get_mut(&key("s")).expect("it is there")[2].order = Order(2);
        }),
    ];
    for (what, promise, breaks) in broken {
        let mut history = split();
        breaks(&mut history);
        let found = check(&history);
        assert!(promises(&found).contains(&promise), "{what}: {found:#?}");
    }
}

#[test]
fn a_violation_is_a_sentence_with_its_evidence() {
    let mut history = right();
    shown(&mut history, 20).pop();
    let texts: Vec<String> = check(&history).iter().map(Violation::to_string).collect();
    let expected =
        "(8) a: call 20 was shown 6 events, after call 19 had been acknowledged order 6 by the same instance";
    assert_eq!(texts, [expected]);
}

/// Few keys with long histories and many short ones: a loop within a loop would show.
#[test]
fn a_million_calls_are_checked_in_seconds() {
    let mut forge = Forge::default();
    let seed = fastrand::u64(..);
    println!("seed {seed}");
    let mut random = fastrand::Rng::with_seed(seed);
    let mut lengths = std::collections::HashMap::new();
    for number in 0..800_000 {
        let name = if random.bool() { "hot".to_owned() } else { format!("key-{}", random.u32(..50_000)) };
        forge.acknowledged(0, 0, &name, &[&format!("value {number}")]);
        let length = lengths.entry(name.clone()).or_insert(0u64);
        *length += 1;
        if number % 2 == 0 && name != "hot" {
            forge.read(0, &name, length.saturating_sub(3), Some(100));
        }
    }
    let Some(Call { begin, .. }) = forge.history.calls.last() else { panic!("there are calls") };
    assert!(*begin > 1_000_000);
    let history = forge.finish();
    let began = std::time::Instant::now();
    let found = check(&history);
    assert!(found.is_empty(), "{} findings, the first {}", found.len(), found[0]);
    println!("{} calls in {:?}", history.calls.len(), began.elapsed());
    assert!(began.elapsed().as_secs() < 120, "{:?}", began.elapsed());
}
