//! The way out: answers that ended together share a message.

use super::{InFlight, Intake, Shared, wake};
use crate::limits::{ANSWERS_BYTES_MAX, STREAM_APPENDS_MAX};
use crate::peers::Peer;
use crate::reply_budget::Taken;
use crate::v2::held::Place;
use bkes_api::{AppendFailure, BoxStream, Failure, Reason, TaggedAnswer};
use bkes_wire::{to_wire, v2};
use prost::Message;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;
use tokio_stream::Stream;
use tonic::{Status, Streaming};

/// The answers of a stream, as messages.
pub struct Answers {
    shared: Shared,
    /// The store's, until they have ended.
    answers: Option<BoxStream<TaggedAnswer>>,
    peer: Peer,
    /// The room of the message that was taken last: it is on its way until the next one is asked for.
    holding: Option<Taken>,
    has_ended: bool,
    _place: Place,
}

/// An end of a stream whose store is still to be asked for its answers.
pub struct Unanswered(Shared);

impl Answers {
    /// The way in of a stream, and what its answers are made with.
    pub fn begin(
        messages: Streaming<v2::AppendStreamRequest>,
        peer: &Peer,
        timeout: Option<Duration>,
    ) -> (Intake, Unanswered) {
        let shared = Shared::default();
        (Intake::new(messages, shared.clone(), peer.clone(), timeout), Unanswered(shared))
    }

    pub fn new(
        unanswered: Unanswered,
        answers: BoxStream<TaggedAnswer>,
        peer: Peer,
        place: Place,
    ) -> Answers {
        let (shared, answers) = (unanswered.0, Some(answers));
        Answers { shared, answers, peer, holding: None, has_ended: false, _place: place }
    }

    /// An answer that is there now.
    fn poll_answer(&mut self, cx: &mut Context<'_>) -> Poll<Option<v2::TaggedAnswer>> {
        loop {
            {
                let mut state = self.shared.lock();
                if let Some(made) = state.made.pop_front() {
                    let waker = state.intake.take();
                    drop(state);
                    wake(waker);
                    return Poll::Ready(Some(made));
                }
                if self.answers.is_none() {
                    return Poll::Ready(None);
                }
                state.answers = Some(cx.waker().clone());
            }
            // Without the lock: a store may take appends in while it is asked for answers.
            let answers = self.answers.as_mut().expect("they have not ended");
            match answers.as_mut().poll_next(cx) {
                Poll::Ready(Some(answer)) => return Poll::Ready(Some(self.to_wire(answer))),
                Poll::Ready(None) => {
                    self.answers = None;
                    self.settle();
                }
                // What was made while the store was asked wakes us: its waker is there.
                Poll::Pending if self.shared.lock().made.is_empty() => return Poll::Pending,
                Poll::Pending => {}
            }
        }
    }

    fn to_wire(&self, answer: TaggedAnswer) -> v2::TaggedAnswer {
        let flying = self.landed(answer.tag);
        to_wire::tagged_answer(answer, flying.is_some_and(|flying| flying.missing_asked))
    }

    /// One in flight with this tag is answered.
    fn landed(&self, tag: u64) -> Option<InFlight> {
        let mut state = self.shared.lock();
        let with_tag = state.in_flight.get_mut(&tag)?;
        let flying = with_tag.pop_front();
        if with_tag.is_empty() {
            state.in_flight.remove(&tag);
        }
        state.count -= usize::from(flying.is_some());
        let waker = state.intake.take();
        drop(state);
        wake(waker);
        flying
    }

    /// The store's answers have ended, and so must its appends have. What it left unanswered is unknown.
    fn settle(&self) {
        let mut state = self.shared.lock();
        state.is_closed = true;
        let left: Vec<(u64, usize)> =
            state.in_flight.drain().map(|(tag, flying)| (tag, flying.len())).collect();
        state.count = 0;
        for (tag, times) in left {
            let failure = Failure::new(Reason::Internal, "the store left the append unanswered");
            let answer = Err(AppendFailure::Unknown { id: None, failure });
            let answer = to_wire::tagged_answer(TaggedAnswer { tag, answer }, false);
            state.made.extend(std::iter::repeat_n(answer, times));
        }
    }

    /// Room for a message until it was taken. Where there is none, what conflicts bring along is left out: it can be read.
    fn room(&self, answers: &mut [v2::TaggedAnswer]) -> Taken {
        let bytes = answers.iter().map(Message::encoded_len).sum();
        self.peer.room().take(bytes).unwrap_or_else(|| {
            for answer in answers {
                if let Some(v2::tagged_answer::Outcome::Conflict(conflict)) = &mut answer.outcome {
                    leave_out_missing(conflict);
                }
            }
            Taken::of_a_small_one()
        })
    }
}

/// A conflict whose events are to be read.
pub fn leave_out_missing(conflict: &mut v2::Conflict) {
    conflict.more |= !conflict.missing_events.is_empty();
    conflict.missing_events = Vec::new();
}

impl Stream for Answers {
    type Item = Result<v2::AppendStreamReply, Status>;

    fn poll_next(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        let this = &mut *self;
        this.holding = None;
        if this.has_ended {
            return Poll::Ready(None);
        }
        let (mut answers, mut bytes, mut is_end) = (Vec::new(), 0, false);
        while answers.len() < STREAM_APPENDS_MAX && bytes < ANSWERS_BYTES_MAX {
            match this.poll_answer(cx) {
                Poll::Ready(Some(answer)) => {
                    bytes += answer.encoded_len();
                    answers.push(answer);
                }
                Poll::Ready(None) => {
                    is_end = true;
                    break;
                }
                Poll::Pending => break,
            }
        }
        if !answers.is_empty() {
            this.holding = Some(this.room(&mut answers));
            return Poll::Ready(Some(Ok(v2::AppendStreamReply { answers })));
        }
        if !is_end {
            return Poll::Pending;
        }
        this.has_ended = true;
        let end = this.shared.lock().end.take();
        Poll::Ready(end.map(Err))
    }
}

impl Unpin for Answers {}
