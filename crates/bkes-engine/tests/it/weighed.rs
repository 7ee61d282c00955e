//! What reads and appends ask of the store, and on which threads: weighed before it is read, and never on a thread that must not wait.

use bkes_core::{Key, Offset, Order, Partition};
use bkes_engine::{AppendRequest, Engine, EngineOptions, Expected, KeysRequest, ReadRequest};
use bkes_storage::{
    Durability, EventOutline, Head, Heads, KeyPage, KeyRange, Loaded, MemoryStore, OutlinePart, ReadPart,
    Store, StoreBatch, StoreError, StoreIdentity, StoreStats, StoredEvent,
};
use bkes_testkit::log::SimulatedLog as MemoryLog;
use bytes::Bytes;
use std::num::NonZeroU32;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Condvar, Mutex};
use std::time::Duration;

/// Far above what anything here takes.
const PATIENCE: Duration = Duration::from_secs(20);

/// Events of the aggregate that is not in the store: it makes them up as they are read.
const EVENTS: u64 = 1_000_000;

/// A store whose disk has readers wait, or is said to.
#[derive(Default)]
struct Slow {
    stored: MemoryStore,
    may_wait: bool,
    /// Look-ups and reads of made-up aggregates wait while it is closed.
    gate: Gate,
    /// Events read.
    read: AtomicUsize,
    /// Reads under way, and the most there ever were.
    under_way: AtomicUsize,
    most: AtomicUsize,
}

/// Closed until it is opened; whoever comes first is noticed.
#[derive(Default)]
struct Gate(Mutex<(bool, Vec<String>)>, Condvar);

impl Gate {
    fn open(&self) {
        self.0.lock().expect("no panic").0 = true;
        self.1.notify_all();
    }

    fn is_open(&self) -> bool {
        self.0.lock().expect("no panic").0
    }

    /// Waits until it is open; notes which thread waits.
    fn pass(&self) {
        let mut state = self.0.lock().expect("no panic");
        state.1.push(std::thread::current().name().unwrap_or_default().to_owned());
        let waited = self.1.wait_timeout_while(state, PATIENCE, |state| !state.0);
        assert!(!waited.expect("no panic").1.timed_out(), "nobody opens the gate: the runtime stands still");
    }

    fn threads(&self) -> Vec<String> {
        self.0.lock().expect("no panic").1.clone()
    }
}

fn key(text: &str) -> Key {
    Key::new(text.to_owned()).expect("not empty")
}

fn is_made_up(key: &Key) -> bool {
    key.as_ref().starts_with(b"made-up")
}

impl Store for Slow {
    fn load(&self) -> Result<Loaded, StoreError> {
        self.stored.load()
    }

    fn set_identity(&self, identity: &StoreIdentity) -> Result<(), StoreError> {
        self.stored.set_identity(identity)
    }

    fn heads(&self, keys: &[Key], out: &mut Vec<Heads>) -> Result<(), StoreError> {
        for key in keys {
            if is_made_up(key) {
                let (partition, base, next) = (Partition(0), Order(0), Order(EVENTS));
                out.push(Heads::One(Head { partition, base, next }));
            } else {
                self.gate.pass();
                self.stored.heads(std::slice::from_ref(key), out)?;
            }
        }
        Ok(())
    }

    fn keys(&self, range: KeyRange<'_>) -> Result<KeyPage, StoreError> {
        let under_way = self.under_way.fetch_add(1, Ordering::AcqRel) + 1;
        self.most.fetch_max(under_way, Ordering::AcqRel);
        self.gate.pass();
        self.under_way.fetch_sub(1, Ordering::AcqRel);
        self.stored.keys(range)
    }

    fn read(&self, part: ReadPart<'_>, out: &mut Vec<StoredEvent>) -> Result<(), StoreError> {
        let under_way = self.under_way.fetch_add(1, Ordering::AcqRel) + 1;
        self.most.fetch_max(under_way, Ordering::AcqRel);
        self.gate.pass();
        let end = EVENTS.min(part.from.0.saturating_add(part.events_max as u64));
        out.extend((part.from.0..end).map(|order| StoredEvent {
            order: Order(order),
            partition: Partition(0),
            offset: Offset(order),
            timestamp: None,
            value: Bytes::from_static(b"x"),
            tombstone: false,
            stamp: None,
            headers: Vec::new(),
        }));
        self.read.fetch_add((end - part.from.0) as usize, Ordering::AcqRel);
        self.under_way.fetch_sub(1, Ordering::AcqRel);
        Ok(())
    }

    fn drop_partition(&self, partition: Partition) -> Result<(), StoreError> {
        self.stored.drop_partition(partition)
    }

    fn sweep(&self) -> Result<bool, StoreError> {
        self.stored.sweep()
    }

    fn reads_may_block(&self) -> bool {
        self.may_wait
    }

    fn outlines(&self, part: OutlinePart<'_>, out: &mut Vec<EventOutline>) -> Result<(), StoreError> {
        self.stored.outlines(part, out)
    }

    fn commit(&self, batch: &StoreBatch, durability: Durability) -> Result<(), StoreError> {
        self.stored.commit(batch, durability)
    }

    fn reopen(&self) -> Result<Loaded, StoreError> {
        self.stored.reopen()
    }

    fn reset(&self) -> Result<(), StoreError> {
        self.stored.reset()
    }

    fn close(&self) -> Result<(), StoreError> {
        self.stored.close()
    }

    fn stats(&self) -> StoreStats {
        self.stored.stats()
    }
}

async fn engine(store: &Arc<Slow>) -> Engine {
    let log = Arc::new(MemoryLog::new("topic", NonZeroU32::MIN));
    let options = EngineOptions::default();
    let engine = Engine::start(log, Arc::clone(store) as Arc<dyn Store>, options).expect("it starts");
    let ready = tokio::time::timeout(PATIENCE, engine.handle().ready()).await;
    ready.expect("it becomes ready");
    engine
}

/// The story: an unpaged read of a million tiny events took 200 MB before it was refused.
#[tokio::test]
async fn a_whole_read_of_too_many_events_reads_none_of_them_and_pages_give_all() {
    let store = Arc::new(Slow::default());
    store.gate.open();
    let engine = engine(&store).await;
    let handle = engine.handle();
    let whole = ReadRequest { events_max: 400_000, whole: true, ..ReadRequest::all(key("made-up")) };
    let refused = handle.read(whole.clone()).await.expect("it is answered");
    assert_eq!((refused.events.len(), refused.more, refused.next), (0, true, Order(EVENTS)));
    assert_eq!(store.read.load(Ordering::Acquire), 0, "nothing was read");
    let (mut from, mut pages) = (Order(0), 0);
    loop {
        let page = ReadRequest { from, events_max: 50_000, ..ReadRequest::all(key("made-up")) };
        let found = handle.read(page).await.expect("it is read");
        assert_eq!(found.events.first().map(|event| event.order), Some(from));
        from = Order(from.0 + found.events.len() as u64);
        pages += 1;
        if !found.more {
            break;
        }
    }
    assert_eq!((from, pages), (Order(EVENTS), 20));
    // What fits is read whole.
    let rest = ReadRequest { from: Order(EVENTS - 400_000), ..whole };
    let found = handle.read(rest).await.expect("it is read");
    assert_eq!((found.events.len(), found.more), (400_000, false));
}

/// The story: hundreds of long reads were made at once, each of the largest size, before any of them was weighed.
#[tokio::test]
async fn long_reads_wait_for_room_before_they_are_made() {
    let store = Arc::new(Slow { may_wait: true, ..Slow::default() });
    let engine = engine(&store).await;
    let read = |n: usize| {
        let handle = engine.handle();
        let key = key(&format!("made-up-{n}"));
        tokio::spawn(async move {
            // 256 MiB are room for three of them.
            let request = ReadRequest { events_max: 1_000, bytes_max: 80 << 20, ..ReadRequest::all(key) };
            handle.read(request).await.map(|found| found.events.len())
        })
    };
    let reads: Vec<_> = (0..12).map(read).collect();
    while store.gate.threads().len() < 3 {
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
    let small = ReadRequest { events_max: 10, bytes_max: 1 << 20, ..ReadRequest::all(key("made-up")) };
    let gone = tokio::time::timeout(Duration::from_millis(20), engine.handle().read(small)).await;
    assert!(gone.is_err(), "it waits behind those that came before it");
    store.gate.open();
    for read in reads {
        let read = tokio::time::timeout(PATIENCE, read).await.expect("each has its turn");
        assert_eq!(read.expect("no panic"), Ok(1_000));
    }
    assert_eq!(store.most.load(Ordering::Acquire), 3);
}

/// A list holds the fields of its keys (4 MB) and their bytes (twice 1 MiB) at most: 256 MiB are room for 44.
#[tokio::test]
async fn lists_wait_for_room_for_their_keys_before_they_are_made() {
    let store = Arc::new(Slow::default());
    let engine = engine(&store).await;
    let list = |_| {
        let handle = engine.handle();
        tokio::spawn(async move { handle.keys(KeysRequest::default()).await.map(|list| list.keys.len()) })
    };
    let lists: Vec<_> = (0..60).map(list).collect();
    while store.gate.threads().len() < 44 {
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
    store.gate.open();
    for list in lists {
        let list = tokio::time::timeout(PATIENCE, list).await.expect("each has its turn");
        assert_eq!(list.expect("no panic"), Ok(0));
    }
    assert_eq!(store.most.load(Ordering::Acquire), 44);
}

/// The story: a lone append was once sent by its caller, and looked up its key on the caller's thread. With a store that is not in
/// memory yet, that was a thread of the executor that waited for the disk, and with it every other call.
#[tokio::test]
async fn an_append_whose_look_up_waits_for_the_disk_does_not_hold_up_the_executor() {
    let store = Arc::new(Slow { may_wait: true, ..Slow::default() });
    let engine = engine(&store).await;
    let handle = engine.handle();
    let request = AppendRequest::of_values(key("key"), Expected::New, vec![Bytes::from_static(b"0")]);
    let append = tokio::spawn(async move { handle.append(request).await });
    // This runs on the only thread of the runtime, while the look-up waits.
    while store.gate.threads().is_empty() {
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
    assert!(!store.gate.is_open());
    store.gate.open();
    let stored = tokio::time::timeout(PATIENCE, append).await.expect("it is answered");
    stored.expect("no panic").expect("it is stored");
    let threads = store.gate.threads();
    assert!(threads.iter().all(|name| name.starts_with("bkes-owner")), "{threads:?}");
}
