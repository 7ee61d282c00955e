//! The progress of the catch-up: a line of the log every few seconds. A bar would be drawn on the terminal itself, which somebody may have
//! stopped.

use bkes_engine::{EngineHandle, Status};
use std::time::{Duration, Instant};

/// How often a line is written.
const LINE_INTERVAL: Duration = Duration::from_secs(5);

struct Mark {
    applied: u64,
    target: u64,
    events: u64,
}

fn mark(status: &Status) -> Mark {
    let of = |count: fn(&bkes_engine::PartitionStatus) -> u64| status.partitions.iter().map(count).sum();
    Mark {
        applied: of(|p| p.applied.0),
        target: of(|p| p.target.0.max(p.applied.0)),
        events: of(|p| p.counters.events),
    }
}

/// Shows how the engine catches up until it is ready.
pub async fn show(engine: EngineHandle) {
    let began = Instant::now();
    let start = mark(&engine.status());
    lines(&engine, &start, began).await;
    let end = mark(&engine.status());
    let seconds = began.elapsed().as_secs_f64();
    tracing::info!(
        "ready: {} events, {} offsets applied in {seconds:.1} s",
        end.events,
        end.applied.saturating_sub(start.applied)
    );
    counts(&engine.status());
}

/// Says what the records of all partitions were, for those who wonder why some are no events.
pub fn counts(status: &Status) {
    let of =
        |count: fn(&bkes_engine::PartitionStatus) -> u64| status.partitions.iter().map(count).sum::<u64>();
    tracing::info!(
        "of all records so far {} were events, {} of them not written by BKES ({} of those with forwarded headers), {} void, {} \
         skipped; {} keys are split",
        of(|p| p.counters.events),
        of(|p| p.counters.foreign),
        of(|p| p.counters.forwarded),
        of(|p| p.counters.void),
        of(|p| p.counters.skipped),
        of(|p| p.counters.split)
    );
}

async fn lines(engine: &EngineHandle, start: &Mark, began: Instant) {
    while tokio::time::timeout(LINE_INTERVAL, engine.ready()).await.is_err() {
        let status = engine.status();
        let now = mark(&status);
        let seconds = began.elapsed().as_secs_f64();
        let rate = (now.applied.saturating_sub(start.applied) as f64 / seconds).max(1.0);
        let left = now.target.saturating_sub(now.applied);
        let percent = now.applied as f64 * 100.0 / now.target.max(1) as f64;
        let why = status.unready.map(|unready| unready.to_string()).unwrap_or_default();
        tracing::info!(
            "not ready ({why}): {} events, {rate:.0} records/s, {percent:.1} %, {:.0} s left",
            now.events,
            left as f64 / rate
        );
    }
}
