//! Wrong topics, wrong directories, wrong sizes: a clear error, and nothing is lost; `cargo xtask integration` runs this.

mod support;

use bkes_foreign::ForeignRecord;
use bkes_grpc::api::error::{Outcome, Reason};
use std::path::Path;
use std::time::{Duration, Instant};
use support::kafka::{broker, brokers, cluster, make_topic, on_kafka, refused, serve, topic, variable};
use support::{Client, Server, command, damage};
use tempfile::TempDir;

fn directory() -> TempDir {
    TempDir::new().expect("a directory")
}

async fn fill(client: &mut Client, keys: usize) {
    for n in 0..keys {
        client.start(&format!("key-{n}"), &format!("value-{n}")).await.expect("it is new");
    }
}

async fn assert_filled(client: &mut Client, keys: usize) {
    for n in 0..keys {
        assert_eq!(client.values(&format!("key-{n}")).await, [format!("value-{n}")]);
    }
}

#[tokio::test]
async fn a_value_beyond_the_topics_limit_is_refused_with_the_limit() {
    let (data, topic) = (directory(), make_topic(1, &[("max.message.bytes", "20000")]).await);
    let (_server, mut client) = serve(data.path(), &topic).await;
    let error = client.start("key", &"x".repeat(20_000)).await.expect_err("it is too large");
    assert_eq!((error.reason(), error.outcome()), (Reason::TooLarge, Outcome::Rejected), "{error:?}");
    assert!(error.limit_bytes.is_some_and(|limit| (15_000..20_000).contains(&limit)), "{error:?}");
    assert!(error.error.contains("20000") || error.cause.contains("max.message.bytes"), "{error:?}");
    // The limit counts the key and the marker too, which is at most 108 bytes.
    let fits = "x".repeat(error.limit_bytes.expect("just seen") as usize - 111);
    client.start("key", &fits).await.expect("it fits");
    assert_eq!(client.values("key").await, [fits]);
}

/// The story: of a topic named `a b` the server said for ever that it was not there, and tried again.
#[test]
fn a_name_that_no_topic_can_have_is_refused_with_the_name() {
    for name in [" ", "a b", "a/b", "", "..", "ev\u{e9}nements"] {
        let mut command = on_kafka(directory().path(), "events");
        command.args(["--kafka-topic", name]);
        let (code, said) = refused(command);
        assert_eq!(code, Some(3), "{name:?}: {said}");
        assert!(said.contains(&format!("topic {name:?} cannot exist")), "{name:?}: {said}");
    }
}

#[test]
fn a_mechanism_that_the_build_lacks_is_refused_with_those_it_has() {
    let mut command = on_kafka(directory().path(), "events");
    command.args(["-X", "sasl.mechanisms=SCRAM-SHA-1"]);
    let (code, said) = refused(command);
    assert_eq!(code, Some(2), "{said}");
    assert!(said.contains("property sasl.mechanisms is refused: this build has PLAIN"), "{said}");
}

#[tokio::test]
async fn the_data_of_another_topic_is_refused_with_both_names() {
    let (data, first, second) = (directory(), make_topic(1, &[]).await, make_topic(1, &[]).await);
    let (server, mut client) = serve(data.path(), &first).await;
    fill(&mut client, 3).await;
    server.kill();
    let (code, said) = refused(on_kafka(data.path(), &second));
    assert_eq!(code, Some(4), "{said}");
    assert!(said.contains(&first) && said.contains(&second), "{said}");
    let (_server, mut client) = serve(data.path(), &first).await;
    assert_filled(&mut client, 3).await;
}

#[tokio::test]
async fn a_topic_made_again_is_refused_at_start_and_seen_while_running() {
    let (data, topic) = (directory(), make_topic(1, &[]).await);
    let (server, mut client) = serve(data.path(), &topic).await;
    fill(&mut client, 5).await;
    cluster().delete_topic(&topic).await.expect("it is deleted");
    tokio::time::sleep(Duration::from_secs(2)).await;
    let again = async || cluster().create_topic(&topic, 1, 1, &[("retention.ms", "-1")]).await;
    let until = Instant::now() + Duration::from_secs(30);
    while again().await.is_err() {
        assert!(Instant::now() < until, "the topic cannot be made again");
        tokio::time::sleep(Duration::from_millis(200)).await;
    }
    // Nothing is appended to the other topic as if it were ours, however long it takes to see it.
    let until = Instant::now() + Duration::from_secs(60);
    loop {
        match client.add("key-0", 1, "into the other topic").await {
            Err(error) if error.reason() == Reason::Degraded => break,
            Err(error) => assert_ne!(error.outcome(), Outcome::Rejected, "{error:?}"),
            Ok(stored) => panic!("answered with success: {stored:?}"),
        }
        assert!(Instant::now() < until, "it is not seen that the topic is another one: {}", server.log());
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    server.kill();
    let (code, said) = refused(on_kafka(data.path(), &topic));
    assert_eq!(code, Some(4), "{said}");
    assert!(said.contains("created again") && said.contains("remove the data directory"), "{said}");
}

#[tokio::test]
async fn events_that_retention_removed_are_told_from_those_that_are_still_held() {
    let (data, topic) = (directory(), make_topic(1, &[]).await);
    let (server, mut client) = serve(data.path(), &topic).await;
    fill(&mut client, 10).await;
    // What is held locally may go from the topic: it is reported, and everything goes on.
    cluster().delete_records(&topic, 0, 5).await.expect("they are deleted");
    server.wait_for("the log's start moved to 5");
    assert_filled(&mut client, 10).await;
    client.add("key-0", 1, "on").await.expect("it goes on");
    let (status, _) = server.terminate().await;
    assert!(status.success(), "{status}");
    // Removed before it was read: refused with both numbers.
    let record = |n: u32| format!("late-{n}");
    let producer = cluster().producer(&[]).expect("a producer");
    for n in 0..10 {
        let (key, value) = (record(n), record(n));
        let foreign = bkes_foreign::ForeignRecord {
            key: Some(key.as_bytes()),
            value: Some(value.as_bytes()),
            ..Default::default()
        };
        producer.send(&topic, &foreign).expect("it is queued");
    }
    producer.flush().expect("they are delivered");
    cluster().delete_records(&topic, 0, 15).await.expect("they are deleted");
    let (code, said) = refused(on_kafka(data.path(), &topic));
    assert_eq!(code, Some(3), "{said}");
    assert!(said.contains("begins at 15") && said.contains("applied position 11"), "{said}");
    // A rebuild from what is left finds the head cut only where BKES had written: nothing of ours is left there.
    std::fs::remove_dir_all(data.path()).expect("it is removed");
    let (_server, mut client) = serve(data.path(), &topic).await;
    assert_eq!(client.values("late-9").await, ["late-9"]);
    assert!(client.values("key-0").await.is_empty());
}

#[tokio::test]
async fn a_cut_log_is_read_and_takes_appends_only_when_told_to() {
    let (data, topic) = (directory(), make_topic(1, &[]).await);
    let (server, mut client) = serve(data.path(), &topic).await;
    client.start("key", "0").await.expect("it is new");
    for order in 1..6u32 {
        client.add("key", order, &order.to_string()).await.expect("its order is next");
    }
    server.kill();
    std::fs::remove_dir_all(data.path()).expect("it is removed");
    cluster().delete_records(&topic, 0, 3).await.expect("they are deleted");
    let (server, mut client) = serve(data.path(), &topic).await;
    assert_eq!(client.values("key").await, ["3", "4", "5"]);
    let error = client.add("key", 6, "6").await.expect_err("the head is gone");
    assert_eq!((error.reason(), error.outcome()), (Reason::Cut, Outcome::Rejected), "{error:?}");
    server.kill();
    let mut allowed = on_kafka(data.path(), &topic);
    allowed.arg("--allow-cut");
    let server = Server::start(allowed);
    let mut client = server.client().await;
    client.ready().await;
    client.add("key", 6, "6").await.expect("it is allowed");
    assert_eq!(client.values("key").await, ["3", "4", "5", "6"]);
}

#[tokio::test]
async fn topics_that_lose_events_are_refused_or_named_with_the_cure() {
    let data = directory();
    let compact = make_topic(1, &[("cleanup.policy", "compact")]).await;
    let (code, said) = refused(on_kafka(data.path(), &compact));
    assert_eq!(code, Some(3), "{said}");
    assert!(said.contains("compact"), "{said}");
    let finite = topic();
    cluster().create_topic(&finite, 1, 1, &[("retention.ms", "86400000")]).await.expect("it is made");
    let mut strict = on_kafka(data.path(), &finite);
    strict.arg("--strict-topic");
    let (code, said) = refused(strict);
    assert_eq!(code, Some(3), "{said}");
    let (server, _client) = serve(data.path(), &finite).await;
    let said = server.wait_for("retention.ms=86400000");
    assert!(said.contains("kafka-configs.sh --bootstrap-server") && said.contains("--alter"), "{said}");
}

#[tokio::test]
async fn an_unreachable_broker_is_waited_for_or_refused() {
    let (data, topic) = (directory(), make_topic(1, &[]).await);
    broker("stop");
    let mut impatient = on_kafka(data.path(), &topic);
    impatient.arg("--fail-fast");
    let (code, said) = refused(impatient);
    assert_eq!(code, Some(3), "{said}");
    assert!(said.contains(&brokers()), "{said}");
    let server = Server::start(on_kafka(data.path(), &topic));
    server.wait_for("trying again");
    let mut client = server.client().await;
    let error = client.start("key", "0").await.expect_err("it is not ready");
    assert_eq!(error.outcome(), Outcome::Unavailable, "{error:?}");
    broker("start");
    client.start_when_ready("key", "0").await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_damaged_store_is_set_aside_and_rebuilt() {
    let (data, topic) = (directory(), make_topic(3, &[]).await);
    damage::is_survived(data.path(), async || serve(data.path(), &topic).await).await;
}

/// Changes the broker's own file of a topic's only partition while the broker is down.
fn change_the_brokers_file(topic: &str, change: impl FnOnce(&mut Vec<u8>)) {
    let folder = Path::new(&variable("BKES_KAFKA_DATA")).join(format!("{topic}-0"));
    let file = folder.join("00000000000000000000.log");
    let mut bytes = std::fs::read(&file).expect("the partition's file");
    change(&mut bytes);
    broker("stop");
    std::fs::write(&file, bytes).expect("it is writable");
    broker("start");
}

/// Changes bytes of a value there, or changes them back.
fn change_in_the_brokers_file(topic: &str, from: &[u8], to: &[u8]) {
    change_the_brokers_file(topic, |bytes| {
        let at = bytes.windows(from.len()).position(|window| window == from).expect("the value lies there");
        bytes[at..at + to.len()].copy_from_slice(to);
    });
}

/// While the server was down the log lost its end and grew again, and the last record that the server had read came back to its old
/// offset, byte by byte. Nothing but the leader that took it tells that everything before it is something else.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_record_that_is_back_at_its_place_does_not_hide_what_the_log_lost() {
    let (data, topic) = (directory(), make_topic(1, &[]).await);
    let foreign = |keys: &[&str]| {
        let producer = cluster().producer(&[]).expect("a producer");
        for key in keys {
            let record = ForeignRecord {
                key: Some(key.as_bytes()),
                value: Some(b"foreign"),
                timestamp_ms: Some(1_000_000_000_000),
                ..ForeignRecord::default()
            };
            producer.send(&topic, &record).expect("it is sent");
        }
        producer.flush().expect("it is stored");
    };
    let (server, mut client) = serve(data.path(), &topic).await;
    client.start("lost", "0").await.expect("it is new");
    foreign(&["last"]);
    let until = Instant::now() + Duration::from_secs(30);
    while client.values("last").await.is_empty() {
        assert!(Instant::now() < until, "{}", server.log());
    }
    let (status, _) = server.terminate().await;
    assert!(status.success(), "{status}");
    tokio::task::block_in_place(|| change_the_brokers_file(&topic, Vec::clear));
    foreign(&["other", "last"]);

    let (server, mut client) = serve(data.path(), &topic).await;
    assert_eq!(client.values("lost").await, Vec::<String>::new(), "{}", server.log());
    assert_eq!(client.values("other").await, ["foreign"]);
    assert_eq!(client.values("last").await, ["foreign"]);
    client.start("lost", "anew").await.expect("it is new");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn bytes_that_changed_in_the_brokers_file_are_never_served() {
    let (data, topic) = (directory(), make_topic(1, &[]).await);
    let (before, mut holds) = serve(data.path(), &topic).await;
    fill(&mut holds, 10).await;
    tokio::task::block_in_place(|| change_in_the_brokers_file(&topic, b"value-5", b"vakue-5"));
    assert_filled(&mut holds, 10).await;
    let fresh = directory();
    let server = Server::start(on_kafka(fresh.path(), &topic));
    let mut client = server.client().await;
    let until = Instant::now() + Duration::from_secs(60);
    loop {
        let error = client.retrieve("key-9").await.expect_err("it lies behind the damage");
        assert_eq!(error.outcome(), Outcome::Unavailable, "{error:?}");
        if error.reason() == Reason::Degraded {
            assert!(error.error.contains("damaged record"), "{error:?}");
            break;
        }
        assert!(Instant::now() < until, "the damage is not seen: {error:?}\n{}", server.log());
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    let refused = client.start("new", "x").await.expect_err("nothing can be decided behind the damage");
    assert_eq!(refused.outcome(), Outcome::Unavailable, "{refused:?}");
    tokio::task::block_in_place(|| change_in_the_brokers_file(&topic, b"vakue-5", b"value-5"));
    client.ready().await;
    assert_filled(&mut client, 10).await;
    client.start_when_ready("new", "x").await;
    drop(before);
}

#[tokio::test]
async fn a_directory_that_cannot_be_used_and_a_second_process_are_refused() {
    let (data, topic) = (directory(), make_topic(1, &[]).await);
    let file = data.path().join("file");
    std::fs::write(&file, b"in the way").expect("it is writable");
    let (code, said) = refused(on_kafka(&file, &topic));
    assert_eq!(code, Some(4), "{said}");
    assert!(said.contains(&file.display().to_string()), "{said}");
    let (server, mut client) = serve(data.path(), &topic).await;
    let (code, said) = refused(on_kafka(data.path(), &topic));
    assert_eq!(code, Some(4), "{said}");
    assert!(said.contains("another process"), "{said}");
    let mut taken = command(directory().path());
    taken.env("API_PORT", server.address.rsplit(':').next().expect("a port"));
    let (code, said) = refused(taken);
    assert_eq!(code, Some(5), "{said}");
    fill(&mut client, 1).await;
}
