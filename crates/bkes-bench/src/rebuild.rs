//! The store built from nothing against raw replay, and resumed with nothing new.

use crate::Settings;
use crate::appends::{PARTITIONS, VALUE_BYTES, topic};
use crate::process::{Server, disk_bytes};
use crate::raw::replay;
use crate::report::{Rounds, Table};
use bkes_foreign::{Cluster, ForeignRecord};

/// Fills a topic with chains of ten.
fn fill(settings: &Settings, topic: &str) -> anyhow::Result<()> {
    let properties = [("partitioner", "murmur2_random"), ("batch.size", "1000000"), ("linger.ms", "20")];
    let producer = Cluster::new(&settings.brokers).producer(&properties)?;
    let value = vec![b'x'; VALUE_BYTES];
    let keys = settings.records.div_ceil(10);
    for number in 0..settings.records {
        // The events of a key lie far apart, as they do in life.
        let key = format!("key-{:09}", number % keys);
        let record = ForeignRecord { key: Some(key.as_bytes()), value: Some(&value), ..Default::default() };
        producer.send(topic, &record)?;
    }
    producer.flush()?;
    Ok(())
}

/// Rebuild, resume, memory and disk.
pub async fn rebuild(settings: &Settings) -> anyhow::Result<Table> {
    let title =
        format!("Rebuild of {} records of {VALUE_BYTES} bytes, {PARTITIONS} partitions", settings.records);
    let columns = [
        "records/s",
        "raw replay/s",
        "ratio",
        "CPU s per million",
        "peak MB",
        "disk bytes per event beside value and key",
        "resume with nothing new, s",
    ];
    let mut table = Table::new(title, &columns);
    let topic = topic(settings, PARTITIONS).await?;
    tokio::task::block_in_place(|| fill(settings, &topic))?;
    let records = settings.records as f64;
    let (mut rates, mut raw, mut cpu) = (Rounds::default(), Rounds::default(), Rounds::default());
    let (mut peak, mut disk, mut resume) = (Rounds::default(), Rounds::default(), Rounds::default());
    for _ in 0..settings.rounds {
        let brokers = &settings.brokers;
        let took = tokio::task::block_in_place(|| replay(brokers, &topic, PARTITIONS, settings.records))?;
        raw.0.push(records / took.as_secs_f64());
        let data = tempfile::tempdir()?;
        let server = Server::start(Server::command(&settings.server, data.path(), brokers, &topic))?;
        rates.0.push(records / server.ready_after.as_secs_f64());
        cpu.0.push(server.cpu_seconds() * 1e6 / records);
        peak.0.push(server.peak_mb());
        server.stop()?;
        let key_bytes = "key-000000000".len() as f64 / 10.0;
        disk.0.push(disk_bytes(data.path()) as f64 / records - VALUE_BYTES as f64 - key_bytes);
        let server = Server::start(Server::command(&settings.server, data.path(), brokers, &topic))?;
        resume.0.push(server.ready_after.as_secs_f64());
        server.stop()?;
    }
    table.rows.push(vec![
        rates.show(0),
        raw.show(0),
        rates.ratio(&raw).show(2),
        cpu.show(2),
        peak.show(0),
        disk.show(0),
        resume.show(2),
    ]);
    Ok(table)
}
