//! The way in: messages become appends, one by one, as there is room.

use super::apart::take_apart;
use super::broken_keys::BrokenKeys;
use super::{InFlight, MessageRoom, Shared, State, wake};
use crate::inbound::HasUnread;
use crate::limits::{OVERLOADED_REST, STARTING_REST, STREAM_APPENDS_MAX, STREAM_BYTES_MAX};
use crate::peers::Peer;
use crate::phase::{Phase, reaches};
use crate::v2::held::Bytes;
use crate::v2::statuses::ours;
use crate::v2::weight::of_append;
use bkes_api::{AppendFailure, Failure, Reason, TaggedAnswer, TaggedAppend};
use bkes_wire::{BadField, from_wire, status, to_wire, v2};
use prost::Message;
use std::collections::VecDeque;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::task::{Context, Poll, ready};
use std::time::Duration;
use tokio::time::Instant;
use tokio_stream::Stream;
use tonic::{Status, Streaming};

/// The appends of a stream, for a store.
pub struct Intake {
    messages: Streaming<v2::AppendStreamRequest>,
    shared: Shared,
    peer: Peer,
    /// When the time of the call is over, if it has one.
    until: Option<Instant>,
    waiting: Option<Waiting>,
    /// How many appends were handed on: each has a number of its own, since a client may use a tag more than once.
    handed_on: u64,
    stream_bytes: Arc<AtomicUsize>,
    broken: BrokenKeys,
    stopping: Pin<Box<dyn Future<Output = ()> + Send>>,
}

/// What came in the last message and was not taken yet.
struct Waiting {
    appends: VecDeque<v2::TaggedAppend>,
    /// Of the message, encoded.
    bytes: usize,
    room: Arc<MessageRoom>,
}

impl Intake {
    pub(super) fn new(
        messages: Streaming<v2::AppendStreamRequest>,
        shared: Shared,
        peer: Peer,
        timeout: Option<Duration>,
    ) -> Intake {
        let stopping = Box::pin(reaches(peer.phase().clone(), Phase::Stopping));
        let until = timeout.and_then(|timeout| Instant::now().checked_add(timeout));
        let (stream_bytes, broken) = (Arc::default(), BrokenKeys::default());
        let (waiting, handed_on) = (None, 0);
        Intake { messages, shared, peer, until, waiting, handed_on, stream_bytes, broken, stopping }
    }

    /// The next append of those that wait; `None` when none does.
    fn next_waiting(&mut self) -> Option<(v2::TaggedAppend, Arc<MessageRoom>)> {
        let Waiting { appends, bytes, room } = self.waiting.as_mut()?;
        let Some(mut next) = appends.pop_front() else {
            self.waiting = None;
            return None;
        };
        next.append.iter_mut().for_each(|append| take_apart(append, *bytes));
        Some((next, Arc::clone(room)))
    }

    /// Waits until one more append may be in flight.
    fn poll_room(&self, cx: &Context<'_>) -> Poll<()> {
        let mut state = self.shared.lock();
        if state.in_flight.len() + state.made.len() < STREAM_APPENDS_MAX {
            return Poll::Ready(());
        }
        state.intake = Some(cx.waker().clone());
        Poll::Pending
    }

    /// Waits until one more message may be in memory.
    fn poll_bytes(&self, cx: &Context<'_>) -> Poll<()> {
        let mut state = self.shared.lock();
        if self.stream_bytes.load(Ordering::Relaxed) < STREAM_BYTES_MAX {
            return Poll::Ready(());
        }
        state.intake = Some(cx.waker().clone());
        Poll::Pending
    }

    /// Takes a message in: it waits from now on, unless there is no room for it in memory. Then it is answered, and the stream ends.
    fn take(&mut self, message: v2::AppendStreamRequest) -> Result<(), Status> {
        let bytes = message.encoded_len();
        let v2::AppendStreamRequest { appends } = message;
        let weight: usize = appends.iter().map(|tagged| tagged.append.as_ref().map_or(0, of_append)).sum();
        match Bytes::take(&self.peer, weight.max(bytes)) {
            Some(taken) => {
                let room = MessageRoom::new(taken, &self.stream_bytes);
                self.waiting = Some(Waiting { appends: appends.into(), bytes, room });
                Ok(())
            }
            None => {
                let why = "appends hold too many bytes while they are worked on";
                let failure = Failure::new(Reason::Overloaded, why).after(OVERLOADED_REST);
                self.refuse(appends, &failure);
                Err(status::of(&failure))
            }
        }
    }

    /// Answers appends that the store will not see.
    fn refuse(&self, appends: impl IntoIterator<Item = v2::TaggedAppend>, failure: &Failure) {
        appends.into_iter().for_each(|v2::TaggedAppend { tag, .. }| {
            self.answer(tag, AppendFailure::NotStored(failure.clone()));
        });
    }

    fn answer(&self, tag: u64, failure: AppendFailure) {
        let answer = to_wire::tagged_answer(TaggedAnswer { tag, answer: Err(failure) }, false);
        let waker = {
            let mut state = self.shared.lock();
            state.made.push_back(answer);
            state.answers.take()
        };
        wake(waker);
    }

    /// The append, under its number, and whether its caller asked for what is missing. What has no words, or what no store takes, is the
    /// failure that Append would end with, and breaks its key.
    fn turn(&mut self, tagged: v2::TaggedAppend) -> Result<(TaggedAppend, bool), Refused> {
        let v2::TaggedAppend { tag: _, append, timeout_ms, stands_alone } = tagged;
        let bad = |bad: BadField| Refused::This(bad.in_request());
        let append = append.ok_or_else(|| bad(BadField::new("append", "is not set")))?;
        let (key, missing_asked) = (append.key.clone(), append.missing_events_max > 0);
        if !stands_alone && self.broken.contains(&key) {
            let why = "the append of this key before it on this stream was refused";
            return Err(Refused::This(Failure::new(Reason::PredecessorFailed, why)));
        }
        let left = self.until.map(|until| until.saturating_duration_since(Instant::now()));
        let own = (timeout_ms > 0).then(|| Duration::from_millis(timeout_ms.into()));
        // Nobody hears of what ends after the stream.
        let timeout = own.into_iter().chain(left).min();
        let checked = from_wire::append(append, timeout).and_then(|append| {
            from_wire::check_append(&append)?;
            Ok(append)
        });
        match checked {
            Ok(append) => {
                self.broken.remove(&key);
                self.handed_on += 1;
                Ok((TaggedAppend { tag: self.handed_on, append, stands_alone }, missing_asked))
            }
            Err(field) if key.is_empty() || self.broken.insert(&key) => Err(bad(field)),
            Err(field) => Err(Refused::Stream(field.in_request())),
        }
    }

    /// Nothing more is taken in.
    fn close(&mut self, end: Option<Status>) -> Poll<Option<TaggedAppend>> {
        self.waiting = None;
        let waker = self.shared.lock().close(end);
        wake(waker);
        Poll::Ready(None)
    }

    fn stop(&mut self) -> Poll<Option<TaggedAppend>> {
        let why = "the server stops: it was not sent";
        let failure = Failure::new(Reason::ShuttingDown, why).after(STARTING_REST);
        if let Some(Waiting { appends, .. }) = self.waiting.take() {
            self.refuse(appends, &failure);
        }
        self.close(Some(status::of(&failure)))
    }
}

/// What becomes of an append that is none.
enum Refused {
    /// It alone is refused.
    This(Failure),
    /// The stream ends with it.
    Stream(Failure),
}

impl State {
    fn close(&mut self, end: Option<Status>) -> Option<std::task::Waker> {
        if !self.is_closed {
            self.is_closed = true;
            self.end = end;
        }
        self.answers.take()
    }
}

impl Stream for Intake {
    type Item = TaggedAppend;

    fn poll_next(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<TaggedAppend>> {
        let this = &mut *self;
        loop {
            if this.shared.lock().is_closed {
                this.waiting = None;
                return Poll::Ready(None);
            }
            if this.stopping.as_mut().poll(cx).is_ready() {
                return this.stop();
            }
            ready!(this.poll_room(cx));
            if let Some((tagged, room)) = this.next_waiting() {
                let tag = tagged.tag;
                match this.turn(tagged) {
                    Ok((append, missing_asked)) => {
                        let flying = InFlight { tag, missing_asked, _message: room };
                        this.shared.lock().in_flight.insert(append.tag, flying);
                        return Poll::Ready(Some(append));
                    }
                    Err(Refused::This(failure)) => this.answer(tag, AppendFailure::NotStored(failure)),
                    Err(Refused::Stream(failure)) => {
                        this.answer(tag, AppendFailure::NotStored(failure.clone()));
                        return this.close(Some(status::of(&failure)));
                    }
                }
                continue;
            }
            ready!(this.poll_bytes(cx));
            match ready!(Pin::new(&mut this.messages).poll_next(cx)) {
                Some(Ok(message)) => {
                    if let Err(end) = this.take(message) {
                        return this.close(Some(end));
                    }
                }
                Some(Err(status)) => return this.close(Some(ours(&status))),
                None => return this.close(None),
            }
        }
    }
}

impl Drop for Intake {
    /// A store that takes no more appends has said its last word with its answers.
    fn drop(&mut self) {
        let waker = self.shared.lock().close(None);
        wake(waker);
    }
}
