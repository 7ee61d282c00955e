//! Measurements of BKES against the physical limit in the same run: what librdkafka, a bare gRPC relay and a plain file can do.
//!
//! `cargo xtask bench` starts a broker and runs this. References and BKES take turns within a round (A B A B), and a figure is
//! the median over the rounds of the ratio within a round, so that a machine that is slow for a while is slow for both.

#![forbid(unsafe_code)]

mod appends;
mod file;
mod load;
mod process;
mod raw;
mod reads;
mod rebuild;
mod relay;
mod report;

use clap::Parser;
use std::path::PathBuf;
use std::time::Duration;

/// Where and how much to measure.
#[derive(Clone, Debug, Parser)]
pub struct Settings {
    /// The brokers
    #[arg(long)]
    pub brokers: String,
    /// The release build of bkes-server
    #[arg(long)]
    pub server: PathBuf,
    /// Rounds of each comparison
    #[arg(long, default_value_t = 5)]
    pub rounds: usize,
    /// Seconds of each closed loop
    #[arg(long, default_value_t = 4.0)]
    pub seconds: f64,
    /// Records of the rebuild
    #[arg(long, default_value_t = 1_000_000)]
    pub records: u64,
    /// Events of the long aggregate
    #[arg(long, default_value_t = 100_000)]
    pub long: u64,
    /// Be the bare relay to this topic instead of measuring
    #[arg(long)]
    pub relay: Option<String>,
    /// Parts to measure; all without any
    #[arg(value_parser = ["engine", "grpc", "reads", "batches", "rebuild", "long", "file"])]
    pub parts: Vec<String>,
}

impl Settings {
    /// How long a closed loop runs.
    pub fn span(&self) -> Duration {
        Duration::from_secs_f64(self.seconds)
    }

    fn wants(&self, part: &str) -> bool {
        self.parts.is_empty() || self.parts.iter().any(|wanted| wanted == part)
    }
}

fn main() -> anyhow::Result<()> {
    let settings = Settings::parse();
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
    runtime.block_on(async {
        if let Some(topic) = &settings.relay {
            let records = 10;
            let relay = relay::Relay::new(
                &settings.brokers,
                topic,
                appends::PARTITIONS,
                records,
                appends::VALUE_BYTES,
            )?;
            return relay::serve(relay).await;
        }
        let all: [(&str, report::Part); 7] = [
            ("engine", |settings| Box::pin(appends::engine(settings))),
            ("grpc", |settings| Box::pin(appends::grpc(settings))),
            ("batches", |settings| Box::pin(appends::batches(settings))),
            ("reads", |settings| Box::pin(reads::reads(settings))),
            ("long", |settings| Box::pin(appends::long(settings))),
            ("rebuild", |settings| Box::pin(rebuild::rebuild(settings))),
            ("file", |settings| Box::pin(file::durable(settings))),
        ];
        for (name, part) in all {
            if settings.wants(name) {
                let table = part(&settings).await?;
                println!("{table}");
            }
        }
        Ok(())
    })
}
