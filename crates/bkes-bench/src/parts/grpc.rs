//! Appends through gRPC against a bare relay: a handler that produces the record, awaits its delivery and replies.

use crate::load::{Mix, SHARES};
use crate::parts::engine::{CALLERS, LARGER, over_callers};
use crate::plot::{Line, Plot, Scale};
use crate::process::Server;
use crate::report::{Rounds, Section, Table, rounds};
use crate::settings::Settings;
use crate::sides::{PARTITIONS, VALUE_BYTES, Work, callers_in_words, grpc_loop, relay, topic};
use crate::targets::Verdict;

/// The store's cache by default, in MB.
pub const CACHE_MB: f64 = 64.0 * 1.048_576;

/// Bytes and callers of the comparison with large values that counts.
const LARGE: (usize, usize) = (100_000, 16);

/// The two sides, each a process.
struct Sides {
    server: Server,
    relay: Server,
    _data: tempfile::TempDir,
}

/// A comparison at so many callers.
struct Compared {
    rates: Rounds,
    relay: Rounds,
    p50: Rounds,
    p50_ratio: Rounds,
    p99_ratio: Rounds,
    cpu: Rounds,
    relay_cpu: Rounds,
    refused: Rounds,
    /// The times of [`SHARES`], ours and the relay's.
    within: [Rounds; 8],
    peak_mb: f64,
}

/// One side's loop, with the seconds of processor time its process spent for 100,000 calls.
pub async fn loop_with_cpu(server: &Server, work: Work) -> anyhow::Result<(Mix, f64)> {
    let before = server.cpu_seconds();
    let mix = grpc_loop(&server.address, work).await?;
    let cpu = server.cpu_per_100_000(before, mix.answered);
    Ok((mix, cpu))
}

impl Sides {
    async fn new(settings: &Settings) -> anyhow::Result<Sides> {
        let (ours, theirs) = (topic(settings, PARTITIONS).await?, topic(settings, PARTITIONS).await?);
        let data = tempfile::tempdir()?;
        let command = Server::command(settings.server()?, data.path(), settings.brokers()?, &ours);
        Ok(Sides { server: Server::start(command)?, relay: relay(settings, &theirs)?, _data: data })
    }

    async fn compare(
        &self,
        settings: &Settings,
        callers: usize,
        value_bytes: usize,
    ) -> anyhow::Result<Compared> {
        let all = rounds(settings, async |span| {
            let work = Work { value_bytes, ..Work::appends(callers, span) };
            let (limit, relay_cpu) = loop_with_cpu(&self.relay, work).await?;
            let (mine, cpu) = loop_with_cpu(&self.server, work).await?;
            let refused = mine.refused_percent();
            let (mine, limit) = (mine.appends, limit.appends);
            let p99_ratio = mine.p99_ms() / limit.p99_ms();
            let [a, b, c, d] = mine.within_ms;
            let [e, f, g, h] = limit.within_ms;
            Ok([mine.rate, limit.rate, p99_ratio, cpu, relay_cpu, refused, a, b, c, d, e, f, g, h])
        });
        let [rates, relay, p99_ratio, cpu, relay_cpu, refused, within @ ..] = all.await?;
        Ok(Compared {
            rates,
            relay,
            p50: within[0].clone(),
            p50_ratio: within[0].ratio(&within[4]),
            p99_ratio,
            cpu,
            relay_cpu,
            refused,
            within,
            peak_mb: self.server.peak_mb(),
        })
    }
}

const FIGURES: [&str; 10] = [
    "appends/s",
    "relay/s",
    "ratio",
    "p50 ms",
    "p50 ratio",
    "p99 ratio",
    "server CPU s per 100,000",
    "CPU ratio",
    "peak MB",
    "refused as overloaded, %",
];

impl Compared {
    fn row(&self, first: Vec<String>) -> Vec<String> {
        let figures = [
            self.rates.show(0),
            self.relay.show(0),
            self.rates.ratio(&self.relay).show(2),
            self.p50.show(3),
            self.p50_ratio.show(2),
            self.p99_ratio.show(2),
            self.cpu.show(1),
            self.cpu.ratio(&self.relay_cpu).show(2),
            format!("{:.0}", self.peak_mb),
            self.refused.show(0),
        ];
        first.into_iter().chain(figures).collect()
    }

    fn verdicts(&self, callers: usize) -> Vec<Verdict> {
        let mut verdicts = Vec::new();
        let at = callers_in_words(callers);
        let mut say = |id, value| verdicts.push(Verdict::new(id, at.clone(), value));
        if callers <= 256 {
            say("grpc-rate", self.rates.ratio(&self.relay).median());
            say("grpc-cpu", self.cpu.ratio(&self.relay_cpu).median());
        }
        if [1, 64].contains(&callers) {
            say("grpc-p50", self.p50_ratio.median());
            say("grpc-p99", self.p99_ratio.median());
        }
        if callers == 64 {
            say("steady-rss", self.peak_mb - CACHE_MB);
        }
        verdicts
    }

    /// What must be reached with large values: callers that together ask for more than fits at once.
    fn verdicts_of_larger(&self, value_bytes: usize, callers: usize) -> Vec<Verdict> {
        if (value_bytes, callers) != LARGE {
            return Vec::new();
        }
        let at = callers_in_words(callers);
        let rate = self.rates.ratio(&self.relay).median();
        let cpu = self.cpu.ratio(&self.relay_cpu).median();
        [("grpc-large-rate", rate), ("grpc-large-cpu", cpu), ("grpc-large-refused", self.refused.median())]
            .map(|(id, value)| Verdict::new(id, at.clone(), value))
            .into()
    }
}

/// The comparison at rising numbers of callers, and with larger values.
pub async fn measure(settings: &Settings) -> anyhow::Result<Section> {
    let sides = Sides::new(settings).await?;
    let mut section = Section::default();
    let columns: Vec<_> = std::iter::once("callers").chain(FIGURES).collect();
    let mut table = Table::new("Appends through gRPC against a bare relay, 200 bytes", &columns);
    let line = |name: &str, is_reference| Line { name: name.into(), points: Vec::new(), is_reference };
    let mut lines = [line("BKES through gRPC", false), line("bare relay", true)];
    let mut shapes = Vec::new();
    for callers in settings.callers(&CALLERS).filter(|_| settings.wants_bytes(VALUE_BYTES)) {
        let found = sides.compare(settings, callers, VALUE_BYTES).await?;
        table.rows.push(found.row(vec![callers.to_string()]));
        for (line, rounds) in lines.iter_mut().zip([&found.rates, &found.relay]) {
            line.points.push((callers as f64, rounds.median()));
        }
        if [1, 64].contains(&callers) {
            shapes.extend(distribution(callers, &found.within));
        }
        section.verdicts.extend(found.verdicts(callers));
    }
    section.tables.push(table);
    let columns: Vec<_> = ["bytes", "callers"].into_iter().chain(FIGURES).collect();
    let mut table = Table::new("The same with larger values", &columns);
    for (bytes, callers) in LARGER.into_iter().filter(|(bytes, _)| settings.wants_bytes(*bytes)) {
        for callers in settings.callers_of_larger(callers) {
            let found = sides.compare(settings, callers, bytes).await?;
            table.rows.push(found.row(vec![bytes.to_string(), callers.to_string()]));
            section.verdicts.extend(found.verdicts_of_larger(bytes, callers));
        }
    }
    section.tables.push(table);
    section.plots.push(("bench-appends-grpc", over_callers("Appends through gRPC", lines.into())));
    section.plots.push(("bench-latency", latency(shapes)));
    sides.server.stop()?;
    Ok(section)
}

/// Ours and the relay's distribution at so many callers. The share of answers that take longer falls by tens.
fn distribution(callers: usize, within: &[Rounds; 8]) -> [Line; 2] {
    let across = SHARES.map(|share| 1.0 / (1.0 - share));
    let (ours, theirs) = within.split_at(4);
    let callers = callers_in_words(callers);
    [("BKES", ours, false), ("relay", theirs, true)].map(|(name, rounds, is_reference)| {
        let points = across.into_iter().zip(rounds.iter().map(Rounds::median)).collect();
        Line { name: format!("{name}, {callers}"), points, is_reference }
    })
}

fn latency(lines: Vec<Line>) -> Plot {
    let marks = SHARES.map(|share| (1.0 / (1.0 - share), format!("{} %", share * 100.0))).into();
    Plot {
        title: "How long an append through gRPC takes".into(),
        axes: ("share of appends answered within", "milliseconds"),
        across: (Scale::Factors, marks),
        up: Scale::Factors,
        lines,
    }
}
