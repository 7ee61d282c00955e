//! Reads by the second contract: pages against a bare echo of the same stream, heads against reads of one event, and one long aggregate
//! read to its end.

use crate::parts::grpc::CACHE_MB;
use crate::parts::reads::EVENTS;
use crate::process::Server;
use crate::report::{Rounds, Section, Table, rounds};
use crate::second_contract::{head_loop, pages_loop, read_to_end};
use crate::settings::Settings;
use crate::sides::{
    PARTITIONS, VALUE_BYTES, Work, callers_in_words, channels, fill_key, fill_topic, grpc_loop, read_loop,
    relay, topic,
};
use crate::targets::Verdict;
use bkes_wire::v2::event_store_client::EventStoreClient;
use std::time::{Duration, Instant};
use tokio::task::block_in_place;

/// Callers, fewest first.
const CALLERS: [usize; 3] = [1, 16, 64];

/// The aggregate that is read to its end.
const LONG: &str = "long";

/// Pages, heads, and the long one.
pub async fn measure(settings: &Settings) -> anyhow::Result<Section> {
    let mut section = Section::default();
    let ours = topic(settings, PARTITIONS).await?;
    block_in_place(|| fill_topic(settings, &ours, &EVENTS))?;
    let data = tempfile::tempdir()?;
    let server = Server::start(Server::command(settings.server()?, data.path(), settings.brokers()?, &ours))?;
    let relay = relay(settings, &ours)?;
    // What was caught up a moment ago may still lie in the overlay: an append makes the store commit all before it.
    grpc_loop(&server.address, Work::appends(1, Duration::from_millis(300))).await?;
    section.tables.push(pages(settings, &server, &relay, &mut section.verdicts).await?);
    section.tables.push(heads(settings, &server, &mut section.verdicts).await?);
    server.stop()?;
    section.tables.push(long(settings, &mut section.verdicts).await?);
    Ok(section)
}

async fn pages(
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
        "server CPU s per 100,000",
        "CPU ratio",
    ];
    let title = format!(
        "Reads by the second contract against a bare echo of the same stream, {VALUE_BYTES} bytes an event, warm"
    );
    let mut table = Table::new(title, &columns);
    for events in EVENTS {
        for callers in CALLERS {
            let is_shown = !settings.quick || callers == 16;
            if !is_shown || !settings.wants_callers(callers) || !settings.wants_events(events) {
                continue;
            }
            let all = rounds(settings, async |span| {
                let before = relay.cpu_seconds();
                let echo = pages_loop(&relay.address, callers, span, events).await?;
                let echo_cpu = relay.cpu_per_100_000(before, echo.answered);
                let before = server.cpu_seconds();
                let mine = pages_loop(&server.address, callers, span, events).await?;
                let cpu = server.cpu_per_100_000(before, mine.answered);
                let (mine, echo) = (mine.reads, echo.reads);
                Ok([mine.rate, echo.rate, mine.p50_ms(), echo.p50_ms(), cpu, echo_cpu])
            });
            let [rates, echo, p50, echo_p50, cpu, echo_cpu] = all.await?;
            let ratio = rates.ratio(&echo);
            if events == 1_000 {
                verdicts.push(Verdict::new("read2-rate", callers_in_words(callers), ratio.median()));
            }
            table.rows.push(vec![
                events.to_string(),
                callers.to_string(),
                rates.show(0),
                echo.show(0),
                ratio.show(2),
                p50.show(3),
                p50.ratio(&echo_p50).show(2),
                cpu.show(1),
                cpu.ratio(&echo_cpu).show(2),
            ]);
        }
    }
    Ok(table)
}

async fn heads(settings: &Settings, server: &Server, verdicts: &mut Vec<Verdict>) -> anyhow::Result<Table> {
    let columns = [
        "callers",
        "heads/s",
        "reads of one event/s, first contract",
        "ratio",
        "second contract/s",
        "ratio",
        "p50 ms",
        "CPU ratio to the first contract",
    ];
    let mut table = Table::new("Heads against reads of one event", &columns);
    for callers in CALLERS {
        if (settings.quick && callers != 16) || !settings.wants_callers(callers) {
            continue;
        }
        let all = rounds(settings, async |span| {
            let before = server.cpu_seconds();
            let first = read_loop(&server.address, callers, span, 1).await?;
            let first_cpu = server.cpu_per_100_000(before, first.answered);
            let second = pages_loop(&server.address, callers, span, 1).await?;
            let before = server.cpu_seconds();
            let heads = head_loop(&server.address, callers, span).await?;
            let cpu = server.cpu_per_100_000(before, heads.answered);
            let heads = heads.reads;
            Ok([heads.rate, first.reads.rate, second.reads.rate, heads.p50_ms(), cpu, first_cpu])
        });
        let [rates, first, second, p50, cpu, first_cpu] = all.await?;
        let ratio = rates.ratio(&first);
        verdicts.push(Verdict::new("head-rate", callers_in_words(callers), ratio.median()));
        table.rows.push(vec![
            callers.to_string(),
            rates.show(0),
            first.show(0),
            ratio.show(2),
            second.show(0),
            rates.ratio(&second).show(2),
            p50.show(3),
            cpu.ratio(&first_cpu).show(2),
        ]);
    }
    Ok(table)
}

/// One aggregate of many events, read to its end by a server that has done nothing else since it was started.
async fn long(settings: &Settings, verdicts: &mut Vec<Verdict>) -> anyhow::Result<Table> {
    let events = settings.long();
    let ours = topic(settings, PARTITIONS).await?;
    block_in_place(|| fill_key(settings, &ours, LONG, events))?;
    let data = tempfile::tempdir()?;
    let start =
        || Server::start(Server::command(settings.server()?, data.path(), settings.brokers()?, &ours));
    // It reads the topic: its peak is that of a rebuild.
    start()?.stop()?;
    let mut all: [Rounds; 3] = Default::default();
    for _ in 0..settings.long_rounds() {
        let server = start()?;
        let before_mb = server.peak_mb();
        let client = EventStoreClient::new(channels(&server.address, 1).await?.remove(0));
        let began = Instant::now();
        read_to_end(client, LONG.into(), events).await?;
        let rate = events as f64 / began.elapsed().as_secs_f64();
        let values = [rate, before_mb, server.peak_mb()];
        all.iter_mut().zip(values).for_each(|(rounds, value)| rounds.0.push(value));
        server.stop()?;
    }
    let [rate, before_mb, peak_mb] = all;
    let beyond = peak_mb.median() - CACHE_MB;
    verdicts.push(Verdict::new("read2-rss", format!("{events} events"), beyond));
    let title = "A long aggregate read to its end, by a server that was just started, cache setting 64 MiB";
    let columns = ["events", "events/s", "peak MB before", "peak MB", "peak MB beyond the cache setting"];
    let mut table = Table::new(title, &columns);
    table.rows.push(vec![
        events.to_string(),
        rate.show(0),
        before_mb.show(0),
        peak_mb.show(0),
        format!("{beyond:.0}"),
    ]);
    Ok(table)
}
