//! An event store in memory, made from a topic by the rule, that can be falsified.

use async_trait::async_trait;
use bkes_api::{
    Append, AppendFailure, Appended, BoxStream, Event, EventStore, Failure, Follow, FollowItem, Freshness,
    Head, KeyList, KeyedPage, KeysRequest, Layout, ListedKey, Page, PageEnd, Read, ReadMany, Reason, Status,
    TaggedAnswer, TaggedAppend, WaitFor,
};
use bkes_core::{AcceptRule, Decision, Key, Order, Partition, Position, Record, StoredEvent};
use bkes_log::Log;
use bkes_testkit::log::SimulatedLog;
use std::collections::{BTreeMap, HashMap};
use std::ops::Bound;
use std::sync::{Arc, Mutex};

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
    /// Split aggregates are shown in an order of their own.
    pub by_order_headers: bool,
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

    fn pages(&self, key: &Key, from: Order, limit: u64, page_events: usize) -> Vec<Page> {
        let empty = Vec::new();
        let mut all = self.events.get(key).unwrap_or(&empty).clone();
        let is_split = is_split(&all);
        if is_split && self.by_order_headers {
            all.reverse();
        }
        if is_split {
            // Orders of a split one count over all its partitions, as the trait says.
            (0..).zip(&mut all).for_each(|(index, event)| event.order = Order(index));
        }
        let chosen = all.iter().enumerate().filter(|(index, event)| {
            let place = if is_split { *index as u64 } else { event.order.0 };
            place >= from.0
        });
        let events: Vec<Event> = chosen.map(|(_, event)| event.clone()).collect();
        let taken = events.len().min(usize::try_from(limit).unwrap_or(usize::MAX));
        let mut partitions: Vec<Partition> = all.iter().map(|event| event.partition).collect();
        partitions.dedup();
        let layout = match (is_split, self.by_order_headers) {
            (false, _) => Layout::OnePartition,
            (true, false) => Layout::PartByPart(partitions),
            (true, true) => Layout::ByOrderHeaders(partitions),
        };
        let mut end = PageEnd {
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
        Ok(Box::pin(tokio_stream::iter(pages.into_iter().map(Ok))))
    }

    async fn read_many(&self, read: ReadMany) -> Result<BoxStream<Result<KeyedPage, Failure>>, Failure> {
        let held = self.ask()?;
        let mut pages = Vec::new();
        for key in read.keys {
            if let Some(failure) = held.failure(&key) {
                pages.push(Err(failure));
                break;
            }
            if is_split(held.events.get(&key).map_or(&[], |events| events)) {
                pages.push(Err(Failure::new(Reason::Split, "in several partitions")));
                break;
            }
            let of_key = held.pages(&key, read.from, read.limit, self.page_events);
            pages.extend(of_key.into_iter().map(|page| Ok(KeyedPage { key: key.clone(), page })));
        }
        Ok(Box::pin(tokio_stream::iter(pages)))
    }

    async fn head(&self, _: Key, _: Freshness) -> Result<Option<Head>, Failure> {
        unsupported()
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
