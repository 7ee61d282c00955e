//! Appends of a stream: many at a time, each answered when it ends.
//!
//! The stream of answers does the work when it is polled, without a task: the appends that are worked on are polled where one was woken,
//! and others are taken while there is room. Each goes to its owner by itself; the owner makes groups of what has come. Dropping the stream
//! drops them all, and withdraws what was not sent.

use super::chains::{Before, Chains};
use super::failures::not_sent;
use crate::handle::EngineHandle;
use crate::limits::{STREAM_APPENDS_MAX, STREAM_BYTES_MAX};
use bkes_api::{
    Append, AppendFailure, Appended, BoxStream, Failure, Key, Reason, TaggedAnswer, TaggedAppend,
};
use bkes_core::append::EventContent;
use bkes_core::limits::HEADER_MEMORY_BYTES;
use futures_util::stream::{FuturesUnordered, Stream, StreamExt};
use hashbrown::HashMap;
use std::pin::Pin;
use std::task::{Context, Poll};
use tokio::runtime::Handle;
use tokio::sync::oneshot;
use tokio::time::Instant;

/// What an append waits for before it is begun.
enum Gate {
    Open,
    /// The one before it was not stored.
    Closed,
    /// The one before it; it says whether it was stored.
    Waits(oneshot::Receiver<bool>),
}

/// An append that has ended.
struct Ended {
    number: u64,
    answer: Result<Appended, AppendFailure>,
}

/// An append that was taken and has not ended.
struct Flight {
    tag: u64,
    key: Key,
    bytes: usize,
    missing_max: usize,
    /// Where the append of its key after it hears of its end.
    next: Option<oneshot::Sender<bool>>,
}

struct Answers<Begin, Running> {
    handle: EngineHandle,
    /// `None` when it has ended.
    appends: Option<BoxStream<TaggedAppend>>,
    begin: Begin,
    running: FuturesUnordered<Running>,
    flights: HashMap<u64, Flight>,
    chains: Chains,
    /// How many were taken.
    taken: u64,
    /// Bytes of those that have not ended.
    bytes: usize,
    /// The answer that is to be given next, while what it brings along is read. One at a time, so that these bytes are bounded too.
    reading: Option<Pin<Box<dyn Future<Output = TaggedAnswer> + Send>>>,
}

impl EngineHandle {
    /// Appends in the order they come, and answers each when it ends.
    pub(super) fn append_all(&self, appends: BoxStream<TaggedAppend>) -> BoxStream<TaggedAnswer> {
        let handle = self.clone();
        let begin = move |number, gate, append| run(handle.clone(), number, gate, append);
        Box::pin(Answers {
            handle: self.clone(),
            appends: Some(appends),
            begin,
            running: FuturesUnordered::new(),
            flights: HashMap::new(),
            chains: Chains::default(),
            taken: 0,
            bytes: 0,
            reading: None,
        })
    }
}

async fn run(handle: EngineHandle, number: u64, gate: (Gate, bool), append: Append) -> Ended {
    let (gate, stands_alone) = gate;
    let answer = match pass(gate, stands_alone, append).await {
        Ok(append) => handle.append_timed(append).await,
        Err(failure) => Err(AppendFailure::NotStored(failure)),
    };
    Ended { number, answer }
}

/// Waits for the append before it. Gives the append back with the time that is left of it, or says why it is not begun.
async fn pass(gate: Gate, stands_alone: bool, mut append: Append) -> Result<Append, Failure> {
    let is_stored = match gate {
        Gate::Open => true,
        Gate::Closed => false,
        Gate::Waits(before) => match append.timeout.filter(|_| Handle::try_current().is_ok()) {
            None => before.await.unwrap_or(false),
            Some(timeout) => {
                let since = Instant::now();
                let Ok(before) = tokio::time::timeout(timeout, before).await else {
                    let waited_ms = timeout.as_millis();
                    let why = format!("it waited {waited_ms} ms for the append of its key before it");
                    return Err(not_sent(&why));
                };
                append.timeout = Some(timeout.saturating_sub(since.elapsed()));
                before.unwrap_or(false)
            }
        },
    };
    if is_stored || stands_alone {
        return Ok(append);
    }
    let why = "the append of this key before it in the stream was not stored, so this one was not sent: read the aggregate, and \
               append to it as one that stands alone";
    Err(Failure::new(Reason::PredecessorFailed, why))
}

impl<Begin, Running> Answers<Begin, Running>
where
    Begin: FnMut(u64, (Gate, bool), Append) -> Running,
    Running: Future<Output = Ended>,
{
    /// Takes what has come, while there is room.
    fn take(&mut self, cx: &mut Context<'_>) {
        while self.flights.len() < STREAM_APPENDS_MAX && self.bytes < STREAM_BYTES_MAX {
            let Some(appends) = &mut self.appends else { return };
            match appends.poll_next_unpin(cx) {
                Poll::Ready(Some(append)) => self.begin(append),
                Poll::Ready(None) => self.appends = None,
                Poll::Pending => return,
            }
        }
    }

    fn begin(&mut self, TaggedAppend { tag, append, stands_alone }: TaggedAppend) {
        self.taken += 1;
        let (number, bytes) = (self.taken, bytes_of(&append));
        let gate = match self.chains.take(&append.key, number) {
            Before::Nothing => Gate::Open,
            Before::Failed => Gate::Closed,
            Before::Undecided(before) => {
                let (next, heard) = oneshot::channel();
                let before = self.flights.get_mut(&before).expect("it has not ended");
                before.next = Some(next);
                Gate::Waits(heard)
            }
        };
        let (key, missing_max) = (append.key.clone(), append.missing_max);
        self.flights.insert(number, Flight { tag, key, bytes, missing_max, next: None });
        self.bytes += bytes;
        let running = (self.begin)(number, (gate, stands_alone), append);
        self.running.push(running);
    }

    /// An append has ended: its answer, unless what that brings along is read first.
    fn end(&mut self, Ended { number, answer }: Ended) -> Option<TaggedAnswer> {
        let flight = self.flights.remove(&number).expect("it was taken");
        let Flight { tag, key, bytes, missing_max, next } = flight;
        self.bytes -= bytes;
        let is_stored = answer.is_ok();
        // It may have ended before this one, for its time.
        let _ = next.map(|next| next.send(is_stored));
        self.chains.end(&key, number, is_stored);
        match answer {
            Err(AppendFailure::Conflict(conflict)) if missing_max > 0 => {
                let handle = self.handle.clone();
                self.reading = Some(Box::pin(async move {
                    let conflict = handle.with_missing(key, missing_max, conflict).await;
                    TaggedAnswer { tag, answer: Err(AppendFailure::Conflict(conflict)) }
                }));
                None
            }
            answer => Some(TaggedAnswer { tag, answer }),
        }
    }
}

impl<Begin, Running> Stream for Answers<Begin, Running>
where
    Begin: FnMut(u64, (Gate, bool), Append) -> Running + Unpin,
    Running: Future<Output = Ended>,
{
    type Item = TaggedAnswer;

    fn poll_next(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<TaggedAnswer>> {
        let this = &mut *self;
        loop {
            // Before anything is answered: what is taken now is on its way meanwhile.
            this.take(cx);
            if let Some(reading) = &mut this.reading {
                let Poll::Ready(answer) = reading.as_mut().poll(cx) else { return Poll::Pending };
                this.reading = None;
                return Poll::Ready(Some(answer));
            }
            match this.running.poll_next_unpin(cx) {
                Poll::Ready(Some(ended)) => {
                    if let Some(answer) = this.end(ended) {
                        return Poll::Ready(Some(answer));
                    }
                }
                Poll::Ready(None) if this.appends.is_none() => return Poll::Ready(None),
                Poll::Ready(None) | Poll::Pending => return Poll::Pending,
            }
        }
    }
}

/// What an append takes in memory beside its fields.
fn bytes_of(append: &Append) -> usize {
    let headers: usize = append.events.iter().map(|event| event.headers.len()).sum();
    let content: usize = append.events.iter().map(EventContent::bytes).sum();
    append.key.bytes().len() + content + headers * HEADER_MEMORY_BYTES as usize
}
