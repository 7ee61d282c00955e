//! `cargo xtask sim`: builds the simulation with optimisations and runs it; with `--teeth` a copy of the tree that has planted bugs.

use anyhow::{Context, bail};
use std::path::{Path, PathBuf};
use std::process::Command;

/// Options go to the simulation: `--seeds N`, `--seed S`, and what a failing seed says
#[derive(Debug, clap::Args)]
#[command(disable_help_flag = true)]
pub struct SimArgs {
    /// Options of the simulation; `--teeth` looks for every planted bug, `--teeth --bug NAME` for one, `--help` shows all
    #[arg(trailing_var_arg = true, allow_hyphen_values = true)]
    rest: Vec<String>,
}

/// Builds and runs.
pub fn run(args: SimArgs) -> anyhow::Result<()> {
    let args: Vec<&str> = args.rest.iter().map(String::as_str).collect();
    if args.contains(&"--teeth") { crate::teeth::run(&args) } else { simulate(&args) }
}

/// Runs the simulation with these options.
pub fn simulate(args: &[&str]) -> anyhow::Result<()> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).parent().context("xtask lies in the workspace")?;
    build_and_run(root, &target_dir(root), args)
}

/// Where cargo builds what lies in the tree at `root`.
pub fn target_dir(root: &Path) -> PathBuf {
    std::env::var_os("CARGO_TARGET_DIR").map_or_else(|| root.join("target"), PathBuf::from)
}

/// Builds the simulation of the tree at `root` into `target`, and runs it.
pub fn build_and_run(root: &Path, target: &Path, args: &[&str]) -> anyhow::Result<()> {
    let mut build = Command::new("cargo");
    build.args(["build", "--profile", "sim", "--locked", "--quiet", "-p", "bkes-sim"]);
    succeeds(build.current_dir(root).env("CARGO_TARGET_DIR", target))?;
    let mut sim = Command::new(target.join("sim").join("bkes-sim"));
    succeeds(sim.args(args).env("RUST_BACKTRACE", "0"))
}

fn succeeds(command: &mut Command) -> anyhow::Result<()> {
    let status = command.status().with_context(|| format!("{command:?}"))?;
    if !status.success() {
        bail!("{command:?}: {status}");
    }
    Ok(())
}
