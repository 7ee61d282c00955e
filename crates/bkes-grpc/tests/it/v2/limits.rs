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
    let refused = soon("one is refused", async {
        loop {
            match client.head(key("a"), bkes_api::Freshness::Local).await {
                Ok(_) => tokio::time::sleep(std::time::Duration::from_millis(5)).await,
                Err(refused) => return refused,
            }
        }
    })
    .await;
    assert_eq!(refused.reason, Reason::Overloaded);
    assert!(refused.retry_after.is_some());
    shelf.open(2);
    soon("it is stored", first).await.expect("no panic").expect("it is stored");
    client.append(Append::start(key("b")).event("x")).await.expect("there is room again");
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
        call.body.send_data(message.into(), true).expect("it is open");
        let code = tokio::time::timeout(std::time::Duration::from_millis(500), call.code()).await;
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
