//! What can be said of an append before anything is looked up for it.

use crate::limits::MARKER_BYTES_MIN;
use bkes_core::append::{AppendError, AppendRequest, EventContent};
use bkes_core::limits::{BATCH_BYTES_MAX, BATCH_EVENTS_MAX, HEADER_MEMORY_BYTES};

/// What can be said of an append by itself.
pub fn check_content(request: &AppendRequest) -> Result<(), AppendError> {
    let (count, count_max) = (request.events.len(), BATCH_EVENTS_MAX as usize);
    if count == 0 || count > count_max {
        return Err(AppendError::BadCount { count, count_max });
    }
    if request.expected.order().is_none() && request.identity.is_none() {
        return Err(AppendError::NeedsId);
    }
    request.events.iter().try_for_each(EventContent::check_headers)
}

/// The bytes that keys, values and headers take in memory, if they may be.
pub fn check_size(request: &AppendRequest, record_bytes_max: u64) -> Result<u64, AppendError> {
    let count = request.events.len();
    let bytes_max = record_bytes_max;
    let key = request.key.bytes().len() as u64;
    // To the byte it is known when it is numbered.
    let framed = request.events.iter().map(EventContent::framed_bytes).max().unwrap_or(0);
    let largest = key + framed + MARKER_BYTES_MIN;
    if largest > bytes_max {
        return Err(AppendError::TooLarge { bytes: largest, bytes_max });
    }
    // By the rule keys and values break a batch, and headers weigh while it is open: what frames them is part of neither.
    let whole: u64 = request.events.iter().map(|event| key + event.bytes() as u64).sum();
    if count > 1 && whole > BATCH_BYTES_MAX as u64 {
        return Err(AppendError::TooLarge { bytes: whole, bytes_max: BATCH_BYTES_MAX as u64 });
    }
    let headers: usize = request.events.iter().map(|event| event.headers.len()).sum();
    Ok(whole + HEADER_MEMORY_BYTES * headers as u64)
}
