//! Sizes: the largest append passes, and what would take too much memory is refused before it is made.

use super::{key, serve, serve_with, wire};
use crate::support::raw::{Raw, prefix};
use crate::support::shelf::Shelf;
use crate::support::soon;
use bkes_api::{Append, EventContent, EventStore, Header, Read, Reason};
use bkes_grpc::ServeOptions;
use bkes_wire::{status, to_wire, v2};
use fastrand::Rng;
use prost::Message;
use std::time::Duration;
use tokio_stream::StreamExt;
use tonic::Code;

#[tokio::test(flavor = "multi_thread")]
async fn the_largest_append_passes_in_a_call_and_in_a_stream() {
    let (_server, client) = serve(Shelf::new()).await;
    let event = |bytes: usize| EventContent {
        value: Some(vec![7; bytes].into()),
        headers: vec![Header { name: "n".into(), value: Some("v".into()) }; 4],
    };
    let append =
        |name: &str| Append::start(key(name)).events(vec![event(16 * 1024 * 1024 / 1_000 - 8); 1_000]);
    soon("it is stored", client.append(append("a"))).await.expect("it is stored");
    let appends = Box::pin(tokio_stream::iter([super::tagged(1, append("b"))]));
    let answers: Vec<_> = client.append_stream(appends).await.expect("it opens").collect().await;
    assert!(answers[0].answer.is_ok(), "{answers:?}");
    let pages: Vec<_> = client.read(Read::all(key("b"))).await.expect("it opens").collect().await;
    let events: usize = pages.iter().map(|page| page.as_ref().expect("whole").events.len()).sum();
    assert_eq!(events, 1_000);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_request_above_the_limit_is_too_large_and_says_so_as_a_rejection() {
    let (server, client) = serve(Shelf::new()).await;
    let append = Append::start(key("k")).event(vec![7; 34 * 1024 * 1024]);
    let failure = soon("it is refused", client.append(append)).await.expect_err("it is too large");
    assert_eq!(failure.reason(), Reason::TooLarge, "{failure:?}");
    client.append(Append::start(key("k")).event("x")).await.expect("the connection goes on");
    drop(server);
}

/// The story: two bytes of a message can be a header, which takes 64 in memory.
#[tokio::test(flavor = "multi_thread")]
async fn a_message_that_would_be_large_in_memory_is_refused_before_it_is_made() {
    let (server, _) = serve(Shelf::new()).await;
    let mut wire = wire(&server).await;
    let append = Append::start(key("k")).events(vec![EventContent::default(); 400_000]);
    let told = wire.append(to_wire::append(append)).await.expect_err("too many events");
    assert_eq!((told.code(), status::failure(&told).reason), (Code::InvalidArgument, Reason::InvalidRequest));
    let told =
        wire.read_many(v2::ReadManyRequest { keys: vec!["k".into(); 1_001], ..Default::default() }).await;
    assert_eq!(status::failure(&told.expect_err("too many keys")).reason, Reason::InvalidRequest);
}

#[tokio::test(flavor = "multi_thread")]
async fn requests_that_hold_too_much_together_are_overloaded_with_advice_when_to_come_again() {
    let options = ServeOptions { requests_max: 1, ..ServeOptions::default() };
    let shelf = Shelf::held();
    let (_server, client) = serve_with(shelf.clone(), options).await;
    let first = {
        let client = client.clone();
        tokio::spawn(async move { client.append(Append::start(key("a")).event("x")).await })
    };
    soon("the place is taken", async {
        while shelf.asked() == 0 {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    })
    .await;
    let refused = client.head(key("a"), bkes_api::Freshness::Local).await.expect_err("there is one place");
    assert_eq!(refused.reason, Reason::Overloaded);
    assert!(refused.retry_after.is_some());
    shelf.open(2);
    soon("it is stored", first).await.expect("no panic").expect("it is stored");
    client.append(Append::start(key("b")).event("x")).await.expect("there is room again");
}

/// The story: a stream that stays open without a word took a place from every other call.
#[tokio::test(flavor = "multi_thread")]
async fn a_dozen_clients_that_open_all_streams_they_may_leave_others_their_calls() {
    let shelf = Shelf::held();
    let options = ServeOptions { requests_max: 200, ..ServeOptions::default() };
    let (server, client) = serve_with(shelf.clone(), options).await;
    let mut open = Vec::new();
    for _ in 0..12 {
        let mut wire = wire(&server).await;
        loop {
            match wire.append_stream(tokio_stream::pending()).await {
                Ok(stream) => open.push(stream),
                Err(told) => {
                    assert_eq!(status::failure(&told).reason, Reason::Overloaded);
                    break;
                }
            }
        }
    }
    assert!((150..200).contains(&open.len()), "{} are open", open.len());
    let calls: Vec<_> = (0..50)
        .map(|n| {
            let client = client.clone();
            tokio::spawn(async move { client.append(Append::start(key(format!("k{n}"))).event("x")).await })
        })
        .collect();
    soon("all have a place at once", async {
        while shelf.asked() < 50 {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    })
    .await;
    shelf.open(50);
    for call in calls {
        soon("it is stored", call).await.expect("no panic").expect("it is stored");
    }
    let pages: Vec<_> = client.read(Read::all(key("k7"))).await.expect("a stream is left").collect().await;
    assert!(pages[0].is_ok());
}

#[tokio::test(flavor = "multi_thread")]
async fn any_bytes_as_any_request_are_answered_and_the_server_goes_on() {
    let (server, client) = serve(Shelf::new()).await;
    let calls =
        ["Append", "AppendStream", "Read", "ReadMany", "Head", "ListKeys", "Follow", "Status", "Nonsense"];
    let mut random = Rng::with_seed(5);
    let mut codes = std::collections::BTreeSet::new();
    for round in 0..300 {
        let mut raw = Raw::connect(server.address).await;
        let call = calls[round % calls.len()];
        let mut message: Vec<u8> = if random.bool() {
            to_wire::append(Append::start(key("k")).event("x")).encode_to_vec()
        } else {
            (0..random.usize(..50)).map(|_| random.u8(..)).collect()
        };
        bkes_testkit::input::spoil(&mut random, &mut message);
        let mut call = raw.begin(&format!("/bkes.v2.EventStore/{call}")).await.expect("it begins");
        let message = [prefix(message.len() as u32), message].concat();
        // A call that there is not may be answered already.
        drop(call.body.send_data(message.into(), true));
        let code = tokio::time::timeout(Duration::from_millis(500), call.code()).await;
        // A follower has no end of its own.
        if let Ok(code) = code {
            codes.insert(code.map(i32::from));
        }
    }
    let known = [None, Some(3), Some(6), Some(10), Some(12)];
    assert!(codes.iter().all(|code| known.contains(code)), "{codes:?}");
    assert!(codes.contains(&None) && codes.contains(&Some(3)), "{codes:?}");
    client.append(Append::start(key("after")).event("x")).await.expect("the server goes on");
}

/// The story: a request was not weighed unless it was an append, and what it asked for was kept for as long as its answer was not taken.
#[tokio::test(flavor = "multi_thread")]
async fn what_open_streams_were_asked_for_is_weighed_until_they_end() {
    let options = ServeOptions { working_bytes_max: 300_000, ..ServeOptions::default() };
    let (server, _) = serve_with(Shelf::new(), options).await;
    let mut wire = wire(&server).await;
    let mut open = Vec::new();
    let follow = || v2::FollowRequest {
        followed: Some(v2::follow_request::Followed::Prefix(vec![7; 100_000].into())),
        ..v2::FollowRequest::default()
    };
    for _ in 0..2 {
        open.push(wire.follow(follow()).await.expect("there is room"));
    }
    let told = wire.follow(follow()).await.expect_err("there is no room");
    let failure = status::failure(&told);
    assert_eq!((failure.reason, failure.retry_after.is_some()), (Reason::Overloaded, true));
    // What is small is not weighed.
    open.push(wire.follow(v2::FollowRequest::default()).await.expect("it is small"));
    open.clear();
    soon("there is room again", async {
        while wire.follow(follow()).await.is_err() {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    })
    .await;
}
