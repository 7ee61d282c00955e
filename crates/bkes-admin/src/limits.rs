//! Every limit of the admin port in one place, with the reason for its number.

use std::time::Duration;

/// Most connections: an orchestrator, two scrapers and four people with a browser's six each. One above is closed at once. With the buffers
/// below they hold 32 * (64 + 64) KiB = 4 MiB. They have a file descriptor each, out of those that a server keeps for itself.
pub const CONNECTIONS_MAX: usize = 32;

/// What a connection reads and writes at once, and with it the most that the headers of a request may have: browsers send some 2 KiB, with
/// a bearer token and a trace 4.
pub const BUFFER_BYTES_MAX: usize = 64 * 1024;

/// Most headers of a request; browsers send some 20.
pub const HEADERS_MAX: usize = 64;

/// The largest body of a request that is read. No route of this crate reads one.
pub const BODY_BYTES_MAX: usize = 64 * 1024;

/// How long a connection may take for the headers of a request, its next one among them: scrapers that come every 15 s, the usual interval,
/// keep theirs.
pub const HEADERS_WAIT: Duration = Duration::from_secs(30);

/// How long a client may take nothing of an answer that is written. A scrape's answer fits into the system's buffers.
pub const WRITE_WAIT: Duration = Duration::from_secs(10);

/// How long a probe may take to be answered. It reads memory only; an orchestrator waits for a second unless told otherwise.
pub const PROBE_WAIT: Duration = Duration::from_secs(5);

/// How long answers that are being written may take when the server stops.
pub const DRAIN: Duration = Duration::from_millis(500);

/// The rest after a connection could not be accepted, out of file descriptors usually.
pub const ACCEPT_REST: Duration = Duration::from_millis(100);

/// Most partitions that a probe's answer lists. The others are counted: with 100 bytes for each, more than 32 would not be read.
pub const PARTITIONS_LISTED: usize = 32;
