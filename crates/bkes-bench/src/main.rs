//! Measurements of BKES against the physical limit in the same run: what librdkafka, a bare gRPC relay and a plain file can do.
//!
//! `cargo xtask bench` starts a broker and runs this. References and BKES take turns within a round (A B A B), and a figure is
//! the median over the rounds of the ratio within a round, so that a machine that is slow for a while is slow for both.

#![deny(unsafe_code)]

mod document;
mod load;
mod parts;
mod plot;
mod process;
mod raw;
mod relay;
mod report;
mod second_contract;
mod settings;
mod sides;
mod targets;

use crate::report::Part;
use crate::settings::Settings;
use crate::targets::{Row, summary};
use clap::Parser;
use std::time::{Duration, Instant};

/// The names of the parts.
pub const NAMES: [&str; 12] = [
    "engine", "grpc", "stream", "batches", "hot", "mixed", "reads", "reads2", "long", "rebuild", "file",
    "baseline",
];

/// The parts by their names. `baseline` runs only where there is one.
const PARTS: [Part; 12] = [
    |settings| Box::pin(parts::engine::measure(settings)),
    |settings| Box::pin(parts::grpc::measure(settings)),
    |settings| Box::pin(parts::stream::measure(settings)),
    |settings| Box::pin(parts::batches::measure(settings)),
    |settings| Box::pin(parts::hot::measure(settings)),
    |settings| Box::pin(parts::mixed::measure(settings)),
    |settings| Box::pin(parts::reads::measure(settings)),
    |settings| Box::pin(parts::reads2::measure(settings)),
    |settings| Box::pin(parts::long::measure(settings)),
    |settings| Box::pin(parts::rebuild::measure(settings)),
    |settings| Box::pin(parts::file::measure(settings)),
    |settings| Box::pin(parts::baseline::measure(settings)),
];

fn main() -> anyhow::Result<()> {
    let settings = Settings::parse();
    // As bins/bkes-server makes it: the relay is to have what the server has.
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
    runtime.block_on(async {
        match &settings.relay {
            Some(topic) => relay::serve(relay::Relay::new(settings.brokers()?, topic)?).await,
            None => measure(&settings).await,
        }
    })
}

async fn measure(settings: &Settings) -> anyhow::Result<()> {
    warm_broker(settings).await?;
    let mut all: Vec<Row> = Vec::new();
    for (name, part) in NAMES.into_iter().zip(PARTS) {
        let has_sides = name != "baseline" || settings.baseline_server.is_some();
        if !settings.wants(name) || !has_sides {
            continue;
        }
        let began = Instant::now();
        let section = part(settings).await?;
        sides::delete_topics(settings).await?;
        println!("## {name}\n\n{}", document::show(&section, ""));
        eprintln!("{name}: {:.0} s", began.elapsed().as_secs_f64());
        if let Some(path) = settings.write.as_deref().filter(|_| name != "baseline") {
            document::write(path, name, &section, &settings.stamp)?;
        }
        all.extend(section.rows());
    }
    if !all.is_empty() {
        println!("{}", summary(&all));
    }
    Ok(())
}

/// A broker that has just started runs code that is still interpreted: it answers a lone caller with a fiftieth of the rate
/// it has seconds later. Nobody is to be measured against that.
async fn warm_broker(settings: &Settings) -> anyhow::Result<()> {
    if settings.parts.iter().all(|part| part == "file") && !settings.parts.is_empty() {
        return Ok(());
    }
    let topic = sides::topic(settings, sides::PARTITIONS).await?;
    let _tail = raw::Tail::follow(settings.brokers()?, &topic, sides::PARTITIONS)?;
    let raw = raw::RawLoop::new(settings.brokers()?, &topic, sides::PARTITIONS)?;
    let seconds = if settings.quick { 2 } else { 5 };
    tokio::task::block_in_place(|| {
        raw.run(64, Duration::from_secs(seconds), sides::VALUE_BYTES)?;
        let lone = raw.run(1, Duration::from_secs(seconds), sides::VALUE_BYTES)?;
        eprintln!("the broker is warm: {:.0} appends/s by one caller, raw", lone.rate);
        anyhow::Ok(())
    })
}
