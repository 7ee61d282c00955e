//! Which aggregates have an undecided append on this instance, and in which partition.
//!
//! Each partition has its own sequencer, and where a key belongs may change while an append of it is undecided: the topic grows,
//! somebody else begins the aggregate in another partition, or the log lost its end and a new fold knows less. So a key is
//! *claimed* for the partition in which its append is begun, in one table for all owners, and released when that append has ended.
//!
//! Invariant: a key is claimed if and only if the sequencer of that partition has an append of it in flight. It is claimed and
//! released by that partition's owner alone, in the same step as its sequencer. So no two appends of a key are undecided at once.

use bkes_core::{Key, Partition};
use hashbrown::HashTable;
use std::sync::{Mutex, MutexGuard, PoisonError};

/// Owners claim and release different keys at the same time: with this many shards two of them rarely want the same lock.
const SHARDS: usize = 16;

/// The claimed keys. Callers hash them as the overlay does.
pub struct InFlight(Box<[Mutex<HashTable<Claim>>]>);

struct Claim {
    hash: u64,
    key: Key,
    partition: Partition,
}

impl Default for InFlight {
    fn default() -> InFlight {
        InFlight((0..SHARDS).map(|_| Mutex::default()).collect())
    }
}

impl InFlight {
    /// Claims a key for an append that is begun in `partition`, or says where one is undecided.
    pub fn claim(&self, hash: u64, key: &Key, partition: Partition) -> Result<(), Partition> {
        let mut claims = self.shard(hash);
        if let Some(claim) = claims.find(hash, |claim| claim.key == *key) {
            return Err(claim.partition);
        }
        claims.insert_unique(hash, Claim { hash, key: key.clone(), partition }, |claim| claim.hash);
        Ok(())
    }

    /// Where an append of a key is undecided.
    pub fn partition_of(&self, hash: u64, key: &Key) -> Option<Partition> {
        self.shard(hash).find(hash, |claim| claim.key == *key).map(|claim| claim.partition)
    }

    /// The append has ended.
    pub fn release(&self, hash: u64, key: &Key) {
        let mut claims = self.shard(hash);
        let claim = claims.find_entry(hash, |claim| claim.key == *key).ok();
        claim.expect("what is in flight is claimed").remove();
    }

    /// Each call leaves a table whole, so a panic elsewhere cannot leave one torn.
    fn shard(&self, hash: u64) -> MutexGuard<'_, HashTable<Claim>> {
        // The table itself uses the lowest and the highest bits.
        let shard = (hash >> 32) as usize % SHARDS;
        self.0[shard].lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_is_claimed_once_until_it_is_released() {
        let in_flight = InFlight::default();
        let key = |name: &'static str| Key::new(name).expect("not empty");
        // Keys of one hash are told apart.
        for hash in [0, 7 << 32] {
            assert_eq!(in_flight.claim(hash, &key("a"), Partition(1)), Ok(()));
            assert_eq!(in_flight.claim(hash, &key("b"), Partition(2)), Ok(()));
            assert_eq!(in_flight.claim(hash, &key("a"), Partition(3)), Err(Partition(1)));
            assert_eq!(in_flight.partition_of(hash, &key("b")), Some(Partition(2)));
            in_flight.release(hash, &key("a"));
            assert_eq!(in_flight.partition_of(hash, &key("a")), None);
            assert_eq!(in_flight.claim(hash, &key("a"), Partition(3)), Ok(()));
        }
    }
}
