//! The overlay: events that are applied and not yet committed in the store.
//!
//! Invariants: an event enters before its writer is answered and leaves after the commit that holds it has returned; the
//! events of one (key, partition) are gapless and end at its next order. A reader copies the overlay *first* and looks into
//! the store *second*: the other way round it could miss an event that moved in between.

use bkes_core::{Key, Order, Partition};
use bkes_storage::{Head, StoredEvent};
use hashbrown::HashMap;
use std::collections::VecDeque;
use std::hash::BuildHasher;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Mutex, MutexGuard};

/// Locks are spread so that readers of other keys and the committing writer rarely meet.
const SHARDS: usize = 64;

#[derive(Debug)]
struct Part {
    head: Head,
    events: VecDeque<StoredEvent>,
}

type Shard = HashMap<Key, Vec<Part>>;

/// Applied events by key, shared by owners, writer and readers.
pub struct Overlay {
    shards: Vec<Mutex<Shard>>,
    hasher: hashbrown::DefaultHashBuilder,
    bytes: AtomicUsize,
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
    pub fn new() -> Overlay {
        let shards = (0..SHARDS).map(|_| Mutex::default()).collect();
        Overlay { shards, hasher: hashbrown::DefaultHashBuilder::default(), bytes: AtomicUsize::new(0) }
    }

    /// Bytes held, as the limit counts them.
    pub fn bytes(&self) -> usize {
        self.bytes.load(Ordering::Relaxed)
    }

    /// Adds an event; `base` is the order of the aggregate's first event in the partition.
    pub fn insert(&self, key: &Key, base: Order, event: StoredEvent) {
        self.bytes.fetch_add(event_bytes(key, &event), Ordering::Relaxed);
        let next = Order(event.order.0 + 1);
        let mut shard = self.shard(key);
        let parts = match shard.get_mut(key) {
            Some(parts) => parts,
            None => shard.entry(key.clone()).or_default(),
        };
        match parts.iter_mut().find(|part| part.head.partition == event.partition) {
            Some(part) => {
                assert_eq!(part.head.next, event.order, "the events of a key are applied without gaps");
                part.head.next = next;
                part.events.push_back(event);
            }
            None => {
                let head = Head { partition: event.partition, base, next };
                parts.push(Part { head, events: VecDeque::from([event]) });
            }
        }
    }

    /// Where the aggregate stands in each partition that has uncommitted events of it.
    pub fn heads(&self, key: &Key, out: &mut Vec<Head>) {
        if let Some(parts) = self.shard(key).get(key) {
            out.extend(parts.iter().map(|part| part.head));
        }
    }

    /// A copy of all uncommitted events of a key.
    pub fn copy(&self, key: &Key) -> Vec<OverlayPart> {
        let copy =
            |part: &Part| OverlayPart { head: part.head, events: part.events.iter().cloned().collect() };
        self.shard(key).get(key).map(|parts| parts.iter().map(copy).collect()).unwrap_or_default()
    }

    /// Drops the events of a key in a partition up to and with `order`: they are committed.
    pub fn committed(&self, key: &Key, partition: Partition, order: Order) {
        let mut shard = self.shard(key);
        let Some(parts) = shard.get_mut(key) else { return };
        let mut freed = 0;
        parts.retain_mut(|part| {
            if part.head.partition == partition {
                while let Some(event) = part.events.pop_front_if(|event| event.order <= order) {
                    freed += event_bytes(key, &event);
                }
            }
            !part.events.is_empty()
        });
        if parts.is_empty() {
            shard.remove(key);
        }
        self.bytes.fetch_sub(freed, Ordering::Relaxed);
    }

    /// Drops everything of a partition: its fold begins anew.
    pub fn drop_partition(&self, partition: Partition) {
        for shard in &self.shards {
            let mut freed = 0;
            lock(shard).retain(|key, parts| {
                parts.retain(|part| {
                    let keep = part.head.partition != partition;
                    if !keep {
                        freed += part.events.iter().map(|event| event_bytes(key, event)).sum::<usize>();
                    }
                    keep
                });
                !parts.is_empty()
            });
            self.bytes.fetch_sub(freed, Ordering::Relaxed);
        }
    }

    fn shard(&self, key: &Key) -> MutexGuard<'_, Shard> {
        lock(&self.shards[self.hasher.hash_one(key) as usize % SHARDS])
    }
}

fn event_bytes(key: &Key, event: &StoredEvent) -> usize {
    let headers: usize =
        event.headers.iter().map(|h| h.name.len() + h.value.as_ref().map_or(0, |v| v.len()) + 64).sum();
    key.bytes().len() + event.value.len() + headers + crate::limits::EVENT_OVERHEAD_BYTES
}

/// A panic under this lock leaves a part that asserts its own gaplessness, so the data stays usable.
fn lock(shard: &Mutex<Shard>) -> MutexGuard<'_, Shard> {
    shard.lock().unwrap_or_else(std::sync::PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use super::*;
    use bkes_core::Offset;
    use bytes::Bytes;

    fn event(order: u64) -> StoredEvent {
        StoredEvent {
            order: Order(order),
            partition: Partition(1),
            offset: Offset(order),
            timestamp: None,
            value: Bytes::from_static(b"value"),
            tombstone: false,
            stamp: None,
            headers: Vec::new(),
        }
    }

    #[test]
    fn an_event_stays_until_its_commit_and_the_bytes_come_back() {
        let overlay = Overlay::new();
        let key = Key::new("key").expect("not empty");
        (3..6).for_each(|order| overlay.insert(&key, Order(0), event(order)));
        overlay.committed(&key, Partition(0), Order(9));
        overlay.committed(&key, Partition(1), Order(3));
        let [part] = &overlay.copy(&key)[..] else { panic!("one part") };
        assert_eq!(part.events.iter().map(|event| event.order.0).collect::<Vec<_>>(), [4, 5]);
        assert_eq!(part.head, Head { partition: Partition(1), base: Order(0), next: Order(6) });
        overlay.committed(&key, Partition(1), Order(5));
        assert!(overlay.copy(&key).is_empty());
        assert_eq!(overlay.bytes(), 0);
        overlay.insert(&key, Order(0), event(6));
        overlay.drop_partition(Partition(1));
        assert_eq!((overlay.bytes(), overlay.copy(&key).len()), (0, 0));
    }
}
