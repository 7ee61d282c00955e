//! An event store inside your own program, on a local file and without gRPC:
//!
//! ```text
//! cargo run --example embedded_engine
//! ```

use bkes_core::{Key, Order};
use bkes_embedded::{EmbeddedLog, EmbeddedOptions};
use bkes_engine::{AppendRequest, Engine, EngineOptions, Expected, ReadRequest};
use bkes_storage::{RedbOptions, RedbStore};
use std::sync::Arc;
use std::time::Duration;

#[tokio::main]
async fn main() -> anyhow::Result<()> {
    // The log is the truth; the store is derived from it and may be deleted at any time.
    let data = tempfile::tempdir()?;
    let log = EmbeddedLog::open(&EmbeddedOptions::new(data.path().join("log")))?;
    let store = RedbOptions { directory: data.path().join("store"), cache_bytes: 64 * 1024 * 1024 };
    let store = RedbStore::open(&store)?.store;
    let engine = Engine::start(Arc::new(log), Arc::new(store), EngineOptions::default())?;
    let events = engine.handle();
    events.ready().await;

    let key = Key::new("book-42").expect("a key has bytes");
    let append = |expected, values: &[&'static str]| {
        let values = values.iter().map(|value| (*value).into());
        events.append(AppendRequest::of_values(key.clone(), expected, values))
    };
    let bought = append(Expected::New, &["bought"]).await?;
    println!("event {} lies at offset {} of partition {}", bought.last, bought.offset, bought.partition);
    append(Expected::At(Order(1)), &["rented", "returned"]).await?;

    // Somebody who read only the first event decides on a premise that no longer holds.
    let late = append(Expected::At(Order(1)), &["rented to somebody else"]).await;
    println!("refused: {}", late.expect_err("the order is taken"));

    for event in events.read(ReadRequest::all(key.clone())).await?.events {
        println!("{}: {}", event.order, String::from_utf8_lossy(&event.value));
    }
    tokio::task::spawn_blocking(move || engine.stop(Duration::from_secs(5))).await??;
    Ok(())
}
