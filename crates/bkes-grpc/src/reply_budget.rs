//! Replies that are made and not yet taken by their clients: bounded, for each connection and for all of them.
//!
//! A request is over for its handler when the reply is made, but a client that does not read leaves the reply here, whole, for as
//! long as it likes. So a reply of some size takes room that it gives back when its body is gone: sent, or its stream ended.
//! What finds no room is answered as overloaded instead. This file does not know what is in a reply.

use crate::limits::{REPLY_SMALL_BYTES, ServeOptions};
use bytes::Bytes;
use http_body::{Frame, SizeHint};
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tonic::Status;
use tonic::body::Body;
use tonic::codegen::http::Response;

/// What room is counted in, so that a semaphore can count it.
const UNIT_BYTES: usize = 1024;

/// The room of all connections.
#[derive(Clone)]
pub struct ReplyBudget {
    all: Arc<Semaphore>,
    all_units: usize,
    connection_bytes_max: usize,
}

impl ReplyBudget {
    /// There is always room for one reply, however large replies may be.
    pub fn new(options: &ServeOptions) -> ReplyBudget {
        let least = options.reply_bytes_max.saturating_add(UNIT_BYTES);
        let all = semaphore(options.replies_bytes_max.max(least));
        ReplyBudget {
            all_units: all.available_permits(),
            all,
            connection_bytes_max: options.connection_replies_bytes_max.max(least),
        }
    }

    /// The room of a new connection.
    pub fn connection(&self) -> Room {
        let own = semaphore(self.connection_bytes_max);
        let units = own.available_permits().min(self.all_units);
        let connection_units = u32::try_from(units).unwrap_or(u32::MAX);
        Room { all: Arc::clone(&self.all), own, connection_units }
    }
}

fn semaphore(bytes: usize) -> Arc<Semaphore> {
    Arc::new(Semaphore::new((bytes / UNIT_BYTES).min(Semaphore::MAX_PERMITS)))
}

/// The room of a connection, within that of all.
#[derive(Clone)]
pub struct Room {
    all: Arc<Semaphore>,
    own: Arc<Semaphore>,
    /// What a connection may have of both, in units.
    connection_units: u32,
}

impl Room {
    /// Takes room for a reply; `None` when there is not enough. A small one needs none.
    pub fn take(&self, bytes: usize) -> Option<Taken> {
        if bytes <= REPLY_SMALL_BYTES {
            return Some(Taken(None));
        }
        let units = u32::try_from(bytes.div_ceil(UNIT_BYTES)).ok()?;
        let take = |of: &Arc<Semaphore>| Arc::clone(of).try_acquire_many_owned(units).ok();
        Some(Taken(Some(Arc::new([take(&self.own)?, take(&self.all)?]))))
    }

    /// Waits for room for a part of a stream. One that is larger than all there is waits for half of it.
    pub async fn wait(&self, bytes: usize) -> Taken {
        if bytes <= REPLY_SMALL_BYTES {
            return Taken(None);
        }
        let most = self.connection_units / 2;
        let units = u32::try_from(bytes.div_ceil(UNIT_BYTES)).unwrap_or(u32::MAX).min(most).max(1);
        let take = async |of: &Arc<Semaphore>| {
            Arc::clone(of).acquire_many_owned(units).await.expect("nobody closes it")
        };
        // Its own first: who waits for that holds up nobody else.
        Taken(Some(Arc::new([take(&self.own).await, take(&self.all).await])))
    }
}

/// Room that is given back when this is dropped. It travels with the response, which demands that it can be cloned.
#[derive(Clone)]
pub struct Taken(Option<Arc<[OwnedSemaphorePermit; 2]>>);

impl Taken {
    /// What a small reply takes.
    pub fn of_a_small_one() -> Taken {
        Taken(None)
    }

    /// Whether it is room that others cannot have.
    pub fn counts(&self) -> bool {
        self.0.is_some()
    }

    /// Lets the room stay taken as long as the body of `response` lives.
    pub fn travel_with<T>(self, response: &mut tonic::Response<T>) {
        if self.0.is_some() {
            response.extensions_mut().insert(self);
        }
    }
}

/// Binds the room that came with a response to its body.
pub fn bound_to_body(mut response: Response<Body>) -> Response<Body> {
    match response.extensions_mut().remove::<Taken>() {
        Some(taken) => response.map(|body| Body::new(Held { body, _taken: taken })),
        None => response,
    }
}

struct Held {
    body: Body,
    _taken: Taken,
}

impl http_body::Body for Held {
    type Data = Bytes;
    type Error = Status;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Status>>> {
        Pin::new(&mut self.body).poll_frame(cx)
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}
