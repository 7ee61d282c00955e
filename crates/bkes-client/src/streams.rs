//! Streams of answers: each message turned and checked, and the end too.

use crate::limits::TIMEOUT_MAX;
use crate::succession::Succession;
use bkes_api::{Failure, FollowItem, Key, KeyedPage, Page, Reason};
use bkes_wire::{BadField, from_wire, status, v2};
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;
use tokio::time::{Instant, Sleep, sleep};
use tokio_stream::Stream;
use tonic::Streaming;

/// How a call's messages are turned.
pub trait Turn: Send + Unpin + 'static {
    /// What comes.
    type Message: Send + 'static;
    /// What it says.
    type Item;

    /// What a message says; `None` for what only a newer server says.
    fn turn(&mut self, message: Self::Message) -> Result<Option<Self::Item>, BadField>;

    /// What to say when the server ended the stream without an error.
    fn end(&self) -> Option<Failure>;
}

/// What a call's messages say, until the first error.
pub struct Messages<T: Turn> {
    messages: Streaming<T::Message>,
    turn: T,
    patience: Option<Patience>,
    has_ended: bool,
}

/// How long each message may take.
struct Patience {
    time: Duration,
    /// Runs while a message is waited for: the time in which the caller looks at an item is the caller's.
    clock: Pin<Box<Sleep>>,
    is_running: bool,
}

impl<T: Turn> Messages<T> {
    pub fn new(messages: Streaming<T::Message>, turn: T, patience: Option<Duration>) -> Messages<T> {
        let patience = patience.map(|time| {
            let time = time.min(TIMEOUT_MAX);
            Patience { time, clock: Box::pin(sleep(time)), is_running: false }
        });
        Messages { messages, turn, patience, has_ended: false }
    }

    fn poll_item(&mut self, cx: &mut Context<'_>) -> Poll<Option<Result<T::Item, Failure>>> {
        loop {
            match Pin::new(&mut self.messages).poll_next(cx) {
                Poll::Ready(Some(Ok(message))) => match self.turn.turn(message) {
                    Ok(Some(item)) => return Poll::Ready(Some(Ok(item))),
                    Ok(None) => {}
                    Err(bad) => return Poll::Ready(Some(Err(bad.in_answer()))),
                },
                Poll::Ready(Some(Err(told))) => return Poll::Ready(Some(Err(status::failure(&told)))),
                Poll::Ready(None) => return Poll::Ready(self.turn.end().map(Err)),
                Poll::Pending => return self.poll_patience(cx),
            }
        }
    }

    fn poll_patience(&mut self, cx: &mut Context<'_>) -> Poll<Option<Result<T::Item, Failure>>> {
        let Some(Patience { time, clock, is_running }) = &mut self.patience else { return Poll::Pending };
        if !*is_running {
            clock.as_mut().reset(Instant::now() + *time);
            *is_running = true;
        }
        if clock.as_mut().poll(cx).is_pending() {
            return Poll::Pending;
        }
        let why = format!("nothing more came of the answer within {time:?}");
        Poll::Ready(Some(Err(Failure::new(Reason::Unreachable, why))))
    }
}

impl<T: Turn> Stream for Messages<T> {
    type Item = Result<T::Item, Failure>;

    fn poll_next(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        let this = &mut *self;
        if this.has_ended {
            return Poll::Ready(None);
        }
        let polled = this.poll_item(cx);
        match &polled {
            Poll::Ready(Some(Ok(_))) => {
                this.patience.iter_mut().for_each(|patience| patience.is_running = false);
            }
            Poll::Ready(_) => this.has_ended = true,
            Poll::Pending => {}
        }
        polled
    }
}

impl<T: Turn> Unpin for Messages<T> {}

fn cut() -> Failure {
    Failure::new(Reason::Unreachable, "the answer was cut: it ended before its end")
}

/// The pages of one aggregate.
pub struct ReadTurn {
    succession: Succession,
    has_end: bool,
}

impl ReadTurn {
    pub fn new(succession: Succession) -> ReadTurn {
        ReadTurn { succession, has_end: false }
    }
}

impl Turn for ReadTurn {
    type Message = v2::ReadReply;
    type Item = Page;

    fn turn(&mut self, message: v2::ReadReply) -> Result<Option<Page>, BadField> {
        if self.has_end {
            return Err(BadField::new("end", "was set in a message before"));
        }
        let page = from_wire::page(message)?;
        self.succession.check(&page)?;
        self.has_end = page.end.is_some();
        Ok(Some(page))
    }

    fn end(&self) -> Option<Failure> {
        (!self.has_end).then(cut)
    }
}

/// The pages of several aggregates, in the order asked for.
pub struct ReadManyTurn {
    keys: Vec<Key>,
    /// The aggregate that is read, as an index into the keys.
    at: usize,
    /// Of each aggregate, and of the one that is read.
    of_each: Succession,
    succession: Succession,
}

impl ReadManyTurn {
    pub fn new(keys: Vec<Key>, of_each: Succession) -> ReadManyTurn {
        ReadManyTurn { keys, at: 0, succession: of_each.clone(), of_each }
    }
}

impl Turn for ReadManyTurn {
    type Message = v2::ReadManyReply;
    type Item = KeyedPage;

    fn turn(&mut self, message: v2::ReadManyReply) -> Result<Option<KeyedPage>, BadField> {
        let index = message.index;
        if usize::try_from(index) != Ok(self.at) {
            return Err(BadField::new("index", format!("is {index} where {} comes next", self.at)));
        }
        let keyed = from_wire::read_many_page(message, &self.keys)?;
        self.succession.check(&keyed.page)?;
        if keyed.page.end.is_some() {
            self.at += 1;
            self.succession = self.of_each.clone();
        }
        Ok(Some(keyed))
    }

    fn end(&self) -> Option<Failure> {
        (self.at < self.keys.len()).then(cut)
    }
}

/// What is followed.
pub struct FollowTurn;

impl Turn for FollowTurn {
    type Message = v2::FollowReply;
    type Item = FollowItem;

    fn turn(&mut self, message: v2::FollowReply) -> Result<Option<FollowItem>, BadField> {
        from_wire::follow_item(message)
    }

    /// Nothing ends it but an error.
    fn end(&self) -> Option<Failure> {
        Some(cut())
    }
}
