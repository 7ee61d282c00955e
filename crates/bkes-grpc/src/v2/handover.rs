//! Handing messages of a stream from the task that makes them to the connection that sends them, one at a time.
//!
//! A connection asks for the next message when it has room for it. A client that does not read never asks, so whoever makes messages
//! cannot be part of the asking: it would not notice. Here it waits in a task of its own, and may take back what was not taken.

use crate::reply_budget::Taken;
use std::collections::VecDeque;
use std::pin::Pin;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard};
use std::task::{Context, Poll, Waker};
use tokio::sync::Notify;
use tokio_stream::Stream;
use tonic::Status;

/// The two sides. `broken` is the end of a stream whose writer was dropped without one: it panicked.
pub fn handover<T>(broken: fn() -> Status) -> (Writer<T>, Messages<T>) {
    let shared = Shared::new(VecDeque::new(), None);
    (Writer { shared: Arc::clone(&shared), broken }, Messages { shared, holding: OnTheirWay::default() })
}

/// The messages of an answer that is one, and small.
pub fn whole<T>(message: T) -> Messages<T> {
    let queued = VecDeque::from([(message, Taken::of_a_small_one())]);
    Messages { shared: Shared::new(queued, Some(Ok(()))), holding: OnTheirWay::default() }
}

struct Shared<T> {
    state: Mutex<State<T>>,
    /// For the writer: something was taken, or nobody takes any more.
    changed: Notify,
    /// Whether what was taken holds room that counts.
    holds_room: AtomicBool,
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
    fn new(queued: VecDeque<(T, Taken)>, end: Option<Result<(), Status>>) -> Arc<Shared<T>> {
        let state = State { queued, end, has_reader: true, waker: None };
        Arc::new(Shared { state: Mutex::new(state), changed: Notify::new(), holds_room: false.into() })
    }

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

    /// Whether what was taken holds room that others want.
    pub fn holds_room(&self) -> bool {
        self.shared.holds_room.load(Ordering::Relaxed)
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
    pub fn end(&self, end: Result<(), Status>) {
        self.shared.change(|state| state.end = Some(end));
    }

    /// Takes back what was not taken, and ends the stream with this instead. `false` where all was taken meanwhile: that is left as it is.
    pub fn take_back(&self, last: Option<(T, Taken)>, status: Status) -> bool {
        let mut left = VecDeque::new();
        self.shared.change(|state| {
            if !state.queued.is_empty() {
                left = std::mem::take(&mut state.queued);
                state.queued.extend(last);
                state.end = Some(Err(status));
            }
        });
        !left.is_empty()
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

/// The rooms of the two messages that were taken last. The library asks for a message when the one before it waits for the client's window:
/// then that one is here whole, and the one before that is gone.
#[derive(Default)]
pub struct OnTheirWay([Option<Taken>; 2]);

impl OnTheirWay {
    /// Another one is on its way.
    pub fn push(&mut self, room: Taken) {
        let [before, last] = &mut self.0;
        *before = last.replace(room);
    }

    /// Whether any of their room counts.
    pub fn holds_room(&self) -> bool {
        self.0.iter().flatten().any(Taken::counts)
    }
}

/// The side of the connection: the messages of a call.
pub struct Messages<T> {
    shared: Arc<Shared<T>>,
    /// The rooms of the messages on their way.
    holding: OnTheirWay,
}

impl<T> Stream for Messages<T> {
    type Item = Result<T, Status>;

    fn poll_next(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<T, Status>>> {
        let shared = Arc::clone(&self.shared);
        let mut state = shared.lock();
        if let Some((message, room)) = state.queued.pop_front() {
            drop(state);
            self.holding.push(room);
            shared.holds_room.store(self.holding.holds_room(), Ordering::Relaxed);
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

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;
    use tokio_stream::StreamExt;

    fn small() -> Taken {
        Taken::of_a_small_one()
    }

    fn pair() -> (Writer<u32>, Messages<u32>) {
        handover(|| Status::internal("broken"))
    }

    async fn rest(messages: Messages<u32>) -> (Vec<u32>, Option<tonic::Code>) {
        let all: Vec<_> = messages.collect().await;
        let end = all.iter().find_map(|message| message.as_ref().err().map(Status::code));
        (all.into_iter().flatten().collect(), end)
    }

    #[tokio::test]
    async fn what_is_put_comes_and_then_the_end_once() {
        let (writer, messages) = pair();
        writer.put(1, small());
        writer.put(2, small());
        writer.end(Err(Status::aborted("end")));
        drop(writer);
        assert_eq!(rest(messages).await, (vec![1, 2], Some(tonic::Code::Aborted)));
    }

    #[tokio::test]
    async fn a_whole_answer_comes_and_then_its_end() {
        assert_eq!(rest(whole(7)).await, (vec![7], None));
    }

    #[tokio::test]
    async fn a_writer_that_goes_without_a_word_broke() {
        let (writer, messages) = pair();
        writer.put(1, small());
        drop(writer);
        assert_eq!(rest(messages).await, (vec![1], Some(tonic::Code::Internal)));
    }

    #[tokio::test]
    async fn what_was_not_taken_is_taken_back_and_what_was_taken_stays() {
        let (writer, mut messages) = pair();
        writer.put(1, small());
        assert_eq!(messages.next().await.map(Result::ok), Some(Some(1)));
        assert!(!writer.take_back(Some((9, small())), Status::aborted("slow")), "all was taken");
        writer.put(2, small());
        writer.end(Ok(()));
        assert!(writer.take_back(Some((9, small())), Status::aborted("slow")));
        drop(writer);
        assert_eq!(rest(messages).await, (vec![9], Some(tonic::Code::Aborted)));
    }

    #[tokio::test]
    async fn a_writer_hears_that_all_was_taken_and_that_nobody_listens_both_at_once() {
        let (writer, mut messages) = pair();
        writer.put(1, small());
        let writer = Arc::new(writer);
        let (taken, abandoned) = (Arc::clone(&writer), Arc::clone(&writer));
        let taken = tokio::spawn(async move { taken.all_taken().await });
        let abandoned = tokio::spawn(async move { abandoned.abandoned().await });
        tokio::time::sleep(Duration::from_millis(20)).await;
        assert!(!taken.is_finished() && !abandoned.is_finished());
        messages.next().await.expect("a message").expect("no end");
        taken.await.expect("no panic");
        assert!(!abandoned.is_finished());
        drop(messages);
        abandoned.await.expect("no panic");
    }
}
