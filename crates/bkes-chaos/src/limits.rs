//! How long things may take, and how much there may be of them.

use std::time::Duration;

/// A call without an answer for this long is given up.
pub const ANSWER_MAX: Duration = Duration::from_secs(8);

/// The time of an append of the second contract: below the 15 s after which a server says that the outcome is unknown, so that clients
/// give up first, too.
pub const APPEND_MAX: Duration = Duration::from_secs(6);

/// Events of a batch that is larger than the window of ids, which has 128.
pub const LARGE_BATCH: std::ops::Range<usize> = 129..180;

/// So often an append with an id is tried by hand at most.
pub const TRIES_MAX: u32 = 12;

/// So many appends with ids a client remembers.
pub const KEPT_MAX: usize = 16;

/// So many positions and places are remembered for others to read at.
pub const TOLD_MAX: usize = 256;
