//! Every limit of the interface in one place, with the reason for its number.

use std::time::Duration;

/// Settings of the interface. `Default` gives what most want.
#[derive(Clone, Debug)]
pub struct ServeOptions {
    /// The largest reply, encoded. 4 MiB is what gRPC clients accept unless told otherwise; a larger one would be cut off by
    /// the client with an error that does not say what to do.
    pub reply_bytes_max: usize,
    /// The largest request, encoded, while the log takes smaller ones. A log that takes larger ones raises it to their size and
    /// 1 MiB of room. A request above it is refused while it is read.
    pub request_bytes_max: usize,
    /// Most requests worked on at once, over all connections. The ones above are answered as overloaded. One that waits for
    /// Kafka costs a few KiB and its value.
    pub requests_max: usize,
    /// Most bytes of requests worked on at once: keys and values of appends, and what reads found. The ones above are
    /// answered as overloaded; a single one is always let in when nothing else is there. 256 MiB are 4,096 values of 64 KiB,
    /// or 64 replies at their limit. What is still being read from the network is held by the windows of the connections.
    pub working_bytes_max: usize,
    /// Most connections; one above is closed as soon as it is made. A client needs one, whatever the number of its callers.
    /// An idle connection was measured at 17 KiB, so 10,000 are 170 MiB; it also takes a file descriptor: where the system
    /// allows fewer, that limit is met first, and new connections wait.
    pub connections_max: usize,
    /// Most bytes of replies on one connection that are made and not yet taken by the client; a reply beyond it is answered as
    /// overloaded. 32 of the largest: a client that reads takes its replies faster than it asks for so many.
    pub connection_replies_bytes_max: usize,
    /// The same over all connections: eight clients that do not read. Without these bounds one of them held 4 GiB, 1,024
    /// streams of 4 MiB.
    pub replies_bytes_max: usize,
    /// How long requests may take to end, and connections to close, when the server stops.
    pub drain: Duration,
    /// A standby: calls are answered "standby", and the health of the server as a whole says whether its store is current.
    pub standby: bool,
}

impl Default for ServeOptions {
    fn default() -> Self {
        ServeOptions {
            reply_bytes_max: 4 * 1024 * 1024,
            request_bytes_max: 4 * 1024 * 1024,
            requests_max: 4_096,
            working_bytes_max: 256 * 1024 * 1024,
            connections_max: 10_000,
            connection_replies_bytes_max: 128 * 1024 * 1024,
            replies_bytes_max: 1024 * 1024 * 1024,
            drain: Duration::from_secs(10),
            standby: false,
        }
    }
}

/// Requests let in for each one worked on. Those between are still being read, or are answered as overloaded in their reply;
/// those above are refused with a status, unread.
pub const ADMITTED_FACTOR: usize = 2;

/// How much larger than the log's largest record a request may be: its envelope of some ten bytes, and room for a value that
/// is too large to be answered with the log's limit instead of a status that does not name it.
pub const REQUEST_ROOM_BYTES: usize = 1024 * 1024;

/// What a request weighs beside its bytes among those worked on, and the unit in which they are counted.
pub const WORKING_UNIT_BYTES: usize = 1024;

/// What a reply needs beside its records: two tags, two lengths of up to five bytes, two flags, two orders of up to ten
/// bytes with their tags.
pub const REPLY_ENVELOPE_BYTES: usize = 2 + 2 * 5 + 2 * 2 + 2 * 11;

/// A reply up to this size is not counted among those that are not taken yet: all streams of a connection with one each are 16 MiB,
/// and counting costs more than it is worth.
pub const REPLY_SMALL_BYTES: usize = 16 * 1024;

/// Bytes a client may send on one stream before we have taken them: a whole usual value in one go.
pub const STREAM_WINDOW_BYTES: u32 = 1024 * 1024;

/// The same for all streams of a connection; with 1,000 connections that all stall it is 2 GiB.
pub const CONNECTION_WINDOW_BYTES: u32 = 2 * 1024 * 1024;

/// Requests at once on one connection: clients with one connection for hundreds of callers are usual.
pub const STREAMS_MAX: u32 = 1_024;

/// Bytes of request headers: gRPC needs a few hundred.
pub const HEADERS_BYTES_MAX: u32 = 16 * 1024;

/// How often an idle connection is asked whether the client is still there, and how long it may take to say so.
pub const KEEPALIVE_INTERVAL: Duration = Duration::from_secs(30);

/// See [`KEEPALIVE_INTERVAL`].
pub const KEEPALIVE_TIMEOUT: Duration = Duration::from_secs(20);

/// Bytes of a connection's replies that are gathered before they are written: four of the largest frames. A client that does not
/// read holds so much here, beside what the system's own buffer takes.
pub const GATHERED_BYTES_MAX: usize = 64 * 1024;

/// Room for them that a connection keeps while it has nothing to say.
pub const GATHERED_BYTES_KEPT: usize = 8 * 1024;

/// The bytes with which every HTTP/2 client begins: `PRI * HTTP/2.0`, two line ends, `SM`, two line ends.
pub const PREFACE_BYTES: usize = 24;

/// How long a new connection may take to send them: clients speak first, and at once. From then on pings watch over it.
pub const PREFACE_WAIT: Duration = Duration::from_secs(20);

/// The rest after a connection could not be accepted, out of file descriptors usually.
pub const ACCEPT_REST: Duration = Duration::from_millis(100);

/// How long connections that were cut may take to notice.
pub const CUT_WAIT: Duration = Duration::from_secs(1);

/// How often the health service looks whether the engine is ready.
pub const HEALTH_INTERVAL: Duration = Duration::from_millis(200);
