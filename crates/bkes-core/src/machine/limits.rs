//! The machines' limits, with the arithmetic behind each number. They are no part of a format.

use crate::marker::{BKES_HEADER, MARKER_TEXT_BYTES_MAX, ORDER_HEADER};

/// What the two reserved headers of a record take at most, beside key and value: their names and their values.
pub const MARKER_BYTES_MAX: u64 = (ORDER_HEADER.len() + BKES_HEADER.len() + MARKER_TEXT_BYTES_MAX) as u64;

/// Records applied before they were read, per partition. Above it appends wait for reading.
pub const UNCONFIRMED_MAX: usize = 100_000;

/// How often an append is sent again that the log did not take for the size of what it went with. Once is enough where the log tells its
/// limit, twice where it does not; each further time the limit was changed in between.
pub const RESENDS_MAX: u8 = 8;

/// Rebuilds of a partition in one process, one after the other, for records above the next order that turn out to be void. One happens
/// for each writer that rested on a lost end of the log, and there are as many of those as instances; a topic that is copied into
/// another one may have any number, and each rebuild reads the whole partition.
pub const VAIN_REBUILDS_MAX: u32 = 8;

/// Names of writers that rested on what is not in the log, kept for a partition: 8 bytes each, 16 KiB in all. When there are more, their
/// records cost rebuilds, which are bounded as well.
pub const UNFOUNDED_MAX: usize = 1_000;

/// How often an append with an id is judged anew when others took the order it was sent at. Each time one of theirs was stored.
pub const OVERTAKEN_MAX: u8 = 32;
