//! Every limit of messages and statuses in one place, with the reason for its number.

use bkes_core::limits::{BATCH_BYTES_MAX, BATCH_EVENTS_MAX, EVENT_HEADERS_MAX};
use std::time::Duration;

/// A status has no more header bytes than this, as HTTP/2 counts them: names, values, and 32 for each of its three headers. Many clients
/// take 8 KiB of trailers, some 4 KiB, and what does not fit turns a true refusal into an unknown outcome.
pub const STATUS_BYTES_MAX: usize = 2 * 1024;

/// What a message for people may take of that, in both places where it stands: percent-encoded in `grpc-message`, and in base64 among
/// the details. Some 450 characters of English, 275 of three bytes each. The rest is for names (144 bytes) and for the largest details:
/// reason, domain and an id in hex (400 bytes, 540 in base64), or a field and what is wrong with it. 1,200 + 144 + 540 < 2,048.
pub const MESSAGE_COST_MAX: usize = 1_200;

/// Bytes of a field's name in a status: `events[999].headers[999].name` is the longest of ours.
pub const FIELD_BYTES_MAX: usize = 64;

/// The largest append, encoded: content of 16 MiB, and as much for framing and key. A million headers with nothing in them, the
/// most that an append may have, take 15 bytes each at most.
pub const APPEND_MESSAGE_BYTES_MAX: usize = 2 * BATCH_BYTES_MAX + 1024 * 1024;

/// What the parts of a message may take in memory beside their bytes: the most events and headers that an append may have are 64 MB.
/// Without this bound a message of 32 MiB could become a gigabyte: two bytes make an empty header, which takes 64.
pub const DECODED_PARTS_BYTES_MAX: usize = BATCH_EVENTS_MAX as usize * (EVENT_HEADERS_MAX + 1) * 72;

/// Most appends in one message of a stream: as many as a stream may have in flight.
pub const STREAM_MESSAGE_APPENDS_MAX: usize = 1_024;

/// Most keys of one ReadMany.
pub const READ_MANY_KEYS_MAX: usize = 1_000;

/// Most positions or partitions in a request: Kafka runs with some thousand partitions a topic, and each position takes 16 bytes.
pub const PARTITIONS_MAX: usize = 100_000;

/// The largest request that is no append: a thousand keys of 4 KB, or a hundred thousand positions of 20 bytes each and a key of 2 MB. A byte
/// of one that follows may be the number of a partition, which takes 4 in memory, so that 16 MiB are the most.
pub const QUESTION_BYTES_MAX: usize = 4 * 1024 * 1024;

/// A request up to this size is decoded from a copy: as much is copied in some 5 us. A larger one has a buffer of its own, the size of which
/// was made for it.
pub const COPIED_BYTES_MAX: usize = 64 * 1024;

/// The longest rest that is believed when a server asks for it. What a store waits for passes in seconds; after a day somebody has looked.
pub const RETRY_AFTER_MAX: Duration = Duration::from_secs(24 * 3600);
