//! What is said of an append with an id by where that is found: a table of aggregates and tries.

use super::super::tests::{Bench, HERE, append_of, check};
use super::super::{Input, Known, Located};
use crate::append::Expected;
use crate::append_id::{AppendId, Identity};
use crate::{BatchPlace, EventOutline, Head, Incarnation, Offset, Order, Stamp};

/// How far back the machine of these tests looks, and how far at most.
const WINDOW: u64 = 128;
const FAR: u64 = 2_000;

/// Events `base..next` of `a`, of which none has an id.
fn events(base: u64, next: u64) -> Vec<EventOutline> {
    let event = |order| EventOutline {
        order: Order(order),
        partition: HERE,
        offset: Offset(1_000 + order),
        timestamp: None,
        stamp: None,
        append_id: None,
    };
    (base..next).map(event).collect()
}

/// The same with an append of so many events, with the id `x`, that begins at an order.
fn with_id(base: u64, next: u64, first: u64, count: u32) -> Vec<EventOutline> {
    let mut events = events(base, next);
    for i in 1..=count {
        let event = &mut events[(first - base) as usize + i as usize - 1];
        let place = (count > 1).then_some(BatchPlace { i, count });
        event.stamp = Some(Stamp { incarnation: Incarnation(5), number: 1, place });
        event.append_id = (i == 1).then(|| "x".into());
    }
    events
}

/// One batch, with another id.
fn with_other(count: u32) -> Vec<EventOutline> {
    let mut events = with_id(0, u64::from(count), 0, count);
    events[0].append_id = Some("y".into());
    events
}

/// A try of `x`.
fn try_of(is_first: bool, seen: Option<u64>) -> Identity {
    let id = AppendId::new("x").expect("it is short");
    Identity { id, is_first, seen: seen.map(Order) }
}

fn retry() -> Identity {
    try_of(false, None)
}

/// What a machine says of an append to `a`, of which its host knows these events; how many of them it looked at.
fn said(outlines: Vec<EventOutline>, expected: Expected, identity: Identity) -> (Vec<String>, usize) {
    let mut bench = Bench::ready();
    let mut append = append_of(1, expected, &["v"]);
    append.request.identity = Some(identity);
    let head = outlines.first().zip(outlines.last()).map(|(first, last)| Head {
        partition: HERE,
        base: first.order,
        next: Order(last.order.0 + 1),
    });
    bench.host.outlines = outlines;
    let located = Located { partition: HERE, known: Known { head, as_of: 0 } };
    let lines = bench.tell(vec![Input::Append { append, located }]);
    (lines, bench.host.looked_at.get())
}

#[track_caller]
fn says(what: &str, outlines: Vec<EventOutline>, (expected, identity): (Expected, Identity), line: &str) {
    check(what, &said(outlines, expected, identity).0, &[line]);
}

const fn at(order: u64) -> Expected {
    Expected::At(Order(order))
}

#[test]
fn an_append_that_names_its_order_is_found_there_and_elsewhere_its_id_was_used() {
    let of = |first| with_id(0, 300, first, 1);
    let used = "failed 1: append id \"x\" was used before";
    says("where it would be", of(299), (at(299), retry()), "found 1 at 299");
    says("far below the window", of(7), (at(7), retry()), "found 1 at 7");
    says("at the beginning", of(0), (Expected::New, retry()), "found 1 at 0");
    says(
        "in the window, at another order",
        of(298),
        (at(299), retry()),
        "failed 1: append id \"x\" was used before",
    );
    says("decided anew", of(172), (at(300), retry()), "failed 1: append id \"x\" was used before");
    says("decided anew beyond the window", of(171), (at(300), retry()), "send 0");
    says("a first try is not looked for before it is sent", of(298), (at(300), try_of(true, None)), "send 0");
    says("but before it is refused", of(299), (at(299), try_of(true, None)), "found 1 at 299");
    let conflict = "failed 1: order 5 was expected but the next order";
    says("it is not there", events(0, 300), (at(5), retry()), conflict);
    says("the order is that of a later member", with_id(0, 9, 4, 2), (at(5), retry()), "failed 1: append id");
    says("a batch that begins before the window", with_id(0, 300, 100, 200), (at(300), retry()), used);
    says("a batch of which one event is in the window", with_id(0, 300, 171, 2), (at(300), retry()), used);
    says("a batch that ends before it", with_id(0, 300, 170, 2), (at(300), retry()), "send 0");
    says(
        "nothing is there, and may be elsewhere",
        Vec::new(),
        (Expected::New, retry()),
        "unverified 1 in All",
    );
    says("nothing is there", Vec::new(), (Expected::New, try_of(true, None)), "send 0");
    says("above the next order", events(0, 3), (at(5), retry()), "unverified 1 in One");
}

#[test]
fn an_append_that_takes_any_order_is_found_wherever_it_can_be_and_not_sent_where_it_cannot() {
    let any = |is_first, seen| (Expected::Any, try_of(is_first, seen));
    for expected in [Expected::Any, Expected::Exists] {
        says("the last", with_id(0, 300, 299, 1), (expected, retry()), "found 1 at 299");
        says("the first of the window", with_id(0, 300, 172, 1), (expected, retry()), "found 1 at 172");
        let unknown =
            "failed 1: outcome unknown: an earlier try with append id \"x\" may lie below order 172";
        says("before the window", with_id(0, 300, 171, 1), (expected, retry()), unknown);
        says("not there, and the window ends", events(0, 300), (expected, retry()), unknown);
        says("not there, and all was looked at", events(0, 128), (expected, retry()), "send 0");
    }
    says(
        "a batch that begins before the window",
        with_id(0, 300, 100, 100),
        any(false, None),
        "found 1 at 100",
    );
    says(
        "a batch that ends before it",
        with_id(0, 300, 100, 72),
        any(false, None),
        "failed 1: outcome unknown",
    );
    says(
        "what was seen extends the window",
        with_id(0, 300, 100, 1),
        any(false, Some(100)),
        "found 1 at 100",
    );
    says("and proves that it is not there", events(0, 300), any(false, Some(100)), "send 0");
    says("what was seen lies in the window", events(0, 300), any(false, Some(250)), "send 0");
    let far = "failed 1: outcome unknown: an earlier try with append id \"x\" may lie below order 100";
    says("it was seen too long ago", events(0, FAR + 100), any(false, Some(99)), far);
    says("it was seen just not too long ago", events(0, FAR + 100), any(false, Some(100)), "send 0");
    // A retry may have overtaken it.
    says("a first try that came late", with_id(0, 300, 299, 1), any(true, None), "found 1 at 299");
    says("a first try", events(0, 300), any(true, None), "send 0");
    says("a first try that came too late", events(0, 300), any(true, Some(5)), "send 0");
    let late = "failed 1: outcome unknown: an earlier try with append id \"x\" may lie below order 100";
    says("a first try that came far too late", events(0, FAR + 100), any(true, Some(5)), late);
    says("all belongs to one batch", with_other(200), any(false, None), "send 0");
    says("nothing is there, and may be elsewhere", Vec::new(), any(false, None), "unverified 1 in All");
    says("nothing is there", Vec::new(), any(true, None), "send 0");
    says("nothing exists", Vec::new(), (Expected::Exists, retry()), "unverified 1 in All");
}

/// The head of the aggregate is gone.
#[test]
fn below_the_base_of_a_cut_aggregate_nothing_is_denied() {
    let unknown = "failed 1: outcome unknown: an earlier try with append id \"x\" may lie below order 50";
    says("named", events(50, 60), (at(49), retry()), unknown);
    says(
        "named, and it cannot have been there before",
        events(50, 60),
        (at(49), try_of(true, None)),
        "failed 1: order 49",
    );
    says("any", events(50, 60), (Expected::Any, retry()), unknown);
    says("any, seen above the base", events(50, 60), (Expected::Any, try_of(false, Some(50))), "send 0");
    says("found above the base", with_id(50, 60, 55, 1), (Expected::Any, retry()), "found 1 at 55");
}

#[test]
fn no_more_is_looked_at_than_can_matter() {
    let looked_at = |expected, identity| said(events(0, FAR * 2), expected, identity).1 as u64;
    assert_eq!(looked_at(at(FAR * 2), try_of(true, None)), 0);
    assert_eq!(looked_at(at(5), try_of(true, None)), 1);
    assert_eq!(looked_at(at(5), retry()), WINDOW + 1);
    assert_eq!(looked_at(Expected::Any, retry()), WINDOW);
    assert_eq!(looked_at(Expected::Any, try_of(false, Some(0))), FAR);
}

/// What cannot be looked up is neither found nor missing.
#[test]
fn where_the_host_cannot_tell_nothing_is_said_of_the_id() {
    let mut bench = Bench::ready();
    bench.host.outlines = events(0, 3);
    bench.host.unsendable = Some(crate::append::Unready::LogDown { cause: "away".into() });
    let mut append = append_of(1, at(2), &["v"]);
    append.request.identity = Some(retry());
    let head = Some(Head { partition: HERE, base: Order::FIRST, next: Order(3) });
    let located = Located { partition: HERE, known: Known { head, as_of: 0 } };
    let lines = bench.tell(vec![Input::Append { append, located }]);
    check("unavailable", &lines, &["failed 1: unavailable: the log is down"]);
}
