//! What two servers on a real broker deny: nothing that one of them was told.

mod support;

use bkes_foreign::ForeignRecord;
use bkes_grpc::api::error::{Outcome, Reason};
use std::time::{Duration, Instant};
use support::Server;
use support::kafka::{broker, cluster, make_topic, on_kafka, serve};
use tempfile::TempDir;

/// A caller that goes from one server to the other was told "no such aggregate", or "conflict", of what it had just been acknowledged.
#[tokio::test]
async fn what_one_server_acknowledged_is_known_to_the_other_at_once() {
    let data = [TempDir::new().expect("a directory"), TempDir::new().expect("a directory")];
    let topic = make_topic(5, &[]).await;
    let (_one, mut first) = serve(data[0].path(), &topic).await;
    let (_two, mut second) = serve(data[1].path(), &topic).await;
    for round in 0..100 {
        let key = format!("key-{round}");
        first.start(&key, "0").await.expect("begun");
        // Which of them asks first varies: a read of an unknown key, and an append to one.
        if round % 2 == 0 {
            assert_eq!(second.retrieve(&key).await.expect("it is there").len(), 1, "{key}");
        }
        for order in 1..6 {
            let client = if order % 2 == 0 { &mut first } else { &mut second };
            let added = client.add(&key, order, &order.to_string()).await;
            added.unwrap_or_else(|error| panic!("{key} at {order}: {error:?}"));
        }
        let beyond = second.add(&key, 9, "beyond").await.expect_err("there is no order 8");
        assert_eq!((beyond.reason(), beyond.current_order), (Reason::Conflict, Some(6)));
    }
    let absent = first.retrieve("nowhere").await.expect_err("it was never begun");
    assert_eq!(absent.reason(), Reason::NoSuchAggregate);
}

/// The end of what is decided, not that of the log, has to be applied: a transaction that stays open would hold up every denial.
#[tokio::test]
async fn an_open_transaction_of_others_does_not_hold_up_a_denial() {
    let (data, topic) = (TempDir::new().expect("a directory"), make_topic(2, &[]).await);
    let (_server, mut client) = serve(data.path(), &topic).await;
    client.start("key", "0").await.expect("begun");
    let producer = cluster().transactional(&topic).expect("a producer");
    producer.begin().expect("begun");
    for (partition, key) in (0..).zip(["other", "another"]) {
        let (key, value) = (Some(key.as_bytes()), Some(&b"open"[..]));
        let record = ForeignRecord { key, value, partition: Some(partition), ..ForeignRecord::default() };
        producer.send(&topic, &record).expect("queued");
    }
    producer.flush().expect("written");
    for _ in 0..10 {
        let denied = client.retrieve("other").await.expect_err("nothing of it is decided");
        assert_eq!(denied.reason(), Reason::NoSuchAggregate, "{denied:?}");
    }
    producer.commit().expect("committed");
    // Its producer is told before the partitions are.
    let until = Instant::now() + Duration::from_secs(60);
    while let Err(error) = client.retrieve("other").await {
        assert_eq!(error.reason(), Reason::NoSuchAggregate, "{error:?}");
        assert!(Instant::now() < until, "it is never decided");
    }
}

/// Neither yes nor no while the broker does not answer, and the truth when it does.
#[tokio::test]
async fn while_the_broker_does_not_answer_nothing_is_denied() {
    let (data, topic) = (TempDir::new().expect("a directory"), make_topic(2, &[]).await);
    let server = Server::start(on_kafka(data.path(), &topic));
    let mut client = server.client().await;
    client.start_when_ready("key", "0").await;
    broker("kill");
    let refused = client.retrieve("nowhere").await.expect_err("nobody can tell");
    broker("start");
    assert_eq!(
        (refused.reason(), refused.outcome()),
        (Reason::Unverified, Outcome::Unavailable),
        "{refused:?}"
    );
    assert_eq!(client.values("key").await, ["0"]);
    let until = Instant::now() + Duration::from_secs(120);
    loop {
        match client.retrieve("nowhere").await.expect_err("it was never begun") {
            error if error.reason() == Reason::NoSuchAggregate => break,
            error => assert_eq!(error.outcome(), Outcome::Unavailable, "{error:?}"),
        }
        assert!(Instant::now() < until, "it is never verified");
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
}
