//! What a connection has of everything that is bounded for all of them together.

use crate::inbound::HasUnread;
use crate::limits::{STREAMS_PART, ServeOptions, UNREAD_PART, WORKING_PART};
use crate::phase::{Phase, reaches};
use crate::reply_budget::{ReplyBudget, Room};
use crate::shares::{Pool, Share};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use tokio::sync::{Notify, watch};

/// The bounds of all connections.
#[derive(Clone)]
pub struct Peers {
    replies: ReplyBudget,
    unread: Pool,
    working: Pool,
    streams: Pool,
    working_bytes: Pool,
    phase: watch::Receiver<Phase>,
}

impl Peers {
    pub fn new(options: &ServeOptions, phase: watch::Receiver<Phase>) -> Peers {
        Peers {
            replies: ReplyBudget::new(options),
            unread: Pool::new(options.unread_bytes_max, UNREAD_PART),
            working: Pool::new(options.requests_max, WORKING_PART),
            streams: Pool::new(options.requests_max, STREAMS_PART),
            working_bytes: Pool::new(options.working_bytes_max, WORKING_PART),
            phase,
        }
    }

    /// What a new connection has.
    pub fn connection(&self) -> Peer {
        Peer(Arc::new(Parts {
            room: self.replies.connection(),
            unread: self.unread.share(),
            working: self.working.share(),
            streams: self.streams.share(),
            working_bytes: self.working_bytes.share(),
            phase: self.phase.clone(),
            is_cut_off: AtomicBool::new(false),
            cut_off: Notify::new(),
        }))
    }
}

/// A connection, as its requests know it: each carries this with it. Cheap to clone.
#[derive(Clone)]
pub struct Peer(Arc<Parts>);

struct Parts {
    room: Room,
    unread: Share,
    working: Share,
    streams: Share,
    working_bytes: Share,
    phase: watch::Receiver<Phase>,
    is_cut_off: AtomicBool,
    cut_off: Notify,
}

impl Peer {
    /// Ends the connection, and all calls on it: its client keeps what others need, and takes nothing.
    pub fn cut_off(&self) {
        // Once: many of its streams may say so.
        if !self.0.is_cut_off.swap(true, Ordering::Relaxed) {
            tracing::warn!("a client takes nothing of what was sent: its connection is closed");
            self.0.cut_off.notify_one();
        }
    }

    /// Resolves when the connection is to end at once, for its client's sake or the server's. One at a time waits for that.
    pub async fn until_cut(self) {
        tokio::select! {
            () = reaches(self.phase().clone(), Phase::Cut) => {}
            () = self.0.cut_off.notified() => {}
        }
    }

    /// Room for replies that are not taken yet.
    pub fn room(&self) -> &Room {
        &self.0.room
    }

    /// Requests that are worked on.
    pub fn working(&self) -> &Share {
        &self.0.working
    }

    /// Streams that are open.
    pub fn streams(&self) -> &Share {
        &self.0.streams
    }

    /// Bytes of requests that are worked on.
    pub fn working_bytes(&self) -> &Share {
        &self.0.working_bytes
    }
}

impl HasUnread for Peer {
    fn unread(&self) -> &Share {
        &self.0.unread
    }

    fn phase(&self) -> &watch::Receiver<Phase> {
        &self.0.phase
    }
}
