//! `cargo xtask bench`: measures BKES against what Kafka, gRPC and a file can do at all, on a broker of its own.
//!
//! Builds the server and the load generator with optimisations, starts a broker, and runs `bkes-bench`, which prints a table
//! for each part. With `--write` the figures go into docs/benchmarks.md, the pictures into docs/pictures. With `--baseline`
//! another revision's server is built beside this one's and both are measured in turns. `--instructions` counts
//! instructions instead, which needs no broker and no quiet machine.

mod baseline;
pub mod instructions;

use crate::kafka::Broker;
use anyhow::{Context, bail};
use std::path::{Path, PathBuf};
use std::process::Command;

/// What to measure, and for how long.
#[derive(Debug, clap::Args)]
pub struct BenchArgs {
    /// Everything in under three minutes: fewer and shorter rounds, fewer callers and records
    #[arg(long)]
    quick: bool,
    /// Write what was measured into docs/benchmarks.md and docs/pictures
    #[arg(long)]
    write: bool,
    /// Compare the server with that of another revision instead
    #[arg(long, value_name = "REV")]
    baseline: Option<String>,
    /// Count the instructions of the hot paths instead, and compare them with the budget
    #[arg(long, conflicts_with_all = ["quick", "write", "baseline"])]
    instructions: bool,
    /// Make what is counted the budget
    #[arg(long, requires = "instructions")]
    write_budget: bool,
    /// Options and parts for `bkes-bench` (or paths to count); `-- --help` names them
    #[arg(last = true)]
    rest: Vec<String>,
}

/// Builds, starts the broker, measures, ends the broker.
pub fn run(args: BenchArgs) -> anyhow::Result<()> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).parent().context("xtask lies in the workspace")?;
    if args.instructions {
        return instructions::run(root, &args.rest, args.write_budget);
    }
    // One by one: built together, the server would get the features of the libraries that the load generator asks for, which those
    // who run it do not have, and the server of another revision does not.
    for package in ["bkes-server", "bkes-bench"] {
        let mut build = Command::new("cargo");
        build.args(["build", "--release", "--locked", "-p", package]).current_dir(root);
        succeeds(build)?;
    }
    let release = target(root).join("release");
    let program = release.join("bkes-bench");
    if args.rest.iter().any(|argument| argument == "--help" || argument == "-h") {
        let mut help = Command::new(program);
        help.arg("--help");
        return succeeds(help);
    }
    let baseline = args.baseline.as_deref().map(|rev| baseline::server(root, rev)).transpose()?;
    let broker = Broker::start().context("the measurements need a broker")?;
    let mut bench = Command::new(program);
    bench.args(["--brokers", broker.address(), "--server"]).arg(release.join("bkes-server"));
    if args.quick {
        bench.arg("--quick");
    }
    if args.write {
        bench.arg("--write").arg(root.join("docs/benchmarks.md")).args(["--stamp", &stamp(root, &args)?]);
    }
    if let Some(server) = baseline {
        bench.arg("--baseline-server").arg(server);
        // The other parts compare with references, not with revisions.
        bench.arg("baseline");
    }
    bench.args(&args.rest);
    let result = succeeds(bench);
    drop(broker);
    result
}

/// How, when and where figures came about, for those who read them.
fn stamp(root: &Path, args: &BenchArgs) -> anyhow::Result<String> {
    let said = |program: &str, arguments: &[&str]| -> anyhow::Result<String> {
        let output = Command::new(program).args(arguments).current_dir(root).output();
        let output = output.with_context(|| format!("{program} {arguments:?}"))?;
        Ok(String::from_utf8(output.stdout)?.trim().to_owned())
    };
    let mut command = String::from("cargo xtask bench --write");
    if args.quick {
        command.push_str(" --quick");
    }
    if !args.rest.is_empty() {
        command.push_str(" -- ");
        command.push_str(&args.rest.join(" "));
    }
    let (date, revision) = (said("date", &["-u", "+%F"])?, said("git", &["rev-parse", "--short", "HEAD"])?);
    let cores = std::thread::available_parallelism()?;
    Ok(format!(
        "`{command}` on {date} at revision {revision}, {cores} cores shared with the broker and the load"
    ))
}

/// Where cargo builds to.
fn target(root: &Path) -> PathBuf {
    std::env::var_os("CARGO_TARGET_DIR").map_or_else(|| root.join("target"), PathBuf::from)
}

fn succeeds(mut command: Command) -> anyhow::Result<()> {
    let status = command.status().with_context(|| format!("{command:?}"))?;
    if !status.success() {
        bail!("{command:?}: {status}");
    }
    Ok(())
}
