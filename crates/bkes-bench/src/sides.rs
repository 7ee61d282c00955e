//! The sides of a comparison: topics, engines in this process, servers and relays in theirs, and the loops that drive them.

use crate::load::{Chain, Kind, Mix, closed_loop};
use crate::process::Server;
use crate::settings::Settings;
use anyhow::{Context, bail};
use bkes_core::{Key, Order};
use bkes_engine::{
    AppendError, AppendRequest, Engine, EngineHandle, EngineOptions, Expected, ReadRequest, Unready,
};
use bkes_foreign::Cluster;
use bkes_grpc::Channel;
use bkes_grpc::api::bkes_client::BkesClient;
use bkes_grpc::api::{
    AddRequest, RetrieveRequest, StartRequest, add_reply, error, retrieve_reply, start_reply,
};
use bkes_kafka::{KafkaLog, KafkaOptions};
use bkes_log::Log;
use bkes_storage::{MemoryStore, RedbOptions, RedbStore, Store};
use bytes::Bytes;
use std::process::Command;
use std::sync::atomic::AtomicU64;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

/// Bytes of a usual value.
pub const VALUE_BYTES: usize = 200;

/// Partitions of a usual topic.
pub const PARTITIONS: u32 = 5;

/// How long a caller waits who was refused as overloaded. It counts as time that its call took.
pub const OVERLOADED_REST: Duration = Duration::from_millis(2);

/// Callers that share a connection, as those of one program do.
const CALLERS_OF_A_CONNECTION: usize = 64;

/// The topics that were made and not deleted.
static MADE: Mutex<Vec<String>> = Mutex::new(Vec::new());

/// A new topic that keeps its events, until [`delete_topics`].
pub async fn topic(settings: &Settings, partitions: u32) -> anyhow::Result<String> {
    let name = format!("bench-{:016x}", fastrand::u64(..));
    Cluster::new(settings.brokers()?).create_topic(&name, partitions, 1, &[("retention.ms", "-1")]).await?;
    MADE.lock().unwrap_or_else(PoisonError::into_inner).push(name.clone());
    Ok(name)
}

/// Deletes every topic that was made: a part leaves some gigabytes on the broker's disk, which would be full after a few runs.
pub async fn delete_topics(settings: &Settings) -> anyhow::Result<()> {
    let made = std::mem::take(&mut *MADE.lock().unwrap_or_else(PoisonError::into_inner));
    for topic in made {
        Cluster::new(settings.brokers()?).delete_topic(&topic).await?;
    }
    Ok(())
}

/// Which store an engine of this process has.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Keeps {
    /// The usual one, on disk.
    Disk,
    /// One that forgets: what an append costs without a store that commits.
    Memory,
}

/// An engine in this process.
pub struct Embedded {
    engine: Option<Engine>,
    _data: tempfile::TempDir,
}

impl Embedded {
    /// Starts one on a topic and waits until it is ready.
    pub async fn start(settings: &Settings, topic: &str, keeps: Keeps) -> anyhow::Result<Embedded> {
        let options = KafkaOptions::new(settings.brokers()?, topic);
        let log = tokio::task::spawn_blocking(|| KafkaLog::connect(options, None)).await??;
        Embedded::on(Arc::new(log), keeps).await
    }

    /// Starts one on a log and waits until it is ready.
    pub async fn on(log: Arc<dyn Log>, keeps: Keeps) -> anyhow::Result<Embedded> {
        let data = tempfile::tempdir()?;
        let directory = data.path().join("store");
        let started = tokio::task::spawn_blocking(move || {
            let store: Arc<dyn Store> = match keeps {
                Keeps::Disk => {
                    Arc::new(RedbStore::open(&RedbOptions { directory, cache_bytes: 64 << 20 })?.store)
                }
                Keeps::Memory => Arc::new(MemoryStore::new()),
            };
            anyhow::Ok(Engine::start(log, store, EngineOptions::default())?)
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

/// So many callers, in words.
pub fn callers_in_words(callers: usize) -> String {
    if callers == 1 { "1 caller".into() } else { format!("{callers} callers") }
}

/// How much a loop does, and of what.
#[derive(Clone, Copy, Debug)]
pub struct Work {
    /// Who asks.
    pub callers: usize,
    /// How long it is measured.
    pub span: Duration,
    /// Bytes of a value.
    pub value_bytes: usize,
    /// Events of an append.
    pub events: usize,
    /// Calls of ten that read.
    pub reads_of_ten: u64,
}

impl Work {
    /// Single appends of usual values.
    pub fn appends(callers: usize, span: Duration) -> Work {
        Work { callers, span, value_bytes: VALUE_BYTES, events: 1, reads_of_ten: 0 }
    }
}

/// Keys of so many events that are there to be read: many, but not more than 100,000 events in all.
pub fn read_keys(events: usize) -> u64 {
    (100_000 / events as u64).clamp(1, 1_000)
}

/// The key of a number among those that are there to be read.
pub fn read_key(events: usize, number: u64) -> String {
    format!("read-{events}-{}", number % read_keys(events))
}

/// A loop on an engine.
pub async fn engine_loop(handle: &EngineHandle, work: Work) -> anyhow::Result<Mix> {
    let (keys, name) = (Arc::new(AtomicU64::new(0)), format!("{:08x}", fastrand::u32(..)));
    let value = Bytes::from(vec![b'x'; work.value_bytes]);
    let mut turn = 0;
    closed_loop(work.callers, work.span, || {
        let (handle, mut chain, value) = (handle.clone(), Chain::new(&name, &keys), value.clone());
        turn += 1;
        let mut number = turn * 7;
        move || {
            number += 1;
            let next = (number % 10 >= work.reads_of_ten).then(|| chain.next(work.events as u64));
            let (handle, values) = (handle.clone(), vec![value.clone(); work.events]);
            async move {
                let Some((key, order)) = next else {
                    let key = Key::new(read_key(10, number)).context("a key")?;
                    let found = handle.read(ReadRequest::all(key)).await?;
                    anyhow::ensure!(found.events.len() == 10, "{} events", found.events.len());
                    return Ok((Kind::Read, 0));
                };
                let expected = if order == 0 { Expected::New } else { Expected::At(Order(order)) };
                let key = Key::new(key).context("a key")?;
                let request = AppendRequest::of_values(key, expected, values);
                let mut refused = 0;
                while let Err(error) = handle.append(request.clone()).await {
                    if !matches!(error, AppendError::Unavailable(Unready::Overloaded { .. })) {
                        return Err(error.into());
                    }
                    refused += 1;
                    tokio::time::sleep(OVERLOADED_REST).await;
                }
                Ok((Kind::Append, refused))
            }
        }
    })
    .await
}

/// Makes the keys that are there to be read, on an engine.
pub async fn fill_engine(handle: &EngineHandle) -> anyhow::Result<()> {
    let values = vec![Bytes::from(vec![b'x'; VALUE_BYTES]); 10];
    for number in 0..read_keys(10) {
        let key = Key::new(read_key(10, number)).context("a key")?;
        handle.append(AppendRequest::of_values(key, Expected::New, values.clone())).await?;
    }
    Ok(())
}

/// A loop through gRPC; callers share a few connections.
pub async fn grpc_loop(address: &str, work: Work) -> anyhow::Result<Mix> {
    let (keys, name) = (Arc::new(AtomicU64::new(0)), format!("{:08x}", fastrand::u32(..)));
    let value = Bytes::from(vec![b'x'; work.value_bytes]);
    let channels = channels(address, work.callers).await?;
    let mut turn = 0;
    closed_loop(work.callers, work.span, || {
        turn += 1;
        let client = BkesClient::new(channels[turn % channels.len()].clone());
        let (mut chain, value) = (Chain::new(&name, &keys), value.clone());
        let mut number = turn as u64 * 7;
        move || {
            number += 1;
            let next = (number % 10 >= work.reads_of_ten).then(|| chain.next(1));
            let (client, value) = (client.clone(), value.clone());
            async move {
                match next {
                    Some((key, order)) => {
                        append(client, key, order, value).await.map(|refused| (Kind::Append, refused))
                    }
                    None => read(client, read_key(10, number), 10).await.map(|()| (Kind::Read, 0)),
                }
            }
        }
    })
    .await
}

/// Appends one event, again when it is refused as overloaded; says how often it was. Anything else is an error.
pub async fn append(
    mut client: BkesClient<Channel>,
    key: String,
    order: u64,
    value: Bytes,
) -> anyhow::Result<u64> {
    let key = Bytes::from(key);
    for refused in 0.. {
        let error = if order == 0 {
            let request = StartRequest { key: key.clone(), value: value.clone() };
            match client.start(request).await?.into_inner().reply {
                Some(start_reply::Reply::Success(_)) => return Ok(refused),
                Some(start_reply::Reply::Error(error)) => error,
                None => bail!("a reply without content"),
            }
        } else {
            let request = AddRequest { key: key.clone(), value: value.clone(), order: order as u32 };
            match client.add(request).await?.into_inner().reply {
                Some(add_reply::Reply::Success(_)) => return Ok(refused),
                Some(add_reply::Reply::Error(error)) => error,
                None => bail!("a reply without content"),
            }
        };
        anyhow::ensure!(error.reason() == error::Reason::Overloaded, "{}: {}", error.error, error.cause);
        tokio::time::sleep(OVERLOADED_REST).await;
    }
    unreachable!("counting does not end")
}

/// Reads an aggregate; anything but so many events is an error.
pub async fn read(mut client: BkesClient<Channel>, key: String, events: usize) -> anyhow::Result<()> {
    let request = RetrieveRequest { key: key.into(), ..RetrieveRequest::default() };
    match client.retrieve(request).await?.into_inner().reply {
        Some(retrieve_reply::Reply::Success(found)) if found.records.len() == events => Ok(()),
        other => bail!("{events} events were expected: {other:?}"),
    }
}

/// A loop of reads of aggregates of so many events.
pub async fn read_loop(address: &str, callers: usize, span: Duration, events: usize) -> anyhow::Result<Mix> {
    let channels = channels(address, callers).await?;
    let mut turn = 0;
    closed_loop(callers, span, || {
        turn += 1;
        let client = BkesClient::new(channels[turn % channels.len()].clone());
        let mut number = turn as u64 * 7;
        move || {
            number += 1;
            let (client, key) = (client.clone(), read_key(events, number));
            async move { read(client, key, events).await.map(|()| (Kind::Read, 0)) }
        }
    })
    .await
}

/// Makes the keys that are there to be read, of so many events each, by records that other programs would write.
pub fn fill_topic(settings: &Settings, topic: &str, events: &[usize]) -> anyhow::Result<()> {
    let keys = events.iter().flat_map(|events| {
        (0..*events).flat_map(move |_| (0..read_keys(*events)).map(move |number| read_key(*events, number)))
    });
    fill(settings, topic, keys)
}

/// Gives one key so many events, by records that other programs would write.
pub fn fill_key(settings: &Settings, topic: &str, key: &str, events: u64) -> anyhow::Result<()> {
    fill(settings, topic, (0..events).map(|_| key))
}

/// Writes an event of a usual value for each of these keys.
fn fill(
    settings: &Settings,
    topic: &str,
    keys: impl Iterator<Item = impl AsRef<[u8]>>,
) -> anyhow::Result<()> {
    let properties = [("partitioner", "murmur2_random"), ("batch.size", "1000000"), ("linger.ms", "20")];
    let producer = Cluster::new(settings.brokers()?).producer(&properties)?;
    let value = vec![b'x'; VALUE_BYTES];
    for key in keys {
        let key = Some(key.as_ref());
        let record = bkes_foreign::ForeignRecord { key, value: Some(&value), ..Default::default() };
        producer.send(topic, &record)?;
    }
    producer.flush()?;
    Ok(())
}

/// Connections for so many callers.
pub async fn channels(address: &str, callers: usize) -> anyhow::Result<Vec<Channel>> {
    let mut channels = Vec::new();
    for _ in 0..callers.div_ceil(CALLERS_OF_A_CONNECTION).max(1) {
        channels.push(Channel::from_shared(format!("http://{address}"))?.connect().await?);
    }
    Ok(channels)
}

/// The relay in a process of its own.
pub fn relay(settings: &Settings, topic: &str) -> anyhow::Result<Server> {
    let mut command = Command::new(std::env::current_exe()?);
    command.args(["--brokers", settings.brokers()?, "--relay", topic]);
    Server::start(command)
}
