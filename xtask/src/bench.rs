//! `cargo xtask bench`: measures BKES against what Kafka, gRPC and a file can do at all, on a broker of its own.
//!
//! Builds the server and the load generator with optimisations, starts a broker, and runs `bkes-bench`, which prints a table
//! for each part. The figures of docs/benchmarks.md come from here.

use crate::kafka::Broker;
use anyhow::{Context, bail};
use std::path::{Path, PathBuf};
use std::process::Command;

/// What to measure, and for how long.
#[derive(Debug, clap::Args)]
pub struct BenchArgs {
    /// Everything in a few minutes: fewer and shorter rounds, fewer records
    #[arg(long)]
    quick: bool,
    /// Options and parts for `bkes-bench`: engine, grpc, batches, reads, long, rebuild, file
    #[arg(last = true)]
    rest: Vec<String>,
}

/// Builds, starts the broker, measures, ends the broker.
pub fn run(args: BenchArgs) -> anyhow::Result<()> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).parent().context("xtask lies in the workspace")?;
    let mut build = Command::new("cargo");
    build.args(["build", "--release", "--locked", "-p", "bkes-server", "-p", "bkes-bench"]).current_dir(root);
    succeeds(build)?;
    let target = std::env::var_os("CARGO_TARGET_DIR").map_or_else(|| root.join("target"), PathBuf::from);
    let release = target.join("release");
    let broker = Broker::start().context("the measurements need a broker")?;
    let mut bench = Command::new(release.join("bkes-bench"));
    bench.args(["--brokers", broker.address(), "--server"]).arg(release.join("bkes-server"));
    if args.quick {
        bench.args(["--rounds", "2", "--seconds", "1", "--records", "300000", "--long", "20000"]);
    }
    bench.args(&args.rest);
    let result = succeeds(bench);
    drop(broker);
    result
}

fn succeeds(mut command: Command) -> anyhow::Result<()> {
    let status = command.status().with_context(|| format!("{command:?}"))?;
    if !status.success() {
        bail!("{command:?}: {status}");
    }
    Ok(())
}
