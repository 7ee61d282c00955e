//! The teeth: every planted bug must be found, within the number of seeds that it states.
//!
//! The bugs themselves are patches, applied to a copy of the tree. What they are called and how one is woken is all that is known here.

use crate::Args;
use anyhow::{Context, bail};
use std::str::FromStr;
use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

/// Wakes a bug on this thread, or lets all sleep.
pub type Wake = fn(Option<&'static str>);

/// A planted bug.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Bug {
    /// What it is woken by.
    pub name: &'static str,
    /// Within how many seeds it must be found.
    pub seeds_max: u64,
}

impl FromStr for Bug {
    type Err = anyhow::Error;

    /// Reads `NAME=SEEDS`.
    fn from_str(text: &str) -> anyhow::Result<Bug> {
        let (name, seeds) = text.split_once('=').context("a bug is given as NAME=SEEDS")?;
        let seeds_max = seeds.parse().context("how many seeds it takes is no number")?;
        // Once a bug, for as long as the process lives.
        Ok(Bug { name: String::leak(name.to_owned()), seeds_max })
    }
}

/// One bug's end.
struct Found {
    bug: Bug,
    /// In which of the seeds it was found, counted from 1.
    seeds: Option<u64>,
    finding: String,
    seconds: Duration,
}

/// Looks for each of these bugs, and fails when one is not found.
pub fn run(args: &Args, bugs: &[Bug], wake: Wake) -> anyhow::Result<()> {
    println!("{:<28} {:>6} {:>6} {:>8}  found by", "bug", "seeds", "limit", "seconds");
    let missed: Vec<&str> = bugs
        .iter()
        .map(|bug| look_for(args, *bug, wake))
        .filter(|found| !show(found))
        .map(|found| found.bug.name)
        .collect();
    if !missed.is_empty() {
        bail!("not found: {}; to repeat this run: {}", missed.join(", "), args.command());
    }
    println!("{} bugs, all found", bugs.len());
    Ok(())
}

fn show(found: &Found) -> bool {
    let Found { bug, seeds, finding, seconds } = found;
    let count = seeds.map_or("-".to_owned(), |seeds| seeds.to_string());
    let finding: String = finding.chars().take(110).collect();
    let finding = finding.replace('\n', " ");
    println!("{:<28} {count:>6} {:>6} {:>8.2}  {finding}", bug.name, bug.seeds_max, seconds.as_secs_f64());
    seeds.is_some()
}

/// The first seed in which the bug shows.
fn look_for(args: &Args, bug: Bug, wake: Wake) -> Found {
    let began = Instant::now();
    let (next, first) = (AtomicU64::new(args.first_seed()), AtomicU64::new(u64::MAX));
    let end = args.first_seed().saturating_add(bug.seeds_max);
    let finding = Mutex::new(String::new());
    std::thread::scope(|scope| {
        for _ in 0..args.jobs.max(1) {
            scope.spawn(|| {
                wake(Some(bug.name));
                loop {
                    let seed = next.fetch_add(1, Ordering::Relaxed);
                    if seed >= end || seed >= first.load(Ordering::Relaxed) {
                        return;
                    }
                    let run = bkes_sim::run(&args.plan(seed), false);
                    let Some(found) = run.findings.first() else { continue };
                    // What fails without the bug is not found by it.
                    wake(None);
                    let sound = bkes_sim::run(&args.plan(seed), false).findings.is_empty();
                    wake(Some(bug.name));
                    if !sound {
                        continue;
                    }
                    let mut finding = finding.lock().expect("no panic under this lock");
                    if seed < first.fetch_min(seed, Ordering::Relaxed) {
                        *finding = found.to_string();
                    }
                }
            });
        }
    });
    let seed = Some(first.into_inner()).filter(|seed| *seed != u64::MAX);
    let seeds = seed.map(|seed| seed - args.first_seed() + 1);
    let finding = finding.into_inner().expect("no panic under this lock");
    Found { bug, seeds, finding, seconds: began.elapsed() }
}
