//! Messages on their way in: weighed before they are read, and waited for only as long as they come.
//!
//! A call's headers claim nothing. What is there at once (a message that came with its headers, as nearly all do) is handed on
//! at once. A body that has to be waited for takes room for what it is going to need: a stream's bookkeeping, and the length that
//! the message declares in its first five bytes, before the library behind us makes that much room. The room is a connection's share of
//! a bound that all connections have together, and it is kept until the body has ended. Whoever finds none is refused with a status; nothing was stored.
//! So is whoever is waited for when the server stops.
//!
//! Bodies are never left lying: each is read as it comes, or refused. So what the windows of HTTP/2 allow is only ever in the
//! library's buffers for as long as a task waits for its turn.
//!
//! This file does not know what is in a message.

use crate::limits::{PROGRESS_BYTES, READ_PATIENCE, STOP_PATIENCE, WAITING_STREAM_BYTES};
use crate::phase::{Phase, reaches};
use crate::shares::Share;
use bytes::Bytes;
use http_body::{Frame, SizeHint};
use std::pin::Pin;
use std::task::{Context, Poll};
use tokio::sync::watch;
use tokio::time::{Instant, Sleep, sleep};
use tonic::Status;
use tonic::body::Body;

/// What a connection has of the bound on bodies that are waited for.
pub trait HasUnread: Unpin + Send + 'static {
    /// The share.
    fn unread(&self) -> &Share;

    /// Where the server is in its life.
    fn phase(&self) -> &watch::Receiver<Phase>;
}

/// Whether a body has one message, which must come, or any number with any time between them.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Messages {
    /// A unary call, or a stream of answers.
    One,
    /// A stream of requests: silence between two messages is no stall.
    Many,
}

/// A request's body that is watched over.
pub struct Inbound<C: HasUnread> {
    body: Body,
    connection: C,
    messages: Messages,
    at: At,
    /// Bytes of this message that came: its head, and what follows.
    came: usize,
    /// How much of the share is taken.
    taken: usize,
    watch: Option<Pin<Box<Sleep>>>,
    /// Resolves some time after the server was told to stop; made when the body is first waited for.
    stop: Option<Stop>,
    /// Bytes that came since the watch was set.
    progress: usize,
}

type Stop = Pin<Box<dyn Future<Output = ()> + Send>>;

/// Where in its messages a body is.
#[derive(Clone, Copy)]
enum At {
    /// So many bytes of a message's head are there.
    Head([u8; 5], usize),
    /// The length is known, and so much of the message is still to come.
    Message { declared: usize, left: usize },
}

const BEGINNING: At = At::Head([0; 5], 0);

impl<C: HasUnread> Inbound<C> {
    pub fn new(body: Body, connection: C, messages: Messages) -> Inbound<C> {
        let (came, taken, progress) = (0, 0, 0);
        let (watch, stop) = (None, None);
        Inbound { body, connection, messages, at: BEGINNING, came, taken, watch, stop, progress }
    }

    /// Takes in what came, before it is handed on.
    fn note(&mut self, mut chunk: &[u8]) -> Result<(), Status> {
        self.progress += chunk.len();
        while !chunk.is_empty() {
            match &mut self.at {
                At::Head(head, there) => {
                    let part = chunk.len().min(head.len() - *there);
                    head[*there..*there + part].copy_from_slice(&chunk[..part]);
                    *there += part;
                    self.came += part;
                    chunk = &chunk[part..];
                    if *there == head.len() {
                        let declared = u32::from_be_bytes([head[1], head[2], head[3], head[4]]) as usize;
                        self.at = At::Message { declared, left: declared };
                        if chunk.len() < declared {
                            self.weigh()?;
                        }
                    }
                }
                At::Message { left: 0, .. } if self.messages == Messages::One => {
                    return Err(Status::internal(
                        "a second message came where the call takes one: nothing was stored",
                    ));
                }
                At::Message { left: 0, .. } => {
                    (self.at, self.came) = (BEGINNING, 0);
                    // Between two messages whoever reads them may rest: the time of the next one begins when it is waited for.
                    self.watch = None;
                    self.release();
                }
                At::Message { left, .. } => {
                    let part = chunk.len().min(*left);
                    *left -= part;
                    self.came += part;
                    chunk = &chunk[part..];
                }
            }
        }
        Ok(())
    }

    /// Takes room for all that this body holds and will hold, as far as that is known, unless it has it.
    fn weigh(&mut self) -> Result<(), Status> {
        let declared = match self.at {
            At::Head(..) => 0,
            At::Message { declared, .. } => declared,
        };
        let share = self.connection.unread();
        let wanted = (WAITING_STREAM_BYTES + declared.max(self.came)).min(share.total());
        if wanted > self.taken {
            let refused = || Status::resource_exhausted("too much is being read at once: nothing was stored");
            self.taken += share.take(wanted - self.taken).ok_or_else(refused)?;
        }
        Ok(())
    }

    fn release(&mut self) {
        let taken = std::mem::take(&mut self.taken);
        if taken > 0 {
            self.connection.unread().give(taken);
        }
    }

    /// Whether silence is no stall: between two messages of many.
    fn may_rest(&self) -> bool {
        let is_between = matches!(self.at, At::Head(_, 0) | At::Message { left: 0, .. });
        self.messages == Messages::Many && is_between
    }

    /// Nothing is there: sees to it that the body has its room, and that it is not waited for without end.
    fn wait(&mut self, cx: &mut Context<'_>) -> Result<(), Status> {
        self.weigh()?;
        let stop = self.stop.get_or_insert_with(|| {
            let stopping = reaches(self.connection.phase().clone(), Phase::Stopping);
            Box::pin(async {
                stopping.await;
                sleep(STOP_PATIENCE).await;
            })
        });
        if stop.as_mut().poll(cx).is_ready() {
            return Err(Status::unavailable(
                "the server stops, and the message did not come: nothing was stored",
            ));
        }
        if self.may_rest() {
            self.watch = None;
            return Ok(());
        }
        let watch = self.watch.get_or_insert_with(|| {
            self.progress = 0;
            Box::pin(sleep(READ_PATIENCE))
        });
        while watch.as_mut().poll(cx).is_ready() {
            if self.progress < PROGRESS_BYTES {
                let seconds = READ_PATIENCE.as_secs();
                return Err(Status::deadline_exceeded(format!(
                    "the message did not come on within {seconds} seconds: nothing was stored"
                )));
            }
            self.progress = 0;
            watch.as_mut().reset(Instant::now() + READ_PATIENCE);
        }
        Ok(())
    }
}

impl<C: HasUnread> http_body::Body for Inbound<C> {
    type Data = Bytes;
    type Error = Status;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Status>>> {
        match Pin::new(&mut self.body).poll_frame(cx) {
            Poll::Ready(Some(Ok(frame))) => {
                let noted = frame.data_ref().map_or(Ok(()), |chunk| self.note(chunk));
                Poll::Ready(Some(noted.map(|()| frame)))
            }
            Poll::Ready(ended) => {
                self.release();
                Poll::Ready(ended)
            }
            Poll::Pending => match self.wait(cx) {
                Ok(()) => Poll::Pending,
                Err(status) => Poll::Ready(Some(Err(status))),
            },
        }
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}

impl<C: HasUnread> Drop for Inbound<C> {
    fn drop(&mut self) {
        self.release();
    }
}

#[cfg(test)]
mod tests;
