//! Appends among four times as many reads: through gRPC against the relay, and what a store that commits adds to an append.

use crate::parts::grpc::loop_with_cpu;
use crate::process::Server;
use crate::report::{Section, Table, rounds};
use crate::settings::Settings;
use crate::sides::{Embedded, Keeps, PARTITIONS, Work, engine_loop, fill_engine, fill_topic, relay, topic};
use crate::targets::Verdict;
use tokio::task::block_in_place;

const READS_OF_TEN: u64 = 8;

/// Both comparisons.
pub async fn measure(settings: &Settings) -> anyhow::Result<Section> {
    let (with_store, verdict) = with_store(settings).await?;
    let tables = vec![through_grpc(settings).await?, with_store];
    Ok(Section { tables, verdicts: vec![verdict], ..Section::default() })
}

async fn through_grpc(settings: &Settings) -> anyhow::Result<Table> {
    let columns = [
        "callers",
        "calls/s",
        "relay/s",
        "ratio",
        "append p50 ratio",
        "append p99 ratio",
        "read p50 ratio",
        "server CPU s per 100,000",
        "CPU ratio",
    ];
    let title =
        "80 % reads of 10 events, 20 % appends, through gRPC, against a relay that echoes and produces";
    let mut table = Table::new(title, &columns);
    let (ours, theirs) = (topic(settings, PARTITIONS).await?, topic(settings, PARTITIONS).await?);
    block_in_place(|| fill_topic(settings, &ours, &[10]))?;
    let data = tempfile::tempdir()?;
    let server = Server::start(Server::command(settings.server()?, data.path(), settings.brokers()?, &ours))?;
    let relay = relay(settings, &theirs)?;
    for callers in [16, 64] {
        let all = rounds(settings, async |span| {
            let work = Work { reads_of_ten: READS_OF_TEN, ..Work::appends(callers, span) };
            let (limit, relay_cpu) = loop_with_cpu(&relay, work).await?;
            let (mine, cpu) = loop_with_cpu(&server, work).await?;
            Ok([
                mine.appends.rate + mine.reads.rate,
                limit.appends.rate + limit.reads.rate,
                mine.appends.p50_ms() / limit.appends.p50_ms(),
                mine.appends.p99_ms() / limit.appends.p99_ms(),
                mine.reads.p50_ms() / limit.reads.p50_ms(),
                cpu,
                relay_cpu,
            ])
        });
        let [rates, reference, p50, p99, read_p50, cpu, relay_cpu] = all.await?;
        table.rows.push(vec![
            callers.to_string(),
            rates.show(0),
            reference.show(0),
            rates.ratio(&reference).show(2),
            p50.show(2),
            p99.show(2),
            read_p50.show(2),
            cpu.show(1),
            cpu.ratio(&relay_cpu).show(2),
        ]);
    }
    server.stop()?;
    Ok(table)
}

async fn with_store(settings: &Settings) -> anyhow::Result<(Table, Verdict)> {
    let title = "The same mix by 64 callers on the embedded engine: a store on disk against one in memory";
    let columns = ["store", "calls/s", "append p50 ms", "append p99 ms", "append p99.9 ms"];
    let mut table = Table::new(title, &columns);
    let disk = Embedded::start(settings, &topic(settings, PARTITIONS).await?, Keeps::Disk).await?;
    let memory = Embedded::start(settings, &topic(settings, PARTITIONS).await?, Keeps::Memory).await?;
    for side in [&disk, &memory] {
        fill_engine(&side.handle()).await?;
    }
    let all = rounds(settings, async |span| {
        let mut found = [0.0; 8];
        for (figures, side) in found.chunks_mut(4).zip([&memory, &disk]) {
            let work = Work { reads_of_ten: READS_OF_TEN, ..Work::appends(64, span) };
            let mix = engine_loop(&side.handle(), work).await?;
            let [p50, _, p99, p999] = mix.appends.within_ms;
            figures.copy_from_slice(&[mix.appends.rate + mix.reads.rate, p50, p99, p999]);
        }
        Ok(found)
    });
    let all = all.await?;
    let (without, with) = all.split_at(4);
    for (name, figures) in [("on disk", with), ("in memory", without)] {
        let mut row = vec![name.to_owned()];
        row.extend(figures.iter().zip([0, 3, 3, 3]).map(|(rounds, decimals)| rounds.show(decimals)));
        table.rows.push(row);
    }
    let ratios: Vec<_> = with.iter().zip(without).map(|(with, without)| with.ratio(without)).collect();
    table
        .rows
        .push(std::iter::once("ratio".into()).chain(ratios.iter().map(|ratio| ratio.show(2))).collect());
    disk.stop().await?;
    memory.stop().await?;
    Ok((table, Verdict::new("mixed-p99", "64 callers", ratios[2].median())))
}
