//! What a request takes in memory while it is worked on, beside what every request takes.

use crate::limits::WORKING_REQUEST_BYTES;
use bkes_core::limits::HEADER_MEMORY_BYTES;
use bkes_wire::v2;
use prost::Message;

/// The bytes of an append, and what keeps its parts together.
pub fn of_append(message: &v2::AppendRequest) -> usize {
    let of_header = |header: &v2::Header| {
        header.name.len()
            + header.value.as_ref().map_or(0, |value| value.len())
            + HEADER_MEMORY_BYTES as usize
    };
    let of_event = |event: &v2::NewEvent| {
        let value = event.value.as_ref().map_or(0, |value| value.len());
        size_of::<v2::NewEvent>() + value + event.headers.iter().map(of_header).sum::<usize>()
    };
    let parts = message.key.len() + message.events.iter().map(of_event).sum::<usize>();
    // What is too long to be taken, an id say, lies there too.
    WORKING_REQUEST_BYTES + parts.max(message.encoded_len())
}

/// The bytes of any other request, and those of the lists that it may have.
pub fn of_question(message: &impl Message, keys: usize, positions: Option<&v2::Positions>) -> usize {
    let positions = positions.map_or(0, |positions| size_of_val(&positions.positions[..]));
    message.encoded_len() + keys * size_of::<bytes::Bytes>() + positions
}

/// The positions that a follower begins at.
pub fn followed_from(message: &v2::FollowRequest) -> Option<&v2::Positions> {
    match message.from.as_ref()? {
        v2::follow_request::From::Positions(positions) => Some(positions),
        v2::follow_request::From::Beginning(_) => None,
    }
}

/// The positions that an answer has to take in.
pub fn positions(freshness: Option<&v2::Freshness>) -> Option<&v2::Positions> {
    match freshness?.freshness.as_ref()? {
        v2::freshness::Freshness::AtLeast(positions) => Some(positions),
        v2::freshness::Freshness::Latest(_) => None,
    }
}
