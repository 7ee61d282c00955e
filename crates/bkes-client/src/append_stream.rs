//! Many appends on one stream, each of them answered whatever becomes of the connection.
//!
//! [`Outgoing`] is the body of the request: it takes what is there of the caller's appends and sends it in one message. [`Incoming`] is what
//! the caller gets. They share which appends are sent and not answered. When the stream breaks off those are unknown; what comes of the
//! caller after that was not sent, and is answered so.

use crate::client::Client;
use crate::limits::{STREAM_APPENDS_MAX, STREAM_MESSAGE_BYTES};
use bkes_api::{AppendFailure, AppendId, BoxStream, ErrorClass, Failure, Reason, TaggedAnswer, TaggedAppend};
use bkes_wire::{from_wire, status, to_wire, v2};
use prost::Message;
use std::collections::{HashMap, VecDeque};
use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard};
use std::task::{Context, Poll, Waker, ready};
use std::time::Duration;
use tokio_stream::Stream;
use tonic::{Status, Streaming};

impl Client {
    /// Begins a stream of appends. None of them is taken before the server has taken the call: an error here says that none was sent.
    pub(crate) async fn begin_append_stream(
        &self,
        appends: BoxStream<TaggedAppend>,
    ) -> Result<BoxStream<TaggedAnswer>, Failure> {
        let shared = Shared::new(appends, self.options.append_timeout);
        let request = self.request(Outgoing(shared.clone()), None);
        // Made first: should the call fail, or its caller give it up, dropping this ends the body.
        let mut incoming = Incoming { shared, messages: None, came: VecDeque::new(), broken: None };
        let (at, mut wire) = self.instances.current();
        let begun = self.in_time(wire.append_stream(request)).await;
        let messages = begun.map_err(|unanswered| {
            self.turn(at, &unanswered);
            unanswered.failure
        })?;
        incoming.messages = Some(messages);
        incoming.shared.open();
        Ok(Box::pin(incoming))
    }
}

#[derive(Clone)]
struct Shared(Arc<Mutex<State>>);

struct State {
    /// The caller's, until they have ended or the stream has.
    appends: Option<BoxStream<TaggedAppend>>,
    /// What an append is given that does not say so itself.
    timeout: Duration,
    /// Whether the server has taken the call.
    is_open: bool,
    /// What was sent and not answered, or answered and not taken: tags, with the ids of their appends.
    unanswered: HashMap<u64, VecDeque<Option<AppendId>>>,
    count: usize,
    /// The body's, which waits for the server, for appends, or for answers to be taken.
    waker: Option<Waker>,
}

impl Shared {
    fn new(appends: BoxStream<TaggedAppend>, timeout: Duration) -> Shared {
        let (appends, unanswered) = (Some(appends), HashMap::new());
        Shared(Arc::new(Mutex::new(State {
            appends,
            timeout,
            is_open: false,
            unanswered,
            count: 0,
            waker: None,
        })))
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        // A caller's stream that panics leaves nothing half done: what it did not give was not sent.
        self.0.lock().unwrap_or_else(std::sync::PoisonError::into_inner)
    }

    fn open(&self) {
        let waker = {
            let mut state = self.lock();
            state.is_open = true;
            state.waker.take()
        };
        wake(waker);
    }

    /// An append with this tag is answered, and the caller takes the answer: its id. `None` if there is none.
    fn land(&self, tag: u64) -> Option<Option<AppendId>> {
        let mut state = self.lock();
        let with_tag = state.unanswered.get_mut(&tag)?;
        let id = with_tag.pop_front();
        if with_tag.is_empty() {
            state.unanswered.remove(&tag);
        }
        state.count -= usize::from(id.is_some());
        let waker = state.waker.take();
        drop(state);
        wake(waker);
        id
    }
}

fn wake(waker: Option<Waker>) {
    if let Some(waker) = waker {
        waker.wake();
    }
}

impl State {
    /// What is there now, as one message.
    fn poll_message(&mut self, cx: &mut Context<'_>) -> Poll<Option<v2::AppendStreamRequest>> {
        self.waker = Some(cx.waker().clone());
        if !self.is_open {
            return Poll::Pending;
        }
        let (mut message, mut bytes) = (v2::AppendStreamRequest::default(), 0);
        while bytes < STREAM_MESSAGE_BYTES {
            if self.count >= STREAM_APPENDS_MAX {
                break;
            }
            let Some(appends) = &mut self.appends else { break };
            match appends.as_mut().poll_next(cx) {
                Poll::Ready(Some(mut tagged)) => {
                    tagged.append.timeout.get_or_insert(self.timeout);
                    let id = tagged.append.append_id().cloned();
                    self.unanswered.entry(tagged.tag).or_default().push_back(id);
                    self.count += 1;
                    let tagged = to_wire::tagged_append(tagged);
                    bytes += tagged.encoded_len();
                    message.appends.push(tagged);
                }
                Poll::Ready(None) => self.appends = None,
                Poll::Pending => break,
            }
        }
        if !message.appends.is_empty() {
            Poll::Ready(Some(message))
        } else if self.appends.is_none() {
            Poll::Ready(None)
        } else {
            Poll::Pending
        }
    }
}

/// The body of the request.
struct Outgoing(Shared);

impl Stream for Outgoing {
    type Item = v2::AppendStreamRequest;

    fn poll_next(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<v2::AppendStreamRequest>> {
        self.0.lock().poll_message(cx)
    }
}

/// The answers.
struct Incoming {
    shared: Shared,
    /// The server's messages, until they have ended.
    messages: Option<Streaming<v2::AppendStreamReply>>,
    /// What came in the last message and was not taken yet.
    came: VecDeque<v2::TaggedAnswer>,
    /// The stream has ended before its appends had.
    broken: Option<Broken>,
}

struct Broken {
    /// What was sent and not answered.
    unknown: Vec<(u64, Option<AppendId>)>,
    why: Failure,
    /// What the caller appends still: not sent.
    appends: Option<BoxStream<TaggedAppend>>,
    /// What is said of those.
    unsent: Failure,
}

impl Broken {
    fn new(shared: &Shared, end: Option<Status>) -> Broken {
        let words = |status: &Status| format!("{:?}: {}", status.code(), status.message());
        let end_words = end.as_ref().map_or_else(|| "it was ended".to_owned(), words);
        let why = Failure::new(Reason::AnswerLost, format!("the stream broke off: {end_words}"));
        // Of what was not sent the server can say why it takes no more, but not that it is unknown.
        let told = end.as_ref().map(status::failure).filter(|failure| failure.class() != ErrorClass::Unknown);
        let unsent = told.unwrap_or_else(|| Failure::new(Reason::Unreachable, why.message.clone()));
        let mut state = shared.lock();
        let unanswered = std::mem::take(&mut state.unanswered);
        let unknown = unanswered.into_iter().flat_map(|(tag, ids)| ids.into_iter().map(move |id| (tag, id)));
        state.count = 0;
        Broken { unknown: unknown.collect(), why, appends: state.appends.take(), unsent }
    }

    fn poll_answer(&mut self, cx: &mut Context<'_>) -> Poll<Option<TaggedAnswer>> {
        if let Some((tag, id)) = self.unknown.pop() {
            let failure = self.why.clone();
            return Poll::Ready(Some(TaggedAnswer {
                tag,
                answer: Err(AppendFailure::Unknown { id, failure }),
            }));
        }
        let Some(appends) = &mut self.appends else { return Poll::Ready(None) };
        let answer = ready!(appends.as_mut().poll_next(cx)).map(|TaggedAppend { tag, .. }| TaggedAnswer {
            tag,
            answer: Err(AppendFailure::NotStored(self.unsent.clone())),
        });
        if answer.is_none() {
            self.appends = None;
        }
        Poll::Ready(answer)
    }
}

impl Stream for Incoming {
    type Item = TaggedAnswer;

    fn poll_next(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<TaggedAnswer>> {
        let this = &mut *self;
        loop {
            if let Some(answer) = this.came.pop_front() {
                match this.shared.land(answer.tag) {
                    Some(id) => return Poll::Ready(Some(from_wire::tagged_answer(answer, id))),
                    None => {
                        tracing::warn!("the server answered append {}, which it was not sent", answer.tag)
                    }
                }
                continue;
            }
            if let Some(broken) = &mut this.broken {
                return broken.poll_answer(cx);
            }
            let Some(messages) = &mut this.messages else { return Poll::Ready(None) };
            match ready!(Pin::new(messages).poll_next(cx)) {
                Some(Ok(v2::AppendStreamReply { answers })) => this.came = answers.into(),
                ended => {
                    this.messages = None;
                    let end = ended.and_then(Result::err);
                    this.broken = Some(Broken::new(&this.shared, end));
                }
            }
        }
    }
}

impl Drop for Incoming {
    /// The library goes on sending while there is something to send, though nobody hears the answers. So that ends here, and with it the
    /// call: the server withdraws what it has not sent.
    fn drop(&mut self) {
        let (appends, waker) = {
            let mut state = self.shared.lock();
            state.is_open = true;
            (state.appends.take(), state.waker.take())
        };
        drop(appends);
        wake(waker);
    }
}
