//! An event store in memory, as small as one can be: for the interface, which is what is tested here.

use async_trait::async_trait;
use bkes_api::{
    Append, AppendFailure, Appended, BatchPlace, BoxStream, Build, Conflict, Counters, Event, EventStore,
    Expected, Failure, Follow, FollowFrom, FollowItem, Followed, FollowedEvent, Freshness, Head, Key,
    KeyList, KeyedPage, KeysRequest, Layout, ListedKey, Offset, Order, Origin, Page, PageEnd, Partition,
    PartitionState, PartitionStatus, Position, Positions, Read, ReadMany, Reason, Status, TaggedAnswer,
    TaggedAppend, TopicId, WaitFor,
};
use std::collections::{BTreeMap, HashMap};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use tokio::sync::{Semaphore, broadcast, mpsc, watch};
use tokio_stream::StreamExt;
use tokio_stream::wrappers::UnboundedReceiverStream;

/// A key that nobody may read.
pub const MINE: &[u8] = b"mine";

/// A key of which nothing ever comes.
pub const NEVER: &[u8] = b"never";

async fn nothing_of(key: &[u8]) {
    if key == NEVER {
        std::future::pending::<()>().await;
    }
}

/// Cheap to clone.
#[derive(Clone)]
pub struct Shelf(Arc<Inner>);

struct Inner {
    aggregates: Mutex<BTreeMap<Key, Vec<Event>>>,
    /// What is appended, for followers.
    news: broadcast::Sender<FollowedEvent>,
    /// The end of the one partition.
    end: watch::Sender<u64>,
    /// Appends that may be stored now.
    open: Semaphore,
    /// Appends of streams that were taken in.
    taken: AtomicUsize,
    /// Appends that were asked for.
    asked: AtomicUsize,
}

impl Shelf {
    /// One that stores at once.
    pub fn new() -> Shelf {
        let shelf = Shelf::held();
        shelf.open(Semaphore::MAX_PERMITS / 2);
        shelf
    }

    /// One that stores only as many appends as it is opened for.
    pub fn held() -> Shelf {
        Shelf(Arc::new(Inner {
            aggregates: Mutex::default(),
            news: broadcast::channel(100_000).0,
            end: watch::channel(0).0,
            open: Semaphore::new(0),
            taken: AtomicUsize::new(0),
            asked: AtomicUsize::new(0),
        }))
    }

    pub fn open(&self, appends: usize) {
        self.0.open.add_permits(appends);
    }

    pub fn asked(&self) -> usize {
        self.0.asked.load(Ordering::SeqCst)
    }

    pub fn taken(&self) -> usize {
        self.0.taken.load(Ordering::SeqCst)
    }

    fn topic() -> TopicId {
        TopicId::new("shelf")
    }

    fn store(&self, append: Append) -> Result<Appended, AppendFailure> {
        let mut aggregates = self.0.aggregates.lock().expect("no panic");
        let events = aggregates.get(&append.key).map_or(&[][..], |events| events);
        let next = Order(events.len() as u64);
        let is_as_expected = match append.expected {
            Expected::New => next == Order::FIRST,
            Expected::At(order) => order == next,
            Expected::Exists => next > Order::FIRST,
            Expected::Any => true,
        };
        if !is_as_expected {
            let from = append.expected.order().map_or(events.len(), |order| order.0 as usize);
            let missing = events.iter().skip(from).take(append.missing_max).cloned().collect::<Vec<_>>();
            let more = from + missing.len() < events.len();
            let expected = append.expected;
            return Err(AppendFailure::Conflict(Box::new(Conflict {
                expected,
                current: next,
                missing,
                more,
            })));
        }
        let first_offset = *self.0.end.borrow();
        let count = append.events.len();
        let id = append.append_id().cloned();
        let made: Vec<Event> = append
            .events
            .into_iter()
            .enumerate()
            .map(|(index, content)| Event {
                order: Order(next.0 + index as u64),
                partition: Partition(0),
                offset: Offset(first_offset + index as u64),
                timestamp: None,
                value: content.value,
                headers: content.headers,
                origin: Origin::Bkes {
                    batch: (count > 1).then_some(BatchPlace { i: index as u32 + 1, count: count as u32 }),
                    append_id: id.clone().filter(|_| index == 0),
                },
            })
            .collect();
        for event in &made {
            let _ = self.0.news.send(FollowedEvent { key: append.key.clone(), event: event.clone() });
        }
        aggregates.entry(append.key).or_default().extend(made);
        self.0.end.send_modify(|end| *end += count as u64);
        Ok(Appended {
            topic: Shelf::topic(),
            partition: Partition(0),
            first_offset: Offset(first_offset),
            last_offset: Offset(first_offset + count as u64 - 1),
            timestamp: None,
            first: next,
            last: Order(next.0 + count as u64 - 1),
            by_earlier_try: false,
        })
    }

    fn positions(&self) -> Positions {
        Positions { topic: Some(Shelf::topic()), of: vec![(Partition(0), Position(*self.0.end.borrow()))] }
    }

    /// Every page of a read.
    fn pages(&self, key: &Key, from: usize, limit: u64, backwards: bool) -> Vec<Page> {
        let aggregates = self.0.aggregates.lock().expect("no panic");
        let events = aggregates.get(key).map_or(&[][..], |events| events);
        let limit = usize::try_from(limit).unwrap_or(usize::MAX);
        let wanted: Vec<Event> = match backwards {
            false => events.iter().skip(from).take(limit).cloned().collect(),
            true => events.iter().rev().take(limit).cloned().collect(),
        };
        let end = PageEnd {
            first: Order::FIRST,
            next: Order(events.len() as u64),
            exists: !events.is_empty(),
            is_complete: wanted.len() == events.len().saturating_sub(from),
            layout: Layout::OnePartition,
        };
        let (mut pages, mut page, mut bytes) = (Vec::new(), Page::default(), 0);
        for event in wanted {
            if bytes + event.content_bytes() > 1024 * 1024 && !page.events.is_empty() {
                pages.push(std::mem::take(&mut page));
                bytes = 0;
            }
            bytes += event.content_bytes();
            page.events.push(event);
        }
        pages.push(Page { end: Some(end), ..page });
        pages
    }
}

#[async_trait]
impl EventStore for Shelf {
    async fn append(&self, append: Append) -> Result<Appended, AppendFailure> {
        assert!(append.key.as_ref() != MINE, "on purpose");
        self.0.asked.fetch_add(1, Ordering::SeqCst);
        let timeout = append.timeout.unwrap_or(std::time::Duration::from_secs(3_600));
        match tokio::time::timeout(timeout, self.0.open.acquire()).await {
            Ok(permit) => permit.expect("nobody closes it").forget(),
            Err(_) => {
                let failure = Failure::new(Reason::NotSent, "the time was over before it was sent");
                return Err(AppendFailure::NotStored(failure));
            }
        }
        self.store(append)
    }

    async fn append_stream(
        &self,
        mut appends: BoxStream<TaggedAppend>,
    ) -> Result<BoxStream<TaggedAnswer>, Failure> {
        let (answers, out) = mpsc::unbounded_channel();
        let shelf = self.clone();
        tokio::spawn(async move {
            let mut last: HashMap<Key, watch::Receiver<Option<bool>>> = HashMap::new();
            while let Some(TaggedAppend { tag, append, stands_alone }) = appends.next().await {
                shelf.0.taken.fetch_add(1, Ordering::SeqCst);
                let (stored, is_stored) = watch::channel(None);
                let before = last.insert(append.key.clone(), is_stored);
                let (shelf, answers) = (shelf.clone(), answers.clone());
                tokio::spawn(async move {
                    let is_before_stored = match before {
                        None => true,
                        Some(mut before) => {
                            before.wait_for(Option::is_some).await.is_ok_and(|stored| *stored == Some(true))
                        }
                    };
                    let answer = if is_before_stored || stands_alone {
                        shelf.append(append).await
                    } else {
                        let failure =
                            Failure::new(Reason::PredecessorFailed, "the one before it was not stored");
                        Err(AppendFailure::NotStored(failure))
                    };
                    stored.send_replace(Some(answer.is_ok()));
                    let _ = answers.send(TaggedAnswer { tag, answer });
                });
            }
        });
        Ok(Box::pin(UnboundedReceiverStream::new(out)))
    }

    async fn read(&self, read: Read) -> Result<BoxStream<Result<Page, Failure>>, Failure> {
        assert!(read.key.as_ref() != MINE, "on purpose");
        nothing_of(read.key.as_ref()).await;
        let from = read.from.map_or(0, |from| from.0 as usize);
        let pages = self.pages(&read.key, from, read.limit, read.direction == bkes_api::Direction::Backwards);
        Ok(Box::pin(tokio_stream::iter(pages.into_iter().map(Ok))))
    }

    async fn read_many(&self, read: ReadMany) -> Result<BoxStream<Result<KeyedPage, Failure>>, Failure> {
        nothing_of(read.keys[0].as_ref()).await;
        let mut pages = Vec::new();
        for key in &read.keys {
            let of_key = self.pages(key, read.from.0 as usize, read.limit, false);
            pages.extend(of_key.into_iter().map(|page| Ok(KeyedPage { key: key.clone(), page })));
        }
        Ok(Box::pin(tokio_stream::iter(pages)))
    }

    async fn head(&self, key: Key, _: Freshness) -> Result<Option<Head>, Failure> {
        nothing_of(key.as_ref()).await;
        let aggregates = self.0.aggregates.lock().expect("no panic");
        Ok(aggregates.get(&key).and_then(|events| events.last()).map(|last| Head {
            first: Order::FIRST,
            next: Order(last.order.0 + 1),
            partition: last.partition,
            offset: last.offset,
            timestamp: last.timestamp,
            layout: Layout::OnePartition,
        }))
    }

    async fn keys(&self, request: KeysRequest) -> Result<KeyList, Failure> {
        nothing_of(&request.prefix).await;
        let aggregates = self.0.aggregates.lock().expect("no panic");
        let mut wanted = aggregates.iter().filter(|(key, _)| {
            key.bytes().starts_with(&request.prefix)
                && request.after.as_ref().is_none_or(|after| *key > after)
        });
        let listed = |(key, events): (&Key, &Vec<Event>)| ListedKey {
            key: key.clone(),
            next: Order(events.len() as u64),
            partitions: vec![Partition(0)],
        };
        let keys = wanted.by_ref().take(request.keys_max).map(listed).collect();
        Ok(KeyList { keys, more: wanted.next().is_some() })
    }

    async fn follow(&self, follow: Follow) -> Result<BoxStream<Result<FollowItem, Failure>>, Failure> {
        if let Followed::Prefix(prefix) = &follow.followed {
            nothing_of(prefix).await;
        }
        let mut news = self.0.news.subscribe();
        let (items, out) = mpsc::unbounded_channel();
        let is_followed = move |followed: &FollowedEvent| match &follow.followed {
            Followed::Key(key) => followed.key == *key,
            Followed::Prefix(prefix) => followed.key.bytes().starts_with(prefix),
            _ => true,
        };
        if follow.from == FollowFrom::Beginning {
            let aggregates = self.0.aggregates.lock().expect("no panic");
            let all = aggregates.iter().flat_map(|(key, events)| {
                events.iter().map(|event| FollowedEvent { key: key.clone(), event: event.clone() })
            });
            let mut past: Vec<FollowedEvent> = all.filter(&is_followed).collect();
            past.sort_by_key(|followed| followed.event.offset);
            let _ = items.send(Ok(FollowItem::Events(past)));
        }
        let _ = items.send(Ok(FollowItem::CaughtUp));
        let _ = items.send(Ok(FollowItem::Positions(self.positions())));
        tokio::spawn(async move {
            while let Ok(followed) = news.recv().await {
                if is_followed(&followed) && items.send(Ok(FollowItem::Events(vec![followed]))).is_err() {
                    return;
                }
            }
        });
        Ok(Box::pin(UnboundedReceiverStream::new(out)))
    }

    async fn wait_for(&self, wait: WaitFor) -> Result<(), Failure> {
        let wanted = wait.positions.get(Partition(0)).unwrap_or(Position::START);
        let mut end = self.0.end.subscribe();
        let reached = tokio::time::timeout(wait.timeout, end.wait_for(|end| *end >= wanted.0)).await;
        reached.map(|_| ()).map_err(|_| Failure::new(Reason::DeadlineExceeded, "it did not come"))
    }

    async fn status(&self) -> Result<Status, Failure> {
        let end = Position(*self.0.end.borrow());
        let partition = PartitionStatus {
            partition: Partition(0),
            state: PartitionState::Ready,
            applied: end,
            stored: end,
            target: end,
            high: end,
            lag: 0,
            counters: Counters::default(),
        };
        Ok(Status {
            build: Build { name: "shelf".into(), version: "1".into() },
            cluster: "none".into(),
            topic: "events".into(),
            topic_id: Shelf::topic(),
            unready: None,
            partitions: vec![partition],
            keys: self.0.aggregates.lock().expect("no panic").len() as u64,
            store_bytes: 0,
            appended: 0,
            conflicts: 0,
            unknown: 0,
        })
    }
}
