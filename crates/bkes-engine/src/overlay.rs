//! The overlay: what is applied and not yet committed in the store.
//!
//! Each owner has a *lane* in it. A lane is a generation that is *open*, to which the owner adds what it applies, and one that is
//! *sealed*, which the writer commits and then drops as a whole. A generation is what one transaction writes: events, and the
//! checkpoints that cover them; so it is sealed between two steps of its owner only, never in the middle of one.
//!
//! Invariants: an event enters before its writer is answered and leaves after the commit that holds it has returned; the
//! events of one (key, partition) are gapless over the sealed and the open generation and end at its next order; the events of a
//! batch enter under one lock, and in one generation, so that neither a reader nor a transaction has a part of them. Both
//! generations of a lane are looked at under one lock, so that none is missed when the open one is sealed. A reader copies the
//! overlay *first* and looks into the store *second*: the other way round it could miss an event that moved in between.

mod generation;

pub use generation::Generation;

use crate::epoch::Epoch;
use crate::limits::{COMMIT_GATHER_BYTES, COMMIT_GATHER_EVENTS};
use bkes_core::machine::{Accepted, Counted};
use bkes_core::{
    Checkpoint, Count, EventOutline, Head, Incarnation, IncarnationState, Key, Offset, Order, Partition,
    StoredEvent,
};
use bkes_storage::{KeyPage, KeyRange, LowestKeys, OutlinePart};
use std::hash::BuildHasher;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard};

/// Keys that are looked up under one lock: some 30 us, for which others wait.
const COUNTED_AT_ONCE: usize = 256;

/// Appends whose events enter under one lock.
const INSERTED_AT_ONCE: usize = 64;

/// Applied events by key, shared by owners, writer and readers.
pub struct Overlay {
    lanes: Vec<Lane>,
    hasher: hashbrown::DefaultHashBuilder,
    cleared: AtomicU64,
}

struct Lane {
    generations: RwLock<Generations>,
    open_bytes: AtomicUsize,
    sealed_bytes: AtomicUsize,
}

struct Generations {
    open: Generation,
    sealed: Option<Arc<Generation>>,
    /// The room of the one that was dropped last.
    spare: Option<Generation>,
    /// Whether the owner is in the middle of a step: events are there whose checkpoint is not.
    in_step: bool,
}

/// What the overlay knew of a key: the uncommitted events of one partition, and where the aggregate stands there.
#[derive(Clone, Debug)]
pub struct OverlayPart {
    /// Where the aggregate stands.
    pub head: Head,
    /// Its uncommitted events, ending at `head.next`.
    pub events: Vec<StoredEvent>,
}

impl Overlay {
    /// An overlay with a lane for each of so many owners.
    pub fn new(owners: usize) -> Overlay {
        let lane = || Lane {
            generations: RwLock::new(Generations {
                open: Generation::new(Epoch::default()),
                sealed: None,
                spare: None,
                in_step: false,
            }),
            open_bytes: AtomicUsize::new(0),
            sealed_bytes: AtomicUsize::new(0),
        };
        Overlay {
            lanes: (0..owners).map(|_| lane()).collect(),
            hasher: hashbrown::DefaultHashBuilder::default(),
            cleared: AtomicU64::new(0),
        }
    }

    /// What the other calls take for a key, so that it is hashed once.
    pub fn hash(&self, key: &Key) -> u64 {
        self.hasher.hash_one(key.as_ref())
    }

    /// Bytes held, as the limit counts them.
    pub fn bytes(&self) -> usize {
        self.lanes.iter().map(|lane| lane.open_bytes() + lane.sealed_bytes.load(Ordering::Relaxed)).sum()
    }

    /// Bytes of the generation an owner has open.
    pub fn open_bytes(&self, owner: usize) -> usize {
        self.lanes[owner].open_bytes()
    }

    /// How often something was dropped. While this does not change, everything applied since is still here.
    pub fn cleared(&self) -> u64 {
        self.cleared.load(Ordering::SeqCst)
    }

    /// How many lanes there are.
    pub fn lanes(&self) -> usize {
        self.lanes.len()
    }

    /// From here until [`end_step`](Self::end_step) the owner's open generation stays open.
    pub fn begin_step(&self, owner: usize) {
        self.lanes[owner].write().in_step = true;
    }

    /// Adds what was accepted, in the middle of a step. The events of a batch enter under one lock, so that nobody sees a part of them.
    pub fn insert(&self, owner: usize, accepted: &mut Vec<Accepted>) {
        let lane = &self.lanes[owner];
        let mut accepted = accepted.drain(..);
        while accepted.len() > 0 {
            let mut generations = lane.write();
            generations.in_step = true;
            for accepted in accepted.by_ref().take(INSERTED_AT_ONCE) {
                generations.open.insert_accepted(accepted);
            }
            lane.open_bytes.store(generations.open.bytes(), Ordering::Relaxed);
        }
    }

    /// Ends a step: the checkpoints and incarnations that go with the events added in it. Says whether what is
    /// open is worth a commit.
    pub fn end_step(
        &self,
        owner: usize,
        checkpoints: impl IntoIterator<Item = (Partition, Checkpoint)>,
        incarnations: impl IntoIterator<Item = (Partition, Incarnation, Option<IncarnationState>)>,
    ) -> bool {
        let mut generations = self.lanes[owner].write();
        generations.in_step = false;
        generations.open.cover(checkpoints, incarnations);
        generations.open.len() >= COMMIT_GATHER_EVENTS || generations.open.bytes() >= COMMIT_GATHER_BYTES
    }

    /// Where the aggregate stands in each partition that has uncommitted events of it, added to `out`.
    pub fn heads(&self, hash: u64, key: &Key, out: &mut Vec<Head>) {
        for lane in &self.lanes {
            let generations = lane.read();
            let first = out.len();
            out.extend(generations.open.heads(hash, key));
            let Some(sealed) = &generations.sealed else { continue };
            // What is open is ahead of what is sealed.
            let open = out.len();
            for head in sealed.heads(hash, key) {
                if !out[first..open].iter().any(|ahead| ahead.partition == head.partition) {
                    out.push(head);
                }
            }
        }
    }

    /// Where the aggregate stands in a partition, as far as is known here.
    pub fn count(&self, hash: u64, key: &Key, partition: Partition) -> Count {
        let mut count = Count::default();
        for lane in &self.lanes {
            lane.read().count(hash, key, partition, &mut count);
        }
        count
    }

    /// The same for many. One lock is held for several: each is a wait for memory that the next need not wait for, and a lock in
    /// between would make it.
    pub fn count_all(&self, wanted: &mut [(Partition, Counted)]) {
        for wanted in wanted.chunks_mut(COUNTED_AT_ONCE) {
            for lane in &self.lanes {
                let generations = lane.read();
                for (partition, Counted { hash, key, count }) in wanted.iter_mut() {
                    generations.count(*hash, key, *partition, count);
                }
            }
        }
    }

    /// Whether the owner has events of a key open in another partition than this one.
    pub fn is_elsewhere(&self, owner: usize, hash: u64, key: &Key, partition: Partition) -> bool {
        self.lanes[owner].read().open.heads(hash, key).any(|head| head.partition != partition)
    }

    /// A copy of all uncommitted events of a key.
    pub fn copy(&self, key: &Key) -> Vec<OverlayPart> {
        let hash = self.hash(key);
        let mut parts: Vec<OverlayPart> = Vec::new();
        for lane in &self.lanes {
            let generations = lane.read();
            // The sealed generation's events come before the open one's.
            for generation in generations.sealed.as_deref().into_iter().chain([&generations.open]) {
                for head in generation.heads(hash, key) {
                    let known = parts.iter().position(|part| part.head.partition == head.partition);
                    let at = known.unwrap_or_else(|| {
                        parts.push(OverlayPart { head, events: Vec::new() });
                        parts.len() - 1
                    });
                    parts[at].head.next = head.next;
                    generation.copy(hash, key, head.partition, &mut parts[at].events);
                }
            }
        }
        parts
    }

    /// A copy of those of the events asked for that are uncommitted, if there are any. The committed ones come before them, and count
    /// towards `events_max` as well.
    pub fn part(&self, part: OutlinePart<'_>) -> Option<OverlayPart> {
        let (hash, mut events) = (self.hash(part.key), Vec::new());
        for lane in &self.lanes {
            let generations = lane.read();
            for generation in generations.sealed.as_deref().into_iter().chain([&generations.open]) {
                generation.pick(hash, part, &mut events, StoredEvent::clone);
            }
        }
        let (first, last) = (events.first()?, events.last()?);
        let head = Head { partition: part.partition, base: first.order, next: Order(last.order.0 + 1) };
        Some(OverlayPart { head, events })
    }

    /// The outlines of those of the events asked for that are uncommitted, in order. The committed ones come before them, and count
    /// towards `events_max` as well.
    pub fn outlines(&self, part: OutlinePart<'_>) -> Vec<EventOutline> {
        let (hash, mut outlines) = (self.hash(part.key), Vec::new());
        for lane in &self.lanes {
            let generations = lane.read();
            // The sealed generation's events come before the open one's.
            for generation in generations.sealed.as_deref().into_iter().chain([&generations.open]) {
                generation.pick(hash, part, &mut outlines, StoredEvent::outline);
            }
        }
        outlines
    }

    /// The outlines of the uncommitted events of a key in a partition whose appends lie at this offset or above it, in order.
    pub fn outlines_from(&self, (key, partition): (&Key, Partition), from: Offset) -> Vec<EventOutline> {
        let (hash, mut outlines) = (self.hash(key), Vec::new());
        for lane in &self.lanes {
            let generations = lane.read();
            // The sealed generation's events come before the open one's.
            for generation in generations.sealed.as_deref().into_iter().chain([&generations.open]) {
                generation.outlines_from(hash, (key, partition), from, &mut outlines);
            }
        }
        outlines
    }

    /// Where the aggregates stand whose keys are the lowest of a range, among those that have uncommitted events.
    pub fn list(&self, range: KeyRange<'_>) -> KeyPage<Vec<Head>> {
        let mut lowest = LowestKeys::new(range);
        for lane in &self.lanes {
            let sealed = {
                let generations = lane.read();
                generations.open.list(&mut lowest);
                generations.sealed.clone()
            };
            // It does not change, and needs no lock.
            sealed.iter().for_each(|sealed| sealed.list(&mut lowest));
        }
        lowest.into_page()
    }

    /// Takes what an owner has open out for the writer, unless the owner is in the middle of a step or there is nothing. What a
    /// fold of another epoch left there is dropped. The generation stays in the overlay until [`clear`](Self::clear).
    pub fn seal(&self, owner: usize, epoch: Epoch) -> Option<Arc<Generation>> {
        let lane = &self.lanes[owner];
        let mut generations = lane.write();
        assert!(generations.sealed.is_none(), "one generation is committed at a time");
        if generations.in_step || generations.open.is_empty() {
            return None;
        }
        // Until the owner takes over the new epoch itself, all that it adds is of its old one.
        let spare = generations.spare.take();
        let next = spare.unwrap_or_else(|| Generation::new(Epoch::default())).of(generations.open.epoch());
        let open = std::mem::replace(&mut generations.open, next);
        lane.open_bytes.store(0, Ordering::Relaxed);
        if open.epoch() != epoch {
            self.cleared.fetch_add(1, Ordering::SeqCst);
            return None;
        }
        lane.sealed_bytes.store(open.bytes(), Ordering::Relaxed);
        let sealed = Arc::new(open.seal());
        generations.sealed = Some(Arc::clone(&sealed));
        Some(sealed)
    }

    /// Drops the generation an owner had sealed: it is committed, or its fold begins anew.
    pub fn clear(&self, owner: usize) {
        let lane = &self.lanes[owner];
        self.cleared.fetch_add(1, Ordering::SeqCst);
        let sealed = lane.write().sealed.take();
        lane.sealed_bytes.store(0, Ordering::Relaxed);
        // Emptied here, not under the lock.
        let spare = sealed.and_then(Arc::into_inner).map(Generation::emptied);
        lane.write().spare = spare;
    }

    /// The owner's fold begins anew: nothing of the old one is left, and what it adds now is of this epoch.
    pub fn restart(&self, owner: usize, epoch: Epoch) {
        let lane = &self.lanes[owner];
        self.cleared.fetch_add(1, Ordering::SeqCst);
        let mut generations = lane.write();
        let open = std::mem::replace(&mut generations.open, Generation::new(epoch));
        let sealed = generations.sealed.take();
        generations.in_step = false;
        lane.open_bytes.store(0, Ordering::Relaxed);
        lane.sealed_bytes.store(0, Ordering::Relaxed);
        drop(generations);
        drop((open, sealed));
    }

    /// The fold of one of an owner's partitions begins anew: nothing of it is left. The writer seals nothing of the owner between the
    /// partition's drop and this, so all of it is open.
    pub fn forget(&self, owner: usize, partition: Partition) {
        let lane = &self.lanes[owner];
        self.cleared.fetch_add(1, Ordering::SeqCst);
        let mut generations = lane.write();
        generations.open.forget(partition, |key| self.hash(key));
        lane.open_bytes.store(generations.open.bytes(), Ordering::Relaxed);
    }
}

impl Generations {
    /// Adds what is known here. What is open is ahead of what is sealed.
    fn count(&self, hash: u64, key: &Key, partition: Partition, count: &mut Count) {
        for generation in std::iter::once(&self.open).chain(self.sealed.as_deref()) {
            if count.head.is_none() {
                count.add(partition, generation.heads(hash, key));
            }
        }
    }
}

impl Lane {
    fn open_bytes(&self) -> usize {
        self.open_bytes.load(Ordering::Relaxed)
    }

    /// A panic under this lock leaves chains that assert their own gaplessness, so the data stays usable.
    fn read(&self) -> RwLockReadGuard<'_, Generations> {
        self.generations.read().unwrap_or_else(PoisonError::into_inner)
    }

    fn write(&self) -> RwLockWriteGuard<'_, Generations> {
        self.generations.write().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
pub(crate) mod tests;
