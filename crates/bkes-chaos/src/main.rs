//! Several instances of BKES on one topic of a real Kafka, clients that append and read, and faults; at the end the checker
//! says whether the promises held.
//!
//! `cargo xtask chaos` starts the nodes and runs this. The seed decides which faults come in which order and how long they
//! take; what they meet is decided by time.

#![forbid(unsafe_code)]

mod calls;
mod coverage;
mod disk;
mod ending;
mod faults;
mod follower;
mod foreign;
mod instance;
mod limits;
mod load;
mod memory;
mod named;
mod nemesis;
mod proxy;
mod run;
mod store_client;
mod stream_client;
mod summary;
mod topic;
mod v2;
mod worker;

use clap::Parser;
use std::path::PathBuf;
use std::process::ExitCode;

#[derive(Debug, Parser)]
enum Task {
    /// A run: load, faults, and the check
    Run(RunArgs),
    /// An instance with an embedded engine
    Worker(worker::WorkerArgs),
}

/// What a run needs to know.
#[derive(Clone, Debug, clap::Args)]
pub struct RunArgs {
    /// The nodes, host:port, separated by commas
    #[arg(long)]
    brokers: String,
    /// A way to the nodes through proxies that are started here: PROXY-PORT:PORT for each node, separated by commas
    #[arg(long = "way", required = true)]
    ways: Vec<String>,
    /// Where nodes are controlled
    #[arg(long)]
    control: String,
    /// The program bkes-server
    #[arg(long)]
    server: PathBuf,
    /// A folder for data, logs, and the history when there are findings
    #[arg(long)]
    folder: PathBuf,
    /// How long faults happen
    #[arg(long)]
    seconds: u64,
    /// What decides the faults; a random one when left out
    #[arg(long)]
    seed: Option<u64>,
    /// Calling at the same time
    #[arg(long, default_value_t = 12)]
    clients: u32,
}

impl RunArgs {
    /// How many nodes there are.
    fn nodes(&self) -> usize {
        self.brokers.split(',').count()
    }
}

fn main() -> anyhow::Result<ExitCode> {
    let task = Task::parse();
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(4).enable_all().build()?;
    let code = runtime.block_on(async {
        match task {
            Task::Run(args) => Ok(if run::run(args).await? { ExitCode::SUCCESS } else { ExitCode::FAILURE }),
            Task::Worker(args) => worker::run(args).await.map(|()| ExitCode::SUCCESS),
        }
    });
    // What still listens or waits must not hold the process.
    runtime.shutdown_background();
    code
}
