//! Deciding: read an aggregate, fold its events, decide, append; and when somebody was faster, fold what they wrote and decide again.
//!
//! [`decide`] works on events as they are; [`Aggregates`](crate::Aggregates) is the same with types.
//!
//! A decision that appends events is tried by the store, which refuses one that rests on too little. One that appends nothing is tried by
//! nobody, so it rests on a read of the latest.
//!
//! An append of a decision carries an id, so an outcome that is not known is settled by trying again. A new id is drawn only once the
//! append before is settled: as long as it may be stored, nothing else is decided. What cannot be settled is handed up with its id.

mod known;

pub use known::{BoxError, Known, State, catch_up};

use crate::append::{Append, AppendFailure, Appended, Conflict, draw_append_id};
use crate::event::{Event, Origin};
use crate::failure::Failure;
use crate::positions::Freshness;
use crate::read::Read;
use crate::retry::{RetryBudget, RetryPolicy, append_with_retries};
use crate::store::EventStore;
use bkes_core::append::EventContent;
use bkes_core::append_id::{AppendId, ID_WINDOW, Identity};
use bkes_core::{Key, Order};
use known::take_in;
use std::sync::Arc;
use tokio_stream::StreamExt;

/// How to decide. `Default` gives what most want.
#[derive(Clone, Debug)]
pub struct DecideOptions {
    /// How often what was decided is appended, the first time included, while others are faster; at least 1.
    pub rounds_max: u32,
    /// How an append is tried again while its outcome is not known, or the store is unavailable. A store that [tries
    /// again](EventStore::tries_again) by itself, as a client does, is asked once, and goes by its own policy and time.
    pub retry: RetryPolicy,
    /// Bounds the retries of all decisions that share it. [`Aggregates`](crate::Aggregates) have one for all of theirs, that of their own
    /// options.
    pub budget: Arc<RetryBudget>,
    /// How fresh the reads are on which decisions rest. One that appends events is tried by the store: if it rests on too little, it is
    /// refused and made anew. One that appends nothing is tried by nobody. So it is made again on the [latest](Freshness::Latest), which
    /// costs a read that asks the log how far it goes, unless it rests on that already.
    pub freshness: Freshness,
    /// An id of the command that is carried out. One that was carried out before is not decided anew, as long as one of its events is
    /// among the last 128 of the aggregate. Without it every call is a command of its own.
    pub command: Option<AppendId>,
}

impl Default for DecideOptions {
    fn default() -> DecideOptions {
        let (retry, budget, freshness) = (RetryPolicy::default(), Arc::default(), Freshness::Local);
        DecideOptions { rounds_max: 10, retry, budget, freshness, command: None }
    }
}

/// What a decision came to.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Decided<S> {
    /// What it rests on: the aggregate just before the decision's own events. After an earlier command: the aggregate with its events.
    pub known: Known<S>,
    /// What became of it.
    pub outcome: Outcome,
}

/// What became of a decision.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Outcome {
    /// There was nothing to append.
    Nothing,
    /// Its events are stored.
    Appended(Appended),
    /// The command was carried out before: its first event has this order. Nothing was decided.
    EarlierCommand {
        /// Where its events begin.
        first: Order,
    },
}

/// Why there is no decision, or it is not stored.
#[derive(Debug, thiserror::Error)]
pub enum DecideError<E> {
    /// The decision itself: nothing is to be appended.
    #[error("{0}")]
    Refused(E),
    /// The aggregate could not be read.
    #[error("the aggregate could not be read: {0}")]
    Read(Failure),
    /// An event that was decided could not be written. Nothing is appended.
    #[error("an event for aggregate {key} could not be written: {source}")]
    Unwritten {
        /// The aggregate.
        key: Key,
        /// What the codec said.
        source: BoxError,
    },
    /// An event could not be folded.
    #[error("event {order} of aggregate {key} could not be read: {source}")]
    Event {
        /// The aggregate.
        key: Key,
        /// The event's order.
        order: Order,
        /// What the fold said.
        source: BoxError,
    },
    /// Others were faster every time.
    #[error("others were faster {rounds} times in a row: {last}")]
    Contended {
        /// How often what was decided was appended.
        rounds: u32,
        /// The last conflict.
        last: Box<Conflict>,
    },
    /// The append failed. If it is [unknown](AppendFailure::Unknown), it may be stored: trying it again under the id it names is safe.
    #[error("the append failed: {0}")]
    Append(AppendFailure),
}

/// Decides on an aggregate, and appends what was decided.
///
/// What is `known` is gone on from; [`Known::nothing`] reads all of it. `decide_on` says what is to be appended: nothing, 1 to 1,000
/// events, or an error that ends the call. It is asked again when somebody else was faster, and before nothing is appended, with the state
/// as it is then: it must not do anything but decide.
pub async fn decide<S: State, E>(
    store: &dyn EventStore,
    key: &Key,
    known: Known<S>,
    options: &DecideOptions,
    mut decide_on: impl FnMut(&S) -> Result<Vec<EventContent>, E>,
) -> Result<Decided<S>, DecideError<E>> {
    let mut known = catch_up(store, key, known, options.freshness.clone()).await?;
    let mut is_latest = options.freshness == Freshness::Latest;
    let mut rounds = 0;
    loop {
        let events = match decide_on(known.state()) {
            Ok(events) if !events.is_empty() => events,
            // Nobody tries what it rests on: the instance may lag, and a conflict may have been folded onto a lost history.
            _ if !is_latest => {
                known = catch_up(store, key, known, Freshness::Latest).await?;
                is_latest = true;
                continue;
            }
            nothing => {
                // What the state says may be what this very command did.
                let earlier = find_command(store, key, options.command.as_ref()).await;
                if let Some(first) = earlier.map_err(DecideError::Read)? {
                    return carried_out_before(store, key, known, first).await;
                }
                nothing.map_err(DecideError::Refused)?;
                return Ok(Decided { known, outcome: Outcome::Nothing });
            }
        };
        rounds += 1;
        let append = Append::at(key.clone(), known.next()).events(events).with_missing();
        let append = match &options.command {
            // It may have been carried out before: it is looked for in each try.
            Some(command) => Append { identity: Some(Identity::of(command.clone())), ..append },
            None => append.id(draw_append_id()),
        };
        let conflict = match append_until_settled(store, append, options).await {
            Ok(appended) => return Ok(Decided { known, outcome: Outcome::Appended(appended) }),
            // Of a command that is delivered twice at once the other delivery may have decided otherwise.
            Err(AppendFailure::IdUsed { first, .. } | AppendFailure::IdReused { first, .. })
                if options.command.is_some() =>
            {
                return carried_out_before(store, key, known, first).await;
            }
            Err(AppendFailure::Conflict(conflict)) => conflict,
            Err(failure) => return Err(DecideError::Append(failure)),
        };
        if rounds >= options.rounds_max {
            return Err(DecideError::Contended { rounds, last: conflict });
        }
        known = take_in(store, key, known, *conflict, options.freshness.clone()).await?;
        is_latest = false;
    }
}

/// Appends, and tries again: here or in the store, and not in both.
async fn append_until_settled(
    store: &dyn EventStore,
    append: Append,
    options: &DecideOptions,
) -> Result<Appended, AppendFailure> {
    if store.tries_again() {
        return store.append(append).await;
    }
    append_with_retries(append, &options.retry, &options.budget, |append| store.append(append)).await
}

/// The command was carried out before, and its events begin there: they are part of what is known.
async fn carried_out_before<S: State, E>(
    store: &dyn EventStore,
    key: &Key,
    mut known: Known<S>,
    first: Order,
) -> Result<Decided<S>, DecideError<E>> {
    if known.next() <= first {
        known = catch_up(store, key, known, Freshness::Latest).await?;
    }
    Ok(Decided { known, outcome: Outcome::EarlierCommand { first } })
}

/// Where the append of a command begins, if one of its events is among the last ones, as far back as ids are looked for.
async fn find_command(
    store: &dyn EventStore,
    key: &Key,
    command: Option<&AppendId>,
) -> Result<Option<Order>, Failure> {
    let Some(command) = command else { return Ok(None) };
    let window = Read { freshness: Freshness::Latest, ..Read::last(key.clone(), ID_WINDOW) };
    let lowest = match look_for(store, window, command).await? {
        Looked::Found(first) => return Ok(Some(first)),
        Looked::NotFound { lowest } => lowest,
    };
    // The id stands at the first event of an append. That of the lowest one may lie below.
    let Some(Event { order, origin: Origin::Bkes { batch: Some(place), .. }, .. }) = lowest else {
        return Ok(None);
    };
    let before = u64::from(place.i.saturating_sub(1));
    let Some(first) = order.0.checked_sub(before).filter(|_| before > 0).map(Order) else {
        return Ok(None);
    };
    let read = Read { to: Some(first), limit: 1, ..Read::after(key.clone(), first) };
    match look_for(store, read, command).await? {
        Looked::Found(found) => Ok(Some(found)),
        Looked::NotFound { .. } => Ok(None),
    }
}

/// What came of looking for an id.
enum Looked {
    /// The event of this order has it.
    Found(Order),
    /// No event has it; the last one that was read.
    NotFound { lowest: Option<Event> },
}

async fn look_for(store: &dyn EventStore, read: Read, command: &AppendId) -> Result<Looked, Failure> {
    let mut pages = store.read(Read { with_headers: false, ..read }).await?;
    let mut lowest = None;
    while let Some(page) = pages.next().await {
        for event in page?.events {
            if matches!(&event.origin, Origin::Bkes { append_id: Some(id), .. } if id == command) {
                return Ok(Looked::Found(event.order));
            }
            lowest = Some(event);
        }
    }
    Ok(Looked::NotFound { lowest })
}

#[cfg(test)]
mod tests;
