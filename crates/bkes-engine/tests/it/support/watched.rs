//! A store that crashes and fails on demand, and lets others in at the moments that matter.

use bkes_core::{Key, Partition};
use bkes_storage::{
    Durability, EventOutline, Heads, KeyPage, KeyRange, Loaded, OffsetPart, OutlinePart, ReadPart, Store,
    StoreBatch, StoreError, StoreIdentity, StoreStats, StoredEvent,
};
use bkes_testkit::store::SimulatedStore;
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};

pub type Hook = Box<dyn FnOnce() + Send>;

/// A store that lets others in at the moments that matter.
#[derive(Default)]
pub struct Watched {
    pub inner: SimulatedStore,
    /// Before the next look for where aggregates stand.
    pub before_heads: Mutex<Option<Hook>>,
    /// Before the next look for events of the past.
    pub before_look: Mutex<Option<Hook>>,
    /// After the next time it was opened anew, before anybody is told what it lost.
    pub after_reopen: Mutex<Option<Hook>>,
    resets: AtomicUsize,
}

impl Watched {
    /// How often it was emptied.
    pub fn resets(&self) -> usize {
        self.resets.load(Ordering::Relaxed)
    }
}

fn happen(hook: &Mutex<Option<Hook>>) {
    let hook = hook.lock().expect("no panic").take();
    if let Some(hook) = hook {
        hook();
    }
}

impl Store for Watched {
    fn load(&self) -> Result<Loaded, StoreError> {
        self.inner.load()
    }

    fn set_identity(&self, identity: &StoreIdentity) -> Result<(), StoreError> {
        self.inner.set_identity(identity)
    }

    fn heads(&self, keys: &[Key], out: &mut Vec<Heads>) -> Result<(), StoreError> {
        happen(&self.before_heads);
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

    fn outlines_from(
        &self,
        parts: &[OffsetPart<'_>],
        out: &mut Vec<Vec<EventOutline>>,
    ) -> Result<(), StoreError> {
        happen(&self.before_look);
        self.inner.outlines_from(parts, out)
    }

    fn commit(&self, batch: &StoreBatch, durability: Durability) -> Result<(), StoreError> {
        self.inner.commit(batch, durability)
    }

    fn reopen(&self) -> Result<Loaded, StoreError> {
        let loaded = self.inner.reopen()?;
        happen(&self.after_reopen);
        Ok(loaded)
    }

    fn drop_partition(&self, partition: Partition) -> Result<(), StoreError> {
        self.inner.drop_partition(partition)
    }

    fn sweep(&self) -> Result<bool, StoreError> {
        self.inner.sweep()
    }

    fn reset(&self) -> Result<(), StoreError> {
        self.resets.fetch_add(1, Ordering::Relaxed);
        self.inner.reset()
    }

    fn close(&self) -> Result<(), StoreError> {
        self.inner.close()
    }

    fn stats(&self) -> StoreStats {
        self.inner.stats()
    }
}
