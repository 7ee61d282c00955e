//! Appends: by the embedded engine against a raw producer, through gRPC against a bare relay, batches, one long aggregate.

use crate::Settings;
use crate::load::{Achieved, Chain, closed_loop};
use crate::process::Server;
use crate::raw::{RawLoop, Tail};
use crate::report::{Rounds, Table};
use anyhow::{Context, bail};
use bkes_core::{Key, Order};
use bkes_engine::{AppendRequest, Engine, EngineHandle, EngineOptions, Expected};
use bkes_foreign::Cluster;
use bkes_grpc::Channel;
use bkes_grpc::api::bkes_client::BkesClient;
use bkes_grpc::api::{AddRequest, StartRequest, add_reply, start_reply};
use bkes_kafka::{KafkaLog, KafkaOptions};
use bkes_storage::{RedbOptions, RedbStore};
use bytes::Bytes;
use std::process::Command;
use std::sync::Arc;
use std::sync::atomic::AtomicU64;
use std::time::Duration;

/// Bytes of a usual value.
pub const VALUE_BYTES: usize = 200;

/// Partitions of the topics.
pub const PARTITIONS: u32 = 5;

/// A new topic that keeps its events.
pub async fn topic(settings: &Settings, partitions: u32) -> anyhow::Result<String> {
    let name = format!("bench-{:016x}", fastrand::u64(..));
    Cluster::new(&settings.brokers).create_topic(&name, partitions, 1, &[("retention.ms", "-1")]).await?;
    Ok(name)
}

/// An engine on a topic, in this process.
pub struct Embedded {
    engine: Option<Engine>,
    _data: tempfile::TempDir,
}

impl Embedded {
    /// Starts one and waits until it is ready.
    pub async fn start(settings: &Settings, topic: &str) -> anyhow::Result<Embedded> {
        let (brokers, topic) = (settings.brokers.clone(), topic.to_owned());
        let data = tempfile::tempdir()?;
        let directory = data.path().join("store");
        let started = tokio::task::spawn_blocking(move || {
            let log = KafkaLog::connect(KafkaOptions::new(brokers, topic), None)?;
            let store = RedbStore::open(&RedbOptions { directory, cache_bytes: 64 << 20 })?.store;
            anyhow::Ok(Engine::start(Arc::new(log), Arc::new(store), EngineOptions::default())?)
        });
        let engine = started.await??;
        engine.handle().ready().await;
        Ok(Embedded { engine: Some(engine), _data: data })
    }

    /// The way in.
    pub fn handle(&self) -> EngineHandle {
        self.engine.as_ref().expect("it runs until it is stopped").handle()
    }

    /// Stops it off the runtime.
    pub async fn stop(mut self) -> anyhow::Result<()> {
        if let Some(engine) = self.engine.take() {
            tokio::task::spawn_blocking(move || engine.stop(Duration::from_secs(5))).await??;
        }
        Ok(())
    }
}

/// A loop of appends of `events` events each, on an engine.
async fn engine_loop(
    handle: &EngineHandle,
    callers: usize,
    span: Duration,
    events: usize,
) -> anyhow::Result<Achieved> {
    let (keys, name) = (Arc::new(AtomicU64::new(0)), format!("{:08x}", fastrand::u32(..)));
    let value = Bytes::from(vec![b'x'; VALUE_BYTES]);
    closed_loop(callers, span, || {
        let (handle, mut chain, value) = (handle.clone(), Chain::new(&name, &keys), value.clone());
        move || {
            let (key, order) = chain.next(events as u64);
            let (handle, values) = (handle.clone(), vec![value.clone(); events]);
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

/// A loop of appends through gRPC; callers share a few connections, as those of one program do.
pub async fn grpc_loop(address: &str, callers: usize, span: Duration) -> anyhow::Result<Achieved> {
    let (keys, name) = (Arc::new(AtomicU64::new(0)), format!("{:08x}", fastrand::u32(..)));
    let value = Bytes::from(vec![b'x'; VALUE_BYTES]);
    let channels = channels(address, callers).await?;
    let mut turn = 0;
    closed_loop(callers, span, || {
        turn += 1;
        let client = BkesClient::new(channels[turn % channels.len()].clone());
        let (mut chain, value) = (Chain::new(&name, &keys), value.clone());
        move || {
            let (key, order) = chain.next(1);
            let (mut client, value) = (client.clone(), value.clone());
            async move {
                if order == 0 {
                    let reply = client.start(StartRequest { key: key.into(), value }).await?.into_inner();
                    match reply.reply {
                        Some(start_reply::Reply::Success(_)) => Ok(()),
                        other => bail!("{other:?}"),
                    }
                } else {
                    let request = AddRequest { key: key.into(), value, order: order as u32 };
                    match client.add(request).await?.into_inner().reply {
                        Some(add_reply::Reply::Success(_)) => Ok(()),
                        other => bail!("{other:?}"),
                    }
                }
            }
        }
    })
    .await
}

/// Connections for so many callers.
pub async fn channels(address: &str, callers: usize) -> anyhow::Result<Vec<Channel>> {
    let mut channels = Vec::new();
    for _ in 0..callers.div_ceil(64).max(1) {
        channels.push(Channel::from_shared(format!("http://{address}"))?.connect().await?);
    }
    Ok(channels)
}

/// The relay in a process of its own.
pub fn relay(settings: &Settings, topic: &str) -> anyhow::Result<Server> {
    let mut command = Command::new(std::env::current_exe()?);
    command.args(["--brokers", &settings.brokers, "--relay", topic, "--server"]).arg(&settings.server);
    Server::start(command)
}

/// The embedded engine against a raw producer with a raw tailing consumer.
pub async fn engine(settings: &Settings) -> anyhow::Result<Table> {
    let title = "Appends by the embedded engine against a raw producer with a tailing consumer";
    let columns = [
        "callers",
        "appends/s",
        "reference/s",
        "bare producer/s",
        "ratio",
        "p50 ms",
        "p50 beyond the reference, ms",
    ];
    let mut table = Table::new(title, &columns);
    let (ours, raw_topic) = (topic(settings, PARTITIONS).await?, topic(settings, PARTITIONS).await?);
    let embedded = Embedded::start(settings, &ours).await?;
    let raw = RawLoop::new(&settings.brokers, &raw_topic, PARTITIONS)?;
    for callers in [1, 16, 64, 256] {
        let (mut rates, mut reference, mut bare) = (Rounds::default(), Rounds::default(), Rounds::default());
        let (mut p50, mut beyond) = (Rounds::default(), Rounds::default());
        for _ in 0..settings.rounds {
            let tail = Tail::follow(&settings.brokers, &raw_topic, PARTITIONS)?;
            let limit = tokio::task::block_in_place(|| raw.run(callers, settings.span(), VALUE_BYTES))?;
            drop(tail);
            let alone = tokio::task::block_in_place(|| raw.run(callers, settings.span(), VALUE_BYTES))?;
            let mine = engine_loop(&embedded.handle(), callers, settings.span(), 1).await?;
            rates.0.push(mine.rate);
            reference.0.push(limit.rate);
            bare.0.push(alone.rate);
            p50.0.push(mine.p50_ms);
            beyond.0.push(mine.p50_ms - limit.p50_ms);
        }
        table.rows.push(vec![
            callers.to_string(),
            rates.show(0),
            reference.show(0),
            bare.show(0),
            rates.ratio(&reference).show(2),
            p50.show(3),
            beyond.show(3),
        ]);
    }
    embedded.stop().await?;
    Ok(table)
}

/// The server against a bare relay and the raw producer.
pub async fn grpc(settings: &Settings) -> anyhow::Result<Table> {
    let title = "Appends through gRPC against a bare relay (and p50 beyond the raw producer)";
    let columns = [
        "callers",
        "appends/s",
        "relay/s",
        "ratio",
        "p50 ms",
        "p50 ratio",
        "p99 ratio",
        "p50 beyond raw, ms",
        "server CPU s per 100,000",
        "CPU ratio",
        "peak MB",
    ];
    let mut table = Table::new(title, &columns);
    let (ours, theirs) = (topic(settings, PARTITIONS).await?, topic(settings, PARTITIONS).await?);
    let data = tempfile::tempdir()?;
    let server = Server::start(Server::command(&settings.server, data.path(), &settings.brokers, &ours))?;
    let relay = relay(settings, &theirs)?;
    let raw = RawLoop::new(&settings.brokers, &theirs, PARTITIONS)?;
    for callers in [1, 16, 64, 256] {
        let mut all: [Rounds; 9] = Default::default();
        for _ in 0..settings.rounds {
            let limit = tokio::task::block_in_place(|| raw.run(callers, settings.span(), VALUE_BYTES))?;
            let (before, bare) =
                (relay.cpu_seconds(), grpc_loop(&relay.address, callers, settings.span()).await?);
            let relay_cpu = (relay.cpu_seconds() - before) * 1e5 / (bare.calls as f64 * 1.2);
            let (before, mine) =
                (server.cpu_seconds(), grpc_loop(&server.address, callers, settings.span()).await?);
            let cpu = (server.cpu_seconds() - before) * 1e5 / (mine.calls as f64 * 1.2);
            let values = [
                mine.rate,
                bare.rate,
                mine.rate / bare.rate,
                mine.p50_ms,
                mine.p50_ms / bare.p50_ms,
                mine.p99_ms / bare.p99_ms,
                mine.p50_ms - limit.p50_ms,
                cpu,
                cpu / relay_cpu,
            ];
            all.iter_mut().zip(values).for_each(|(rounds, value)| rounds.0.push(value));
        }
        let decimals = [0, 0, 2, 3, 2, 2, 3, 1, 2];
        let mut row = vec![callers.to_string()];
        row.extend(all.iter().zip(decimals).map(|(rounds, decimals)| rounds.show(decimals)));
        row.push(format!("{:.0}", server.peak_mb()));
        table.rows.push(row);
    }
    server.stop()?;
    Ok(table)
}

/// Batches against single appends, on the embedded engine.
pub async fn batches(settings: &Settings) -> anyhow::Result<Table> {
    let title = "Events in batches against single appends, embedded engine, events/s";
    let mut table =
        Table::new(title, &["callers", "single", "batches of 10", "batches of 100", "100 against single"]);
    let ours = topic(settings, PARTITIONS).await?;
    let embedded = Embedded::start(settings, &ours).await?;
    for callers in [1, 16] {
        let mut rates: [Rounds; 3] = Default::default();
        for _ in 0..settings.rounds {
            for (rounds, events) in rates.iter_mut().zip([1, 10, 100]) {
                let mine = engine_loop(&embedded.handle(), callers, settings.span(), events).await?;
                rounds.0.push(mine.rate * events as f64);
            }
        }
        let [single, ten, hundred] = &rates;
        let row = [single.show(0), ten.show(0), hundred.show(0), hundred.ratio(single).show(1)];
        table.rows.push(std::iter::once(callers.to_string()).chain(row).collect());
    }
    embedded.stop().await?;
    Ok(table)
}

/// One aggregate that grows long: what an append at its end costs against one to a short aggregate.
pub async fn long(settings: &Settings) -> anyhow::Result<Table> {
    let title = format!(
        "Appends at the end of one aggregate that grows to {} events, embedded engine",
        settings.long
    );
    let mut table = Table::new(title, &["events", "p50 ms", "short aggregates, p50 ms", "ratio"]);
    let ours = topic(settings, 1).await?;
    let embedded = Embedded::start(settings, &ours).await?;
    let handle = embedded.handle();
    let key = Key::new("long".to_owned()).context("a key")?;
    let value = Bytes::from(vec![b'x'; VALUE_BYTES]);
    let mut order = 0;
    for stage in 1..=4u64 {
        let goal = settings.long * stage / 4;
        let (mut grown, mut short) = (Rounds::default(), Rounds::default());
        while order < goal {
            let count = (goal - order).min(500);
            let expected = if order == 0 { Expected::New } else { Expected::At(Order(order)) };
            let values = vec![value.clone(); count as usize];
            handle.append(AppendRequest { key: key.clone(), expected, values }).await?;
            order += count;
        }
        for _ in 0..settings.rounds {
            let mut times = Vec::new();
            for _ in 0..500 {
                let began = std::time::Instant::now();
                let expected = Expected::At(Order(order));
                let request = AppendRequest { key: key.clone(), expected, values: vec![value.clone()] };
                handle.append(request).await?;
                times.push(began.elapsed().as_secs_f32());
                order += 1;
            }
            grown.0.push(Achieved::of(times, settings.span()).p50_ms);
            short.0.push(engine_loop(&handle, 1, Duration::from_millis(500), 1).await?.p50_ms);
        }
        let ratio = grown.ratio(&short).show(2);
        table.rows.push(vec![order.to_string(), grown.show(3), short.show(3), ratio]);
    }
    embedded.stop().await?;
    Ok(table)
}
