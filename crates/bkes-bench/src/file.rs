//! The embedded log against the same number of group-committed appends to a plain file.

use crate::Settings;
use crate::appends::VALUE_BYTES;
use crate::load::{Achieved, Chain, closed_loop};
use crate::report::{Rounds, Table};
use anyhow::Context;
use bkes_core::{Key, Order};
use bkes_embedded::{EmbeddedLog, EmbeddedOptions};
use bkes_engine::{AppendRequest, Engine, EngineHandle, EngineOptions, Expected};
use bkes_storage::{RedbOptions, RedbStore};
use bytes::Bytes;
use std::fs::File;
use std::io::Write;
use std::num::NonZeroU32;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::AtomicU64;
use std::time::{Duration, Instant};

/// Appends of so many callers at once, each group behind one fdatasync.
fn plain(directory: &Path, callers: usize, span: Duration) -> anyhow::Result<f64> {
    let mut file = File::create(directory.join("plain"))?;
    let record = vec![b'x'; VALUE_BYTES + 60];
    let (began, mut appends) = (Instant::now(), 0);
    while began.elapsed() < span {
        let group: Vec<u8> = record.repeat(callers);
        file.write_all(&group)?;
        file.sync_data()?;
        appends += callers;
    }
    Ok(appends as f64 / began.elapsed().as_secs_f64())
}

async fn engine_loop(handle: &EngineHandle, callers: usize, span: Duration) -> anyhow::Result<Achieved> {
    let (keys, name) = (Arc::new(AtomicU64::new(0)), format!("{:08x}", fastrand::u32(..)));
    let value = Bytes::from(vec![b'x'; VALUE_BYTES]);
    closed_loop(callers, span, || {
        let (handle, mut chain, value) = (handle.clone(), Chain::new(&name, &keys), value.clone());
        move || {
            let (key, order) = chain.next(1);
            let (handle, values) = (handle.clone(), vec![value.clone()]);
            async move {
                let expected = if order == 0 { Expected::New } else { Expected::At(Order(order)) };
                let key = Key::new(key).context("a key")?;
                handle.append(AppendRequest { key, expected, values }).await?;
                Ok(())
            }
        }
    })
    .await
}

/// Durable appends.
pub async fn durable(settings: &Settings) -> anyhow::Result<Table> {
    let title = "Durable appends to the embedded log, by the engine, against a plain file with fdatasync";
    let mut table = Table::new(title, &["callers", "appends/s", "plain file/s", "ratio"]);
    let data = tempfile::tempdir()?;
    let folder = data.path().join("log");
    std::fs::create_dir_all(&folder)?;
    let log =
        EmbeddedLog::open(&EmbeddedOptions { partitions: NonZeroU32::MIN, ..EmbeddedOptions::new(folder) })?;
    let store =
        RedbStore::open(&RedbOptions { directory: data.path().join("store"), cache_bytes: 64 << 20 })?.store;
    let engine = Engine::start(Arc::new(log), Arc::new(store), EngineOptions::default())?;
    let handle = engine.handle();
    handle.ready().await;
    for callers in [1, 64] {
        let (mut mine, mut limit) = (Rounds::default(), Rounds::default());
        for _ in 0..settings.rounds {
            let plain = || plain(data.path(), callers, settings.span());
            limit.0.push(tokio::task::block_in_place(plain)?);
            mine.0.push(engine_loop(&handle, callers, settings.span()).await?.rate);
        }
        table.rows.push(vec![callers.to_string(), mine.show(0), limit.show(0), mine.ratio(&limit).show(2)]);
    }
    tokio::task::spawn_blocking(move || engine.stop(Duration::from_secs(5))).await??;
    Ok(table)
}
