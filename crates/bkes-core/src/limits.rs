//! The limits of what is written. Those of batches, orders and incarnations are part of marker format 1: changing one changes what a
//! log means, so it needs a new format number. Those of headers bind writers only: the accept rule takes any record.

use crate::Header;

/// Most events in one batch.
pub const BATCH_EVENTS_MAX: u32 = 1_000;

/// Most bytes of keys and values in one batch; the member that passes it voids the batch.
pub const BATCH_BYTES_MAX: usize = 16 * 1024 * 1024;

/// A member this many offsets or more after its batch's first member voids the batch.
pub const BATCH_SPAN_OFFSETS: u64 = 100_000;

/// Most open batches of a partition; above it the oldest is void. Each producer handle has one at most, so they are as many as
/// there are instances that are in the middle of one, and handles that died there within [`BATCH_SPAN_OFFSETS`].
pub const OPEN_BATCHES_MAX: usize = 1_000;

/// What a member of an open batch counts for beside its key, value and headers: what it takes in memory without them.
pub const OPEN_MEMBER_BYTES: u64 = 256;

/// Most bytes of all open batches of a partition; above it the oldest is void. Four of the largest are open at once: 65 MiB in memory
/// and in the checkpoint, where 100,000 half batches of 1 MB were 100 GB.
pub const OPEN_BYTES_MAX: u64 = 4 * (BATCH_BYTES_MAX as u64 + BATCH_EVENTS_MAX as u64 * OPEN_MEMBER_BYTES);

/// A record this many offsets or more above its base is void. An incarnation is remembered for as long, so no copy of a record
/// that was judged can come when its number was forgotten: the number was judged at or above the base.
pub const BASE_SPAN_OFFSETS: u64 = INCARNATION_SPAN_OFFSETS;

/// The highest order that a marker may name. The log has fewer than 2^63 offsets, and each event of an aggregate has its own,
/// so `ORDER_MAX` as the base of a cut aggregate leaves room for every event that can follow: no order passes 2^64 - 1.
pub const ORDER_MAX: u64 = (1 << 63) - 1;

/// An incarnation is forgotten when the log is this many offsets past its last record.
pub const INCARNATION_SPAN_OFFSETS: u64 = 1_000_000;

/// Most headers that a writer may give an event, beside the two of the marker. A record with more than 100,000 is one that librdkafka
/// refuses to read, and the embedded log's format counts them with 16 bits.
pub const EVENT_HEADERS_MAX: usize = 1_000;

/// Most bytes of such a header's name: the embedded log's format keeps its length in 16 bits. Kafka's format has no limit of its own.
pub const HEADER_NAME_BYTES_MAX: usize = u16::MAX as usize;

/// What such a header takes in a record beside its name and value, at most: their two lengths, 5 bytes each in Kafka's format, and 2
/// and 4 in the embedded log's. It counts in the size of a record, and not in that of a batch.
pub const HEADER_FRAME_BYTES: u64 = 10;

/// What a header takes in memory beside its name and value: what points to them, 32 bytes each.
pub const HEADER_MEMORY_BYTES: u64 = 64;

const _: () = assert!(size_of::<Header>() as u64 <= HEADER_MEMORY_BYTES, "it must be what it says");
