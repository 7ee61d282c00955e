//! The client against servers that do what a good one would not: each is a script for one call.

use bkes_api::{
    Append, AppendFailure, AppendId, ErrorClass, EventStore, Follow, FollowItem, Freshness, Key, Order, Read,
    ReadMany, Reason, RetryPolicy, TaggedAppend,
};
use bkes_client::{Client, ClientOptions};
use bkes_wire::v2;
use bkes_wire::v2::event_store_server::{EventStore as Wire, EventStoreServer};
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;
use tokio::net::TcpListener;
use tokio::sync::mpsc;
use tokio_stream::wrappers::{ReceiverStream, TcpListenerStream, UnboundedReceiverStream};
use tokio_stream::{Stream, StreamExt};
use tonic::transport::Server;
use tonic::{Code, Request, Response, Status, Streaming};

type Replies<T> = Pin<Box<dyn Stream<Item = Result<T, Status>> + Send>>;

/// What the server does.
#[derive(Clone, Default)]
struct Script {
    append: Option<Result<v2::AppendReply, Status>>,
    /// The metadata and the timeout of the last call.
    heard: Arc<std::sync::Mutex<Vec<(String, String)>>>,
    pages: Vec<Result<v2::ReadReply, Status>>,
    keyed: Vec<v2::ReadManyReply>,
    items: Vec<v2::FollowReply>,
    /// Appends of a stream that are answered before it ends so.
    answered: usize,
    stream_end: Option<Status>,
    /// What each message of a stream had.
    messages: Arc<AtomicUsize>,
    /// Streams of appends whose body has ended.
    ended: Arc<AtomicUsize>,
    /// Streams are not taken.
    is_deaf: bool,
    /// Streams of appends are taken, and nothing is answered.
    is_mute: bool,
    /// What an append's answer says that it is encoded in.
    encoding: Option<&'static str>,
    /// How often the head was asked for.
    heads: Arc<AtomicUsize>,
}

impl Script {
    fn hear<T>(&self, request: &Request<T>) {
        let text = |name: &str| {
            let value = request.metadata().get(name)?.to_str().ok()?;
            Some((name.to_owned(), value.to_owned()))
        };
        *self.heard.lock().expect("no panic") =
            ["authorization", "grpc-timeout"].into_iter().filter_map(text).collect();
    }
}

#[tonic::async_trait]
impl Wire for Script {
    type AppendStreamStream = Replies<v2::AppendStreamReply>;
    type ReadStream = Replies<v2::ReadReply>;
    type ReadManyStream = Replies<v2::ReadManyReply>;
    type FollowStream = Replies<v2::FollowReply>;

    async fn append(&self, request: Request<v2::AppendRequest>) -> Result<Response<v2::AppendReply>, Status> {
        self.hear(&request);
        match &self.append {
            Some(reply) => reply.clone().map(|reply| {
                let mut response = Response::new(reply);
                if let Some(encoding) = self.encoding {
                    response.metadata_mut().insert("grpc-encoding", encoding.parse().expect("text"));
                }
                response
            }),
            None => std::future::pending().await,
        }
    }

    async fn append_stream(
        &self,
        request: Request<Streaming<v2::AppendStreamRequest>>,
    ) -> Result<Response<Self::AppendStreamStream>, Status> {
        let (to, replies) = mpsc::channel(1);
        let (script, mut messages) = (self.clone(), request.into_inner());
        if self.is_deaf {
            let ended = Arc::clone(&self.ended);
            tokio::spawn(async move {
                while let Some(Ok(_)) = messages.next().await {}
                ended.fetch_add(1, Ordering::SeqCst);
            });
            return std::future::pending().await;
        }
        tokio::spawn(async move {
            let mut left = if script.is_mute { usize::MAX } else { script.answered };
            while let Some(Ok(message)) = messages.next().await {
                script.messages.fetch_add(1, Ordering::SeqCst);
                for tagged in message.appends {
                    if left == 0 {
                        let end = script.stream_end.unwrap_or_else(|| Status::ok("nothing more"));
                        if end.code() != Code::Ok {
                            let _ = to.send(Err(end)).await;
                        }
                        return;
                    }
                    left -= 1;
                    if script.is_mute {
                        continue;
                    }
                    let outcome = Some(v2::tagged_answer::Outcome::Stored(v2::Stored::default()));
                    let answers = vec![v2::TaggedAnswer { tag: tagged.tag, outcome }];
                    let _ = to.send(Ok(v2::AppendStreamReply { answers })).await;
                }
            }
            script.ended.fetch_add(1, Ordering::SeqCst);
        });
        Ok(Response::new(Box::pin(ReceiverStream::new(replies))))
    }

    async fn read(&self, _: Request<v2::ReadRequest>) -> Result<Response<Self::ReadStream>, Status> {
        Ok(Response::new(Box::pin(tokio_stream::iter(self.pages.clone()))))
    }

    async fn read_many(
        &self,
        _: Request<v2::ReadManyRequest>,
    ) -> Result<Response<Self::ReadManyStream>, Status> {
        Ok(Response::new(Box::pin(tokio_stream::iter(self.keyed.clone()).map(Ok))))
    }

    async fn head(&self, request: Request<v2::HeadRequest>) -> Result<Response<v2::HeadReply>, Status> {
        self.hear(&request);
        self.heads.fetch_add(1, Ordering::SeqCst);
        Ok(Response::new(v2::HeadReply { exists: true, partition: -7, ..v2::HeadReply::default() }))
    }

    async fn list_keys(
        &self,
        _: Request<v2::ListKeysRequest>,
    ) -> Result<Response<v2::ListKeysReply>, Status> {
        std::future::pending().await
    }

    async fn follow(&self, _: Request<v2::FollowRequest>) -> Result<Response<Self::FollowStream>, Status> {
        Ok(Response::new(Box::pin(tokio_stream::iter(self.items.clone()).map(Ok))))
    }

    async fn wait_for(&self, _: Request<v2::WaitForRequest>) -> Result<Response<v2::WaitForReply>, Status> {
        Err(Status::unimplemented("an old server"))
    }

    async fn status(&self, _: Request<v2::StatusRequest>) -> Result<Response<v2::StatusReply>, Status> {
        Err(Status::unavailable("a proxy"))
    }
}

async fn serve(script: Script) -> String {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
    let address = format!("http://{}", listener.local_addr().expect("an address"));
    let serving = Server::builder().add_service(EventStoreServer::new(script));
    tokio::spawn(serving.serve_with_incoming(TcpListenerStream::new(listener)));
    address
}

async fn client_of(script: Script) -> Client {
    Client::connect(&serve(script).await).expect("an address")
}

fn key() -> Key {
    Key::new("k").expect("it has bytes")
}

fn id() -> AppendId {
    AppendId::new("id").expect("it has bytes")
}

fn append() -> Append {
    Append::start(key()).event("x").id(id())
}

async fn soon<T>(future: impl Future<Output = T>) -> T {
    tokio::time::timeout(Duration::from_secs(20), future).await.expect("it comes")
}

#[tokio::test]
async fn metadata_and_a_deadline_go_with_every_call() {
    let script = Script { append: Some(Ok(v2::AppendReply::default())), ..Script::default() };
    let options = ClientOptions {
        metadata: vec![("authorization".into(), "Bearer 7".into())],
        append_timeout: Duration::from_secs(3),
        retry: RetryPolicy::never(),
        ..ClientOptions::default()
    };
    let client = Client::connect_with(&serve(script.clone()).await, options).expect("an address");
    // What is left of the time when the call is made, in microseconds as gRPC writes them.
    let heard = |timeout: Duration| {
        let heard = script.heard.lock().expect("no panic").clone();
        let [(name, value), (of_time, left)] = &heard[..] else { panic!("{heard:?}") };
        assert_eq!(
            (name.as_str(), value.as_str(), of_time.as_str()),
            ("authorization", "Bearer 7", "grpc-timeout")
        );
        let left = left.strip_suffix('u').and_then(|left| left.parse().ok()).map(Duration::from_micros);
        let left = left.unwrap_or_else(|| panic!("{heard:?}"));
        assert!(left <= timeout && left > timeout / 2, "{left:?} of {timeout:?}");
    };
    let _ = client.append(append()).await;
    heard(Duration::from_secs(3));
    let _ = client.append(append().within(Duration::from_millis(700))).await;
    heard(Duration::from_millis(700));
    let _ = client.head(key(), Freshness::Local).await;
    heard(Duration::from_secs(30));
}

#[tokio::test]
async fn a_deadline_that_passes_here_leaves_an_append_unknown_and_a_question_unanswered() {
    let options = ClientOptions { read_timeout: Duration::from_millis(100), ..ClientOptions::default() };
    let client = Client::connect_with(&serve(Script::default()).await, options).expect("an address");
    let failure =
        soon(client.append(append().within(Duration::from_millis(100)))).await.expect_err("no answer");
    assert!(matches!(&failure, AppendFailure::Unknown { id: Some(of), .. } if *of == id()), "{failure:?}");
    let failure = soon(client.keys(bkes_api::KeysRequest::default())).await.expect_err("no answer");
    assert_eq!(failure.reason, Reason::Unreachable);
}

#[tokio::test]
async fn what_a_proxy_says_is_no_answer_whatever_its_code() {
    for code in [
        Code::Aborted,
        Code::AlreadyExists,
        Code::Unavailable,
        Code::InvalidArgument,
        Code::ResourceExhausted,
    ] {
        let script = Script { append: Some(Err(Status::new(code, "a proxy"))), ..Script::default() };
        let failure = client_of(script).await.try_append(append()).await.expect_err("it failed");
        assert_eq!(
            (failure.class(), failure.reason()),
            (ErrorClass::Unknown, Reason::AnswerLost),
            "{code:?}"
        );
    }
    let options = ClientOptions { retry: RetryPolicy::never(), ..ClientOptions::default() };
    let client = Client::connect_with(&serve(Script::default()).await, options).expect("an address");
    assert_eq!(client.status().await.expect_err("a proxy").reason, Reason::Unreachable);
    let wait =
        bkes_api::WaitFor { positions: Default::default(), group: None, timeout: Duration::from_secs(1) };
    assert_eq!(client.wait_for(wait).await.expect_err("an old server").reason, Reason::Unsupported);
}

#[tokio::test]
async fn an_answer_that_makes_no_sense_is_a_fault_of_the_server() {
    let client = client_of(Script::default()).await;
    let failure = client.head(key(), Freshness::Local).await.expect_err("no partition has that number");
    assert_eq!(failure.reason, Reason::Internal);
    let script = Script { append: Some(Ok(v2::AppendReply::default())), ..Script::default() };
    let failure = client_of(script).await.try_append(append()).await.expect_err("it says nothing");
    assert_eq!((failure.class(), failure.reason()), (ErrorClass::Unknown, Reason::Internal));
}

#[tokio::test]
async fn a_read_that_ends_without_its_end_is_cut() {
    let event = |order| v2::Event { order, ..v2::Event::default() };
    let page = v2::ReadReply { events: vec![event(0)], end: None };
    let end = v2::ReadReply { end: Some(v2::ReadEnd::default()), ..v2::ReadReply::default() };
    let read = async |pages: Vec<v2::ReadReply>| -> Vec<_> {
        let pages = pages.into_iter().map(Ok).collect();
        let client = client_of(Script { pages, ..Script::default() }).await;
        soon(client.read(Read::all(key())).await.expect("it opens").collect::<Vec<_>>()).await
    };
    let reasons = |pages: &[Result<bkes_api::Page, bkes_api::Failure>]| -> Vec<_> {
        pages.iter().map(|page| page.as_ref().err().map(|failure| failure.reason)).collect()
    };
    assert_eq!(reasons(&read(vec![page.clone(), end.clone()]).await), [None, None]);
    assert_eq!(reasons(&read(vec![page.clone()]).await), [None, Some(Reason::Unreachable)]);
    assert_eq!(reasons(&read(vec![]).await), [Some(Reason::Unreachable)]);
    assert_eq!(reasons(&read(vec![end, page.clone()]).await), [None, Some(Reason::Internal)]);
    // What does not follow, or is nothing, is no page.
    let nothing = v2::ReadReply { events: vec![], end: None };
    let jump = v2::ReadReply { events: vec![event(2)], end: None };
    for nonsense in [nothing, jump, page.clone()] {
        assert_eq!(reasons(&read(vec![page.clone(), nonsense]).await), [None, Some(Reason::Internal)]);
    }
}

#[tokio::test]
async fn pages_of_several_aggregates_are_those_asked_for_or_a_fault() {
    let end = Some(v2::ReadEnd::default());
    let event = |order| v2::Event { order, ..v2::Event::default() };
    let page = |index, end: Option<v2::ReadEnd>| {
        let events = if end.is_none() { vec![event(0)] } else { vec![] };
        v2::ReadManyReply { index, events, end }
    };
    let read = async |keyed: Vec<v2::ReadManyReply>| -> Vec<_> {
        let client = client_of(Script { keyed, ..Script::default() }).await;
        let freshness = Freshness::Local;
        let many =
            ReadMany { keys: vec![key(), key()], from: Order(0), limit: 9, freshness, with_headers: true };
        let pages: Vec<_> = soon(client.read_many(many).await.expect("it opens").collect::<Vec<_>>()).await;
        pages.iter().map(|page| page.as_ref().err().map(|failure| failure.reason)).collect()
    };
    assert_eq!(read(vec![page(0, None), page(0, end.clone()), page(1, end.clone())]).await, [None; 3]);
    assert_eq!(read(vec![page(0, end.clone())]).await, [None, Some(Reason::Unreachable)]);
    assert_eq!(read(vec![page(1, end.clone())]).await, [Some(Reason::Internal)]);
    assert_eq!(read(vec![page(7, end.clone())]).await, [Some(Reason::Internal)]);
    // Each aggregate is read from where all are.
    let from_1 = v2::ReadManyReply { index: 1, events: vec![event(0)], end: end.clone() };
    assert_eq!(read(vec![page(0, None), page(0, end.clone()), from_1]).await, [None; 3]);
    assert_eq!(read(vec![page(0, None), page(0, None)]).await, [None, Some(Reason::Internal)]);
}

#[tokio::test]
async fn what_only_a_newer_server_says_to_followers_is_passed_over() {
    let item = |item| v2::FollowReply { item };
    let items = vec![item(None), item(Some(v2::follow_reply::Item::CaughtUp(true)))];
    let client = client_of(Script { items, ..Script::default() }).await;
    let items: Vec<_> =
        soon(client.follow(Follow::default()).await.expect("it opens").collect::<Vec<_>>()).await;
    let items: Vec<_> = items.into_iter().map(|item| item.map_err(|failure| failure.reason)).collect();
    // A server that ends it says why: without that it was cut.
    assert_eq!(items, [Ok(FollowItem::CaughtUp), Err(Reason::Unreachable)]);
}

fn tagged(tag: u64) -> TaggedAppend {
    TaggedAppend { tag, append: append(), stands_alone: false }
}

/// However the stream ends: what was sent and not answered is unknown, and what was not sent is said to be so.
#[tokio::test]
async fn every_append_of_a_stream_that_breaks_off_is_answered() {
    let ours = bkes_wire::status::of(&bkes_api::Failure::new(Reason::ShuttingDown, "it stops"));
    let table = [
        (None, Reason::Unreachable),
        (Some(Status::unavailable("a proxy")), Reason::Unreachable),
        (Some(ours), Reason::ShuttingDown),
    ];
    for (stream_end, of_unsent) in table {
        let client = client_of(Script { answered: 2, stream_end, ..Script::default() }).await;
        let (to, appends) = mpsc::unbounded_channel();
        (0..5).for_each(|tag| to.send(tagged(tag)).expect("it is open"));
        let appends = Box::pin(UnboundedReceiverStream::new(appends));
        let mut answers = client.append_stream(appends).await.expect("it opens");
        let mut classes = Vec::new();
        for _ in 0..5 {
            let answer = soon(answers.next()).await.expect("an answer");
            classes.push((answer.tag, answer.answer.map_err(|failure| failure.class()).err()));
        }
        classes.sort_by_key(|(tag, _)| *tag);
        let unknown = Some(ErrorClass::Unknown);
        assert_eq!(classes, [(0, None), (1, None), (2, unknown), (3, unknown), (4, unknown)]);
        to.send(tagged(5)).expect("the client takes it still");
        let unsent = soon(answers.next()).await.expect("an answer").answer.expect_err("it is not sent");
        assert_eq!((unsent.class(), unsent.reason()), (ErrorClass::Unavailable, of_unsent));
        drop(to);
        assert_eq!(soon(answers.next()).await, None);
    }
}

#[tokio::test]
async fn appends_that_are_there_share_a_message_and_none_waits_for_another() {
    let script = Script { answered: usize::MAX, ..Script::default() };
    let client = client_of(script.clone()).await;
    let (to, appends) = mpsc::unbounded_channel();
    (0..500).for_each(|tag| to.send(tagged(tag)).expect("it is open"));
    let mut answers =
        client.append_stream(Box::pin(UnboundedReceiverStream::new(appends))).await.expect("it opens");
    for _ in 0..500 {
        soon(answers.next()).await.expect("an answer").answer.expect("it is stored");
    }
    let messages = script.messages.load(Ordering::SeqCst);
    assert!(messages <= 50, "{messages} messages for 500 appends");
    to.send(tagged(500)).expect("it is open");
    assert_eq!(soon(answers.next()).await.map(|answer| answer.tag), Some(500), "it does not wait for more");
}

#[tokio::test]
async fn appends_whose_answers_are_dropped_are_withdrawn() {
    let script = Script { answered: usize::MAX, ..Script::default() };
    let client = client_of(script.clone()).await;
    let (to, appends) = mpsc::channel(1);
    let answers = client.append_stream(Box::pin(ReceiverStream::new(appends))).await.expect("it opens");
    to.send(tagged(1)).await.expect("it is taken");
    drop(answers);
    soon(to.closed()).await;
    soon(ended(&script)).await;
}

/// The stream's body has come to its end at the server.
async fn ended(script: &Script) {
    while script.ended.load(Ordering::SeqCst) == 0 {
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}

#[tokio::test]
async fn a_stream_that_the_server_does_not_take_takes_no_appends_and_is_given_up() {
    for give_up in [false, true] {
        let script = Script { is_deaf: true, ..Script::default() };
        let read_timeout = Duration::from_millis(if give_up { 60_000 } else { 50 });
        let options = ClientOptions { read_timeout, ..ClientOptions::default() };
        let client = Client::connect_with(&serve(script.clone()).await, options).expect("an address");
        let (to, appends) = mpsc::channel(1);
        to.send(tagged(1)).await.expect("it is open");
        let opening = client.append_stream(Box::pin(ReceiverStream::new(appends)));
        if give_up {
            assert!(tokio::time::timeout(Duration::from_millis(200), opening).await.is_err());
        } else {
            assert_eq!(soon(opening).await.err().map(|failure| failure.reason), Some(Reason::Unreachable));
        }
        assert_eq!(script.messages.load(Ordering::SeqCst), 0);
        soon(to.closed()).await;
        soon(ended(&script)).await;
    }
}

fn stored() -> Option<Result<v2::AppendReply, Status>> {
    let stored = v2::Stored { by_earlier_try: true, ..v2::Stored::default() };
    Some(Ok(v2::AppendReply { outcome: Some(v2::append_reply::Outcome::Stored(stored)) }))
}

/// An address at which nobody listens.
async fn nowhere() -> String {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
    format!("http://{}", listener.local_addr().expect("an address"))
}

#[tokio::test]
async fn an_append_whose_answer_was_lost_is_settled_at_another_instance() {
    // The first breaks off without a word of ours, the second is not there, the third knows the append.
    let lost = serve(Script { append: Some(Err(Status::unavailable("a proxy"))), ..Script::default() }).await;
    let nowhere = nowhere().await;
    let knows = serve(Script { append: stored(), ..Script::default() }).await;
    let client = Client::connect_to(&[&lost, &nowhere, &knows], ClientOptions::default()).expect("addresses");
    let appended = soon(client.append(append())).await.expect("it is settled");
    assert!(appended.by_earlier_try);
}

#[tokio::test]
async fn an_unknown_append_without_an_id_is_not_tried_again() {
    let lost = serve(Script { append: Some(Err(Status::unavailable("a proxy"))), ..Script::default() }).await;
    let knows = Script { append: stored(), ..Script::default() };
    let heard = Arc::clone(&knows.heard);
    let client =
        Client::connect_to(&[&lost, &serve(knows).await], ClientOptions::default()).expect("addresses");
    let without = Append { identity: None, ..append() };
    let failure = soon(client.append(without)).await.expect_err("it may be stored");
    assert!(matches!(failure, AppendFailure::Unknown { id: None, .. }), "{failure:?}");
    assert!(heard.lock().expect("no panic").is_empty(), "the second was not called");
}

#[tokio::test]
async fn what_changes_nothing_is_asked_again_at_another_instance() {
    let nowhere = nowhere().await;
    let pages = vec![Ok(v2::ReadReply { end: Some(v2::ReadEnd::default()), ..v2::ReadReply::default() })];
    let serves = serve(Script { pages, ..Script::default() }).await;
    let client = Client::connect_to(&[&nowhere, &serves], ClientOptions::default()).expect("addresses");
    let mut pages = soon(client.read(Read::all(key()))).await.expect("it begins");
    assert!(soon(pages.next()).await.expect("a page").expect("it is read").end.is_some());
}

/// A call's own short deadline turned all clones of the client to another instance, where local reads may show less.
#[tokio::test]
async fn a_deadline_of_the_callers_own_turns_nobody() {
    let first = Script::default();
    let (one, two) = (serve(first.clone()).await, serve(Script::default()).await);
    let options = ClientOptions { read_timeout: Duration::from_millis(100), ..ClientOptions::default() };
    let client = Client::connect_to(&[&one, &two], options).expect("addresses");
    let short = append().within(Duration::from_millis(100));
    assert_eq!(soon(client.append(short)).await.expect_err("no answer").class(), ErrorClass::Unknown);
    let _ = client.head(key(), Freshness::Local).await;
    assert_eq!(first.heads.load(Ordering::SeqCst), 1, "the first instance is called still");
    assert!(soon(client.keys(bkes_api::KeysRequest::default())).await.is_err());
    let _ = client.head(key(), Freshness::Local).await;
    assert_eq!(first.heads.load(Ordering::SeqCst), 2, "the first instance is called still");
}

/// The time in which a caller looked at a page was taken off the next one, where that had not come whole: what a stream may send before it
/// is read is less than a page here.
#[tokio::test]
async fn a_caller_may_take_its_time_over_a_page() {
    let page = |order, end| {
        let event = v2::Event { order, value: Some(vec![b'v'; 1_500_000].into()), ..v2::Event::default() };
        Ok(v2::ReadReply { events: vec![event], end })
    };
    let pages = vec![page(0, None), page(1, Some(v2::ReadEnd::default()))];
    let options = ClientOptions { read_timeout: Duration::from_millis(200), ..ClientOptions::default() };
    let script = Script { pages, ..Script::default() };
    let client = Client::connect_with(&serve(script).await, options).expect("an address");
    let mut pages = client.read(Read::all(key())).await.expect("it opens");
    soon(pages.next()).await.expect("a page").expect("it is read");
    tokio::time::sleep(Duration::from_millis(500)).await;
    soon(pages.next()).await.expect("a page").expect("it is read");
}

/// A server that took appends and answered nothing held them for ever, as long as it answered pings.
#[tokio::test]
async fn appends_of_a_stream_that_says_nothing_end_unknown() {
    let script = Script { is_mute: true, ..Script::default() };
    let client = client_of(script.clone()).await;
    let (to, appends) = mpsc::unbounded_channel();
    let mut answers =
        client.append_stream(Box::pin(UnboundedReceiverStream::new(appends))).await.expect("it opens");
    to.send(tagged(1)).expect("it is open");
    let mut first = Box::pin(answers.next());
    while script.messages.load(Ordering::SeqCst) == 0 {
        assert!(tokio::time::timeout(Duration::from_millis(5), &mut first).await.is_err());
    }
    tokio::time::pause();
    let begun = tokio::time::Instant::now();
    let answer = first.await.expect("an answer").answer.expect_err("nothing came");
    assert!(
        matches!(&answer, AppendFailure::Unknown { id: Some(of), failure } if *of == id() && failure.reason == Reason::AnswerLost)
    );
    let waited = begun.elapsed();
    assert!(waited > Duration::from_secs(30) && waited < Duration::from_secs(60), "{waited:?}");
    assert!(client.append_stream(Box::pin(tokio_stream::empty())).await.is_ok());
}

/// Times without end, or as good as that, made the program end.
#[tokio::test]
async fn times_without_end_are_times_of_a_year() {
    let all = Duration::MAX;
    let retry = RetryPolicy { time: all, ..RetryPolicy::default() };
    let options = ClientOptions { read_timeout: all, append_timeout: all, retry, ..ClientOptions::default() };
    let pages = vec![Ok(v2::ReadReply { end: Some(v2::ReadEnd::default()), ..v2::ReadReply::default() })];
    let script = Script { append: stored(), pages, answered: 1, ..Script::default() };
    let client = Client::connect_with(&serve(script).await, options).expect("an address");
    soon(client.append(append())).await.expect("it is stored");
    soon(client.append(append().within(all))).await.expect("it is stored");
    soon(client.try_append(append().within(all))).await.expect("it is stored");
    let pages: Vec<_> = soon(client.read(Read::all(key())).await.expect("it opens").collect()).await;
    assert!(pages.iter().all(Result::is_ok), "{pages:?}");
    let _ = soon(client.head(key(), Freshness::Local)).await;
    let wait = bkes_api::WaitFor { positions: Default::default(), group: None, timeout: all };
    assert_eq!(soon(client.wait_for(wait)).await.expect_err("an old server").reason, Reason::Unsupported);
    let appends = tokio_stream::iter([tagged(1)]);
    let mut answers = client.append_stream(Box::pin(appends)).await.expect("it opens");
    soon(answers.next()).await.expect("an answer").answer.expect("it is stored");
}

/// A server that answers in an encoding which the library does not know: the library ends the call as if there were no such call.
#[tokio::test]
async fn an_append_whose_answer_cannot_be_decoded_is_unknown() {
    let script = Script { append: stored(), encoding: Some("x-unknown"), ..Script::default() };
    let failure = client_of(script).await.try_append(append()).await.expect_err("it cannot be read");
    assert_eq!((failure.class(), failure.reason()), (ErrorClass::Unknown, Reason::AnswerLost));
}
