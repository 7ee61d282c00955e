//! The embedded log, with the engine and without Kafka, against group-committed appends to a plain file.
//!
//! The reference has the same callers, and so groups as the engine does: one thread writes what has gathered, one fdatasync
//! for all of it, then each caller is answered and asks again. Beside it stands what the disk takes when nobody has to be
//! answered: whole groups of as many records as there are callers, one after the other.

use crate::load::{Kind, Mix, closed_loop};
use crate::report::{Section, Table, rounds};
use crate::settings::Settings;
use crate::sides::{Embedded, Keeps, VALUE_BYTES, Work, callers_in_words, engine_loop};
use crate::targets::Verdict;
use bkes_embedded::{EmbeddedLog, EmbeddedOptions};
use std::fs::File;
use std::io::Write;
use std::num::NonZeroU32;
use std::path::Path;
use std::sync::Arc;
use std::sync::mpsc::{Receiver, channel};
use std::time::{Duration, Instant};
use tokio::sync::oneshot;
use tokio::task::block_in_place;

/// A record with its key and its frame.
const RECORD_BYTES: usize = VALUE_BYTES + 60;

/// Groups of so many records, each with one fdatasync; records a second.
fn groups(directory: &Path, records: usize, span: Duration) -> anyhow::Result<f64> {
    let mut file = File::create(directory.join("groups"))?;
    let group: Vec<u8> = vec![b'x'; RECORD_BYTES].repeat(records);
    let (began, mut appends) = (Instant::now(), 0);
    while began.elapsed() < span {
        file.write_all(&group)?;
        file.sync_data()?;
        appends += records;
    }
    Ok(appends as f64 / began.elapsed().as_secs_f64())
}

/// A record, and whom to tell that it is on disk.
type Waiting = (Vec<u8>, oneshot::Sender<()>);

/// Writes what has gathered, as long as anybody may come.
fn write_groups(mut file: File, from: &Receiver<Waiting>) -> std::io::Result<()> {
    let (mut group, mut told) = (Vec::new(), Vec::new());
    while let Ok(first) = from.recv() {
        for (record, to) in std::iter::once(first).chain(from.try_iter()) {
            group.extend_from_slice(&record);
            told.push(to);
        }
        file.write_all(&group)?;
        file.sync_data()?;
        group.clear();
        for to in told.drain(..) {
            // A caller waits for its record, or the loop is over.
            let _ = to.send(());
        }
    }
    Ok(())
}

/// A closed loop on a plain file.
async fn plain_loop(directory: &Path, callers: usize, span: Duration) -> anyhow::Result<Mix> {
    let file = File::create(directory.join("plain"))?;
    let (to, from) = channel::<Waiting>();
    let writer = std::thread::spawn(move || write_groups(file, &from));
    let mix = closed_loop(callers, span, || {
        let to = to.clone();
        move || {
            let (told, answer) = oneshot::channel();
            let sent = to.send((vec![b'x'; RECORD_BYTES], told));
            async move {
                sent.map_err(|_| anyhow::anyhow!("the writer is gone"))?;
                answer.await?;
                Ok((Kind::Append, 0))
            }
        }
    })
    .await?;
    drop(to);
    writer.join().map_err(|_| anyhow::anyhow!("the writer panicked"))??;
    Ok(mix)
}

/// Durable appends.
pub async fn measure(settings: &Settings) -> anyhow::Result<Section> {
    let title = "Durable appends to the embedded log, by the engine, against a plain file with fdatasync";
    let columns = [
        "callers",
        "appends/s",
        "plain file/s",
        "ratio",
        "p50 ms",
        "p50 ratio",
        "whole groups, nobody waits/s",
    ];
    let mut table = Table::new(title, &columns);
    let mut section = Section::default();
    let data = tempfile::tempdir()?;
    let folder = data.path().join("log");
    std::fs::create_dir_all(&folder)?;
    let options = EmbeddedOptions { partitions: NonZeroU32::MIN, ..EmbeddedOptions::new(folder) };
    let embedded = Embedded::on(Arc::new(EmbeddedLog::open(&options)?), Keeps::Disk).await?;
    for callers in [1, 64] {
        let all = rounds(settings, async |span| {
            let limit = plain_loop(data.path(), callers, span).await?.appends;
            let mine = engine_loop(&embedded.handle(), Work::appends(callers, span)).await?.appends;
            let whole = block_in_place(|| groups(data.path(), callers, span))?;
            Ok([mine.rate, limit.rate, mine.p50_ms(), limit.p50_ms(), whole])
        });
        let [rates, reference, p50, reference_p50, whole] = all.await?;
        let (ratio, p50_ratio) = (rates.ratio(&reference), p50.ratio(&reference_p50));
        let at = callers_in_words(callers);
        section.verdicts.push(Verdict::new("file-rate", at, ratio.median()));
        table.rows.push(vec![
            callers.to_string(),
            rates.show(0),
            reference.show(0),
            ratio.show(2),
            p50.show(3),
            p50_ratio.show(2),
            whole.show(0),
        ]);
    }
    embedded.stop().await?;
    section.tables.push(table);
    Ok(section)
}
