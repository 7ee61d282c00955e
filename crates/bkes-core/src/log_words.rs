//! What a log says of one of its partitions: its marks, what became of a record that was sent, why reading stopped.

use crate::limits::HEADER_FRAME_BYTES;
use crate::{Header, Offset, Position, TimestampMs};
use bytes::Bytes;

/// Headers of a record whose framing the log counts itself: those of a marker, which every record of ours has.
const HEADERS_UNFRAMED: usize = 2;

/// The size of a record, as a log's limit counts it: key, value and headers, and [`HEADER_FRAME_BYTES`] for each header after the
/// second.
pub fn record_bytes(key: Option<&Bytes>, value: Option<&Bytes>, headers: &[Header]) -> u64 {
    let of = |bytes: Option<&Bytes>| bytes.map_or(0, Bytes::len);
    let content = of(key) + of(value) + headers.iter().map(Header::bytes).sum::<usize>();
    content as u64 + HEADER_FRAME_BYTES * headers.len().saturating_sub(HEADERS_UNFRAMED) as u64
}

/// The marks of one partition.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Watermarks {
    /// The first position that is still there.
    pub low: Position,
    /// The last stable offset: reading ends here, everything below is decided. `low <= stable <= high`.
    pub stable: Position,
    /// The end of what is replicated.
    pub high: Position,
}

/// The number that whoever sends a record gives it; its report carries it.
pub type Token = u64;

/// What became of a record, as far as the log can tell.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Delivery {
    /// It is in the log, for good.
    Stored {
        /// Where; unknown when the log found it to be there already after a retry.
        offset: Option<Offset>,
        /// The timestamp the log gave it; unknown where only reading it back tells.
        timestamp: Option<TimestampMs>,
    },
    /// It is not in the log and never will be.
    NotStored {
        /// Why.
        detail: String,
    },
    /// It is not in the log and never will be: it, or what was handed over together with it, is larger than the log takes by now. What
    /// is not too large itself (`LogAppender::record_bytes_max` of bkes-log) may be sent again.
    Oversized {
        /// Why.
        detail: String,
    },
    /// It may or may not be, now or later.
    Unknown {
        /// Why.
        detail: String,
    },
}

/// Why reading failed.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
pub enum ReadFailure {
    /// The position to be read is said to be below the low or above the high watermark, which a log may also say in passing. The
    /// partition is not read further.
    #[error("position {position} is out of range")]
    OutOfRange {
        /// The position that is not there.
        position: Position,
    },
    /// The log ended, at some moment, before a position that was read: what stood there since is lost. The partition is not read
    /// further.
    #[error("the log ended at {end}, before what was read")]
    LostEnd {
        /// Where it ended.
        end: Position,
    },
    /// The log is away, or says no for now; the reader keeps trying.
    #[error("the log is unavailable: {detail}")]
    Unavailable {
        /// What went wrong.
        detail: String,
    },
    /// What the log returned is damaged. The partition is not read further.
    #[error("damaged record at or after position {position}: {detail}")]
    Damaged {
        /// Where reading stopped.
        position: Position,
        /// What is wrong there.
        detail: String,
    },
    /// What the log holds there is larger, or of another kind, than the reader takes, and nothing says that it is damaged. The
    /// partition is not read further.
    #[error("what lies at or after position {position} cannot be taken in: {detail}")]
    DoesNotFit {
        /// Where reading stopped.
        position: Position,
        /// What does not fit, and what makes it fit.
        detail: String,
    },
}
