//! Following the log: events as they are decided, and those of the past before them.
//!
//! ```text
//!   the past                                             what is decided now
//!   log ──► reader ──► judged by overlay and store ─┐    ring of each partition, fed by its owner
//!                                                   ├──► one position for each partition ──► items
//!   0 ................................... from ─────┘    from ........................ to
//! ```
//!
//! A place in the stream of a partition is a position, and nothing else: an append lies where its last record lies, so what is at or above
//! the position is what comes next, whether it is read from the log or taken from the ring. Where the ring has the position it is taken
//! from there; where it has passed it, the log is read up to where the ring has it.
//!
//! Invariants: an event is shown once it is decided, never before; the events of an append are shown together; nothing below a position
//! that is told is shown after it, and everything below it was shown before.

mod failure;
mod follower;
mod judge;
mod key;
mod lane;
mod outbox;
mod partitions;
mod past;
mod start;
mod stream;

use self::follower::{Follower, Seat, Source};
use self::key::Followed as FollowedKey;
use self::outbox::Outbox;
use self::partitions::Partitions;
use self::past::Past;
use self::stream::FollowStream;
use crate::board::PartitionBoard;
use crate::context::Context;
use crate::face::in_field;
use crate::handle::EngineHandle;
use crate::limits::FOLLOWERS_MAX;
use bkes_api::{BoxStream, Failure, Follow, FollowFrom, FollowItem, Followed, Positions, TopicId};
use bkes_core::append::{Unit, Unready};
use bkes_core::machine::Scope;
use bkes_core::{Key, Partition};
use bkes_log::wake_pair;
use bytes::Bytes;
use std::collections::BTreeSet;
use std::sync::Arc;
use std::sync::atomic::Ordering;

impl EngineHandle {
    /// Shows events of many aggregates, or of one, as they are decided.
    ///
    /// The stream makes its items when it is polled. Whoever takes them more slowly than they come falls behind, which costs nobody
    /// else anything: what was missed is read from the log. A stream ends with positions, at which another one may go on, and with the
    /// cause: the engine stops, a partition is not served any more, or it is read anew.
    pub async fn follow(&self, follow: Follow) -> Result<BoxStream<Result<FollowItem, Failure>>, Failure> {
        let context = self.context();
        if context.board.stopping.load(Ordering::Acquire) {
            return Err(failure::unready(&Unready::ShuttingDown));
        }
        let (is_now, since) = (follow.from == FollowFrom::Now, context.board.version());
        if is_now {
            // What another instance was told of before the call is not new, though it may not be applied here yet.
            self.verify(Scope::All).await.map_err(|unready| failure::unready(&unready))?;
        }
        let (waker, waiter) = wake_pair();
        let place = context.feed.enter(waker.clone(), FOLLOWERS_MAX).ok_or_else(|| {
            let (queue, limit) = ("the number of those who follow", FOLLOWERS_MAX as u64);
            failure::unready(&Unready::Overloaded { queue, limit, unit: Unit::Calls })
        })?;
        let period = place.period;
        let seat = Seat::new(context, place);
        let outbox = Outbox::new(TopicId::new(&context.topic.topic_id), follow.with_headers, self.now());
        let source = match follow.followed {
            Followed::Key(key) => Source::Key(key_from(context, key, follow.from).await?),
            followed => {
                let boards: Vec<Arc<PartitionBoard>> = context.board.partitions().clone();
                let (prefix, chosen, count) = match followed {
                    Followed::Prefix(prefix) => (prefix, None, Some(boards.len())),
                    Followed::Partitions(partitions) => (Bytes::new(), Some(partitions), None),
                    Followed::All | Followed::Key(_) => (Bytes::new(), None, Some(boards.len())),
                };
                let boards = match chosen {
                    Some(partitions) => these(boards, partitions)?,
                    None => boards,
                };
                let lanes = match follow.from {
                    FollowFrom::Now => start::from_now(context, &boards).await?,
                    FollowFrom::Beginning => {
                        start::from_positions(context, &boards, &Positions::default()).await?
                    }
                    FollowFrom::Positions(positions) => {
                        start::from_positions(context, &boards, &positions).await?
                    }
                };
                let past = Past::new(waker, prefix.clone());
                Source::Partitions(Box::new(Partitions::new(period, prefix, lanes, past, count)))
            }
        };
        if is_now && context.board.version() != since {
            // A fold that began anew meanwhile has not applied again what was asked for.
            return Err(failure::unready(&context.board.still_catching_up()));
        }
        let follower = Follower::new(seat, source, outbox);
        Ok(Box::pin(FollowStream::new(follower, waiter, self.clock())))
    }
}

async fn key_from(context: &Context, key: Key, from: FollowFrom) -> Result<FollowedKey, Failure> {
    match from {
        FollowFrom::Now => {
            let context = context.clone();
            start::off(move || FollowedKey::from_now(&context, key)).await?
        }
        FollowFrom::Beginning => key_from_positions(context, key, Positions::default()).await,
        FollowFrom::Positions(positions) => key_from_positions(context, key, positions).await,
    }
}

async fn key_from_positions(
    context: &Context,
    key: Key,
    positions: Positions,
) -> Result<FollowedKey, Failure> {
    let boards: Vec<Arc<PartitionBoard>> = context.board.partitions().clone();
    start::check_positions(context, &boards, &positions).await?;
    let context = context.clone();
    start::off(move || FollowedKey::from(&context, key, &positions)).await?
}

/// The partitions asked for, each once.
fn these(
    boards: Vec<Arc<PartitionBoard>>,
    partitions: Vec<Partition>,
) -> Result<Vec<Arc<PartitionBoard>>, Failure> {
    let chosen: BTreeSet<Partition> = partitions.into_iter().collect();
    if chosen.is_empty() {
        return Err(in_field("partitions", "at least one has to be named"));
    }
    let of = |partition: Partition| {
        boards.get(partition.0 as usize).cloned().ok_or_else(|| {
            let why = format!("there is no partition {partition}: the topic has {}", boards.len());
            in_field("partitions", why)
        })
    };
    chosen.into_iter().map(of).collect()
}
