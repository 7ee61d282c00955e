//! Appends: places, batches, contents, and what is refused.

use super::{Suite, failed};
use crate::append::Append;
use crate::failure::Reason;
use crate::read::Read;
use bkes_core::append::{EventContent, Expected};
use bkes_core::{Header, Order};
use bytes::Bytes;
use std::time::Duration;

pub async fn check(suite: &Suite) {
    places_follow_each_other(suite).await;
    a_batch_is_stored_whole(suite).await;
    contents_come_back_as_they_went_in(suite).await;
    what_makes_no_sense_is_refused(suite).await;
    an_append_whose_time_is_over_is_not_sent(suite).await;
}

async fn places_follow_each_other(suite: &Suite) {
    let key = suite.key("places");
    let first = suite.stored(Append::start(key.clone()).event("a")).await;
    assert_eq!((first.first, first.last, first.next()), (Order(0), Order(0), Order(1)));
    assert_eq!((first.first_offset, first.by_earlier_try), (first.last_offset, false));
    let second = suite.stored(Append::at(key.clone(), first.next()).event("b")).await;
    assert_eq!((second.first, second.partition), (Order(1), first.partition));
    assert!(second.last_offset > first.last_offset, "offsets rise");
    let topic = suite.store().status().await.expect("a status").topic_id;
    assert_eq!((&first.topic, &second.topic), (&topic, &topic));
    let (events, end) = suite.read(Read::all(key)).await;
    let places: Vec<_> = events.iter().map(|event| (event.order, event.partition, event.offset)).collect();
    let of = |append: &crate::Appended| (append.first, append.partition, append.first_offset);
    assert_eq!(places, [of(&first), of(&second)]);
    assert_eq!(events[1].timestamp, second.timestamp);
    assert_eq!((end.next, end.exists, end.is_complete), (Order(2), true, true));
}

async fn a_batch_is_stored_whole(suite: &Suite) {
    let key = suite.key("batch");
    let batch = suite.stored(Append::start(key.clone()).events(["a", "b", "c"])).await;
    assert_eq!((batch.first, batch.last, batch.next()), (Order(0), Order(2), Order(3)));
    let (events, _) = suite.read(Read::all(key.clone())).await;
    assert_eq!((events[0].offset, events[2].offset), (batch.first_offset, batch.last_offset));
    let refused = suite.append(Append::at(key.clone(), Order(1)).events(["x", "y"])).await;
    failed(refused, Reason::Conflict);
    let most = suite.stored(Append::at(key.clone(), Order(3)).events(vec!["v"; 1_000])).await;
    assert_eq!((most.first, most.last), (Order(3), Order(1_002)));
    assert_eq!(suite.read(Read::all(key)).await.1.next, Order(1_003));
}

async fn contents_come_back_as_they_went_in(suite: &Suite) {
    let header = |name: &'static [u8], value: Option<&'static [u8]>| Header {
        name: Bytes::from_static(name),
        value: value.map(Bytes::from_static),
    };
    let headers = vec![
        header(b"trace", Some(b"\x00\xff")),
        header(b"trace", None),
        header(b"\xfe\xff", Some(b"")),
        header(b"", Some(b"nameless")),
        header(b"trace", Some(b"\x00\xff")),
    ];
    let contents = vec![
        EventContent { value: Some(Bytes::from_static(b"\x00\xff\n")), headers: headers.clone() },
        EventContent { value: Some(Bytes::new()), headers: Vec::new() },
        EventContent { value: None, headers },
    ];
    let key = suite.key("contents");
    suite.stored(Append::start(key.clone()).events(contents.clone())).await;
    let (events, _) = suite.read(Read::all(key.clone())).await;
    let read: Vec<EventContent> =
        events.into_iter().map(|event| EventContent { value: event.value, headers: event.headers }).collect();
    assert_eq!(read, contents);
    let (events, _) = suite.read(Read { with_headers: false, ..Read::all(key) }).await;
    assert!(events.iter().all(|event| event.headers.is_empty()), "headers that are not asked for");
}

async fn what_makes_no_sense_is_refused(suite: &Suite) {
    let key = suite.key("refused");
    let none = Append::start(key.clone());
    failed(suite.append(none.clone()).await, Reason::InvalidRequest);
    failed(suite.append(none.clone().events(vec!["v"; 1_001])).await, Reason::InvalidRequest);
    for name in ["bkes", "bkes-id", "order"] {
        failed(suite.append(none.clone().event("v").header(name, "x")).await, Reason::InvalidRequest);
    }
    let mut many = none.clone().event("v");
    for _ in 0..1_001 {
        many = many.header("h", "v");
    }
    failed(suite.append(many).await, Reason::InvalidRequest);
    for expected in [Expected::Any, Expected::Exists] {
        let without_id = Append::new(key.clone(), expected).event("v");
        failed(suite.append(without_id).await, Reason::InvalidRequest);
    }
    let batch = none.clone().events(vec![vec![7; 512 * 1024]; 40]);
    failed(suite.append(batch).await, Reason::TooLarge);
    assert_eq!(
        suite.store().head(key, crate::Freshness::Latest).await,
        Ok(None),
        "nothing of all that is stored"
    );
}

async fn an_append_whose_time_is_over_is_not_sent(suite: &Suite) {
    let key = suite.key("late");
    let late = suite.append(Append::start(key.clone()).event("v").within(Duration::ZERO)).await;
    failed(late, Reason::NotSent);
    assert_eq!(suite.store().head(key, crate::Freshness::Latest).await, Ok(None));
}
