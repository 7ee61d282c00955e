//! What is known of an aggregate, and how it is brought up to date.
//!
//! A log that lost its end has another history from some offset on. Two histories that have the same event at the same place agree about
//! everything before it. All events of one read are of one history, and so are all that one conflict brings. So a state is what the
//! present history comes to if the last event of each piece that it was folded from is still where it was. These events are its
//! *anchors*. A read begins at the first of them, compares each, and leaves one: the last event that it came to.
//!
//! An append names an order and nothing else. So a decision rests on a state that may be of a lost history, whether a conflict was folded
//! into it or not: until the next read nobody can tell. What is kept for longer than a call is compared by that read.

use super::DecideError;
use crate::append::Conflict;
use crate::event::Event;
use crate::failure::{Failure, Reason};
use crate::positions::{Freshness, Positions};
use crate::read::Read;
use crate::store::EventStore;
use bkes_core::{Key, Offset, Order, Partition, TimestampMs};
use tokio_stream::StreamExt;

/// An error of a caller's own.
pub type BoxError = Box<dyn std::error::Error + Send + Sync>;

/// Most anchors of a state: then a conflict is read and not folded. The next read begins at the first of them, so it reads again what
/// 15 conflicts brought, 15,000 events at most.
const ANCHORS_MAX: usize = 16;

/// What events are folded into. [`Aggregate`](crate::Aggregate) is the same with typed events.
pub trait State: Sized {
    /// That of an aggregate without events.
    fn empty() -> Self;

    /// Takes an event in, or says why it cannot be read.
    fn fold(&mut self, event: &Event) -> Result<(), BoxError>;
}

/// What is known of an aggregate: its events up to an order, folded into a state.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Known<S> {
    state: S,
    next: Order,
    /// In rising order, all below `next`.
    anchors: Vec<Anchor>,
}

/// An event that is in the state: by its place it is seen whether it is still part of the aggregate.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
struct Anchor {
    order: Order,
    partition: Partition,
    offset: Offset,
    timestamp: Option<TimestampMs>,
}

impl Anchor {
    fn of(event: &Event) -> Anchor {
        let Event { order, partition, offset, timestamp, .. } = *event;
        Anchor { order, partition, offset, timestamp }
    }

    /// The position from which on it is seen.
    fn position(&self) -> Positions {
        Positions { topic: None, of: vec![(self.partition, self.offset.next())] }
    }
}

impl<S> Known<S> {
    /// From a snapshot: what the aggregate's events below `next` come to. A snapshot does not say where its last event lies, so the first
    /// read that goes on from it takes in the [latest](Freshness::Latest).
    pub fn snapshot(state: S, next: Order) -> Known<S> {
        Known { state, next, anchors: Vec::new() }
    }

    /// The state.
    pub fn state(&self) -> &S {
        &self.state
    }

    /// The state, alone.
    pub fn into_state(self) -> S {
        self.state
    }

    /// The order of the next event that is not in it.
    pub fn next(&self) -> Order {
        self.next
    }

    fn is_nothing(&self) -> bool {
        self.next == Order::FIRST && self.anchors.is_empty()
    }

    /// How fresh a read has to be that goes on from it. An instance that has not read all of what is known yet shows less, as if it had
    /// never been.
    fn freshness(&self, asked: Freshness) -> Freshness {
        let mut at_least = match asked {
            Freshness::Latest => return Freshness::Latest,
            Freshness::AtLeast(positions) => positions,
            Freshness::Local => Positions::default(),
        };
        if self.anchors.is_empty() {
            return Freshness::Latest;
        }
        self.anchors.iter().for_each(|anchor| at_least.advance(&anchor.position()));
        Freshness::AtLeast(at_least)
    }
}

impl<S: State> Known<S> {
    /// Of an aggregate of which nothing was read.
    pub fn nothing() -> Known<S> {
        Known::snapshot(S::empty(), Order::FIRST)
    }

    /// Takes in the next event. Another one is a fault of the store.
    fn fold<E>(&mut self, key: &Key, event: &Event) -> Result<(), DecideError<E>> {
        let next = event.order.plus(1).filter(|_| event.order == self.next);
        let wrong = || {
            let Known { next, .. } = self;
            nonsense(format!("event {} of aggregate {key} came where {next} is next", event.order))
        };
        let next = next.ok_or_else(wrong)?;
        let unread = |source| DecideError::Event { key: key.clone(), order: event.order, source };
        self.state.fold(event).map_err(unread)?;
        self.next = next;
        Ok(())
    }
}

/// What the store says makes no sense.
fn nonsense<E>(message: String) -> DecideError<E> {
    DecideError::Read(Failure::new(Reason::Internal, message))
}

/// Brings what is known up to date: reads what comes after it. If it is not part of the aggregate any more, the aggregate is another one,
/// or the log lost its end: it is read from the beginning then.
///
/// An instance that lags behind what is known is waited for.
pub async fn catch_up<S: State, E>(
    store: &dyn EventStore,
    key: &Key,
    known: Known<S>,
    freshness: Freshness,
) -> Result<Known<S>, DecideError<E>> {
    if !known.is_nothing() {
        let of_known = known.freshness(freshness.clone());
        match read_on(store, key, known, of_known).await {
            Ok(Some(known)) => return Ok(known),
            Ok(None) => {}
            // The log ends below what is known.
            Err(DecideError::Read(failure)) if failure.reason == Reason::OutOfRange => {}
            Err(error) => return Err(error),
        }
    }
    let read = read_on(store, key, Known::nothing(), freshness).await?;
    Ok(read.expect("of nothing that is known no event can be elsewhere"))
}

/// Folds what comes after what is known; `None` if that is not part of the aggregate any more.
async fn read_on<S: State, E>(
    store: &dyn EventStore,
    key: &Key,
    mut known: Known<S>,
    freshness: Freshness,
) -> Result<Option<Known<S>>, DecideError<E>> {
    let is_nothing = known.is_nothing();
    let from = known.anchors.first().map_or(known.next, |anchor| anchor.order);
    let from = (!is_nothing).then_some(from);
    let read = Read { from, freshness, ..Read::all(key.clone()) };
    let mut pages = store.read(read).await.map_err(DecideError::Read)?;
    let mut anchors = std::mem::take(&mut known.anchors).into_iter().peekable();
    let (mut last, mut end) = (None::<Anchor>, None);
    while let Some(page) = pages.next().await {
        let page = page.map_err(DecideError::Read)?;
        for event in &page.events {
            let anchor = anchors.next_if(|anchor| anchor.order <= event.order);
            if anchor.is_some_and(|anchor| anchor != Anchor::of(event)) {
                return Ok(None);
            }
            if last.is_none() && event.order > known.next {
                // The log lost its head. What is known does not reach up to what is left.
                if !is_nothing {
                    return Ok(None);
                }
                known.next = event.order;
            }
            if let Some(last) = last
                && last.order.plus(1) != Some(event.order)
            {
                let Anchor { order, .. } = last;
                return Err(nonsense(format!("event {} of aggregate {key} came after {order}", event.order)));
            }
            if event.order >= known.next {
                known.fold(key, event)?;
            }
            last = Some(Anchor::of(event));
        }
        end = page.end;
    }
    let end = end.ok_or_else(|| nonsense(format!("the pages of aggregate {key} have no end")))?;
    known.anchors.extend(last);
    let is_whole = anchors.peek().is_none() && end.next >= known.next;
    Ok((is_nothing || is_whole).then_some(known))
}

/// What is known after a conflict: with the events it brought, and those it did not.
pub(super) async fn take_in<S: State, E>(
    store: &dyn EventStore,
    key: &Key,
    mut known: Known<S>,
    conflict: Conflict,
    freshness: Freshness,
) -> Result<Known<S>, DecideError<E>> {
    let Conflict { current, missing, more, .. } = conflict;
    let follows = missing.first().is_some_and(|event| event.order == known.next);
    if follows && known.anchors.len() < ANCHORS_MAX {
        for event in &missing {
            known.fold(key, event)?;
        }
        known.anchors.extend(missing.last().map(Anchor::of));
        if !more && known.next == current {
            return Ok(known);
        }
    }
    // An aggregate that ends before what is known is not the one that was read.
    catch_up(store, key, known, freshness).await
}
