//! The way out: answers that ended together share a message.

use super::attention::Attention;
use super::watchdog::watch;
use super::{InFlight, Intake, Shared, StoreAnswers, wake};
use crate::limits::{ANSWERS_BYTES_MAX, STREAM_APPENDS_MAX};
use crate::peers::Peer;
use crate::reply_budget::Taken;
use crate::v2::handover::OnTheirWay;
use crate::v2::held::Place;
use bkes_api::{AppendFailure, BoxStream, Failure, Reason, TaggedAnswer};
use bkes_wire::{to_wire, v2};
use prost::Message;
use std::pin::Pin;
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll, ready};
use std::time::Duration;
use tokio::task::AbortHandle;
use tokio_stream::Stream;
use tonic::{Status, Streaming};

/// The answers of a stream, as messages.
pub struct Answers {
    shared: Shared,
    answers: Arc<Mutex<StoreAnswers>>,
    attention: Arc<Attention>,
    watchdog: AbortHandle,
    peer: Peer,
    /// The rooms of the messages on their way.
    holding: OnTheirWay,
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

    /// The answers of a client that may take nothing of them for so long.
    pub fn new(
        unanswered: Unanswered,
        answers: BoxStream<TaggedAnswer>,
        peer: Peer,
        place: Place,
        patience: Duration,
    ) -> Answers {
        let (shared, answers) = (unanswered.0, Arc::new(Mutex::new(Some(answers))));
        let attention = Attention::new();
        let (of_shared, of_answers) = (Arc::downgrade(&shared.0), Arc::downgrade(&answers));
        let watching = watch(Arc::clone(&attention), of_shared, of_answers, patience, peer.clone());
        let watchdog = tokio::spawn(watching).abort_handle();
        let holding = OnTheirWay::default();
        Answers { shared, answers, attention, watchdog, peer, holding, has_ended: false, _place: place }
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
                state.answers = Some(cx.waker().clone());
            }
            match self.poll_store(cx) {
                Poll::Ready(Some(Some(answer))) => {
                    if let Some(answer) = self.to_wire(answer) {
                        return Poll::Ready(Some(answer));
                    }
                }
                Poll::Ready(Some(None)) => self.settle(),
                Poll::Ready(None) => return Poll::Ready(None),
                // What was made while the store was asked wakes us: its waker is there.
                Poll::Pending if self.shared.lock().made.is_empty() => return Poll::Pending,
                Poll::Pending => {}
            }
        }
    }

    /// The store's next answer, or its end; `None` after that. The state is not locked: a store may take appends in meanwhile.
    fn poll_store(&self, cx: &mut Context<'_>) -> Poll<Option<Option<TaggedAnswer>>> {
        let mut answers = self.answers.lock().unwrap_or_else(PoisonError::into_inner);
        let Some(stream) = answers.as_mut() else { return Poll::Ready(None) };
        let answer = ready!(stream.as_mut().poll_next(cx));
        if answer.is_none() {
            *answers = None;
        }
        Poll::Ready(Some(answer))
    }

    /// The answer under its caller's tag; `None` of what is answered already.
    fn to_wire(&self, answer: TaggedAnswer) -> Option<v2::TaggedAnswer> {
        let InFlight { tag, missing_asked, .. } = self.landed(answer.tag)?;
        Some(to_wire::tagged_answer(TaggedAnswer { tag, ..answer }, missing_asked))
    }

    /// The one in flight that has this number is answered.
    fn landed(&self, number: u64) -> Option<InFlight> {
        let mut state = self.shared.lock();
        let flying = state.in_flight.remove(&number);
        let waker = state.intake.take();
        drop(state);
        wake(waker);
        flying
    }

    /// The store's answers have ended, and so must its appends have. What it left unanswered is unknown.
    fn settle(&self) {
        let mut state = self.shared.lock();
        state.is_closed = true;
        let left: Vec<InFlight> = state.in_flight.drain().map(|(_, flying)| flying).collect();
        for InFlight { tag, .. } in &left {
            let failure = Failure::new(Reason::Internal, "the store left the append unanswered");
            let answer = Err(AppendFailure::Unknown { id: None, failure });
            state.made.push_back(to_wire::tagged_answer(TaggedAnswer { tag: *tag, answer }, false));
        }
        drop(state);
        // Their room is given back when nothing is locked.
        drop(left);
    }

    /// What ended until now, as one message.
    fn poll_message(&mut self, cx: &mut Context<'_>) -> Poll<Option<Result<v2::AppendStreamReply, Status>>> {
        if self.has_ended {
            return Poll::Ready(None);
        }
        let (mut answers, mut bytes, mut is_end) = (Vec::new(), 0, false);
        while answers.len() < STREAM_APPENDS_MAX && bytes < ANSWERS_BYTES_MAX {
            match self.poll_answer(cx) {
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
            let room = self.room(&mut answers);
            self.holding.push(room);
            return Poll::Ready(Some(Ok(v2::AppendStreamReply { answers })));
        }
        if !is_end {
            return Poll::Pending;
        }
        self.has_ended = true;
        let end = self.shared.lock().end.take();
        Poll::Ready(end.map(Err))
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
        let waker = this.attention.asks(cx.waker());
        let message = this.poll_message(&mut Context::from_waker(&waker));
        if matches!(message, Poll::Ready(Some(Ok(_)))) {
            this.attention.is_given(this.holding.holds_room());
        }
        message
    }
}

impl Unpin for Answers {}

impl Drop for Answers {
    fn drop(&mut self) {
        self.watchdog.abort();
    }
}
