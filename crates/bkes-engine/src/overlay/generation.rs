//! A generation of the overlay: the content of one transaction, and a way to find the events of a key in it.
//!
//! Events lie in the order in which they were applied. Those of one (key, partition) are chained from the last to the first, and
//! an index by hash names the last of each chain: an event costs no allocation of its own beside its row in the table.

use crate::epoch::Epoch;
use crate::limits::EVENT_OVERHEAD_BYTES;
use bkes_core::machine::{Accepted, Records};
use bkes_core::{
    Checkpoint, EventOutline, Head, Incarnation, IncarnationState, Key, Offset, Order, Partition, StoredEvent,
};
use bkes_storage::{LowestKeys, NewEvent, OutlinePart, StoreBatch};
use hashbrown::HashTable;
use std::collections::BTreeMap;

/// No event before this one.
const NONE: u32 = u32::MAX;

/// The chain of one (key, partition).
struct Chain {
    /// Kept beside the index's own, which has less of it: growing needs it whole.
    hash: u64,
    head: Head,
    last: u32,
}

/// What one transaction writes.
pub struct Generation {
    epoch: Epoch,
    batch: StoreBatch,
    /// For each event, the one before it in its chain.
    before: Vec<u32>,
    chains: HashTable<Chain>,
    checkpoints: BTreeMap<Partition, Checkpoint>,
    incarnations: BTreeMap<(Partition, Incarnation), Option<IncarnationState>>,
    bytes: usize,
}

impl Generation {
    /// An empty one, of a fold of this epoch.
    pub fn new(epoch: Epoch) -> Generation {
        Generation {
            epoch,
            batch: StoreBatch::default(),
            before: Vec::new(),
            chains: HashTable::new(),
            checkpoints: BTreeMap::new(),
            incarnations: BTreeMap::new(),
            bytes: 0,
        }
    }

    /// An empty one with this one's room, unless most of that was not used.
    pub fn emptied(self) -> Generation {
        let Generation { batch: StoreBatch { mut events, .. }, mut before, mut chains, .. } = self;
        let empty = Generation::new(Epoch::default());
        if events.capacity() > events.len() * 4 {
            return empty;
        }
        events.clear();
        before.clear();
        chains.clear();
        Generation { batch: StoreBatch { events, ..StoreBatch::default() }, before, chains, ..empty }
    }

    /// An empty one, of a fold of this epoch.
    pub fn of(self, epoch: Epoch) -> Generation {
        assert!(self.is_empty(), "what is empty has no epoch yet");
        Generation { epoch, ..self }
    }

    pub fn epoch(&self) -> Epoch {
        self.epoch
    }

    /// Bytes held, as the limit counts them.
    pub fn bytes(&self) -> usize {
        self.bytes
    }

    /// How many events it has.
    pub fn len(&self) -> usize {
        self.batch.events.len()
    }

    pub fn is_empty(&self) -> bool {
        self.batch.events.is_empty() && self.checkpoints.is_empty()
    }

    /// What is to be written, once sealed.
    pub fn batch(&self) -> &StoreBatch {
        &self.batch
    }

    /// Adds the events of an accepted record or batch.
    pub fn insert_accepted(&mut self, accepted: Accepted) {
        let (first, base) = (accepted.first(), accepted.head.base);
        let Accepted { hash, key, stamp, records, .. } = accepted;
        let of_member = |index: u32| stamp.map(|stamp| stamp.of_member(index + 1));
        match records {
            Records::One(record) => {
                self.insert(hash, key, base, StoredEvent::of(record, first, of_member(0)))
            }
            Records::Batch(records) => {
                for (index, record) in (0..).zip(records) {
                    let order = Order(first.0 + u64::from(index));
                    self.insert(hash, key.clone(), base, StoredEvent::of(record, order, of_member(index)));
                }
            }
        }
    }

    /// Adds an event; `base` is the order of the aggregate's first event in the partition.
    pub fn insert(&mut self, hash: u64, key: Key, base: Order, event: StoredEvent) {
        self.bytes += event_bytes(&key, &event);
        let index = u32::try_from(self.batch.events.len()).ok().filter(|index| *index != NONE);
        let index = index.expect("its bytes bound a generation");
        let Generation { chains, batch: StoreBatch { events, .. }, before, .. } = self;
        let StoredEvent { partition, order, .. } = event;
        let next = Order(order.0 + 1);
        match chains.find_mut(hash, |chain| chain.is_of_part(hash, &key, partition, events)) {
            Some(chain) => {
                assert_eq!(chain.head.next, order, "the events of a key are applied without gaps");
                before.push(chain.last);
                chain.head.next = next;
                chain.last = index;
            }
            None => {
                before.push(NONE);
                let chain = Chain { hash, head: Head { partition, base, next }, last: index };
                chains.insert_unique(hash, chain, |chain| chain.hash);
            }
        }
        events.push(NewEvent { key, event });
    }

    /// Adds what covers the events so far; a later state of the same thing replaces an earlier.
    pub fn cover(
        &mut self,
        checkpoints: impl IntoIterator<Item = (Partition, Checkpoint)>,
        incarnations: impl IntoIterator<Item = (Partition, Incarnation, Option<IncarnationState>)>,
    ) {
        self.checkpoints.extend(checkpoints);
        let keyed =
            incarnations.into_iter().map(|(partition, incarnation, state)| ((partition, incarnation), state));
        self.incarnations.extend(keyed);
    }

    /// Leaves nothing of a partition; `hash` is what its events were inserted with.
    pub fn forget(&mut self, partition: Partition, hash: impl Fn(&Key) -> u64) {
        let before = std::mem::replace(self, Generation::new(self.epoch));
        for NewEvent { key, event } in &before.batch.events {
            if event.partition != partition {
                let hash = hash(key);
                let chain = before.chain(hash, key, event.partition).expect("an event is in a chain");
                self.insert(hash, key.clone(), chain.head.base, event.clone());
            }
        }
        let Generation { mut checkpoints, mut incarnations, .. } = before;
        checkpoints.remove(&partition);
        incarnations.retain(|(of, _), _| *of != partition);
        (self.checkpoints, self.incarnations) = (checkpoints, incarnations);
    }

    /// Ends it: from here on it is what a transaction writes.
    pub fn seal(mut self) -> Generation {
        self.batch.checkpoints = std::mem::take(&mut self.checkpoints).into_iter().collect();
        let incarnations = std::mem::take(&mut self.incarnations).into_iter();
        self.batch.incarnations = incarnations.map(|((p, i), state)| (p, i, state)).collect();
        self
    }

    /// Where a key stands in each partition that has events of it.
    pub fn heads(&self, hash: u64, key: &Key) -> impl Iterator<Item = Head> {
        let events = &self.batch.events;
        self.chains
            .iter_hash(hash)
            .filter(move |chain| chain.is_of(hash, key, events))
            .map(|chain| chain.head)
    }

    /// Adds the keys there are, each with where it stands in each partition.
    pub fn list(&self, lowest: &mut LowestKeys<'_, Vec<Head>>) {
        for Chain { head, last, .. } in self.chains.iter() {
            let Some(heads) = lowest.entry(&self.batch.events[*last as usize].key) else { continue };
            match heads.iter_mut().find(|known| known.partition == head.partition) {
                Some(known) => known.next = known.next.max(head.next),
                None => heads.push(*head),
            }
        }
    }

    /// Adds the events of a key in a partition to `out`, in order.
    pub fn copy(&self, hash: u64, key: &Key, partition: Partition, out: &mut Vec<StoredEvent>) {
        let start = out.len();
        let mut at = self.chain(hash, key, partition).map_or(NONE, |chain| chain.last);
        while at != NONE {
            out.push(self.batch.events[at as usize].event.clone());
            at = self.before[at as usize];
        }
        out[start..].reverse();
    }

    /// Adds what is wanted of those of the events asked for that are here to `out`, in order.
    pub fn pick<T>(
        &self,
        hash: u64,
        part: OutlinePart<'_>,
        out: &mut Vec<T>,
        wanted: impl Fn(&StoredEvent) -> T,
    ) {
        let OutlinePart { key, partition, from, events_max } = part;
        let Some(&Chain { head, last, .. }) = self.chain(hash, key, partition) else { return };
        let from = from.max(head.base);
        let end = Order(from.0.saturating_add(events_max as u64));
        let (start, mut at, mut order) = (out.len(), last, head.next);
        while at != NONE && order > from {
            order = Order(order.0 - 1);
            if order < end {
                out.push(wanted(&self.batch.events[at as usize].event));
            }
            at = self.before[at as usize];
        }
        out[start..].reverse();
    }

    /// Adds the outlines of the events of a key in a partition whose appends lie at this offset or above it to `out`, in order. A
    /// generation has whole appends.
    pub fn outlines_from(
        &self,
        hash: u64,
        (key, partition): (&Key, Partition),
        from: Offset,
        out: &mut Vec<EventOutline>,
    ) {
        let start = out.len();
        let mut at = self.chain(hash, key, partition).map_or(NONE, |chain| chain.last);
        while at != NONE {
            let event = &self.batch.events[at as usize].event;
            // Where the last event of an append lies all of it does, and it comes first on the way back.
            let is_last = event.append().end == Order(event.order.0 + 1);
            if is_last && event.offset < from {
                break;
            }
            out.push(event.outline());
            at = self.before[at as usize];
        }
        out[start..].reverse();
    }

    fn chain(&self, hash: u64, key: &Key, partition: Partition) -> Option<&Chain> {
        let events = &self.batch.events;
        self.chains.find(hash, |chain| chain.is_of_part(hash, key, partition, events))
    }
}

impl Chain {
    fn is_of(&self, hash: u64, key: &Key, events: &[NewEvent]) -> bool {
        self.hash == hash && events[self.last as usize].key == *key
    }

    fn is_of_part(&self, hash: u64, key: &Key, partition: Partition, events: &[NewEvent]) -> bool {
        self.head.partition == partition && self.is_of(hash, key, events)
    }
}

fn event_bytes(key: &Key, event: &StoredEvent) -> usize {
    key.bytes().len() + event.content_bytes() + EVENT_OVERHEAD_BYTES
}
