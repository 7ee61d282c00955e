//! An engine on a memory log, and a store that lets others in while it is asked.

use super::{Answer, Bench};
use bkes_core::{Key, Partition};
use bkes_engine::{EngineOptions, Expected};
use bkes_storage::{
    Durability, EventOutline, Heads, KeyPage, KeyRange, Loaded, MemoryStore, OutlinePart, ReadPart, Store,
    StoreBatch, StoreError, StoreIdentity, StoreStats, StoredEvent,
};
use bkes_testkit::log::{Faults, SimulatedLog as MemoryLog};
use bytes::Bytes;
use std::num::NonZeroU32;
use std::ops::{Deref, DerefMut};
use std::sync::{Arc, Mutex};

type Hook = Box<dyn FnOnce() + Send>;

/// A memory store; the next look-up lets somebody else in first.
#[derive(Default)]
pub struct OpenStore {
    inner: MemoryStore,
    hook: Mutex<Option<Hook>>,
}

impl OpenStore {
    /// Runs `hook` in the middle of the next look-up.
    pub fn let_in(&self, hook: impl FnOnce() + Send + 'static) {
        *self.hook.lock().expect("no panic") = Some(Box::new(hook));
    }
}

/// A bench, and the log and the store that it is on.
pub struct Scene {
    pub log: MemoryLog,
    pub store: Arc<OpenStore>,
    bench: Bench,
}

impl Deref for Scene {
    type Target = Bench;

    fn deref(&self) -> &Bench {
        &self.bench
    }
}

impl DerefMut for Scene {
    fn deref_mut(&mut self) -> &mut Bench {
        &mut self.bench
    }
}

impl Scene {
    /// One partition, one owner.
    pub fn new(faults: Faults) -> Scene {
        Scene::on(MemoryLog::with_faults("topic", NonZeroU32::MIN, faults, 1), 1)
    }

    /// An engine with so many owners on a log.
    pub fn on(log: MemoryLog, owners: usize) -> Scene {
        Scene::with(log, Arc::default(), EngineOptions { threads: owners, ..EngineOptions::default() })
    }

    /// An engine on a log and on a store that may hold something.
    pub fn with(log: MemoryLog, store: Arc<OpenStore>, options: EngineOptions) -> Scene {
        let on: Arc<dyn Store> = Arc::clone(&store) as Arc<dyn Store>;
        let bench = Bench::with(log.clone(), on, options);
        Scene { log, store, bench }
    }

    /// An append of one event, not decided yet.
    pub fn append_one(&self, name: &str, expected: Expected) -> Answer {
        self.append(name, expected, &["value"])
    }

    /// Somebody who does not know BKES writes an event.
    pub fn foreign(&self, partition: u32, name: &str, value: &'static str) {
        let key = Key::new(name.to_owned()).expect("not empty");
        let value = Some(Bytes::from_static(value.as_bytes()));
        self.log.append_foreign(Partition(partition), Some(key.bytes().clone()), value, Vec::new());
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

    fn keys(&self, range: KeyRange<'_>) -> Result<KeyPage, StoreError> {
        self.inner.keys(range)
    }

    fn read(&self, part: ReadPart<'_>, out: &mut Vec<StoredEvent>) -> Result<(), StoreError> {
        self.inner.read(part, out)
    }

    fn outlines(&self, part: OutlinePart<'_>, out: &mut Vec<EventOutline>) -> Result<(), StoreError> {
        self.inner.outlines(part, out)
    }

    fn commit(&self, batch: &StoreBatch, durability: Durability) -> Result<(), StoreError> {
        self.inner.commit(batch, durability)
    }

    fn reopen(&self) -> Result<Loaded, StoreError> {
        self.inner.reopen()
    }

    fn drop_partition(&self, partition: Partition) -> Result<(), StoreError> {
        self.inner.drop_partition(partition)
    }

    fn sweep(&self) -> Result<bool, StoreError> {
        self.inner.sweep()
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
