//! `bkes verify` on a real broker, of topics with everything in them that others may write; `cargo xtask integration` runs this.

mod support;

use bkes_api::{EventStore, Freshness, Key};
use bkes_foreign::ForeignRecord;
use bkes_log::{Log, ReadEvent, wake_pair};
use serde_json::json;
use std::time::{Duration, Instant};
use support::{Server, bkes, brokers, cluster, log, make_topic, write};

async fn verify(topic: &str, server: &Server) -> support::Ran {
    bkes(&["verify", "-b", &brokers(), "-t", topic, "--server", &server.address, "-o", "json"]).await
}

/// The first record of a topic of one partition that BKES wrote.
fn first_marked(topic: &str) -> bkes_core::Record {
    let log = log(topic);
    let (waker, mut waiter) = wake_pair();
    let mut reader = log.reader(waker).expect("a reader");
    reader.assign(bkes_core::Partition(0), bkes_core::Position::START);
    let (mut events, until) = (Vec::new(), Instant::now() + Duration::from_secs(30));
    while Instant::now() < until {
        waiter.wait(Some(Duration::from_millis(100)));
        reader.poll(100, &mut events);
        for event in events.drain(..) {
            match event {
                ReadEvent::Record { record, .. } if !record.headers.is_empty() => return record,
                _ => {}
            }
        }
    }
    panic!("no record of BKES came");
}

/// Writes a record with the headers of another one: as it was, or with another value.
fn write_again(topic: &str, record: &bkes_core::Record, value: &[u8]) {
    let text = |name: &bytes::Bytes| String::from_utf8(name.to_vec()).expect("it is text");
    let names: Vec<String> = record.headers.iter().map(|header| text(&header.name)).collect();
    let headers: Vec<(&str, Option<&[u8]>)> = names
        .iter()
        .map(String::as_str)
        .zip(record.headers.iter().map(|header| header.value.as_deref()))
        .collect();
    let key = record.key.as_deref();
    let again = ForeignRecord {
        key,
        value: Some(value),
        partition: Some(0),
        headers: &headers,
        ..ForeignRecord::default()
    };
    let producer = cluster().producer(&[]).expect("a producer");
    producer.send(topic, &again).expect("it is queued");
    producer.flush().expect("it is delivered");
}

/// Waits until the server has that many events of a key.
async fn has(server: &Server, key: &str, count: u64) {
    let until = Instant::now() + Duration::from_secs(30);
    let key = Key::new(key.to_owned()).expect("it has bytes");
    loop {
        let head = EventStore::head(&server.store, key.clone(), Freshness::Latest).await.expect("answered");
        if head.is_some_and(|head| head.next.0 >= count) {
            return;
        }
        assert!(Instant::now() < until, "{key} never has {count} events");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_topic_with_everything_in_it_is_verified_and_counted() {
    let topic = make_topic(2, &[("retention.ms", "-1")]).await;
    let producer = cluster().producer(&[]).expect("a producer");
    // `split` lies in both; without keys there are no events.
    write(&producer, &topic, Some("split"), "one", Some(0));
    write(&producer, &topic, Some("split"), "two", Some(1));
    write(&producer, &topic, Some("foreign"), "one", Some(0));
    write(&producer, &topic, None, "of nobody", Some(1));
    producer.flush().expect("all are delivered");
    let transactional = cluster().transactional(&format!("{topic}-writer")).expect("a producer");
    for (round, word) in ["kept", "aborted", "kept"].iter().enumerate() {
        transactional.begin().expect("it begins");
        write(&transactional, &topic, Some("of transactions"), &format!("{word}-{round}"), Some(0));
        if *word == "kept" { transactional.commit() } else { transactional.abort() }.expect("it ends");
    }
    let server = Server::of(&topic).await;
    server.append("foreign", 1, &["ours", "and ours"]).await;
    let marked = first_marked(&topic);
    // A copy is void, and an event that carries the marker of another one is forwarded.
    write_again(&topic, &marked, &marked.value.clone().expect("it has one"));
    write_again(&topic, &marked, b"another value");
    has(&server, "foreign", 4).await;

    let ran = verify(&topic, &server).await;
    assert_eq!((ran.code, ran.talk.as_str()), (0, ""), "{ran:?}");
    let report = ran.json();
    assert_eq!(report["findings"], json!([]));
    assert_eq!((&report["aggregates"], &report["split"]), (&json!(3), &json!(1)));
    assert_eq!(report["compared"], json!({"aggregates": 3, "events": 8, "heads": 3, "newer_events": 0}));
    let sum = |name: &str| {
        let of = |number: usize| report["partitions"][number][name].as_u64().expect("a number");
        of(0) + of(1)
    };
    assert_eq!((sum("events"), sum("foreign"), sum("forwarded"), sum("skipped")), (8, 6, 1, 1));
    assert_eq!(report["partitions"][0]["void"]["judged_before"], json!(1));
    assert!(sum("gaps") > 0, "marks of transactions are none: {report}");

    let alone = bkes(&["verify", "-b", &brokers(), "-t", &topic, "--no-server", "-o", "table"]).await;
    assert!(alone.code == 0 && alone.output.ends_with("nothing found\n"), "{alone:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_server_of_another_topic_with_the_same_keys_is_found() {
    let (one, other) = (make_topic(1, &[]).await, make_topic(1, &[]).await);
    let (server, of_other) = (Server::of(&one).await, Server::of(&other).await);
    for server in [&server, &of_other] {
        server.append("key", 0, &["the same"]).await;
    }
    let ran = verify(&one, &of_other).await;
    assert_eq!((ran.code, ran.output.as_str()), (1, ""), "{ran:?}");
    assert!(ran.talk.contains(&format!("the server serves another topic: {other} (")), "{}", ran.talk);
    assert_eq!(verify(&one, &server).await.code, 0);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_was_removed_from_the_topic_and_is_still_shown_is_found() {
    let topic = make_topic(1, &[("retention.ms", "-1")]).await;
    let server = Server::of(&topic).await;
    server.append("old", 0, &["0", "1"]).await;
    server.append("new", 0, &["0"]).await;
    assert_eq!(verify(&topic, &server).await.code, 0);
    cluster().delete_records(&topic, 0, 2).await.expect("they are removed");
    let ran = verify(&topic, &server).await;
    assert_eq!(ran.code, 1, "{ran:?}");
    let kinds = ran.kinds();
    for expected in ["head_removed", "extra_aggregate"] {
        assert!(kinds.iter().any(|kind| kind == expected), "{expected}: {ran:?}");
    }
    assert!(!ran.output.contains("\"key\":\"new\""), "nothing is wrong with it: {ran:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_topic_that_cannot_be_read_ends_with_a_code_of_its_own() {
    let ran = bkes(&["verify", "-b", &brokers(), "-t", "cli-not-there", "--no-server"]).await;
    assert!(ran.code == 4 && ran.talk.contains("does not exist"), "{ran:?}");
    let ran = bkes(&["verify", "-b", "127.0.0.1:1", "-t", "events", "--no-server"]).await;
    assert!(ran.code == 5 && ran.talk.contains("no broker at 127.0.0.1:1 answers"), "{ran:?}");
}
