//! What an append takes in memory while it is worked on.

use crate::limits::WORKING_REQUEST_BYTES;
use bkes_core::limits::HEADER_MEMORY_BYTES;
use bkes_wire::v2;

/// Its bytes, and what keeps its parts together.
pub fn weight(message: &v2::AppendRequest) -> usize {
    let of_header = |header: &v2::Header| {
        header.name.len()
            + header.value.as_ref().map_or(0, |value| value.len())
            + HEADER_MEMORY_BYTES as usize
    };
    let of_event = |event: &v2::NewEvent| {
        let value = event.value.as_ref().map_or(0, |value| value.len());
        size_of::<v2::NewEvent>() + value + event.headers.iter().map(of_header).sum::<usize>()
    };
    WORKING_REQUEST_BYTES + message.key.len() + message.events.iter().map(of_event).sum::<usize>()
}
