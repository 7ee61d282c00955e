//! What the machines of an owner are told when they ask.

use crate::board::PartitionBoard;
use crate::context::Context;
use crate::epoch::Epoch;
use crate::owner::bound::{Bound, bound_of};
use crate::owner_inbox::Ticket;
use crate::placing;
use crate::read::{merge_heads, store_cause};
use bkes_core::append::{AppendError, AppendRequest, Unready};
use bkes_core::machine::{Append, Counted, FoldId, Known, Load, Located, Lookup};
use bkes_core::{Count, EventOutline, Head, Heads, Key, Order, Partition};
use bkes_log::{AppenderState, LogAppender};
use bkes_storage::{OutlinePart, StoreError};
use std::ops::Range;

/// Answers the machine of one partition.
pub struct HostLookup<'a> {
    pub context: &'a Context,
    pub index: usize,
    pub epoch: Epoch,
    pub board: &'a PartitionBoard,
    pub fold: FoldId,
    pub appender: Option<&'a dyn LogAppender>,
    /// What is sent and not reported on, and the bytes of what is grouped to be sent.
    pub under_way: Load,
    pub grouped: Load,
}

/// Where an aggregate stands, and how often the overlay had dropped something before that was looked up.
pub struct Standing {
    pub heads: Heads,
    pub cleared: u64,
}

impl Lookup<Ticket> for HostLookup<'_> {
    fn hash(&self, key: &Key) -> u64 {
        self.context.overlay.hash(key)
    }

    fn count(&self, key: &Key, known: Known) -> Option<Counted> {
        let (overlay, partition) = (&self.context.overlay, self.board.partition);
        let hash = overlay.hash(key);
        let mut count = overlay.count(hash, key, partition);
        if count.head.is_none() && overlay.cleared() == known.as_of {
            // What was known holds as long as all that was applied since is in the overlay.
            count.head = known.head;
        } else if count.head.is_none() {
            let mut stored = Vec::with_capacity(1);
            self.context.store.heads(std::slice::from_ref(key), &mut stored).ok()?;
            add_stored(&mut count, partition, stored.first().unwrap_or(&Heads::None));
        }
        // What the store said counts for nothing if the partition begins anew or the store is opened anew: it may have been dropped before.
        self.context.board.holds_for(self.board, self.fold).then(|| Counted { hash, key: key.clone(), count })
    }

    fn outlines(&self, key: &Key, orders: Range<Order>) -> Result<Vec<EventOutline>, Unready> {
        let partition = self.board.partition;
        let part = |end: Order| {
            let events_max = usize::try_from(end.0.saturating_sub(orders.start.0)).unwrap_or(usize::MAX);
            OutlinePart { key, partition, from: orders.start, events_max }
        };
        // The overlay first, as in a read: what moves in between is in both.
        let applied = self.context.overlay.outlines(part(orders.end));
        let stored_end = applied.first().map_or(orders.end, |event| event.order);
        let mut outlines = Vec::new();
        if orders.start < stored_end {
            let read = self.context.store.outlines(part(stored_end), &mut outlines);
            read.map_err(|error| store_unready(self.context, self.epoch, error))?;
        }
        outlines.extend(applied);
        // Of another fold by now, it is not what was asked for.
        let is_whole = outlines.len() == part(orders.end).events_max;
        if !is_whole || !self.context.board.holds_for(self.board, self.fold) {
            return Err(self.context.board.overtaken());
        }
        Ok(outlines)
    }

    fn is_elsewhere(&self, counted: &Counted) -> bool {
        self.context.overlay.is_elsewhere(self.index, counted.hash, &counted.key, self.board.partition)
    }

    fn locate(&self, append: &Append<Ticket>, here: Option<Head>) -> Result<Located, AppendError> {
        let request = &append.request;
        let standing = stand_all(self.context, self.epoch, std::slice::from_ref(&request.key), here);
        let standing = standing.into_iter().next().expect("one answer for each key")?;
        locate(self.context, request, &standing)
    }

    fn claim(&self, key: &Key) -> Result<(), Partition> {
        self.context.in_flight.claim(self.hash(key), key, self.board.partition)
    }

    fn release(&self, key: &Key) {
        self.context.in_flight.release(self.hash(key), key);
    }

    fn is_gone(&self, ticket: &Ticket) -> bool {
        !ticket.begin()
    }

    fn unsendable(&self) -> Option<Unready> {
        let board = &self.context.board;
        // What was looked up is of a store that may have fallen back or been emptied since, if this fold does not count any more.
        if !self.board.counts(self.fold) {
            return Some(self.board.state().unserved().unwrap_or_else(|| board.still_catching_up()));
        }
        if let Some(unready) = board.faulty(self.board.partition) {
            return Some(unready);
        }
        if let Some(AppenderState::Down { cause } | AppenderState::Fatal { cause }) =
            self.appender.map(LogAppender::state)
        {
            return Some(Unready::LogDown { cause });
        }
        if let Some(cause) = board.log_down() {
            return Some(Unready::LogDown { cause });
        }
        board.store_down().map(|cause| Unready::Store { cause })
    }

    fn fits(&self, append: &Append<Ticket>, sending: Load) -> bool {
        let (mut under_way, mut queued) = (self.under_way, self.grouped);
        under_way.add(sending);
        queued.add(sending);
        bound_of(self.context, self.appender, append.load, (under_way, queued)).is_none()
    }

    fn has_room(&self, load: Load) -> Result<(), Unready> {
        match self.appender {
            Some(appender) => {
                let full = appender.has_room(load.records, load.log_bytes());
                full.map_err(|full| Bound::of_queue(full).overloaded())
            }
            None => Err(Unready::LogDown { cause: "no producer handle".into() }),
        }
    }

    fn record_bytes_max(&self) -> Option<u64> {
        self.appender.map(LogAppender::record_bytes_max)
    }
}

/// Where an append goes by what is known of its aggregate.
pub fn locate(
    context: &Context,
    request: &AppendRequest,
    standing: &Standing,
) -> Result<Located, AppendError> {
    let board = &context.board;
    if let Heads::One(head) = standing.heads {
        // It lives where its events are: there is nothing to decide.
        let known = Known { head: Some(head), as_of: standing.cleared };
        return Ok(Located { partition: head.partition, known });
    }
    if standing.heads == Heads::None && board.topic().wants_evidence() {
        placing::choose(board, &context.writer, &context.topic);
    }
    let is_read =
        |head: &Head| board.partition(head.partition).is_some_and(|board| board.state().is_caught_up());
    let are_read = |parts: &[Head]| parts.iter().all(is_read);
    let unready = || board.still_catching_up();
    let partition = board.topic().locate(request, &standing.heads, &are_read, &unready)?;
    Ok(Located { partition, known: Known { head: None, as_of: standing.cleared } })
}

/// Where aggregates stand: the overlay first, then the store, so that nothing is missed in between. Whether everything was read
/// is asked before both: a partition of another owner that catches up meanwhile may hold the key. If a fold begins anew or
/// the store is opened anew meanwhile, what was found is not of one state: they are looked up once more. `here` is a share that is ahead of both, if only one is asked for.
pub fn stand_all(
    context: &Context,
    epoch: Epoch,
    keys: &[Key],
    here: Option<Head>,
) -> Vec<Result<Standing, AppendError>> {
    let board = &context.board;
    let standings = board.not_overtaken(|_| stand_all_once(context, epoch, keys, here));
    standings.unwrap_or_else(|| {
        let unready = AppendError::Unavailable(board.overtaken());
        keys.iter().map(|_| Err(unready.clone())).collect()
    })
}

fn stand_all_once(
    context: &Context,
    epoch: Epoch,
    keys: &[Key],
    here: Option<Head>,
) -> Vec<Result<Standing, AppendError>> {
    let unread = context.board.catching_up();
    let overlay = &context.overlay;
    let cleared = overlay.cleared();
    let (mut applied, mut ends): (Vec<Head>, Vec<usize>) = (Vec::new(), Vec::with_capacity(keys.len()));
    for key in keys {
        applied.extend(here);
        overlay.heads(overlay.hash(key), key, &mut applied);
        ends.push(applied.len());
    }
    let mut stored = Vec::with_capacity(keys.len());
    if let Err(error) = context.store.heads(keys, &mut stored) {
        let error = store_trouble(context, epoch, error);
        return keys.iter().map(|_| Err(error.clone())).collect();
    }
    let mut first = 0;
    let standings = ends.into_iter().zip(stored).map(|(end, stored)| {
        let heads = merge_heads(&applied[first..end], stored);
        first = end;
        match (&heads, &unread) {
            (Heads::None, Some(unready)) => Err(AppendError::Unavailable(unready.clone())),
            _ => Ok(Standing { heads, cleared }),
        }
    });
    standings.collect()
}

/// A store that cannot be asked: nothing was sent, so the append is unavailable.
fn store_trouble(context: &Context, epoch: Epoch, error: StoreError) -> AppendError {
    AppendError::Unavailable(store_unready(context, epoch, error))
}

fn store_unready(context: &Context, epoch: Epoch, error: StoreError) -> Unready {
    if let StoreError::Damaged { detail } = &error {
        context.writer.damaged(epoch, detail.clone());
    }
    let is_unreadable = matches!(error, StoreError::ReadFailed { .. });
    let cause = store_cause(error);
    if is_unreadable {
        context.writer.unreadable(cause.clone());
    }
    Unready::Store { cause }
}

/// Adds what the store says of a key that the overlay does not know in this partition.
pub fn add_stored(count: &mut Count, partition: Partition, heads: &Heads) {
    let parts = match heads {
        Heads::None => &[],
        Heads::One(head) => std::slice::from_ref(head),
        Heads::Split(parts) => parts.as_slice(),
    };
    count.add(partition, parts.iter().copied());
}
