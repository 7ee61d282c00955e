//! Appends on one stream of the second contract, against callers of the first one that each wait for their answer, and against the
//! embedded engine.

use crate::process::Server;
use crate::report::{Section, Table, rounds};
use crate::second_contract::stream_loop;
use crate::settings::Settings;
use crate::sides::{Embedded, Keeps, PARTITIONS, Work, engine_loop, grpc_loop, topic};
use crate::targets::Verdict;

/// Appends in flight, fewest first. A server takes no more of one stream.
const IN_FLIGHT: [usize; 3] = [64, 256, 1_024];

/// Those that are judged.
const JUDGED: usize = 256;

/// Callers of the first contract.
const CALLERS: usize = 64;

const FIGURES: [&str; 10] = [
    "in flight",
    "appends/s",
    "64 callers/s",
    "ratio",
    "embedded engine/s",
    "ratio to the engine",
    "p50 ms",
    "p99 ms",
    "server CPU s per 100,000",
    "refused as overloaded, %",
];

/// The comparison at rising numbers in flight.
pub async fn measure(settings: &Settings) -> anyhow::Result<Section> {
    let (ours, embedded) = (topic(settings, PARTITIONS).await?, topic(settings, PARTITIONS).await?);
    let data = tempfile::tempdir()?;
    let command = Server::command(settings.server()?, data.path(), settings.brokers()?, &ours);
    let server = Server::start(command)?;
    let embedded = Embedded::start(settings, &embedded, Keeps::Disk).await?;
    let title = "Appends on one stream, against 64 callers of the first contract and against as many callers of the embedded engine, 200 bytes";
    let mut table = Table::new(title, &FIGURES);
    let mut section = Section::default();
    for in_flight in IN_FLIGHT {
        if (settings.quick && in_flight != JUDGED) || !settings.wants_callers(in_flight) {
            continue;
        }
        let all = rounds(settings, async |span| {
            let unary = grpc_loop(&server.address, Work::appends(CALLERS, span)).await?;
            let before = server.cpu_seconds();
            let mine = stream_loop(&server.address, in_flight, span).await?;
            let cpu = server.cpu_per_100_000(before, mine.answered);
            let engine = engine_loop(&embedded.handle(), Work::appends(in_flight, span)).await?;
            let (refused, mine) = (mine.refused_percent(), mine.appends);
            let (unary, engine) = (unary.appends.rate, engine.appends.rate);
            Ok([mine.rate, unary, engine, mine.p50_ms(), mine.p99_ms(), cpu, refused])
        });
        let [rates, unary, engine, p50, p99, cpu, refused] = all.await?;
        let (to_unary, to_engine) = (rates.ratio(&unary), rates.ratio(&engine));
        if in_flight == JUDGED {
            section.verdicts.push(Verdict::new("stream-unary", "", to_unary.median()));
            section.verdicts.push(Verdict::new("stream-engine", "", to_engine.median()));
        }
        table.rows.push(vec![
            in_flight.to_string(),
            rates.show(0),
            unary.show(0),
            to_unary.show(2),
            engine.show(0),
            to_engine.show(2),
            p50.show(3),
            p99.show(3),
            cpu.show(1),
            refused.show(0),
        ]);
    }
    section.tables.push(table);
    embedded.stop().await?;
    server.stop()?;
    Ok(section)
}
