//! The time of day, as records have it.

use bkes_core::TimestampMs;
use std::time::{Duration, SystemTime};

/// The record's time of creation by the machine's clock, which may stand before 1970; the topic may replace it by its own.
pub(crate) fn now() -> TimestampMs {
    let ms = |since: Duration| i64::try_from(since.as_millis()).unwrap_or(i64::MAX);
    let since = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH);
    TimestampMs(since.map_or_else(|before| -ms(before.duration()), ms))
}
