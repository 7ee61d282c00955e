//! Topics that others fill: served completely and in order, whatever lies in them; `cargo xtask integration` runs this.

mod support;

use bkes_core::Header;
use bkes_foreign::{ForeignRecord, Producer};
use bkes_grpc::api::error::{Outcome, Reason};
use bkes_kafka::{KafkaLog, KafkaOptions};
use bkes_log::{Log, NewRecord, wake_pair};
use std::collections::BTreeMap;
use std::time::{Duration, Instant};
use support::kafka::{brokers, cluster, make_topic, on_kafka, serve};
use support::{Client, Server};
use tempfile::TempDir;

const KEYS: usize = 997;
const RECORDS: usize = 100_000;

/// What each key's events must be: tombstones and empty values are events too.
type Expected = BTreeMap<String, Vec<(Vec<u8>, bool)>>;

fn key_of(number: usize) -> String {
    format!("key-{number:04}")
}

fn send(producer: &Producer, topic: &str, key: &str, value: &str) {
    let record = ForeignRecord {
        key: Some(key.as_bytes()),
        value: Some(value.as_bytes()),
        ..ForeignRecord::default()
    };
    producer.send(topic, &record).expect("it is queued");
}

/// Fills a topic as Java programs with all kinds of settings would, and says what must come out.
fn fill(topic: &str) -> Expected {
    let mut expected = Expected::new();
    let codecs = ["none", "gzip", "snappy", "lz4", "zstd"];
    for (part, codec) in codecs.iter().enumerate() {
        let settings = [("partitioner", "murmur2_random"), ("compression.type", codec)];
        let producer = cluster().producer(&settings).expect("a producer");
        for n in part * RECORDS / codecs.len()..(part + 1) * RECORDS / codecs.len() {
            let key = key_of(n * 7 % KEYS);
            let value = format!("{n}-{codec}-{}", "x".repeat(n % 90));
            let headers: &[(&str, Option<&[u8]>)] = match n % 5 {
                0 => &[("trace", Some(b"1")), ("trace", Some(b"2")), ("nothing", None), ("", Some(b""))],
                1 => &[("order", Some(b"17"))],
                _ => &[],
            };
            let (key, value) = match n % 500 {
                100 => (None, Some(value.as_bytes())),
                200 => (Some(""), Some(value.as_bytes())),
                300 => (Some(key.as_str()), None),
                400 => (Some(key.as_str()), Some(&b""[..])),
                _ => (Some(key.as_str()), Some(value.as_bytes())),
            };
            let record =
                ForeignRecord { key: key.map(str::as_bytes), value, headers, ..ForeignRecord::default() };
            producer.send(topic, &record).expect("it is queued");
            if let Some(key) = key.filter(|key| !key.is_empty()) {
                let event = (value.unwrap_or_default().to_vec(), value.is_none());
                expected.entry(key.to_owned()).or_default().push(event);
            }
        }
        producer.flush().expect("all are delivered");
    }
    expected
}

/// Writes records with names of headers that are no text, which only bytes can do.
fn add_nonsense(topic: &str, expected: &mut Expected) {
    let log = KafkaLog::connect(KafkaOptions::new(brokers(), topic), None).expect("it is there");
    let (waker, _waiter) = wake_pair();
    let mut appender = log.appender(waker).expect("an appender");
    let count = 20;
    for n in 0..count {
        let key = key_of(n);
        let events = expected.get_mut(&key).expect("it is in use");
        let name = |name: &'static [u8], value: Option<&'static [u8]>| Header {
            name: name.into(),
            value: value.map(Into::into),
        };
        let headers = vec![
            name(b"\xff\xfe", Some(b"\x00")),
            name(b"bkes", Some(b"nonsense")),
            name(b"bkes", None),
            name(b"order", Some(b"-1")),
        ];
        let value = format!("nonsense-{n}");
        let place = bkes_core::Partitioner::Murmur2.place(key.as_bytes(), 5.try_into().expect("not zero"));
        let record =
            NewRecord { partition: place, key: Some(key.into()), value: Some(value.clone().into()), headers };
        appender.send(record, n as u64).expect("it is queued");
        appender.flush();
        events.push((value.into_bytes(), false));
    }
    let (mut reports, until) = (Vec::new(), Instant::now() + Duration::from_secs(30));
    while reports.len() < count {
        assert!(Instant::now() < until, "only {} were reported", reports.len());
        appender.poll(&mut reports);
        std::thread::sleep(Duration::from_millis(5));
    }
}

async fn content(client: &mut Client) -> Expected {
    let mut found = Expected::new();
    for number in 0..KEYS {
        let key = key_of(number);
        let records = client.retrieve(&key).await.expect("it is there");
        let orders = records.iter().map(|record| record.order);
        assert!(orders.eq((0..records.len() as u64).map(Some)), "{key} has gaps");
        assert!(records.windows(2).all(|two| two[0].offset < two[1].offset), "{key} is not in order");
        assert!(records.windows(2).all(|two| two[0].partition == two[1].partition), "{key} moved");
        let events = records.into_iter().map(|record| (record.value, record.tombstone));
        found.insert(key, events.map(|(value, tombstone)| (value.to_vec(), tombstone)).collect());
    }
    found
}

fn assert_same(found: &Expected, expected: &Expected, when: &str) {
    for (key, events) in expected {
        assert_eq!(found.get(key).map(Vec::len), Some(events.len()), "{key} {when}");
        assert!(found.get(key) == Some(events), "{key} {when}");
    }
}

#[tokio::test]
async fn a_foreign_topic_is_served_completely_and_goes_on() {
    let (data, topic) = (TempDir::new().expect("a directory"), make_topic(5, &[]).await);
    let mut expected = fill(&topic);
    add_nonsense(&topic, &mut expected);
    let (server, mut client) = serve(data.path(), &topic).await;
    assert_same(&content(&mut client).await, &expected, "after the first start");

    for number in (0..KEYS).step_by(10) {
        let key = key_of(number);
        let before = client.retrieve(&key).await.expect("it is there");
        let stored = client.add(&key, before.len() as u32, "ours").await.expect("its order is next");
        assert_eq!(stored.partition, before[0].partition, "{key} goes on where it is");
        expected.get_mut(&key).expect("it is there").push((b"ours".to_vec(), false));
    }
    // Others go on too, while we serve.
    let producer = cluster().producer(&[("partitioner", "murmur2_random")]).expect("a producer");
    for number in 0..KEYS {
        send(&producer, &topic, &key_of(number), "live");
        expected.get_mut(&key_of(number)).expect("it is there").push((b"live".to_vec(), false));
    }
    producer.flush().expect("all are delivered");
    let until = Instant::now() + Duration::from_secs(30);
    for number in 0..KEYS {
        let (key, wanted) = (key_of(number), expected[&key_of(number)].len());
        while client.retrieve(&key).await.expect("it is there").len() < wanted {
            assert!(Instant::now() < until, "{key} does not see what others write");
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    }
    assert_same(&content(&mut client).await, &expected, "with live records");
    let stale = client.add(&key_of(0), 3, "stale").await.expect_err("its order is taken");
    assert_eq!(stale.reason(), Reason::Conflict);

    let (status, _) = server.terminate().await;
    assert!(status.success(), "{status}");
    let (server, mut client) = serve(data.path(), &topic).await;
    assert_same(&content(&mut client).await, &expected, "after a restart");
    server.kill();
    let (server, mut client) = serve(data.path(), &topic).await;
    assert_same(&content(&mut client).await, &expected, "after a kill");
    server.kill();
    std::fs::remove_dir_all(data.path()).expect("the data directory is removed");
    let (_server, mut client) = serve(data.path(), &topic).await;
    assert_same(&content(&mut client).await, &expected, "rebuilt from nothing");
}

#[tokio::test]
async fn transactions_of_others_leave_gaps_and_committed_events_only() {
    let (data, topic) = (TempDir::new().expect("a directory"), make_topic(2, &[]).await);
    let producer = cluster().transactional(&format!("{topic}-writer")).expect("a producer");
    let murmur2 =
        |key: &str| bkes_core::Partitioner::Murmur2.place(key.as_bytes(), 2.try_into().expect("not zero")).0;
    let send = |key: &str, value: &str| {
        let record = ForeignRecord {
            key: Some(key.as_bytes()),
            value: Some(value.as_bytes()),
            partition: Some(murmur2(key)),
            ..ForeignRecord::default()
        };
        producer.send(&topic, &record).expect("it is queued");
    };
    let keys: Vec<String> = (0..10).map(|n| format!("key-{n}")).collect();
    for round in 0..4 {
        producer.begin().expect("it begins");
        let word = if round % 2 == 0 { "kept" } else { "aborted" };
        keys.iter().for_each(|key| send(key, &format!("{word}-{round}")));
        if round % 2 == 0 { producer.commit() } else { producer.abort() }.expect("it ends");
    }
    // Both partitions end with the marker of an aborted transaction: the end is reached without a record there.
    let (server, mut client) = serve(data.path(), &topic).await;
    for key in &keys {
        assert_eq!(client.values(key).await, ["kept-0", "kept-2"]);
        client.add(key, 2, "ours").await.expect("accepted behind the markers");
    }
    // A transaction that stays open stalls its partitions: reads go on, appends are refused before they are sent.
    producer.begin().expect("it begins");
    keys.iter().for_each(|key| send(key, "late"));
    producer.flush().expect("all are delivered");
    let until = Instant::now() + Duration::from_secs(30);
    let mut appended: BTreeMap<&str, u32> = keys.iter().map(|key| (key.as_str(), 3)).collect();
    let stalled = loop {
        assert!(Instant::now() < until, "it is never seen to be stalled");
        let next = appended[keys[0].as_str()];
        match client.add(&keys[0], next, "while open").await {
            Err(error) if error.reason() == Reason::Stalled => break error,
            Err(error) => assert_ne!(error.outcome(), Outcome::Rejected, "{error:?}"),
            Ok(_) => *appended.get_mut(keys[0].as_str()).expect("it is there") += 1,
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
    };
    assert!(stalled.error.contains("open transaction"), "{stalled:?}");
    assert_eq!(client.values(&keys[1]).await[..3], ["kept-0", "kept-2", "ours"]);
    producer.commit().expect("it ends");
    let until = Instant::now() + Duration::from_secs(30);
    for key in &keys {
        loop {
            let values = client.values(key).await;
            let told = client.add(key, values.len() as u32, "after").await;
            if told.is_ok() && values.iter().any(|value| value == "late") {
                break;
            }
            assert!(Instant::now() < until, "{key} does not come back: {told:?} {values:?}");
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }
    let mut before = BTreeMap::new();
    for key in &keys {
        before.insert(key.clone(), client.values(key).await);
    }
    server.kill();
    std::fs::remove_dir_all(data.path()).expect("the data directory is removed");
    let (_server, mut client) = serve(data.path(), &topic).await;
    for (key, values) in before {
        assert_eq!(client.values(&key).await, values, "{key} rebuilt");
    }
}

#[tokio::test]
async fn a_topic_written_with_crc32_keeps_its_partitioner() {
    let (data, topic) = (TempDir::new().expect("a directory"), make_topic(5, &[]).await);
    let producer = cluster().producer(&[("partitioner", "consistent_random")]).expect("a producer");
    (0..200).for_each(|n| send(&producer, &topic, &key_of(n), "foreign"));
    producer.flush().expect("all are delivered");
    let (_server, mut client) = serve(data.path(), &topic).await;
    for n in 200..220 {
        let stored = client.start(&key_of(n), "ours").await.expect("it is new");
        let place =
            bkes_core::Partitioner::Crc32.place(key_of(n).as_bytes(), 5.try_into().expect("not zero"));
        assert_eq!(stored.partition, place.0 as i32, "{n}");
    }
}

#[tokio::test]
async fn partitions_added_while_running_are_read_and_then_used() {
    let (data, topic) = (TempDir::new().expect("a directory"), make_topic(2, &[]).await);
    let (server, mut client) = serve(data.path(), &topic).await;
    for n in 0..50 {
        client.start(&key_of(n), "before").await.expect("it is new");
    }
    cluster().grow_topic(&topic, 6).await.expect("it grows");
    // New partitions take keys a minute after they were read.
    let (mut n, until) = (50, Instant::now() + Duration::from_secs(180));
    let mut used = 0;
    while used < 6 {
        assert!(Instant::now() < until, "only {used} partitions are used: {}", server.log());
        match client.start(&key_of(n), "after").await {
            Ok(stored) => used = used.max(stored.partition + 1),
            Err(error) => assert_eq!(error.outcome(), Outcome::Unavailable, "{error:?}"),
        }
        n += 1;
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    for n in 0..50 {
        client.add(&key_of(n), 1, "again").await.expect("it goes on where it is");
    }
}

#[tokio::test]
async fn log_append_time_is_answered_as_it_is_read() {
    let settings = [("message.timestamp.type", "LogAppendTime")];
    let (data, topic) = (TempDir::new().expect("a directory"), make_topic(1, &settings).await);
    let (_server, mut client) = serve(data.path(), &topic).await;
    let mut told = Vec::new();
    for n in 0..20u32 {
        let stored = if n == 0 { client.start("key", "0").await } else { client.add("key", n, "n").await };
        told.push(stored.expect("accepted").timestamp);
        tokio::time::sleep(Duration::from_millis(3)).await;
    }
    let shown: Vec<i64> =
        client.retrieve("key").await.expect("there").iter().map(|record| record.timestamp).collect();
    assert_eq!(told, shown);
    std::mem::drop(_server);
    std::fs::remove_dir_all(data.path()).expect("the data directory is removed");
    let (_server, mut client) = serve(data.path(), &topic).await;
    let rebuilt: Vec<i64> =
        client.retrieve("key").await.expect("there").iter().map(|record| record.timestamp).collect();
    assert_eq!(told, rebuilt);
}

/// The story: every negative timestamp passed for none, and was shown as -1 like that of a topic without timestamps.
#[tokio::test]
async fn records_from_before_1970_are_shown_with_their_timestamps() {
    let (data, topic) = (TempDir::new().expect("a directory"), make_topic(1, &[]).await);
    let producer = cluster().producer(&[]).expect("a producer");
    // -1 is Kafka's own word for none.
    let times = [-86_400_000, -2, -1, 1, i64::from(i32::MIN) * 1_000, 1_700_000_000_000];
    for timestamp in times {
        let record = ForeignRecord {
            key: Some(b"key"),
            value: Some(b"old"),
            timestamp_ms: Some(timestamp),
            ..ForeignRecord::default()
        };
        producer.send(&topic, &record).expect("it is queued");
    }
    producer.flush().expect("all are delivered");
    let (server, mut client) = serve(data.path(), &topic).await;
    let mut shown = async || -> Vec<i64> {
        client.retrieve("key").await.expect("there").iter().map(|record| record.timestamp).collect()
    };
    assert_eq!(shown().await, times);
    server.kill();
    let (_server, mut client) = serve(data.path(), &topic).await;
    let again: Vec<i64> =
        client.retrieve("key").await.expect("there").iter().map(|record| record.timestamp).collect();
    assert_eq!(again, times, "after a restart");
}

#[tokio::test]
async fn a_standby_leaves_a_restore_point_that_reads_only_the_rest() {
    let (data, spare, topic) = (
        TempDir::new().expect("a directory"),
        TempDir::new().expect("a directory"),
        make_topic(3, &[]).await,
    );
    let (server, mut client) = serve(data.path(), &topic).await;
    for n in 0..300 {
        client.start(&key_of(n), "0").await.expect("it is new");
    }
    let mut standby = on_kafka(spare.path(), &topic);
    standby.arg("--standby");
    let standby = Server::start_silent(standby);
    standby.wait_for("ready:");
    let (status, _) = standby.terminate().await;
    assert!(status.success(), "{status}");
    for n in 0..10 {
        client.add(&key_of(n), 1, "1").await.expect("its order is next");
    }
    let copy = TempDir::new().expect("a directory");
    let copied =
        std::process::Command::new("cp").arg("-r").arg(spare.path().join("bkes")).arg(copy.path()).status();
    assert!(copied.expect("cp runs").success());
    let (second, mut other) = serve(copy.path(), &topic).await;
    let said = second.log();
    let line = said.lines().find(|line| line.contains("resuming")).unwrap_or_default();
    assert!(line.contains("10 of 310 offsets to read"), "{said}");
    for n in 0..300 {
        let wanted: &[&str] = if n < 10 { &["0", "1"] } else { &["0"] };
        assert_eq!(other.values(&key_of(n)).await, wanted);
    }
    drop(server);
}

/// The original placed by CRC-32 what a Java program had placed by murmur2, so that its keys lie in two partitions; each of its records
/// names its order.
#[tokio::test]
async fn keys_that_the_original_split_are_refused_or_read_in_the_order_of_their_headers() {
    let topic = make_topic(6, &[]).await;
    for (partitioner, orders) in [("murmur2_random", 0..3), ("consistent_random", 3..5)] {
        let producer = cluster().producer(&[("partitioner", partitioner)]).expect("a producer");
        for (order, n) in orders.flat_map(|order| (0..40).map(move |n| (order, n))) {
            let (key, order) = (key_of(n), order.to_string());
            let headers: &[(&str, Option<&[u8]>)] = &[("order", Some(order.as_bytes()))];
            let (key, value) = (Some(key.as_bytes()), Some(order.as_bytes()));
            producer
                .send(&topic, &ForeignRecord { key, value, headers, ..ForeignRecord::default() })
                .expect("it is queued");
        }
        producer.flush().expect("it is stored");
    }
    let data = TempDir::new().expect("a directory");
    let (server, mut client) = serve(data.path(), &topic).await;
    let mut split = 0;
    for n in 0..40 {
        match client.retrieve(&key_of(n)).await {
            Ok(records) => assert_eq!(records.len(), 5, "where both hashes agree"),
            Err(error) => {
                assert_eq!(
                    (error.reason(), error.outcome()),
                    (Reason::Split, Outcome::Rejected),
                    "{error:?}"
                );
                split += 1;
            }
        }
    }
    assert!((20..40).contains(&split), "five of six keys are split, as a rule: {split}");
    server.terminate().await;
    let mut merging = on_kafka(data.path(), &topic);
    merging.env("SPLIT_BY_ORDER_HEADERS", "true");
    let server = Server::start(merging);
    let mut client = server.client().await;
    client.ready().await;
    for n in 0..40 {
        assert_eq!(client.values(&key_of(n)).await, ["0", "1", "2", "3", "4"], "{n}");
    }
}
