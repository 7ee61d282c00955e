//! What must be reached, and what is aimed at: every row, and how it is judged.

/// Which way is good.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Better {
    /// At least.
    More,
    /// At most.
    Less,
}

/// Something that must be reached.
#[derive(Debug)]
pub struct Target {
    /// What parts call it.
    pub id: &'static str,
    /// What is measured; it names the row in the document.
    pub work: &'static str,
    /// The bound.
    pub must: f64,
    /// What is aimed at.
    pub aim: f64,
    /// Which way is good.
    pub better: Better,
    /// Decimals and unit of the figures.
    pub shown: (usize, &'static str),
}

const fn at_least(id: &'static str, work: &'static str, must: f64, aim: f64) -> Target {
    Target { id, work, must, aim, better: Better::More, shown: (2, "") }
}

const fn at_most(id: &'static str, work: &'static str, must: f64, aim: f64) -> Target {
    Target { id, work, must, aim, better: Better::Less, shown: (2, "") }
}

const fn in_units(target: Target, decimals: usize, unit: &'static str) -> Target {
    Target { shown: (decimals, unit), ..target }
}

/// Every row, in the order of the document.
pub const TARGETS: &[Target] = &[
    at_least(
        "engine-rate",
        "embedded engine: appends/s against a raw producer with a raw tailing consumer",
        0.75,
        0.9,
    ),
    in_units(
        at_most("engine-beyond", "embedded engine: p50 beyond that reference's p50", 0.1, 0.03),
        3,
        "ms",
    ),
    at_least("grpc-rate", "gRPC append: appends/s against a bare relay", 0.85, 1.2),
    at_most("grpc-p50", "gRPC append: p50 against the relay's", 1.15, 1.05),
    at_most("grpc-p99", "gRPC append: p99 against the relay's", 1.5, 1.2),
    at_most("grpc-cpu", "gRPC append: CPU of the server against the relay's", 1.3, 1.0),
    at_least("grpc-large-rate", "gRPC append of 100 KB: appends/s against a bare relay", 0.85, 1.0),
    at_most("grpc-large-cpu", "gRPC append of 100 KB: CPU of the server against the relay's", 1.5, 1.2),
    in_units(at_most("grpc-large-refused", "gRPC append of 100 KB: refused as overloaded", 0.0, 0.0), 0, "%"),
    at_least(
        "stream-unary",
        "AppendStream, 256 in flight on one connection: appends/s against 64 callers of the first contract",
        2.5,
        4.0,
    ),
    at_least(
        "stream-engine",
        "AppendStream, 256 in flight on one connection: appends/s against the embedded engine with as many",
        0.6,
        0.8,
    ),
    at_most(
        "mixed-p99",
        "mixed load: append p99 while the store commits against the same without a store",
        1.5,
        1.1,
    ),
    in_units(
        at_least("batch-1", "batches of 100 against single appends, events/s, 1 caller", 25.0, 50.0),
        1,
        "",
    ),
    in_units(
        at_least("batch-16", "batches of 100 against single appends, events/s, 16 callers", 8.0, 15.0),
        1,
        "",
    ),
    at_most("read-p50", "read of 10 events over gRPC: p50 against a bare echo", 1.25, 1.1),
    at_least("read-rate", "read of 10 events over gRPC: reads/s against a bare echo", 0.8, 0.9),
    at_least(
        "read2-rate",
        "Read of 1,000 events by the second contract: reads/s against a bare echo of the same stream",
        0.7,
        0.9,
    ),
    // As fast: what is below one by this little is the machine's.
    at_least("head-rate", "Head: calls/s against reads of one event by the first contract", 0.95, 1.1),
    in_units(
        at_most(
            "read2-rss",
            "peak RSS beyond the cache setting: Read of an aggregate of 1 M events",
            20.0,
            10.0,
        ),
        0,
        "MB",
    ),
    at_least("rebuild-rate", "rebuild of 1 M records against raw replay", 0.33, 0.5),
    at_least("rebuild-scale", "rebuild rate at 10 M against 1 M", 0.8, 0.95),
    in_units(
        at_most("rebuild-rss", "peak RSS beyond the cache setting: rebuild of 10 M", 100.0, 50.0),
        0,
        "MB",
    ),
    in_units(
        at_most("steady-rss", "peak RSS beyond the cache setting: steady at 64 callers", 90.0, 50.0),
        0,
        "MB",
    ),
    in_units(at_most("small-rss", "`--cache-mib 16`: peak RSS of a rebuild of 10 M", 120.0, 64.0), 0, "MB"),
    in_units(at_most("disk", "bytes on disk per event, beside value and key", 90.0, 50.0), 0, ""),
    at_most("long-append", "append at the end of an aggregate of 1 M events against one of 10", 1.2, 1.05),
    at_most("long-read", "read of the last page of an aggregate of 1 M events against one of 10", 1.2, 1.05),
    in_units(
        at_most("resume", "resume of a 10 M store with nothing new, start to first answer", 1.0, 0.3),
        2,
        "s",
    ),
    at_least(
        "file-rate",
        "embedded log: durable appends/s against a plain file of the same grouping",
        0.6,
        0.8,
    ),
];

/// What was measured of one target.
#[derive(Clone, Debug, PartialEq)]
pub struct Verdict {
    /// The target.
    id: &'static str,
    /// Each figure, with what it was measured at.
    values: Vec<(String, f64)>,
}

impl Verdict {
    /// One figure of a target, with what it was measured at.
    pub fn new(id: &'static str, at: impl Into<String>, value: f64) -> Verdict {
        Verdict { id, values: vec![(at.into(), value)] }
    }

    /// Puts the figures of the same target together.
    pub fn gather(verdicts: Vec<Verdict>) -> Vec<Verdict> {
        let mut all: Vec<Verdict> = Vec::new();
        for verdict in verdicts {
            match all.iter_mut().find(|known| known.id == verdict.id) {
                Some(known) => known.values.extend(verdict.values),
                None => all.push(verdict),
            }
        }
        all
    }

    /// Its row, by the target's name.
    pub fn row(&self) -> Option<Row> {
        let target = TARGETS.iter().find(|target| target.id == self.id)?;
        let (decimals, unit) = target.shown;
        let space = if unit.is_empty() { "" } else { " " };
        let show = |(at, value): &(String, f64)| match at.as_str() {
            "" => format!("{value:.decimals$}{space}{unit}"),
            at => format!("{value:.decimals$}{space}{unit} ({at})"),
        };
        let all = |bound: f64| {
            self.values.iter().all(|(_, value)| match target.better {
                Better::More => *value >= bound,
                Better::Less => *value <= bound,
            })
        };
        let met = match (all(target.aim), all(target.must)) {
            (true, _) => "aim",
            (false, true) => "must",
            (false, false) => "**no**",
        };
        let measured = self.values.iter().map(show).collect::<Vec<_>>().join(", ");
        Some(Row { work: target.work.into(), measured, met: met.into() })
    }
}

/// A row of the summary: what was measured last of a target.
#[derive(Clone, Debug, PartialEq)]
pub struct Row {
    /// The target's name.
    pub work: String,
    /// The figures.
    pub measured: String,
    /// Which bound they keep.
    pub met: String,
}

/// The summary: every target, with the row that is known of it.
pub fn summary(rows: &[Row]) -> String {
    let mut out = String::from("| work | must | aim | measured | met |\n|---|---|---|---|---|\n");
    for Target { work, must, aim, better, shown: (_, unit), .. } in TARGETS {
        let row = rows.iter().find(|row| row.work == *work);
        let (measured, met) = row.map_or(("not measured", "-"), |row| (&row.measured, &row.met));
        let sign = if *better == Better::More { "≥" } else { "≤" };
        let space = if unit.is_empty() { "" } else { " " };
        let line =
            format!("| {work} | {sign} {must}{space}{unit} | {aim}{space}{unit} | {measured} | {met} |\n");
        out.push_str(&line);
    }
    out
}

/// The rows of a summary that was written before.
pub fn read_summary(text: &str) -> Vec<Row> {
    let cells = |line: &str| -> Option<Row> {
        let cells: Vec<&str> = line.strip_prefix("| ")?.strip_suffix(" |")?.split(" | ").collect();
        let [work, _, _, measured, met] = cells[..] else { return None };
        let is_known = TARGETS.iter().any(|target| target.work == work) && met != "-";
        is_known.then(|| Row { work: work.into(), measured: measured.into(), met: met.into() })
    };
    text.lines().filter_map(cells).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn row(id: &'static str, values: &[f64]) -> Row {
        let all = values.iter().map(|value| Verdict::new(id, "at 1", *value)).collect();
        Verdict::gather(all)[0].row().expect("a known target")
    }

    #[test]
    fn every_figure_of_a_target_has_to_keep_its_bound() {
        assert_eq!(row("engine-rate", &[0.95, 0.9]).met, "aim");
        assert_eq!(row("engine-rate", &[0.95, 0.8]).met, "must");
        assert_eq!(row("engine-rate", &[0.95, 0.7]).met, "**no**");
        assert_eq!(row("resume", &[0.3]).met, "aim");
        assert_eq!(row("resume", &[1.01]).met, "**no**");
        assert_eq!(row("resume", &[f64::NAN]).met, "**no**");
        assert_eq!(row("engine-beyond", &[0.05]).measured, "0.050 ms (at 1)");
        assert_eq!(Verdict::new("unheard of", "", 1.0).row(), None);
    }

    #[test]
    fn a_summary_is_read_back() {
        let rows = [row("engine-rate", &[0.5, 0.9]), row("disk", &[70.0])];
        let text = summary(&rows);
        assert_eq!(read_summary(&text), rows);
        assert_eq!(text.lines().count(), TARGETS.len() + 2);
    }
}
