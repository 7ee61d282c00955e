//! Whatever a store says comes out at the client as it was said, and whatever a client asks comes out at the store.

use super::{key, serve, tagged, wire};
use crate::support::scripted::{Asked, Script, Scripted};
use bkes_api::{
    Append, AppendFailure, AppendId, Appended, AsOf, BatchPlace, Build, Conflict, Counters, Detail,
    Direction, Event, EventStore, Expected, Failure, Follow, FollowFrom, FollowItem, Followed, FollowedEvent,
    Freshness, Head, Header, KeyList, KeyedPage, KeysRequest, Layout, ListedKey, Offset, Order, Origin, Page,
    PageEnd, Partition, PartitionState, PartitionStatus, Position, Positions, Read, ReadMany, Reason, Status,
    TaggedAnswer, TaggedAppend, TimestampMs, TopicId, WaitFor,
};
use bkes_wire::v2;
use std::time::Duration;
use tokio_stream::StreamExt;

fn id() -> AppendId {
    AppendId::new((0..64u8).map(|byte| byte.wrapping_mul(37)).collect::<Vec<_>>()).expect("64 bytes")
}

fn positions() -> Positions {
    let of = vec![(Partition(0), Position(0)), (Partition(i32::MAX as u32), Position(i64::MAX as u64))];
    Positions { topic: Some(TopicId::new("topic-id")), of }
}

fn event(order: u64, origin: Origin) -> Event {
    Event {
        order: Order(order),
        partition: Partition(3),
        offset: Offset(order * 2),
        timestamp: Some(TimestampMs(-1)),
        value: (order > 0).then(|| "value".into()),
        headers: vec![
            Header { name: vec![0xff].into(), value: None },
            Header { name: "n".into(), value: Some("".into()) },
        ],
        origin,
    }
}

/// Events of these orders, by each kind of writer.
fn events_of(orders: impl IntoIterator<Item = u64>) -> Vec<Event> {
    let batch = Some(BatchPlace { i: 1, count: 1_000 });
    let origins = [
        Origin::Foreign,
        Origin::Bkes { batch: None, append_id: None },
        Origin::Bkes { batch, append_id: Some(id()) },
    ];
    orders.into_iter().zip(origins.into_iter().cycle()).map(|(order, origin)| event(order, origin)).collect()
}

/// Events that do not follow each other.
fn events() -> Vec<Event> {
    events_of([0, 1, u64::MAX >> 2])
}

/// Where an aggregate stands that lies in several partitions.
fn split() -> Layout {
    Layout::PartByPart(vec![Partition(1), Partition(2)])
}

/// Two pages of these events, and the end.
fn pages(first: Vec<Event>, last: Vec<Event>) -> Vec<Result<Page, Failure>> {
    vec![Ok(Page { events: first, end: None }), Ok(Page { events: last, end: end(split()) })]
}

fn appended() -> Appended {
    Appended {
        topic: TopicId::new("topic-id"),
        partition: Partition(i32::MAX as u32),
        first_offset: Offset(5),
        last_offset: Offset(i64::MAX as u64),
        timestamp: Some(TimestampMs(i64::MIN)),
        first: Order(u64::MAX - 1),
        last: Order(u64::MAX - 1),
        by_earlier_try: true,
    }
}

fn end(layout: Layout) -> Option<PageEnd> {
    let (first, next) = (Order(7), Order(u64::MAX));
    Some(PageEnd { first, next, exists: true, is_complete: false, layout })
}

fn script() -> Script {
    let page = Page { events: events_of(4..7), end: None };
    let last = Page { events: events_of(7..8), end: end(split()) };
    let keyed = |name: &str, page: &Page| Ok(KeyedPage { key: key(name), page: page.clone() });
    let by_headers = Page { events: Vec::new(), end: end(Layout::ByOrderHeaders(vec![Partition(7)])) };
    let status = |state| PartitionStatus {
        partition: Partition(1),
        state,
        applied: Position(1),
        stored: Position(2),
        target: Position(3),
        high: Position(4),
        lag: 5,
        counters: Counters { events: 6, void: 7, foreign: 8, forwarded: 9, split: 10, skipped: 11 },
    };
    let states = [
        PartitionState::CatchingUp,
        PartitionState::Ready,
        PartitionState::Stalled,
        PartitionState::Cut,
        PartitionState::Degraded { reason: "why".into() },
    ];
    let followed = events().into_iter().map(|event| FollowedEvent { key: key("f"), event }).collect();
    let timestamp = Some(TimestampMs(9));
    let (first, next, partition, offset) = (Order(2), Order(4), Partition(1), Offset(9));
    let head = Head { first, next, partition, offset, timestamp, layout: split() };
    let listed = bkes_api::Key::new(&b"\xff\x00l"[..]).expect("it has bytes");
    let listed = ListedKey { key: listed, next: Order(4), partitions: vec![Partition(0), Partition(9)] };
    Script {
        append: Ok(appended()),
        pages: pages(events_of(0..3), events_of(3..4)),
        keyed: vec![keyed("a", &page), keyed("a", &last), keyed("b", &by_headers), keyed("a", &by_headers)],
        items: vec![
            Ok(FollowItem::Events(followed)),
            Ok(FollowItem::CaughtUp),
            Ok(FollowItem::FellBehind),
            Ok(FollowItem::Positions(positions())),
        ],
        head: Ok(Some(head)),
        keys: Ok(KeyList { keys: vec![listed], more: true }),
        wait: Ok(()),
        status: Ok(Status {
            build: Build { name: "program".into(), version: "1.2".into() },
            cluster: "cluster".into(),
            topic: "topic".into(),
            topic_id: TopicId::new("topic-id"),
            unready: Some(Failure::new(Reason::Lagging, "behind").after(Duration::from_millis(7))),
            partitions: states.into_iter().map(status).collect(),
            keys: u64::MAX,
            store_bytes: 1,
            appended: 2,
            conflicts: 3,
            unknown: 4,
        }),
        opening: None,
    }
}

fn some_append() -> Append {
    let timeout = Duration::from_millis(45_250);
    Append::at(key("k"), Order(u64::MAX - 1))
        .event("x")
        .header("n", "v")
        .id(id())
        .with_missing()
        .within(timeout)
}

/// Reads, with what may come of each.
fn reads() -> Vec<(Read, Vec<Result<Page, Failure>>)> {
    const FAR: u64 = u64::MAX >> 3;
    let at_least = Freshness::AtLeast(positions());
    let last = Read {
        as_of: Some(AsOf::Offset(Offset(5))),
        freshness: at_least,
        with_headers: false,
        ..Read::last(key("k"), 3)
    };
    let first = Read { as_of: Some(AsOf::Time(TimestampMs(-5))), to: Some(Order(0)), ..Read::all(key("k")) };
    let part_by_part = Read {
        part_by_part: true,
        direction: Direction::Forwards,
        freshness: Freshness::Latest,
        ..Read::all(key("k"))
    };
    vec![
        (Read::all(key("k")), pages(events_of(0..3), events_of(3..4))),
        (Read::after(key("k"), Order(FAR)), pages(events_of(FAR..FAR + 3), vec![])),
        (last, pages(events_of([9, 8]), events_of([7]))),
        (first, pages(events_of([0]), vec![])),
        (part_by_part, pages(events(), events())),
    ]
}

#[tokio::test(flavor = "multi_thread")]
async fn every_request_and_every_answer_comes_out_as_it_was_put_in() {
    let store = Scripted::new(script());
    let (server, client) = serve(store.clone()).await;
    let script = script();

    assert_eq!(client.append(some_append()).await, script.append);
    let tags = [3, 3, u64::MAX];
    let appends: Vec<_> = tags.iter().map(|tag| tagged(*tag, some_append())).collect();
    let stream = client.append_stream(Box::pin(tokio_stream::iter(appends.clone()))).await.expect("it opens");
    let answers: Vec<_> = stream.collect().await;
    let expected = tags.map(|tag| TaggedAnswer { tag, answer: script.append.clone() });
    assert_eq!(answers, expected);
    let asked = store.asked();
    // Some of the call's time is left for the answer; in a stream each append has its own, and a number instead of its tag.
    assert_eq!(asked[0], Asked::Append(some_append().within(Duration::from_millis(45_150))));
    let numbered = (1..).zip(appends).map(|(tag, append)| Asked::Tagged(TaggedAppend { tag, ..append }));
    assert_eq!(asked[1..], numbered.collect::<Vec<_>>());

    for (read, pages) in reads() {
        store.play(Script { pages: pages.clone(), ..script.clone() });
        let come: Vec<_> = client.read(read.clone()).await.expect("it opens").collect().await;
        assert_eq!((come, store.asked()), (pages, vec![Asked::Read(read)]));
    }
    store.play(script.clone());
    let keys = vec![key("a"), key("b"), key("a")];
    let many = ReadMany { keys, from: Order(4), limit: 9, freshness: Freshness::Latest, with_headers: false };
    let pages: Vec<_> = client.read_many(many.clone()).await.expect("it opens").collect().await;
    assert_eq!((pages, store.asked()), (script.keyed.clone(), vec![Asked::ReadMany(many)]));

    let fresh = Freshness::AtLeast(positions());
    assert_eq!(client.head(key("k"), fresh.clone()).await, script.head);
    assert_eq!(store.asked(), [Asked::Head(key("k"), fresh.clone())]);
    let prefix = vec![0xff, 0x00].into();
    let request =
        KeysRequest { prefix, after: Some(key("z")), keys_max: 17, freshness: fresh, ..Default::default() };
    assert_eq!(client.keys(request.clone()).await, script.keys);
    assert_eq!(store.asked(), [Asked::Keys(request)]);

    let followed = [
        Followed::All,
        Followed::Prefix("p".into()),
        Followed::Partitions(vec![Partition(8)]),
        Followed::Key(key("k")),
    ];
    let from = [FollowFrom::Now, FollowFrom::Beginning, FollowFrom::Positions(positions()), FollowFrom::Now];
    for (followed, from) in followed.into_iter().zip(from) {
        let follow = Follow { followed, from, with_headers: false };
        let mut items: Vec<_> = client.follow(follow.clone()).await.expect("it opens").collect().await;
        // The store ends it without a word.
        let end = items.pop().and_then(Result::err).map(|failure| failure.reason);
        assert_eq!(end, Some(Reason::Unreachable));
        assert_eq!((items, store.asked()), (script.items.clone(), vec![Asked::Follow(follow)]));
    }
    let wait =
        WaitFor { positions: positions(), group: Some("group".into()), timeout: Duration::from_secs(8) };
    assert_eq!(client.wait_for(wait.clone()).await, Ok(()));
    let [Asked::Wait(asked)] = &store.asked()[..] else { panic!("it is asked once") };
    // The server is told what is left of the time.
    assert!((7_000..=8_000).contains(&asked.timeout.as_millis()), "{:?}", asked.timeout);
    assert_eq!(WaitFor { timeout: wait.timeout, ..asked.clone() }, wait);
    // Of a call that says nothing else, an eighth of its time is left for the answer.
    let mut call = tonic::Request::new(v2::WaitForRequest::default());
    call.set_timeout(Duration::from_secs(8));
    wire(&server).await.wait_for(call).await.expect("nothing is waited for");
    let [Asked::Wait(WaitFor { timeout, .. })] = &store.asked()[..] else { panic!("it is asked once") };
    assert_eq!(*timeout, Duration::from_secs(7));
    assert_eq!(client.status().await, script.status);
}

/// A failure of each reason, with all that it may carry.
fn failures() -> Vec<Failure> {
    let failure = |reason: &Reason| {
        let detail = match reason {
            Reason::InvalidRequest | Reason::EmptyKey => Some(Detail::Field("some.field[3]".into())),
            Reason::TooLarge => Some(Detail::Size { bytes: u64::MAX, bytes_max: 1 }),
            Reason::AppendIdWindow => Some(Detail::LookedFrom(Order(77))),
            _ => None,
        };
        let retry_after =
            matches!(reason, Reason::Overloaded | Reason::Lagging).then_some(Duration::from_millis(1_250));
        Failure { reason: *reason, message: format!("{reason}: 50% of \u{1F980}"), retry_after, detail }
    };
    Reason::ALL.iter().map(failure).collect()
}

/// The same as a failure of an append.
fn of_append(failure: &Failure) -> AppendFailure {
    let (first, offset) = (Order(u64::MAX), Offset(9));
    let conflict = |expected, current| {
        let current = Order(current);
        AppendFailure::Conflict(Box::new(Conflict {
            expected,
            current,
            missing: Vec::new(),
            more: current.0 > 4,
        }))
    };
    match failure.reason {
        Reason::Conflict => conflict(Expected::At(Order(4)), 3),
        Reason::AlreadyExists => conflict(Expected::New, u64::MAX),
        Reason::AppendIdUsed => AppendFailure::IdUsed { id: id(), first, partition: Partition(2), offset },
        Reason::AppendIdReused => AppendFailure::IdReused { id: id(), first },
        _ if failure.class() == bkes_api::ErrorClass::Unknown => {
            AppendFailure::Unknown { id: Some(id()), failure: failure.clone() }
        }
        _ => AppendFailure::NotStored(failure.clone()),
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn every_failure_comes_out_as_it_was_put_in_of_every_call() {
    let store = Scripted::new(script());
    let (_server, client) = serve(store.clone()).await;
    let append = || Append { missing_max: 0, ..some_append() };
    for failure in failures() {
        let append_failure = of_append(&failure);
        store.play(Script::failing(append_failure.clone(), &failure));
        assert_eq!(client.append(append()).await, Err(append_failure.clone()));
        let appends = Box::pin(tokio_stream::iter([tagged(9, append())]));
        let answers: Vec<_> = client.append_stream(appends).await.expect("it opens").collect().await;
        assert_eq!(answers, [TaggedAnswer { tag: 9, answer: Err(append_failure) }]);

        let pages: Vec<_> = client.read(Read::all(key("k"))).await.expect("it opens").collect().await;
        assert_eq!(pages, [Err(failure.clone())]);
        let freshness = Freshness::Local;
        let many = ReadMany { keys: vec![key("k")], from: Order(0), limit: 1, freshness, with_headers: true };
        let pages: Vec<_> = client.read_many(many).await.expect("it opens").collect().await;
        assert_eq!(pages, [Err(failure.clone())]);
        let items: Vec<_> = client.follow(Follow::default()).await.expect("it opens").collect().await;
        assert_eq!(items, [Err(failure.clone())]);
        assert_eq!(client.head(key("k"), Freshness::Local).await, Err(failure.clone()));
        assert_eq!(client.keys(KeysRequest::default()).await, Err(failure.clone()));
        let timeout = Duration::from_secs(1);
        let wait = WaitFor { positions: Positions::default(), group: None, timeout };
        assert_eq!(client.wait_for(wait).await, Err(failure.clone()));
        assert_eq!(client.status().await, Err(failure.clone()));

        store.play(Script { opening: Some(failure.clone()), ..script() });
        assert_eq!(client.read(Read::all(key("k"))).await.err(), Some(failure.clone()));
        assert_eq!(client.follow(Follow::default()).await.err(), Some(failure.clone()));
        let appends = Box::pin(tokio_stream::iter([tagged(9, append())]));
        assert_eq!(client.append_stream(appends).await.err(), Some(failure));
        store.asked();
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_read_that_the_store_breaks_off_is_a_failure_and_not_a_short_aggregate() {
    let store =
        Scripted::new(Script { pages: vec![Ok(Page { events: events_of(0..3), end: None })], ..script() });
    let (_server, client) = serve(store).await;
    let pages: Vec<_> = client.read(Read::all(key("k"))).await.expect("it opens").collect().await;
    assert_eq!(pages.len(), 2);
    assert_eq!(pages[1].as_ref().err().map(|failure| failure.reason), Some(Reason::Internal));
}

#[tokio::test(flavor = "multi_thread")]
async fn the_largest_failure_reaches_a_client_that_takes_8_kib_of_headers() {
    let store = Scripted::new(script());
    let (_server, client) = serve(store.clone()).await;
    let long = bkes_api::Key::new(vec![0xfe; 1_000_000]).expect("it has bytes");
    let message = format!("{}{:?}", "\u{1F980} ".repeat(300_000), long);
    let detail = Some(Detail::Field("f".repeat(1_000_000)));
    for reason in Reason::ALL {
        let failure = Failure {
            reason: *reason,
            message: message.clone(),
            retry_after: Some(Duration::MAX),
            detail: detail.clone(),
        };
        let unknown = AppendFailure::Unknown { id: Some(id()), failure: failure.clone() };
        store.play(Script::failing(unknown, &failure));
        let come = client.head(long.clone(), Freshness::Local).await.expect_err("it fails");
        assert_eq!(come.reason, *reason);
        assert!(
            message.starts_with(&come.message) && come.message.len() > 200,
            "{} bytes",
            come.message.len()
        );
        let come = client.append(some_append()).await.expect_err("it fails");
        assert_eq!(come.class(), bkes_api::ErrorClass::Unknown);
        assert_ne!(come.reason(), Reason::Unreachable);
    }
}
