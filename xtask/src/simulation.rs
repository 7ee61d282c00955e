//! The program of the simulation: where it is built, and how it is run.

use anyhow::{Context, bail};
use std::path::{Path, PathBuf};
use std::process::Command;

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
