//! A store in memory: the contract at its plainest. Everything is as durable as the process, and nothing fails.

use crate::by_offset::range_from;
use crate::contract::{
    Checkpoint, Durability, EventOutline, Head, Heads, KeyPage, KeyRange, Loaded, NewEvent, OffsetPart,
    OutlinePart, ReadPart, Store, StoreBatch, StoreError, StoreIdentity, StoreStats, StoredEvent,
};
use crate::lowest_keys::LowestKeys;
use bkes_core::{Incarnation, IncarnationState, Key, Order, Partition};
use std::collections::BTreeMap;
use std::sync::{Mutex, MutexGuard, PoisonError};

#[derive(Clone, Default)]
struct Content {
    identity: Option<StoreIdentity>,
    checkpoints: BTreeMap<Partition, Checkpoint>,
    incarnations: BTreeMap<(Partition, Incarnation), IncarnationState>,
    events: BTreeMap<Key, BTreeMap<Partition, Vec<StoredEvent>>>,
}

/// A store in memory.
#[derive(Default)]
pub struct MemoryStore(Mutex<State>);

#[derive(Default)]
struct State {
    content: Content,
    closed: bool,
}

impl MemoryStore {
    /// An empty store.
    pub fn new() -> MemoryStore {
        MemoryStore::default()
    }

    /// A store of its own with what this one holds now, open even when this one is closed.
    pub fn snapshot(&self) -> MemoryStore {
        let content = self.lock().content.clone();
        MemoryStore(Mutex::new(State { content, closed: false }))
    }

    /// A panic elsewhere leaves the content whole: a batch is applied without calling out.
    fn lock(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The store, unless it was closed.
    fn open(&self) -> Result<MutexGuard<'_, State>, StoreError> {
        let state = self.lock();
        if state.closed { Err(StoreError::Closed) } else { Ok(state) }
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

    /// The events of a key in a partition from an order on.
    fn events(&self, key: &Key, partition: Partition, from: Order) -> impl Iterator<Item = &StoredEvent> {
        let events = self.events.get(key).and_then(|parts| parts.get(&partition));
        events.into_iter().flatten().filter(move |event| event.order >= from)
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
        Ok(self.open()?.content.loaded())
    }

    fn set_identity(&self, identity: &StoreIdentity) -> Result<(), StoreError> {
        self.open()?.content.identity = Some(identity.clone());
        Ok(())
    }

    fn heads(&self, keys: &[Key], out: &mut Vec<Heads>) -> Result<(), StoreError> {
        let state = self.open()?;
        out.extend(keys.iter().map(|key| state.content.heads(key)));
        Ok(())
    }

    fn read(&self, part: ReadPart<'_>, out: &mut Vec<StoredEvent>) -> Result<(), StoreError> {
        let state = self.open()?;
        let events = state.content.events(part.key, part.partition, part.from);
        let mut bytes = 0;
        for event in events.take(part.events_max) {
            out.push(event.clone());
            bytes += event.content_bytes();
            if bytes >= part.bytes_max {
                break;
            }
        }
        Ok(())
    }

    fn outlines(&self, part: OutlinePart<'_>, out: &mut Vec<EventOutline>) -> Result<(), StoreError> {
        let state = self.open()?;
        let events = state.content.events(part.key, part.partition, part.from);
        out.extend(events.take(part.events_max).map(StoredEvent::outline));
        Ok(())
    }

    fn outlines_from(
        &self,
        parts: &[OffsetPart<'_>],
        out: &mut Vec<Vec<EventOutline>>,
    ) -> Result<(), StoreError> {
        let state = self.open()?;
        for OffsetPart { key, partition, from, events_max, .. } in parts {
            let events = state.content.events.get(*key).and_then(|parts| parts.get(partition));
            let events = events.map_or(&[][..], Vec::as_slice);
            let wanted = range_from(events, *from, *events_max);
            out.push(events[wanted].iter().map(StoredEvent::outline).collect());
        }
        Ok(())
    }

    fn keys(&self, range: KeyRange<'_>) -> Result<KeyPage, StoreError> {
        let state = self.open()?;
        let mut lowest = LowestKeys::new(range);
        for key in state.content.events.keys() {
            if let Some(heads) = lowest.entry(key) {
                *heads = state.content.heads(key);
            }
        }
        Ok(lowest.into_page())
    }

    fn commit(&self, batch: &StoreBatch, _: Durability) -> Result<(), StoreError> {
        self.open()?.content.apply(batch);
        Ok(())
    }

    fn reopen(&self) -> Result<Loaded, StoreError> {
        self.load()
    }

    fn drop_partition(&self, partition: Partition) -> Result<(), StoreError> {
        self.open()?.content.drop_partition(partition);
        Ok(())
    }

    /// Nothing is left behind.
    fn sweep(&self) -> Result<bool, StoreError> {
        self.open().map(|_| false)
    }

    fn reset(&self) -> Result<(), StoreError> {
        self.open()?.content = Content::default();
        Ok(())
    }

    fn close(&self) -> Result<(), StoreError> {
        self.open()?.closed = true;
        Ok(())
    }

    fn stats(&self) -> StoreStats {
        StoreStats { keys: self.lock().content.events.len() as u64, file_bytes: 0 }
    }
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
            closed.snapshot()
        }

        /// Nothing outlives the process but what somebody took a snapshot of: the suite allows a crash that loses nothing.
        fn crash(&mut self, store: MemoryStore) -> MemoryStore {
            store.snapshot()
        }
    }

    #[test]
    fn the_memory_store_conforms() {
        conformance::check(&mut InMemory);
    }
}
