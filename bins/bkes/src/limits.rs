//! The limits of the command line, each with the arithmetic behind it. What the store takes is limited by the store.

use bkes_core::limits::BATCH_EVENTS_MAX;
use std::time::Duration;

/// The longest duration that is taken as one. Clocks count on from now, and not without end: what is longer is a slip, and a year is more
/// than anybody waits.
pub const DURATION_MAX: Duration = Duration::from_secs(365 * 24 * 60 * 60);

/// The largest value that is read from a file or from standard input, in bytes. Kafka takes records of 1 MiB unless its topic says
/// otherwise, and few topics go above 16 MiB; so who gives a larger file made a mistake, which is told before it fills the memory.
pub const VALUE_BYTES_MAX: u64 = 32 * 1024 * 1024;

/// The longest line of JSON, in bytes. A byte of a value takes 6 in JSON at most (`\u0000`): a value of [`VALUE_BYTES_MAX`] takes
/// 192 MiB, and 64 MiB are left for its key and its headers.
pub const LINE_BYTES_MAX: u64 = 256 * 1024 * 1024;

/// Most events that an import puts into one append: as many as one may have.
pub const IMPORT_APPEND_EVENTS_MAX: usize = BATCH_EVENTS_MAX as usize;

/// Bytes of values and headers that end an append of an import, one larger event aside. A thousand events of 500 bytes reach it together
/// with [`IMPORT_APPEND_EVENTS_MAX`], and it is far below the 16 MiB of a batch.
pub const IMPORT_APPEND_BYTES_MAX: usize = 512 * 1024;

/// Appends of an import in flight, each of another aggregate. At 0.5 to 5 ms each, 64 are 12,000 to 120,000 appends a second; with single
/// events they are 32 MiB at most.
pub const IMPORT_IN_FLIGHT_MAX: usize = 64;

/// Bytes of these appends, one larger append aside. One that was an append before may have 16 MiB: four of them are in flight at once.
/// While an append is compared with what is stored, that is in memory too, page by page.
pub const IMPORT_IN_FLIGHT_BYTES_MAX: usize = 64 * 1024 * 1024;

/// Most bytes of an import's appends that wait for the one before them of their aggregate, one larger append aside. An export has the
/// events of an aggregate together, so as many aggregates are in flight as are read ahead: 64 have 128 KiB each, 400 events of 200 bytes.
pub const IMPORT_WAITING_BYTES_MAX: usize = 8 * 1024 * 1024;

/// What an event of an import takes in memory beside its value and headers.
pub const IMPORT_EVENT_BYTES: usize = 128;

/// How often an import tries an append that is unavailable, or whose outcome is unknown, and an export a read from which nothing comes: the
/// pauses between the tries are 16 s together, which is how long a server may take to start again.
pub const TRIES_MAX: u32 = 8;

/// The pause before the second try; it doubles with each try, up to [`PAUSE_MAX`].
pub const PAUSE_FIRST: Duration = Duration::from_millis(200);

/// The longest pause between two tries: 0.2, 0.4, 0.8, 1.6, 3.2, 5 and 5 s.
pub const PAUSE_MAX: Duration = Duration::from_secs(5);

/// Aggregates that an export asks for in one call; a call may name 1,000. With 10 events each of 200 bytes it is half a second of a slow
/// network, after which the keys that are left are asked for anew.
pub const EXPORT_KEYS_MAX: usize = 500;

/// Characters that a key may take in a table on a terminal.
pub const TABLE_KEY_MAX: usize = 24;

/// Characters that the headers of an event may take in a table on a terminal, so that there is room for its value.
pub const TABLE_HEADERS_MAX: usize = 40;

/// How often the doctor asks a question of which it tells the time: the median of 5 leaves out two slow ones, the first, which makes the
/// connection, among them.
#[cfg(feature = "kafka")]
pub const DOCTOR_QUESTIONS: usize = 5;

/// How long the doctor reads a topic for its first keys, and for its last records. 2,048 keys decide; at a million records a second a
/// partition may repeat its keys for ten million records until then.
#[cfg(feature = "kafka")]
pub const DOCTOR_READ_MAX: Duration = Duration::from_secs(10);

/// Memory for the counts of keys that the doctor meets meanwhile: a million of them at least.
#[cfg(feature = "kafka")]
pub const DOCTOR_COUNTS_BYTES_MAX: usize = 64 * 1024 * 1024;

/// How long a transaction must stay open to be complained of: one that is right takes some 10 ms.
#[cfg(feature = "kafka")]
pub const DOCTOR_TRANSACTION_WAIT: Duration = Duration::from_secs(1);

/// How far the newest record may be ahead of this machine's clock. Machines that ask a time server differ by less than a second.
#[cfg(feature = "kafka")]
pub const DOCTOR_CLOCK_AHEAD_MAX: Duration = Duration::from_secs(30);

/// More than one void record in so many is much: writers hinder each other.
#[cfg(feature = "kafka")]
pub const DOCTOR_VOID_SHARE: u64 = 10;

/// Callers of a measurement: a server takes 4,096 requests at once, and a connection 1,024 of them.
pub const BENCH_CALLERS_MAX: u32 = 4_096;

/// Appends of one caller in flight on a stream of a measurement: as many as a server takes of a stream.
pub const BENCH_STREAM_MAX: u32 = 1_024;

/// Aggregates of a measurement: a name and a count take some 150 bytes, so a million take 150 MB.
pub const BENCH_KEYS_MAX: u32 = 1_000_000;
