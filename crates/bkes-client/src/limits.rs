//! Every limit of the client in one place, with the reason for its number.

use std::time::Duration;

/// Appends of one stream that are sent and not answered, or answered and not taken: as many as the server works on at once.
pub const STREAM_APPENDS_MAX: usize = 1_024;

/// A message of a stream of appends is full above so many bytes. A larger append has one of its own.
pub const STREAM_MESSAGE_BYTES: usize = 256 * 1024;

/// What one stream may send us before it is read: a page, so that the next one is on its way while one is looked at.
pub const STREAM_WINDOW_BYTES: u32 = 1024 * 1024;

/// The same for all streams of the connection. Sixteen that nobody reads hold up the others.
pub const CONNECTION_WINDOW_BYTES: u32 = 16 * 1024 * 1024;

/// Headers of an answer: four times what a status may have, for what proxies add.
pub const HEADERS_BYTES_MAX: u32 = 8 * 1024;

/// How long a call waits beyond the time that the server was given, for the answer that says that it is over.
pub const ANSWER_GRACE: Duration = Duration::from_secs(2);

/// The longest wait that one call asks for: as long as the contract lets one wait. A longer one is made of several.
pub const WAIT_SLICE: Duration = Duration::from_secs(60);

/// How much longer than a wait its call may take. A server takes an eighth off for its answer, which of a wait of a minute is 7.5 s; and what
/// is over is to be said by the server, in its own words.
pub const SERVER_GRACE: Duration = Duration::from_secs(15);
