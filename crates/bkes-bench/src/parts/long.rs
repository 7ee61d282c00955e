//! One aggregate that grows long: what an append at its end and a read of its last page cost against one of ten events.

use crate::load::Achieved;
use crate::plot::{Line, Plot, Scale};
use crate::report::{Section, Table, rounds};
use crate::settings::Settings;
use crate::sides::{Embedded, Keeps, VALUE_BYTES, topic};
use crate::targets::Verdict;
use anyhow::Context;
use bkes_core::{Key, Order};
use bkes_engine::{AppendRequest, EngineHandle, Expected, ReadRequest};
use bytes::Bytes;
use std::time::{Duration, Instant};

/// Events of a page, and of a short aggregate.
const PAGE: u64 = 10;

/// Events of an append while the aggregate grows.
const GROWTH: u64 = 500;

/// An aggregate of a known length.
struct Aggregate {
    key: Key,
    events: u64,
}

impl Aggregate {
    fn new(name: String) -> anyhow::Result<Aggregate> {
        Ok(Aggregate { key: Key::new(name).context("a key")?, events: 0 })
    }

    async fn grow(&mut self, handle: &EngineHandle, count: u64) -> anyhow::Result<()> {
        let expected = if self.events == 0 { Expected::New } else { Expected::At(Order(self.events)) };
        let values = vec![Bytes::from(vec![b'x'; VALUE_BYTES]); count as usize];
        handle.append(AppendRequest::of_values(self.key.clone(), expected, values)).await?;
        self.events += count;
        Ok(())
    }

    async fn read_last_page(&self, handle: &EngineHandle) -> anyhow::Result<()> {
        let from = Order(self.events - PAGE);
        let found = handle.read(ReadRequest { from, ..ReadRequest::all(self.key.clone()) }).await?;
        anyhow::ensure!(found.events.len() as u64 == PAGE, "{} events", found.events.len());
        Ok(())
    }
}

/// Times of the long and of the short, taken in turns: an append each, or a read each.
#[derive(Default)]
struct Pairs {
    long: Vec<f32>,
    short: Vec<f32>,
}

impl Pairs {
    fn p50_us(self) -> [f64; 2] {
        [self.long, self.short].map(|times| Achieved::of(times, Duration::from_secs(1)).p50_ms() * 1e3)
    }
}

/// The costs at rising lengths.
pub async fn measure(settings: &Settings) -> anyhow::Result<Section> {
    let columns = [
        "events",
        "append p50 µs",
        "to one of 10, p50 µs",
        "ratio",
        "read of the last 10, p50 µs",
        "of one of 10, p50 µs",
        "ratio",
    ];
    let title = "Appends at the end of one growing aggregate, and reads of its last page, against one of 10 events, embedded engine";
    let mut table = Table::new(title, &columns);
    let mut section = Section::default();
    let names = ["append, long", "append, 10 events", "last page, long", "10 events"];
    let mut lines =
        names.map(|name| Line { name: name.into(), points: Vec::new(), is_reference: name.contains("10") });
    let embedded = Embedded::start(settings, &topic(settings, 1).await?, Keeps::Disk).await?;
    let handle = embedded.handle();
    let mut long = Aggregate::new("long".into())?;
    long.grow(&handle, PAGE).await?;
    for length in lengths(settings.long()) {
        while long.events < length {
            long.grow(&handle, (length - long.events).min(GROWTH)).await?;
        }
        let all = rounds(settings, async |span| {
            let appends = appends(&handle, &mut long, span).await?.p50_us();
            let reads = reads(&handle, &long, span).await?.p50_us();
            Ok([appends[0], appends[1], reads[0], reads[1]])
        });
        let [append, short_append, read, short_read] = all.await?;
        let (appends, reads) = (append.ratio(&short_append), read.ratio(&short_read));
        let medians = [&append, &short_append, &read, &short_read];
        for (line, rounds) in lines.iter_mut().zip(medians) {
            line.points.push((length as f64, rounds.median()));
        }
        if length == settings.long() {
            section.verdicts.push(Verdict::new("long-append", format!("{length} events"), appends.median()));
            section.verdicts.push(Verdict::new("long-read", format!("{length} events"), reads.median()));
        }
        table.rows.push(vec![
            length.to_string(),
            append.show(0),
            short_append.show(0),
            appends.show(2),
            read.show(1),
            short_read.show(1),
            reads.show(2),
        ]);
    }
    embedded.stop().await?;
    section.tables.push(table);
    section.plots.push(("bench-aggregate-length", over_length(lines.into())));
    Ok(section)
}

/// Lengths at which it is measured: the last, and tenths of it.
fn lengths(last: u64) -> Vec<u64> {
    [1_000, 100, 10, 1].map(|part| last / part).into_iter().filter(|length| *length >= PAGE * 2).collect()
}

/// An append to the long, and one as the tenth event of another: chains of ten, of which the last is timed.
async fn appends(handle: &EngineHandle, long: &mut Aggregate, span: Duration) -> anyhow::Result<Pairs> {
    let (mut pairs, began) = (Pairs::default(), Instant::now());
    while began.elapsed() < span {
        let mut short = Aggregate::new(format!("short-{:016x}", fastrand::u64(..)))?;
        short.grow(handle, PAGE - 1).await?;
        let start = Instant::now();
        short.grow(handle, 1).await?;
        pairs.short.push(start.elapsed().as_secs_f32());
        // Before each that is timed stands one that is not, so that both find the engine in the same state.
        long.grow(handle, PAGE - 1).await?;
        let start = Instant::now();
        long.grow(handle, 1).await?;
        pairs.long.push(start.elapsed().as_secs_f32());
    }
    Ok(pairs)
}

async fn reads(handle: &EngineHandle, long: &Aggregate, span: Duration) -> anyhow::Result<Pairs> {
    let mut short = Aggregate::new(format!("short-{:016x}", fastrand::u64(..)))?;
    short.grow(handle, PAGE).await?;
    // Both are to be read from the store, not from what it has not committed yet.
    tokio::time::sleep(Duration::from_millis(100)).await;
    let (mut pairs, began) = (Pairs::default(), Instant::now());
    while began.elapsed() < span / 2 {
        for (aggregate, times) in [(&short, &mut pairs.short), (long, &mut pairs.long)] {
            let start = Instant::now();
            aggregate.read_last_page(handle).await?;
            times.push(start.elapsed().as_secs_f32());
        }
    }
    Ok(pairs)
}

fn over_length(lines: Vec<Line>) -> Plot {
    Plot {
        title: "What an aggregate's length costs".into(),
        axes: ("events of the aggregate", "p50, microseconds"),
        across: (
            Scale::Factors,
            lines[0].points.iter().map(|point| (point.0, format!("{}", point.0))).collect(),
        ),
        up: Scale::Factors,
        lines,
    }
}
