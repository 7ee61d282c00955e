//! A store in memory: a list of events for each key. It keeps the rules of orders and ids, pages what it is read, remembers what it was
//! asked, and fails on demand.

use async_trait::async_trait;
use bkes_api::{
    Append, AppendFailure, AppendId, Appended, BatchPlace, BoxStream, Build, Conflict, Counters, Direction,
    Event, EventContent, EventStore, Expected, Failure, Follow, FollowItem, Freshness, Head, Header,
    Identity, Key, KeyList, KeyedPage, KeysRequest, Layout, ListedKey, Offset, Order, Origin, Page, PageEnd,
    Partition, PartitionState, PartitionStatus, Position, Read, ReadMany, Reason, Status, TaggedAnswer,
    TaggedAppend, TimestampMs, TopicId, WaitFor,
};
use bytes::Bytes;
use std::collections::{BTreeMap, VecDeque};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard};
use tokio_stream::StreamExt;

/// Events of a page, and keys of a list.
const PAGE: usize = 2;

/// The topic of every such store.
pub const TOPIC: &str = "topic-1";

/// What an append may meet.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Fault {
    /// Nothing.
    Nothing,
    /// It is not stored, and that is told so.
    Fails(Reason),
    /// It is stored, and its outcome is told to be unknown.
    StoredUnknown,
    /// It is not stored, and its outcome is told to be unknown.
    LostUnknown,
    /// It is never answered.
    Hangs,
    /// Another writer is faster.
    Overtaken(EventContent),
    /// Its id was used by an append at order 3.
    IdUsed,
}

#[derive(Default)]
struct State {
    aggregates: BTreeMap<Key, Vec<Event>>,
    offsets: [u64; 2],
    faults: VecDeque<Fault>,
    asked: Asked,
    items: VecDeque<Result<FollowItem, Failure>>,
    split: Vec<Key>,
}

/// What a store was asked, in order.
#[derive(Clone, Default)]
pub struct Asked {
    pub appends: Vec<Append>,
    pub reads: Vec<Read>,
    pub lists: Vec<KeysRequest>,
    pub follows: Vec<Follow>,
    pub waits: Vec<WaitFor>,
}

/// What a store always does.
#[derive(Default)]
pub struct Habits {
    /// A stream of followed events stays open at its end.
    pub stays_open: bool,
    /// Streams of pages break off after so many.
    pub pages_max: Option<usize>,
    /// What its list of aggregates says, whatever was asked.
    pub list: Option<KeyList>,
    /// Why it is not ready.
    pub unready: Option<Failure>,
    /// What every call but an append fails with.
    pub fails: Option<Failure>,
    /// What it says of itself, where that is something else than usual.
    pub status: Option<Status>,
}

/// The store.
#[derive(Default)]
pub struct MemoryStore {
    state: Arc<Mutex<State>>,
    habits: Habits,
    pages_taken: Arc<AtomicUsize>,
    in_flight: AtomicUsize,
    in_flight_most: AtomicUsize,
}

/// A key.
pub fn key(bytes: impl Into<Bytes>) -> Key {
    Key::new(bytes).expect("it has bytes")
}

/// A header.
pub fn header(name: impl Into<Bytes>, value: Option<&'static [u8]>) -> Header {
    Header { name: name.into(), value: value.map(Bytes::from_static) }
}

impl MemoryStore {
    /// An empty one with these habits.
    pub fn with(habits: Habits) -> Arc<MemoryStore> {
        Arc::new(MemoryStore { habits, ..MemoryStore::default() })
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().expect("no panic")
    }

    /// With an append of these events at the end of an aggregate, under an id if there is one.
    pub fn add(&self, key: &Key, events: Vec<EventContent>, id: Option<&'static str>) {
        let identity = id.map(|id| Identity::of(AppendId::new(id).expect("it has bytes")));
        self.state().store(Append { events, identity, ..Append::new(key.clone(), Expected::Any) });
    }

    /// With an event at its place.
    pub fn put(&self, key: &Key, event: Event) {
        self.state().aggregates.entry(key.clone()).or_default().push(event);
    }

    /// With an event that is something else from now on.
    #[cfg(feature = "kafka")]
    pub fn falsify(&self, key: &Key, order: usize, falsify: impl FnOnce(&mut Event)) {
        falsify(&mut self.state().aggregates.get_mut(key).expect("it is there")[order]);
    }

    /// With an event that another program wrote.
    pub fn add_foreign(&self, key: &Key, event: EventContent) {
        self.add(key, vec![event], None);
        let mut state = self.state();
        let last = state.aggregates.get_mut(key).and_then(|events| events.last_mut());
        last.expect("it was added").origin = Origin::Foreign;
    }

    /// What the next appends meet, one after the other.
    pub fn plan(&self, faults: impl IntoIterator<Item = Fault>) {
        self.state().faults.extend(faults);
    }

    /// What the next one who follows is shown.
    pub fn script(&self, items: impl IntoIterator<Item = Result<FollowItem, Failure>>) {
        self.state().items.extend(items);
    }

    /// Makes an aggregate one without an order.
    pub fn split(&self, key: &Key) {
        self.state().split.push(key.clone());
    }

    /// The events of an aggregate.
    pub fn events(&self, key: &Key) -> Vec<Event> {
        self.state().aggregates.get(key).cloned().unwrap_or_default()
    }

    /// All there is.
    pub fn contents(&self) -> Vec<(Key, Event)> {
        let of = |(key, events): (&Key, &Vec<Event>)| {
            events.iter().map(|event| (key.clone(), event.clone())).collect::<Vec<_>>()
        };
        self.state().aggregates.iter().flat_map(of).collect()
    }

    /// What it was asked.
    pub fn asked(&self) -> Asked {
        self.state().asked.clone()
    }

    /// Pages that were taken from its streams.
    pub fn pages_taken(&self) -> usize {
        self.pages_taken.load(Ordering::SeqCst)
    }

    /// Most appends that were in flight at once.
    pub fn in_flight_most(&self) -> usize {
        self.in_flight_most.load(Ordering::SeqCst)
    }

    fn call(&self) -> Result<MutexGuard<'_, State>, Failure> {
        match &self.habits.fails {
            Some(failure) => Err(failure.clone()),
            None => Ok(self.state()),
        }
    }

    fn counted<T: Send + 'static>(&self, mut pages: Vec<T>) -> BoxStream<T> {
        pages.truncate(self.habits.pages_max.unwrap_or(usize::MAX));
        let taken = Arc::clone(&self.pages_taken);
        Box::pin(tokio_stream::iter(pages).map(move |page| {
            taken.fetch_add(1, Ordering::SeqCst);
            page
        }))
    }
}

impl State {
    fn store(&mut self, append: Append) -> Appended {
        let Append { key, events, identity, .. } = append;
        let number = u32::from(key.bytes()[0] % 2);
        let count = u32::try_from(events.len()).expect("it is small");
        let there = self.aggregates.entry(key).or_default();
        let first = there.len();
        for (i, EventContent { value, headers }) in (1..).zip(events) {
            let offset = &mut self.offsets[number as usize];
            let id = identity.as_ref().filter(|_| i == 1).map(|identity| identity.id.clone());
            there.push(Event {
                order: Order(there.len() as u64),
                partition: Partition(number),
                offset: Offset(*offset),
                timestamp: Some(TimestampMs(1_000 + i64::try_from(*offset).expect("it is small"))),
                value,
                headers,
                origin: Origin::Bkes { batch: (count > 1).then_some(BatchPlace { i, count }), append_id: id },
            });
            *offset += 1;
        }
        appended(&there[first..], false)
    }

    fn append(&mut self, append: Append) -> Result<Appended, AppendFailure> {
        let there = self.aggregates.get(&append.key).map_or(&[][..], Vec::as_slice);
        let current = Order(there.len() as u64);
        if let Some(Identity { id, .. }) = &append.identity {
            let is_it =
                |event: &Event| matches!(&event.origin, Origin::Bkes { append_id: Some(of), .. } if of == id);
            if let Some(first) = there.iter().position(is_it) {
                let (id, first_order) = (id.clone(), Order(first as u64));
                let stored = &there[first..there.len().min(first + append.events.len())];
                let content = |event: &Event| EventContent {
                    value: event.value.clone(),
                    headers: event.headers.clone(),
                };
                if append.expected.order().is_some_and(|order| order != first_order) {
                    let Event { partition, offset, .. } = stored[0];
                    return Err(AppendFailure::IdUsed { id, first: first_order, partition, offset });
                }
                let count = match &stored[0].origin {
                    Origin::Bkes { batch: Some(BatchPlace { count, .. }), .. } => *count as usize,
                    _ => 1,
                };
                let is_same = append.events.iter().cloned().eq(stored.iter().map(content));
                if count != append.events.len() || !is_same {
                    return Err(AppendFailure::IdReused { id, first: first_order });
                }
                return Ok(appended(stored, true));
            }
        }
        match append.expected {
            Expected::Any => {}
            Expected::Exists if there.is_empty() => {
                return Err(AppendFailure::NotStored(Failure::new(Reason::NoSuchAggregate, "there is none")));
            }
            Expected::Exists => {}
            expected if expected.order() == Some(current) => {}
            expected => {
                let conflict = Conflict { expected, current, missing: Vec::new(), more: true };
                return Err(AppendFailure::Conflict(Box::new(conflict)));
            }
        }
        if append.events.iter().any(|event| event.check_headers().is_err()) {
            return Err(AppendFailure::NotStored(Failure::new(
                Reason::InvalidRequest,
                "a header is reserved",
            )));
        }
        Ok(self.store(append))
    }

    fn meet(&mut self, fault: Option<Fault>, append: Append) -> Result<Appended, AppendFailure> {
        let unknown = AppendFailure::Unknown {
            id: append.append_id().cloned(),
            failure: Failure::new(Reason::OutcomeUnknown, "no answer"),
        };
        match fault {
            None | Some(Fault::Nothing) => self.append(append),
            Some(Fault::Fails(reason)) => {
                Err(AppendFailure::NotStored(Failure::new(reason, "it was planned")))
            }
            Some(Fault::StoredUnknown) => self.append(append).and(Err(unknown)),
            Some(Fault::LostUnknown | Fault::Hangs) => Err(unknown),
            Some(Fault::Overtaken(event)) => {
                let other = Append::new(append.key.clone(), Expected::Any).event(event);
                self.store(other);
                self.append(append)
            }
            Some(Fault::IdUsed) => Err(AppendFailure::IdUsed {
                id: append.append_id().expect("it has one").clone(),
                first: Order(3),
                partition: Partition(0),
                offset: Offset(3),
            }),
        }
    }

    /// The events that are asked for, in pages.
    fn pages(&self, read: &Read) -> Result<Vec<Page>, Failure> {
        if self.split.contains(&read.key) {
            return Err(Failure::new(Reason::Split, "the aggregate is split"));
        }
        let all = self.aggregates.get(&read.key).cloned().unwrap_or_default();
        let next = Order(all.len() as u64);
        let is_backwards = read.direction == Direction::Backwards;
        let (low, high) = if is_backwards { (read.to, read.from) } else { (read.from, read.to) };
        let (low, high) = (low.unwrap_or(Order::FIRST), high.unwrap_or(Order(u64::MAX)));
        let mut events: Vec<Event> =
            all.into_iter().filter(|event| (low..=high).contains(&event.order)).collect();
        if is_backwards {
            events.reverse();
        }
        events.truncate(usize::try_from(read.limit).unwrap_or(usize::MAX));
        if !read.with_headers {
            events.iter_mut().for_each(|event| event.headers.clear());
        }
        let page = |events: &[Event]| Page { events: events.to_vec(), end: None };
        let mut pages: Vec<Page> = events.chunks(PAGE).map(page).collect();
        let end = PageEnd {
            first: Order::FIRST,
            next,
            exists: next > Order::FIRST,
            is_complete: true,
            layout: Layout::OnePartition,
        };
        pages.push(Page { events: Vec::new(), end: Some(end) });
        Ok(pages)
    }
}

fn appended(stored: &[Event], by_earlier_try: bool) -> Appended {
    let (first, last) = (stored.first().expect("it has events"), stored.last().expect("it has events"));
    Appended {
        topic: TopicId::new(TOPIC),
        partition: last.partition,
        first_offset: first.offset,
        last_offset: last.offset,
        timestamp: last.timestamp,
        first: first.order,
        last: last.order,
        by_earlier_try,
    }
}

#[async_trait]
impl EventStore for MemoryStore {
    async fn append(&self, append: Append) -> Result<Appended, AppendFailure> {
        let fault = {
            let mut state = self.state();
            state.asked.appends.push(append.clone());
            state.faults.pop_front()
        };
        if fault == Some(Fault::Hangs) {
            std::future::pending::<()>().await;
        }
        let in_flight = self.in_flight.fetch_add(1, Ordering::SeqCst) + 1;
        self.in_flight_most.fetch_max(in_flight, Ordering::SeqCst);
        tokio::task::yield_now().await;
        self.in_flight.fetch_sub(1, Ordering::SeqCst);
        self.state().meet(fault, append)
    }

    async fn append_stream(
        &self,
        mut appends: BoxStream<TaggedAppend>,
    ) -> Result<BoxStream<TaggedAnswer>, Failure> {
        let state = Arc::clone(&self.state);
        let (to, answers) = tokio::sync::mpsc::channel(1);
        tokio::spawn(async move {
            while let Some(TaggedAppend { tag, append, .. }) = appends.next().await {
                let answer = {
                    let mut state = state.lock().expect("no panic");
                    state.asked.appends.push(append.clone());
                    let fault = state.faults.pop_front();
                    state.meet(fault, append)
                };
                if to.send(TaggedAnswer { tag, answer }).await.is_err() {
                    return;
                }
            }
        });
        Ok(Box::pin(tokio_stream::wrappers::ReceiverStream::new(answers)))
    }

    async fn read(&self, read: Read) -> Result<BoxStream<Result<Page, Failure>>, Failure> {
        let mut state = self.call()?;
        state.asked.reads.push(read.clone());
        let pages = state.pages(&read)?;
        Ok(self.counted(pages.into_iter().map(Ok).collect()))
    }

    async fn read_many(&self, read: ReadMany) -> Result<BoxStream<Result<KeyedPage, Failure>>, Failure> {
        assert!(read.keys.len() <= 1_000, "a call names 1,000 keys at most");
        let state = self.call()?;
        let mut all = Vec::new();
        for key in read.keys {
            let (limit, with_headers) = (read.limit, read.with_headers);
            let one = Read { limit, with_headers, ..Read::after(key.clone(), read.from) };
            match state.pages(&one) {
                Ok(pages) => {
                    all.extend(pages.into_iter().map(|page| Ok(KeyedPage { key: key.clone(), page })))
                }
                Err(failure) => all.push(Err(failure)),
            }
        }
        Ok(self.counted(all))
    }

    async fn head(&self, key: Key, _: Freshness) -> Result<Option<Head>, Failure> {
        let state = self.call()?;
        let events = state.aggregates.get(&key).map_or(&[][..], Vec::as_slice);
        let both = || Layout::PartByPart(vec![Partition(0), Partition(1)]);
        let layout = if state.split.contains(&key) { both() } else { Layout::OnePartition };
        Ok(events.last().map(|last| Head {
            first: Order::FIRST,
            next: Order(events.len() as u64),
            partition: last.partition,
            offset: last.offset,
            timestamp: last.timestamp,
            layout,
        }))
    }

    async fn keys(&self, request: KeysRequest) -> Result<KeyList, Failure> {
        let mut state = self.call()?;
        state.asked.lists.push(request.clone());
        if let Some(list) = &self.habits.list {
            assert!(state.asked.lists.len() < 100, "it is asked for ever");
            return Ok(list.clone());
        }
        let is_asked = |key: &Key| {
            key.bytes().starts_with(&request.prefix) && request.after.as_ref().is_none_or(|after| key > after)
        };
        let all: Vec<_> = state.aggregates.iter().filter(|(key, _)| is_asked(key)).collect();
        let keys_max = request.keys_max.min(PAGE);
        let listed = |(key, events): &(&Key, &Vec<Event>)| ListedKey {
            key: (*key).clone(),
            next: Order(events.len() as u64),
            partitions: match state.split.contains(key) {
                true => vec![Partition(0), Partition(1)],
                false => vec![events[0].partition],
            },
        };
        Ok(KeyList { keys: all.iter().take(keys_max).map(listed).collect(), more: all.len() > keys_max })
    }

    async fn follow(&self, follow: Follow) -> Result<BoxStream<Result<FollowItem, Failure>>, Failure> {
        let mut state = self.call()?;
        state.asked.follows.push(follow);
        let items = tokio_stream::iter(std::mem::take(&mut state.items));
        if self.habits.stays_open {
            return Ok(Box::pin(items.chain(tokio_stream::pending())));
        }
        Ok(Box::pin(items))
    }

    async fn wait_for(&self, wait: WaitFor) -> Result<(), Failure> {
        self.call()?.asked.waits.push(wait);
        Ok(())
    }

    async fn status(&self) -> Result<Status, Failure> {
        if let Some(status) = &self.habits.status {
            return Ok(status.clone());
        }
        let keys = self.call()?.aggregates.len() as u64;
        let partition = |number, state| PartitionStatus {
            partition: Partition(number),
            state,
            applied: Position(10),
            stored: Position(9),
            target: Position(12),
            high: Position(13),
            lag: 2,
            counters: Counters { events: 7, void: 1, ..Counters::default() },
        };
        let degraded = PartitionState::Degraded { reason: "damaged\x1b[2J".to_owned() };
        Ok(Status {
            build: Build { name: "bkes-server".into(), version: "0.1.0\x07".into() },
            cluster: "cluster-1".into(),
            topic: "events".into(),
            topic_id: TopicId::new(TOPIC),
            unready: self.habits.unready.clone(),
            partitions: vec![partition(0, PartitionState::CatchingUp), partition(1, degraded)],
            keys,
            store_bytes: 4_096,
            appended: 3,
            conflicts: 2,
            unknown: 1,
        })
    }
}
