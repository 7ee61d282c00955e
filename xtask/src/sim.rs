//! `cargo xtask sim`: builds the simulation with optimisations and runs it; with `--teeth` a copy of the tree that has planted bugs.

use crate::simulation::{build_and_run, target_dir};
use anyhow::Context;
use std::path::Path;

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
