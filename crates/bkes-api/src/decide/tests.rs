//! Deciding on a store that follows a script: instances that lag, logs that lose their end, answers that make no sense.

use super::*;
use crate::Reason;
use crate::aggregate::{Aggregate, Aggregates, Codec};
use crate::append::{TaggedAnswer, TaggedAppend};
use crate::follow::{Follow, FollowItem};
use crate::keys::{KeyList, KeysRequest};
use crate::positions::{Positions, TopicId};
use crate::read::{Head, KeyedPage, Layout, Page, PageEnd, ReadMany};
use crate::status::Status;
use crate::store::BoxStream;
use crate::wait::WaitFor;
use async_trait::async_trait;
use bkes_core::append::Expected;
use bkes_core::{BatchPlace, Offset, Partition, Position};
use std::collections::VecDeque;
use std::num::NonZeroUsize;
use std::sync::{Arc, Mutex, MutexGuard};

mod commands;
mod known;
mod retries;

/// What a read shows, or why it does not.
type Shown = Result<Vec<Page>, Failure>;

/// A store whose answers are written down before it is asked.
#[derive(Default)]
struct Scripted {
    reads: Mutex<VecDeque<Shown>>,
    asked: Mutex<Vec<Read>>,
    appends: Mutex<VecDeque<Result<Appended, AppendFailure>>>,
    sent: Mutex<Vec<Append>>,
    tries_again: bool,
}

fn lock<T>(of: &Mutex<T>) -> MutexGuard<'_, T> {
    of.lock().expect("no panic")
}

impl Scripted {
    fn new(
        reads: impl IntoIterator<Item = Shown>,
        appends: impl IntoIterator<Item = Result<Appended, AppendFailure>>,
    ) -> Arc<Scripted> {
        let (reads, appends) = (Mutex::new(reads.into_iter().collect()), appends.into_iter().collect());
        Arc::new(Scripted { reads, appends: Mutex::new(appends), ..Scripted::default() })
    }

    /// From where each read was asked for, and how fresh.
    fn asked(&self) -> Vec<(Option<u64>, Freshness)> {
        lock(&self.asked).iter().map(|read| (read.from.map(|from| from.0), read.freshness.clone())).collect()
    }

    /// That everything written down was asked for.
    fn is_used_up(&self) -> bool {
        lock(&self.reads).is_empty() && lock(&self.appends).is_empty()
    }
}

#[async_trait]
impl EventStore for Scripted {
    async fn append(&self, append: Append) -> Result<Appended, AppendFailure> {
        lock(&self.sent).push(append);
        lock(&self.appends).pop_front().expect("an append that the script knows")
    }

    fn tries_again(&self) -> bool {
        self.tries_again
    }

    async fn read(&self, read: Read) -> Result<BoxStream<Result<Page, Failure>>, Failure> {
        lock(&self.asked).push(read);
        let pages = lock(&self.reads).pop_front().expect("a read that the script knows")?;
        Ok(Box::pin(tokio_stream::iter(pages).map(Ok)))
    }

    async fn append_stream(&self, _: BoxStream<TaggedAppend>) -> Result<BoxStream<TaggedAnswer>, Failure> {
        unreachable!("nobody decides by it")
    }

    async fn read_many(&self, _: ReadMany) -> Result<BoxStream<Result<KeyedPage, Failure>>, Failure> {
        unreachable!("nobody decides by it")
    }

    async fn head(&self, _: Key, _: Freshness) -> Result<Option<Head>, Failure> {
        unreachable!("nobody decides by it")
    }

    async fn keys(&self, _: KeysRequest) -> Result<KeyList, Failure> {
        unreachable!("nobody decides by it")
    }

    async fn follow(&self, _: Follow) -> Result<BoxStream<Result<FollowItem, Failure>>, Failure> {
        unreachable!("nobody decides by it")
    }

    async fn wait_for(&self, _: WaitFor) -> Result<(), Failure> {
        unreachable!("nobody decides by it")
    }

    async fn status(&self) -> Result<Status, Failure> {
        unreachable!("nobody decides by it")
    }
}

fn key() -> Key {
    Key::new("account").expect("it has bytes")
}

/// The event of this order whose value is a number. It lies at an offset of 100 and its order.
fn event(order: u64, value: i64) -> Event {
    Event {
        order: Order(order),
        partition: Partition(0),
        offset: Offset(100_u64.wrapping_add(order)),
        timestamp: None,
        value: Some(value.to_string().into()),
        headers: Vec::new(),
        origin: Origin::Bkes { batch: None, append_id: None },
    }
}

/// The same after the log lost its end and others wrote: it lies elsewhere.
fn other_event(order: u64, value: i64) -> Event {
    Event { offset: Offset(50 + order), ..event(order, value) }
}

/// These events in one page, of an aggregate whose next order is this.
fn page(events: Vec<Event>, next: u64) -> Shown {
    let end = PageEnd {
        first: Order(0),
        next: Order(next),
        exists: next > 0,
        is_complete: true,
        layout: Layout::OnePartition,
    };
    Ok(vec![Page { events, end: Some(end) }])
}

/// All events from the first of them on.
fn shown(events: Vec<Event>) -> Shown {
    let next = events.last().map_or(0, |last| last.order.0 + 1);
    page(events, next)
}

fn failed(reason: Reason) -> Failure {
    Failure::new(reason, "so it is written")
}

fn stored(first: u64, last: u64) -> Appended {
    Appended {
        topic: TopicId::new("t"),
        partition: Partition(0),
        first_offset: Offset(100 + first),
        last_offset: Offset(100 + last),
        timestamp: None,
        first: Order(first),
        last: Order(last),
        by_earlier_try: false,
    }
}

/// A conflict that brings these events, up to the last one there is.
fn conflict(expected: u64, missing: Vec<Event>) -> AppendFailure {
    let current = missing.last().map_or(expected, |last| last.order.0 + 1);
    let (expected, current) = (Expected::At(Order(expected)), Order(current));
    AppendFailure::Conflict(Box::new(Conflict { expected, current, missing, more: false }))
}

/// All below the event at this offset, and it.
fn at_least(offset: u64) -> Freshness {
    Freshness::AtLeast(Positions { topic: None, of: vec![(Partition(0), Position(offset + 1))] })
}

/// The values of all events, added up and one by one.
#[derive(Clone, Default, PartialEq, Eq, Debug)]
struct Account {
    balance: i64,
    values: Vec<i64>,
}

impl Aggregate for Account {
    type Event = i64;
    type Codec = Decimal;

    fn apply(&mut self, value: &i64) {
        self.balance += value;
        self.values.push(*value);
    }
}

struct Decimal;

impl Codec<i64> for Decimal {
    fn encode(value: &i64) -> Result<EventContent, BoxError> {
        Ok(value.to_string().into())
    }

    fn decode(event: &Event) -> Result<i64, BoxError> {
        Ok(std::str::from_utf8(event.value_bytes())?.parse()?)
    }
}

#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
#[error("not enough")]
struct NotEnough;

fn withdraw(amount: i64) -> impl Fn(&Account) -> Result<Vec<i64>, NotEnough> {
    move |account| if account.balance >= amount { Ok(vec![-amount]) } else { Err(NotEnough) }
}

fn accounts(store: &Arc<Scripted>) -> Aggregates<Account> {
    Aggregates::new(Arc::clone(store) as Arc<dyn EventStore>)
}

fn cached(store: &Arc<Scripted>) -> Aggregates<Account> {
    accounts(store).with_cache(NonZeroUsize::MIN)
}
