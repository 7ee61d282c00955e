//! `cargo xtask chaos`: several instances under load and faults on nodes of their own, and whether the promises held.
//!
//! Builds the server and `bkes-chaos` as tests are built, starts one node or three, and runs it. What happens is told there.

use crate::kafka::{Cluster, Controlled};
use anyhow::{Context, bail};
use std::path::{Path, PathBuf};
use std::process::Command;

/// How long, on what, and by which seed.
#[derive(Debug, clap::Args)]
pub struct ChaosArgs {
    /// How long faults happen, in minutes
    #[arg(long, default_value_t = 5, conflicts_with = "seconds")]
    minutes: u64,
    /// How long faults happen, in seconds
    #[arg(long)]
    seconds: Option<u64>,
    /// Nodes: 1, or 3 with three replicas of everything, of which two must be in sync
    #[arg(long, default_value_t = 1)]
    brokers: usize,
    /// What decides the faults; a random one when left out
    #[arg(long)]
    seed: Option<u64>,
}

impl ChaosArgs {
    /// A run of so many seconds on one node.
    pub fn short(seconds: u64) -> ChaosArgs {
        ChaosArgs { minutes: 0, seconds: Some(seconds), brokers: 1, seed: None }
    }
}

/// Builds, starts the nodes, runs, ends the nodes. An error when anything was found.
pub fn run(args: ChaosArgs) -> anyhow::Result<()> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).parent().context("xtask lies in the workspace")?;
    let mut build = Command::new("cargo");
    // The profile of tests is optimised a little. Most of its libraries are there when tests have run: all but those of which only
    // tests ask for some feature.
    build.args(["build", "--profile", "test", "--locked", "--workspace"]);
    build.args(["--bin", "bkes-server", "--bin", "bkes-chaos"]);
    succeeds(build.current_dir(root))?;
    let target = std::env::var_os("CARGO_TARGET_DIR").map_or_else(|| root.join("target"), PathBuf::from);
    let programs = target.join("debug");

    let cluster = Cluster::start(args.brokers).context("chaos needs a broker")?;
    let mut chaos = Command::new(programs.join("bkes-chaos"));
    chaos.args(["run", "--brokers", &cluster.address()]);
    for way in cluster.ways() {
        let pairs: Vec<_> = way.iter().map(|way| format!("{}:{}", way.proxy_port, way.port)).collect();
        chaos.args(["--way", &pairs.join(",")]);
    }
    let control = Controlled::new(cluster)?;
    chaos.args(["--control", &control.address]);
    chaos.arg("--server").arg(programs.join("bkes-server"));
    chaos.arg("--folder").arg(target.join("chaos"));
    chaos.args(["--seconds", &args.seconds.unwrap_or(60 * args.minutes).to_string()]);
    if let Some(seed) = args.seed {
        chaos.args(["--seed", &seed.to_string()]);
    }
    succeeds(&mut chaos)
}

fn succeeds(command: &mut Command) -> anyhow::Result<()> {
    let status = command.status().with_context(|| format!("{command:?}"))?;
    if !status.success() {
        bail!("{command:?}: {status}");
    }
    Ok(())
}
