//! Streams of answers: flat memory, readers that do not read, and stops.

use super::{fill, key, serve, serve_with, wire};
use crate::support::shelf::Shelf;
use crate::support::soon;
use bkes_api::{
    Append, EventStore, Follow, FollowFrom, FollowItem, Order, Partition, Position, Read, Reason,
};
use bkes_grpc::{Drained, ServeOptions};
use bkes_wire::{status, v2};
use std::time::Duration;
use tokio_stream::StreamExt;

fn impatient() -> ServeOptions {
    ServeOptions { reader_patience: Duration::from_millis(1_500), ..ServeOptions::default() }
}

/// Longer than the patience with one who takes nothing, and shorter than with one who does not even take the end.
const A_WHILE: Duration = Duration::from_millis(2_200);

#[tokio::test(flavor = "multi_thread")]
async fn a_long_aggregate_comes_in_pages_that_any_client_takes() {
    let shelf = Shelf::new();
    fill(&shelf, "k", 100, 100_000).await;
    shelf.append(Append::at(key("k"), Order(100)).event(vec![7; 3_000_000])).await.expect("it is stored");
    let (_server, client) = serve(shelf).await;
    let mut pages = client.read(Read::all(key("k"))).await.expect("it opens");
    let (mut next, mut ended) = (0, false);
    while let Some(page) = pages.next().await {
        let page = page.expect("it is whole");
        let bytes: usize = page.events.iter().map(bkes_api::Event::content_bytes).sum();
        assert!(bytes <= 2 * 1024 * 1024 || page.events.len() == 1, "{bytes} bytes");
        for event in page.events {
            assert_eq!(event.order, Order(next));
            next += 1;
        }
        ended = page.end.is_some();
    }
    assert_eq!((next, ended), (101, true));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_reader_that_takes_nothing_is_ended_and_others_are_served() {
    let shelf = Shelf::new();
    fill(&shelf, "k", 60, 500_000).await;
    let (server, client) = serve_with(shelf, impatient()).await;
    let mut slow = wire(&server).await;
    let request = v2::ReadRequest { key: "k".into(), ..Default::default() };
    let mut pages = slow.read(request.clone()).await.expect("it opens").into_inner();
    tokio::time::sleep(A_WHILE).await;
    let whole: Vec<_> = client.read(Read::all(key("k"))).await.expect("it opens").collect().await;
    assert!(whole.last().is_some_and(|page| page.as_ref().is_ok_and(|page| page.end.is_some())));

    let mut events = 0;
    let told = loop {
        match soon("it is ended", pages.next()).await.expect("a status, and no quiet end") {
            Ok(page) => events += page.events.len(),
            Err(told) => break told,
        }
    };
    assert_eq!(status::failure(&told).reason, Reason::ReaderTooSlow, "{told:?}");
    assert!(events < 60, "{events} events came");
}

#[tokio::test(flavor = "multi_thread")]
async fn the_last_page_is_taken_back_like_any_other() {
    let shelf = Shelf::new();
    // One is on its way and another one at hand: the third is the last.
    fill(&shelf, "k", 3, 900_000).await;
    // What is on its way is read through its small window before the connection is cut off.
    let options = ServeOptions { reader_patience: Duration::from_secs(4), ..ServeOptions::default() };
    let (server, _) = serve_with(shelf, options).await;
    let endpoint = bkes_grpc::Channel::from_shared(format!("http://{}", server.address)).expect("an address");
    let channel = endpoint.initial_stream_window_size(10_000).connect().await.expect("it connects");
    let mut slow = v2::event_store_client::EventStoreClient::new(channel);
    let request = v2::ReadRequest { key: "k".into(), ..Default::default() };
    let mut pages = slow.read(request).await.expect("it opens").into_inner();
    tokio::time::sleep(Duration::from_secs(5)).await;
    for _ in 0..2 {
        let page = soon("what was on its way comes", pages.next()).await.expect("a page").expect("no status");
        assert!(page.end.is_none() && page.events.len() == 1);
    }
    let told = soon("it is ended", pages.next()).await.expect("a status");
    let reason = told.map(|page| page.events.len()).map_err(|told| status::failure(&told).reason);
    assert_eq!(reason, Err(Reason::ReaderTooSlow));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_slow_reader_that_reads_is_not_ended() {
    let shelf = Shelf::new();
    fill(&shelf, "k", 20, 600_000).await;
    let (server, _) = serve_with(shelf, impatient()).await;
    let request = v2::ReadRequest { key: "k".into(), ..Default::default() };
    let mut pages = wire(&server).await.read(request).await.expect("it opens").into_inner();
    let mut events = 0;
    while let Some(page) = pages.next().await {
        events += page.expect("it goes on").events.len();
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    assert_eq!(events, 20);
}

/// What a client is told at last is where it misses nothing and sees nothing twice.
#[tokio::test(flavor = "multi_thread")]
async fn a_follower_that_takes_nothing_is_ended_after_positions_from_which_it_goes_on() {
    let shelf = Shelf::new();
    let (server, client) = serve_with(shelf.clone(), impatient()).await;
    let mut slow = wire(&server).await;
    let request =
        v2::FollowRequest { from: Some(v2::follow_request::From::Beginning(true)), ..Default::default() };
    let mut items = slow.follow(request).await.expect("it opens").into_inner();
    fill(&shelf, "k", 40, 500_000).await;
    tokio::time::sleep(A_WHILE).await;

    let (mut seen, mut last) = (Vec::new(), None);
    let told = loop {
        match soon("it is ended", items.next()).await.expect("a status") {
            Ok(reply) => {
                let item = bkes_wire::from_wire::follow_item(reply).expect("it is one").expect("it is known");
                if let FollowItem::Events(events) = &item {
                    seen.extend(events.iter().map(|followed| followed.event.order.0));
                }
                last = Some(item);
            }
            Err(told) => break told,
        }
    };
    assert_eq!(status::failure(&told).reason, Reason::ReaderTooSlow);
    let Some(FollowItem::Positions(positions)) = last else { panic!("positions come last: {last:?}") };
    assert!(seen.len() < 40, "{} events came", seen.len());
    assert_eq!(
        positions.get(Partition(0)),
        Some(Position(seen.len() as u64)),
        "behind what was shown, and no further"
    );
    assert_eq!(seen, (0..seen.len() as u64).collect::<Vec<_>>());

    let follow = Follow { from: FollowFrom::Positions(positions), ..Follow::default() };
    assert!(client.follow(follow).await.is_ok());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stop_ends_followers_after_positions_and_waits_for_no_reader() {
    let shelf = Shelf::new();
    fill(&shelf, "k", 60, 500_000).await;
    let (server, client) = serve(shelf.clone()).await;
    let mut items = client.follow(Follow::default()).await.expect("it opens");
    assert_eq!(items.next().await, Some(Ok(FollowItem::CaughtUp)));
    assert!(matches!(items.next().await, Some(Ok(FollowItem::Positions(_)))));
    client.append(Append::start(key("new")).event("x")).await.expect("it is stored");
    let news = soon("the news come", items.next()).await.expect("an item").expect("no failure");
    assert!(matches!(news, FollowItem::Events(_)));

    let stopping = server.ask_to_stop();
    let last = soon("it says where to go on", items.next()).await.expect("an item").expect("no failure");
    let FollowItem::Positions(positions) = last else { panic!("positions: {last:?}") };
    assert_eq!(positions.get(Partition(0)), Some(Position(61)));
    let end = soon("it ends", items.next()).await.expect("an end").expect_err("a failure");
    assert_eq!(end.reason, Reason::ShuttingDown);
    assert_eq!(items.next().await, None);
    assert_eq!(soon("the server stops", stopping).await.expect("no panic"), Drained::Whole);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stop_ends_a_read_that_goes_on_for_long_and_a_wait() {
    let shelf = Shelf::new();
    fill(&shelf, "k", 60, 500_000).await;
    let (server, client) = serve(shelf).await;
    let request = v2::ReadRequest { key: "k".into(), ..Default::default() };
    let mut pages = wire(&server).await.read(request).await.expect("it opens").into_inner();
    let positions = bkes_api::Positions { topic: None, of: vec![(Partition(0), Position(1_000))] };
    let wait = bkes_api::WaitFor { positions, group: None, timeout: Duration::from_secs(50) };
    let waiting = tokio::spawn(async move { client.wait_for(wait).await });
    tokio::time::sleep(Duration::from_millis(200)).await;
    let stopping = server.ask_to_stop();
    let waited = soon("it is answered", waiting).await.expect("no panic").expect_err("it did not come");
    assert_eq!(waited.reason, Reason::ShuttingDown);
    // It takes what it is sent, slower than the server waits.
    let told = loop {
        tokio::time::sleep(Duration::from_millis(300)).await;
        match soon("it is ended", pages.next()).await.expect("a status, and no quiet end") {
            Ok(_) => {}
            Err(told) => break told,
        }
    };
    assert_eq!(status::failure(&told).reason, Reason::ShuttingDown, "{told:?}");
    drop(pages);
    assert_eq!(soon("the server stops", stopping).await.expect("no panic"), Drained::Whole);
}

#[tokio::test(flavor = "multi_thread")]
async fn streams_that_nobody_reads_hold_no_more_than_a_connection_may_and_end_when_they_are_dropped() {
    let shelf = Shelf::new();
    fill(&shelf, "k", 40, 500_000).await;
    let options = ServeOptions {
        requests_max: 1_000,
        connection_replies_bytes_max: 8 * 1024 * 1024,
        reader_patience: Duration::from_secs(30),
        ..ServeOptions::default()
    };
    let (server, client) = serve_with(shelf, options).await;
    let slow = wire(&server).await;
    let request = v2::ReadRequest { key: "k".into(), ..Default::default() };
    let mut unread = Vec::new();
    for _ in 0..100 {
        unread.push(slow.clone().read(request.clone()).await.expect("it opens").into_inner());
    }
    tokio::time::sleep(Duration::from_millis(300)).await;
    // Another connection has its own.
    let whole: Vec<_> = client.read(Read::all(key("k"))).await.expect("it opens").collect().await;
    assert!(whole.last().is_some_and(|page| page.as_ref().is_ok_and(|page| page.end.is_some())));
    unread.truncate(1);
    let mut pages = unread.pop().expect("one is left");
    let mut has_end = false;
    while let Some(page) = soon("it goes on", pages.next()).await {
        has_end = page.expect("it goes on").end.is_some();
    }
    assert!(has_end);
}

/// The story: a stream whose client takes nothing was ended, but what it had taken before lay in the library with its room for as long as
/// the connection lived. A few clients that answered pings and read nothing held all of the room for good.
#[tokio::test(flavor = "multi_thread")]
async fn what_nobody_takes_holds_room_for_twice_the_patience_and_no_longer() {
    let shelf = Shelf::new();
    fill(&shelf, "k", 6, 900_000).await;
    let patience = Duration::from_millis(700);
    let options = ServeOptions {
        reply_bytes_max: 1_000_000,
        // Three messages, of which two are on their way.
        connection_replies_bytes_max: 3_000_000,
        replies_bytes_max: 6_000_000,
        reader_patience: patience,
        ..ServeOptions::default()
    };
    let (server, client) = serve_with(shelf, options).await;
    let request = v2::ReadRequest { key: "k".into(), ..Default::default() };
    let mut unread = Vec::new();
    for _ in 0..3 {
        let endpoint = bkes_grpc::Channel::from_shared(format!("http://{}", server.address));
        let endpoint = endpoint.expect("an address").initial_stream_window_size(1_000);
        let channel = endpoint.connect().await.expect("it connects");
        let mut slow = v2::event_store_client::EventStoreClient::new(channel);
        for _ in 0..3 {
            unread.push(slow.read(request.clone()).await.expect("it opens").into_inner());
        }
    }
    tokio::time::sleep(3 * patience + Duration::from_millis(500)).await;
    let whole: Vec<_> = client.read(Read::all(key("k"))).await.expect("it opens").collect().await;
    let events: usize = whole.iter().map(|page| page.as_ref().map_or(0, |page| page.events.len())).sum();
    assert_eq!(events, 6, "{:?}", whole.last().map(|page| page.as_ref().err()));
    drop(unread);
}
