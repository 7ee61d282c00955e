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
    /// Kafka costs a few KiB and its value. See `WORKING_PART` for what a connection may have of it.
    pub requests_max: usize,
    /// Most bytes of requests worked on at once: keys and values of appends, and what reads found. The ones above are
    /// answered as overloaded; a single one is always let in when nothing else is there. 256 MiB are 4,096 values of 64 KiB,
    /// or 64 replies at their limit. See `WORKING_PART` for what a connection may have of it.
    pub working_bytes_max: usize,
    /// Most bytes for messages that have begun to come and are waited for: their declared lengths, and
    /// 32 KiB for each stream. One that finds no room is refused; a message that came with its headers needs none. 512 MiB are 128
    /// messages of 4 MiB, or 16,384 calls that say nothing. See `UNREAD_PART` for what a connection may have of it.
    pub unread_bytes_max: usize,
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
    /// How long a client of the second contract may take nothing of a stream of answers before the stream is ended. What it may hold
    /// meanwhile is bounded by the replies that are not taken.
    pub reader_patience: Duration,
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
            unread_bytes_max: 512 * 1024 * 1024,
            connections_max: 10_000,
            connection_replies_bytes_max: 128 * 1024 * 1024,
            replies_bytes_max: 1024 * 1024 * 1024,
            drain: Duration::from_secs(10),
            reader_patience: Duration::from_secs(30),
            standby: false,
        }
    }
}

/// How much larger than the log's largest record a request may be: its envelope of some ten bytes, and room for a value that
/// is too large to be answered with the log's limit instead of a status that does not name it.
pub const REQUEST_ROOM_BYTES: usize = 1024 * 1024;

/// A connection takes no more requests to be worked on, and no more of their bytes, while it holds more than is free: what is worked
/// on ends by itself. Alone it has half: 2,048 requests, more than it has streams, and 128 MiB.
pub const WORKING_PART: usize = 1;

/// A connection opens no more streams while it has more than a quarter of those that are free, of as many as there may be requests: a
/// stream may stay open without a word. Alone it has 819; a dozen that open all they may leave 280. They take no places of other calls.
pub const STREAMS_PART: usize = 4;

/// A connection takes no more room for messages that are waited for while it holds more than a quarter of what is free: a message
/// that does not come gives nothing back. Alone it has 102 MiB and a message: a thousand callers with 100 KB each. A dozen that take
/// all they may leave 35 MiB.
pub const UNREAD_PART: usize = 4;

/// What a request weighs beside its bytes among those worked on.
pub const WORKING_REQUEST_BYTES: usize = 1024;

/// A request that is no append is not counted up to this size: all streams of a connection with one each are 13 MiB, and counting costs more
/// than it is worth.
pub const QUESTION_SMALL_BYTES: usize = 16 * 1024;

/// What a reply needs beside its records: two tags, two lengths of up to five bytes, two flags, two orders of up to ten
/// bytes with their tags.
pub const REPLY_ENVELOPE_BYTES: usize = 2 + 2 * 5 + 2 * 2 + 2 * 11;

/// The least that a record takes in a reply, an empty value among them: its tag and length, and order and offset with their tags, each of
/// three bytes from 16,384 on. An offset is never below the order.
pub const RECORD_BYTES_MIN: usize = 2 + (1 + 3) + (1 + 3);

/// Records that may be smaller: the first ones of an aggregate. An aggregate that has more than these and a reply's bytes divided by
/// [`RECORD_BYTES_MIN`] does not fit, so an unpaged read of it is refused before anything is read: with 4 MiB from 435,815 events on.
pub const SMALL_RECORDS: usize = 16_384;

/// What an event that was found takes beside its value while it becomes a record: 200 bytes as the engine counts it, 72 as a record.
pub const FOUND_EVENT_BYTES: usize = 200 + 72;

/// What is read for a reply may be so many times as large as the reply: events come with their headers, which count with 64 bytes
/// each beside their own, and which the first contract's records do not have. Five of 40 bytes beside a value of 500 are about as much
/// again.
pub const FOUND_PER_REPLY: usize = 2;

/// A reply up to this size is not counted among those that are not taken yet: all streams of a connection with one each are 16 MiB,
/// and counting costs more than it is worth.
pub const REPLY_SMALL_BYTES: usize = 16 * 1024;

/// What a connection may send before it was taken.
///
/// What comes is taken as soon as a task has its turn, so the windows are empty nearly always. Should no task ever have its turn, the
/// HTTP/2 library holds at most this: for each connection its window, and half as much again for the bookkeeping of small frames, which it
/// bounds by half of the window. 128 wide connections are 384 MiB, 9,872 narrow ones 926 MiB.
///
/// That bound of the library is why streams and windows go together: a frame with less than 256 bytes that waits counts as 256,
/// and a connection that exceeds half of its window is closed. 1,024 calls that come at once are 256 KiB of 1 MiB, 100 are
/// 25 KiB of 32.
pub struct Windows {
    /// Bytes of one stream.
    pub stream_bytes: u32,
    /// Bytes of all its streams together.
    pub connection_bytes: u32,
    /// Requests at once.
    pub streams_max: u32,
}

impl Windows {
    /// Calls that may be begun and taken back before we have seen them; one more closes the connection. Twice its streams: those that
    /// were open, and those that were begun in their place. The library's own 20 made a client that gives up 21 calls at once lose all
    /// others on its connection. Each takes about a KiB until it is seen: 2 MiB.
    pub const fn taken_back_max(&self) -> usize {
        2 * self.streams_max as usize
    }
}

/// For the first [`WIDE_CONNECTIONS`]: a whole usual value in one go, and clients with one connection for hundreds of callers.
pub const WIDE: Windows =
    Windows { stream_bytes: 1024 * 1024, connection_bytes: 2 * 1024 * 1024, streams_max: 1_024 };

/// For those above: the least window that HTTP/2 knows. Over a path of one millisecond it still carries 64 MB/s.
pub const NARROW: Windows = Windows { stream_bytes: 65_535, connection_bytes: 65_535, streams_max: 100 };

/// Connections with wide windows: instances of a service and their tools, with room. See [`Windows`] for what they may hold.
pub const WIDE_CONNECTIONS: usize = 128;

/// How long a message may take without coming on, and its end after it.
pub const READ_PATIENCE: Duration = Duration::from_secs(10);

/// What counts as coming on in that time, unless it is all: 1.6 KB/s, which a telephone line carries. Less would let a client hold its
/// room with a byte now and then.
pub const PROGRESS_BYTES: usize = 16 * 1024;

/// What a stream that is waited for takes beside its message: headers (16 KiB at most), the library's first buffer (8 KiB), and the
/// state of the task (a few KiB).
pub const WAITING_STREAM_BYTES: usize = 32 * 1024;

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

/// How long the rest of a message is waited for once the server stops: what a client was sending comes in this time, and calls whose
/// message never comes hold up no stop.
pub const STOP_PATIENCE: Duration = Duration::from_millis(500);

/// How long connections that were cut may take to notice.
pub const CUT_WAIT: Duration = Duration::from_secs(1);

/// How often the health service looks whether the engine is ready.
pub const HEALTH_INTERVAL: Duration = Duration::from_millis(200);

/// Most appends of one stream that are worked on or answered and not taken, as the second contract says.
pub const STREAM_APPENDS_MAX: usize = 1_024;

/// A stream of appends takes no further message while those it has hold so much: with the largest message, 33 MiB, it has twice that at
/// most. A connection alone may hold 128 MiB (`working_bytes_max`).
pub const STREAM_BYTES_MAX: usize = 32 * 1024 * 1024;

/// Bytes of answers after which a message of a stream of appends is full. One conflict may bring 1 MiB of events along.
pub const ANSWERS_BYTES_MAX: usize = 256 * 1024;

/// Most keys of a stream whose last append was no append at all, and so was not handed on: their next ones must fail too. A client that has
/// so many does not know what it does, and its stream ends.
pub const BROKEN_KEYS_MAX: usize = 1_024;

/// Bytes of those keys.
pub const BROKEN_KEYS_BYTES_MAX: usize = 1024 * 1024;

/// A page is sent in parts above so many bytes, encoded: one of 1 MiB of content has room for 30 bytes of framing an event at 35,000
/// events, and a client that was told nothing takes 4 MiB.
pub const PAGE_BYTES_MAX: usize = 2 * 1024 * 1024;

/// Events of a read that is answered without a task, if it is one message of [`REPLY_SMALL_BYTES`]: in memory 100 take 18 KB beside
/// their content, so that the streams of a connection that is not read hold 34 MiB.
pub const SHORT_ANSWER_EVENTS: usize = 100;

/// How long a read that is being answered goes on when the server stops.
pub const READ_STOP_PATIENCE: Duration = Duration::from_secs(2);

/// Longest that a call waits for positions, as the second contract says.
pub const WAIT_MAX: Duration = Duration::from_secs(60);

/// How long past its time a wait may take to say what did not come: an engine looks at its clock more often than that.
pub const WAIT_ANSWER_TIME: Duration = Duration::from_millis(250);

/// The same as a part of the caller's time, where that is less: half of the eighth that is left when the wait's time is over.
pub const WAIT_ANSWER_PART: u32 = 16;

/// Of a caller's time one part in so many is left for the answer to reach it, before the library ends the call without a word.
pub const ANSWER_RESERVE_PART: u32 = 8;

/// The most that is left for it: the last steps of an answer take a millisecond, and on a loaded machine some ten.
pub const ANSWER_RESERVE_MAX: Duration = Duration::from_millis(100);

/// When to come again where too much is worked on: what is worked on ends within milliseconds as a rule.
pub const OVERLOADED_REST: Duration = Duration::from_millis(100);

/// When to come again where there is no engine yet, or the server stops.
pub const STARTING_REST: Duration = Duration::from_secs(1);
