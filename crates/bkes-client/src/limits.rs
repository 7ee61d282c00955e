//! Every limit of the client in one place, with the reason for its number.

use std::time::Duration;

/// Appends of one stream that are sent and not answered, or answered and not taken: as many as the server works on at once.
pub const STREAM_APPENDS_MAX: usize = 1_024;

/// A message of a stream takes in appends until it has so many bytes: the one that reaches them is its last, however large it is.
pub const STREAM_MESSAGE_BYTES: usize = 256 * 1024;

/// What one stream may send us before it is read: a page, so that the next one is on its way while one is looked at.
pub const STREAM_WINDOW_BYTES: u32 = 1024 * 1024;

/// The same for all streams of the connection. Sixteen that nobody reads hold up the others.
pub const CONNECTION_WINDOW_BYTES: u32 = 16 * 1024 * 1024;

/// Headers of an answer: four times what a status may have, for what proxies add.
pub const HEADERS_BYTES_MAX: u32 = 8 * 1024;

/// How long a call waits beyond its time where nothing else ends it: while there is no connection, and where the server is told of no
/// deadline. For a call with a deadline the library has a clock that goes by what the server is told, and gives no grace: so a server
/// answers a little before the time is over.
pub const ANSWER_GRACE: Duration = Duration::from_secs(2);

/// The longest wait that one call asks for: as long as the contract lets one wait. A longer one is made of several.
pub const WAIT_SLICE: Duration = Duration::from_secs(60);

/// How much longer than a wait its call may take, and how much longer than its appends a stream may be silent. A server takes an eighth off
/// for its answer, which of a wait of a minute is 7.5 s; and what is over is to be said by the server, in its own words.
pub const SERVER_GRACE: Duration = Duration::from_secs(15);

/// The longest time that a server is told, and that is waited here: a year. gRPC's numbers end, and so do a clock's.
pub const TIMEOUT_MAX: Duration = Duration::from_secs(365 * 24 * 3600);
