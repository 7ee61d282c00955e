//! Every limit of the embedded log in one place, with the arithmetic behind its number.

use crate::group;
use std::time::Duration;

/// Records that may be taken and not yet written, over all appenders. A group of so many is a thousand times what one sync
/// needs to stop being the cost.
pub const QUEUE_RECORDS_MAX: usize = 100_000;

/// Bytes of records, as the contract counts them, that may be taken and not yet written, over all appenders: 100,000 records of
/// 200 bytes with 100 bytes of key and headers are 30 MB.
pub const QUEUE_BYTES_MAX: u64 = 32 * 1024 * 1024;

/// The largest record that a log can be set to take, as the contract counts it: what always fits into an empty queue.
pub const RECORD_BYTES_MAX: u64 = QUEUE_BYTES_MAX;

/// The most that a record takes in the file beside what the contract counts: 38 bytes of its frame, and 6 for each of its first two
/// headers, where for each further one the contract counts 10. The most bytes of a group are made with it, and they are part of the format,
/// so it stays what it was when a record had up to fifteen headers beside what was counted.
pub const RECORD_OVERHEAD_BYTES: u64 = 128;

/// The most bytes of one group, its header included: a group is what is queued, 32 MiB and 12.8 MB. More than this after the
/// last whole group cannot be what a power cut left of one write.
pub const GROUP_BYTES_MAX: u64 =
    group::HEADER_BYTES as u64 + QUEUE_BYTES_MAX + QUEUE_RECORDS_MAX as u64 * RECORD_OVERHEAD_BYTES;

/// How far apart the places are that the index knows: 16 bytes for each 64 KiB, so 256 KiB of memory for each GiB of log.
pub const INDEX_BYTES: u64 = 64 * 1024;

/// How much is read at a time when the file is opened: system calls do not count at this size.
pub const SCAN_BYTES: usize = 4 * 1024 * 1024;

/// How much a reader reads at a time: large enough that system calls do not count, small enough for many readers.
pub const READ_BYTES: u64 = 1024 * 1024;

/// What the writer's buffer keeps from one group to the next.
pub const BUFFER_BYTES: usize = 4 * 1024 * 1024;

/// How long after a failed write the next attempt is made.
pub const RETRY: Duration = Duration::from_secs(1);

/// What is written, and cut off again, to see whether there is room: some hundred small records.
pub const PROBE_BYTES: usize = 64 * 1024;

/// How long nothing must have come before the last group is sealed. It bounds how often: a sealed log that takes one record in
/// each such time syncs twice for it.
pub const SEAL_AFTER: Duration = Duration::from_secs(1);
