//! An instance that embeds the engine, in a process of its own, so that batches (which the v1 contract has no call for) are
//! written by something that can be killed in the middle of one.
//!
//! It speaks lines over loopback; bytes are in hex, and a reply is one line:
//!
//! ```text
//! append KEY new|ORDER VALUE...   ok PARTITION OFFSET FIRST | rejected [CURRENT] | unavailable | unknown
//! read KEY FROM LIMIT|all         events more|end EVENT...  | none | unavailable
//!                                 EVENT = ORDER:PARTITION:OFFSET:TIMESTAMP|-:t|e:VALUE
//! ```

use anyhow::{Context, bail};
use bkes_check::{AppendOutcome, Event, Expecting, ReadOutcome};
use bkes_core::{Key, Offset, Order, Partition, TimestampMs};
use bkes_engine::{
    AppendError, AppendRequest, Engine, EngineHandle, EngineOptions, ErrorClass, Expected, ReadError,
    ReadRequest,
};
use bkes_kafka::{ConnectError, KafkaLog, KafkaOptions};
use bkes_storage::{RedbOptions, RedbStore};
use bytes::Bytes;
use std::fmt::Write;
use std::path::PathBuf;
use std::sync::{Arc, OnceLock};
use std::time::Duration;
use tokio::io::{AsyncBufReadExt, AsyncWriteExt, BufReader};
use tokio::net::{TcpListener, TcpStream};

/// What such an instance needs to know.
#[derive(Clone, Debug, clap::Args)]
pub struct WorkerArgs {
    /// The brokers
    #[arg(long)]
    pub brokers: String,
    /// The topic
    #[arg(long)]
    pub topic: String,
    /// The folder of its store
    #[arg(long)]
    pub data: PathBuf,
    /// Where it listens on loopback
    #[arg(long)]
    pub port: u16,
    /// How long a record may take
    #[arg(long, default_value_t = 2_000)]
    pub message_timeout_ms: u32,
}

/// Serves until it is killed, or until SIGTERM stops the engine in order.
pub async fn run(args: WorkerArgs) -> anyhow::Result<()> {
    tracing_subscriber::fmt().with_writer(std::io::stderr).with_ansi(false).init();
    let mut terminated = tokio::signal::unix::signal(tokio::signal::unix::SignalKind::terminate())?;
    let listener = TcpListener::bind(("127.0.0.1", args.port)).await?;
    let handle: Arc<OnceLock<EngineHandle>> = Arc::default();
    let shared = Arc::clone(&handle);
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            tokio::spawn(serve(stream, Arc::clone(&shared)));
        }
    });
    let opening = tokio::task::spawn_blocking(move || open(&args));
    let engine = tokio::select! {
        engine = opening => engine??,
        _ = terminated.recv() => return Ok(()),
    };
    let _ = handle.set(engine.handle());
    terminated.recv().await;
    tokio::task::spawn_blocking(move || engine.stop(Duration::from_secs(10))).await??;
    Ok(())
}

fn open(args: &WorkerArgs) -> anyhow::Result<Engine> {
    let options = KafkaOptions {
        message_timeout_ms: args.message_timeout_ms,
        ..KafkaOptions::new(args.brokers.clone(), args.topic.clone())
    };
    let log = loop {
        match KafkaLog::connect(options.clone(), None) {
            Ok(log) => break Arc::new(log),
            Err(error @ ConnectError::Unreachable { .. }) => tracing::warn!("{error}; trying again"),
            Err(error) => return Err(error.into()),
        }
        std::thread::sleep(Duration::from_secs(1));
    };
    let opened = RedbStore::open(&RedbOptions { directory: args.data.clone(), cache_bytes: 16 << 20 })?;
    if let Some(aside) = opened.set_aside {
        tracing::warn!("the store was damaged: set aside as {}", aside.display());
    }
    let store = Arc::new(opened.store);
    loop {
        let started =
            Engine::start(Arc::clone(&log) as Arc<_>, Arc::clone(&store) as Arc<_>, EngineOptions::default());
        match started {
            Ok(engine) => return Ok(engine),
            Err(bkes_engine::StartError::Log(error)) => tracing::warn!("{error}; trying again"),
            Err(error) => return Err(error.into()),
        }
        std::thread::sleep(Duration::from_secs(1));
    }
}

async fn serve(stream: TcpStream, handle: Arc<OnceLock<EngineHandle>>) -> anyhow::Result<()> {
    stream.set_nodelay(true)?;
    let (from, mut to) = stream.into_split();
    let mut lines = BufReader::new(from).lines();
    while let Some(line) = lines.next_line().await? {
        let mut reply = match handle.get() {
            Some(handle) => answer(handle, &line).await?,
            None => "unavailable".to_owned(),
        };
        reply.push('\n');
        to.write_all(reply.as_bytes()).await?;
    }
    Ok(())
}

async fn answer(handle: &EngineHandle, line: &str) -> anyhow::Result<String> {
    let words: Vec<&str> = line.split(' ').collect();
    match words[..] {
        ["append", key, expected, ref values @ ..] => {
            let request = AppendRequest::of_values(
                Key::new(from_hex(key)?).context("a key")?,
                match expected {
                    "new" => Expected::New,
                    order => Expected::At(Order(order.parse()?)),
                },
                values.iter().map(|value| from_hex(value)).collect::<anyhow::Result<Vec<_>>>()?,
            );
            Ok(match handle.append(request).await {
                Ok(stored) => format!("ok {} {} {}", stored.partition, stored.offset, stored.first),
                Err(error) => refusal(&error),
            })
        }
        ["read", key, from, limit] => {
            let request = ReadRequest {
                from: Order(from.parse()?),
                events_max: if limit == "all" { usize::MAX } else { limit.parse()? },
                ..ReadRequest::all(Key::new(from_hex(key)?).context("a key")?)
            };
            Ok(match handle.read(request).await {
                Ok(events) => shown(&events),
                Err(ReadError::NoSuchAggregate { .. }) => "none".to_owned(),
                Err(_) => "unavailable".to_owned(),
            })
        }
        _ => bail!("what is {line:?}?"),
    }
}

fn refusal(error: &AppendError) -> String {
    match (error.class(), error) {
        (
            ErrorClass::Rejected,
            AppendError::Conflict { current, .. } | AppendError::AlreadyExists { current },
        ) => format!("rejected {current}"),
        (ErrorClass::Rejected, AppendError::NoSuchAggregate { .. }) => "rejected 0".to_owned(),
        (ErrorClass::Rejected, _) => "rejected".to_owned(),
        (ErrorClass::Unavailable, _) => {
            // A finding is of little use without the reason.
            tracing::info!("an append is refused: {error}");
            "unavailable".to_owned()
        }
        (ErrorClass::Unknown, _) => "unknown".to_owned(),
    }
}

fn shown(events: &bkes_engine::Events) -> String {
    let mut line = format!("events {}", if events.more { "more" } else { "end" });
    for event in &events.events {
        let time = event.timestamp.map_or("-".to_owned(), |TimestampMs(ms)| ms.to_string());
        let kind = if event.tombstone { 't' } else { 'e' };
        let (order, partition, offset) = (event.order, event.partition, event.offset);
        let value = to_hex(&event.value);
        write!(line, " {order}:{partition}:{offset}:{time}:{kind}:{value}")
            .expect("writing to a string cannot fail");
    }
    line
}

/// The line that asks for an append.
pub fn append_line(key: &Key, expected: Expecting, values: &[Bytes]) -> anyhow::Result<String> {
    let expected = match expected {
        Expecting::New => "new".to_owned(),
        Expecting::At(order) => order.to_string(),
        Expecting::Exists | Expecting::Any => bail!("a worker's appends name their orders"),
    };
    let values: String = values.iter().map(|value| format!(" {}", to_hex(value))).collect();
    Ok(format!("append {} {expected}{values}\n", to_hex(key.as_ref())))
}

/// The line that asks for a read.
pub fn read_line(key: &Key, from: Order, limit: Option<u64>) -> String {
    let limit = limit.map_or("all".to_owned(), |limit| limit.to_string());
    format!("read {} {from} {limit}\n", to_hex(key.as_ref()))
}

/// What a reply to an append says.
pub fn append_reply(line: &str) -> anyhow::Result<AppendOutcome> {
    let words: Vec<&str> = line.split_whitespace().collect();
    Ok(match words[..] {
        ["ok", partition, offset, first] => AppendOutcome::Acknowledged {
            partition: Partition(partition.parse()?),
            offset: Offset(offset.parse()?),
            first: Order(first.parse()?),
        },
        ["rejected"] => AppendOutcome::Rejected { current: None },
        ["rejected", current] => AppendOutcome::Rejected { current: Some(Order(current.parse()?)) },
        ["unavailable"] => AppendOutcome::Unavailable,
        ["unknown"] => AppendOutcome::Unknown,
        _ => bail!("what is {line:?}?"),
    })
}

/// What a reply to a read says.
pub fn read_reply(line: &str) -> anyhow::Result<ReadOutcome> {
    let words: Vec<&str> = line.split_whitespace().collect();
    Ok(match words[..] {
        ["events", more, ref events @ ..] => ReadOutcome::Events {
            events: events.iter().map(|event| read_event(event)).collect::<anyhow::Result<_>>()?,
            more: more == "more",
        },
        ["none"] => ReadOutcome::NoSuchAggregate,
        ["unavailable"] => ReadOutcome::Unavailable,
        _ => bail!("what is {line:?}?"),
    })
}

fn read_event(text: &str) -> anyhow::Result<Event> {
    let parts: Vec<&str> = text.split(':').collect();
    let [order, partition, offset, time, kind, value] = parts[..] else { bail!("what is {text:?}?") };
    Ok(Event {
        order: Order(order.parse()?),
        partition: Partition(partition.parse()?),
        offset: Offset(offset.parse()?),
        timestamp_ms: if time == "-" { None } else { Some(time.parse()?) },
        value: from_hex(value)?,
        tombstone: kind == "t",
    })
}

fn to_hex(bytes: &[u8]) -> String {
    bytes.iter().fold(String::with_capacity(2 * bytes.len()), |mut text, byte| {
        write!(text, "{byte:02x}").expect("writing to a string cannot fail");
        text
    })
}

fn from_hex(text: &str) -> anyhow::Result<Bytes> {
    let pairs = (0..text.len()).step_by(2).map(|place| text.get(place..place + 2).context("pairs of digits"));
    let bytes = pairs.map(|pair| Ok(u8::from_str_radix(pair?, 16)?));
    Ok(Bytes::from(bytes.collect::<anyhow::Result<Vec<u8>>>()?))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn replies_are_read_as_they_are_written() {
        assert_eq!(from_hex(&to_hex(b"\x00a\xff")).expect("it is hex"), &b"\x00a\xff"[..]);
        let told =
            AppendOutcome::Acknowledged { partition: Partition(2), offset: Offset(70), first: Order(3) };
        assert_eq!(append_reply("ok 2 70 3\n").expect("it is a reply"), told);
        let rejected = AppendOutcome::Rejected { current: Some(Order(4)) };
        assert_eq!(append_reply("rejected 4\n").expect("it is a reply"), rejected);
        append_reply("fine\n").expect_err("it is no reply");
        let stored = bkes_storage_event();
        let events = bkes_engine::Events { events: vec![stored], more: true, ..Default::default() };
        let ReadOutcome::Events { events, more } = read_reply(&shown(&events)).expect("it is a reply") else {
            panic!("there are events")
        };
        assert!(more);
        assert_eq!(events[0].to_string(), "order 5 (1/9) \"value\"");
        assert_eq!(events[0].timestamp_ms, Some(-1));
    }

    fn bkes_storage_event() -> bkes_engine::StoredEvent {
        bkes_engine::StoredEvent {
            order: Order(5),
            partition: Partition(1),
            offset: Offset(9),
            timestamp: Some(TimestampMs(-1)),
            value: Bytes::from_static(b"value"),
            tombstone: false,
            stamp: None,
            headers: Vec::new(),
        }
    }
}
