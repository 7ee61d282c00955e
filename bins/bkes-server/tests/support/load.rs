//! Writers under load, who remember what they were told, so that it can be compared with what is there.

use super::{Client, Server};
use bkes_grpc::api::error::Outcome;
use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

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
    known: Arc<Mutex<Known>>,
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

/// Whether the history of each key is what its writers were told; how many appends were acknowledged.
async fn check(client: &mut Client, all: &BTreeMap<String, Arc<Mutex<Known>>>) -> usize {
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

/// Writers, each with a key of its own, and what they were told, over all runs.
pub struct Load {
    known: BTreeMap<String, Arc<Mutex<Known>>>,
    calls: Arc<AtomicU64>,
}

impl Load {
    pub fn on(keys: usize) -> Load {
        let known = (0..keys).map(|n| (format!("key-{n}"), Arc::default())).collect();
        Load { known, calls: Arc::default() }
    }

    pub fn keys(&self) -> impl Iterator<Item = &String> {
        self.known.keys()
    }

    /// Whether the history of each key is what its writers were told; how many appends were acknowledged.
    pub async fn check(&self, client: &mut Client) -> usize {
        check(client, &self.known).await
    }

    fn acknowledged(&self) -> usize {
        self.known.values().map(|known| known.lock().expect("no panic").acknowledged.len()).sum()
    }

    /// Waits until this many more appends are acknowledged.
    pub async fn wait_for_more(&self, count: usize) {
        let (until, enough) = (Instant::now() + Duration::from_secs(120), self.acknowledged() + count);
        while self.acknowledged() < enough {
            assert!(Instant::now() < until, "{} of {enough} acknowledged", self.acknowledged());
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    }

    /// Runs all writers on a server; `during` is done to it once 300 of their appends are acknowledged.
    pub async fn run(
        &self,
        server: Server,
        during: impl AsyncFnOnce(Server) -> Option<Server>,
    ) -> Option<Server> {
        let stop = Arc::new(AtomicBool::new(false));
        let mut tasks = Vec::new();
        for (key, known) in &self.known {
            let client = server.client().await;
            let (known, stop, calls) = (Arc::clone(known), Arc::clone(&stop), Arc::clone(&self.calls));
            tasks.push(tokio::spawn(write(client, key.clone(), known, stop, calls)));
        }
        self.wait_for_more(300).await;
        let server = during(server).await;
        stop.store(true, Ordering::Release);
        for task in tasks {
            task.await.expect("a writer does not panic");
        }
        server
    }
}
