//! What is down, what is not, and why Kafka takes nothing: named, and refused before it is sent; `cargo xtask integration` runs this.

mod support;

use bkes_grpc::api::error::{Outcome, Reason};
use std::collections::BTreeMap;
use std::path::Path;
use std::process::Command;
use std::time::{Duration, Instant};
use support::kafka::{broker, cluster, make_topic, on_kafka, serve};
use support::{Client, Server};
use tempfile::TempDir;

/// The broker's own setting for the time of a test.
struct Setting;

impl Setting {
    fn new(property: &str) -> Setting {
        broker(&format!("set {property}"));
        Setting
    }
}

impl Drop for Setting {
    fn drop(&mut self) {
        broker("set");
    }
}

/// The story: brokers close connections that nobody uses. librdkafka then says that all brokers are down, and appends were refused
/// until the next look at the log had gone through all partitions: 5 of 40 on a quiet instance.
#[tokio::test]
async fn an_idle_connection_that_the_broker_closes_is_no_outage() {
    let _short = Setting::new("connections.max.idle.ms=1000");
    let (data, topic) = (TempDir::new().expect("a directory"), make_topic(1, &[]).await);
    let (server, mut client) = serve(data.path(), &topic).await;
    client.start("key", "0").await.expect("it is new");
    for order in 1..=20u32 {
        // Some come just after the connection was closed, some later.
        tokio::time::sleep(Duration::from_millis(900 + 60 * u64::from(order))).await;
        let stored = client.add("key", order, "x").await;
        assert!(stored.is_ok(), "{order}: {stored:?}\n{}", server.log());
    }
}

async fn refused_at_once(client: &mut Client, key: &str, order: u32, server: &Server) -> String {
    let began = Instant::now();
    let error = client.add(key, order, "x").await.expect_err("nothing takes it");
    assert_eq!((error.reason(), error.outcome()), (Reason::LogDown, Outcome::Unavailable), "{error:?}");
    // A record that is handed to the producer waits for as long as it may.
    assert!(began.elapsed() < Duration::from_secs(10), "it was tried: {error:?}\n{}", server.log());
    error.error
}

/// Appends until Kafka takes no more and it is known why; the next order.
async fn wait_until_known(client: &mut Client, server: &Server, reason: &str) -> u32 {
    let mut order = 1;
    let until = Instant::now() + Duration::from_secs(60);
    loop {
        match client.add("key", order, "x").await {
            Err(error) if error.reason() == Reason::LogDown && error.error.contains(reason) => return order,
            Err(error) => assert_eq!(error.outcome(), Outcome::Unavailable, "{error:?}"),
            Ok(_) => order += 1,
        }
        assert!(Instant::now() < until, "it is never known: {}", server.log());
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

#[tokio::test]
async fn appends_to_a_deleted_topic_are_refused_at_once() {
    let (data, topic) = (TempDir::new().expect("a directory"), make_topic(1, &[]).await);
    let (server, mut client) = serve(data.path(), &topic).await;
    client.start("key", "0").await.expect("it is new");
    cluster().delete_topic(&topic).await.expect("it is deleted");
    let order = wait_until_known(&mut client, &server, "").await;
    for _ in 0..3 {
        refused_at_once(&mut client, "key", order, &server).await;
    }
    assert_eq!(client.values("key").await.len(), order as usize, "reads go on");
}

/// The story: the producer asked for its topic by name, and Kafka made it, as it does by default: it was back in 4 s, empty and with
/// a week's retention.
#[tokio::test]
async fn a_deleted_topic_stays_deleted_where_kafka_makes_topics_by_itself() {
    let _by_itself = Setting::new("auto.create.topics.enable=true");
    let (data, topic) = (TempDir::new().expect("a directory"), make_topic(1, &[]).await);
    let (server, mut client) = serve(data.path(), &topic).await;
    client.start("key", "0").await.expect("it is new");
    cluster().delete_topic(&topic).await.expect("it is deleted");
    let mut order = wait_until_known(&mut client, &server, "").await;
    let until = Instant::now() + Duration::from_secs(15);
    while Instant::now() < until {
        assert!(!cluster().has_topic(&topic).expect("the broker answers"), "it is back: {}", server.log());
        // What is refused is not sent; what is sent before it is known must not make the topic either.
        order += u32::from(client.add("key", order, "x").await.is_ok());
        tokio::time::sleep(Duration::from_millis(200)).await;
    }
    server.wait_for("does not exist");
    assert_eq!(client.values("key").await.len(), order as usize, "reads go on");
}

/// How often each handle of librdkafka has told its statistics.
fn told(server: &Server) -> BTreeMap<String, usize> {
    let mut told = BTreeMap::new();
    for line in server.log().lines().filter(|line| line.contains("statistics: {")) {
        let name = line.split("\"name\": \"").nth(1).and_then(|rest| rest.split('"').next());
        *told.entry(name.expect("they begin with it").to_owned()).or_default() += 1;
    }
    told
}

/// The story: of four handles two were polled while all went well only. What librdkafka wanted of them piled up, new tokens for one
/// thing: after a broker's restart neither could log in again, and all appends were refused.
#[tokio::test]
async fn every_handle_is_polled_though_no_question_is_answered() {
    let (data, topic) = (TempDir::new().expect("a directory"), make_topic(1, &[]).await);
    let mut command = on_kafka(data.path(), &topic);
    command.args(["-X", "statistics.interval.ms=100"]).env("RUST_LOG", "info,librdkafka=debug");
    let server = Server::start(command);
    let mut client = server.client().await;
    client.start_when_ready("key", "0").await;
    // Under load there is a second reader.
    for order in 1..200 {
        client.add("key", order, "x").await.expect("its order is next");
    }
    broker("pause");
    let (before, until) = (told(&server), Instant::now() + Duration::from_secs(60));
    let kind = |kind: &str| before.keys().filter(|name| name.contains(kind)).count();
    let silent = loop {
        let now = told(&server);
        let silent: Vec<&String> = before.keys().filter(|name| now[*name] < before[*name] + 50).collect();
        if silent.is_empty() || Instant::now() > until {
            break silent;
        }
        tokio::time::sleep(Duration::from_millis(100)).await;
    };
    broker("resume");
    assert!(kind("consumer") == 2 && kind("producer") == 1, "{before:?}");
    assert!(silent.is_empty(), "nobody polls {silent:?}");
}

/// The story: a broker that tells clients a wrong address was tried 11,000 times a second, and "timed out" was all that was said.
#[tokio::test]
async fn a_broker_that_advertises_where_nobody_listens_is_named_with_that_address_and_tried_in_measure() {
    let (data, topic) = (TempDir::new().expect("a directory"), make_topic(3, &[]).await);
    let _wrong = Setting::new("advertised.listeners=PLAINTEXT://127.0.0.1:19");
    let mut command = on_kafka(data.path(), &topic);
    command.args(["-X", "debug=broker"]).env("RUST_LOG", "info,librdkafka=debug");
    let began = Instant::now();
    let server = Server::start(command);
    let told = server.wait_for("broker 1 advertises 127.0.0.1:19");
    assert!(told.contains("Connection refused") && told.contains("advertised.listeners"), "{told}");
    server.wait_for("trying again");
    let tries =
        server.log().lines().filter(|line| line.contains("broker in state TRY_CONNECT connecting")).count();
    let seconds = began.elapsed().as_secs() as usize + 1;
    // Three handles, each with its bootstrap connection, the broker and the group's coordinator, are there for a part of the time.
    assert!(tries < 60 * seconds, "{tries} in {seconds} s");
    let mut refused_at_start = on_kafka(TempDir::new().expect("a directory").path(), &topic);
    refused_at_start.env("FAIL_FAST", "true");
    let (code, said) = support::kafka::refused(refused_at_start);
    assert_eq!(code, Some(3), "{said}");
    assert!(said.contains("broker 1 advertises 127.0.0.1:19"), "{said}");
}

/// The story: an append failed after 15 s with "message timed out", and nothing said that a replica was missing.
#[tokio::test]
async fn too_few_replicas_in_sync_are_named_and_refused_at_once() {
    let (data, topic) = (TempDir::new().expect("a directory"), make_topic(2, &[]).await);
    let (server, mut client) = serve(data.path(), &topic).await;
    client.start("key", "0").await.expect("it is new");
    cluster()
        .set_topic(&topic, &[("retention.ms", "-1"), ("min.insync.replicas", "2")])
        .await
        .expect("it is set");
    let order = wait_until_known(&mut client, &server, "min.insync.replicas=2").await;
    let said = refused_at_once(&mut client, "key", order, &server).await;
    assert!(said.contains("1 replica in sync"), "{said}");
    server.wait_for("min.insync.replicas=2");
    assert_eq!(client.values("key").await.len(), order as usize, "reads go on");
    cluster()
        .set_topic(&topic, &[("retention.ms", "-1"), ("min.insync.replicas", "1")])
        .await
        .expect("it is set");
    let until = Instant::now() + Duration::from_secs(60);
    while let Err(error) = client.add("key", order, "x").await {
        assert_eq!(error.outcome(), Outcome::Unavailable, "{error:?}");
        assert!(Instant::now() < until, "it does not come back: {error:?}\n{}", server.log());
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}

/// A library that sets the clock of a process two hours ahead.
fn clock_ahead(dir: &Path) -> std::path::PathBuf {
    let (source, library) = (dir.join("ahead.c"), dir.join("ahead.so"));
    let text = "#define _GNU_SOURCE\n#include <time.h>\n#include <sys/syscall.h>\n#include <unistd.h>\n\
                int clock_gettime(clockid_t id, struct timespec *at) {\n\
                  int result = syscall(SYS_clock_gettime, id, at);\n\
                  if (result == 0 && id == CLOCK_REALTIME) at->tv_sec += 7200;\n\
                  return result;\n}\n";
    std::fs::write(&source, text).expect("it is writable");
    let made = Command::new("cc").args(["-shared", "-fPIC", "-O1", "-o"]).arg(&library).arg(&source).status();
    assert!(made.expect("cc runs").success());
    library
}

#[tokio::test]
async fn a_clock_two_hours_ahead_is_named_and_nothing_is_stored() {
    let (data, topic) = (TempDir::new().expect("a directory"), make_topic(1, &[]).await);
    let mut ahead = on_kafka(data.path(), &topic);
    ahead.env("LD_PRELOAD", clock_ahead(data.path()));
    let server = Server::start(ahead);
    let mut client = server.client().await;
    client.ready().await;
    for _ in 0..3 {
        let error = client.start("key", "0").await.expect_err("the broker does not take it");
        assert_eq!((error.reason(), error.outcome()), (Reason::NotStored, Outcome::Unavailable), "{error:?}");
        assert!(error.error.contains("message.timestamp.after.max.ms"), "{error:?}");
        let told = error.error.split("this machine's clock, which says ").nth(1).expect("it says its time");
        let ms: u64 = told.split(' ').next().and_then(|ms| ms.parse().ok()).expect("a number");
        let right = std::time::UNIX_EPOCH.elapsed().expect("it is later").as_millis() as u64;
        assert!((7_000_000..7_300_000).contains(&(ms - right)), "{error:?}");
    }
    assert!(client.values("key").await.is_empty());
    server.kill();
    let (_server, mut client) = serve(data.path(), &topic).await;
    client.start("key", "0").await.expect("nothing was stored, and the clock is right");
}

/// The broker stands still for the time of a test.
struct Paused;

impl Paused {
    fn new() -> Paused {
        broker("pause");
        Paused
    }
}

impl Drop for Paused {
    fn drop(&mut self) {
        broker("resume");
    }
}

/// The story: the stop waited for the monitor, and the monitor asked a dead broker for each partition, five seconds a question.
#[tokio::test]
async fn a_stop_ends_in_time_though_no_broker_answers() {
    let (data, topic) = (TempDir::new().expect("a directory"), make_topic(8, &[]).await);
    let mut command = on_kafka(data.path(), &topic);
    command.env("SHUTDOWN_MS", "4000");
    let server = Server::start(command);
    let mut client = server.client().await;
    client.start_when_ready("key", "0").await;
    let paused = Paused::new();
    // The monitor asks from now on, again and again, and waits.
    server.wait_for("the log does not answer");
    tokio::time::sleep(Duration::from_secs(12)).await;
    drop(client);
    let (status, took) = server.terminate().await;
    drop(paused);
    assert!(status.success(), "{status}");
    assert!(took < Duration::from_secs(6), "it took {took:?}");
    let (_server, mut client) = serve(data.path(), &topic).await;
    assert_eq!(client.values("key").await, ["0"]);
}
