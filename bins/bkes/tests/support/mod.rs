//! Topics on the broker that `cargo xtask integration` started, servers of them in this process, and the program as another one.

#![allow(dead_code)]

mod program;

use bkes_api::{Append, EventStore, Key, Order};
use bkes_engine::{Engine, EngineHandle, EngineOptions};
use bkes_foreign::{Cluster, ForeignRecord, Producer};
use bkes_grpc::{Gate, ServeOptions};
use bkes_kafka::{KafkaLog, KafkaOptions};
use bkes_storage::{RedbOptions, RedbStore};
use program::program;
use serde_json::Value;
use std::sync::Arc;
use std::time::Duration;
use tempfile::TempDir;
use tokio::net::TcpListener;

pub fn brokers() -> String {
    std::env::var("BKES_KAFKA_BROKERS")
        .unwrap_or_else(|_| panic!("BKES_KAFKA_BROKERS is not set: run `cargo xtask integration`"))
}

pub fn cluster() -> Cluster {
    Cluster::new(brokers())
}

/// A topic with these settings.
pub async fn make_topic(partitions: u32, settings: &[(&str, &str)]) -> String {
    let mut bytes = [0; 8];
    getrandom::fill(&mut bytes).expect("the system has random numbers");
    let name = format!("cli-{:016x}", u64::from_le_bytes(bytes));
    cluster().create_topic(&name, partitions, 1, settings).await.expect("the topic is made");
    name
}

pub fn log(topic: &str) -> KafkaLog {
    KafkaLog::connect(KafkaOptions::new(brokers(), topic), None).expect("it is there")
}

/// A server of a topic in this process.
pub struct Server {
    pub address: String,
    pub store: EngineHandle,
    engine: Option<Engine>,
    data: TempDir,
}

impl Server {
    pub async fn of(topic: &str) -> Server {
        let (name, data) = (topic.to_owned(), TempDir::new().expect("a directory"));
        let redb = RedbOptions { directory: data.path().join("store"), cache_bytes: 16 * 1024 * 1024 };
        let opening = tokio::task::spawn_blocking(move || {
            let store = RedbStore::open(&redb).expect("a new store").store;
            Engine::start(Arc::new(log(&name)), Arc::new(store), EngineOptions::default())
                .expect("the engine starts")
        });
        let engine = opening.await.expect("no panic");
        let store = engine.handle();
        tokio::time::timeout(Duration::from_secs(60), store.ready()).await.expect("it becomes ready");
        let gate = Gate::new();
        gate.open(engine.handle());
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
        let address = listener.local_addr().expect("an address").to_string();
        tokio::spawn(bkes_grpc::run(listener, gate, ServeOptions::default(), std::future::pending()));
        Server { address, store, engine: Some(engine), data }
    }

    /// Appends events, the first at this order.
    pub async fn append(&self, key: &str, order: u64, values: &[&str]) {
        let mut append = Append::at(Key::new(key.to_owned()).expect("it has bytes"), Order(order));
        for value in values {
            append = append.event((*value).to_owned());
        }
        EventStore::append(&self.store, append).await.expect("its order is next");
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        if let Some(engine) = self.engine.take() {
            // The end of a test does not wait for it.
            std::thread::spawn(move || engine.stop(Duration::from_secs(10)));
        }
    }
}

/// Writes a record as another program does.
pub fn write(producer: &Producer, topic: &str, key: Option<&str>, value: &str, partition: Option<u32>) {
    let (key, value) = (key.map(str::as_bytes), Some(value.as_bytes()));
    let record = ForeignRecord { key, value, partition, ..ForeignRecord::default() };
    producer.send(topic, &record).expect("it is queued");
}

/// What a run of the program came to.
#[derive(Debug)]
pub struct Ran {
    pub code: i32,
    pub output: String,
    pub talk: String,
}

impl Ran {
    pub fn json(&self) -> Value {
        serde_json::from_str(&self.output).unwrap_or_else(|error| panic!("{error}: {self:?}"))
    }

    /// The kinds of what was found.
    pub fn kinds(&self) -> Vec<String> {
        let json = self.json();
        let all = json["findings"].as_array().expect("a list");
        all.iter().map(|found| found["kind"].as_str().expect("a name").to_owned()).collect()
    }
}

/// Runs the program with these words.
pub async fn bkes(words: &[&str]) -> Ran {
    let mut command = program(words);
    let running = tokio::task::spawn_blocking(move || command.output().expect("it runs"));
    let output = running.await.expect("no panic");
    let text = |bytes| String::from_utf8(bytes).expect("it is text");
    let code = output.status.code().expect("it ended by itself");
    Ran { code, output: text(output.stdout), talk: text(output.stderr) }
}
