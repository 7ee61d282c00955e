//! Reads: which way, how far, as of when, how fresh.

use super::{Suite, pages, refusal, texts, within, wrong_positions};
use crate::append::Append;
use crate::failure::Reason;
use crate::positions::{Freshness, Positions};
use crate::read::{AsOf, Direction, Layout, Read, ReadMany};
use bkes_core::{Offset, Order, TimestampMs};
use tokio_stream::StreamExt;

pub async fn check(suite: &Suite) {
    any_part_is_read_either_way(suite).await;
    pages_are_bounded_and_follow_each_other(suite).await;
    what_is_not_there_is_an_answer(suite).await;
    batches_are_shown_whole_as_of_an_offset(suite).await;
    as_of_a_time_is_the_beginning_up_to_it(suite).await;
    several_aggregates_come_one_after_the_other(suite).await;
    heads_say_where_an_aggregate_stands(suite).await;
    fresh_reads_see_what_another_instance_was_told(suite).await;
    positions_that_are_not_there_are_refused(suite).await;
}

async fn any_part_is_read_either_way(suite: &Suite) {
    const EVENTS: u64 = 6;
    let key = suite.aggregate("parts", EVENTS as usize).await;
    let bounds = [None, Some(0), Some(2), Some(5), Some(6), Some(99)];
    for direction in [Direction::Forwards, Direction::Backwards] {
        for from in bounds {
            for to in bounds {
                for limit in [1, 3, u64::MAX] {
                    let (from, to) = (from.map(Order), to.map(Order));
                    let read = Read { direction, from, to, limit, ..Read::all(key.clone()) };
                    let (events, end) = suite.read(read.clone()).await;
                    let all: Vec<u64> = match direction {
                        Direction::Forwards => (0..EVENTS).collect(),
                        Direction::Backwards => (0..EVENTS).rev().collect(),
                    };
                    let is_in = |order: &u64| match direction {
                        Direction::Forwards => {
                            from.is_none_or(|from| *order >= from.0) && to.is_none_or(|to| *order <= to.0)
                        }
                        Direction::Backwards => {
                            from.is_none_or(|from| *order <= from.0) && to.is_none_or(|to| *order >= to.0)
                        }
                    };
                    let wanted: Vec<String> = all
                        .into_iter()
                        .filter(is_in)
                        .take(usize::try_from(limit).unwrap_or(usize::MAX))
                        .map(|order| order.to_string())
                        .collect();
                    assert_eq!(texts(&events), wanted, "{read:?}");
                    assert_eq!((end.exists, end.next), (true, Order(EVENTS)), "{read:?}");
                    let last = match direction {
                        Direction::Forwards => Order(EVENTS - 1),
                        Direction::Backwards => Order(0),
                    };
                    if let Some(event) = events.last() {
                        assert_eq!(end.is_complete, event.order == last, "{read:?}");
                    }
                }
            }
        }
    }
}

async fn pages_are_bounded_and_follow_each_other(suite: &Suite) {
    let key = suite.key("pages");
    for order in 0..12 {
        suite.stored(Append::at(key.clone(), Order(order)).event(vec![b'a' + order as u8; 300_000])).await;
    }
    suite.stored(Append::at(key.clone(), Order(12)).events(vec!["small"; 1_000])).await;
    for direction in [Direction::Forwards, Direction::Backwards] {
        let pages = suite.pages(Read { direction, ..Read::all(key.clone()) }).await;
        assert!(pages.len() >= 3, "{} pages", pages.len());
        for page in &pages {
            let bytes: usize = page.events.iter().map(crate::Event::content_bytes).sum();
            assert!(bytes <= 1024 * 1024 || page.events.len() == 1, "{bytes} bytes");
        }
        let orders: Vec<u64> =
            pages.iter().flat_map(|page| &page.events).map(|event| event.order.0).collect();
        let mut expected: Vec<u64> = (0..1_012).collect();
        if direction == Direction::Backwards {
            expected.reverse();
        }
        assert_eq!(orders, expected);
    }
}

async fn what_is_not_there_is_an_answer(suite: &Suite) {
    for direction in [Direction::Forwards, Direction::Backwards] {
        let (events, end) = suite.read(Read { direction, ..Read::all(suite.key("nothing")) }).await;
        assert_eq!((events.len(), end.exists, end.next, end.is_complete), (0, false, Order(0), true));
    }
}

async fn batches_are_shown_whole_as_of_an_offset(suite: &Suite) {
    let key = suite.key("as-of");
    let mut appends = Vec::new();
    for (order, events) in [(0, 1), (1, 3), (4, 2), (6, 1)] {
        let values = (order..order + events).map(|value| value.to_string());
        appends.push(suite.stored(Append::at(key.clone(), Order(order)).events(values)).await);
    }
    let first = appends[0].first_offset.0;
    for offset in first.saturating_sub(1)..=appends[3].last_offset.0 {
        let next =
            appends.iter().filter(|append| append.last_offset.0 <= offset).map(|append| append.next().0);
        let next = next.max().unwrap_or(0);
        let as_of = Some(AsOf::Offset(Offset(offset)));
        let (events, end) = suite.read(Read { as_of, ..Read::all(key.clone()) }).await;
        let expected: Vec<String> = (0..next).map(|order| order.to_string()).collect();
        assert_eq!(
            (texts(&events), end.next, end.exists),
            (expected, Order(next), next > 0),
            "as of {offset}"
        );
        let (last, _) = suite.read(Read { as_of, ..Read::last(key.clone(), 1) }).await;
        assert_eq!(last.first().map(|event| event.order.0), next.checked_sub(1), "backwards as of {offset}");
    }
    let above = Some(AsOf::Offset(Offset(appends[3].last_offset.0 + 1_000_000)));
    let refused = refusal(suite.store(), Read { as_of: above, ..Read::all(key) }).await;
    assert_eq!(refused.reason, Reason::OutOfRange, "{refused:?}");
}

async fn as_of_a_time_is_the_beginning_up_to_it(suite: &Suite) {
    let key = suite.key("as-of-time");
    let first = suite.stored(Append::start(key.clone()).event("0")).await;
    let Some(TimestampMs(time)) = first.timestamp else { return };
    tokio::time::sleep(std::time::Duration::from_millis(20)).await;
    let second = suite.stored(Append::at(key.clone(), Order(1)).events(["1", "2"])).await;
    // Of a log whose clock stands still both have one time.
    let later = second.timestamp > first.timestamp;
    for (time, expected) in [(time - 1, 0), (time, if later { 1 } else { 3 }), (time + 60_000, 3)] {
        let as_of = Some(AsOf::Time(TimestampMs(time)));
        let (events, end) = suite.read(Read { as_of, ..Read::all(key.clone()) }).await;
        assert_eq!((events.len(), end.next, end.exists), (expected, Order(expected as u64), expected > 0));
    }
}

async fn several_aggregates_come_one_after_the_other(suite: &Suite) {
    let keys =
        vec![suite.aggregate("many-b", 3).await, suite.key("many-none"), suite.aggregate("many-a", 5).await];
    let read = ReadMany {
        keys: keys.clone(),
        from: Order(1),
        limit: 3,
        freshness: Freshness::Local,
        with_headers: true,
    };
    let mut stream = within(suite.store().read_many(read)).await.expect("it begins");
    let mut shown = Vec::new();
    while let Some(page) = within(stream.next()).await {
        let page = page.expect("it is read");
        shown.push((page.key, texts(&page.page.events), page.page.end.map(|end| (end.exists, end.next.0))));
    }
    let of = |values: &[&str]| values.iter().map(ToString::to_string).collect::<Vec<_>>();
    let [b, none, a] = <[_; 3]>::try_from(keys).expect("three");
    let expected = [
        (b, of(&["1", "2"]), Some((true, 3))),
        (none, of(&[]), Some((false, 0))),
        (a, of(&["1", "2", "3"]), Some((true, 5))),
    ];
    assert_eq!(shown, expected);
}

async fn heads_say_where_an_aggregate_stands(suite: &Suite) {
    let key = suite.aggregate("head", 4).await;
    let stored = suite.stored(Append::at(key.clone(), Order(4)).events(["a", "b"])).await;
    let head =
        within(suite.store().head(key, Freshness::Local)).await.expect("it is told").expect("it exists");
    assert_eq!((head.next, head.partition, head.offset), (Order(6), stored.partition, stored.last_offset));
    assert_eq!((head.timestamp, head.layout), (stored.timestamp, Layout::OnePartition));
    let none = within(suite.store().head(suite.key("no-head"), Freshness::Latest)).await;
    assert_eq!(none, Ok(None));
}

async fn fresh_reads_see_what_another_instance_was_told(suite: &Suite) {
    let key = suite.key("fresh");
    let mut seen = Positions::default();
    for order in 0..20 {
        let stored = suite.stored(Append::at(key.clone(), Order(order)).event(order.to_string())).await;
        seen.advance(&stored.position());
        for freshness in [Freshness::Latest, Freshness::AtLeast(seen.clone())] {
            let read = Read { freshness: freshness.clone(), ..Read::all(key.clone()) };
            let pages =
                pages(within(suite.other().read(read)).await.expect("it begins")).await.expect("it is read");
            let end = pages.last().and_then(|page| page.end.as_ref()).expect("an end");
            assert_eq!(end.next, Order(order + 1), "{freshness:?}");
            let head = within(suite.other().head(key.clone(), freshness)).await.expect("it is told");
            assert_eq!(head.map(|head| head.next), Some(Order(order + 1)));
        }
    }
}

async fn positions_that_are_not_there_are_refused(suite: &Suite) {
    let key = suite.key("refused-positions");
    let stored = suite.stored(Append::start(key.clone()).event("v")).await;
    for (name, positions, reason) in wrong_positions(&stored) {
        let read = Read { freshness: Freshness::AtLeast(positions), ..Read::all(key.clone()) };
        let refused = refusal(suite.store(), read).await;
        assert_eq!(refused.reason, reason, "{name}: {refused:?}");
    }
}
