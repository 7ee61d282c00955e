//! The limits of reading.

/// Memory for the counts of keys, unless it is set: some 20 million keys.
///
/// A key takes a slot of 28 bytes and a control byte, and between 7/16 and 7/8 of the slots are used: 33 to 66 bytes a key.
pub const COUNTS_BYTES_MAX: usize = 1024 * 1024 * 1024;

/// Tables that counts are spread over. One table at a time grows, and has its old slots beside the new ones meanwhile: 1/64 of all.
pub(crate) const SHARDS: usize = 64;

/// Events that one poll of a log asks for, in the blocking loop: at 1 MiB each they are a gigabyte, at 1 KiB two megabytes.
pub const POLL_EVENTS: usize = 2_048;
