//! Many appends on one stream, each of them answered whatever becomes of the connection.
//!
//! [`Outgoing`] is the body of the request: it takes what is there of the caller's appends and sends it in one message. [`Incoming`] is what
//! the caller gets. They share which appends are sent and not answered. When the stream breaks off those are unknown; what comes of the
//! caller after that was not sent, and is answered so.

use crate::append::Sent;
use crate::client::Client;
use crate::limits::{SERVER_GRACE, STREAM_APPENDS_MAX, STREAM_MESSAGE_BYTES, TIMEOUT_MAX};
use bkes_api::{AppendFailure, BoxStream, ErrorClass, Failure, Reason, TaggedAnswer, TaggedAppend};
use bkes_wire::{from_wire, status, to_wire, v2};
use prost::Message;
use std::collections::{HashMap, VecDeque};
use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard};
use std::task::{Context, Poll, Waker, ready};
use std::time::Duration;
use tokio::time::{Instant, Sleep, sleep};
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
        let mut incoming =
            Incoming { shared, messages: None, came: VecDeque::new(), clock: None, broken: None };
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
    /// The longest time that an append was given.
    timeout_max: Duration,
    /// What was sent and not answered, or answered and not taken, by tags.
    unanswered: HashMap<u64, VecDeque<Sent>>,
    count: usize,
    /// Since when there has been something in it.
    since: Instant,
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
            timeout_max: Duration::ZERO,
            unanswered,
            count: 0,
            since: Instant::now(),
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

    /// How long the server may say nothing while it has appends to answer.
    fn patience(&self) -> Duration {
        self.lock().timeout_max.saturating_add(SERVER_GRACE).min(TIMEOUT_MAX)
    }

    /// How long there have been appends to answer; `None` if there are none.
    fn waited(&self) -> Option<Duration> {
        let state = self.lock();
        (state.count > 0).then(|| state.since.elapsed())
    }

    /// An append with this tag is answered, and the caller takes the answer: what was sent. `None` if nothing was.
    fn land(&self, tag: u64) -> Option<Sent> {
        let mut state = self.lock();
        let with_tag = state.unanswered.get_mut(&tag)?;
        let sent = with_tag.pop_front();
        if with_tag.is_empty() {
            state.unanswered.remove(&tag);
        }
        state.count -= usize::from(sent.is_some());
        let waker = state.waker.take();
        drop(state);
        wake(waker);
        sent
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
                    let timeout = *tagged.append.timeout.get_or_insert(self.timeout);
                    self.timeout_max = self.timeout_max.max(timeout);
                    if self.count == 0 {
                        self.since = Instant::now();
                    }
                    self.count += 1;
                    let sent = Sent::of(&tagged.append);
                    self.unanswered.entry(tagged.tag).or_default().push_back(sent);
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
    /// Runs while the next message is waited for.
    clock: Option<Pin<Box<Sleep>>>,
    /// The stream has ended before its appends had.
    broken: Option<Broken>,
}

/// How a stream ended before its appends had.
enum End {
    /// The server, or the transport, said why.
    Told(Status),
    /// The server ended it.
    Silent,
    /// The server said nothing for so long.
    TimedOut(Duration),
}

struct Broken {
    /// What was sent and not answered.
    unknown: Vec<(u64, Sent)>,
    why: Failure,
    /// What the caller appends still: not sent.
    appends: Option<BoxStream<TaggedAppend>>,
    /// What is said of those.
    unsent: Failure,
}

impl Broken {
    fn new(shared: &Shared, end: End) -> Broken {
        let end_words = match &end {
            End::Told(status) => format!("{:?}: {}", status.code(), status.message()),
            End::Silent => "it was ended".to_owned(),
            End::TimedOut(patience) => format!("nothing came of it within {patience:?}"),
        };
        let end = if let End::Told(status) = end { Some(status) } else { None };
        let why = Failure::new(Reason::AnswerLost, format!("the stream broke off: {end_words}"));
        // Of what was not sent the server can say why it takes no more, but not that it is unknown.
        let told = end.as_ref().map(status::failure).filter(|failure| failure.class() != ErrorClass::Unknown);
        let unsent = told.unwrap_or_else(|| Failure::new(Reason::Unreachable, why.message.clone()));
        let mut state = shared.lock();
        let unanswered = std::mem::take(&mut state.unanswered);
        let unknown =
            unanswered.into_iter().flat_map(|(tag, sent)| sent.into_iter().map(move |sent| (tag, sent)));
        state.count = 0;
        Broken { unknown: unknown.collect(), why, appends: state.appends.take(), unsent }
    }

    fn poll_answer(&mut self, cx: &mut Context<'_>) -> Poll<Option<TaggedAnswer>> {
        if let Some((tag, Sent { id, .. })) = self.unknown.pop() {
            let answer = Err(AppendFailure::Unknown { id, failure: self.why.clone() });
            return Poll::Ready(Some(TaggedAnswer { tag, answer }));
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
                    Some(sent) => {
                        let TaggedAnswer { tag, answer } = from_wire::tagged_answer(answer, sent.id.clone());
                        return Poll::Ready(Some(TaggedAnswer { tag, answer: sent.check(answer) }));
                    }
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
            let end = match Pin::new(messages).poll_next(cx) {
                Poll::Ready(Some(Ok(v2::AppendStreamReply { answers }))) => {
                    (this.came, this.clock) = (answers.into(), None);
                    continue;
                }
                Poll::Ready(Some(Err(told))) => End::Told(told),
                Poll::Ready(None) => End::Silent,
                Poll::Pending => ready!(this.poll_silence(cx)),
            };
            this.messages = None;
            this.broken = Some(Broken::new(&this.shared, end));
        }
    }
}

impl Incoming {
    /// The server keeps its connection up and answers nothing. All that it has was due, since nothing came for as long as any of it was
    /// given. The time in which the caller looks at an answer does not count.
    fn poll_silence(&mut self, cx: &mut Context<'_>) -> Poll<End> {
        let patience = self.shared.patience();
        let clock = self.clock.get_or_insert_with(|| Box::pin(sleep(patience)));
        loop {
            ready!(clock.as_mut().poll(cx));
            let waited = self.shared.waited().unwrap_or_default();
            if waited >= patience {
                return Poll::Ready(End::TimedOut(patience));
            }
            clock.as_mut().reset(Instant::now() + (patience - waited));
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
