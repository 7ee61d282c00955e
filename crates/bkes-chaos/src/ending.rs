//! The end of a run: when nothing fails any more, everything must be ready within a bound, and is read completely.

use crate::calls::{Caller, Line, Recorder};
use crate::instance::Instance;
use anyhow::{Context, bail};
use bkes_check::{AppendOutcome, ClientId, Content, ContentOf, Premise, ReadOutcome};
use bkes_core::{Key, Order};
use bytes::Bytes;
use std::collections::{BTreeMap, BTreeSet};
use std::time::{Duration, Instant};

/// From the end of the faults, or from a start, until an instance has read everything.
pub const READY_MAX: Duration = Duration::from_secs(120);

/// Most events asked for at once.
const PAGE: u64 = 2_000;

/// Waits until an instance shows the last record of every partition; how long it took.
pub async fn caught_up(instance: &Instance, sentinels: &[Key]) -> anyhow::Result<Duration> {
    let began = Instant::now();
    for key in sentinels {
        loop {
            instance.is_as_expected()?;
            let read = Line::to(instance).read(key, Order::FIRST, None).await;
            if matches!(read, ReadOutcome::Events { .. }) {
                break;
            }
            if began.elapsed() > READY_MAX {
                bail!("{} is not ready {READY_MAX:?} after the last fault: {key}: {read:?}", instance.id);
            }
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
    }
    Ok(began.elapsed())
}

/// Waits until an instance acknowledges an append; how long it took.
pub async fn appends(instance: &Instance, recorder: &Recorder) -> anyhow::Result<Duration> {
    let began = Instant::now();
    let mut line = Line::to(instance);
    for attempt in 0.. {
        let name = format!("alive-{}-{attempt}", instance.id.0);
        let value = Bytes::from(name.clone());
        let key = Key::new(name).context("a name is not empty")?;
        let (client, premise) = (ClientId(u32::MAX), Premise::NOTHING);
        let caller = Caller { client, instance: instance.id, line: &mut line };
        let told = recorder.append(caller, &key, premise, vec![value]).await;
        if matches!(told, AppendOutcome::Acknowledged { .. }) {
            break;
        }
        instance.is_as_expected()?;
        if began.elapsed() > READY_MAX {
            bail!("{} acknowledges no append {READY_MAX:?} after the last fault: {told:?}", instance.id);
        }
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    Ok(began.elapsed())
}

/// Everything that an instance holds of these keys.
pub async fn content(instance: &Instance, of: ContentOf, keys: &BTreeSet<Key>) -> anyhow::Result<Content> {
    let mut line = Line::to(instance);
    let mut all = BTreeMap::new();
    for key in keys {
        let (mut events, mut refused) = (Vec::new(), 0);
        loop {
            match line.read(key, Order(events.len() as u64), Some(PAGE)).await {
                ReadOutcome::NoSuchAggregate => break,
                ReadOutcome::Events { events: page, more } => {
                    let is_stuck = more && page.is_empty();
                    events.extend(page);
                    if !more || is_stuck {
                        break;
                    }
                }
                other => {
                    // A damaged page may be met now for the first time; the store is then rebuilt.
                    refused += 1;
                    tokio::time::sleep(Duration::from_millis(200)).await;
                    if refused > 300 {
                        bail!("{of}: {key} cannot be read: {other:?}");
                    }
                }
            }
        }
        if !events.is_empty() {
            all.insert(key.clone(), events);
        }
    }
    Ok(Content { of, keys: all })
}
