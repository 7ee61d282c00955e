//! Appends on one stream: taken as there is room for them, and answered by their tags.
//!
//! ```text
//!   messages ──► Intake ──► the store ──► Answers ──► messages
//!                   │                        ▲
//!                   └── no append at all ────┘
//! ```
//!
//! The two ends share what is in flight. The intake takes the next message only while fewer than [`STREAM_APPENDS_MAX`] appends are not
//! answered, or answered and not taken, and while their messages hold less than [`STREAM_BYTES_MAX`]: a client that sends and does not
//! read, or sends faster than the log takes, waits.

mod answers;
mod apart;
mod attention;
mod broken_keys;
mod intake;
mod watchdog;

pub use answers::{Answers, leave_out_missing};
use intake::Intake;

use super::held::Bytes;
use bkes_api::{BoxStream, TaggedAnswer};
use bkes_wire::v2;
use std::collections::{HashMap, VecDeque};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard};
use std::task::Waker;
use tonic::Status;

/// The store's answers, until they have ended or the stream was given up.
type StoreAnswers = Option<BoxStream<TaggedAnswer>>;

/// What the two ends of a stream share.
#[derive(Clone, Default)]
struct Shared(Arc<Mutex<State>>);

#[derive(Default)]
struct State {
    /// Those the store has, by the numbers that it knows them by.
    in_flight: HashMap<u64, InFlight>,
    /// Answers that were made here.
    made: VecDeque<v2::TaggedAnswer>,
    /// What the stream ends with when all is answered, if the client did not end it.
    end: Option<Status>,
    /// Whether nothing is taken in any more.
    is_closed: bool,
    intake: Option<Waker>,
    answers: Option<Waker>,
}

/// An append that the store has.
struct InFlight {
    /// What its caller knows it by, among others perhaps.
    tag: u64,
    /// Its caller asked for what is missing in case of a conflict.
    missing_asked: bool,
    /// The room of the message that it came in, which lies in memory until all of its appends are answered.
    _message: Arc<MessageRoom>,
}

/// The room of a message, among what the stream may have and among what the connection may have.
struct MessageRoom {
    stream_bytes: Arc<AtomicUsize>,
    bytes: Bytes,
}

impl MessageRoom {
    fn new(bytes: Bytes, stream_bytes: &Arc<AtomicUsize>) -> Arc<MessageRoom> {
        stream_bytes.fetch_add(bytes.taken(), Ordering::Relaxed);
        Arc::new(MessageRoom { stream_bytes: Arc::clone(stream_bytes), bytes })
    }
}

impl Drop for MessageRoom {
    fn drop(&mut self) {
        self.stream_bytes.fetch_sub(self.bytes.taken(), Ordering::Relaxed);
    }
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, State> {
        self.0.lock().expect("nothing panics while it is locked")
    }
}

fn wake(waker: Option<Waker>) {
    if let Some(waker) = waker {
        waker.wake();
    }
}
