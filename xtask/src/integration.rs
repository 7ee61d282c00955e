//! `cargo xtask integration`: every test that needs a broker, on a real one.
//!
//! Starts a broker, runs the test targets `kafka_*` of every crate with a feature `integration`, one test at a time, and ends
//! the broker in every case. Tests find it through two variables:
//!
//! * `BKES_KAFKA_BROKERS`: the address of the broker;
//! * `BKES_KAFKA_CONTROL`: a loopback address that takes one word per connection (`kill`, `stop`, `start`, `pause`,
//!   `resume`), does it to the broker, and answers `ok` or what went wrong.

use crate::kafka::{Broker, Signal};
use anyhow::{Context, bail};
use std::io::{BufRead, BufReader, Write};
use std::net::{TcpListener, TcpStream};
use std::path::Path;
use std::process::Command;
use std::sync::{Arc, Mutex};

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
        command.args(["test", "--locked"]).args(test_args(&packages, args.release)).args(extra);
        command.current_dir(root);
        command
    };
    succeeds(cargo(&["--no-run"])).context("the broker tests could not be built")?;

    let broker = Broker::start().context("the broker tests need a broker")?;
    let address = broker.address().to_owned();
    println!("Kafka runs at {address}");
    // The thread that answers holds the broker too, and would outlive us: taking it out of there is what ends it.
    let broker = Arc::new(Mutex::new(Some(broker)));
    let control = serve(&broker)?;

    let mut tests = cargo(&["--no-fail-fast"]);
    tests.args(["--", "--test-threads=1"]).args(&args.tests);
    tests.env("BKES_KAFKA_BROKERS", address).env("BKES_KAFKA_CONTROL", control);
    let result = succeeds(tests);
    drop(lock(&broker).take());
    result
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

fn test_args(packages: &[String], release: bool) -> Vec<String> {
    let mut args: Vec<String> = Vec::new();
    for package in packages {
        args.extend(["--package".into(), package.clone()]);
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

/// Lets tests do things to the broker; returns the address for that. The thread ends with the process.
fn serve(broker: &Arc<Mutex<Option<Broker>>>) -> anyhow::Result<String> {
    let listener = TcpListener::bind("127.0.0.1:0")?;
    let address = listener.local_addr()?.to_string();
    let broker = Arc::clone(broker);
    std::thread::spawn(move || {
        for stream in listener.incoming().flatten() {
            if let Err(error) = answer(stream, &broker) {
                eprintln!("broker control: {error:#}");
            }
        }
    });
    Ok(address)
}

fn answer(stream: TcpStream, broker: &Mutex<Option<Broker>>) -> anyhow::Result<()> {
    let mut word = String::new();
    BufReader::new(&stream).read_line(&mut word)?;
    let reply = match lock(broker).as_mut() {
        Some(broker) => act(broker, word.trim()),
        None => Err(anyhow::anyhow!("the broker has ended")),
    };
    match reply {
        Ok(()) => writeln!(&stream, "ok")?,
        Err(error) => writeln!(&stream, "{}", format!("{error:#}").replace('\n', " "))?,
    }
    Ok(())
}

fn act(broker: &mut Broker, word: &str) -> anyhow::Result<()> {
    match word {
        "kill" => broker.signal(Signal::Kill),
        "stop" => broker.signal(Signal::Term),
        "pause" => broker.signal(Signal::Pause),
        "resume" => broker.signal(Signal::Resume),
        "start" => broker.restart(),
        _ => bail!("unknown word {word:?}: kill, stop, start, pause, resume"),
    }
}

/// Nothing is left half done by a panic here that the next word could trip over.
fn lock<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(std::sync::PoisonError::into_inner)
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
        let args = test_args(&["a".into()], true).join(" ");
        assert_eq!(args, "--package a --features a/integration --test kafka_* --release");
    }
}
