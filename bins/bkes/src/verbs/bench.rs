//! `bkes bench`: closed loops of callers against a server.
//!
//! Every run has keys of its own, below a prefix and a name that is drawn: it meets no key that another run, or anybody else, made. Each
//! caller has its own keys among them and calls again as soon as it is answered, so that there are never conflicts of its own making.

mod caller;
mod latencies;
mod shown;

use self::caller::{Caller, Deed, Plan, Tally};
use crate::byte_argument::ByteArgument;
use crate::console::Console;
use crate::exit::{Code, Ended};
use crate::limits::{BENCH_CALLERS_MAX, BENCH_KEYS_MAX, BENCH_STREAM_MAX, VALUE_BYTES_MAX};
use crate::show::ShapeArgs;
use bkes_api::EventStore;
use std::sync::Arc;
use std::time::{Duration, Instant};
use tokio::task::JoinSet;

const EXAMPLES: &str = "Examples:
  bkes bench --yes
  bkes bench --reads --callers 64 --time 30s --yes
  bkes bench --mixed --value-bytes 1000 --keys 10000 --prefix load-test- --yes -o json
  bkes bench --stream 100 --callers 4 --yes

It appends to the topic, for good: a topic has no way back. So it asks, on a terminal, unless --yes is given. Its keys begin with \
the prefix and a name that is drawn for this run; it touches no others. Reads are of aggregates of 10 events that it has appended \
before. The times are those of the calls as a caller sees them, with every try of the client.

Ends with code 5 if not a single call was answered as it should be.";

/// Measure a server: closed loops of callers that append and read. Appends to the topic
#[derive(Clone, Debug, clap::Args)]
#[command(after_help = EXAMPLES, group = clap::ArgGroup::new("load"))]
pub struct BenchArgs {
    /// Each call appends an event; this is what is done if nothing else is asked for
    #[arg(long, group = "load")]
    pub appends: bool,

    /// Each call reads an aggregate of 10 events
    #[arg(long, group = "load")]
    pub reads: bool,

    /// Every other call reads, the others append
    #[arg(long, group = "load")]
    pub mixed: bool,

    /// Each caller appends over a stream with so many appends in flight
    #[arg(long, value_name = "IN_FLIGHT", group = "load", value_parser = clap::value_parser!(u32).range(1..=i64::from(BENCH_STREAM_MAX)))]
    pub stream: Option<u32>,

    /// Callers at once
    #[arg(long, value_name = "COUNT", default_value_t = 16, value_parser = clap::value_parser!(u32).range(1..=i64::from(BENCH_CALLERS_MAX)))]
    pub callers: u32,

    /// Bytes of each value
    #[arg(long, value_name = "BYTES", default_value_t = 200, value_parser = clap::value_parser!(u64).range(0..=VALUE_BYTES_MAX))]
    pub value_bytes: u64,

    /// Aggregates; at least one for each caller, and on a stream one for each append in flight
    #[arg(long, value_name = "COUNT", default_value_t = 1_000, value_parser = clap::value_parser!(u32).range(1..=i64::from(BENCH_KEYS_MAX)))]
    pub keys: u32,

    /// How long: 500ms, 10s, 2m
    #[arg(long, value_name = "DURATION", default_value = "10s", value_parser = crate::duration::parse)]
    pub time: Duration,

    /// What its keys begin with
    #[arg(long, value_name = "PREFIX", default_value = "bkes-bench-")]
    pub prefix: ByteArgument,

    /// Append to the topic without asking
    #[arg(short, long)]
    pub yes: bool,

    /// How to show it.
    #[command(flatten)]
    pub shape: ShapeArgs,
}

impl BenchArgs {
    fn deed(&self) -> Deed {
        match self.stream {
            Some(in_flight) => Deed::Stream { in_flight: in_flight as usize },
            None if self.reads => Deed::Reads,
            None if self.mixed => Deed::Mixed,
            None => Deed::Appends,
        }
    }
}

/// Measures, and shows what came of it.
pub async fn run(
    args: &BenchArgs,
    store: &Arc<dyn EventStore>,
    console: &mut Console<'_>,
) -> Result<(), Ended> {
    let prefix = console.bytes(&args.prefix)?;
    let deed = args.deed();
    let each = if let Deed::Stream { in_flight } = deed { in_flight } else { 1 };
    let needed = args.callers as usize * each;
    if (args.keys as usize) < needed {
        let callers = args.callers;
        return Err(Ended::usage(format_args!(
            "{callers} callers with {each} calls in flight each need {needed} keys at least: --keys {needed}"
        )));
    }
    // Whether it is there, and which topic it is that is appended to.
    let status = store.status().await?;
    consent(args, &status.topic, &status.cluster, console)?;
    let plan = Plan { deed, value: vec![b'x'; args.value_bytes as usize].into() };
    let callers = callers(args, &prefix, store, &plan)?;
    let callers = prepared(callers).await?;
    let (tally, time) = measured(callers, args.time).await;
    shown::show(&tally, time, args, console)?;
    console.flush()?;
    match tally.answered() {
        0 => Err(Ended::new(Code::Unavailable, "no call was answered as it should be")),
        _ => Ok(()),
    }
}

/// Asks whoever sits there.
fn consent(args: &BenchArgs, topic: &str, cluster: &str, console: &mut Console<'_>) -> Result<(), Ended> {
    let warning = format!("this appends to topic {topic} of cluster {cluster}, for good");
    if args.yes {
        console.say(format_args!("bkes: {warning}"));
        return Ok(());
    }
    if !console.looks.talk_is_terminal || !console.looks.input_is_terminal {
        return Err(Ended::usage(format_args!("{warning}: say --yes")));
    }
    console.say(format_args!("bkes: {warning}. Go on? Write yes:"));
    let mut line = String::new();
    let read = console.take_input()?.read_line(&mut line);
    read.map_err(|error| Ended::new(Code::InputOutput, format_args!("standard input: {error}")))?;
    match line.trim() {
        "yes" | "y" => Ok(()),
        _ => Err(Ended::usage("nothing was appended")),
    }
}

/// Callers, each with its own keys.
fn callers(
    args: &BenchArgs,
    prefix: &[u8],
    store: &Arc<dyn EventStore>,
    plan: &Plan,
) -> Result<Vec<Caller>, Ended> {
    let run = getrandom::u64()
        .map_err(|error| Ended::new(Code::InputOutput, format_args!("no random numbers: {error}")))?;
    let mut callers: Vec<Caller> =
        (0..args.callers).map(|_| Caller::new(Arc::clone(store), plan.clone())).collect();
    for number in 0..args.keys {
        let name = [prefix, format!("{run:016x}-{number}").as_bytes()].concat();
        let key = bkes_api::Key::new(name).expect("the name of a run has bytes");
        callers[(number % args.callers) as usize].own(key);
    }
    Ok(callers)
}

/// Has what reads need appended.
async fn prepared(callers: Vec<Caller>) -> Result<Vec<Caller>, Ended> {
    let mut preparing = JoinSet::new();
    for mut caller in callers {
        preparing.spawn(async move { caller.prepare().await.map(|()| caller) });
    }
    let mut ready = Vec::new();
    while let Some(prepared) = preparing.join_next().await {
        ready.push(prepared.expect("a caller does not panic").map_err(|failure| {
            let failure = bkes_api::Failure::new(failure.reason(), failure.to_string());
            Ended::of_append(&failure)
        })?);
    }
    Ok(ready)
}

/// Runs them side by side; what they came to, and how long it took.
async fn measured(callers: Vec<Caller>, time: Duration) -> (Tally, Duration) {
    let began = Instant::now();
    let until = tokio::time::Instant::now() + time;
    let mut running = JoinSet::new();
    for caller in callers {
        running.spawn(caller.run(until));
    }
    let mut tally = Tally::default();
    while let Some(one) = running.join_next().await {
        tally.add(one.expect("a caller does not panic"));
    }
    (tally, began.elapsed())
}
