//! Handing messages of a stream from the task that makes them to the connection that sends them, one at a time.
//!
//! A connection asks for the next message when it has room for it. A client that does not read never asks, so whoever makes messages
//! cannot be part of the asking: it would not notice. Here it waits in a task of its own, and may take back what was not taken.

use crate::reply_budget::Taken;
use std::collections::VecDeque;
use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard};
use std::task::{Context, Poll, Waker};
use tokio::sync::Notify;
use tokio_stream::Stream;
use tonic::Status;

/// The two sides. `broken` is the end of a stream whose writer was dropped without one: it panicked.
pub fn handover<T>(broken: fn() -> Status) -> (Writer<T>, Messages<T>) {
    let state = State { queued: VecDeque::new(), end: None, has_reader: true, waker: None };
    let shared = Arc::new(Shared { state: Mutex::new(state), changed: Notify::new() });
    (Writer { shared: Arc::clone(&shared), broken }, Messages { shared, holding: None })
}

struct Shared<T> {
    state: Mutex<State<T>>,
    /// For the writer: something was taken, or nobody takes any more.
    changed: Notify,
}

struct State<T> {
    /// Messages with the room they take.
    queued: VecDeque<(T, Taken)>,
    /// Nothing comes after what is queued but this.
    end: Option<Result<(), Status>>,
    /// Whether the reader is there.
    has_reader: bool,
    waker: Option<Waker>,
}

impl<T> Shared<T> {
    fn lock(&self) -> MutexGuard<'_, State<T>> {
        self.state.lock().expect("nothing panics while it is locked")
    }

    /// Changes the state, and wakes whoever reads.
    fn change(&self, change: impl FnOnce(&mut State<T>)) {
        let waker = {
            let mut state = self.lock();
            change(&mut state);
            state.waker.take()
        };
        if let Some(waker) = waker {
            waker.wake();
        }
    }
}

/// The side of whoever makes messages.
pub struct Writer<T> {
    shared: Arc<Shared<T>>,
    broken: fn() -> Status,
}

impl<T> Writer<T> {
    /// Resolves when all that was put was taken, or nobody takes any more.
    pub async fn all_taken(&self) {
        self.until(|state| state.queued.is_empty() || !state.has_reader).await;
    }

    /// Resolves when nobody takes any more.
    pub async fn abandoned(&self) {
        self.until(|state| !state.has_reader).await;
    }

    async fn until(&self, is_so: impl Fn(&State<T>) -> bool) {
        loop {
            // Made first: a change between the look and the waiting is noticed.
            let changed = self.shared.changed.notified();
            if is_so(&self.shared.lock()) {
                return;
            }
            changed.await;
        }
    }

    /// Puts a message after those that are there.
    pub fn put(&self, message: T, room: Taken) {
        self.shared.change(|state| state.queued.push_back((message, room)));
    }

    /// Ends the stream after what is there.
    pub fn end(self, end: Result<(), Status>) {
        self.shared.change(|state| state.end = Some(end));
    }

    /// Takes back what was not taken, and ends the stream with this instead. Where all was taken meanwhile that is left as it is, and
    /// the writer comes back.
    pub fn take_back(self, last: Option<(T, Taken)>, status: Status) -> Option<Writer<T>> {
        let mut is_taken = false;
        self.shared.change(|state| {
            is_taken = state.queued.is_empty();
            if !is_taken {
                state.queued.clear();
                state.queued.extend(last);
                state.end = Some(Err(status));
            }
        });
        is_taken.then_some(self)
    }
}

impl<T> Drop for Writer<T> {
    fn drop(&mut self) {
        let broken = self.broken;
        self.shared.change(|state| {
            state.end.get_or_insert_with(|| Err(broken()));
        });
    }
}

/// The side of the connection: the messages of a call.
pub struct Messages<T> {
    shared: Arc<Shared<T>>,
    /// The room of the message that was taken last: it is on its way until the next one is asked for.
    holding: Option<Taken>,
}

impl<T> Stream for Messages<T> {
    type Item = Result<T, Status>;

    fn poll_next(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<T, Status>>> {
        self.holding = None;
        let shared = Arc::clone(&self.shared);
        let mut state = shared.lock();
        if let Some((message, room)) = state.queued.pop_front() {
            drop(state);
            self.holding = Some(room);
            shared.changed.notify_waiters();
            return Poll::Ready(Some(Ok(message)));
        }
        match state.end.replace(Ok(())) {
            Some(Ok(())) => Poll::Ready(None),
            Some(Err(status)) => Poll::Ready(Some(Err(status))),
            None => {
                state.end = None;
                state.waker = Some(cx.waker().clone());
                Poll::Pending
            }
        }
    }
}

impl<T> Unpin for Messages<T> {}

impl<T> Drop for Messages<T> {
    fn drop(&mut self) {
        let left = {
            let mut state = self.shared.lock();
            state.has_reader = false;
            std::mem::take(&mut state.queued)
        };
        drop(left);
        self.shared.changed.notify_waiters();
    }
}
