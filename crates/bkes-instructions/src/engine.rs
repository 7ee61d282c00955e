//! The whole engine, with its threads, on a log and a store in memory: what it adds to what they cost.

use crate::rules::{CHAIN, VALUE_BYTES, key};
use bkes_core::{Order, Partition, Partitioner};
use bkes_engine::{AppendRequest, Engine, EngineHandle, EngineOptions, Expected, ReadRequest};
use bkes_log::{Log, MemoryLog, NewRecord, wake_pair};
use bkes_storage::MemoryStore;
use bytes::Bytes;
use std::num::NonZeroU32;
use std::sync::Arc;
use std::time::Duration;

/// Works with an engine that has caught up; what was appended is committed when this returns.
fn with_engine(
    log: &MemoryLog,
    store: &Arc<MemoryStore>,
    work: impl AsyncFnOnce(EngineHandle) -> anyhow::Result<()>,
) -> anyhow::Result<()> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let options = EngineOptions { partitioner: Some(Partitioner::Murmur2), ..EngineOptions::default() };
    let engine = Engine::start(Arc::new(log.clone()), store.clone(), options)?;
    runtime.block_on(async {
        engine.handle().ready().await;
        work(engine.handle()).await
    })?;
    engine.stop(Duration::from_secs(60))?;
    Ok(())
}

fn empty() -> MemoryLog {
    MemoryLog::new("counted", NonZeroU32::MIN)
}

/// Records of others, read, judged, put into the overlay and committed. As many lie in the log as are counted.
pub fn catch_up(count: u64, most: u64) -> anyhow::Result<()> {
    let (log, other, mut reports) = (empty(), empty(), Vec::new());
    let [mut counted, mut uncounted] = [log.appender(wake_pair().0)?, other.appender(wake_pair().0)?];
    let value = Bytes::from(vec![b'x'; VALUE_BYTES]);
    for number in 0..most {
        // What is not counted is made too, in a log that nobody reads.
        let writer = if number < count { &mut counted } else { &mut uncounted };
        let key = key((number % (most / CHAIN)) * CHAIN);
        let (key, value) = (Some(key.bytes().clone()), Some(value.clone()));
        writer.send(NewRecord { partition: Partition(0), key, value, headers: Vec::new() }, number)?;
        writer.poll(&mut reports);
        reports.clear();
    }
    with_engine(&log, &Arc::default(), async |_| Ok(()))
}

/// Appends by a lone caller, chains of ten.
pub fn append(count: u64, most: u64) -> anyhow::Result<()> {
    let requests = requests(most);
    with_engine(&empty(), &Arc::default(), async |handle| {
        for request in &requests[..count as usize] {
            handle.append(request.clone()).await?;
        }
        Ok(())
    })
}

/// Reads of aggregates of ten events, from the store: while they are still in the overlay, the clock would decide which of
/// them are committed meanwhile.
pub fn read(count: u64, _: u64) -> anyhow::Result<()> {
    const KEYS: u64 = 100;
    let requests = requests(KEYS * CHAIN);
    let (log, store) = (empty(), Arc::<MemoryStore>::default());
    with_engine(&log, &store, async |handle| {
        for request in &requests {
            handle.append(request.clone()).await?;
        }
        Ok(())
    })?;
    with_engine(&log, &Arc::new(store.snapshot()), async |handle| {
        for number in 0..count {
            let found = handle.read(ReadRequest::all(key((number % KEYS) * CHAIN))).await?;
            anyhow::ensure!(found.events.len() == CHAIN as usize, "{} events", found.events.len());
        }
        Ok(())
    })
}

fn requests(count: u64) -> Vec<AppendRequest> {
    let value = Bytes::from(vec![b'x'; VALUE_BYTES]);
    let of = |number: u64| {
        let order = number % CHAIN;
        let expected = if order == 0 { Expected::New } else { Expected::At(Order(order)) };
        AppendRequest::of_values(key(number), expected, vec![value.clone()])
    };
    (0..count).map(of).collect()
}
