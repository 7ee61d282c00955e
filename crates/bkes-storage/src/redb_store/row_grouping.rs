//! Where an aggregate's row lies in the `streams` table: among those of its partition.
//!
//! A partition holds the keys that a hash sends there, which in order of their bytes lie everywhere. A rebuild reads partition after
//! partition: were rows sorted by key alone, each transaction would change nearly every page. So before the key stands the
//! partition where the hash sends it. That is a matter of speed only: a key that lives elsewhere has its row all the same,
//! and when the topic grows the rows stay where they are.

use crate::contract::{NewEvent, StoreIdentity};
use bkes_core::{Key, Partitioner};
use std::num::NonZeroU32;

/// What stands before the key in the key of a row: its group.
pub const GROUP_BYTES: usize = 2;

/// How rows are grouped; decided when the store is bound to its topic, and the same for its life.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct RowGrouping {
    pub partitioner: Partitioner,
    pub partitions: NonZeroU32,
}

impl Default for RowGrouping {
    fn default() -> RowGrouping {
        RowGrouping { partitioner: Partitioner::Murmur2, partitions: NonZeroU32::MIN }
    }
}

impl RowGrouping {
    /// The one that suits a topic. Before its partitioner is known, what Java's clients use is the best guess.
    pub fn of(identity: &StoreIdentity) -> RowGrouping {
        let partitioner = identity.partitioner.unwrap_or(Partitioner::Murmur2);
        RowGrouping { partitioner, partitions: identity.partitions }
    }

    /// What stands before a key: of very many partitions, some share it.
    pub fn group(self, key: &[u8]) -> u16 {
        if self.partitions == NonZeroU32::MIN {
            0
        } else {
            self.partitioner.place(key, self.partitions).0 as u16
        }
    }

    /// All there are.
    pub fn groups(self) -> std::ops::RangeInclusive<u16> {
        0..=u16::try_from(self.partitions.get() - 1).unwrap_or(u16::MAX)
    }

    /// Where the row of `key` lies, in `out`.
    pub fn row_key<'o>(self, key: &[u8], out: &'o mut Vec<u8>) -> &'o [u8] {
        row_key(self.group(key), key, out)
    }

    /// Events in the order of their rows, those of a key by partition and order.
    pub fn sorted(self, events: &[NewEvent]) -> Vec<Ranked<'_>> {
        let first = events.first().map_or(&[][..], |event| event.key.as_ref());
        let common = |length, event: &NewEvent| common_prefix(&first[..length], event.key.as_ref());
        let common = events.iter().fold(first.len(), common);
        let ranked = events.iter().map(|event| Ranked { rank: self.rank(&event.key, common), event });
        let mut sorted: Vec<Ranked<'_>> = ranked.collect();
        sorted.sort_unstable_by(|a, b| {
            a.rank.cmp(&b.rank).then_with(|| {
                let of = |ranked: &Ranked<'_>| (ranked.event.event.partition, ranked.event.event.order);
                (&a.event.key, of(a)).cmp(&(&b.event.key, of(b)))
            })
        });
        sorted
    }

    /// The group and the next six bytes of a key, after those that all keys begin with.
    fn rank(self, key: &Key, common: usize) -> u64 {
        let key = key.as_ref();
        let mut rank = [0; 8];
        let (group, rest) = rank.split_at_mut(GROUP_BYTES);
        group.copy_from_slice(&self.group(key).to_be_bytes());
        rest.iter_mut().zip(&key[common..]).for_each(|(rank, byte)| *rank = *byte);
        u64::from_be_bytes(rank)
    }
}

/// An event, and beside it what is compared first: the group, and what tells its key from others. Most comparisons need not look
/// at the event.
#[derive(Clone, Copy)]
pub struct Ranked<'e> {
    rank: u64,
    pub event: &'e NewEvent,
}

impl Ranked<'_> {
    /// Whether both are of one key.
    pub fn is_of_key_of(&self, other: &Ranked<'_>) -> bool {
        self.rank == other.rank && self.event.key == other.event.key
    }

    /// Where the row of its key lies, in `out`.
    pub fn row_key<'o>(&self, out: &'o mut Vec<u8>) -> &'o [u8] {
        row_key((self.rank >> (64 - 8 * GROUP_BYTES)) as u16, self.event.key.as_ref(), out)
    }
}

fn row_key<'o>(group: u16, key: &[u8], out: &'o mut Vec<u8>) -> &'o [u8] {
    out.clear();
    out.extend_from_slice(&group.to_be_bytes());
    out.extend_from_slice(key);
    out
}

fn common_prefix(a: &[u8], b: &[u8]) -> usize {
    if b.starts_with(a) { a.len() } else { a.iter().zip(b).take_while(|(a, b)| a == b).count() }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rows_of_a_partition_lie_side_by_side_and_every_key_has_its_own() {
        let grouping =
            RowGrouping { partitions: NonZeroU32::new(7).expect("seven"), ..RowGrouping::default() };
        let keys: Vec<String> = (0..1_000).map(|number| format!("key-{number}")).collect();
        let mut rows: Vec<(Vec<u8>, u32)> = Vec::new();
        for key in &keys {
            let place = grouping.partitioner.place(key.as_bytes(), grouping.partitions).0;
            rows.push((grouping.row_key(key.as_bytes(), &mut Vec::new()).to_vec(), place));
        }
        rows.sort();
        assert!(rows.is_sorted_by_key(|(_, place)| *place));
        assert!(rows.windows(2).all(|pair| pair[0].0 != pair[1].0));
    }
}
