//! Reads through gRPC against a bare echo of the same reply, warm; and the first reads after a start, cold.

use crate::process::{Server, forget_files};
use crate::report::{Rounds, Section, Table, rounds};
use crate::settings::Settings;
use crate::sides::{
    PARTITIONS, VALUE_BYTES, Work, channels, fill_topic, grpc_loop, read, read_key, read_keys, read_loop,
    relay, topic,
};
use crate::targets::Verdict;
use bkes_grpc::api::bkes_client::BkesClient;
use std::time::{Duration, Instant};
use tokio::task::block_in_place;

/// Events of an aggregate that is read.
pub const EVENTS: [usize; 3] = [1, 10, 1_000];

/// Warm and cold.
pub async fn measure(settings: &Settings) -> anyhow::Result<Section> {
    let mut section = Section::default();
    let ours = topic(settings, PARTITIONS).await?;
    block_in_place(|| fill_topic(settings, &ours, &EVENTS))?;
    let data = tempfile::tempdir()?;
    let command = || anyhow::Ok(Server::command(settings.server()?, data.path(), settings.brokers()?, &ours));
    let server = Server::start(command()?)?;
    let relay = relay(settings, &ours)?;
    // What was caught up a moment ago may still lie in the overlay: an append makes the store commit all before it.
    grpc_loop(&server.address, Work::appends(1, Duration::from_millis(300))).await?;
    section.tables.push(warm(settings, &server, &relay, &mut section.verdicts).await?);
    server.stop()?;
    section.tables.push(cold(settings, command).await?);
    Ok(section)
}

async fn warm(
    settings: &Settings,
    server: &Server,
    relay: &Server,
    verdicts: &mut Vec<Verdict>,
) -> anyhow::Result<Table> {
    let columns = [
        "events",
        "callers",
        "reads/s",
        "echo/s",
        "ratio",
        "p50 ms",
        "p50 ratio",
        "p99 ratio",
        "server CPU s per 100,000",
        "CPU ratio",
        "peak MB",
    ];
    let title = format!(
        "Reads through gRPC against a bare echo of the same reply, {VALUE_BYTES} bytes an event, warm"
    );
    let mut table = Table::new(title, &columns);
    for events in EVENTS {
        for callers in [1, 16, 64] {
            let shown = !settings.quick || events == 10 || callers == 16;
            if !shown || !settings.wants_callers(callers) || !settings.wants_events(events) {
                continue;
            }
            let all = rounds(settings, async |span| {
                let before = relay.cpu_seconds();
                let echo = read_loop(&relay.address, callers, span, events).await?;
                let echo_cpu = relay.cpu_per_100_000(before, echo.answered);
                let before = server.cpu_seconds();
                let mine = read_loop(&server.address, callers, span, events).await?;
                let cpu = server.cpu_per_100_000(before, mine.answered);
                let (mine, echo) = (mine.reads, echo.reads);
                let (p50, p99) = (mine.p50_ms() / echo.p50_ms(), mine.p99_ms() / echo.p99_ms());
                Ok([mine.rate, echo.rate, mine.p50_ms(), p50, p99, cpu, echo_cpu])
            });
            let [rates, echo, p50, p50_ratio, p99_ratio, cpu, echo_cpu] = all.await?;
            let ratio = rates.ratio(&echo);
            match (events, callers) {
                (10, 1) => verdicts.push(Verdict::new("read-p50", "1 caller", p50_ratio.median())),
                (10, _) => {
                    verdicts.push(Verdict::new("read-rate", format!("{callers} callers"), ratio.median()))
                }
                _ => {}
            }
            table.rows.push(vec![
                events.to_string(),
                callers.to_string(),
                rates.show(0),
                echo.show(0),
                ratio.show(2),
                p50.show(3),
                p50_ratio.show(2),
                p99_ratio.show(2),
                cpu.show(1),
                cpu.ratio(&echo_cpu).show(2),
                format!("{:.0}", server.peak_mb()),
            ]);
        }
    }
    Ok(table)
}

async fn cold(
    settings: &Settings,
    command: impl Fn() -> anyhow::Result<std::process::Command>,
) -> anyhow::Result<Table> {
    let allowed = forget_files();
    let how = if allowed {
        "the system's file cache emptied"
    } else {
        "the system's file cache kept (it may not be emptied here)"
    };
    let title = format!(
        "The first read of each of some aggregates after a restart, {how}, one caller, against the same reads again"
    );
    let mut table =
        Table::new(title, &["events", "cold p50 ms", "cold p99 ms", "again p50 ms", "cold against warm"]);
    for events in EVENTS {
        let mut all: [Rounds; 3] = Default::default();
        for _ in 0..settings.long_rounds() {
            forget_files();
            let server = Server::start(command()?)?;
            let cold = first_reads(&server.address, events).await?;
            let again = first_reads(&server.address, events).await?;
            server.stop()?;
            let values = [cold.0, cold.1, again.0];
            all.iter_mut().zip(values).for_each(|(rounds, value)| rounds.0.push(value));
        }
        let [p50, p99, again] = all;
        let ratio = p50.ratio(&again).show(2);
        table.rows.push(vec![events.to_string(), p50.show(3), p99.show(3), again.show(3), ratio]);
    }
    Ok(table)
}

/// Reads each of some keys once; p50 and p99 in milliseconds.
async fn first_reads(address: &str, events: usize) -> anyhow::Result<(f64, f64)> {
    let client = BkesClient::new(channels(address, 1).await?.remove(0));
    // A key that is not among the others pays for the connection.
    read(client.clone(), read_key(events, read_keys(events) - 1), events).await?;
    let mut times = Vec::new();
    for number in 0..read_keys(events) / 2 {
        let began = Instant::now();
        read(client.clone(), read_key(events, number), events).await?;
        times.push(began.elapsed().as_secs_f32());
    }
    let found = crate::load::Achieved::of(times, Duration::from_secs(1));
    Ok((found.p50_ms(), found.p99_ms()))
}
