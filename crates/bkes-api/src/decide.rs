//! Deciding: read an aggregate, fold its events, decide, append; and when somebody was faster, fold what they wrote and decide again.
//!
//! [`decide`] works on events as they are; [`Aggregates`](crate::Aggregates) is the same with types.
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
use tokio_stream::StreamExt;

/// How to decide. `Default` gives what most want.
#[derive(Clone, Debug)]
pub struct DecideOptions {
    /// How often it is decided, the first time included, while others are faster; at least 1.
    pub rounds_max: u32,
    /// How an append is tried again while its outcome is not known, or the store is unavailable.
    pub retry: RetryPolicy,
    /// How fresh the read is on which the first decision rests. A decision that rests on too little is refused and made anew, so
    /// [`Freshness::Local`] is never wrong.
    pub freshness: Freshness,
    /// An id of the command that is carried out. One that was carried out before is not decided anew, as long as its events are among
    /// the last 128 of the aggregate. Without it every call is a command of its own.
    pub command: Option<AppendId>,
}

impl Default for DecideOptions {
    fn default() -> DecideOptions {
        let (retry, freshness) = (RetryPolicy::default(), Freshness::Local);
        DecideOptions { rounds_max: 10, retry, freshness, command: None }
    }
}

/// What a decision came to.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Decided<S> {
    /// What it rests on: the aggregate just before the decision's own events.
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
        /// How often it was decided.
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
/// events, or an error that ends the call. It is asked again when somebody else was faster, with the state as it is then: it must not do
/// anything but decide.
pub async fn decide<S: State, E>(
    store: &dyn EventStore,
    key: &Key,
    known: Known<S>,
    options: &DecideOptions,
    mut decide_on: impl FnMut(&S) -> Result<Vec<EventContent>, E>,
) -> Result<Decided<S>, DecideError<E>> {
    let mut known = catch_up(store, key, known, options.freshness.clone()).await?;
    let budget = RetryBudget::default();
    let mut rounds = 0;
    loop {
        rounds += 1;
        let events = match decide_on(known.state()) {
            Ok(events) if !events.is_empty() => events,
            nothing => {
                // What the state says may be what this very command did.
                let earlier = find_command(store, key, options.command.as_ref()).await;
                if let Some(first) = earlier.map_err(DecideError::Read)? {
                    return Ok(Decided { known, outcome: Outcome::EarlierCommand { first } });
                }
                nothing.map_err(DecideError::Refused)?;
                return Ok(Decided { known, outcome: Outcome::Nothing });
            }
        };
        let append = Append::at(key.clone(), known.next()).events(events).with_missing();
        let append = match &options.command {
            // It may have been carried out before: it is looked for in each try.
            Some(command) => Append { identity: Some(Identity::of(command.clone())), ..append },
            None => append.id(draw_append_id()),
        };
        let appended =
            append_with_retries(append, &options.retry, &budget, |append| store.append(append)).await;
        let conflict = match appended {
            Ok(appended) => return Ok(Decided { known, outcome: Outcome::Appended(appended) }),
            Err(AppendFailure::IdUsed { first, .. }) if options.command.is_some() => {
                return Ok(Decided { known, outcome: Outcome::EarlierCommand { first } });
            }
            Err(AppendFailure::Conflict(conflict)) => conflict,
            Err(failure) => return Err(DecideError::Append(failure)),
        };
        if rounds >= options.rounds_max {
            return Err(DecideError::Contended { rounds, last: conflict });
        }
        known = take_in(store, key, known, *conflict, options.freshness.clone()).await?;
    }
}

/// Where the append of a command begins, if that is among the last events, as far back as ids are looked for.
async fn find_command(
    store: &dyn EventStore,
    key: &Key,
    command: Option<&AppendId>,
) -> Result<Option<Order>, Failure> {
    let Some(command) = command else { return Ok(None) };
    let last = Read { with_headers: false, ..Read::last(key.clone(), ID_WINDOW) };
    let mut pages = store.read(last).await?;
    while let Some(page) = pages.next().await {
        let mut events = page?.events.into_iter();
        let is_its = |event: &Event| matches!(&event.origin, Origin::Bkes { append_id: Some(id), .. } if id == command);
        if let Some(event) = events.find(is_its) {
            return Ok(Some(event.order));
        }
    }
    Ok(None)
}

#[cfg(test)]
mod tests;
