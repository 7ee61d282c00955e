//! Appends by the embedded engine against a raw producer with a raw tailing consumer of the same topic, in one process.

use crate::plot::{Line, Plot, Scale};
use crate::raw::{RawLoop, Tail};
use crate::report::{Rounds, Section, Table, rounds};
use crate::settings::Settings;
use crate::sides::{Embedded, Keeps, PARTITIONS, VALUE_BYTES, Work, callers_in_words, engine_loop, topic};
use crate::targets::Verdict;
use tokio::task::block_in_place;

/// Callers, fewest first.
pub const CALLERS: [usize; 5] = [1, 16, 64, 256, 1024];

/// The callers whose rate must reach a share of the reference's.
const JUDGED: [usize; 4] = [1, 16, 64, 256];

/// Larger values, with the callers that send them.
pub const LARGER: [(usize, &[usize]); 2] = [(2_000, &[1, 16, 64]), (100_000, &[1, 16])];

/// The three sides.
struct Sides {
    embedded: Embedded,
    tailed: RawLoop,
    _tail: Tail,
    bare: RawLoop,
}

/// A comparison at so many callers.
struct Compared {
    rates: Rounds,
    reference: Rounds,
    bare: Rounds,
    p50: Rounds,
    reference_p50: Rounds,
    p99_ratio: Rounds,
    refused: Rounds,
}

impl Sides {
    async fn new(settings: &Settings) -> anyhow::Result<Sides> {
        let brokers = settings.brokers()?;
        let (ours, tailed) = (topic(settings, PARTITIONS).await?, topic(settings, PARTITIONS).await?);
        let bare = topic(settings, PARTITIONS).await?;
        let embedded = Embedded::start(settings, &ours, Keeps::Disk).await?;
        // It follows all the time, as the engine's reader does.
        let tail = Tail::follow(brokers, &tailed, PARTITIONS)?;
        let tailed = RawLoop::new(brokers, &tailed, PARTITIONS)?;
        let bare = RawLoop::new(brokers, &bare, PARTITIONS)?;
        Ok(Sides { embedded, tailed, _tail: tail, bare })
    }

    async fn compare(
        &self,
        settings: &Settings,
        callers: usize,
        value_bytes: usize,
    ) -> anyhow::Result<Compared> {
        let all = rounds(settings, async |span| {
            let limit = block_in_place(|| self.tailed.run(callers, span, value_bytes))?;
            let work = Work { value_bytes, ..Work::appends(callers, span) };
            let mix = engine_loop(&self.embedded.handle(), work).await?;
            let (refused, mine) = (mix.refused_percent(), mix.appends);
            let alone = block_in_place(|| self.bare.run(callers, span, value_bytes))?;
            let p99_ratio = mine.p99_ms() / limit.p99_ms();
            Ok([mine.rate, limit.rate, alone.rate, mine.p50_ms(), limit.p50_ms(), p99_ratio, refused])
        });
        let [rates, reference, bare, p50, reference_p50, p99_ratio, refused] = all.await?;
        Ok(Compared { rates, reference, bare, p50, reference_p50, p99_ratio, refused })
    }
}

impl Compared {
    fn row(&self, first: Vec<String>) -> Vec<String> {
        let figures = [
            self.rates.show(0),
            self.reference.show(0),
            self.bare.show(0),
            self.rates.ratio(&self.reference).show(2),
            self.p50.show(3),
            self.p50.beyond(&self.reference_p50).show(3),
            self.p99_ratio.show(2),
            self.refused.show(0),
        ];
        first.into_iter().chain(figures).collect()
    }
}

const FIGURES: [&str; 8] = [
    "appends/s",
    "reference/s",
    "bare producer/s",
    "ratio to the reference",
    "p50 ms",
    "p50 beyond the reference, ms",
    "p99 ratio",
    "refused as overloaded, %",
];

/// The comparison at rising numbers of callers, and with larger values.
pub async fn measure(settings: &Settings) -> anyhow::Result<Section> {
    let sides = Sides::new(settings).await?;
    let mut section = Section::default();
    let columns: Vec<_> = std::iter::once("callers").chain(FIGURES).collect();
    let mut table = Table::new(
        "Appends by the embedded engine against a raw producer with a raw tailing consumer, 200 bytes",
        &columns,
    );
    let line = |name: &str, is_reference| Line { name: name.into(), points: Vec::new(), is_reference };
    let mut lines =
        [line("BKES, embedded", false), line("producer with consumer", true), line("producer", true)];
    for callers in settings.callers(&CALLERS).filter(|_| settings.wants_bytes(VALUE_BYTES)) {
        let found = sides.compare(settings, callers, VALUE_BYTES).await?;
        table.rows.push(found.row(vec![callers.to_string()]));
        for (line, rounds) in lines.iter_mut().zip([&found.rates, &found.reference, &found.bare]) {
            line.points.push((callers as f64, rounds.median()));
        }
        if JUDGED.contains(&callers) {
            let ratio = found.rates.ratio(&found.reference).median();
            section.verdicts.push(Verdict::new("engine-rate", callers_in_words(callers), ratio));
        }
        if callers == 1 {
            let beyond = found.p50.beyond(&found.reference_p50).median();
            section.verdicts.push(Verdict::new("engine-beyond", "1 caller", beyond));
        }
    }
    section.tables.push(table);
    let columns: Vec<_> = ["bytes", "callers"].into_iter().chain(FIGURES).collect();
    let mut table = Table::new("The same with larger values", &columns);
    for (bytes, callers) in LARGER.into_iter().filter(|(bytes, _)| settings.wants_bytes(*bytes)) {
        for callers in settings.callers_of_larger(callers) {
            let found = sides.compare(settings, callers, bytes).await?;
            table.rows.push(found.row(vec![bytes.to_string(), callers.to_string()]));
        }
    }
    section.tables.push(table);
    section
        .plots
        .push(("bench-appends-embedded", over_callers("Appends by the embedded engine", lines.into())));
    sides.embedded.stop().await?;
    Ok(section)
}

/// A plot of rates over callers.
pub fn over_callers(title: &str, lines: Vec<Line>) -> Plot {
    let marks =
        CALLERS.iter().filter(|callers| lines[0].points.iter().any(|point| point.0 == **callers as f64));
    let marks = marks.map(|callers| (*callers as f64, callers.to_string())).collect();
    Plot {
        title: title.into(),
        axes: ("callers", "a second"),
        across: (Scale::Factors, marks),
        up: Scale::Factors,
        lines,
    }
}
