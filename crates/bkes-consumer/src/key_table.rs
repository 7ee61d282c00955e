//! A table of keys that keeps no keys: each is known by a hash of 128 bits.
//!
//! Two keys of one hash would be taken for one. Among 10^9 keys that has a chance of 1 in 10^21, and nobody can look for such keys: the
//! hash has a secret of its own, drawn with the table.

use crate::limits::SHARDS;
use bkes_core::Partition;
use hashbrown::HashTable;
use std::hash::{BuildHasher, Hasher, RandomState};

/// What a key is known by.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct KeyHash([u64; 2]);

impl KeyHash {
    /// Whether it is in this one of `1 << bits` equal parts of all hashes.
    pub fn is_in(self, bits: u32, part: u64) -> bool {
        self.0[1] & ((1 << bits) - 1) == part
    }

    fn shard(self) -> usize {
        (self.0[1] >> 58) as usize
    }
}

const _: () = assert!(SHARDS == 1 << 6, "the shard is the upper 6 bits");

/// Hashes keys: two SipHashes with secrets of their own.
#[derive(Clone, Debug, Default)]
pub struct KeyHasher {
    secrets: [RandomState; 2],
}

impl KeyHasher {
    /// What this key is known by.
    pub fn hash(&self, key: &[u8]) -> KeyHash {
        KeyHash(std::array::from_fn(|index| {
            let mut hasher = self.secrets[index].build_hasher();
            hasher.write(key);
            hasher.finish()
        }))
    }
}

/// There is no room for another key.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
#[error("{keys} keys take {bytes} bytes, and more than {bytes_max} are not allowed")]
pub struct TableFull {
    /// How many are there.
    pub keys: usize,
    /// What they take.
    pub bytes: usize,
    /// What they may take.
    pub bytes_max: usize,
}

/// Without padding: with it a slot of a count would take 32 bytes instead of 28.
#[derive(Clone, Copy)]
#[repr(C, packed(4))]
struct Slot<T: Copy> {
    hash: KeyHash,
    partition: Partition,
    value: T,
}

impl<T: Copy> Slot<T> {
    fn hash(&self) -> KeyHash {
        self.hash
    }

    fn is_of(&self, partition: Partition, hash: KeyHash) -> bool {
        self.hash() == hash && { self.partition } == partition
    }
}

/// A value for each key of each partition.
#[derive(Clone)]
pub struct KeyTable<T: Copy> {
    shards: Vec<HashTable<Slot<T>>>,
    bytes: usize,
    bytes_max: usize,
}

impl<T: Copy> KeyTable<T> {
    /// An empty table that may take so many bytes.
    pub fn new(bytes_max: usize) -> KeyTable<T> {
        KeyTable { shards: (0..SHARDS).map(|_| HashTable::new()).collect(), bytes: 0, bytes_max }
    }

    /// How many there are; a key in two partitions is two.
    pub fn len(&self) -> usize {
        self.shards.iter().map(HashTable::len).sum()
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.shards.iter().all(HashTable::is_empty)
    }

    /// The memory they take.
    pub fn bytes(&self) -> usize {
        self.bytes
    }

    /// The value of a key in a partition.
    pub fn get(&self, partition: Partition, hash: KeyHash) -> Option<T> {
        let is_it = |slot: &Slot<T>| slot.is_of(partition, hash);
        self.shards[hash.shard()].find(hash.0[0], is_it).map(|slot| slot.value)
    }

    /// Whether a key has a value in another partition.
    pub fn is_elsewhere(&self, partition: Partition, hash: KeyHash) -> bool {
        let is_it = |slot: &Slot<T>| slot.hash() == hash && !slot.is_of(partition, hash);
        self.shards[hash.shard()].find(hash.0[0], is_it).is_some()
    }

    /// A key's values in all partitions, in no order.
    pub fn of_key(&self, hash: KeyHash) -> impl Iterator<Item = (Partition, T)> {
        let slots = self.shards[hash.shard()].iter_hash(hash.0[0]);
        slots.filter(move |slot| slot.hash() == hash).map(|slot| (slot.partition, slot.value))
    }

    /// Whether a new key with this hash has room.
    pub fn has_room(&self, hash: KeyHash) -> Result<(), TableFull> {
        let shard = &self.shards[hash.shard()];
        if shard.len() < shard.capacity() {
            return Ok(());
        }
        // The larger table is filled from the one that is there.
        let (slot, slots) = (size_of::<Slot<T>>() + 1, shard.capacity().max(3) * 8 / 7);
        if self.bytes + slot * 2 * slots + TABLE_EXTRA_BYTES <= self.bytes_max {
            return Ok(());
        }
        Err(TableFull { keys: self.len(), bytes: self.bytes, bytes_max: self.bytes_max })
    }

    /// Gives a key a value, in place of the one it has.
    pub fn set(&mut self, partition: Partition, hash: KeyHash, value: T) -> Result<(), TableFull> {
        let is_it = |slot: &Slot<T>| slot.is_of(partition, hash);
        if let Some(slot) = self.shards[hash.shard()].find_mut(hash.0[0], is_it) {
            slot.value = value;
            return Ok(());
        }
        self.has_room(hash)?;
        let shard = &mut self.shards[hash.shard()];
        let before = shard.allocation_size();
        shard.insert_unique(hash.0[0], Slot { hash, partition, value }, |slot| slot.hash.0[0]);
        self.bytes += shard.allocation_size() - before;
        Ok(())
    }

    /// Every key of every partition, in no order.
    pub fn iter(&self) -> impl Iterator<Item = (Partition, KeyHash, T)> {
        self.shards.iter().flatten().map(|slot| (slot.partition, slot.hash, slot.value))
    }

    /// Leaves only those that are kept. Their room stays, for others.
    pub fn retain(&mut self, mut is_kept: impl FnMut(Partition, KeyHash) -> bool) {
        for shard in &mut self.shards {
            shard.retain(|slot| is_kept(slot.partition, slot.hash));
        }
    }
}

/// What a table takes beside its slots and their control bytes, at most.
const TABLE_EXTRA_BYTES: usize = 64;

#[cfg(test)]
mod tests {
    use super::*;
    use bkes_core::Order;

    fn key(number: u64) -> [u8; 8] {
        number.to_be_bytes()
    }

    #[test]
    fn a_key_has_a_value_in_each_partition() {
        let (hasher, mut table) = (KeyHasher::default(), KeyTable::new(1 << 20));
        let (a, b) = (hasher.hash(b"a"), hasher.hash(b"b"));
        let (zero, one) = (Partition(0), Partition(1));
        table.set(zero, a, Order(1)).expect("room");
        table.set(one, b, Order(7)).expect("room");
        assert_eq!((table.get(zero, a), table.get(one, a)), (Some(Order(1)), None));
        assert!(table.is_elsewhere(one, a) && !table.is_elsewhere(zero, a));
        table.set(one, a, Order(3)).expect("room");
        table.set(zero, a, Order(2)).expect("room");
        assert_eq!((table.get(zero, a), table.get(one, a), table.len()), (Some(Order(2)), Some(Order(3)), 3));
        let mut all: Vec<_> = table.of_key(a).collect();
        all.sort_unstable_by_key(|(partition, _)| *partition);
        assert_eq!(all, [(zero, Order(2)), (one, Order(3))]);
        table.retain(|partition, _| partition == one);
        assert_eq!((table.get(zero, a), table.get(one, b), table.len()), (None, Some(Order(7)), 2));
    }

    #[test]
    fn a_key_takes_33_to_66_bytes_and_a_table_no_more_than_it_may() {
        let (hasher, bytes_max) = (KeyHasher::default(), 4 << 20);
        let mut table = KeyTable::new(bytes_max);
        let mut keys = 0;
        let full = loop {
            if let Err(full) = table.set(Partition(0), hasher.hash(&key(keys)), Order(keys)) {
                break full;
            }
            keys += 1;
            let real: usize = table.shards.iter().map(HashTable::allocation_size).sum();
            assert!(table.bytes() == real && real <= bytes_max);
            if keys > 10_000 {
                let bytes = real as f64 / keys as f64;
                assert!((32.0..68.0).contains(&bytes), "{bytes} bytes a key with {keys} keys");
            }
        };
        assert_eq!((full.keys, full.bytes_max), (keys as usize, bytes_max));
        assert!(full.bytes > bytes_max / 3, "{full:?}");
        // What is there is still there, and may be changed.
        assert!((0..keys).all(|n| table.get(Partition(0), hasher.hash(&key(n))) == Some(Order(n))));
        table.set(Partition(0), hasher.hash(&key(0)), Order(99)).expect("it has its room");
    }
}
