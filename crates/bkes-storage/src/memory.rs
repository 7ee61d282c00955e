//! A store in memory: the contract at its plainest, with crashes and failures on demand.
//!
//! It honours durability: [`MemoryStore::crash`] falls back to the last lasting commit, as a killed process would find it.

use crate::contract::{
    Checkpoint, Durability, Head, Heads, Loaded, NewEvent, ReadPart, Store, StoreBatch, StoreError,
    StoreIdentity, StoreStats, StoredEvent,
};
use bkes_core::{Incarnation, IncarnationState, Key, Order, Partition};
use std::collections::BTreeMap;
use std::sync::{Mutex, MutexGuard};

#[derive(Clone, Default)]
struct Content {
    identity: Option<StoreIdentity>,
    checkpoints: BTreeMap<Partition, Checkpoint>,
    incarnations: BTreeMap<(Partition, Incarnation), IncarnationState>,
    events: BTreeMap<Key, BTreeMap<Partition, Vec<StoredEvent>>>,
}

#[derive(Default)]
struct State {
    visible: Content,
    /// What a crash leaves.
    lasting: Content,
    write_fails: Option<String>,
    /// Writing failed and the store was not opened anew.
    broken: Option<String>,
    damaged: Option<String>,
    closed: bool,
}

/// A store in memory.
#[derive(Default)]
pub struct MemoryStore(Mutex<State>);

impl MemoryStore {
    /// An empty store.
    pub fn new() -> MemoryStore {
        MemoryStore::default()
    }

    /// What was not lasting is gone, and the store is open again.
    pub fn crash(&self) {
        let mut state = self.lock();
        state.visible = state.lasting.clone();
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
        self.0.lock().unwrap_or_else(std::sync::PoisonError::into_inner)
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
            Some(detail) => Err(StoreError::WriteFailed { detail: detail.clone() }),
            None => Ok(state),
        }
    }
}

impl Content {
    fn loaded(&self) -> Loaded {
        Loaded {
            identity: self.identity.clone(),
            checkpoints: self
                .checkpoints
                .iter()
                .map(|(partition, checkpoint)| (*partition, *checkpoint))
                .collect(),
            incarnations: self
                .incarnations
                .iter()
                .map(|((partition, incarnation), state)| (*partition, *incarnation, state.clone()))
                .collect(),
        }
    }

    fn heads(&self, key: &Key) -> Heads {
        let Some(parts) = self.events.get(key) else { return Heads::None };
        let head = |(partition, events): (&Partition, &Vec<StoredEvent>)| {
            let (first, last) = (events.first()?, events.last()?);
            Some(Head { partition: *partition, base: first.order, next: Order(last.order.0 + 1) })
        };
        let heads: Vec<Head> = parts.iter().filter_map(head).collect();
        match heads[..] {
            [] => Heads::None,
            [head] => Heads::One(head),
            _ => Heads::Split(heads),
        }
    }

    fn apply(&mut self, batch: &StoreBatch) {
        for NewEvent { key, event } in &batch.events {
            let parts = match self.events.get_mut(key) {
                Some(parts) => parts,
                None => self.events.entry(key.clone()).or_default(),
            };
            let events = parts.entry(event.partition).or_default();
            if let Some(last) = events.last() {
                assert_eq!(event.order.0, last.order.0 + 1, "the events of a key are stored without gaps");
            }
            events.push(event.clone());
        }
        self.checkpoints.extend(batch.checkpoints.iter().copied());
        for (partition, incarnation, state) in &batch.incarnations {
            match state {
                Some(state) => drop(self.incarnations.insert((*partition, *incarnation), state.clone())),
                None => drop(self.incarnations.remove(&(*partition, *incarnation))),
            }
        }
    }

    fn drop_partition(&mut self, dropped: Partition) {
        self.checkpoints.remove(&dropped);
        self.incarnations.retain(|(partition, _), _| *partition != dropped);
        self.events.retain(|_, parts| {
            parts.remove(&dropped);
            !parts.is_empty()
        });
    }
}

impl Store for MemoryStore {
    fn load(&self) -> Result<Loaded, StoreError> {
        Ok(self.readable()?.visible.loaded())
    }

    fn set_identity(&self, identity: &StoreIdentity) -> Result<(), StoreError> {
        let mut state = self.writable()?;
        state.visible.identity = Some(identity.clone());
        state.lasting = state.visible.clone();
        Ok(())
    }

    fn heads(&self, keys: &[Key], out: &mut Vec<Heads>) -> Result<(), StoreError> {
        let state = self.readable()?;
        out.extend(keys.iter().map(|key| state.visible.heads(key)));
        Ok(())
    }

    fn read(&self, part: ReadPart<'_>, out: &mut Vec<StoredEvent>) -> Result<(), StoreError> {
        let state = self.readable()?;
        let parts = state.visible.events.get(part.key);
        let events = parts.and_then(|parts| parts.get(&part.partition)).map_or(&[][..], Vec::as_slice);
        let mut bytes = 0;
        for event in events.iter().filter(|event| event.order >= part.from).take(part.events_max) {
            out.push(event.clone());
            bytes += event.value.len() + headers_bytes(event);
            if bytes >= part.bytes_max {
                break;
            }
        }
        Ok(())
    }

    fn commit(&self, batch: &StoreBatch, durability: Durability) -> Result<(), StoreError> {
        let mut state = self.writable()?;
        state.visible.apply(batch);
        if durability == Durability::Immediate {
            state.lasting = state.visible.clone();
        }
        Ok(())
    }

    fn reopen(&self) -> Result<Loaded, StoreError> {
        let mut state = self.readable()?;
        if let Some(detail) = &state.write_fails {
            return Err(StoreError::WriteFailed { detail: detail.clone() });
        }
        state.broken = None;
        state.visible = state.lasting.clone();
        Ok(state.visible.loaded())
    }

    fn drop_partition(&self, partition: Partition) -> Result<(), StoreError> {
        let mut state = self.writable()?;
        state.visible.drop_partition(partition);
        state.lasting = state.visible.clone();
        Ok(())
    }

    /// Nothing is left behind.
    fn sweep(&self) -> Result<bool, StoreError> {
        self.writable().map(|_| false)
    }

    fn reset(&self) -> Result<(), StoreError> {
        let mut state = self.lock();
        if state.closed {
            return Err(StoreError::Closed);
        }
        state.damaged = None;
        state.broken = None;
        state.visible = Content::default();
        state.lasting = Content::default();
        Ok(())
    }

    fn close(&self) -> Result<(), StoreError> {
        let mut state = self.readable()?;
        state.lasting = state.visible.clone();
        state.closed = true;
        Ok(())
    }

    fn stats(&self) -> StoreStats {
        StoreStats { keys: self.lock().visible.events.len() as u64, file_bytes: 0 }
    }
}

fn headers_bytes(event: &StoredEvent) -> usize {
    event
        .headers
        .iter()
        .map(|header| header.name.len() + header.value.as_ref().map_or(0, |value| value.len()))
        .sum()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::conformance::{self, Bench};

    struct InMemory;

    impl Bench for InMemory {
        type Store = MemoryStore;

        fn fresh(&mut self) -> MemoryStore {
            MemoryStore::new()
        }

        fn open_again(&mut self, closed: MemoryStore) -> MemoryStore {
            closed.crash();
            closed
        }

        fn crash(&mut self, store: MemoryStore) -> MemoryStore {
            store.crash();
            store
        }
    }

    #[test]
    fn the_memory_store_conforms() {
        conformance::check(&mut InMemory);
    }
}
