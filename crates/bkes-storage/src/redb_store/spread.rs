//! Where an aggregate's row lies in the `streams` table: among those of its partition.
//!
//! A partition holds the keys that a hash sends there, which in order of their bytes lie everywhere. A rebuild reads partition after
//! partition: were rows sorted by key alone, each transaction would change nearly every page. So before the key stands the
//! partition where the hash sends it. That is a matter of speed only: a key that lives elsewhere has its row all the same,
//! and when the topic grows the rows stay where they are.

use crate::contract::{NewEvent, StoreIdentity};
use bkes_core::Partitioner;
use std::num::NonZeroU32;

/// How rows are spread; settled when the store is bound to its topic, and the same for its life.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Spread {
    pub partitioner: Partitioner,
    pub partitions: NonZeroU32,
}

impl Default for Spread {
    fn default() -> Spread {
        Spread { partitioner: Partitioner::Murmur2, partitions: NonZeroU32::MIN }
    }
}

impl Spread {
    /// The one that suits a topic. Before its partitioner is known, what Java's clients use is the best guess.
    pub fn of(identity: &StoreIdentity) -> Spread {
        let partitioner = identity.partitioner.unwrap_or(Partitioner::Murmur2);
        Spread { partitioner, partitions: identity.partitions }
    }

    /// What stands before a key: of very many partitions, some share it.
    pub fn group(self, key: &[u8]) -> u16 {
        if self.partitions == NonZeroU32::MIN {
            0
        } else {
            self.partitioner.place(key, self.partitions).0 as u16
        }
    }

    /// Where the row of `key` lies, in `out`.
    pub fn row_key<'o>(self, key: &[u8], out: &'o mut Vec<u8>) -> &'o [u8] {
        out.clear();
        out.extend_from_slice(&self.group(key).to_be_bytes());
        out.extend_from_slice(key);
        out
    }

    /// Events in the order of their rows, those of a key by partition and order. What is compared first stands beside them: the
    /// group, and what tells a key from others; most comparisons need not look at the event.
    pub fn sorted(self, events: &[NewEvent]) -> Vec<&NewEvent> {
        let first = events.first().map_or(&[][..], |event| event.key.as_ref());
        let common = |length, event: &NewEvent| common_prefix(&first[..length], event.key.as_ref());
        let common = events.iter().fold(first.len(), common);
        let mut sorted: Vec<(u64, &NewEvent)> =
            events.iter().map(|event| (self.rank(event.key.as_ref(), common), event)).collect();
        sorted.sort_unstable_by(|(a_rank, a), (b_rank, b)| {
            a_rank.cmp(b_rank).then_with(|| {
                let (a_event, b_event) = (&a.event, &b.event);
                (&a.key, a_event.partition, a_event.order).cmp(&(&b.key, b_event.partition, b_event.order))
            })
        });
        sorted.into_iter().map(|(_, event)| event).collect()
    }

    /// The group and the next six bytes of a key, behind those that all keys begin with.
    fn rank(self, key: &[u8], common: usize) -> u64 {
        let mut rank = [0; 8];
        let (group, rest) = rank.split_at_mut(2);
        group.copy_from_slice(&self.group(key).to_be_bytes());
        rest.iter_mut().zip(&key[common..]).for_each(|(rank, byte)| *rank = *byte);
        u64::from_be_bytes(rank)
    }
}

fn common_prefix(a: &[u8], b: &[u8]) -> usize {
    a.iter().zip(b).take_while(|(a, b)| a == b).count()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rows_of_a_partition_lie_side_by_side_and_every_key_has_its_own() {
        let spread = Spread { partitions: NonZeroU32::new(7).expect("seven"), ..Spread::default() };
        let keys: Vec<String> = (0..1_000).map(|number| format!("key-{number}")).collect();
        let mut rows: Vec<(Vec<u8>, u32)> = Vec::new();
        for key in &keys {
            let place = spread.partitioner.place(key.as_bytes(), spread.partitions).0;
            rows.push((spread.row_key(key.as_bytes(), &mut Vec::new()).to_vec(), place));
        }
        rows.sort();
        assert!(rows.is_sorted_by_key(|(_, place)| *place));
        assert!(rows.windows(2).all(|pair| pair[0].0 != pair[1].0));
    }
}
