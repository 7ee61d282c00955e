//! The task behind a stream of answers: it takes from the store, waits for room, and ends the stream when the client takes nothing, when
//! the server stops, or when nobody listens any more.

use super::call::stopped_for;
use super::handover::{Messages, Writer, handover, whole};
use super::held::Place;
use crate::limits::{OVERLOADED_REST, REPLY_SMALL_BYTES, STARTING_REST};
use crate::peers::Peer;
use crate::reply_budget::Taken;
use bkes_api::{BoxStream, Failure, Reason};
use bkes_wire::status;
use prost::Message;
use std::pin::{Pin, pin};
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Context, Poll, Waker};
use std::time::Duration;
use tokio::time::{Instant, sleep_until, timeout};
use tokio_stream::StreamExt;
use tonic::Status;

/// What makes messages of what a store gives.
pub trait Feed: Send + 'static {
    /// What the store gives.
    type Item: Send;
    /// What is sent.
    type Message: Message + 'static;
    /// How far a client is that was sent a message and all before it.
    type Mark: Send + Sync;

    /// How far a client is that was sent nothing.
    fn beginning(&self) -> Self::Mark;

    /// Messages, each with how far a client is with it.
    fn messages(&mut self, item: Self::Item) -> Result<Made<Self>, Failure>;

    /// What to say at last to a client that is so far, before the stream is ended for a cause of the server's.
    fn last_words(&self, mark: &Self::Mark) -> Option<Self::Message>;

    /// What the store's own end means.
    fn end(&self) -> Result<(), Failure>;

    /// Whether a message that was made is the whole answer, and one of few parts. It takes as much in memory as its bytes then.
    fn is_short_answer(&self, _: &Self::Message) -> bool {
        false
    }

    /// Whether there are short answers at all.
    const HAS_SHORT_ANSWERS: bool = false;
}

/// Messages, each with its mark.
pub type Made<F> = Vec<(<F as Feed>::Message, <F as Feed>::Mark)>;

/// When a stream is ended.
pub struct Patience {
    /// So long a client may take nothing.
    pub reader: Duration,
    /// So long a stream goes on when the server stops.
    pub stop: Duration,
}

/// Starts the task, and gives its messages. A short answer that is there already needs no task: it is small enough to lie here for as long
/// as its client likes, as a small reply of one message does.
pub fn pump<F: Feed>(
    mut items: BoxStream<Result<F::Item, Failure>>,
    mut feed: F,
    peer: Peer,
    place: Place,
    patience: Patience,
) -> Messages<F::Message> {
    let mut first = None;
    if F::HAS_SHORT_ANSWERS
        && let Poll::Ready(Some(item)) = items.as_mut().poll_next(&mut Context::from_waker(Waker::noop()))
    {
        match item.and_then(|item| feed.messages(item)) {
            Ok(mut made) => {
                let is_short = |(message, _): &(F::Message, F::Mark)| {
                    feed.is_short_answer(message) && message.encoded_len() <= REPLY_SMALL_BYTES
                };
                if made.len() == 1
                    && let Some((message, _)) = made.pop_if(|only| is_short(only))
                {
                    return whole(message);
                }
                first = Some(Ok(made));
            }
            Err(failure) => first = Some(Err(failure)),
        }
    }
    let (writer, messages) = handover(panicked);
    let (before_queued, with_queued) = (feed.beginning(), feed.beginning());
    let pump = Pump { feed, peer, patience, before_queued, with_queued };
    tokio::spawn(async move {
        let _place = place;
        pump.run(first, items, writer).await;
    });
    messages
}

fn panicked() -> Status {
    status::of(&Failure::new(Reason::Internal, "the call panicked"))
}

struct Pump<F: Feed> {
    feed: F,
    peer: Peer,
    patience: Patience,
    /// How far a client is that took nothing of what is queued.
    before_queued: F::Mark,
    /// How far it is when it took all of it.
    with_queued: F::Mark,
}

/// Why a stream is ended early.
enum Early {
    /// Nobody listens.
    Abandoned,
    /// The client takes nothing.
    Slow,
    /// Others on its connection, or on all of them, hold the room.
    NoRoom,
    /// The server stops.
    Stopped,
}

impl Early {
    fn status(&self) -> Status {
        let (reason, why, rest) = match self {
            Early::Abandoned => (Reason::Unreachable, "nobody listens", OVERLOADED_REST),
            Early::Slow => {
                (Reason::ReaderTooSlow, "what was sent was not taken for too long", OVERLOADED_REST)
            }
            Early::NoRoom => {
                (Reason::Overloaded, "too many other replies are not taken yet", OVERLOADED_REST)
            }
            Early::Stopped => {
                let why = "the server stops: go on at another instance, or here later";
                (Reason::ShuttingDown, why, STARTING_REST)
            }
        };
        status::of(&Failure::new(reason, why).after(rest))
    }
}

impl<F: Feed> Pump<F> {
    async fn run(
        mut self,
        first: Option<Result<Made<F>, Failure>>,
        items: BoxStream<Result<F::Item, Failure>>,
        writer: Writer<F::Message>,
    ) {
        match self.feed_all(first, items, &writer).await {
            Ok(end) => {
                writer.end(end.map_err(|failure| status::of(&failure)));
                // The last message has the time of any other.
                if timeout(self.patience.reader, writer.all_taken()).await.is_err() {
                    writer.take_back(self.last_words(&self.before_queued), Early::Slow.status());
                }
            }
            Err(early) => self.end_early(&writer, &early),
        }
        see_off(&self.peer, self.patience.reader, &writer).await;
    }

    /// Hands over what was made first and all that comes, to the store's end.
    async fn feed_all(
        &mut self,
        mut first: Option<Result<Made<F>, Failure>>,
        mut items: BoxStream<Result<F::Item, Failure>>,
        writer: &Writer<F::Message>,
    ) -> Result<Result<(), Failure>, Early> {
        let peer = self.peer.clone();
        let mut stop = pin!(stopped_for(&peer, self.patience.stop));
        loop {
            let made = match first.take() {
                Some(made) => made,
                None => {
                    let item = tokio::select! {
                        biased;
                        () = writer.abandoned() => return Err(Early::Abandoned),
                        () = stop.as_mut() => return Err(Early::Stopped),
                        item = items.next() => item,
                    };
                    let Some(item) = item else { return Ok(self.feed.end()) };
                    item.and_then(|item| self.feed.messages(item))
                }
            };
            match made {
                Ok(messages) => {
                    for (message, mark) in messages {
                        self.hand_over(writer, message, mark, stop.as_mut()).await?;
                    }
                }
                Err(failure) => return Ok(Err(failure)),
            }
        }
    }

    /// Hands a message over once the one before it was taken and there is room.
    async fn hand_over(
        &mut self,
        writer: &Writer<F::Message>,
        message: F::Message,
        mark: F::Mark,
        stop: Pin<&mut impl Future<Output = ()>>,
    ) -> Result<(), Early> {
        let bytes = message.encoded_len();
        let until = Instant::now() + self.patience.reader;
        let waits_for_room = AtomicBool::new(false);
        let room = async {
            writer.all_taken().await;
            waits_for_room.store(true, Ordering::Relaxed);
            self.peer.room().wait(bytes).await
        };
        let room = tokio::select! {
            biased;
            () = stop => return Err(Early::Stopped),
            room = room => room,
            () = writer.abandoned() => return Err(Early::Abandoned),
            () = sleep_until(until) => {
                return Err(if waits_for_room.load(Ordering::Relaxed) { Early::NoRoom } else { Early::Slow });
            }
        };
        self.before_queued = std::mem::replace(&mut self.with_queued, mark);
        writer.put(message, room);
        Ok(())
    }

    fn end_early(&self, writer: &Writer<F::Message>, early: &Early) {
        let before_queued = || self.last_words(&self.before_queued);
        if matches!(early, Early::Slow) && writer.take_back(before_queued(), early.status()) {
            return;
        }
        // All was taken, in the last moment perhaps, or will be.
        if let Some((last, room)) = self.last_words(&self.with_queued) {
            writer.put(last, room);
        }
        writer.end(Err(early.status()));
    }

    fn last_words(&self, mark: &F::Mark) -> Option<(F::Message, Taken)> {
        self.feed.last_words(mark).map(|last| (last, Taken::of_a_small_one()))
    }
}

/// What was taken lies in the library until the client has room for it, and its room stays taken. A client that takes nothing of that
/// either is not told that its stream has ended, and would keep the room from others for good.
async fn see_off<T>(peer: &Peer, patience: Duration, writer: &Writer<T>) {
    if timeout(patience, writer.abandoned()).await.is_err() && writer.holds_room() {
        peer.cut_off();
    }
}
