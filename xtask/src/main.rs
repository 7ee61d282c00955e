//! `cargo xtask`: the project's chores, one file each.

#![forbid(unsafe_code)]

mod bench;
mod chaos;
mod ci;
mod codegen;
mod docs;
mod files;
mod integration;
mod kafka;
mod pictures;
mod sim;
mod simulation;
mod teeth;
mod tidy;

use clap::Parser;

/// The project's chores.
#[derive(Debug, Parser)]
#[command(name = "cargo xtask")]
enum Task {
    /// Measure against what Kafka, gRPC and a file can do at all
    Bench(bench::BenchArgs),
    /// Several instances under load and faults on real brokers
    Chaos(chaos::ChaosArgs),
    /// Everything that must hold before a change is good
    Ci(ci::CiArgs),
    /// Generate Rust from proto/
    Codegen,
    /// Write docs/cli.md from what the command line says of itself
    Docs,
    /// Run every test that needs a broker, on a real one
    Integration(integration::IntegrationArgs),
    /// A Kafka broker for tests and for trying things out
    #[command(subcommand)]
    Kafka(kafka::KafkaTask),
    /// Draw the pictures of docs/pictures from their text
    Pictures,
    /// Run the engine by seed, with faults, and check what it promised
    Sim(sim::SimArgs),
    /// Check the rules that the compiler does not
    Tidy,
}

fn main() -> anyhow::Result<()> {
    match Task::parse() {
        Task::Bench(args) => bench::run(args),
        Task::Chaos(args) => chaos::run(args),
        Task::Ci(args) => ci::run(args),
        Task::Codegen => codegen::run(),
        Task::Docs => docs::run(),
        Task::Integration(args) => integration::run(args),
        Task::Kafka(task) => kafka::run(task),
        Task::Pictures => pictures::run(),
        Task::Sim(args) => sim::run(args),
        Task::Tidy => tidy::run(),
    }
}
