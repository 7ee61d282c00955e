//! Two builds of the server against each other, taking turns in one run.

use crate::parts::grpc::loop_with_cpu;
use crate::parts::rebuild::{filled, rebuild_once};
use crate::process::Server;
use crate::report::{Rounds, Section, Table, rounds};
use crate::settings::Settings;
use crate::sides::{PARTITIONS, Work, callers_in_words, fill_topic, read_loop, topic};
use anyhow::Context;
use std::path::Path;
use tokio::task::block_in_place;

const CALLERS: [usize; 4] = [1, 16, 64, 256];

/// Figures of both: rate, p50, p99, CPU.
type Figures = [Rounds; 8];

/// Appends, reads and a rebuild.
pub async fn measure(settings: &Settings) -> anyhow::Result<Section> {
    let other =
        settings.baseline_server.as_deref().context("--baseline-server is missing: `--baseline REV`")?;
    let columns = ["work", "a second", "baseline, a second", "ratio", "p50 ratio", "p99 ratio", "CPU ratio"];
    let mut table = Table::new("This build against the baseline", &columns);
    let (data, topics) = ([tempfile::tempdir()?, tempfile::tempdir()?], {
        let (ours, theirs) = (topic(settings, PARTITIONS).await?, topic(settings, PARTITIONS).await?);
        [ours, theirs]
    });
    block_in_place(|| topics.iter().try_for_each(|topic| fill_topic(settings, topic, &[10])))?;
    let start = |program: &Path, side: usize| {
        Server::start(Server::command(program, data[side].path(), settings.brokers()?, &topics[side]))
    };
    let (mine, theirs) = (start(settings.server()?, 0)?, start(other, 1)?);
    for callers in settings.callers(&CALLERS) {
        let all: Figures = rounds(settings, async |span| {
            let (before, before_cpu) = loop_with_cpu(&theirs, Work::appends(callers, span)).await?;
            let (after, cpu) = loop_with_cpu(&mine, Work::appends(callers, span)).await?;
            let (a, b) = (after.appends, before.appends);
            Ok([a.rate, b.rate, a.p50_ms(), b.p50_ms(), a.p99_ms(), b.p99_ms(), cpu, before_cpu])
        })
        .await?;
        table.rows.push(row(format!("append, {}", callers_in_words(callers)), &all));
    }
    for callers in [1, 64] {
        let all: Figures = rounds(settings, async |span| {
            let (since, since_mine) = (theirs.cpu_seconds(), mine.cpu_seconds());
            let before = read_loop(&theirs.address, callers, span, 10).await?;
            let before_cpu = theirs.cpu_per_100_000(since, before.answered);
            let after = read_loop(&mine.address, callers, span, 10).await?;
            let cpu = mine.cpu_per_100_000(since_mine, after.answered);
            let (a, b) = (after.reads, before.reads);
            Ok([a.rate, b.rate, a.p50_ms(), b.p50_ms(), a.p99_ms(), b.p99_ms(), cpu, before_cpu])
        })
        .await?;
        table.rows.push(row(format!("read of 10 events, {}", callers_in_words(callers)), &all));
    }
    table.rows.push(vec![
        "peak MB".into(),
        format!("{:.0}", mine.peak_mb()),
        format!("{:.0}", theirs.peak_mb()),
        format!("{:.2}", mine.peak_mb() / theirs.peak_mb()),
        String::new(),
        String::new(),
        String::new(),
    ]);
    mine.stop()?;
    theirs.stop()?;
    table.rows.push(rebuilds(settings, other).await?);
    Ok(Section { tables: vec![table], ..Section::default() })
}

fn row(work: String, figures: &Figures) -> Vec<String> {
    let [rate, before, p50, before_p50, p99, before_p99, cpu, before_cpu] = figures;
    vec![
        work,
        rate.show(0),
        before.show(0),
        rate.ratio(before).show(2),
        p50.ratio(before_p50).show(2),
        p99.ratio(before_p99).show(2),
        cpu.ratio(before_cpu).show(2),
    ]
}

async fn rebuilds(settings: &Settings, other: &Path) -> anyhow::Result<Vec<String>> {
    let records = settings.records()[0];
    let topic = filled(settings, records).await?;
    let mut all: [Rounds; 6] = Default::default();
    for _ in 0..settings.rounds() {
        let [before, before_cpu, before_mb] = rebuild_once(settings, other, &topic, records)?;
        let [rate, cpu, mb] = rebuild_once(settings, settings.server()?, &topic, records)?;
        let values = [rate, before, cpu, before_cpu, mb, before_mb];
        all.iter_mut().zip(values).for_each(|(rounds, value)| rounds.0.push(value));
    }
    let [rate, before, cpu, before_cpu, mb, before_mb] = all;
    Ok(vec![
        format!("rebuild of {records} records (peak memory ratio {})", mb.ratio(&before_mb).show(2)),
        rate.show(0),
        before.show(0),
        rate.ratio(&before).show(2),
        String::new(),
        String::new(),
        cpu.ratio(&before_cpu).show(2),
    ])
}
