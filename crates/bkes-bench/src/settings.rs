//! Where and how much to measure.

use anyhow::Context;
use clap::Parser;
use std::path::PathBuf;
use std::time::Duration;

/// Where and how much to measure.
#[derive(Clone, Debug, Parser)]
pub struct Settings {
    /// The brokers
    #[arg(long)]
    brokers: Option<String>,
    /// The release build of bkes-server
    #[arg(long)]
    server: Option<PathBuf>,
    /// Everything in under three minutes: fewer and shorter rounds, fewer callers and records
    #[arg(long)]
    pub quick: bool,
    /// Rounds of each comparison that count
    #[arg(long)]
    rounds: Option<usize>,
    /// Seconds of each closed loop
    #[arg(long)]
    seconds: Option<f64>,
    /// Closed loops of these callers only, of those that a part has
    #[arg(long, value_delimiter = ',', conflicts_with = "write")]
    callers: Vec<usize>,
    /// Values of these bytes only, of those that the parts `engine` and `grpc` have
    #[arg(long, value_delimiter = ',', conflicts_with = "write")]
    bytes: Vec<usize>,
    /// Reads of so many events only, of those that the parts `reads` and `reads2` have
    #[arg(long, value_delimiter = ',', conflicts_with = "write")]
    events: Vec<usize>,
    /// Records of the rebuilds, smallest first
    #[arg(long, value_delimiter = ',')]
    records: Vec<u64>,
    /// Events of the long aggregate
    #[arg(long)]
    long: Option<u64>,
    /// Write the results into this document, between its markers, and the pictures beside it
    #[arg(long)]
    pub write: Option<PathBuf>,
    /// How and when this run came about, for the document
    #[arg(long, default_value = "")]
    pub stamp: String,
    /// Compare with this other build of bkes-server (part `baseline`)
    #[arg(long)]
    pub baseline_server: Option<PathBuf>,
    /// Be the bare relay to this topic instead of measuring
    #[arg(long)]
    pub relay: Option<String>,
    /// Parts to measure; all without any
    #[arg(value_parser = crate::NAMES)]
    pub parts: Vec<String>,
}

impl Settings {
    /// The brokers to measure on.
    pub fn brokers(&self) -> anyhow::Result<&str> {
        self.brokers.as_deref().context("--brokers is missing: `cargo xtask bench` starts one")
    }

    /// The server to measure.
    pub fn server(&self) -> anyhow::Result<&PathBuf> {
        self.server.as_ref().context("--server is missing: `cargo xtask bench` builds one")
    }

    /// How long a closed loop runs.
    pub fn span(&self) -> Duration {
        Duration::from_secs_f64(self.seconds.unwrap_or(if self.quick { 0.3 } else { 3.0 }))
    }

    /// Rounds that count.
    pub fn rounds(&self) -> usize {
        self.rounds.unwrap_or(if self.quick { 2 } else { 5 }).max(1)
    }

    /// Rounds of what takes minutes.
    pub fn long_rounds(&self) -> usize {
        self.rounds().min(3)
    }

    /// Callers of a usual size, fewest first.
    pub fn callers(&self, all: &[usize]) -> impl Iterator<Item = usize> {
        // The first three show the shape.
        let shown = if self.quick { all.len().min(3) } else { all.len() };
        all[..shown].iter().copied().filter(|callers| self.wants_callers(*callers))
    }

    /// Callers with larger values, fewest first.
    pub fn callers_of_larger(&self, all: &[usize]) -> impl Iterator<Item = usize> {
        let shown = if self.quick { 1..2 } else { 0..all.len() };
        all[shown].iter().copied().filter(|callers| self.wants_callers(*callers))
    }

    /// Whether values of so many bytes are to be measured.
    pub fn wants_bytes(&self, bytes: usize) -> bool {
        self.bytes.is_empty() || self.bytes.contains(&bytes)
    }

    /// Whether a loop of so many callers is to be measured.
    pub fn wants_callers(&self, callers: usize) -> bool {
        self.callers.is_empty() || self.callers.contains(&callers)
    }

    /// Whether reads of so many events are to be measured.
    pub fn wants_events(&self, events: usize) -> bool {
        self.events.is_empty() || self.events.contains(&events)
    }

    /// Records of the rebuilds, smallest first.
    pub fn records(&self) -> Vec<u64> {
        match (self.records.is_empty(), self.quick) {
            (false, _) => self.records.clone(),
            (true, true) => vec![100_000, 300_000],
            (true, false) => vec![1_000_000, 10_000_000],
        }
    }

    /// Events of the long aggregate.
    pub fn long(&self) -> u64 {
        self.long.unwrap_or(if self.quick { 20_000 } else { 1_000_000 })
    }

    /// Whether a part is to be measured.
    pub fn wants(&self, part: &str) -> bool {
        self.parts.is_empty() || self.parts.iter().any(|wanted| wanted == part)
    }
}
