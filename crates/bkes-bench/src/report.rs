//! Figures of rounds, tables of them, and what a part of the measurements hands back.

use crate::plot::Plot;
use crate::settings::Settings;
use crate::targets::{Row, Verdict};
use std::fmt;
use std::pin::Pin;
use std::time::Duration;

/// A part of the measurements.
pub type Part = for<'a> fn(&'a Settings) -> Pin<Box<dyn Future<Output = anyhow::Result<Section>> + 'a>>;

/// What a part found.
#[derive(Debug, Default)]
pub struct Section {
    /// Its tables.
    pub tables: Vec<Table>,
    /// What it says about what must be reached.
    pub verdicts: Vec<Verdict>,
    /// Its pictures, each with the name of its file.
    pub plots: Vec<(&'static str, Plot)>,
}

impl Section {
    /// Its rows of the summary, a row for each target.
    pub fn rows(&self) -> Vec<Row> {
        Verdict::gather(self.verdicts.clone()).iter().filter_map(Verdict::row).collect()
    }
}

/// One value for each round.
#[derive(Clone, Debug, Default)]
pub struct Rounds(pub Vec<f64>);

impl Rounds {
    /// The middle one; of an even number the mean of the two in the middle.
    pub fn median(&self) -> f64 {
        let mut sorted = self.0.clone();
        sorted.sort_by(f64::total_cmp);
        let at = |index: usize| sorted.get(index).copied().unwrap_or(f64::NAN);
        let half = sorted.len() / 2;
        if sorted.len().is_multiple_of(2) { (at(half.wrapping_sub(1)) + at(half)) / 2.0 } else { at(half) }
    }

    /// Round by round, how many times the other's.
    pub fn ratio(&self, other: &Rounds) -> Rounds {
        self.with(other, |one, other| one / other)
    }

    /// Round by round, what is left beyond the other's.
    pub fn beyond(&self, other: &Rounds) -> Rounds {
        self.with(other, |one, other| one - other)
    }

    fn with(&self, other: &Rounds, both: impl Fn(f64, f64) -> f64) -> Rounds {
        Rounds(self.0.iter().zip(&other.0).map(|(one, other)| both(*one, *other)).collect())
    }

    /// Median, with minimum and maximum.
    pub fn show(&self, decimals: usize) -> String {
        let (low, high) =
            self.0.iter().fold((f64::MAX, f64::MIN), |(low, high), x| (low.min(*x), high.max(*x)));
        match self.0.len() {
            0 => "-".into(),
            1 => format!("{low:.decimals$}"),
            _ => format!("{:.decimals$} ({low:.decimals$} to {high:.decimals$})", self.median()),
        }
    }
}

/// Lets the sides of a comparison take turns: `round` measures each side once, for the span it is given. The first round
/// is thrown away, since it pays for connections, metadata, new files and, on a new broker, for code that is still
/// interpreted.
pub async fn rounds<const N: usize>(
    settings: &Settings,
    mut round: impl AsyncFnMut(Duration) -> anyhow::Result<[f64; N]>,
) -> anyhow::Result<[Rounds; N]> {
    round(settings.span() / 2).await?;
    let mut all: [Rounds; N] = std::array::from_fn(|_| Rounds::default());
    for _ in 0..settings.rounds() {
        let values = round(settings.span()).await?;
        all.iter_mut().zip(values).for_each(|(rounds, value)| rounds.0.push(value));
    }
    Ok(all)
}

/// A table of markdown.
#[derive(Debug)]
pub struct Table {
    /// What it shows.
    pub title: String,
    /// The heads of the columns.
    pub columns: Vec<&'static str>,
    /// Its rows.
    pub rows: Vec<Vec<String>>,
}

impl Table {
    /// A table without rows.
    pub fn new(title: impl Into<String>, columns: &[&'static str]) -> Table {
        Table { title: title.into(), columns: columns.to_vec(), rows: Vec::new() }
    }
}

impl fmt::Display for Table {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "{}:\n", self.title)?;
        writeln!(f, "| {} |", self.columns.join(" | "))?;
        writeln!(f, "|{}", "---|".repeat(self.columns.len()))?;
        self.rows.iter().try_for_each(|row| writeln!(f, "| {} |", row.join(" | ")))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_ratio_is_taken_within_each_round() {
        let (ours, theirs) = (Rounds(vec![10.0, 1.0, 6.0]), Rounds(vec![20.0, 2.0, 4.0]));
        assert_eq!(ours.ratio(&theirs).0, [0.5, 0.5, 1.5]);
        assert_eq!(ours.ratio(&theirs).show(2), "0.50 (0.50 to 1.50)");
        assert_eq!(ours.beyond(&theirs).0, [-10.0, -1.0, 2.0]);
    }

    #[test]
    fn the_median_of_an_even_number_lies_between() {
        assert_eq!(Rounds(vec![4.0, 1.0, 3.0, 2.0]).median(), 2.5);
        assert_eq!(Rounds(vec![2.0, 9.0, 1.0]).median(), 2.0);
        assert!(Rounds::default().median().is_nan());
    }
}
