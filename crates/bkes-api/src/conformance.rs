//! What every implementation of [`EventStore`] must show, as tests that any of them runs: see [`check`].
//!
//! Keys are made up anew for each run, so that the suite can run on a topic that is in use.

mod appends;
mod conflicts;
mod deciding;
mod follow;
mod ids;
mod lists;
mod reads;
mod streams;
mod waiting;

use crate::append::{Append, AppendFailure, Appended};
use crate::event::Event;
use crate::failure::{Failure, Reason};
use crate::positions::{Positions, TopicId};
use crate::read::{Page, PageEnd, Read};
use crate::store::{BoxStream, EventStore};
use async_trait::async_trait;
use bkes_core::{Key, Order, Partition, Position};
use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};
use tokio_stream::StreamExt;

/// How long the suite waits for something that must come.
const PATIENCE: Duration = Duration::from_secs(60);

/// What the suite runs on.
#[derive(Clone)]
pub struct Subject {
    /// The store, ready.
    pub store: Arc<dyn EventStore>,
    /// Another instance of the same topic, ready, if there can be one.
    pub other: Option<Arc<dyn EventStore>>,
    /// Consumer groups of the topic, if it can have any.
    pub groups: Option<Arc<dyn Groups>>,
}

/// What consumers of the topic do.
#[async_trait]
pub trait Groups: Send + Sync {
    /// Has a consumer group commit a position.
    async fn commit(&self, group: &str, partition: Partition, position: Position);
}

/// Runs the whole suite. Panics with a readable message at the first thing that does not hold.
pub async fn check(subject: Subject) {
    let run = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |now| now.as_nanos());
    let suite = Suite { subject, run };
    appends::check(&suite).await;
    ids::check(&suite).await;
    conflicts::check(&suite).await;
    streams::check(&suite).await;
    reads::check(&suite).await;
    lists::check(&suite).await;
    follow::check(&suite).await;
    waiting::check(&suite).await;
    deciding::check(&suite).await;
}

/// What the checks share.
struct Suite {
    subject: Subject,
    run: u128,
}

impl Suite {
    fn store(&self) -> &dyn EventStore {
        &*self.subject.store
    }

    /// The other instance, or the same one where there is no other.
    fn other(&self) -> &dyn EventStore {
        self.subject.other.as_deref().unwrap_or(self.store())
    }

    /// A key that nobody else uses.
    fn key(&self, name: &str) -> Key {
        Key::new(format!("suite-{}-{name}", self.run)).expect("it has bytes")
    }

    async fn append(&self, append: Append) -> Result<Appended, AppendFailure> {
        within(self.store().append(append)).await
    }

    /// An append that must be stored.
    #[track_caller]
    fn stored(&self, append: Append) -> impl Future<Output = Appended> {
        let named = format!("{append:?}");
        async move { self.append(append).await.unwrap_or_else(|failure| panic!("{named}: {failure:?}")) }
    }

    /// An aggregate of so many events with the values `0`, `1`, ...
    async fn aggregate(&self, name: &str, events: usize) -> Key {
        let key = self.key(name);
        for begin in (0..events).step_by(1_000) {
            let values = (begin..events.min(begin + 1_000)).map(|index| index.to_string());
            self.stored(Append::at(key.clone(), Order(begin as u64)).events(values)).await;
        }
        key
    }

    async fn pages(&self, read: Read) -> Vec<Page> {
        pages(within(self.store().read(read)).await.expect("it begins")).await.expect("it is read")
    }

    /// All events of a read, and its end.
    async fn read(&self, read: Read) -> (Vec<Event>, PageEnd) {
        let mut pages = self.pages(read).await;
        let end = pages.last_mut().and_then(|page| page.end.take()).expect("the last page has an end");
        assert!(pages.iter().all(|page| page.end.is_none()), "only the last page has an end");
        (pages.into_iter().flat_map(|page| page.events).collect(), end)
    }

    /// The values of a read, as text.
    async fn values(&self, read: Read) -> Vec<String> {
        texts(&self.read(read).await.0)
    }
}

/// All pages of a stream, or its error.
async fn pages(mut stream: BoxStream<Result<Page, Failure>>) -> Result<Vec<Page>, Failure> {
    let mut pages = Vec::new();
    while let Some(page) = within(stream.next()).await {
        pages.push(page?);
    }
    Ok(pages)
}

/// Why a read is refused: at once, or in its stream.
async fn refusal(store: &dyn EventStore, read: Read) -> Failure {
    let named = format!("{read:?}");
    match within(store.read(read)).await {
        Err(failure) => failure,
        Ok(stream) => pages(stream).await.err().unwrap_or_else(|| panic!("not refused: {named}")),
    }
}

fn texts(events: &[Event]) -> Vec<String> {
    events.iter().map(|event| String::from_utf8_lossy(event.value_bytes()).into_owned()).collect()
}

/// What must come in time.
async fn within<T>(future: impl Future<Output = T>) -> T {
    tokio::time::timeout(PATIENCE, future).await.expect("it comes in time")
}

/// Positions that make no sense to wait for, beside one that does: what they are, and why they are refused.
fn wrong_positions(stored: &Appended) -> [(&'static str, Positions, Reason); 3] {
    let mine = stored.position();
    let of = |partition, position| Positions { of: vec![(partition, position)], ..mine.clone() };
    let above = of(stored.partition, Position(stored.last_offset.0 + 1_000_000));
    let unknown = of(Partition(9_999), Position(1));
    let foreign = Positions { topic: Some(TopicId::new("of-another-topic")), ..mine };
    [
        ("above", above, Reason::OutOfRange),
        ("foreign", foreign, Reason::ForeignPositions),
        ("unknown", unknown, Reason::OutOfRange),
    ]
}

/// That an append failed so.
#[track_caller]
fn failed(answer: Result<Appended, AppendFailure>, reason: Reason) -> AppendFailure {
    let failure = answer.expect_err("it is not stored");
    assert_eq!(failure.reason(), reason, "{failure:?}");
    assert_eq!(failure.class(), reason.class(), "{failure:?}");
    assert!(!failure.to_string().is_empty(), "a failure has words for people");
    failure
}
