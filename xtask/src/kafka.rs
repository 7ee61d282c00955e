//! `cargo xtask kafka`: a real Kafka broker for tests and for trying things out, with nothing but Java and Maven.
//!
//! The jars come through Maven, once, into `target/kafka`. A broker is a KRaft node (broker and controller in one) on
//! loopback, on free ports, with its own data directory; a cluster is one of them or three. A broker started by another task ends with that task, however the
//! task ends; one from `start` runs until `stop`.

mod broker;
mod cluster;
mod control;
mod jars;

pub use broker::Broker;
pub use cluster::Cluster;
pub use control::Controlled;

use anyhow::{Context, bail};
use std::fs;
use std::path::{Path, PathBuf};

/// What to do with a broker.
#[derive(Debug, clap::Subcommand)]
pub enum KafkaTask {
    /// Start a broker in the background, and print its address
    Start,
    /// Stop the broker that `start` started, and remove its data
    Stop,
    /// Run a broker until Enter is pressed or standard input ends
    Run,
}

/// Runs one of the tasks above.
pub fn run(task: KafkaTask) -> anyhow::Result<()> {
    match task {
        KafkaTask::Start => start(),
        KafkaTask::Stop => stop(),
        KafkaTask::Run => run_here(),
    }
}

fn start() -> anyhow::Result<()> {
    let record = record();
    if let Ok(text) = fs::read_to_string(&record) {
        let (pid, address) = parse_record(&text)?;
        if broker::is_running(pid) {
            bail!("a broker is running already: KAFKA_BROKERS={address} (cargo xtask kafka stop)");
        }
        fs::remove_file(&record)?;
    }
    let dir = cache().join("background");
    let broker = Broker::start_in(&dir)?;
    fs::write(&record, format!("{} {}\n", broker.pid(), broker.address()))?;
    println!("KAFKA_BROKERS={}", broker.address());
    broker.detach();
    Ok(())
}

fn stop() -> anyhow::Result<()> {
    let record = record();
    let text = fs::read_to_string(&record).context("no broker was started by `cargo xtask kafka start`")?;
    let (pid, address) = parse_record(&text)?;
    broker::stop_detached(pid)?;
    fs::remove_file(&record)?;
    fs::remove_dir_all(cache().join("background"))?;
    println!("the broker at {address} has stopped");
    Ok(())
}

fn run_here() -> anyhow::Result<()> {
    let broker = Broker::start()?;
    println!("KAFKA_BROKERS={}", broker.address());
    println!("Enter stops it");
    std::io::stdin().read_line(&mut String::new())?;
    drop(broker);
    Ok(())
}

/// The file that remembers the broker in the background: its process and its address.
fn record() -> PathBuf {
    cache().join("background.txt")
}

fn parse_record(text: &str) -> anyhow::Result<(u32, String)> {
    let (pid, address) = text.trim().split_once(' ').context("background.txt holds a pid and an address")?;
    Ok((pid.parse()?, address.to_owned()))
}

/// Where jars and data lie: beside everything else that can be made again.
fn cache() -> PathBuf {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("..");
    let target = std::env::var_os("CARGO_TARGET_DIR").map_or_else(|| root.join("target"), PathBuf::from);
    target.join("kafka")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_record_of_a_broker_is_read_back() {
        let (pid, address) = parse_record("17 127.0.0.1:29092\n").expect("complete");
        assert_eq!((pid, address.as_str()), (17, "127.0.0.1:29092"));
        parse_record("17").expect_err("no address");
    }
}
