//! What consumer groups have committed, on a real broker: `cargo xtask integration` starts one and runs this.
//!
//! It lies here because the consumers are those of bkes-foreign, which the log's own crate does not know.

use bkes_core::{Key, Partition, Position};
use bkes_engine::{AppendRequest, Engine, EngineOptions, Expected, Failure, Positions, Reason, WaitFor};
use bkes_foreign::{Cluster, ForeignRecord};
use bkes_kafka::{KafkaLog, KafkaOptions};
use bkes_log::{Log, LogError, conformance};
use bkes_storage::MemoryStore;
use bytes::Bytes;
use std::num::NonZeroU32;
use std::sync::Arc;
use std::time::{Duration, Instant};

const PATIENCE: Duration = Duration::from_secs(60);

fn brokers() -> String {
    std::env::var("BKES_KAFKA_BROKERS")
        .expect("BKES_KAFKA_BROKERS names a broker: run `cargo xtask integration`")
}

fn fresh(partitions: NonZeroU32) -> KafkaLog {
    let topic = format!("groups-{:016x}", fastrand::u64(..));
    KafkaLog::connect(KafkaOptions::new(brokers(), topic), Some(partitions)).expect("the topic is made")
}

fn topic(log: &KafkaLog) -> String {
    log.identity().expect("the broker answers").topic
}

/// A log of one partition, a group that has committed 1 there, and its name.
fn with_a_commit() -> (KafkaLog, Cluster, String) {
    let (log, cluster) = (fresh(NonZeroU32::MIN), Cluster::new(brokers()));
    let group = format!("{}-group", topic(&log));
    cluster.commit(&group, &topic(&log), 0, 1).expect("it is committed");
    assert_eq!(log.committed(&group, &[Partition(0)]), Ok(vec![Some(Position(1))]));
    (log, cluster, group)
}

/// Asks until this is answered.
fn wait_for(log: &KafkaLog, group: &str, wanted: impl Fn(&Result<Vec<Option<Position>>, LogError>) -> bool) {
    let until = Instant::now() + PATIENCE;
    loop {
        let answer = log.committed(group, &[Partition(0)]);
        if wanted(&answer) {
            return;
        }
        assert!(Instant::now() < until, "{answer:?}");
        std::thread::sleep(Duration::from_millis(50));
    }
}

#[test]
fn what_groups_commit_is_told() {
    let cluster = Cluster::new(brokers());
    conformance::check_groups(fresh, |log, group, partition, position| {
        cluster.commit(group, &topic(log), partition.0, position.0).expect("it is committed");
    });
}

#[test]
fn what_is_committed_in_an_open_transaction_does_not_count() {
    let (log, cluster, group) = with_a_commit();
    let (name, zero) = (topic(&log), [Partition(0)]);
    for (offset, is_committed) in [(5, false), (7, true)] {
        let producer = cluster.transactional(&group).expect("a producer");
        producer.begin().expect("it begins");
        let record = ForeignRecord { value: Some(b"value"), partition: Some(0), ..ForeignRecord::default() };
        producer.send(&name, &record).expect("it is queued");
        cluster.commit_in(&producer, &group, (&name, 0, offset)).expect("it is a part of it");
        assert_eq!(log.committed(&group, &zero), Ok(vec![Some(Position(1))]), "while it is open");
        if is_committed {
            producer.commit().expect("it is committed");
            wait_for(&log, &group, |answer| *answer == Ok(vec![Some(Position(7))]));
        } else {
            producer.abort().expect("it is aborted");
            assert_eq!(log.committed(&group, &zero), Ok(vec![Some(Position(1))]), "it never was");
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_group_that_is_deleted_has_committed_nothing() {
    let (log, cluster, group) = tokio::task::spawn_blocking(with_a_commit).await.expect("no panic");
    cluster.delete_group(&group).await.expect("it is deleted");
    let asked = move || {
        wait_for(&log, &group, |answer| *answer == Ok(vec![None]));
        drop(log);
    };
    tokio::task::spawn_blocking(asked).await.expect("no panic");
}

#[test]
fn a_group_that_we_may_not_describe_is_denied_and_told_again_with_the_right() {
    let (log, cluster, group) = with_a_commit();
    cluster.take_group(&group).expect("it is taken away");
    wait_for(&log, &group, |answer| matches!(answer, Err(LogError::Denied { .. })));
    let Err(denied) = log.committed(&group, &[Partition(0)]) else { panic!("it was denied") };
    assert!(denied.to_string().contains("Group authorization failed"), "{denied}");
    cluster.give_group_back(&group).expect("it is given back");
    wait_for(&log, &group, |answer| *answer == Ok(vec![Some(Position(1))]));
}

/// The whole way: an append, its position, a consumer of another library, and its commit.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_commit_of_a_consumer_is_waited_for() {
    let start = || {
        let log = fresh(NonZeroU32::MIN);
        let name = topic(&log);
        let store = Arc::new(MemoryStore::new());
        (Engine::start(Arc::new(log), store, EngineOptions::default()).expect("it starts"), name)
    };
    let (engine, name) = tokio::task::spawn_blocking(start).await.expect("no panic");
    let handle = engine.handle();
    tokio::time::timeout(PATIENCE, handle.ready()).await.expect("it becomes ready");
    let key = Key::new("key").expect("not empty");
    let append = AppendRequest::of_values(key, Expected::New, [Bytes::from_static(b"zero")]);
    let end = handle.append(append).await.expect("it is new").offset.next();
    let group = format!("{name}-group");
    let wait = |seconds: u64| {
        let positions = Positions { topic: None, of: vec![(Partition(0), end)] };
        let (group, timeout) = (Some(group.clone()), Duration::from_secs(seconds));
        handle.wait_for(WaitFor { positions, group, timeout })
    };
    let reason = |answer: Result<(), Failure>| answer.map_err(|failure| failure.reason);
    assert_eq!(reason(wait(30).await), Err(Reason::NoSuchGroup));
    let commit = |offset: u64| {
        let (name, group) = (name.clone(), group.clone());
        tokio::task::spawn_blocking(move || Cluster::new(brokers()).commit(&group, &name, 0, offset))
    };
    commit(0).await.expect("no panic").expect("it is committed");
    assert_eq!(reason(wait(1).await), Err(Reason::DeadlineExceeded));
    let (waited, committed) = tokio::join!(wait(30), commit(end.0));
    committed.expect("no panic").expect("it is committed");
    assert_eq!(reason(waited), Ok(()));
    let stopping = tokio::task::spawn_blocking(move || engine.stop(Duration::from_secs(10)));
    stopping.await.expect("no panic").expect("the store closes");
}
