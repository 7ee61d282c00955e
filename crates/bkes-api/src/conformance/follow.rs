//! Following.

use super::{Suite, within, wrong_positions};
use crate::append::Append;
use crate::failure::Failure;
use crate::follow::{Follow, FollowFrom, FollowItem, Followed};
use crate::positions::Positions;
use crate::store::BoxStream;
use bkes_core::{Key, Order};
use tokio_stream::StreamExt;

pub async fn check(suite: &Suite) {
    the_past_comes_first_and_then_what_is_new(suite).await;
    from_now_on_only_what_is_new_is_shown(suite).await;
    one_aggregate_is_followed(suite).await;
    a_stream_goes_on_where_another_ended(suite).await;
    positions_that_are_not_there_are_refused(suite).await;
}

type Stream = BoxStream<Result<FollowItem, Failure>>;

async fn follow(suite: &Suite, followed: Followed, from: FollowFrom) -> Stream {
    within(suite.store().follow(Follow { followed, from, with_headers: true })).await.expect("it begins")
}

/// What comes until so many events are there, as key and order, and the last positions among it.
async fn take(stream: &mut Stream, events: usize) -> (Vec<(Key, Order)>, Option<Positions>) {
    let (mut shown, mut last) = (Vec::new(), None);
    while shown.len() < events {
        match within(stream.next()).await.expect("it goes on").expect("it is no failure") {
            FollowItem::Events(events) => {
                shown.extend(events.into_iter().map(|followed| (followed.key, followed.event.order)));
            }
            FollowItem::Positions(positions) => last = Some(positions),
            FollowItem::CaughtUp | FollowItem::FellBehind => {}
        }
    }
    (shown, last)
}

async fn until_caught_up(stream: &mut Stream) -> Vec<(Key, Order)> {
    let mut shown = Vec::new();
    loop {
        match within(stream.next()).await.expect("it goes on").expect("it is no failure") {
            FollowItem::CaughtUp => return shown,
            FollowItem::Events(events) => {
                shown.extend(events.into_iter().map(|followed| (followed.key, followed.event.order)));
            }
            FollowItem::Positions(_) | FollowItem::FellBehind => {}
        }
    }
}

fn orders(key: &Key, orders: std::ops::Range<u64>) -> Vec<(Key, Order)> {
    orders.map(|order| (key.clone(), Order(order))).collect()
}

async fn the_past_comes_first_and_then_what_is_new(suite: &Suite) {
    let key = suite.aggregate("follow-past", 30).await;
    let prefix = Followed::Prefix(key.bytes().clone());
    let mut stream = follow(suite, prefix, FollowFrom::Beginning).await;
    assert_eq!(until_caught_up(&mut stream).await, orders(&key, 0..30));
    for order in 30..40 {
        suite.stored(Append::at(key.clone(), Order(order)).event("new")).await;
    }
    suite.stored(Append::at(key.clone(), Order(40)).events(["a", "b", "c"])).await;
    assert_eq!(take(&mut stream, 13).await.0, orders(&key, 30..43));
}

async fn from_now_on_only_what_is_new_is_shown(suite: &Suite) {
    let key = suite.aggregate("follow-now", 5).await;
    let mut stream = follow(suite, Followed::All, FollowFrom::Now).await;
    until_caught_up(&mut stream).await;
    suite.stored(Append::at(key.clone(), Order(5)).event("new")).await;
    let of_key = |(of, _): &(Key, Order)| *of == key;
    let mut shown = Vec::new();
    while shown.is_empty() {
        shown.extend(take(&mut stream, 1).await.0.into_iter().filter(of_key));
    }
    assert_eq!(shown, orders(&key, 5..6));
}

async fn one_aggregate_is_followed(suite: &Suite) {
    let key = suite.aggregate("follow-key", 4).await;
    let mut stream = follow(suite, Followed::Key(key.clone()), FollowFrom::Beginning).await;
    assert_eq!(until_caught_up(&mut stream).await, orders(&key, 0..4));
    suite.aggregate("follow-key-2", 3).await;
    suite.stored(Append::at(key.clone(), Order(4)).events(["a", "b"])).await;
    assert_eq!(take(&mut stream, 2).await.0, orders(&key, 4..6));
    // One that is not there yet is waited for.
    let later = suite.key("follow-later");
    let mut stream = follow(suite, Followed::Key(later.clone()), FollowFrom::Beginning).await;
    assert!(until_caught_up(&mut stream).await.is_empty());
    suite.stored(Append::start(later.clone()).event("a")).await;
    assert_eq!(take(&mut stream, 1).await.0, orders(&later, 0..1));
}

async fn a_stream_goes_on_where_another_ended(suite: &Suite) {
    let key = suite.key("follow-on");
    let prefix = || Followed::Prefix(key.bytes().clone());
    let mut at = FollowFrom::Beginning;
    let mut all = Vec::new();
    for round in 0..5 {
        suite.stored(Append::at(key.clone(), Order(round * 3)).events(["a", "b", "c"])).await;
        let mut stream = follow(suite, prefix(), at).await;
        let (shown, _) = take(&mut stream, 3).await;
        all.extend(shown);
        // Positions come regularly: those that come next cover what was shown.
        let positions = loop {
            match within(stream.next()).await.expect("it goes on").expect("it is no failure") {
                FollowItem::Positions(positions) => break positions,
                FollowItem::Events(events) => panic!("more than was appended: {events:?}"),
                FollowItem::CaughtUp | FollowItem::FellBehind => {}
            }
        };
        assert!(positions.topic.is_some(), "positions carry the topic's id");
        at = FollowFrom::Positions(positions);
    }
    assert_eq!(all, orders(&key, 0..15));
}

async fn positions_that_are_not_there_are_refused(suite: &Suite) {
    let stored = suite.stored(Append::start(suite.key("follow-refused")).event("v")).await;
    for (name, positions, reason) in wrong_positions(&stored) {
        let from = FollowFrom::Positions(positions);
        let begun = within(suite.store().follow(Follow { from, ..Follow::default() })).await;
        let refused = match begun {
            Err(failure) => failure,
            Ok(mut stream) => within(stream.next()).await.expect("it is told").expect_err("it is refused"),
        };
        assert_eq!(refused.reason, reason, "{name}: {refused:?}");
    }
}
