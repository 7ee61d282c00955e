//! Aggregates that lie in several partitions: in the order of their headers, or an error that says why not.

use bkes_core::{Header, Key, Order, Partition};
use bkes_engine::{
    AppendError, AppendRequest, Engine, EngineHandle, EngineOptions, Events, Expected, Layout, NoOrder,
    ReadError, ReadRequest,
};
use bkes_storage::MemoryStore;
use bkes_testkit::log::SimulatedLog as MemoryLog;
use std::num::NonZeroU32;
use std::sync::Arc;
use std::time::Duration;

fn log() -> MemoryLog {
    MemoryLog::new("topic", NonZeroU32::new(3).expect("three"))
}

fn order_header(order: &str) -> Header {
    Header { name: "order".into(), value: Some(order.to_owned().into()) }
}

/// A record as the original wrote it.
fn put(log: &MemoryLog, partition: u32, order: u64) {
    let value = Some(format!("event {order}").into());
    let headers = vec![order_header(&order.to_string())];
    log.append_foreign(Partition(partition), Some("key".into()), value, headers);
}

async fn start(log: &MemoryLog, split_by_order_headers: bool) -> (Engine, EngineHandle) {
    let options = EngineOptions { split_by_order_headers, ..EngineOptions::default() };
    let engine = Engine::start(Arc::new(log.clone()), Arc::new(MemoryStore::new()), options);
    let engine = engine.expect("the engine starts");
    let handle = engine.handle();
    tokio::time::timeout(Duration::from_secs(60), handle.ready()).await.expect("it becomes ready");
    (engine, handle)
}

fn all() -> ReadRequest {
    ReadRequest::all(Key::new("key").expect("not empty"))
}

fn is_in_order(found: &Events, from: u64) {
    for (event, order) in found.events.iter().zip(from..) {
        assert_eq!((event.order, &event.value[..]), (Order(order), format!("event {order}").as_bytes()));
    }
}

/// Reads until as many events are there as the log holds.
async fn read(handle: &EngineHandle, events: u64) -> Events {
    let reading = async {
        loop {
            match handle.read(all()).await {
                Ok(found) if found.next == Order(events) => return found,
                _ => tokio::time::sleep(Duration::from_millis(5)).await,
            }
        }
    };
    tokio::time::timeout(Duration::from_secs(60), reading).await.expect("it is read")
}

/// The original placed by CRC-32 what Java's clients had placed by murmur2: the events of one key lie in two partitions, and its
/// clients got the lower partition's first, as success.
#[tokio::test]
async fn a_split_aggregate_is_read_in_the_order_of_its_headers_and_not_appended_to() {
    const EVENTS: u64 = 2_500;
    let log = log();
    // Neither the runs nor the partitions' order may matter.
    let random = &mut fastrand::Rng::with_seed(7);
    let mut order = 0;
    while order < EVENTS {
        let (partition, run) = (random.u32(1..3), random.u64(1..40).min(EVENTS - order));
        (order..order + run).for_each(|order| put(&log, partition, order));
        order += run;
    }
    let (_engine, handle) = start(&log, true).await;
    let whole = read(&handle, EVENTS).await;
    assert_eq!((whole.events.len() as u64, whole.more), (EVENTS, false));
    assert_eq!(whole.layout, Layout::ByOrderHeaders(vec![Partition(1), Partition(2)]));
    is_in_order(&whole, 0);

    let mut from = 0;
    while from < EVENTS {
        let (events_max, bytes_max) = (random.usize(1..400), random.usize(1..3_000));
        let page = handle.read(ReadRequest { from: Order(from), events_max, bytes_max, ..all() }).await;
        let page = page.expect("every page is readable");
        is_in_order(&page, from);
        assert!((1..=events_max).contains(&page.events.len()), "{}", page.events.len());
        // The last event may pass the bytes, no other.
        let before_last: usize =
            page.events.split_last().expect("not empty").1.iter().map(|event| event.value.len()).sum();
        assert!(before_last < bytes_max, "{before_last} of {bytes_max}");
        from += page.events.len() as u64;
        assert_eq!((page.more, page.next), (from < EVENTS, Order(EVENTS)));
    }
    for from in [EVENTS, EVENTS + 1, u64::MAX] {
        let page = handle.read(ReadRequest { from: Order(from), ..all() }).await.expect("it is readable");
        assert_eq!((page.events.len(), page.more), (0, false), "behind the end");
    }

    let append = AppendRequest::of_values(all().key, Expected::At(Order(EVENTS)), vec!["x".into()]);
    let partitions = vec![Partition(1), Partition(2)];
    assert_eq!(handle.append(append).await, Err(AppendError::Split { partitions }));
}

#[tokio::test]
async fn what_was_read_by_order_headers_keeps_its_place_as_more_is_written() {
    let log = log();
    [(0, 1), (2, 0)].into_iter().for_each(|(partition, order)| put(&log, partition, order));
    let (_engine, handle) = start(&log, true).await;
    is_in_order(&read(&handle, 2).await, 0);
    // The one above came first: there is no order until the one before it is there.
    put(&log, 2, 3);
    let waiting = async {
        while handle.read(all()).await.is_ok() {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        handle.read(all()).await
    };
    let refused = tokio::time::timeout(Duration::from_secs(60), waiting).await.expect("it is read");
    let why =
        NoOrder::Gap { order: Order(3), partition: Partition(2), offset: bkes_core::Offset(1), events: 3 };
    let partitions = vec![Partition(0), Partition(2)];
    assert_eq!(refused, Err(ReadError::Split { partitions, why }));
    put(&log, 1, 2);
    is_in_order(&read(&handle, 4).await, 0);
}

/// What BKES wrote lies in the store without its two headers; it was accepted at the order that they named.
#[tokio::test]
async fn events_that_bkes_wrote_count_with_the_order_they_were_accepted_at() {
    let log = log();
    put(&log, 1, 0);
    let (engine, handle) = start(&log, true).await;
    let append = |order: u64| {
        let values = vec![format!("event {order}").into()];
        AppendRequest::of_values(all().key, Expected::At(Order(order)), values)
    };
    handle.append(append(1)).await.expect("it is in one partition");
    handle.append(append(2)).await.expect("it is in one partition");
    put(&log, 0, 3);
    is_in_order(&read(&handle, 4).await, 0);
    drop(engine);
    let (_engine, handle) = start(&log, true).await;
    is_in_order(&read(&handle, 4).await, 0);
}

/// Records of one key: each one's partition and headers.
type Records = Vec<(u32, Vec<Header>)>;

#[tokio::test]
async fn headers_that_are_not_one_order_are_an_error_that_says_why() {
    let offset = bkes_core::Offset;
    let forwarded = Header { name: "bkes".into(), value: Some("1;00ff00ff00ff00ff;1;0;00000000".into()) };
    let cases: Vec<(&str, Records, NoOrder)> = vec![
        (
            "no header",
            vec![(0, vec![order_header("0")]), (1, vec![])],
            NoOrder::Missing { partition: Partition(1), offset: offset(0) },
        ),
        (
            "no number",
            vec![(0, vec![order_header("first")]), (1, vec![order_header("1")])],
            NoOrder::Missing { partition: Partition(0), offset: offset(0) },
        ),
        (
            "null",
            vec![(0, vec![Header { name: "order".into(), value: None }]), (1, vec![order_header("1")])],
            NoOrder::Missing { partition: Partition(0), offset: offset(0) },
        ),
        (
            "forwarded from another record",
            vec![(0, vec![order_header("0")]), (1, vec![order_header("1"), forwarded])],
            NoOrder::Missing { partition: Partition(1), offset: offset(0) },
        ),
        (
            "two headers",
            vec![(0, vec![order_header("0")]), (1, vec![order_header("1"), order_header("1")])],
            NoOrder::Missing { partition: Partition(1), offset: offset(0) },
        ),
        (
            "one order twice",
            vec![(0, vec![order_header("0")]), (1, vec![order_header("1")]), (2, vec![order_header("0")])],
            NoOrder::Twice { order: Order(0), partition: Partition(2), offset: offset(0) },
        ),
        (
            "a gap",
            vec![(0, vec![order_header("0")]), (1, vec![order_header("2")])],
            NoOrder::Gap { order: Order(2), partition: Partition(1), offset: offset(0), events: 2 },
        ),
        (
            "beyond all numbers",
            vec![(0, vec![order_header("0")]), (1, vec![order_header("18446744073709551615")])],
            NoOrder::Gap { order: Order(u64::MAX), partition: Partition(1), offset: offset(0), events: 2 },
        ),
    ];
    for (name, records, why) in cases {
        let log = log();
        for (partition, headers) in &records {
            let (key, value) = (Some("key".into()), Some("value".into()));
            log.append_foreign(Partition(*partition), key, value, headers.clone());
        }
        let partitions = records.iter().map(|(partition, _)| Partition(*partition)).collect();
        let (engine, handle) = start(&log, true).await;
        for request in
            [all(), ReadRequest { events_max: 1, ..all() }, ReadRequest { from: Order(1), ..all() }]
        {
            let refused = handle.read(request).await.expect_err(name);
            assert_eq!(refused, ReadError::Split { partitions: Vec::clone(&partitions), why }, "{name}");
        }
        drop(engine);
        let (_engine, handle) = start(&log, false).await;
        let found = handle.read(all()).await.expect("it is readable without the flag");
        assert_eq!(found.layout, Layout::PartByPart(partitions), "{name}");
        assert_eq!(found.events.len(), records.len(), "{name}");
    }
}

#[tokio::test]
async fn a_split_aggregate_of_too_many_events_says_so() {
    const EVENTS: u64 = 100_001;
    let log = log();
    (0..EVENTS - 1).for_each(|order| put(&log, 0, order));
    put(&log, 1, EVENTS - 1);
    let (_engine, handle) = start(&log, true).await;
    let refused = handle.read(ReadRequest { events_max: 1, ..all() }).await.expect_err("it is too long");
    let why = NoOrder::TooMany { events: EVENTS, events_max: EVENTS - 1 };
    assert_eq!(refused, ReadError::Split { partitions: vec![Partition(0), Partition(1)], why });
}
