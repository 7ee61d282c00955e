//! `bkes-sim`: runs seeds, shows what fails, and finds planted bugs. `cargo xtask sim` builds and calls it.

#![forbid(unsafe_code)]

mod report;
mod teeth;

use anyhow::bail;
use bkes_sim::{Coverage, Fault, Mode, Plan, Run};
use clap::Parser;
use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Instant;

/// Runs the engine by seed, with faults, and checks what it promised.
#[derive(Debug, Clone, Parser)]
struct Args {
    /// How many seeds
    #[arg(long, default_value_t = 2_000)]
    seeds: u64,
    /// The first of them; without it they begin at a fresh one, which is printed
    #[arg(long)]
    seed: Option<u64>,
    /// Only this mode: safety or liveness; otherwise the seed decides
    #[arg(long)]
    mode: Option<Mode>,
    /// Faults that do not happen
    #[arg(long, value_delimiter = ',')]
    without: Vec<String>,
    /// Instead of what the seed says
    #[arg(long)]
    instances: Option<u32>,
    /// Instead of what the seed says
    #[arg(long)]
    clients: Option<u32>,
    /// Instead of what the seed says
    #[arg(long)]
    keys: Option<u32>,
    /// Instead of what the seed says
    #[arg(long)]
    partitions: Option<u32>,
    /// Instead of what the seed says
    #[arg(long)]
    owners: Option<usize>,
    /// Instead of what the seed says
    #[arg(long)]
    calls: Option<u32>,
    /// Instead of what the seed says
    #[arg(long)]
    followers: Option<u32>,
    /// Instead of what the seed says
    #[arg(long)]
    waits: Option<bool>,
    /// On the store in memory, whatever the seed says
    #[arg(long)]
    memory: bool,
    /// Print what happened, also when nothing is wrong
    #[arg(long)]
    tape: bool,
    /// Find these planted bugs, each with the seeds it must be found within; `cargo xtask sim --teeth` makes a build that has them
    #[arg(long, value_delimiter = ',', value_name = "BUG=SEEDS")]
    teeth: Vec<teeth::Bug>,
    /// Seeds that are run side by side
    #[arg(long, default_value_t = std::thread::available_parallelism().map_or(1, |n| n.get()))]
    jobs: usize,
}

/// What wakes a planted bug. This build has none; the patches in `teeth` plant them in a copy of the tree.
const WAKE: Option<teeth::Wake> = None;

/// Fresh first seeds lie below this: short enough to be typed, and hardly ever the same twice.
const FRESH_BELOW: u64 = 1_000_000_000_000;

impl Args {
    /// Draws the first seed from the system's randomness unless one was asked for, and says which it is.
    fn choose_seed(&mut self) -> anyhow::Result<()> {
        let fresh = || -> anyhow::Result<u64> {
            let mut bytes = [0; 8];
            getrandom::fill(&mut bytes).map_err(|error| anyhow::anyhow!("no randomness: {error}"))?;
            Ok(u64::from_le_bytes(bytes) % FRESH_BELOW)
        };
        if self.seed.is_none() {
            self.seed = Some(fresh()?);
            println!("the first seed is {}; to repeat this run: {}", self.first_seed(), self.command());
        }
        Ok(())
    }

    /// The first seed of this run.
    fn first_seed(&self) -> u64 {
        self.seed.unwrap_or_default()
    }

    /// What runs the same seeds again.
    fn command(&self) -> String {
        let seed = self.first_seed();
        match &self.teeth[..] {
            [] => format!("cargo xtask sim --seeds {} --seed {seed}", self.seeds),
            [bug] => format!("cargo xtask sim --teeth --bug {} --seed {seed}", bug.name),
            _ => format!("cargo xtask sim --teeth --seed {seed}"),
        }
    }

    /// The plan of a seed, with what is asked for instead.
    fn plan(&self, seed: u64) -> Plan {
        let mut plan = Plan::of(seed);
        plan.mode = self.mode.unwrap_or(plan.mode);
        plan.instances = self.instances.unwrap_or(plan.instances);
        plan.clients = self.clients.unwrap_or(plan.clients);
        plan.keys = self.keys.unwrap_or(plan.keys);
        plan.partitions = self.partitions.unwrap_or(plan.partitions);
        plan.owners = self.owners.unwrap_or(plan.owners);
        plan.calls = self.calls.unwrap_or(plan.calls);
        plan.followers = self.followers.unwrap_or(plan.followers);
        plan.waits = self.waits.unwrap_or(plan.waits);
        if self.memory {
            plan.store = bkes_sim::StoreKind::Memory;
        }
        let off = |fault: &&Fault| self.without.iter().any(|name| name == fault.name());
        plan.faults = Fault::ALL.iter().filter(off).fold(plan.faults, |faults, fault| faults.without(*fault));
        plan
    }
}

fn main() -> anyhow::Result<()> {
    let mut args = Args::parse();
    for name in &args.without {
        if !Fault::ALL.iter().any(|fault| fault.name() == name) {
            bail!("there is no fault {name}");
        }
    }
    // A panic of the engine is a finding; its message is reported with it.
    if std::env::var_os("BKES_SIM_PANICS").is_none() {
        std::panic::set_hook(Box::new(|_| {}));
    }
    args.choose_seed()?;
    match (&args.teeth[..], WAKE) {
        ([], _) => run_seeds(&args),
        (bugs, Some(wake)) => teeth::run(&args, bugs, wake),
        (_, None) => {
            bail!("no bugs are planted in this build: `cargo xtask sim --teeth` makes one that has them")
        }
    }
}

fn run_seeds(args: &Args) -> anyhow::Result<()> {
    let began = Instant::now();
    let mut coverage = Coverage::default();
    let ran = side_by_side(args, args.seeds, |run| !run.findings.is_empty());
    for (_, of_thread) in &ran {
        coverage.add(of_thread);
    }
    let mut failed: Vec<u64> = ran.into_iter().flat_map(|(failed, _)| failed).collect();
    failed.sort_unstable();
    if let Some(seed) = failed.first() {
        report::failure(&args.plan(*seed), args.plan(*seed) == Plan::of(*seed));
    } else if args.tape {
        report::tape(&args.plan(args.first_seed()));
    }
    report::coverage(&coverage);
    let (seeds, seconds) = (args.seeds, began.elapsed().as_secs_f64());
    println!("{seeds} seeds in {seconds:.1} s: {:.0} seeds/s", seeds as f64 / seconds);
    let missing = report::missing(&coverage);
    let is_plain = args.plan(args.first_seed()) == Plan::of(args.first_seed());
    if !failed.is_empty() {
        let shown: Vec<String> = failed.iter().take(20).map(u64::to_string).collect();
        let again = args.command();
        bail!("{} of {seeds} seeds failed: {}; to repeat this run: {again}", failed.len(), shown.join(" "));
    }
    if !missing.is_empty() && is_plain && seeds >= report::SEEDS_FOR_ALL {
        let (missing, again) = (missing.join(", "), args.command());
        bail!("these never happened in {seeds} seeds: {missing}; to repeat this run: {again}");
    }
    Ok(())
}

/// Runs seeds on all threads; returns, of each, the seeds that `wanted` says of, and what happened.
fn side_by_side(args: &Args, seeds: u64, wanted: impl Fn(&Run) -> bool + Sync) -> Vec<(Vec<u64>, Coverage)> {
    let next = AtomicU64::new(args.first_seed());
    let end = args.first_seed().saturating_add(seeds);
    let done = Mutex::new(Vec::new());
    std::thread::scope(|scope| {
        for _ in 0..args.jobs.max(1) {
            scope.spawn(|| {
                let (mut found, mut coverage) = (Vec::new(), Coverage::default());
                loop {
                    let seed = next.fetch_add(1, Ordering::Relaxed);
                    if seed >= end {
                        break;
                    }
                    let run = bkes_sim::run(&args.plan(seed), false);
                    coverage.add(&run.coverage);
                    if wanted(&run) {
                        found.push(seed);
                    }
                }
                done.lock().expect("no panic under this lock").push((found, coverage));
            });
        }
    });
    done.into_inner().expect("no panic under this lock")
}
