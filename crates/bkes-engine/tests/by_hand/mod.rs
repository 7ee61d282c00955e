//! An engine on a memory log, stepped by hand, and a store that lets others in while it is asked.

use bkes_core::sequence::NowMs;
use bkes_core::{Incarnation, Key, Partition};
use bkes_engine::parts::{MonitorPart, OwnerPart, Parts, Step, Surroundings, WriterPart, assemble};
use bkes_engine::{
    AppendError, AppendRequest, Appended, EngineHandle, EngineOptions, Expected, ReadError, ReadRequest,
};
use bkes_log::memory::{Faults, MemoryLog};
use bkes_storage::{
    Durability, Heads, Loaded, MemoryStore, ReadPart, Store, StoreBatch, StoreError, StoreIdentity,
    StoreStats, StoredEvent,
};
use bytes::Bytes;
use std::num::NonZeroU32;
use std::pin::{Pin, pin};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::task::{Context, Poll, Waker};

type Hook = Box<dyn FnOnce() + Send>;

/// A memory store; the next look-up lets somebody else in first.
#[derive(Default)]
pub struct OpenStore {
    inner: MemoryStore,
    hook: Mutex<Option<Hook>>,
}

impl OpenStore {
    /// Runs `hook` in the middle of the next look-up.
    #[allow(dead_code, reason = "not every test lets others in")]
    pub fn let_in(&self, hook: impl FnOnce() + Send + 'static) {
        *self.hook.lock().expect("no panic") = Some(Box::new(hook));
    }
}

/// One engine and the time it lives in.
pub struct Bench {
    pub log: MemoryLog,
    #[allow(dead_code, reason = "not every test lets others in")]
    pub store: Arc<OpenStore>,
    pub handle: EngineHandle,
    pub owners: Vec<Arc<Mutex<OwnerPart>>>,
    pub writer: WriterPart,
    pub monitor: MonitorPart,
    now: Arc<AtomicU64>,
}

pub type Answer = Pin<Box<dyn Future<Output = Result<Appended, AppendError>>>>;

impl Bench {
    /// One partition, one owner.
    #[allow(dead_code, reason = "some tests want more")]
    pub fn new(faults: Faults) -> Bench {
        Bench::on(MemoryLog::with_faults("topic", NonZeroU32::MIN, faults, 1), 1)
    }

    /// An engine with so many owners on a log.
    pub fn on(log: MemoryLog, owners: usize) -> Bench {
        Bench::with(log, Arc::default(), EngineOptions { threads: owners, ..EngineOptions::default() })
    }

    /// An engine on a log and on a store that may hold something.
    pub fn with(log: MemoryLog, store: Arc<OpenStore>, options: EngineOptions) -> Bench {
        let now = Arc::new(AtomicU64::new(1));
        let (time, names) = (Arc::clone(&now), AtomicU64::new(7));
        let surroundings = Surroundings {
            clock: Arc::new(move || time.load(Ordering::Relaxed)),
            draw: Arc::new(move || Incarnation(names.fetch_add(1, Ordering::Relaxed))),
        };
        let on: Arc<dyn Store> = Arc::clone(&store) as Arc<dyn Store>;
        let parts =
            assemble(Arc::new(log.clone()), on, options, surroundings).expect("the engine is assembled");
        let Parts { handle, owners, writer, monitor } = parts;
        let owners = owners.into_iter().map(|owner| Arc::new(Mutex::new(owner))).collect();
        Bench { log, store, handle, owners, writer, monitor, now }
    }

    pub fn now(&self) -> NowMs {
        self.now.load(Ordering::Relaxed)
    }

    /// Steps one owner until it has nothing to do.
    pub fn step_owner(&self, index: usize) {
        let now = self.now();
        while self.owners[index].lock().expect("no panic").step(now) == Step::Busy {}
    }

    /// Steps everything for this long.
    pub fn run(&mut self, duration_ms: u64) {
        for _ in 0..duration_ms {
            let now = self.now.fetch_add(1, Ordering::Relaxed) + 1;
            (0..self.owners.len()).for_each(|index| self.step_owner(index));
            while self.writer.step(now) == Step::Busy {}
            if now.is_multiple_of(100) || self.monitor.take_wake() {
                self.monitor.step();
            }
        }
    }

    pub fn append(&self, name: &str, expected: Expected) -> Answer {
        let request = AppendRequest { key: key(name), expected, values: vec![Bytes::from_static(b"value")] };
        let handle = self.handle.clone();
        Box::pin(async move { handle.append(request).await })
    }

    /// How many events a read shows.
    pub fn count(&self, name: &str) -> Result<usize, ReadError> {
        let read = pin!(self.handle.read(ReadRequest::all(key(name))));
        poll(&mut { read }).expect("short reads do not wait").map(|read| read.events.len())
    }

    /// Somebody who does not know BKES writes an event.
    #[allow(dead_code, reason = "not every test has foreign events")]
    pub fn foreign(&self, partition: u32, name: &str, value: &'static str) {
        let (key, value) = (Some(key(name).bytes().clone()), Some(Bytes::from_static(value.as_bytes())));
        self.log.append_foreign(Partition(partition), key, value, Vec::new());
    }
}

pub fn key(name: &str) -> Key {
    Key::new(name.to_owned()).expect("not empty")
}

pub fn poll<F: Future + Unpin>(future: &mut F) -> Option<F::Output> {
    match Pin::new(future).poll(&mut Context::from_waker(Waker::noop())) {
        Poll::Ready(output) => Some(output),
        Poll::Pending => None,
    }
}

impl Store for OpenStore {
    fn load(&self) -> Result<Loaded, StoreError> {
        self.inner.load()
    }

    fn set_identity(&self, identity: &StoreIdentity) -> Result<(), StoreError> {
        self.inner.set_identity(identity)
    }

    fn heads(&self, keys: &[Key], out: &mut Vec<Heads>) -> Result<(), StoreError> {
        let hook = self.hook.lock().expect("no panic").take();
        if let Some(hook) = hook {
            hook();
        }
        self.inner.heads(keys, out)
    }

    fn read(&self, part: ReadPart<'_>, out: &mut Vec<StoredEvent>) -> Result<(), StoreError> {
        self.inner.read(part, out)
    }

    fn commit(&self, batch: &StoreBatch, durability: Durability) -> Result<(), StoreError> {
        self.inner.commit(batch, durability)
    }

    fn reopen(&self) -> Result<Loaded, StoreError> {
        self.inner.reopen()
    }

    fn reset(&self) -> Result<(), StoreError> {
        self.inner.reset()
    }

    fn close(&self) -> Result<(), StoreError> {
        self.inner.close()
    }

    fn stats(&self) -> StoreStats {
        self.inner.stats()
    }
}
