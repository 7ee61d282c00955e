//! Following an engine with its threads, while many append.

use crate::support::follows::{Shown, all, model, of};
use bkes_api::{BoxStream, Failure, Follow, FollowFrom, FollowItem, Followed, Reason};
use bkes_core::{Key, Order, Partition, Position};
use bkes_engine::{AppendRequest, Engine, EngineHandle, EngineOptions, Expected};
use bkes_log::{Log, LogAppender, LogError, LogIdentity, LogReader, ReadEvent, Waker, Watermarks};
use bkes_storage::{MemoryStore, RedbOptions, RedbStore};
use bkes_testkit::log::SimulatedLog as MemoryLog;
use bytes::Bytes;
use std::collections::{BTreeSet, VecDeque};
use std::num::NonZeroU32;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;
use tokio_stream::StreamExt;

const PATIENCE: Duration = Duration::from_secs(60);

/// Appends so many events to each of its keys, some in batches.
async fn append(handle: EngineHandle, writer: u32, keys: u32, rounds: u32) {
    for round in 0..rounds {
        for key in 0..keys {
            let name = Key::new(format!("{writer}-{key}")).expect("not empty");
            let expected = match round {
                0 => Expected::New,
                round => Expected::At(Order(u64::from(round) * 2)),
            };
            let values = [0, 1].map(|half| Bytes::from(format!("{writer} {key} {round} {half}")));
            let request = AppendRequest::of_values(name, expected, values);
            handle.append(request).await.expect("it is the next order");
        }
    }
}

/// Takes events until there are so many.
async fn follow(handle: EngineHandle, follow: Follow, count: usize, slow: bool) -> Vec<Shown> {
    let mut stream = handle.follow(follow).await.expect("following is begun");
    let mut shown = Vec::new();
    while shown.len() < count {
        let item = tokio::time::timeout(PATIENCE, stream.next()).await.expect("in time");
        match item.expect("it goes on").expect("no failure") {
            FollowItem::Events(events) => shown.extend(events.into_iter().map(|followed| {
                let event = followed.event;
                let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
                let (key, value) = (text(followed.key.as_ref()), text(event.value_bytes()));
                (event.partition.0, event.offset.0, key, event.order.0, value)
            })),
            _ => continue,
        }
        if slow {
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
    }
    shown
}

async fn catch_up_under_load(engine: &Engine, log: &MemoryLog) {
    let handle = engine.handle();
    tokio::time::timeout(PATIENCE, handle.ready()).await.expect("it is ready in time");
    // There is a past.
    append(handle.clone(), 9, 50, 10).await;
    let (writers, keys, rounds) = (4, 20, 40);
    let count = (50 * 10 + writers * keys * rounds) as usize * 2;
    let appending: Vec<_> =
        (0..writers).map(|writer| tokio::spawn(append(handle.clone(), writer, keys, rounds))).collect();
    let following: Vec<_> = (0..6)
        .map(|number| {
            tokio::spawn(follow(handle.clone(), all(FollowFrom::Beginning), count, number % 2 == 1))
        })
        .collect();
    let key = Followed::Key(Key::new("2-7").expect("not empty"));
    let of_key =
        tokio::spawn(follow(handle.clone(), of(key, FollowFrom::Beginning), 2 * rounds as usize, false));
    for appending in appending {
        appending.await.expect("no panic");
    }
    let expected: Vec<Vec<Shown>> = (0..2)
        .map(|partition| {
            let appends = model(partition, log.records(Partition(partition)));
            appends.into_iter().flat_map(|(_, append)| append).collect()
        })
        .collect();
    assert_eq!(expected.iter().map(Vec::len).sum::<usize>(), count);
    for following in following {
        let shown = following.await.expect("no panic");
        for partition in 0..2 {
            let of: Vec<Shown> = shown.iter().filter(|shown| shown.0 == partition).cloned().collect();
            assert!(of == expected[partition as usize], "nothing is lost, doubled or out of order");
        }
    }
    let orders: BTreeSet<u64> = of_key.await.expect("no panic").into_iter().map(|shown| shown.3).collect();
    assert_eq!(orders.len(), 2 * rounds as usize);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn whoever_catches_up_under_load_has_every_event_once() {
    let directory = tempfile::tempdir().expect("a directory");
    // With room for all, for little, and for less than those need who take at once.
    for (on_disk, feed_bytes_max) in [(false, 32 << 20), (false, 20_000), (true, 100_000), (true, 1_000)] {
        let log = MemoryLog::new("topic", NonZeroU32::new(2).expect("two"));
        let store: Arc<dyn bkes_storage::Store> = if on_disk {
            let name = feed_bytes_max.to_string();
            let options = RedbOptions { directory: directory.path().join(name), cache_bytes: 1024 * 1024 };
            Arc::new(RedbStore::open(&options).expect("the store opens").store)
        } else {
            Arc::new(MemoryStore::new())
        };
        let options = EngineOptions { threads: 2, feed_bytes_max, ..EngineOptions::default() };
        let engine = Engine::start(Arc::new(log.clone()), store, options).expect("it starts");
        catch_up_under_load(&engine, &log).await;
        tokio::task::spawn_blocking(move || engine.stop(Duration::from_secs(5)).expect("it closes"))
            .await
            .expect("no panic");
    }
}

async fn next(stream: &mut BoxStream<Result<FollowItem, Failure>>) -> Option<Result<FollowItem, Failure>> {
    tokio::time::timeout(PATIENCE, stream.next()).await.expect("in time")
}

/// A stream that waits for what comes next is woken for the stop, and for positions, by the clock alone.
#[tokio::test]
async fn whoever_waits_is_told_positions_by_the_clock_and_of_the_stop() {
    let log = MemoryLog::new("topic", NonZeroU32::MIN);
    let engine = Engine::start(Arc::new(log), Arc::new(MemoryStore::new()), EngineOptions::default())
        .expect("it starts");
    let handle = engine.handle();
    handle.ready().await;
    let mut stream = handle.follow(all(FollowFrom::Now)).await.expect("following is begun");
    assert_eq!(next(&mut stream).await, Some(Ok(FollowItem::CaughtUp)));
    let told = next(&mut stream).await;
    assert!(matches!(told, Some(Ok(FollowItem::Positions(_)))), "{told:?}");
    append(handle.clone(), 1, 1, 1).await;
    let events = next(&mut stream).await;
    assert!(matches!(&events, Some(Ok(FollowItem::Events(events))) if events.len() == 2), "{events:?}");
    let told = next(&mut stream).await;
    assert!(matches!(told, Some(Ok(FollowItem::Positions(_)))), "{told:?}");
    let stopping = tokio::task::spawn_blocking(move || engine.stop(Duration::from_secs(5)));
    let told = next(&mut stream).await;
    assert!(matches!(told, Some(Ok(FollowItem::Positions(_)))), "{told:?}");
    let failure = next(&mut stream).await.expect("the cause").expect_err("a failure");
    assert_eq!(failure.reason, Reason::ShuttingDown);
    assert_eq!(next(&mut stream).await, None);
    stopping.await.expect("no panic").expect("it closes");
}

/// What happens at each of the next looks of whoever follows, which find nothing then.
type Looks = Arc<Mutex<VecDeque<Box<dyn FnOnce() + Send>>>>;

/// A log in which somebody who follows finds nothing at the next looks, and something happens meanwhile.
struct Meanwhile {
    inner: MemoryLog,
    looks: Looks,
    owner_reads: AtomicBool,
}

struct MeanwhileReader {
    inner: Box<dyn LogReader>,
    looks: Looks,
}

impl LogReader for MeanwhileReader {
    fn assign(&mut self, partition: Partition, from: Position) {
        self.inner.assign(partition, from);
    }

    fn poll(&mut self, records_max: usize, out: &mut Vec<ReadEvent>) {
        let look = self.looks.lock().expect("no panic").pop_front();
        match look {
            Some(meanwhile) => meanwhile(),
            None => self.inner.poll(records_max, out),
        }
    }
}

impl Log for Meanwhile {
    fn identity(&self) -> Result<LogIdentity, LogError> {
        self.inner.identity()
    }

    fn partition_count(&self) -> Result<NonZeroU32, LogError> {
        self.inner.partition_count()
    }

    fn watermarks(&self, partition: Partition) -> Result<Watermarks, LogError> {
        self.inner.watermarks(partition)
    }

    fn record_bytes_max(&self) -> u64 {
        self.inner.record_bytes_max()
    }

    /// The first one is the owner's.
    fn reader(&self, waker: Waker) -> Result<Box<dyn LogReader>, LogError> {
        let inner = self.inner.reader(waker)?;
        if !self.owner_reads.swap(true, Ordering::SeqCst) {
            return Ok(inner);
        }
        Ok(Box::new(MeanwhileReader { inner, looks: Arc::clone(&self.looks) }))
    }

    fn appender(&self, waker: Waker) -> Result<Box<dyn LogAppender>, LogError> {
        self.inner.appender(waker)
    }
}

/// A wake that came while a step was made off the executor found the task waiting for the step, and no later one reached it: a follower
/// under load rested for ever.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_decided_while_the_past_is_looked_at_is_not_slept_through() {
    let (inner, looks) = (MemoryLog::new("topic", NonZeroU32::MIN), Looks::default());
    let log = Meanwhile { inner, looks: Arc::clone(&looks), owner_reads: AtomicBool::new(false) };
    // With no room in the feed everything is read from the log.
    let options = EngineOptions { feed_bytes_max: 0, ..EngineOptions::default() };
    let engine = Engine::start(Arc::new(log), Arc::new(MemoryStore::new()), options).expect("it starts");
    let handle = engine.handle();
    handle.ready().await;
    let mut stream = handle.follow(all(FollowFrom::Beginning)).await.expect("following is begun");
    append(handle.clone(), 1, 1, 1).await;
    take(&mut stream, 2).await;
    // The positions are due: they are told at the first look that finds nothing, and at the second there is nothing left to be told, so
    // that no clock ends the rest.
    tokio::time::sleep(Duration::from_millis(1_100)).await;
    let (later, runtime) = (handle.clone(), tokio::runtime::Handle::current());
    let meanwhile = move || {
        runtime.block_on(append(later, 2, 1, 1));
        // The owner's step ends, and wakes all who follow.
        std::thread::sleep(Duration::from_millis(50));
    };
    looks
        .lock()
        .expect("no panic")
        .extend([Box::new(|| {}) as Box<dyn FnOnce() + Send>, Box::new(meanwhile)]);
    append(handle.clone(), 3, 1, 1).await;
    take(&mut stream, 4).await;
    assert!(looks.lock().expect("no panic").is_empty(), "it has looked");
    tokio::task::spawn_blocking(move || engine.stop(Duration::from_secs(5)).expect("it closes"))
        .await
        .expect("no panic");
}

/// Takes so many events.
async fn take(stream: &mut BoxStream<Result<FollowItem, Failure>>, events: usize) {
    let mut shown = 0;
    while shown < events {
        if let FollowItem::Events(events) = next(stream).await.expect("it goes on").expect("no failure") {
            shown += events.len();
        }
    }
}
