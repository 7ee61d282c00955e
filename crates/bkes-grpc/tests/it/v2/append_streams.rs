//! Streams of appends: order, bounds, and every end.

use super::{gate_to, key, serve, serve_with, tagged, wire};
use crate::support::shelf::Shelf;
use crate::support::{Server, soon};
use bkes_api::{
    Append, AppendFailure, AppendId, Detail, ErrorClass, EventStore, Failure, Order, Reason, TaggedAnswer,
    TaggedAppend,
};
use bkes_client::Client;
use bkes_grpc::{Drained, ServeOptions};
use bkes_wire::{status, to_wire, v2};
use std::collections::BTreeSet;
use std::time::Duration;
use tokio::sync::mpsc;
use tokio_stream::StreamExt;
use tokio_stream::wrappers::{ReceiverStream, UnboundedReceiverStream};

/// Appends that a client sends when it is told to.
fn channel() -> (mpsc::UnboundedSender<TaggedAppend>, UnboundedReceiverStream<TaggedAppend>) {
    let (to, appends) = mpsc::unbounded_channel();
    (to, UnboundedReceiverStream::new(appends))
}

fn start(tag: u64) -> TaggedAppend {
    tagged(tag, Append::start(key(format!("k{tag}"))).event("x"))
}

fn reason(answer: &TaggedAnswer) -> Option<Reason> {
    answer.answer.as_ref().err().map(AppendFailure::reason)
}

/// The field that a refusal names.
fn field(answer: &TaggedAnswer) -> Option<String> {
    match &answer.answer {
        Err(AppendFailure::NotStored(Failure { detail: Some(Detail::Field(field)), .. })) => {
            Some(field.clone())
        }
        _ => None,
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn ten_thousand_appends_are_each_answered_once_and_those_of_a_key_in_their_order() {
    let (_server, client) = serve(Shelf::new()).await;
    let (each, keys) = (100, 100);
    let appends = (0..each * keys)
        .map(move |n| tagged(n, Append::at(key(format!("k{}", n % keys)), Order(n / keys)).event("x")));
    let answers = client.append_stream(Box::pin(tokio_stream::iter(appends))).await.expect("it opens");
    let answers: Vec<_> = soon("all are answered", answers.collect()).await;
    assert!(answers.iter().all(|answer| answer.answer.is_ok()), "each rests on the one before it");
    let tags: BTreeSet<u64> = answers.iter().map(|answer| answer.tag).collect();
    assert_eq!((answers.len() as u64, tags.len() as u64), (each * keys, each * keys));
}

#[tokio::test(flavor = "multi_thread")]
async fn an_answer_comes_as_soon_as_its_append_has_ended_though_the_stream_goes_on() {
    let (_server, client) = serve(Shelf::new()).await;
    let (to, appends) = channel();
    let mut answers = client.append_stream(Box::pin(appends)).await.expect("it opens");
    for tag in 0..3 {
        to.send(start(tag)).expect("it is open");
        let answer = soon("it is answered", answers.next()).await.expect("an answer");
        assert_eq!((answer.tag, answer.answer.is_ok()), (tag, true));
    }
    drop(to);
    assert_eq!(soon("it ends", answers.next()).await, None);
}

/// One that is no append at all is never seen by the store, which would let the next one of its key through.
#[tokio::test(flavor = "multi_thread")]
async fn what_follows_an_append_that_is_none_fails_as_behind_any_other_until_one_stands_alone() {
    let (server, _) = serve(Shelf::new()).await;
    let none = |tag, key: &'static str| v2::TaggedAppend {
        tag,
        append: Some(v2::AppendRequest { key: key.into(), expected: None, ..Default::default() }),
        ..Default::default()
    };
    let any = |tag, key: &'static str, stands_alone| {
        let append =
            Append::any(super::key(key), AppendId::new(format!("{tag}")).expect("it has bytes")).event("x");
        to_wire::tagged_append(TaggedAppend { tag, append, stands_alone })
    };
    let reserved = |tag, key: &'static str| {
        let append = Append::start(super::key(key)).event("x").header("bkes-x", "y");
        to_wire::tagged_append(tagged(tag, append))
    };
    let appends = vec![
        none(1, "a"),
        any(2, "a", false),
        any(3, "a", false),
        any(4, "a", true),
        any(5, "a", false),
        any(6, "b", false),
        none(7, ""),
        v2::TaggedAppend { tag: 8, ..Default::default() },
        reserved(9, "c"),
        any(10, "c", false),
    ];
    let request = tokio_stream::iter([v2::AppendStreamRequest { appends }]);
    let answers = wire(&server).await.append_stream(request).await.expect("it opens").into_inner();
    let replies: Vec<_> = soon("it ends", answers.collect::<Vec<_>>()).await;
    let answers = replies.into_iter().flat_map(|reply| reply.expect("no status").answers);
    let mut reasons: Vec<_> = answers
        .map(|answer| bkes_wire::from_wire::tagged_answer(answer, None))
        .map(|answer| (answer.tag, reason(&answer).map(|reason| (reason, field(&answer)))))
        .collect();
    reasons.sort_by_key(|(tag, _)| *tag);
    // What Append would end with, and the same field of the append.
    let invalid = |field: &str| Some((Reason::InvalidRequest, Some(field.to_owned())));
    let empty = Some((Reason::EmptyKey, Some("key".to_owned())));
    let behind = || Some((Reason::PredecessorFailed, None));
    let expected = [
        invalid("expected"),
        behind(),
        behind(),
        None,
        None,
        None,
        empty,
        invalid("append"),
        invalid("events[0].headers"),
        behind(),
    ];
    assert_eq!(reasons, (1..).zip(expected).collect::<Vec<_>>());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_client_that_reads_no_answers_is_taken_no_more_from_than_the_bound() {
    let shelf = Shelf::new();
    let (server, _) = serve(shelf.clone()).await;
    let (to, messages) = mpsc::channel(1);
    let sending = tokio::spawn(async move {
        for n in 0..40_000u64 {
            let append = Append::start(key(format!("k{n}"))).event(vec![7; 400]);
            let appends = vec![to_wire::tagged_append(tagged(n, append))];
            if to.send(v2::AppendStreamRequest { appends }).await.is_err() {
                return;
            }
        }
    });
    let endpoint = bkes_grpc::Channel::from_shared(format!("http://{}", server.address)).expect("an address");
    let channel = endpoint.initial_stream_window_size(65_535).connect().await.expect("it connects");
    let mut wire = v2::event_store_client::EventStoreClient::new(channel);
    let mut answers = wire.append_stream(ReceiverStream::new(messages)).await.expect("it opens").into_inner();
    // What the window and the buffers hold is taken; then there is rest.
    let mut before = usize::MAX;
    soon("it comes to rest", async {
        while before != shelf.taken() || before == 0 {
            before = shelf.taken();
            tokio::time::sleep(Duration::from_millis(500)).await;
        }
    })
    .await;
    assert!(!sending.is_finished(), "{before} were taken");
    assert!(before < 10_000, "{before} were taken");
    // Reading lets it go on.
    let mut read = 0;
    soon("all are answered", async {
        while let Some(reply) = answers.next().await {
            read += reply.expect("no status").answers.len();
        }
    })
    .await;
    assert_eq!(read, 40_000);
}

/// The story: appends hold room until their answers are taken, so that a few clients that took none left nothing for others.
#[tokio::test(flavor = "multi_thread")]
async fn a_client_that_takes_no_answers_is_ended_and_its_room_is_free_again() {
    let patience = Duration::from_millis(600);
    let options =
        ServeOptions { working_bytes_max: 2_000_000, reader_patience: patience, ..ServeOptions::default() };
    let shelf = Shelf::held();
    let (server, client) = serve_with(shelf.clone(), options).await;
    // It has no window, so that not even the first answer is taken.
    let endpoint = bkes_grpc::Channel::from_shared(format!("http://{}", server.address)).expect("an address");
    let channel = endpoint.initial_stream_window_size(0).connect().await.expect("it connects");
    let mut wire = v2::event_store_client::EventStoreClient::new(channel);
    let appends =
        (0..4).map(|tag| tagged(tag, Append::start(key(format!("k{tag}"))).event(vec![7; 400_000])));
    let appends = appends.map(to_wire::tagged_append).collect();
    let (to, messages) = mpsc::channel(1);
    to.send(v2::AppendStreamRequest { appends }).await.expect("it is open");
    let answers = wire.append_stream(ReceiverStream::new(messages)).await.expect("it opens").into_inner();
    soon("they are taken", async {
        while shelf.taken() < 4 {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    })
    .await;
    let large = || Append::start(key("other")).event(vec![7; 1_000_000]);
    let refused = client.append(large()).await.expect_err("there is no room");
    assert_eq!(refused.reason(), Reason::Overloaded);
    // The first answer waits for a window; the others wait behind it.
    shelf.open(1);
    tokio::time::sleep(Duration::from_millis(100)).await;
    shelf.open(1_000);
    soon("there is room again", async {
        while client.append(large()).await.is_err_and(|failure| failure.reason() == Reason::Overloaded) {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    })
    .await;
    drop((answers, to));
}

#[tokio::test(flavor = "multi_thread")]
async fn no_more_than_1_024_appends_are_in_flight() {
    let shelf = Shelf::held();
    let (_server, client) = serve(shelf.clone()).await;
    let appends = Box::pin(tokio_stream::iter((0..5_000).map(start)));
    let answers = client.append_stream(appends).await.expect("it opens");
    let collecting = tokio::spawn(answers.collect::<Vec<_>>());
    soon("they are taken", async {
        while shelf.taken() < 1_024 {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    })
    .await;
    tokio::time::sleep(Duration::from_millis(300)).await;
    assert_eq!(shelf.taken(), 1_024);
    shelf.open(5_000);
    let answers = soon("all are answered", collecting).await.expect("no panic");
    assert_eq!(answers.len(), 5_000);
}

/// The same from a client that keeps no bound of its own, and with appends that are large.
#[tokio::test(flavor = "multi_thread")]
async fn a_stream_is_bounded_in_number_and_bytes_whatever_its_client_sends() {
    for (bytes, most) in [(10, 1_024), (1_000_000, 40)] {
        let shelf = Shelf::held();
        let (server, _) = serve(shelf.clone()).await;
        let message = move |n| {
            let append = Append::start(key(format!("k{n}"))).event(vec![7; bytes]);
            v2::AppendStreamRequest { appends: vec![to_wire::tagged_append(tagged(n, append))] }
        };
        let mut wire = wire(&server).await;
        let answers =
            wire.append_stream(tokio_stream::iter((0..5_000).map(message))).await.expect("it opens");
        let mut before = usize::MAX;
        soon("it comes to rest", async {
            while before != shelf.taken() || before == 0 {
                before = shelf.taken();
                tokio::time::sleep(Duration::from_millis(300)).await;
            }
        })
        .await;
        assert!((most / 2..=most).contains(&before), "{before} of {bytes} bytes");
        drop(answers);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_message_that_finds_no_room_is_answered_append_by_append_and_ends_the_stream() {
    let options = ServeOptions { working_bytes_max: 1_000_000, ..ServeOptions::default() };
    let shelf = Shelf::held();
    let (server, _) = serve_with(shelf.clone(), options).await;
    let mut wire = wire(&server).await;
    let held = {
        let (mut wire, append) = (wire.clone(), Append::start(key("held")).event(vec![7; 600_000]));
        tokio::spawn(async move { wire.append(to_wire::append(append)).await })
    };
    soon("the room is taken", async {
        while shelf.asked() == 0 {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    })
    .await;
    let append = |tag| tagged(tag, Append::start(key(format!("k{tag}"))).event(vec![7; 200_000]));
    let appends = (0..3).map(|tag| to_wire::tagged_append(append(tag))).collect();
    let request = tokio_stream::iter([v2::AppendStreamRequest { appends }]);
    let mut replies = wire.append_stream(request).await.expect("it opens").into_inner();
    let reply = soon("they are answered", replies.next()).await.expect("a reply").expect("no status");
    let refusals: Vec<_> = reply
        .answers
        .into_iter()
        .map(|answer| bkes_wire::from_wire::tagged_answer(answer, None))
        .map(|answer| {
            (reason(&answer), answer.answer.is_err_and(|failure| failure.class() == ErrorClass::Unavailable))
        })
        .collect();
    assert_eq!(refusals, [(Some(Reason::Overloaded), true); 3]);
    let told = soon("it ends", replies.next()).await.expect("a status").expect_err("a status");
    assert_eq!(status::failure(&told).reason, Reason::Overloaded);
    shelf.open(10);
    soon("it is stored", held).await.expect("no panic").expect("it is stored");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stop_answers_what_is_in_flight_and_tells_the_rest_that_it_was_not_sent() {
    let shelf = Shelf::held();
    let (server, client) = serve(shelf.clone()).await;
    let (to, appends) = channel();
    (0..10).for_each(|tag| to.send(start(tag)).expect("it is open"));
    let mut answers = client.append_stream(Box::pin(appends)).await.expect("it opens");
    soon("they are taken", async {
        while shelf.taken() < 10 {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    })
    .await;
    let stopping = server.ask_to_stop();
    tokio::time::sleep(Duration::from_millis(100)).await;
    shelf.open(10);
    for _ in 0..10 {
        let answer = soon("it is answered", answers.next()).await.expect("an answer");
        assert!(answer.answer.is_ok(), "{answer:?}");
    }
    assert_eq!(soon("the server stops", stopping).await.expect("no panic"), Drained::Whole);
    to.send(start(10)).expect("the client takes it still");
    let answer = soon("it is answered", answers.next()).await.expect("an answer");
    assert_eq!(reason(&answer), Some(Reason::ShuttingDown), "{answer:?}");
    drop(to);
    assert_eq!(soon("it ends", answers.next()).await, None);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stream_that_breaks_off_leaves_what_was_sent_unknown_and_the_rest_unsent() {
    let shelf = Shelf::held();
    let options = ServeOptions { drain: Duration::from_millis(100), ..ServeOptions::default() };
    let server = Server::start(gate_to(shelf.clone()), options).await;
    let client = Client::connect(&format!("http://{}", server.address)).expect("an address");
    let (to, appends) = channel();
    let id = AppendId::new("id").expect("it has bytes");
    to.send(tagged(1, Append::start(key("a")).event("x").id(id.clone()))).expect("it is open");
    to.send(start(2)).expect("it is open");
    let mut answers = client.append_stream(Box::pin(appends)).await.expect("it opens");
    soon("they are taken", async {
        while shelf.taken() < 2 {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    })
    .await;
    assert_eq!(server.stop().await.0, Drained::Cut, "the store answers nothing");
    let mut first = vec![answers.next().await.expect("an answer"), answers.next().await.expect("an answer")];
    first.sort_by_key(|answer| answer.tag);
    assert!(
        matches!(&first[0].answer, Err(AppendFailure::Unknown { id: Some(of), .. }) if *of == id),
        "{first:?}"
    );
    assert!(matches!(&first[1].answer, Err(AppendFailure::Unknown { id: None, .. })), "{first:?}");
    to.send(start(3)).expect("the client takes it still");
    let unsent = answers.next().await.expect("an answer");
    assert_eq!(
        (unsent.tag, unsent.answer.as_ref().map_err(AppendFailure::class)),
        (3, Err(ErrorClass::Unavailable))
    );
    drop(to);
    assert_eq!(answers.next().await, None);
}

#[tokio::test(flavor = "multi_thread")]
async fn each_append_has_its_own_time_or_that_of_the_stream() {
    let (server, client) = serve(Shelf::held()).await;
    let short = tagged(1, Append::start(key("a")).event("x").within(Duration::from_millis(50)));
    let mut answers = client.append_stream(Box::pin(tokio_stream::iter([short]))).await.expect("it opens");
    let answer = soon("it is answered", answers.next()).await.expect("an answer");
    assert_eq!(reason(&answer), Some(Reason::NotSent));

    // The stream's is shorter than the append's, too.
    for timeout_ms in [0, 60_000] {
        let append = v2::TaggedAppend { timeout_ms, ..to_wire::tagged_append(start(2)) };
        let mut request =
            tonic::Request::new(tokio_stream::iter([v2::AppendStreamRequest { appends: vec![append] }]));
        request.set_timeout(Duration::from_millis(300));
        let mut answers = wire(&server).await.append_stream(request).await.expect("it opens").into_inner();
        let reply = soon("it is answered", answers.next()).await.expect("a reply").expect("no status");
        let answer = bkes_wire::from_wire::tagged_answer(reply.answers[0].clone(), None);
        assert_eq!(reason(&answer), Some(Reason::NotSent), "{timeout_ms} ms");
    }
}

/// The story: what an append had asked for was found by its tag, and of two with one tag the other's was taken.
#[tokio::test(flavor = "multi_thread")]
async fn of_two_appends_with_one_tag_each_is_answered_as_it_asked() {
    let shelf = Shelf::held();
    let (server, _) = serve(shelf.clone()).await;
    shelf.open(4);
    super::fill(&shelf, "a", 2, 1).await;
    super::fill(&shelf, "b", 2, 1).await;
    let append = |name, next| Append::at(key(name), Order(next)).event("x");
    let appends = [
        TaggedAppend { tag: 1, append: append("a", 2), stands_alone: false },
        // It waits for the one before it, and the next one does not.
        TaggedAppend { tag: 7, append: append("a", 1), stands_alone: true },
        TaggedAppend { tag: 7, append: append("b", 1).with_missing(), stands_alone: false },
    ];
    let appends = appends.map(to_wire::tagged_append).into();
    let request = tokio_stream::iter([v2::AppendStreamRequest { appends }]);
    let mut answers = wire(&server).await.append_stream(request).await.expect("it opens").into_inner();
    soon("they are taken", async {
        while shelf.taken() < 3 {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    })
    .await;
    tokio::time::sleep(Duration::from_millis(100)).await;
    shelf.open(2);
    let mut told = Vec::new();
    while let Some(reply) = soon("it goes on", answers.next()).await {
        told.extend(reply.expect("no status").answers);
        if told.len() == 2 {
            shelf.open(1);
        }
    }
    use v2::tagged_answer::Outcome;
    let of_7: Vec<_> = told.iter().filter(|answer| answer.tag == 7).collect();
    assert!(matches!(&of_7[0].outcome, Some(Outcome::Conflict(told)) if told.missing_events.len() == 1));
    assert!(matches!(&of_7[1].outcome, Some(Outcome::Failure(_))), "{:?}", of_7[1]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stream_of_other_bytes_is_refused_and_the_connection_goes_on() {
    use crate::support::raw::{Raw, prefix};
    let (server, client) = serve(Shelf::new()).await;
    let mut raw = Raw::connect(server.address).await;
    let mut call = raw.begin("/bkes.v2.EventStore/AppendStream").await.expect("it begins");
    call.push([prefix(3), vec![0xff; 3]].concat()).expect("it is open");
    assert_eq!(soon("it is refused", call.code()).await, Some(tonic::Code::InvalidArgument));
    client.append(Append::start(key("k")).event("x")).await.expect("it is stored");
    let failed = wire(&server).await.head(v2::HeadRequest::default()).await.expect_err("no key");
    assert!(status::is_ours(&failed));
}
