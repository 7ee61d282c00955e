//! The limits of an audit.

/// Memory for what is kept of aggregates, unless it is set. One takes a slot of 60 bytes and a control byte, and between 7/16 and 7/8 of the
/// slots are used: 70 to 140 bytes, so that a pass takes 480,000 to 960,000 of them.
pub const MEMORY_BYTES_MAX: usize = 64 * 1024 * 1024;

/// Findings that are kept, unless it is set; the rest is counted.
pub const FINDINGS_MAX: usize = 1_000;

/// Bytes of the findings that are kept: a key may have a megabyte.
pub const FINDINGS_BYTES_MAX: usize = 8 * 1024 * 1024;

/// Aggregates that are compared event by event, unless it is set; how many more differ is counted.
pub const SUSPECTS_MAX: usize = 64;

/// Partitions that are kept of what the list says falsely: an instance may name 100,000.
pub const LISTED_PARTITIONS_MAX: usize = 8;

/// Keys of one `read_many`.
pub const READ_KEYS: usize = 256;

/// Events of one aggregate that are asked for at once when it is compared event by event.
pub const WINDOW_EVENTS: u64 = 256;

/// A window has so many events before the topic's is looked for among them, so that one which is shown so many places late, or early, is
/// found.
pub const AHEAD_EVENTS: usize = 64;

/// Bytes of them that are enough, however few.
pub const AHEAD_BYTES: usize = 256 * 1024;

/// What a window takes at most: what there was of it, a page of 1 MiB, and one larger event.
pub const WINDOW_BYTES: usize = 2 * 1024 * 1024;

/// Void records that are remembered of an aggregate that is compared event by event: 40 bytes each.
pub const VOIDS_MAX: usize = 1_000;

/// Made up events of such an aggregate that wait for the topic to say whether they are void records, or events at other places: 160 bytes
/// each beside their contents. So many more than the topic has are read of any aggregate before the rest is given up.
pub const EXTRAS_MAX: usize = 1_000;

/// Bytes of their contents, one larger event aside.
pub const EXTRAS_BYTES_MAX: usize = 1024 * 1024;

/// Made up events of one aggregate that are looked at after the topic's last: who shows more of them might do so for ever.
pub const EXTRAS_AFTER_MAX: u64 = 2_000;

/// Pages without an event and without an end, one after the other, that are taken for a read that does not go on.
pub const EMPTY_PAGES_MAX: u32 = 16;

/// Aggregates of which each head is compared. A head is a call of its own, while a `read_many` has 256 aggregates: heads of all would
/// take several times as long as all else.
pub const HEADS_ALL: u64 = 1_000;

/// Of the others one in 2^5: 8 calls for each `read_many`.
pub const HEADS_BITS: u32 = 5;

/// Parts that all keys are divided into, as a power of two, at most. Each is a pass over the topic: nobody waits for more.
pub const PART_BITS_MAX: u32 = 16;

/// Events of the log that are taken at once.
pub const POLL_EVENTS: usize = 2_048;
