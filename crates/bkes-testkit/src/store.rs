//! A store in memory that crashes and fails on demand: a [`MemoryStore`], and what a crash would leave of it.
//!
//! It honours durability: [`SimulatedStore::crash`] falls back to the last durable commit, as a killed process would find it.

use bkes_core::{Key, Partition};
use bkes_storage::{
    Durability, EventOutline, Heads, KeyPage, KeyRange, Loaded, MemoryStore, OutlinePart, ReadPart, Store,
    StoreBatch, StoreError, StoreIdentity, StoreStats, StoredEvent,
};
use std::io;
use std::sync::{Mutex, MutexGuard, PoisonError};

#[derive(Default)]
struct State {
    visible: MemoryStore,
    /// What a crash leaves.
    durable: MemoryStore,
    write_fails: Option<String>,
    /// Writing failed and the store was not opened anew.
    broken: Option<String>,
    damaged: Option<String>,
    closed: bool,
}

impl State {
    /// All that was committed is durable now.
    fn make_lasting(&mut self) {
        self.durable = self.visible.snapshot();
    }
}

/// The store.
#[derive(Default)]
pub struct SimulatedStore(Mutex<State>);

impl SimulatedStore {
    /// An empty store.
    pub fn new() -> SimulatedStore {
        SimulatedStore::default()
    }

    /// What was not durable is gone, and the store is open again.
    pub fn crash(&self) {
        let mut state = self.lock();
        state.visible = state.durable.snapshot();
        state.closed = false;
        state.broken = None;
    }

    /// Every write fails from now on with this, or works again.
    pub fn fail_writes(&self, detail: Option<&str>) {
        self.lock().write_fails = detail.map(Into::into);
    }

    /// Every look-up finds damage until the store is reset.
    pub fn damage(&self, detail: &str) {
        self.lock().damaged = Some(detail.into());
    }

    /// A panic elsewhere leaves the content whole: it is replaced, never half-written.
    fn lock(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn readable(&self) -> Result<MutexGuard<'_, State>, StoreError> {
        let state = self.lock();
        if state.closed {
            return Err(StoreError::Closed);
        }
        match &state.damaged {
            Some(detail) => Err(StoreError::Damaged { detail: detail.clone() }),
            None => Ok(state),
        }
    }

    fn writable(&self) -> Result<MutexGuard<'_, State>, StoreError> {
        let mut state = self.readable()?;
        if let Some(detail) = state.write_fails.clone() {
            state.broken = Some(detail);
        }
        match &state.broken {
            Some(detail) => Err(StoreError::WriteFailed { source: io::Error::other(detail.clone()) }),
            None => Ok(state),
        }
    }
}

impl Store for SimulatedStore {
    fn load(&self) -> Result<Loaded, StoreError> {
        self.readable()?.visible.load()
    }

    fn set_identity(&self, identity: &StoreIdentity) -> Result<(), StoreError> {
        let mut state = self.writable()?;
        state.visible.set_identity(identity)?;
        state.make_lasting();
        Ok(())
    }

    fn heads(&self, keys: &[Key], out: &mut Vec<Heads>) -> Result<(), StoreError> {
        self.readable()?.visible.heads(keys, out)
    }

    fn keys(&self, range: KeyRange<'_>) -> Result<KeyPage, StoreError> {
        self.readable()?.visible.keys(range)
    }

    fn read(&self, part: ReadPart<'_>, out: &mut Vec<StoredEvent>) -> Result<(), StoreError> {
        self.readable()?.visible.read(part, out)
    }

    fn outlines(&self, part: OutlinePart<'_>, out: &mut Vec<EventOutline>) -> Result<(), StoreError> {
        self.readable()?.visible.outlines(part, out)
    }

    fn commit(&self, batch: &StoreBatch, durability: Durability) -> Result<(), StoreError> {
        let mut state = self.writable()?;
        state.visible.commit(batch, durability)?;
        if durability == Durability::Immediate {
            state.make_lasting();
        }
        Ok(())
    }

    fn reopen(&self) -> Result<Loaded, StoreError> {
        let mut state = self.readable()?;
        if let Some(detail) = &state.write_fails {
            return Err(StoreError::WriteFailed { source: io::Error::other(detail.clone()) });
        }
        state.broken = None;
        state.visible = state.durable.snapshot();
        state.visible.load()
    }

    fn drop_partition(&self, partition: Partition) -> Result<(), StoreError> {
        let mut state = self.writable()?;
        state.visible.drop_partition(partition)?;
        state.make_lasting();
        Ok(())
    }

    fn sweep(&self) -> Result<bool, StoreError> {
        self.writable()?.visible.sweep()
    }

    fn reset(&self) -> Result<(), StoreError> {
        let mut state = self.lock();
        if state.closed {
            return Err(StoreError::Closed);
        }
        state.damaged = None;
        state.broken = None;
        state.visible = MemoryStore::new();
        state.durable = MemoryStore::new();
        Ok(())
    }

    fn close(&self) -> Result<(), StoreError> {
        let mut state = self.readable()?;
        state.make_lasting();
        state.closed = true;
        Ok(())
    }

    fn stats(&self) -> StoreStats {
        self.lock().visible.stats()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use bkes_storage::conformance::{self, Bench};

    struct Simulated;

    impl Bench for Simulated {
        type Store = SimulatedStore;

        fn fresh(&mut self) -> SimulatedStore {
            SimulatedStore::new()
        }

        fn open_again(&mut self, closed: SimulatedStore) -> SimulatedStore {
            closed.crash();
            closed
        }

        fn crash(&mut self, store: SimulatedStore) -> SimulatedStore {
            store.crash();
            store
        }
    }

    #[test]
    fn the_simulated_store_conforms() {
        conformance::check(&mut Simulated);
    }
}
