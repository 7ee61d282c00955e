//! The limits that are part of marker format 1. Changing one changes what a log means, so it needs a new format number.

/// Most events in one batch.
pub const BATCH_EVENTS_MAX: u32 = 1_000;

/// Most bytes of keys and values in one batch; the member that passes it voids the batch.
pub const BATCH_BYTES_MAX: usize = 16 * 1024 * 1024;

/// A member this many offsets or more behind its batch's first member voids the batch.
pub const BATCH_SPAN_OFFSETS: u64 = 100_000;

/// An incarnation is forgotten when the log is this many offsets past its last record.
pub const INCARNATION_SPAN_OFFSETS: u64 = 1_000_000;
