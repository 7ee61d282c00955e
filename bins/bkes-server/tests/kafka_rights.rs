//! Rights to the topic that are taken away from a running server, or missing at its start: every answer stays true, and all
//! comes back with the right; `cargo xtask integration` runs this.

mod support;

use bkes_foreign::{ForeignRecord, Right};
use bkes_grpc::api::error::{Outcome, Reason};
use bkes_grpc::check_health;
use std::collections::BTreeMap;
use std::time::{Duration, Instant};
use support::kafka::{cluster, make_topic, on_kafka, rebuilt_agrees, refused, serve};
use support::load::Load;
use support::{Client, Server};
use tempfile::TempDir;

const PATIENCE: Duration = Duration::from_secs(60);

fn directory() -> TempDir {
    TempDir::new().expect("a directory")
}

/// A server on a topic of its own that holds one event: "0" of "key".
async fn serve_one_event() -> (TempDir, String, Server, Client) {
    let (data, topic) = (directory(), make_topic(1, &[]).await);
    let (server, mut client) = serve(data.path(), &topic).await;
    client.start("key", "0").await.expect("it is new");
    (data, topic, server, client)
}

fn take(topic: &str, right: Right) {
    cluster().take_right(topic, right).expect("it is taken away");
}

fn give_back(topic: &str) {
    cluster().give_rights_back(topic).expect("they are given back");
}

/// Waits until the health service says so.
async fn serving(server: &Server, wanted: bool) {
    let until = Instant::now() + PATIENCE;
    while check_health(&server.address).await.is_ok() != wanted {
        assert!(Instant::now() < until, "serving is never {wanted}: {}", server.log());
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}

/// Appends again and again what must be refused: each answer says that it was not stored, and at last why.
async fn assert_refused(client: &mut Client, key: &str, order: u32, reasons: &[Reason], why: &str) {
    let mut said = String::new();
    for attempt in 0..20 {
        let error = client.add(key, order, &format!("refused-{attempt}")).await.expect_err("not permitted");
        assert_eq!(error.outcome(), Outcome::Unavailable, "{error:?}");
        assert!(reasons.contains(&error.reason()), "{error:?}");
        said = error.error;
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    assert!(said.contains(why), "{said}");
}

/// Appends as soon as it is taken; every refusal until then is one that may be tried again.
async fn add_when_back(client: &mut Client, key: &str, order: u32, value: &str) {
    let until = Instant::now() + PATIENCE;
    while let Err(error) = client.add(key, order, value).await {
        assert_eq!(error.outcome(), Outcome::Unavailable, "{error:?}");
        assert!(Instant::now() < until, "appends do not come back: {error:?}");
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_server_whose_rights_are_taken_away_under_load_goes_on_when_they_are_given_back() {
    let (data, topic) = (directory(), make_topic(3, &[]).await);
    let load = Load::on(16);
    let (server, mut client) = serve(data.path(), &topic).await;
    client.start("mine", "0").await.expect("it is new");
    let running = load.run(server, async |server| {
        take(&topic, Right::All);
        serving(&server, false).await;
        let reasons = [Reason::LogDown, Reason::NotStored];
        assert_refused(&mut client, "mine", 1, &reasons, "authorization failed").await;
        server.wait_for("the log does not answer: not permitted: ");
        assert_eq!(client.values("mine").await, ["0"], "reads go on");
        give_back(&topic);
        serving(&server, true).await;
        load.wait_for_more(300).await;
        Some(server)
    });
    let server = running.await.expect("the same process runs on");
    add_when_back(&mut client, "mine", 1, "1").await;
    assert_eq!(client.values("mine").await, ["0", "1"], "nothing of what was refused is there");
    let acknowledged = load.check(&mut client).await;
    assert!(acknowledged >= 600, "only {acknowledged} appends were acknowledged");
    let mine = "mine".to_owned();
    rebuilt_agrees(&mut client, &topic, load.keys().chain([&mine])).await;
    let (status, _) = server.terminate().await;
    assert!(status.success(), "{status}");
}

#[tokio::test]
async fn without_the_right_to_write_appends_are_refused_and_reads_go_on() {
    let (_data, topic, server, mut client) = serve_one_event().await;
    take(&topic, Right::Write);
    // The broker obeys a moment later.
    let (mut order, until) = (1, Instant::now() + PATIENCE);
    while client.add("key", order, &order.to_string()).await.is_ok() {
        order += 1;
        assert!(Instant::now() < until, "the right is never gone");
    }
    let reasons = [Reason::LogDown, Reason::NotStored];
    assert_refused(&mut client, "key", order, &reasons, "authorization failed").await;
    serving(&server, true).await;
    assert_eq!(client.values("key").await.len(), order as usize);
    give_back(&topic);
    add_when_back(&mut client, "key", order, &order.to_string()).await;
    let expected: Vec<String> = (0..=order).map(|order| order.to_string()).collect();
    assert_eq!(client.values("key").await, expected);
    rebuilt_agrees(&mut client, &topic, ["key".to_owned()].iter()).await;
}

/// The broker tells where a partition ends to whoever may describe the topic, and takes what may be written. So appends go on as
/// long as each finds nothing before it that was not read; after a record of somebody else they cannot be decided.
#[tokio::test]
async fn without_the_right_to_read_no_append_is_acknowledged_behind_what_was_not_read() {
    let (_data, topic, server, mut client) = serve_one_event().await;
    take(&topic, Right::Read);
    server.wait_for("not permitted to read");
    client.add("key", 1, "1").await.expect("nothing came in between");
    assert_eq!(client.values("key").await, ["0", "1"]);

    let producer = cluster().producer(&[]).expect("a producer");
    let record = ForeignRecord { key: Some(b"foreign"), value: Some(b"0"), ..ForeignRecord::default() };
    producer.send(&topic, &record).expect("it is queued");
    producer.flush().expect("it is delivered");
    let (mut unknown, until) = (Vec::new(), Instant::now() + PATIENCE);
    let said = loop {
        assert!(Instant::now() < until, "it is never seen that reading rests: {}", server.log());
        let value = format!("behind-{}", unknown.len());
        let error = client.add("key", 2, &value).await.expect_err("it cannot be decided");
        match error.outcome() {
            Outcome::Unknown => unknown.push(value),
            _ => break error,
        }
    };
    assert_eq!((said.reason(), said.outcome()), (Reason::Lagging, Outcome::Unavailable), "{said:?}");
    serving(&server, false).await;
    assert_eq!(client.values("key").await, ["0", "1"], "reads go on");

    give_back(&topic);
    serving(&server, true).await;
    // The first of those that were sent took the order that all of them asked for.
    assert!(!unknown.is_empty(), "none was sent before it was seen");
    assert_eq!(client.values("key").await, ["0", "1", "behind-0"]);
    assert_eq!(client.values("foreign").await, ["0"]);
    client.add("key", 3, "3").await.expect("its order is next");
    rebuilt_agrees(&mut client, &topic, ["key".to_owned(), "foreign".to_owned()].iter()).await;
}

/// The story: such a server said for ever that no broker answers.
#[tokio::test]
async fn a_server_that_may_not_read_waits_for_the_right_and_one_without_any_says_so_and_ends() {
    let (data, topic) = (directory(), make_topic(2, &[]).await);
    let (server, mut client) = serve(data.path(), &topic).await;
    let mut values = BTreeMap::new();
    for n in 0..20 {
        let (key, value) = (format!("key-{n}"), format!("value-{n}"));
        client.start(&key, &value).await.expect("it is new");
        values.insert(key, value);
    }
    take(&topic, Right::Read);
    // The broker obeys a moment later, and the server that runs says when.
    server.wait_for("not permitted to read");
    let fresh = directory();
    let second = Server::start(on_kafka(fresh.path(), &topic));
    second.wait_for("not permitted to read");
    serving(&second, false).await;
    give_back(&topic);
    serving(&second, true).await;
    let mut other = second.client().await;
    for (key, value) in values {
        assert_eq!(other.values(&key).await, [value]);
    }

    take(&topic, Right::All);
    let until = Instant::now() + PATIENCE;
    while cluster().may_describe(&topic).expect("the broker answers") {
        assert!(Instant::now() < until, "the right is never gone");
    }
    let (code, said) = refused(on_kafka(directory().path(), &topic));
    assert_eq!(code, Some(3), "{said}");
    assert!(said.contains(&format!("access to topic {topic} is not permitted")), "{said}");
}
