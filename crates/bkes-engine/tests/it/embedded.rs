//! The engine on the log and the store that lie on disk: what a restart and a lost store leave.

use bkes_core::{Key, Order};
use bkes_embedded::{EmbeddedLog, EmbeddedOptions};
use bkes_engine::{AppendRequest, Engine, EngineHandle, EngineOptions, Expected, ReadRequest, StartError};
use bkes_storage::{RedbOptions, RedbStore};
use bytes::Bytes;
use std::num::NonZeroU32;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;
use tempfile::TempDir;

fn try_start(log: &Path, store: &Path) -> Result<Engine, StartError> {
    let partitions = NonZeroU32::new(3).expect("three");
    let log = EmbeddedLog::open(&EmbeddedOptions { partitions, ..EmbeddedOptions::new(log) })
        .expect("the log opens");
    let options = RedbOptions { directory: store.to_owned(), cache_bytes: 16 * 1024 * 1024 };
    let store = RedbStore::open(&options).expect("the store opens").store;
    Engine::start(Arc::new(log), Arc::new(store), EngineOptions { threads: 2, ..EngineOptions::default() })
}

async fn start(data: &TempDir) -> (Engine, EngineHandle) {
    let engine = try_start(&data.path().join("log"), &data.path().join("store")).expect("the engine starts");
    let handle = engine.handle();
    tokio::time::timeout(Duration::from_secs(30), handle.ready()).await.expect("it becomes ready");
    (engine, handle)
}

fn stop(engine: Engine) {
    engine.stop(Duration::from_secs(5)).expect("the store closes");
}

fn key(n: usize) -> Key {
    Key::new(format!("key-{n}")).expect("not empty")
}

async fn append(handle: &EngineHandle, n: usize, expected: Expected, value: String) {
    let request = AppendRequest::of_values(key(n), expected, vec![Bytes::from(value)]);
    handle.append(request).await.expect("accepted");
}

async fn check(handle: &EngineHandle, keys: usize, events: usize) {
    for n in 0..keys {
        let read = handle.read(ReadRequest::all(key(n))).await.expect("it is there");
        let found: Vec<Bytes> = read.events.into_iter().map(|event| event.value).collect();
        let expected: Vec<Bytes> = (0..events).map(|order| format!("{n}/{order}").into()).collect();
        assert_eq!(found, expected, "key {n}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn events_outlive_restarts_and_the_loss_of_the_store() {
    let data = TempDir::new().expect("a directory");
    for round in 0..3 {
        let (engine, handle) = start(&data).await;
        check(&handle, if round == 0 { 0 } else { 40 }, round).await;
        for n in 0..40 {
            let expected = if round == 0 { Expected::New } else { Expected::At(Order(round as u64)) };
            append(&handle, n, expected, format!("{n}/{round}")).await;
        }
        check(&handle, 40, round + 1).await;
        stop(engine);
    }
    std::fs::remove_dir_all(data.path().join("store")).expect("the store is removed");
    let (engine, handle) = start(&data).await;
    check(&handle, 40, 3).await;
    stop(engine);
    assert_eq!(handle.status().keys, 40);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_store_of_another_log_is_refused() {
    let data = TempDir::new().expect("a directory");
    let (engine, handle) = start(&data).await;
    append(&handle, 0, Expected::New, "0/0".into()).await;
    drop(handle);
    stop(engine);
    let refused = try_start(&data.path().join("another log"), &data.path().join("store")).err();
    assert!(matches!(refused, Some(StartError::TopicRecreated { .. })), "{refused:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_aggregate_of_many_events_is_read_whole_and_by_pages() {
    let data = TempDir::new().expect("a directory");
    let (engine, handle) = start(&data).await;
    append(&handle, 0, Expected::New, "0/0".into()).await;
    for first in (1..3_001).step_by(1_000) {
        let values = (first..first + 1_000).map(|order| Bytes::from(format!("0/{order}")));
        let request = AppendRequest::of_values(key(0), Expected::At(Order(first)), values);
        handle.append(request).await.expect("accepted");
    }
    check(&handle, 1, 3_001).await;
    let mut from = Order(0);
    loop {
        let request = ReadRequest { from, events_max: 700, ..ReadRequest::all(key(0)) };
        let page = handle.read(request).await.expect("it is there");
        assert!(page.events.iter().enumerate().all(|(i, event)| event.order.0 == from.0 + i as u64));
        from = Order(from.0 + page.events.len() as u64);
        if !page.more {
            break;
        }
    }
    assert_eq!(from, Order(3_001));
    stop(engine);
}
