//! One hot key: all callers append to the same aggregate, and go on with the order they are told when another was faster.
//!
//! At most one append of a key is under way, so the limit is a raw producer with one caller.

use crate::load::{Kind, Mix, closed_loop};
use crate::raw::{RawLoop, Tail};
use crate::report::{Section, Table, rounds};
use crate::settings::Settings;
use crate::sides::{Embedded, Keeps, VALUE_BYTES, topic};
use anyhow::Context;
use bkes_core::{Key, Order};
use bkes_engine::{AppendError, AppendRequest, EngineHandle, Expected};
use bytes::Bytes;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;
use tokio::task::block_in_place;

/// A loop on one key; with it, how many refusals there were.
async fn hot_loop(handle: &EngineHandle, callers: usize, span: Duration) -> anyhow::Result<(Mix, u64)> {
    let key = Key::new(format!("hot-{:08x}", fastrand::u32(..))).context("a key")?;
    let (value, conflicts) = (Bytes::from(vec![b'x'; VALUE_BYTES]), Arc::new(AtomicU64::new(0)));
    let first = AppendRequest::of_values(key.clone(), Expected::New, vec![value.clone()]);
    handle.append(first).await?;
    let next = Arc::new(AtomicU64::new(1));
    let mix = closed_loop(callers, span, || {
        let (handle, key, value) = (handle.clone(), key.clone(), value.clone());
        let (conflicts, next) = (Arc::clone(&conflicts), Arc::clone(&next));
        move || {
            let (handle, key, value) = (handle.clone(), key.clone(), value.clone());
            let (conflicts, next) = (Arc::clone(&conflicts), Arc::clone(&next));
            async move {
                loop {
                    let expected = Expected::At(Order(next.load(Ordering::Relaxed)));
                    let request = AppendRequest::of_values(key.clone(), expected, vec![value.clone()]);
                    match handle.append(request).await {
                        Ok(appended) => {
                            next.fetch_max(appended.last.0 + 1, Ordering::Relaxed);
                            return Ok((Kind::Append, 0));
                        }
                        Err(AppendError::Conflict { current, .. }) => {
                            conflicts.fetch_add(1, Ordering::Relaxed);
                            next.fetch_max(current.0, Ordering::Relaxed);
                        }
                        Err(error) => return Err(error.into()),
                    }
                }
            }
        }
    })
    .await?;
    Ok((mix, conflicts.load(Ordering::Relaxed)))
}

/// One and sixteen callers.
pub async fn measure(settings: &Settings) -> anyhow::Result<Section> {
    let title =
        "Appends to one hot key, embedded engine, against a raw producer and consumer with one caller";
    let columns = ["callers", "appends/s", "reference/s", "ratio", "p50 ms", "refusals for each append"];
    let mut table = Table::new(title, &columns);
    let (ours, theirs) = (topic(settings, 1).await?, topic(settings, 1).await?);
    let embedded = Embedded::start(settings, &ours, Keeps::Disk).await?;
    let _tail = Tail::follow(settings.brokers()?, &theirs, 1)?;
    let raw = RawLoop::new(settings.brokers()?, &theirs, 1)?;
    for callers in [1, 16] {
        let all = rounds(settings, async |span| {
            let limit = block_in_place(|| raw.run(1, span, VALUE_BYTES))?;
            let (mine, conflicts) = hot_loop(&embedded.handle(), callers, span).await?;
            let refusals = conflicts as f64 / mine.answered as f64;
            Ok([mine.appends.rate, limit.rate, mine.appends.p50_ms(), refusals])
        });
        let [rates, reference, p50, refusals] = all.await?;
        let ratio = rates.ratio(&reference).show(2);
        let row = [rates.show(0), reference.show(0), ratio, p50.show(3), refusals.show(2)];
        table.rows.push(std::iter::once(callers.to_string()).chain(row).collect());
    }
    embedded.stop().await?;
    Ok(Section { tables: vec![table], ..Section::default() })
}
