//! The task behind a stream of answers: it takes from the store, waits for room, and ends the stream when the client takes nothing, when
//! the server stops, or when nobody listens any more.

use super::handover::{Messages, Writer, handover};
use super::held::Place;
use crate::inbound::HasUnread;
use crate::peers::Peer;
use crate::phase::{Phase, reaches};
use bkes_api::{BoxStream, Failure, Reason};
use bkes_wire::status;
use prost::Message;
use std::pin::{Pin, pin};
use std::time::Duration;
use tokio::time::{Instant, sleep_until};
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

    /// Messages, each with how far a client is with it.
    fn messages(&mut self, item: Self::Item) -> Result<Made<Self>, Failure>;

    /// What to say at last to a client that is so far, before the stream is ended for a cause of the server's.
    fn last_words(&self, mark: Option<&Self::Mark>) -> Option<Self::Message>;

    /// What the store's own end means.
    fn end(&self) -> Result<(), Failure>;
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

/// Starts the task, and gives its messages.
pub fn pump<F: Feed>(
    items: BoxStream<Result<F::Item, Failure>>,
    feed: F,
    peer: Peer,
    place: Place,
    patience: Patience,
) -> Messages<F::Message> {
    let (writer, messages) = handover(panicked);
    let pump = Pump { feed, peer, patience, before_queued: None, with_queued: None };
    tokio::spawn(async move {
        let _place = place;
        pump.run(items, writer).await;
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
    before_queued: Option<F::Mark>,
    /// How far it is when it took all of it.
    with_queued: Option<F::Mark>,
}

/// Why a stream is ended early.
enum Early {
    /// Nobody listens.
    Abandoned,
    /// The client takes nothing.
    Slow,
    /// The server stops.
    Stopped,
}

impl<F: Feed> Pump<F> {
    async fn run(mut self, mut items: BoxStream<Result<F::Item, Failure>>, writer: Writer<F::Message>) {
        let (phase, patience) = (self.peer.phase().clone(), self.patience.stop);
        let mut stop = pin!(async move {
            reaches(phase, Phase::Stopping).await;
            tokio::time::sleep(patience).await;
        });
        let mut writer = writer;
        loop {
            let item = tokio::select! {
                biased;
                () = writer.abandoned() => return self.end_early(writer, &Early::Abandoned),
                () = stop.as_mut() => return self.end_early(writer, &Early::Stopped),
                item = items.next() => item,
            };
            let messages = match item {
                None => return writer.end(self.feed.end().map_err(|failure| status::of(&failure))),
                Some(item) => item.and_then(|item| self.feed.messages(item)),
            };
            let messages = match messages {
                Ok(messages) => messages,
                Err(failure) => return writer.end(Err(status::of(&failure))),
            };
            for (message, mark) in messages {
                match self.hand_over(writer, message, mark, stop.as_mut()).await {
                    Some(open) => writer = open,
                    None => return,
                }
            }
        }
    }

    /// Hands a message over once the one before it was taken and there is room. `None` when the stream was ended meanwhile.
    async fn hand_over(
        &mut self,
        writer: Writer<F::Message>,
        message: F::Message,
        mark: F::Mark,
        mut stop: Pin<&mut impl Future<Output = ()>>,
    ) -> Option<Writer<F::Message>> {
        let bytes = message.encoded_len();
        let until = Instant::now() + self.patience.reader;
        let room = {
            let mut room = pin!(async {
                writer.all_taken().await;
                self.peer.room().wait(bytes).await
            });
            tokio::select! {
                biased;
                () = stop.as_mut() => Err(Early::Stopped),
                room = room.as_mut() => Ok(room),
                () = writer.abandoned() => Err(Early::Abandoned),
                () = sleep_until(until) => Err(Early::Slow),
            }
        };
        match room {
            Ok(room) => {
                self.before_queued = self.with_queued.take();
                self.with_queued = Some(mark);
                writer.put(message, room);
                Some(writer)
            }
            Err(early) => {
                self.end_early(writer, &early);
                None
            }
        }
    }

    fn end_early(&self, writer: Writer<F::Message>, early: &Early) {
        let small = crate::reply_budget::Taken::of_a_small_one;
        let (reason, why) = match early {
            Early::Abandoned => return writer.end(Ok(())),
            Early::Stopped => {
                (Reason::ShuttingDown, "the server stops: go on at another instance, or here later")
            }
            Early::Slow => (Reason::ReaderTooSlow, "what was sent was not taken for too long"),
        };
        let end = status::of(&Failure::new(reason, why));
        let writer = match early {
            Early::Slow => {
                let last = self.feed.last_words(self.before_queued.as_ref()).map(|last| (last, small()));
                // What was taken in the last moment stays, and other streams of this connection hold its room.
                match writer.take_back(last, end.clone()) {
                    Some(writer) => writer,
                    None => return,
                }
            }
            _ => writer,
        };
        if let Some(last) = self.feed.last_words(self.with_queued.as_ref()) {
            writer.put(last, small());
        }
        writer.end(Err(end));
    }
}
