//! An event store in memory, made from a topic by the rule, that can be falsified.

use async_trait::async_trait;
use bkes_api::{
    Append, AppendFailure, Appended, BoxStream, Event, EventStore, Failure, Follow, FollowItem, Freshness,
    Head, KeyList, KeyedPage, KeysRequest, Layout, ListedKey, Origin, Page, PageEnd, Read, ReadMany, Reason,
    Status, TaggedAnswer, TaggedAppend, WaitFor,
};
use bkes_core::marker::unmarked_order;
use bkes_core::{AcceptRule, Decision, Key, Order, Partition, Position, Record, StoredEvent};
use bkes_log::Log;
use bkes_testkit::log::SimulatedLog;
use std::collections::{BTreeMap, HashMap};
use std::ops::Bound;
use std::sync::{Arc, Mutex};
use tokio_stream::StreamExt;

/// What the store holds, and how it falsifies it.
#[derive(Clone, Default)]
pub struct Held {
    pub events: BTreeMap<Key, Vec<Event>>,
    pub listed: BTreeMap<Key, ListedKey>,
    /// Lists end early, go on for ever, or have no order.
    pub list: ListLie,
    /// What its reads end with.
    pub end: EndLie,
    /// Keys that it refuses to show.
    pub refused: Option<Key>,
    /// Split aggregates are shown in the order of their headers, where these are one.
    pub by_order_headers: bool,
    /// What it says of how an aggregate lies.
    pub layout: Option<(Key, Layout)>,
    /// Two events of this aggregate are shown in each other's place, with each other's order.
    pub swapped: Option<(Key, usize, usize)>,
    /// After this aggregate comes this event, without an end.
    pub endless: Option<(Key, Event)>,
    /// What it says of where an aggregate stands.
    pub head: HeadLie,
}

#[derive(Clone, PartialEq, Eq, Default)]
pub enum HeadLie {
    #[default]
    None,
    Is(Key, Box<Head>),
    IsNot(Key),
}

#[derive(Clone, Copy, PartialEq, Eq, Default)]
pub enum ListLie {
    #[default]
    None,
    Backwards,
    Endless,
}

#[derive(Clone, PartialEq, Eq, Default)]
pub enum EndLie {
    #[default]
    None,
    Next(Key),
    Exists(Key),
    Incomplete(Key),
}

/// The store: what it holds is made anew for each call, or falsified and fixed.
pub struct Shelf {
    pub held: Box<dyn Fn() -> Arc<Held> + Send + Sync>,
    /// So many calls fail first; each call may ask it.
    pub failing: Mutex<Box<dyn FnMut() -> Option<Failure> + Send>>,
    /// How many events a page has.
    pub page_events: usize,
}

/// What the rule makes of the records of a partition.
fn fold(records: Vec<Record>, fold_start: Position) -> Vec<(Key, StoredEvent)> {
    let (mut rule, mut counts, mut events) = (AcceptRule::new(fold_start), HashMap::new(), Vec::new());
    for record in records {
        let key = record.aggregate();
        let next = key.as_ref().and_then(|key| counts.get(key).copied());
        let Ok(applied) = rule.apply(record, next) else { break };
        let stamp = applied.stamp;
        let (first, records) = match applied.decision {
            Decision::Accepted { order, record } => (order, vec![record]),
            Decision::AcceptedBatch { first, records } => (first, records),
            _ => continue,
        };
        let key = key.expect("an event has a key");
        counts.insert(key.clone(), Order(first.0 + records.len() as u64));
        for (index, record) in records.into_iter().enumerate() {
            let stamp = stamp.map(|stamp| stamp.of_member(index as u32 + 1));
            let order = Order(first.0 + index as u64);
            events.push((key.clone(), StoredEvent::of(record, order, stamp)));
        }
    }
    events
}

impl Held {
    /// All that the topic has by now, from where the log of each partition begins by now.
    pub fn of(log: &SimulatedLog) -> Held {
        let mut held = Held::default();
        for partition in (0..log.partitions()).map(Partition) {
            let low = log.watermarks(partition).expect("the log is there").low;
            for (key, event) in fold(log.records(partition), low) {
                held.events.entry(key).or_default().push(Event::from(event));
            }
        }
        held.list_all();
        held
    }

    /// The list says what the reads say.
    pub fn list_all(&mut self) {
        let listed = |(key, events): (&Key, &Vec<Event>)| {
            let mut partitions: Vec<Partition> = events.iter().map(|event| event.partition).collect();
            partitions.sort_unstable();
            partitions.dedup();
            let next = next_of(events);
            (key.clone(), ListedKey { key: key.clone(), next, partitions })
        };
        self.listed = self.events.iter().map(listed).collect();
    }

    fn failure(&self, key: &Key) -> Option<Failure> {
        (self.refused.as_ref() == Some(key)).then(|| Failure::new(Reason::PermissionDenied, "not yours"))
    }

    /// The events of an aggregate as they are shown, and how they lie.
    fn shown(&self, key: &Key) -> (Vec<Event>, Layout) {
        let mut all = self.events.get(key).cloned().unwrap_or_default();
        let mut partitions: Vec<Partition> = all.iter().map(|event| event.partition).collect();
        partitions.sort_unstable();
        partitions.dedup();
        let by_headers = self.by_order_headers.then(|| by_order_headers(&all)).flatten();
        let layout = match (is_split(&all), by_headers) {
            (false, _) => Layout::OnePartition,
            (true, None) => Layout::PartByPart(partitions),
            (true, Some(in_order)) => {
                all = in_order;
                Layout::ByOrderHeaders(partitions)
            }
        };
        if layout.is_split() {
            // Orders of a split one count over all its partitions, as the trait says.
            (0..).zip(&mut all).for_each(|(index, event)| event.order = Order(index));
        }
        if let Some((_, one, other)) = self.swapped.as_ref().filter(|(of, ..)| of == key) {
            let (of_one, of_other) = (all[*one].order, all[*other].order);
            all.swap(*one, *other);
            (all[*one].order, all[*other].order) = (of_one, of_other);
        }
        match &self.layout {
            Some((of, layout)) if of == key => (all, layout.clone()),
            _ => (all, layout),
        }
    }

    fn pages(&self, key: &Key, from: Order, limit: u64, page_events: usize) -> Vec<Page> {
        let (all, layout) = self.shown(key);
        let chosen = all.iter().filter(|event| event.order >= from);
        let events: Vec<Event> = chosen.cloned().collect();
        let taken = events.len().min(usize::try_from(limit).unwrap_or(usize::MAX));
        let mut end = PageEnd {
            first: Order::FIRST,
            next: next_of(&all),
            exists: !all.is_empty(),
            is_complete: taken == events.len(),
            layout,
        };
        match &self.end {
            EndLie::Next(of) if of == key => end.next.0 += 1,
            EndLie::Exists(of) if of == key => end.exists = !end.exists,
            EndLie::Incomplete(of) if of == key => end.is_complete = false,
            _ => {}
        }
        let mut pages: Vec<Page> = events[..taken]
            .chunks(page_events)
            .map(|events| Page { events: events.to_vec(), end: None })
            .collect();
        if pages.is_empty() {
            pages.push(Page::default());
        }
        pages.last_mut().expect("there is one").end = Some(end);
        pages
    }

    fn head_of(&self, key: &Key) -> Option<Head> {
        match &self.head {
            HeadLie::Is(of, head) if of == key => return Some(Head::clone(head)),
            HeadLie::IsNot(of) if of == key => return None,
            _ => {}
        }
        let (all, layout) = self.shown(key);
        let next = next_of(&all);
        let first = all.first()?.order;
        let Event { partition, offset, timestamp, .. } = all.last()?.clone();
        Some(Head { first, next, partition, offset, timestamp, layout })
    }

    /// These pages, or without an end.
    fn stream<T: Send + 'static>(
        &self,
        key: &Key,
        mut pages: Vec<Page>,
        turn: impl Fn(Page) -> T + Send + 'static,
    ) -> BoxStream<Result<T, Failure>> {
        let Some((_, event)) = self.endless.clone().filter(|(of, _)| of == key) else {
            return Box::pin(tokio_stream::iter(pages.into_iter().map(move |page| Ok(turn(page)))));
        };
        pages.last_mut().expect("there is one").end = None;
        let next = next_of(&self.shown(key).0).0;
        let more = (next..).map(move |order| Event { order: Order(order), ..event.clone() });
        let more = more.map(|event| Page { events: vec![event], end: None });
        Box::pin(tokio_stream::iter(pages.into_iter().chain(more).map(move |page| Ok(turn(page)))))
    }
}

/// The events in the order that their headers name, where that is one order of all.
fn by_order_headers(events: &[Event]) -> Option<Vec<Event>> {
    let order = |event: &Event| match event.origin {
        Origin::Bkes { .. } => Some(event.order),
        Origin::Foreign => unmarked_order(&event.headers),
    };
    let mut all: BTreeMap<Order, Event> = BTreeMap::new();
    for event in events {
        all.insert(order(event)?, event.clone());
    }
    let is_one = all.len() == events.len() && all.keys().copied().eq((0..events.len() as u64).map(Order));
    is_one.then(|| all.into_values().collect())
}

pub fn is_split(events: &[Event]) -> bool {
    events.iter().any(|event| event.partition != events[0].partition)
}

fn next_of(events: &[Event]) -> Order {
    match events.last() {
        Some(last) if !is_split(events) => Order(last.order.0 + 1),
        _ => Order(events.len() as u64),
    }
}

impl Shelf {
    pub fn of(held: impl Fn() -> Arc<Held> + Send + Sync + 'static) -> Arc<Shelf> {
        let failing: Box<dyn FnMut() -> Option<Failure> + Send> = Box::new(|| None);
        Arc::new(Shelf { held: Box::new(held), failing: Mutex::new(failing), page_events: 3 })
    }

    pub fn fixed(held: Held) -> Arc<Shelf> {
        let held = Arc::new(held);
        Shelf::of(move || Arc::clone(&held))
    }

    fn ask(&self) -> Result<Arc<Held>, Failure> {
        match (self.failing.lock().expect("nobody panics here"))() {
            Some(failure) => Err(failure),
            None => Ok((self.held)()),
        }
    }
}

fn unsupported<T>() -> Result<T, Failure> {
    Err(Failure::new(Reason::Unsupported, "the audit has no business with it"))
}

#[async_trait]
impl EventStore for Shelf {
    async fn append(&self, _: Append) -> Result<Appended, AppendFailure> {
        unsupported().map_err(AppendFailure::NotStored)
    }

    async fn append_stream(&self, _: BoxStream<TaggedAppend>) -> Result<BoxStream<TaggedAnswer>, Failure> {
        unsupported()
    }

    async fn read(&self, read: Read) -> Result<BoxStream<Result<Page, Failure>>, Failure> {
        let held = self.ask()?;
        assert!(matches!(read.freshness, Freshness::AtLeast(_)) && read.part_by_part && read.with_headers);
        if let Some(failure) = held.failure(&read.key) {
            return Err(failure);
        }
        let from = read.from.unwrap_or_default();
        let pages = held.pages(&read.key, from, read.limit, self.page_events);
        Ok(held.stream(&read.key, pages, |page| page))
    }

    async fn read_many(&self, read: ReadMany) -> Result<BoxStream<Result<KeyedPage, Failure>>, Failure> {
        let held = self.ask()?;
        let mut all: BoxStream<Result<KeyedPage, Failure>> = Box::pin(tokio_stream::empty());
        for key in read.keys {
            let split = || Failure::new(Reason::Split, "in several partitions");
            let is_split = is_split(held.events.get(&key).map_or(&[], |events| events));
            if let Some(failure) = held.failure(&key).or_else(|| is_split.then(split)) {
                return Ok(Box::pin(all.chain(tokio_stream::once(Err(failure)))));
            }
            let of_key = held.pages(&key, read.from, read.limit, self.page_events);
            let pages = held.stream(&key.clone(), of_key, move |page| KeyedPage { key: key.clone(), page });
            all = Box::pin(all.chain(pages));
        }
        Ok(all)
    }

    async fn head(&self, key: Key, freshness: Freshness) -> Result<Option<Head>, Failure> {
        let held = self.ask()?;
        assert!(matches!(freshness, Freshness::AtLeast(_)));
        held.failure(&key).map_or(Ok(held.head_of(&key)), Err)
    }

    async fn keys(&self, request: KeysRequest) -> Result<KeyList, Failure> {
        let held = self.ask()?;
        let from = request.after.map_or(Bound::Unbounded, Bound::Excluded);
        let mut keys: Vec<ListedKey> =
            held.listed.range((from, Bound::Unbounded)).take(6).map(|(_, listed)| listed.clone()).collect();
        let more = keys.len() > 5 || held.list == ListLie::Endless;
        keys.truncate(5);
        if held.list == ListLie::Backwards {
            keys.reverse();
        }
        Ok(KeyList { keys, more })
    }

    async fn follow(&self, _: Follow) -> Result<BoxStream<Result<FollowItem, Failure>>, Failure> {
        unsupported()
    }

    async fn wait_for(&self, _: WaitFor) -> Result<(), Failure> {
        unsupported()
    }

    async fn status(&self) -> Result<Status, Failure> {
        unsupported()
    }
}
