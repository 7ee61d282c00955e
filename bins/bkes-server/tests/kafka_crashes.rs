//! Kills in the middle of writes: what was acknowledged is there, once, whatever dies; `cargo xtask integration` runs this.

mod support;

use bkes_grpc::api::error::Outcome;
use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};
use support::kafka::{broker, make_topic, serve};
use support::{Client, Server};
use tempfile::TempDir;

/// What one writer knows of its key: a value is acknowledged at its order, or its outcome is not known.
#[derive(Default)]
struct Known {
    acknowledged: BTreeMap<u32, String>,
    unknown: Vec<String>,
    refused: Vec<String>,
}

/// Appends to a key as fast as it goes until told to stop; a call that breaks is an unknown outcome.
async fn write(
    mut client: Client,
    key: String,
    known: Arc<std::sync::Mutex<Known>>,
    stop: Arc<AtomicBool>,
    calls: Arc<AtomicU64>,
) {
    while !stop.load(Ordering::Acquire) {
        let Some(records) = client.try_retrieve(&key).await else { return };
        let Ok(order) = records.map(|records| records.len() as u32) else {
            tokio::time::sleep(Duration::from_millis(10)).await;
            continue;
        };
        let value = format!("{key}-{}", calls.fetch_add(1, Ordering::AcqRel));
        let said = if order == 0 {
            client.try_start(&key, &value).await
        } else {
            client.try_add(&key, order, &value).await
        };
        let mut known = known.lock().expect("no panic");
        match said {
            None => {
                known.unknown.push(value);
                return;
            }
            Some(Ok(stored)) => {
                assert_eq!(stored.order.map(|order| order as u32), Some(order));
                let before = known.acknowledged.insert(order, value);
                assert_eq!(before, None, "order {order} of {key} was acknowledged twice");
            }
            Some(Err(error)) if error.outcome() == Outcome::Unknown => known.unknown.push(value),
            Some(Err(_)) => known.refused.push(value),
        }
    }
}

/// Whether the history of each key is what its writers were told.
async fn check(client: &mut Client, all: &BTreeMap<String, Arc<std::sync::Mutex<Known>>>) -> usize {
    let mut acknowledged = 0;
    for (key, known) in all {
        let values = client.values(key).await;
        let known = known.lock().expect("no panic");
        for (order, value) in &known.acknowledged {
            assert_eq!(values.get(*order as usize), Some(value), "{key} at {order}");
        }
        for value in &known.refused {
            assert!(!values.contains(value), "{key}: {value} was refused and is there");
        }
        for value in &known.unknown {
            assert!(values.iter().filter(|v| *v == value).count() <= 1, "{key}: {value} is there twice");
        }
        let told = known.acknowledged.len() + known.unknown.len();
        assert!(values.len() <= told, "{key} has events that nobody wrote");
        acknowledged += known.acknowledged.len();
    }
    acknowledged
}

struct Load {
    known: BTreeMap<String, Arc<std::sync::Mutex<Known>>>,
    calls: Arc<AtomicU64>,
}

impl Load {
    fn on(keys: usize) -> Load {
        let known = (0..keys).map(|n| (format!("key-{n}"), Arc::default())).collect();
        Load { known, calls: Arc::default() }
    }

    /// Runs all writers on a server for a while; `during` is done to it in the middle.
    async fn run(&self, server: Server, during: impl FnOnce(Server) -> Option<Server>) -> Option<Server> {
        let stop = Arc::new(AtomicBool::new(false));
        let mut tasks = Vec::new();
        for (key, known) in &self.known {
            let client = server.client().await;
            let (known, stop, calls) = (Arc::clone(known), Arc::clone(&stop), Arc::clone(&self.calls));
            tasks.push(tokio::spawn(write(client, key.clone(), known, stop, calls)));
        }
        tokio::time::sleep(Duration::from_millis(1_000)).await;
        let server = tokio::task::block_in_place(|| during(server));
        stop.store(true, Ordering::Release);
        for task in tasks {
            task.await.expect("a writer does not panic");
        }
        server
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_kill_in_the_middle_of_writes_loses_nothing_and_doubles_nothing() {
    let (data, topic) = (TempDir::new().expect("a directory"), make_topic(3, &[]).await);
    let load = Load::on(24);
    for round in 0..5 {
        let (server, mut client) = serve(data.path(), &topic).await;
        check(&mut client, &load.known).await;
        load.run(server, |server| {
            server.kill();
            None
        })
        .await;
        if round == 3 {
            std::fs::remove_dir_all(data.path().join("bkes")).expect("the store is removed");
        }
    }
    let (_server, mut client) = serve(data.path(), &topic).await;
    let acknowledged = check(&mut client, &load.known).await;
    assert!(acknowledged > 1_000, "only {acknowledged} appends were acknowledged");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_broker_killed_and_paused_under_load_costs_time_only() {
    let (data, topic) = (TempDir::new().expect("a directory"), make_topic(3, &[]).await);
    let load = Load::on(16);
    let (mut server, _client) = serve(data.path(), &topic).await;
    for words in [["kill", "start"], ["pause", "resume"], ["stop", "start"]] {
        let running = load.run(server, |server| {
            broker(words[0]);
            std::thread::sleep(Duration::from_secs(3));
            broker(words[1]);
            std::thread::sleep(Duration::from_secs(4));
            Some(server)
        });
        server = running.await.expect("it runs on");
    }
    let mut client = server.client().await;
    client.ready().await;
    let acknowledged = check(&mut client, &load.known).await;
    assert!(acknowledged > 500, "only {acknowledged} appends were acknowledged");
    for key in load.known.keys() {
        let until = Instant::now() + Duration::from_secs(60);
        loop {
            let order = client.values(key).await.len() as u32;
            if client.add(key, order, "after").await.is_ok() {
                break;
            }
            assert!(Instant::now() < until, "{key} does not come back");
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    }
    rebuilt_agrees(&mut client, &topic, &load).await;
}

/// A second instance that builds its store from nothing serves the same.
async fn rebuilt_agrees(client: &mut Client, topic: &str, load: &Load) {
    let fresh = TempDir::new().expect("a directory");
    let (_server, mut other) = serve(fresh.path(), topic).await;
    for key in load.known.keys() {
        assert_eq!(client.values(key).await, other.values(key).await, "{key}");
    }
}
