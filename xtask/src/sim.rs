//! `cargo xtask sim`: builds the simulation with optimisations and runs it; `--teeth` builds it with planted bugs.
//!
//! Planted bugs are a `cfg` and not a cargo feature: features are unified over the workspace, and a bug must never come along
//! by accident. That build has a target directory of its own, so that neither build throws the other's away.

use anyhow::{Context, bail};
use std::path::{Path, PathBuf};
use std::process::Command;

/// Options go to the simulation: `--seeds N`, `--seed S`, and what a failing seed says
#[derive(Debug, clap::Args)]
#[command(disable_help_flag = true)]
pub struct SimArgs {
    /// Options of the simulation; `--teeth` looks for every planted bug, `--help` shows all
    #[arg(trailing_var_arg = true, allow_hyphen_values = true)]
    rest: Vec<String>,
}

/// Builds and runs.
pub fn run(args: SimArgs) -> anyhow::Result<()> {
    let teeth = args.rest.iter().any(|arg| arg == "--teeth");
    let args: Vec<&str> = args.rest.iter().map(String::as_str).collect();
    simulate(&args, teeth)
}

/// Runs the simulation with these options, in a build that has planted bugs or not.
pub fn simulate(args: &[&str], planted: bool) -> anyhow::Result<()> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).parent().context("xtask lies in the workspace")?;
    let mut target = std::env::var_os("CARGO_TARGET_DIR").map_or_else(|| root.join("target"), PathBuf::from);
    let mut build = Command::new("cargo");
    build.args(["build", "--profile", "sim", "--locked", "--quiet", "-p", "bkes-sim"]).current_dir(root);
    if planted {
        target.push("planted");
        build.env("CARGO_TARGET_DIR", &target).env("RUSTFLAGS", "--cfg bkes_planted");
    }
    succeeds(build)?;
    let mut sim = Command::new(target.join("sim").join("bkes-sim"));
    sim.args(args).env("RUST_BACKTRACE", "0");
    succeeds(sim)
}

fn succeeds(mut command: Command) -> anyhow::Result<()> {
    let status = command.status().with_context(|| format!("{command:?}"))?;
    if !status.success() {
        bail!("{command:?}: {status}");
    }
    Ok(())
}
