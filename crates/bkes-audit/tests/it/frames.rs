//! An instance whose events are right, and that lies about what is around them: how they lie, in which order, where they end, and what came
//! after the end of the audit.

use crate::shelf::{HeadLie, Held, Shelf, is_split};
use crate::topic::{Topic, header, marked};
use bkes_api::{Event, Head, Layout};
use bkes_audit::{Compared, Finding, Instance, Options, Place, audit};
use bkes_core::{Incarnation, Key, Marker, Offset, Order, Partition, Stamp, TimestampMs};
use std::time::Duration;
use tokio::runtime::Runtime;

fn compared(topic: &Topic, held: &Held) -> Compared {
    let runtime = Runtime::new().expect("threads");
    let shelf = Shelf::fixed(held.clone());
    let instance = Instance { store: &*shelf, runtime: runtime.handle() };
    let (wait_max, pause) = (Duration::from_secs(5), Duration::from_millis(1));
    let options = Options { wait_max, pause, tries_max: 3, ..Options::default() };
    let report = audit(&topic.log, Some(instance), &options, &mut |_| {}).expect("both can be read");
    report.compared.expect("it was compared")
}

fn findings(topic: &Topic, held: &Held) -> Vec<Finding> {
    let findings = compared(topic, held).findings;
    assert_eq!((findings.more, findings.more_aggregates), (0, 0));
    findings.kept
}

/// Aggregate `whole` in partition 0, by BKES; and `split`: orders 0 and 1 in partition 0 by BKES, 2, 3 and 4 in partition 1 by headers.
fn topic() -> (Topic, Held) {
    let mut topic = Topic::new(2, 1, 1);
    let mut number = 0;
    for (key, orders) in [("whole", 0..5), ("split", 0..2)] {
        for order in orders {
            number += 1;
            let stamp = Stamp { incarnation: Incarnation(1), number, place: None };
            let marker = Marker { stamp, order: Order(order), base: topic.end(0) };
            topic.put(0, Some(key.into()), None, marked(key.as_bytes(), None, marker));
        }
    }
    for order in ["2", "3", "4"] {
        topic.put(1, Some("split".into()), None, vec![header(b"order", Some(order.as_bytes()))]);
    }
    let mut held = Held::of(&topic.log);
    held.by_order_headers = true;
    (topic, held)
}

fn key(name: &'static str) -> Key {
    Key::new(name).expect("not empty")
}

#[test]
fn a_split_aggregate_is_right_in_either_of_its_orders() {
    let (topic, mut held) = topic();
    assert!(is_split(&held.events[&key("split")]));
    assert_eq!(findings(&topic, &held), []);
    held.by_order_headers = false;
    assert_eq!(findings(&topic, &held), []);
}

/// The story: that its orders are those of headers was the instance's word, and with it nothing was compared in order: two events in each
/// other's place were not seen.
#[test]
fn two_events_in_each_others_place_are_found_whatever_is_said_of_how_they_lie() {
    let over = |partitions: &[u32]| partitions.iter().copied().map(Partition).collect::<Vec<_>>();
    let layouts = [
        Layout::OnePartition,
        Layout::PartByPart(over(&[0])),
        Layout::ByOrderHeaders(over(&[0])),
        Layout::ByOrderHeaders(over(&[0, 1])),
    ];
    for layout in layouts {
        let (topic, mut held) = topic();
        held.layout = Some((key("whole"), layout.clone()));
        let found = findings(&topic, &held);
        let wrong = Finding::WrongLayout { key: key("whole"), is_split: false };
        assert_eq!(found, if layout.is_split() { vec![wrong] } else { Vec::new() }, "{layout:?}");
        held.swapped = Some((key("whole"), 1, 2));
        let found = findings(&topic, &held);
        let is_told =
            |f: &Finding| matches!(f, Finding::WrongOrder { key: told, .. } if *told == key("whole"));
        assert_eq!(found.iter().filter(|found| is_told(found)).count(), 2, "{layout:?}: {found:?}");
    }
    // Of one that is split, within a partition and over two.
    for (one, other) in [(0, 1), (1, 2), (3, 4)] {
        let (topic, mut held) = topic();
        held.swapped = Some((key("split"), one, other));
        let found = findings(&topic, &held);
        let is_told =
            |f: &Finding| matches!(f, Finding::SplitDiffers { key: told, .. } if *told == key("split"));
        assert!(found.iter().any(is_told), "{one} and {other}: {found:?}");
    }
}

#[test]
fn a_split_aggregate_that_is_said_to_be_whole_is_found() {
    let over = |partitions: &[u32]| partitions.iter().copied().map(Partition).collect::<Vec<_>>();
    for layout in
        [Layout::OnePartition, Layout::ByOrderHeaders(over(&[0])), Layout::PartByPart(over(&[0, 1, 2]))]
    {
        let (topic, mut held) = topic();
        held.layout = Some((key("split"), layout.clone()));
        let found = findings(&topic, &held);
        let wrong = Finding::WrongLayout { key: key("split"), is_split: true };
        assert!(found.contains(&wrong), "{layout:?}: {found:?}");
    }
}

/// The story: whatever was said to lie above the end passed for newer, without the log being asked whether it goes as far; and a stream of
/// such events had no end.
#[test]
fn what_is_shown_at_a_place_that_the_log_does_not_have_is_found() {
    for (partition, offset) in [(0, 1_000), (7, 0), (u32::MAX, u64::MAX)] {
        for is_endless in [false, true] {
            let (topic, mut held) = topic();
            let events = held.events.get_mut(&key("whole")).expect("it is there");
            let (partition, offset) = (Partition(partition), Offset(offset));
            let made_up = Event { order: Order(5), partition, offset, ..events[4].clone() };
            match is_endless {
                true => held.endless = Some((key("whole"), made_up)),
                false => events.push(made_up),
            }
            let found = compared(&topic, &held).findings.kept;
            let extra =
                Finding::Extra { key: key("whole"), event: Place { order: Order(5), partition, offset } };
            assert!(found.contains(&extra), "{partition} {offset} {is_endless}: {found:?}");
        }
    }
}

#[test]
fn a_stream_of_events_without_an_end_is_given_up() {
    // Of one that is there.
    let (topic, mut held) = topic();
    let event = held.events[&key("whole")][4].clone();
    held.endless = Some((key("whole"), event));
    let found = compared(&topic, &held).findings;
    let extra = |finding: &Finding| matches!(finding, Finding::Extra { .. });
    assert!(!found.kept.is_empty() && found.kept.iter().all(extra), "{found:?}");
    // Of a newer one that is there.
    let (mut topic, mut held) = self::topic();
    let event = held.events[&key("whole")][4].clone();
    let offset = Offset(topic.end(0).0);
    held.endless = Some((key("whole"), Event { offset, ..event }));
    let runtime = Runtime::new().expect("threads");
    let (shelf, log) = (Shelf::fixed(held), topic.log.clone());
    let instance = Instance { store: &*shelf, runtime: runtime.handle() };
    let mut is_written = false;
    let report = audit(&log, Some(instance), &Options::default(), &mut |_| {
        if !std::mem::replace(&mut is_written, true) {
            topic.put(0, Some("other".into()), None, Vec::new());
        }
    });
    let found = report.expect("both can be read").compared.expect("it was compared").findings.kept;
    assert_eq!(found, [Finding::TooManyNewer { key: key("whole"), shown: 2 }]);
}

#[test]
fn a_head_that_says_something_else_than_the_reads_is_found() {
    let (topic, held) = topic();
    let last = held.events[&key("whole")][4].clone();
    let Event { partition, offset, timestamp, .. } = last;
    let (first, next, layout) = (Order(0), Order(5), Layout::OnePartition);
    let head = Head { first, next, partition, offset, timestamp, layout };
    let check = |lie: HeadLie, next: Option<Order>| {
        let found = findings(&topic, &Held { head: lie, ..held.clone() });
        assert_eq!(found, [Finding::WrongHead { key: key("whole"), next }]);
    };
    check(HeadLie::IsNot(key("whole")), None);
    let lies = [
        Head { next: Order(4), ..head.clone() },
        Head { next: Order(6), ..head.clone() },
        Head { next: Order(6), offset: Offset(1_000), ..head.clone() },
        Head { partition: Partition(1), ..head.clone() },
        Head { offset: Offset(0), ..head.clone() },
        Head { timestamp: Some(TimestampMs(-7)), ..head.clone() },
        Head { layout: Layout::PartByPart(vec![Partition(0)]), ..head.clone() },
    ];
    for lie in lies {
        let next = Some(lie.next);
        check(HeadLie::Is(key("whole"), Box::new(lie)), next);
    }
    let right = HeadLie::Is(key("whole"), Box::new(head));
    let compared = compared(&topic, &Held { head: right, ..held.clone() });
    assert_eq!((compared.findings.kept, compared.heads), (Vec::new(), 2));
}

/// The story: of a list that named 100,000 partitions for each aggregate all were kept, though only keys were counted.
#[test]
fn of_what_the_list_says_falsely_little_is_kept() {
    let (topic, mut held) = topic();
    let many: Vec<Partition> = (0..100_000).map(Partition).collect();
    held.listed.get_mut(&key("whole")).expect("it is listed").partitions = many;
    let found = findings(&topic, &held);
    let [Finding::WronglyListed { partitions, more_partitions, .. }] = &found[..] else {
        panic!("{found:?}")
    };
    assert_eq!((partitions.len(), *more_partitions), (8, 99_992));
}
