//! The limits of an audit.

/// Memory for what is kept of aggregates, unless it is set. One takes a slot of 52 bytes and a control byte, and between 7/16 and 7/8 of the
/// slots are used: 61 to 121 bytes, so that a pass takes half a million to a million of them.
pub const MEMORY_BYTES_MAX: usize = 64 * 1024 * 1024;

/// Findings that are kept, unless it is set; the rest is counted.
pub const FINDINGS_MAX: usize = 1_000;

/// Bytes of keys in the findings that are kept: a key may have a megabyte.
pub const FINDINGS_BYTES_MAX: usize = 8 * 1024 * 1024;

/// Aggregates that are compared event by event, unless it is set; how many more differ is counted.
pub const SUSPECTS_MAX: usize = 64;

/// Keys of one `read_many`.
pub const READ_KEYS: usize = 256;

/// Events of one aggregate that are asked for at once when it is compared event by event.
pub const WINDOW_EVENTS: u64 = 256;

/// What a window takes at most: a page of 1 MiB, and one larger event.
pub const WINDOW_BYTES: usize = 2 * 1024 * 1024;

/// Void records that are remembered of an aggregate that is compared event by event: 40 bytes each.
pub const VOIDS_MAX: usize = 1_000;

/// Made up events of such an aggregate that wait for the topic to say whether they are void records: 24 bytes each.
pub const EXTRAS_MAX: usize = 1_000;

/// Parts that all keys are divided into, as a power of two, at most. Each is a pass over the topic: nobody waits for more.
pub const PART_BITS_MAX: u32 = 16;

/// Events of the log that are taken at once.
pub const POLL_EVENTS: usize = 2_048;
