//! Each call does what the contract says, on a small store.

use super::{gate_to, key, serve, serve_with, wire};
use crate::support::raw::{Answer, Raw, prefix};
use crate::support::shelf::{MINE, NEVER, Shelf};
use crate::support::{Server, soon};
use bkes_api::{
    Append, AppendFailure, AppendId, ErrorClass, EventStore, Expected, Follow, FollowFrom, FollowItem,
    Freshness, KeysRequest, Order, Read, ReadMany, Reason, RetryPolicy, WaitFor,
};
use bkes_client::{Client, ClientOptions};
use bkes_grpc::{Drained, Gate, ServeOptions};
use bkes_wire::{status, to_wire, v2};
use prost::Message;
use std::time::Duration;
use tokio_stream::StreamExt;
use tonic::Code;
use tonic_health::pb::HealthCheckRequest;
use tonic_health::pb::health_check_response::ServingStatus;
use tonic_health::pb::health_client::HealthClient;

#[tokio::test(flavor = "multi_thread")]
async fn what_is_appended_is_read_listed_followed_and_waited_for() {
    let (_server, client) = serve(Shelf::new()).await;
    let account = key("account");
    let id = AppendId::new(vec![0xfe; 64]).expect("64 bytes");
    let append = Append::start(account.clone()).event("a").event("b").header("h", "v").id(id.clone());
    let stored = client.append(append).await.expect("it is stored");
    assert_eq!((stored.first, stored.last, stored.next()), (Order(0), Order(1), Order(2)));

    let mut pages = client.read(Read::all(account.clone())).await.expect("it is read");
    let page = pages.next().await.expect("a page").expect("it is whole");
    let end = page.end.expect("it is the last one");
    assert_eq!((page.events.len(), end.next, end.exists, end.is_complete), (2, Order(2), true, true));
    assert!(pages.next().await.is_none());
    let bkes_api::Origin::Bkes { batch: Some(place), append_id } = &page.events[0].origin else {
        panic!("a batch of ours")
    };
    assert_eq!((place.i, place.count, append_id), (1, 2, &Some(id)));

    let nothing = key("nothing");
    let pages = client.read(Read::all(nothing.clone())).await.expect("that is an answer");
    let pages: Vec<_> = pages.collect().await;
    assert!(
        pages[0].as_ref().is_ok_and(|page| page.end.as_ref().is_some_and(|end| !end.exists)),
        "{pages:?}"
    );

    let keys = vec![account.clone(), nothing.clone(), account.clone()];
    let limit = u64::MAX;
    let many = ReadMany {
        keys: keys.clone(),
        from: Order(1),
        limit,
        freshness: Freshness::Local,
        with_headers: true,
    };
    let pages: Vec<_> = client.read_many(many).await.expect("they are read").collect().await;
    let read: Vec<_> = pages.into_iter().map(|page| page.expect("a page")).collect();
    assert_eq!(read.iter().map(|keyed| keyed.key.clone()).collect::<Vec<_>>(), keys);
    assert_eq!(read.iter().map(|keyed| keyed.page.events.len()).collect::<Vec<_>>(), [1, 0, 1]);

    let head = client.head(account.clone(), Freshness::Latest).await.expect("it is known");
    assert_eq!(head.map(|head| head.next), Some(Order(2)));
    assert_eq!(client.head(nothing, Freshness::Local).await, Ok(None));
    let list = client.keys(KeysRequest::default()).await.expect("they are listed");
    assert_eq!((list.keys.len(), list.more), (1, false));

    let positions = stored.position();
    let wait = WaitFor { positions, group: None, timeout: Duration::from_secs(5) };
    assert_eq!(client.wait_for(wait.clone()).await, Ok(()));
    let mut ahead = wait;
    ahead.positions.of[0].1.0 += 10;
    ahead.timeout = Duration::from_millis(200);
    let late = client.wait_for(ahead).await.expect_err("it does not come");
    assert_eq!(late.reason, Reason::DeadlineExceeded);

    let follow = Follow { from: FollowFrom::Beginning, ..Follow::default() };
    let mut items = client.follow(follow).await.expect("it is followed");
    let past = items.next().await.expect("an item").expect("no failure");
    assert!(matches!(past, FollowItem::Events(events) if events.len() == 2));
    assert_eq!(items.next().await, Some(Ok(FollowItem::CaughtUp)));
    assert_eq!(items.next().await, Some(Ok(FollowItem::Positions(stored.position()))));
    client.append(Append::at(account, Order(2)).event("c")).await.expect("it is stored");
    let news = soon("the news come", items.next()).await.expect("an item").expect("no failure");
    assert!(matches!(news, FollowItem::Events(events) if events[0].event.order == Order(2)));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_conflict_brings_along_what_is_missing_to_who_asks_for_it() {
    let (server, client) = serve(Shelf::new()).await;
    client.append(Append::start(key("k")).event("a").event("b")).await.expect("it is stored");
    let stale = || Append::at(key("k"), Order(1)).event("c");
    let AppendFailure::Conflict(conflict) = client.append(stale()).await.expect_err("it is stale") else {
        panic!("a conflict")
    };
    assert_eq!((conflict.expected, conflict.current), (Expected::At(Order(1)), Order(2)));
    assert!(conflict.missing.is_empty() && conflict.more);
    let asking = client.append(stale().with_missing()).await.expect_err("it is stale");
    let AppendFailure::Conflict(conflict) = asking else { panic!("a conflict") };
    assert_eq!((conflict.missing.len(), conflict.more), (1, false));
    let again = client.append(Append::start(key("k")).event("x")).await.expect_err("it exists");
    assert_eq!((again.reason(), again.class()), (Reason::AlreadyExists, ErrorClass::Rejected));

    // On the wire: a status for who did not ask, a reply for who did.
    let expected = Some(v2::append_request::Expected::NextOrder(1));
    let events = vec![v2::NewEvent::default()];
    let request = v2::AppendRequest { key: "k".into(), expected, events, ..v2::AppendRequest::default() };
    let told = wire(&server).await.append(request.clone()).await.expect_err("a status");
    assert_eq!(
        (told.code(), status::append_failure(&told, None).reason()),
        (Code::Aborted, Reason::Conflict)
    );
    let asking = v2::AppendRequest { missing_events_max: 1, ..request };
    let reply = wire(&server).await.append(asking).await.expect("a reply").into_inner();
    assert!(matches!(reply.outcome, Some(v2::append_reply::Outcome::Conflict(_))), "{reply:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_bad_field_is_named_in_the_status() {
    let (server, _) = serve(Shelf::new()).await;
    let mut wire = wire(&server).await;
    let event =
        v2::NewEvent { headers: vec![v2::Header { name: "bkes-x".into(), value: None }], value: None };
    let request = v2::AppendRequest {
        key: "k".into(),
        expected: Some(v2::append_request::Expected::NoAggregate(true)),
        events: vec![event],
        ..v2::AppendRequest::default()
    };
    let cases = [
        wire.append(request).await.expect_err("a reserved name"),
        wire.append(v2::AppendRequest::default()).await.expect_err("no key"),
        wire.read(v2::ReadRequest { key: "k".into(), limit: Some(0), ..Default::default() })
            .await
            .expect_err("0"),
        wire.read_many(v2::ReadManyRequest::default()).await.expect_err("no keys"),
        wire.head(v2::HeadRequest::default()).await.expect_err("no key"),
    ];
    let fields = ["events[0].headers", "key", "limit", "keys", "key"];
    for (told, field) in cases.iter().zip(fields) {
        assert_eq!(told.code(), Code::InvalidArgument, "{told:?}");
        let detail = status::failure(told).detail;
        assert_eq!(detail, Some(bkes_api::Detail::Field(field.into())));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_callers_deadline_goes_with_its_append_and_the_store_says_that_it_was_not_sent() {
    let (_server, client) = serve(Shelf::held()).await;
    let append = Append::start(key("k")).event("x").within(Duration::from_millis(1_000));
    let failure = soon("it is answered", client.append(append)).await.expect_err("its time is over");
    assert_eq!(failure.reason(), Reason::NotSent, "{failure:?}");
}

/// Every call that may wait, of what never comes, as it is sent.
fn never() -> Vec<(&'static str, Vec<u8>)> {
    let key = || bkes_api::Key::new(NEVER).expect("it has bytes").bytes().clone();
    let follow = v2::follow_request::Followed::Prefix(key());
    let far = vec![v2::Position { partition: 0, offset: 1_000_000 }];
    let positions = Some(v2::Positions { topic_id: String::new(), positions: far });
    vec![
        ("Read", v2::ReadRequest { key: key(), ..Default::default() }.encode_to_vec()),
        ("ReadMany", v2::ReadManyRequest { keys: vec![key()], ..Default::default() }.encode_to_vec()),
        ("Head", v2::HeadRequest { key: key(), ..Default::default() }.encode_to_vec()),
        ("ListKeys", v2::ListKeysRequest { prefix: key(), ..Default::default() }.encode_to_vec()),
        ("Follow", v2::FollowRequest { followed: Some(follow), ..Default::default() }.encode_to_vec()),
        ("WaitFor", v2::WaitForRequest { positions, ..Default::default() }.encode_to_vec()),
    ]
}

/// Begins a call of one who waits so many milliseconds.
async fn begin(raw: &mut Raw, call: &str, message: &[u8], timeout_ms: Option<u64>) -> Answer {
    let path = format!("/bkes.v2.EventStore/{call}");
    let (mut body, answer) = raw.begin_within(&path, timeout_ms).await.expect("it begins").split();
    let message = [&prefix(message.len() as u32)[..], message].concat();
    body.send_data(message.into(), true).expect("it is open");
    answer
}

/// The story: the store had its caller's whole time, and the library's timer was first to say that it was over, with a status that says
/// nothing: an append that was never sent was unknown. The client here has no timer.
#[tokio::test(flavor = "multi_thread")]
async fn whoever_waits_hears_from_us_before_its_time_is_over() {
    let (server, _) = serve(Shelf::held()).await;
    let mut raw = Raw::connect(server.address).await;
    let append = to_wire::append(Append::start(key("k")).event("x")).encode_to_vec();
    let mut answers = Vec::new();
    for n in 0..30 {
        let answer = begin(&mut raw, "Append", &append, Some(1_000 + n * 10)).await;
        answers.push(("Append", answer, Reason::NotSent));
    }
    for (call, message) in never() {
        let answer = begin(&mut raw, call, &message, Some(1_000)).await;
        answers.push((call, answer, Reason::DeadlineExceeded));
    }
    for (call, answer, reason) in answers {
        let told = soon("it is answered", answer.status()).await.expect("its time is over");
        let failure = status::append_failure(&told, None);
        assert_eq!(failure.reason(), reason, "{call}: {told:?}");
    }
}

/// The story: a call that waited for its answer to begin held up the stop of the server for as long as it waited.
#[tokio::test(flavor = "multi_thread")]
async fn a_stop_ends_calls_whose_answers_do_not_begin() {
    let (server, _) = serve(Shelf::new()).await;
    let mut raw = Raw::connect(server.address).await;
    let mut answers = Vec::new();
    for (call, message) in never() {
        answers.push((call, begin(&mut raw, call, &message, None).await));
    }
    tokio::time::sleep(Duration::from_millis(300)).await;
    let began = std::time::Instant::now();
    let stopping = server.ask_to_stop();
    for (call, answer) in answers {
        let told = soon("it is answered", answer.status()).await.expect("a status");
        let failure = status::failure(&told);
        assert_eq!(failure.reason, Reason::ShuttingDown, "{call}: {told:?}");
        assert!(failure.retry_after.is_some(), "{call}");
    }
    assert_eq!(soon("the server stops", stopping).await.expect("no panic"), Drained::Whole);
    assert!(began.elapsed() < Duration::from_secs(5), "{:?}", began.elapsed());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_panic_ends_the_call_as_internal_and_the_connection_goes_on() {
    let (_server, client) = serve(Shelf::new()).await;
    let mine = bkes_api::Key::new(MINE).expect("it has bytes");
    let failure = client.append(Append::start(mine.clone()).event("x")).await.expect_err("it panics");
    assert_eq!((failure.class(), failure.reason()), (ErrorClass::Unknown, Reason::Internal));
    let failure = client.read(Read::all(mine)).await.err().expect("it panics");
    assert_eq!(failure.reason, Reason::Internal);
    client.append(Append::start(key("k")).event("x")).await.expect("the connection goes on");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_standby_and_a_closed_gate_say_so_and_a_standby_tells_its_status() {
    let standby = ServeOptions { standby: true, ..ServeOptions::default() };
    let (_server, client) = serve_with(Shelf::new(), standby).await;
    let failure = client.append(Append::start(key("k")).event("x")).await.expect_err("a standby");
    assert_eq!((failure.class(), failure.reason()), (ErrorClass::Unavailable, Reason::Standby));
    assert_eq!(client.head(key("k"), Freshness::Local).await.expect_err("a standby").reason, Reason::Standby);
    let told = client.status().await.expect("it tells");
    assert_eq!(told.unready.map(|failure| failure.reason), Some(Reason::Standby));

    let server = Server::start(Gate::new(), ServeOptions::default()).await;
    let options = ClientOptions { retry: RetryPolicy::never(), ..ClientOptions::default() };
    let client = Client::connect_with(&format!("http://{}", server.address), options).expect("an address");
    let appends = Box::pin(tokio_stream::iter([super::tagged(1, Append::start(key("k")).event("x"))]));
    let reasons = [
        client.append(Append::start(key("k")).event("x")).await.expect_err("no store").reason(),
        client.append_stream(appends).await.err().expect("no store").reason,
        client.read(Read::all(key("k"))).await.err().expect("no store").reason,
        client.status().await.expect_err("no store").reason,
    ];
    assert_eq!(reasons, [Reason::CatchingUp; 4]);
    let failure = client.status().await.expect_err("no store");
    assert!(failure.retry_after.is_some(), "it says when to come again: {failure:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn health_knows_the_service_by_its_name() {
    let (server, _) = serve(Shelf::new()).await;
    let closed = Server::start(Gate::new(), ServeOptions::default()).await;
    for (server, expected) in [(&server, ServingStatus::Serving), (&closed, ServingStatus::NotServing)] {
        let mut health = HealthClient::new(server.channel().await);
        for service in ["", "bkes.v2.EventStore"] {
            let request = HealthCheckRequest { service: service.into() };
            let answer = health.check(request).await.expect("it is known").into_inner();
            assert_eq!(answer.status(), expected, "{service:?}");
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_server_that_is_not_there_leaves_an_append_unsent_and_one_that_goes_leaves_it_unknown() {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.expect("a free port");
    let address = listener.local_addr().expect("an address");
    drop(listener);
    let retry = RetryPolicy { tries_max: 3, ..RetryPolicy::default() };
    let client_options = ClientOptions { retry, ..ClientOptions::default() };
    let client =
        Client::connect_with(&format!("http://{address}"), client_options.clone()).expect("an address");
    let failure = client.append(Append::start(key("k")).event("x")).await.expect_err("nobody is there");
    assert_eq!(
        (failure.class(), failure.reason()),
        (ErrorClass::Unavailable, Reason::Unreachable),
        "{failure:?}"
    );

    let options = ServeOptions { drain: Duration::from_millis(100), ..ServeOptions::default() };
    let server = Server::start(gate_to(Shelf::held()), options).await;
    let client = Client::connect_with(&format!("http://{}", server.address), client_options);
    let client = client.expect("an address");
    let id = AppendId::new("id").expect("it has bytes");
    let appending = {
        let (client, append) = (client.clone(), Append::start(key("k")).event("x").id(id.clone()));
        tokio::spawn(async move { client.append(append).await })
    };
    tokio::time::sleep(Duration::from_millis(300)).await;
    server.stop().await;
    let failure = soon("it is answered", appending).await.expect("no panic").expect_err("the server is gone");
    assert!(matches!(&failure, AppendFailure::Unknown { id: Some(of), .. } if *of == id), "{failure:?}");
    assert_eq!(failure.reason(), Reason::AnswerLost);
}
