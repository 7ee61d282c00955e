//! The store built from nothing against raw replay, and resumed with nothing new.

use crate::plot::{Line, Plot, Scale};
use crate::process::{Server, disk_bytes};
use crate::raw::replay;
use crate::report::{Rounds, Section, Table};
use crate::settings::Settings;
use crate::sides::{VALUE_BYTES, channels, delete_topics, topic};
use crate::targets::Verdict;
use anyhow::bail;
use bkes_foreign::{Cluster, ForeignRecord};
use bkes_grpc::api::bkes_client::BkesClient;
use bkes_grpc::api::{RetrieveRequest, retrieve_reply};
use std::path::Path;
use std::time::{Duration, Instant};
use tokio::task::block_in_place;

const PARTITIONS: [u32; 2] = [5, 100];

const MIB_MB: f64 = 1.048_576;

/// How long a store may take to be built or resumed before the measurement gives up.
const PATIENCE: Duration = Duration::from_secs(1_800);

/// The `number`th key.
fn key(number: u64) -> String {
    format!("key-{number:09}")
}

/// Fills a topic with chains of ten.
fn fill(settings: &Settings, topic: &str, records: u64) -> anyhow::Result<()> {
    let properties = [("partitioner", "murmur2_random"), ("batch.size", "1000000"), ("linger.ms", "20")];
    let producer = Cluster::new(settings.brokers()?).producer(&properties)?;
    let value = vec![b'x'; VALUE_BYTES];
    for number in 0..records {
        // The events of a key lie far apart, as they do in life.
        let key = key(number % records.div_ceil(10));
        let record = ForeignRecord { key: Some(key.as_bytes()), value: Some(&value), ..Default::default() };
        producer.send(topic, &record)?;
    }
    producer.flush()?;
    Ok(())
}

/// What is rebuilt, and with how much memory.
#[derive(Clone, Copy)]
struct Case {
    records: u64,
    partitions: u32,
    cache_mib: u32,
}

/// What a case gave, over the rounds.
#[derive(Default)]
struct Found {
    rates: Rounds,
    raw: Rounds,
    cpu: Rounds,
    peak: Rounds,
    disk: Rounds,
    resume: Rounds,
}

/// Rebuild, resume, memory and disk.
pub async fn measure(settings: &Settings) -> anyhow::Result<Section> {
    let columns = [
        "records",
        "partitions",
        "cache MiB",
        "records/s",
        "raw replay/s",
        "ratio",
        "CPU s per million",
        "peak MB",
        "disk bytes per event beside value and key",
        "resume with nothing new, start to first answer, s",
    ];
    let title =
        format!("Rebuild of records of {VALUE_BYTES} bytes, ten a key, against raw replay in batches");
    let mut table = Table::new(title, &columns);
    let mut section = Section::default();
    let mut lines = PARTITIONS.map(|partitions| {
        [("BKES", false), ("raw replay", true)].map(|(name, is_reference)| Line {
            name: format!("{name}, {partitions} partitions"),
            points: Vec::new(),
            is_reference,
        })
    });
    let sizes = settings.records();
    let (mut first, last) = (None, sizes.last().copied());
    for records in sizes.iter().copied() {
        for (partitions, lines) in PARTITIONS.into_iter().zip(&mut lines) {
            let topic = topic(settings, partitions).await?;
            block_in_place(|| fill(settings, &topic, records))?;
            // Little memory is tried where it is hardest.
            let with_little = (Some(records) == last && partitions == PARTITIONS[0]).then_some(16);
            for cache_mib in [Some(64), with_little].into_iter().flatten() {
                let case = Case { records, partitions, cache_mib };
                let found = repeat(settings, &topic, case).await?;
                table.rows.push(found.row(case));
                if cache_mib == 64 {
                    lines[0].points.push((records as f64, found.rates.median()));
                    lines[1].points.push((records as f64, found.raw.median()));
                }
                if partitions == PARTITIONS[0] {
                    let is_last = Some(records) == last;
                    section.verdicts.extend(found.verdicts(case, &mut first, is_last));
                }
            }
            delete_topics(settings).await?;
        }
    }
    section.tables.push(table);
    section.plots.push(("bench-rebuild", over_size(&sizes, lines.into_iter().flatten().collect())));
    Ok(section)
}

async fn repeat(settings: &Settings, topic: &str, case: Case) -> anyhow::Result<Found> {
    let Case { records, partitions, cache_mib } = case;
    let brokers = settings.brokers()?;
    let count = records as f64;
    let mut found = Found::default();
    let rounds = if records > 1_000_000 { settings.long_rounds() } else { settings.rounds() };
    for _ in 0..rounds {
        let took = block_in_place(|| replay(brokers, topic, partitions, records))?;
        found.raw.0.push(count / took.as_secs_f64());
        let data = tempfile::tempdir()?;
        let command = || {
            let mut command = Server::command(settings.server()?, data.path(), brokers, topic);
            command.env("CACHE_MIB", cache_mib.to_string());
            anyhow::Ok(command)
        };
        let server = Server::start(command()?)?;
        found.rates.0.push(count / server.after.as_secs_f64());
        found.cpu.0.push(server.cpu_seconds() * 1e6 / count);
        found.peak.0.push(server.peak_mb());
        server.stop()?;
        let overhead =
            disk_bytes(data.path()) as f64 / count - VALUE_BYTES as f64 - key(0).len() as f64 / 10.0;
        found.disk.0.push(overhead);
        let server = Server::open(command()?)?;
        found.resume.0.push(first_answer(&server, &key(0)).await?.as_secs_f64());
        server.stop()?;
    }
    Ok(found)
}

/// From the start of a server's process to the first read that it answers with ten events.
pub async fn first_answer(server: &Server, key: &str) -> anyhow::Result<Duration> {
    let mut client = BkesClient::new(channels(&server.address, 1).await?.remove(0));
    while server.began.elapsed() < PATIENCE {
        let request = RetrieveRequest { key: key.to_owned().into(), ..RetrieveRequest::default() };
        match client.retrieve(request).await?.into_inner().reply {
            Some(retrieve_reply::Reply::Success(found)) if found.records.len() == 10 => {
                return Ok(server.began.elapsed());
            }
            Some(retrieve_reply::Reply::Error(_)) => tokio::time::sleep(Duration::from_millis(1)).await,
            other => bail!("{other:?}"),
        }
    }
    bail!("there was no answer within {PATIENCE:?}")
}

impl Found {
    fn row(&self, case: Case) -> Vec<String> {
        vec![
            case.records.to_string(),
            case.partitions.to_string(),
            case.cache_mib.to_string(),
            self.rates.show(0),
            self.raw.show(0),
            self.rates.ratio(&self.raw).show(2),
            self.cpu.show(2),
            self.peak.show(0),
            self.disk.show(0),
            self.resume.show(2),
        ]
    }

    /// What this says about the targets: the smallest size is judged by its ratio, the largest by the rest.
    fn verdicts(&self, case: Case, first: &mut Option<f64>, is_last: bool) -> Vec<Verdict> {
        let at = format!("{} records", case.records);
        let say = |id, value| Verdict::new(id, at.clone(), value);
        if case.cache_mib != 64 {
            return vec![say("small-rss", self.peak.median())];
        }
        let mut verdicts = Vec::new();
        if first.is_none() {
            verdicts.push(say("rebuild-rate", self.rates.ratio(&self.raw).median()));
        }
        let smallest = *first.get_or_insert(self.rates.median());
        if is_last {
            verdicts.push(say("rebuild-scale", self.rates.median() / smallest));
            verdicts.push(say("rebuild-rss", self.peak.median() - f64::from(case.cache_mib) * MIB_MB));
            verdicts.push(say("disk", self.disk.median()));
            verdicts.push(say("resume", self.resume.median()));
        }
        verdicts
    }
}

fn over_size(sizes: &[u64], lines: Vec<Line>) -> Plot {
    let marks = sizes.iter().map(|size| (*size as f64, format!("{} M", *size as f64 / 1e6))).collect();
    Plot {
        title: "Rebuild over the size of the topic".into(),
        axes: ("records", "records a second"),
        across: (Scale::Factors, marks),
        up: Scale::Even,
        lines,
    }
}

/// A rebuild by another build of the server, for comparisons of the two.
pub fn rebuild_once(
    settings: &Settings,
    program: &Path,
    topic: &str,
    records: u64,
) -> anyhow::Result<[f64; 3]> {
    let data = tempfile::tempdir()?;
    let began = Instant::now();
    let server = Server::start(Server::command(program, data.path(), settings.brokers()?, topic))?;
    let figures = [records as f64 / began.elapsed().as_secs_f64(), server.cpu_seconds(), server.peak_mb()];
    server.stop()?;
    Ok(figures)
}

/// A topic with so many records to rebuild from.
pub async fn filled(settings: &Settings, records: u64) -> anyhow::Result<String> {
    let topic = topic(settings, PARTITIONS[0]).await?;
    block_in_place(|| fill(settings, &topic, records))?;
    Ok(topic)
}
