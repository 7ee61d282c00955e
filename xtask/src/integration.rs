//! `cargo xtask integration`: every test that needs a broker, on a real one.
//!
//! Starts a broker, runs the test targets `kafka_*` of every crate with a feature `integration`, one test at a time, and ends
//! the broker in every case. Tests find it through three variables:
//!
//! * `BKES_KAFKA_BROKERS`: the address of the broker;
//! * `BKES_KAFKA_CONTROL`: a loopback address that takes one word per connection (`kill`, `stop`, `start`, `pause`,
//!   `resume`, or `set` with a property), does it to the broker, and answers `ok` or what went wrong;
//! * `BKES_KAFKA_DATA`: the folder in which its partitions lie.

use crate::kafka::{Cluster, Controlled};
use anyhow::{Context, bail};
use std::path::Path;
use std::process::Command;

/// Runs the broker tests.
#[derive(Debug, clap::Args)]
pub struct IntegrationArgs {
    /// Only the tests of this crate; may be repeated
    #[arg(long, short)]
    package: Vec<String>,
    /// Build with optimisations
    #[arg(long)]
    release: bool,
    /// Passed on to the tests: names to run, or options of the test runner
    #[arg(last = true)]
    tests: Vec<String>,
}

/// Builds the tests, starts the broker, runs the tests, ends the broker. An error when any failed or could not run.
pub fn run(args: IntegrationArgs) -> anyhow::Result<()> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).parent().context("xtask lies in the workspace")?;
    let packages = packages(&crate::tidy::metadata(root)?, &args.package)?;
    let cargo = |extra: &[&str]| {
        let mut command = Command::new("cargo");
        let all = args.package.is_empty();
        command.args(["test", "--locked"]).args(test_args(&packages, all, args.release)).args(extra);
        command.current_dir(root);
        command
    };
    succeeds(cargo(&["--no-run"])).context("the broker tests could not be built")?;

    let cluster = Cluster::start(1).context("the broker tests need a broker")?;
    let (address, data) = (cluster.address(), cluster.data());
    println!("Kafka runs at {address}");
    let control = Controlled::new(cluster)?;

    let mut tests = cargo(&["--no-fail-fast"]);
    tests.args(["--", "--test-threads=1"]).args(&args.tests);
    tests.env("BKES_KAFKA_BROKERS", address).env("BKES_KAFKA_CONTROL", &control.address);
    tests.env("BKES_KAFKA_DATA", data);
    succeeds(tests)
}

/// The crates with broker tests, or those of them that were asked for.
pub fn packages(metadata: &serde_json::Value, wanted: &[String]) -> anyhow::Result<Vec<String>> {
    let all = metadata["packages"].as_array().into_iter().flatten();
    let ours =
        all.filter(|package| package["source"].is_null() && package["features"]["integration"].is_array());
    let names: Vec<_> = ours.filter_map(|package| package["name"].as_str()).map(str::to_owned).collect();
    if let Some(unknown) = wanted.iter().find(|name| !names.contains(name)) {
        bail!("{unknown} has no broker tests; {} have", names.join(", "));
    }
    if names.is_empty() {
        bail!("no crate has broker tests");
    }
    Ok(if wanted.is_empty() { names } else { wanted.to_vec() })
}

fn test_args(packages: &[String], all: bool, release: bool) -> Vec<String> {
    let mut args: Vec<String> = Vec::new();
    if all {
        // Not one by one: dependencies would have other features than in the whole workspace, and be built again.
        args.push("--workspace".into());
    }
    for package in packages {
        if !all {
            args.extend(["--package".into(), package.clone()]);
        }
        args.extend(["--features".into(), format!("{package}/integration")]);
    }
    args.extend(["--test".into(), "kafka_*".into()]);
    if release {
        args.push("--release".into());
    }
    args
}

fn succeeds(mut command: Command) -> anyhow::Result<()> {
    let status = command.status().with_context(|| format!("{command:?}"))?;
    if !status.success() {
        bail!("{command:?}: {status}");
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn crates_with_broker_tests_are_chosen_by_their_feature() {
        let metadata = serde_json::json!({"packages": [
            {"name": "a", "source": null, "features": {"integration": []}},
            {"name": "b", "source": null, "features": {}},
            {"name": "c", "source": "registry", "features": {"integration": []}},
        ]});
        assert_eq!(packages(&metadata, &[]).expect("one"), ["a"]);
        let error = packages(&metadata, &["b".into()]).expect_err("it has none");
        assert_eq!(error.to_string(), "b has no broker tests; a have");
        packages(&serde_json::json!({"packages": []}), &[]).expect_err("nothing to run is no success");
    }

    #[test]
    fn only_the_broker_tests_are_run() {
        let args = |all, release| test_args(&["a".into()], all, release).join(" ");
        assert_eq!(args(false, true), "--package a --features a/integration --test kafka_* --release");
        assert_eq!(args(true, false), "--workspace --features a/integration --test kafka_*");
    }
}
