//! `cargo xtask docs`: docs/cli.md, from what the command line says of itself. A test of `bins/bkes` fails when the page is stale.

use anyhow::{Context, ensure};
use std::fs;
use std::path::Path;
use std::process::Command;

/// Writes the page.
pub fn run() -> anyhow::Result<()> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).parent().context("xtask lies in the workspace")?;
    let mut program = Command::new("cargo");
    program.args(["run", "--quiet", "--locked", "--package", "bkes", "--", "reference"]).current_dir(root);
    let output = program.output().context("cargo cannot be run")?;
    ensure!(output.status.success(), "bkes reference: {}", String::from_utf8_lossy(&output.stderr).trim());
    fs::write(root.join("docs/cli.md"), output.stdout).context("docs/cli.md cannot be written")
}
