//! What the original got wrong, one test for each defect, through the interface as a client of the original sees it.
//!
//! Two more live where they can be shown: `defect_7_no_property_weakens_the_producer` in bkes-kafka, and
//! `defect_8_the_originals_variables_keep_working` in the server's tests.

use crate::support::{Client, Server, ready_engine, soon};
use bkes_core::{Partition, Partitioner};
use bkes_grpc::ServeOptions;
use bkes_grpc::api::error::{Outcome, Reason, Type};
use bkes_grpc::api::{RetrieveRequest, StoreSuccess};
use bkes_storage::MemoryStore;
use bkes_testkit::log::{Faults, SimulatedLog};
use std::num::NonZeroU32;
use std::time::{Duration, Instant};

async fn serve(log: &SimulatedLog) -> (bkes_engine::Engine, Server, Client) {
    let (engine, gate) = ready_engine(log.clone(), MemoryStore::new()).await;
    let server = Server::start(gate, ServeOptions::default()).await;
    let client = server.client().await;
    (engine, server, client)
}

fn log(partitions: u32) -> SimulatedLog {
    SimulatedLog::new("events", NonZeroU32::new(partitions).expect("not zero"))
}

async fn count(client: &mut Client, key: &str) -> usize {
    client.retrieve(key).await.map_or(0, |found| found.records.len())
}

/// The original wrote its store before Kafka. A produce that failed left an event that was never in the topic, and the right
/// order was refused for ever (after a start: for 60 s by the wall clock).
#[tokio::test]
async fn defect_1_a_failed_produce_leaves_no_phantom_event() {
    let log = log(1);
    let (_engine, _server, mut client) = serve(&log).await;
    log.set_faults(Faults { not_stored: 1_000, ..Faults::default() });
    let error = client.start("book").await.expect_err("it is not stored");
    assert_eq!(error.outcome(), Outcome::Unavailable, "{error:?}");
    assert_eq!(count(&mut client, "book").await, 0);
    log.set_faults(Faults::default());
    let began = Instant::now();
    client.start("book").await.expect("the order is free");
    log.set_faults(Faults { not_stored: 1_000, ..Faults::default() });
    client.add("book", 1).await.expect_err("it is not stored");
    assert_eq!(count(&mut client, "book").await, 1);
    log.set_faults(Faults::default());
    client.add("book", 1).await.expect("the order is free");
    assert!(began.elapsed() < Duration::from_secs(20), "no clock frees a key");
}

/// When the original's consumer met event k it forgot every unconfirmed event after it, one at k+1 on its way too. A second
/// add at k+1 was then accepted: two successes for one order on a single instance. It also compared offsets of different
/// partitions with each other.
#[tokio::test(flavor = "multi_thread")]
async fn defect_2_an_order_is_acknowledged_once_while_the_event_before_it_comes_back() {
    let log = log(3);
    // The partitions' offsets lie far apart, and every record comes back some time after it was sent.
    log.skip_offsets(Partition(1), 1_000_000);
    log.skip_offsets(Partition(2), 1_000);
    let (_engine, _server, mut client) = serve(&log).await;
    log.set_faults(Faults { delayed: 500, offset_unknown: 300, ..Faults::default() });
    let stepping = log.clone();
    let steps = tokio::spawn(async move {
        loop {
            stepping.step();
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
    });
    let keys: Vec<String> = (0..6).map(|n| format!("book-{n}")).collect();
    for key in &keys {
        client.start(key).await.expect("it is new");
    }
    for order in 1..20 {
        let mut adds = Vec::new();
        for key in keys.iter().flat_map(|key| [key, key]) {
            let (mut client, key) = (client.clone(), key.clone());
            adds.push(tokio::spawn(async move { (client.add(&key, order).await, key) }));
        }
        let mut winners = Vec::new();
        for add in adds {
            let (answer, key) = soon("an add is answered", add).await.expect("it does not panic");
            winners.extend(answer.ok().map(|_| key));
        }
        winners.sort();
        assert_eq!(winners, keys, "order {order}: one success for each key");
    }
    for key in &keys {
        assert_eq!(count(&mut client, key).await, 20);
    }
    steps.abort();
}

/// The original typed an order mismatch USER, so that a client could not tell a conflict from a bad request.
#[tokio::test]
async fn defect_3_an_order_mismatch_is_a_concurrency_error() {
    let (_engine, _server, mut client) = serve(&log(1)).await;
    client.start("book").await.expect("it is new");
    for error in [client.start("book").await, client.add("book", 0).await, client.add("book", 7).await] {
        assert_eq!(error.expect_err("it is no match").r#type(), Type::Concurrency);
    }
    for error in [client.add("nothing", 1).await, client.start("").await] {
        assert_eq!(error.expect_err("it is a bad request").r#type(), Type::User);
    }
}

/// All events of a key were one value of the original's store: every append copied all before it, and an aggregate above
/// 4 MiB could not be read at all.
#[tokio::test]
async fn defect_4_a_long_aggregate_is_appended_to_and_read_by_pages() {
    let log = log(1);
    let value = bytes::Bytes::from(vec![b'x'; 1_000]);
    for _ in 0..10_000 {
        log.append_foreign(Partition(0), Some("book".into()), Some(value.clone()), Vec::new());
    }
    let (_engine, _server, mut client) = serve(&log).await;
    let stored: StoreSuccess = client.add("book", 10_000).await.expect("its order is next");
    assert_eq!(stored.order, Some(10_000));
    let error = client.retrieve("book").await.expect_err("it is larger than a reply");
    assert_eq!(error.reason(), Reason::ReplyTooLarge);
    let (mut from, mut read) = (0, 0);
    loop {
        let request = RetrieveRequest {
            key: "book".into(),
            from_order: Some(from),
            limit: Some(3_000),
            ..Default::default()
        };
        let page = client.read(request).await.expect("a page");
        read += page.records.len();
        match page.continue_from {
            Some(next) => from = next,
            None => break,
        }
    }
    assert_eq!(read, 10_001);
}

/// A null key, a null value, a missing timestamp or any error of the consumer ended the original's process, and again at
/// each restart.
#[tokio::test]
async fn defect_5_records_without_key_value_or_sense_are_survived() {
    let log = log(1);
    let partition = Partition(0);
    log.append_foreign(partition, None, Some("no key".into()), Vec::new());
    log.append_foreign(partition, Some("".into()), None, Vec::new());
    log.append_foreign(partition, Some("book".into()), None, Vec::new());
    let header = |name: &'static [u8], value: Option<&'static [u8]>| bkes_core::Header {
        name: name.into(),
        value: value.map(Into::into),
    };
    let nonsense = vec![header(b"\xff", None), header(b"bkes", Some(b"2")), header(b"order", Some(b"x"))];
    log.append_foreign(partition, Some("book".into()), Some("".into()), nonsense);
    let (_engine, _server, mut client) = serve(&log).await;
    let found = client.retrieve("book").await.expect("it has events");
    let shown: Vec<(bool, usize)> = found.records.iter().map(|r| (r.tombstone, r.value.len())).collect();
    assert_eq!(shown, [(true, 0), (false, 0)]);
    log.go_down("on purpose");
    log.come_up();
    soon("it comes back", async {
        while client.add("book", 2).await.is_err() {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    })
    .await;
}

/// The original waited to see the record at the offset before the end. A transaction's marker or an aborted record there made
/// it hang for ever; and a failed question for the end meant "empty".
#[tokio::test]
async fn defect_6_a_log_that_ends_without_a_record_is_caught_up_with() {
    let log = log(2);
    log.append_foreign(Partition(0), Some("book".into()), Some("kept".into()), Vec::new());
    let transaction = log.begin();
    log.append_in(transaction, Partition(0), "book".into(), "aborted".into());
    log.end(transaction, false);
    log.skip_offsets(Partition(0), 3);
    log.skip_offsets(Partition(1), 7);
    let (_engine, _server, mut client) = serve(&log).await;
    assert_eq!(count(&mut client, "book").await, 1);
    client.add("book", 1).await.expect("its order is next");

    // Where the end is not known, nothing is served as if the topic were empty.
    log.go_down("on purpose");
    let refused = bkes_engine::Engine::start(
        std::sync::Arc::new(log.clone()),
        std::sync::Arc::new(MemoryStore::new()),
        bkes_engine::EngineOptions::default(),
    );
    assert!(matches!(refused, Err(bkes_engine::StartError::Log(_))), "it does not start");
}

/// The original placed keys by CRC-32 in topics that Java programs had written by murmur2, so that an aggregate's new events
/// went to another partition; partitions that were added were never read.
#[tokio::test]
async fn defect_7_keys_go_on_where_they_are_and_new_partitions_are_read() {
    let (log, partitions) = (log(5), NonZeroU32::new(5).expect("not zero"));
    let place = |key: &str| Partitioner::Murmur2.place(key.as_bytes(), partitions);
    for n in 0..50 {
        let key = format!("book-{n}");
        log.append_foreign(place(&key), Some(key.into()), Some("by Java".into()), Vec::new());
    }
    let (_engine, _server, mut client) = serve(&log).await;
    for n in 0..100 {
        let key = format!("book-{n}");
        let stored = if n < 50 { client.add(&key, 1).await } else { client.start(&key).await };
        assert_eq!(stored.expect("accepted").partition, place(&key).0 as i32, "{key}");
    }
    log.add_partitions(1);
    log.append_foreign(Partition(5), Some("new".into()), Some("in the new one".into()), Vec::new());
    soon("the new partition is read", async {
        while count(&mut client, "new").await == 0 {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    })
    .await;
}
