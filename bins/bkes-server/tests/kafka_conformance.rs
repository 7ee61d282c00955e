//! The suites of the interface and of the event store on a real broker: `cargo xtask integration` starts one and runs this.
//!
//! They lie here because the interface's own crate does not know Kafka; the engines run in the test's process.

use async_trait::async_trait;
use bkes_api::EventStore;
use bkes_api::conformance::{Groups, Subject, check};
use bkes_client::Client;
use bkes_core::{Partition, Position};
use bkes_engine::{Engine, EngineOptions};
use bkes_foreign::Cluster;
use bkes_grpc::{Gate, ServeOptions, conformance, run};
use bkes_kafka::{KafkaLog, KafkaOptions};
use bkes_storage::{RedbOptions, RedbStore};
use std::num::NonZeroU32;
use std::sync::Arc;
use std::time::Duration;
use tempfile::TempDir;
use tokio::net::TcpListener;
use tokio::sync::oneshot;
use tokio::task::JoinHandle;

fn brokers() -> String {
    std::env::var("BKES_KAFKA_BROKERS")
        .expect("BKES_KAFKA_BROKERS names a broker: run `cargo xtask integration`")
}

/// An engine on a topic, which is made if it is not there, and the directory of its store.
async fn engine(topic: &str) -> (Engine, TempDir) {
    let (brokers, topic) = (brokers(), topic.to_owned());
    let directory = tempfile::tempdir().expect("a directory");
    let redb = RedbOptions { directory: directory.path().join("store"), cache_bytes: 16 * 1024 * 1024 };
    let opening = tokio::task::spawn_blocking(move || {
        let log = KafkaLog::connect(KafkaOptions::new(brokers, topic), NonZeroU32::new(3));
        let store = RedbStore::open(&redb).expect("a new store").store;
        let log = log.expect("the topic is made");
        Engine::start(Arc::new(log), Arc::new(store), EngineOptions::default()).expect("the engine starts")
    });
    let engine = opening.await.expect("no panic");
    tokio::time::timeout(Duration::from_secs(60), engine.handle().ready()).await.expect("it becomes ready");
    (engine, directory)
}

async fn stop(engine: Engine) {
    let stopping = tokio::task::spawn_blocking(move || engine.stop(Duration::from_secs(10)));
    stopping.await.expect("no panic").expect("the store closes");
}

fn new_topic() -> String {
    format!("interface-{:016x}", fastrand::u64(..))
}

#[tokio::test(flavor = "multi_thread")]
async fn the_interface_holds_on_kafka_and_the_redb_store() {
    let (engine, _directory) = engine(&new_topic()).await;
    conformance::check(engine.handle()).await;
    stop(engine).await;
}

struct CommitsTo {
    cluster: Cluster,
    topic: String,
}

#[async_trait]
impl Groups for CommitsTo {
    async fn commit(&self, group: &str, partition: Partition, position: Position) {
        let commit = || self.cluster.commit(group, &self.topic, partition.0, position.0);
        tokio::task::block_in_place(commit).expect("it is committed");
    }
}

fn groups(topic: &str) -> Option<Arc<dyn Groups>> {
    Some(Arc::new(CommitsTo { cluster: Cluster::new(brokers()), topic: topic.to_owned() }))
}

#[tokio::test(flavor = "multi_thread")]
async fn two_engines_on_a_topic_are_what_an_event_store_is() {
    let topic = new_topic();
    let ((one, _first), (two, _second)) = (engine(&topic).await, engine(&topic).await);
    let (store, other) = (Arc::new(one.handle()), Arc::new(two.handle()));
    check(Subject { store, other: Some(other), groups: groups(&topic) }).await;
    stop(one).await;
    stop(two).await;
}

/// A server in front of an engine, a client of it, and how to stop the server.
async fn serve(engine: &Engine) -> (Arc<dyn EventStore>, oneshot::Sender<()>, JoinHandle<()>) {
    let gate = Gate::new();
    gate.open(engine.handle());
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
    let address = format!("http://{}", listener.local_addr().expect("an address"));
    let (stop, stopped) = oneshot::channel::<()>();
    let serving = tokio::spawn(async move {
        let stopped = async { drop(stopped.await) };
        run(listener, gate, ServeOptions::default(), stopped).await.expect("serving does not fail");
    });
    (Arc::new(Client::connect(&address).expect("an address")), stop, serving)
}

#[tokio::test(flavor = "multi_thread")]
async fn clients_of_two_servers_on_a_topic_are_what_an_event_store_is() {
    let topic = new_topic();
    let ((one, _first), (two, _second)) = (engine(&topic).await, engine(&topic).await);
    let (store, stop_one, serving_one) = serve(&one).await;
    let (other, stop_two, serving_two) = serve(&two).await;
    check(Subject { store, other: Some(other), groups: groups(&topic) }).await;
    drop((stop_one, stop_two));
    for serving in [serving_one, serving_two] {
        serving.await.expect("serving does not panic");
    }
    stop(one).await;
    stop(two).await;
}
