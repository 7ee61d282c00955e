//! `bkes status`: what the server is, and whether it is ready.

use crate::console::Console;
use crate::escape;
use crate::exit::{Code, Ended, described};
use crate::json_writer::Object;
use crate::show::{Shape, ShapeArgs};
use bkes_api::{EventStore, PartitionState, PartitionStatus, Status};

const EXAMPLES: &str = "Examples:
  bkes status
  bkes status -o json | jq '.partitions[] | select(.lag > 0)'
  until bkes status >/dev/null 2>&1; do sleep 1; done

Ends with code 0 when the server is ready, and with 5 when it is not.";

/// Show what the server is and how it is; the exit code says whether it is ready
#[derive(Clone, Debug, clap::Args)]
#[command(after_help = EXAMPLES)]
pub struct StatusArgs {
    /// How to show it.
    #[command(flatten)]
    pub shape: ShapeArgs,
}

/// Asks, and shows.
pub async fn run(args: &StatusArgs, store: &dyn EventStore, console: &mut Console<'_>) -> Result<(), Ended> {
    let status = store.status().await?;
    let shown = match args.shape.on(console) {
        Shape::Table => table(&status, console),
        Shape::Json => {
            let mut line = json(&status);
            line.push(b'\n');
            console.write(&line)
        }
    };
    // Whether it is ready counts, whoever reads the rest.
    match shown.and_then(|()| console.flush()) {
        Ok(()) | Err(Ended::OutputClosed) => {}
        Err(error) => return Err(error),
    }
    match &status.unready {
        None => Ok(()),
        Some(failure) => {
            Err(Ended::new(Code::Unavailable, format_args!("not ready: {}", described(failure))))
        }
    }
}

/// A state in a word, and what to know of it.
fn state(partition: &PartitionStatus) -> (&'static str, Option<&str>) {
    match &partition.state {
        PartitionState::CatchingUp => ("catching up", None),
        PartitionState::Ready => ("ready", None),
        PartitionState::Stalled => ("stalled", None),
        PartitionState::Cut => ("cut", None),
        PartitionState::Degraded { reason } => ("degraded", Some(reason)),
    }
}

fn table(status: &Status, console: &mut Console<'_>) -> Result<(), Ended> {
    let ready = if status.unready.is_none() { "ready" } else { "not ready" };
    let (name, version) = (escape::text(&status.build.name), escape::text(&status.build.version));
    let (topic, id) = (escape::text(&status.topic), escape::text(status.topic_id.as_str()));
    console.line(format_args!("{name} {version}, {ready}"))?;
    console.line(format_args!("topic {topic} ({id}) of cluster {}", escape::text(&status.cluster)))?;
    console.line(format_args!("{} aggregates, {} bytes of store", status.keys, status.store_bytes))?;
    let (appended, conflicts, unknown) = (status.appended, status.conflicts, status.unknown);
    console.line(format_args!(
        "since its start {appended} appends stored, {conflicts} conflicts, {unknown} of unknown outcome"
    ))?;
    console.line("")?;
    let (applied, target) = ("APPLIED", "TARGET");
    console.line(format_args!(
        "{:>4} {:<12} {applied:>12} {target:>12} {:>10} {:>12}",
        "PART", "STATE", "LAG", "EVENTS"
    ))?;
    for partition in &status.partitions {
        let PartitionStatus { applied, target, lag, counters, .. } = partition;
        let (number, events) = (partition.partition, counters.events);
        let (state, why) = state(partition);
        let why = why.map_or(String::new(), |why| format!("  {}", escape::text(why)));
        console.line(format_args!(
            "{number:>4} {state:<12} {applied:>12} {target:>12} {lag:>10} {events:>12}{why}"
        ))?;
    }
    Ok(())
}

fn json(status: &Status) -> Vec<u8> {
    let mut line = Vec::new();
    let mut object = Object::begin(&mut line);
    object.plain("ready", status.unready.is_none());
    if let Some(failure) = &status.unready {
        object.text("reason", failure.reason.name());
        object.text("message", &failure.message);
    }
    object.text("name", &status.build.name);
    object.text("version", &status.build.version);
    object.text("cluster", &status.cluster);
    object.text("topic", &status.topic);
    object.text("topic_id", status.topic_id.as_str());
    object.plain("keys", status.keys);
    object.plain("store_bytes", status.store_bytes);
    object.plain("appended", status.appended);
    object.plain("conflicts", status.conflicts);
    object.plain("unknown", status.unknown);
    object.list_of("partitions", &status.partitions, json_of_partition);
    object.end();
    line
}

fn json_of_partition(object: &mut Object<'_>, partition: &PartitionStatus) {
    let PartitionStatus { applied, stored, target, high, lag, counters, .. } = partition;
    let (state, reason) = state(partition);
    object.plain("partition", partition.partition);
    object.text("state", &state.replace(' ', "_"));
    if let Some(reason) = reason {
        object.text("reason", reason);
    }
    object.plain("applied", applied);
    object.plain("stored", stored);
    object.plain("target", target);
    object.plain("high", high);
    object.plain("lag", lag);
    object.plain("events", counters.events);
    object.plain("void", counters.void);
    object.plain("foreign", counters.foreign);
    object.plain("forwarded", counters.forwarded);
    object.plain("split", counters.split);
    object.plain("skipped", counters.skipped);
}
