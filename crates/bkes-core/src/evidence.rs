//! What the keys of a topic say about the hash that placed them.
//!
//! The evidence is *distinct keys*: the first keys of each partition in offset order, whoever wrote them, so a key that is written a
//! thousand times counts once, and every instance that read the topic to the same place has the same evidence.
//!
//! **The weight of a hash.** A key that something else placed lies where a hash puts it by chance, once in `n` partitions. That `f` of
//! `k` keys or more do so has a chance of at most `exp(-w)` with `w = k * KL(f/k || 1/n)` (Chernoff's bound; `KL` is the relative
//! entropy). `w` is the weight. If all keys fit, `w` is `k * ln n`: ten keys weigh 6.9 in two partitions, three weigh 7.5 in twelve.
//!
//! **Topics that grew.** Keys from before lie where the hash puts them among the old number of partitions `m`, and fit the new
//! number by chance only (1 in 6 from 5 to 6; half of them where it doubled). So each hash is weighed for every older count too, of
//! which the best counts, less the logarithm of how many there were to choose from. New partitions have new keys only, and with the
//! first keys of *each* partition they are a fair part of the evidence.
//!
//! **The decision.** A hash is taken if its weight is at least `ln 1,000` (by chance once in a thousand topics), and each other
//! one's is at most an eighth of it. One stray key changes next to nothing in either. Where a second writer places a fifth of the keys
//! by another hash, the first one is still taken; where it places a third of them, none is. Where every key was written by BKES there
//! is no stranger's hash to be told from the three, so the heaviest is taken. A topic without keys gets murmur2.

use crate::{Partition, Partitioner};
use std::fmt;
use std::num::NonZeroU32;

/// Keys of all partitions together that are evidence: enough to tell a clear majority, and judged in some milliseconds.
const KEYS_MAX: usize = 2_048;

/// Older counts that are tried: all up to this one, and the highest partition that has a key.
const OLD_COUNTS_MAX: u32 = 256;

/// The least weight that decides: the logarithm of 1,000.
const WEIGHT_MIN: f64 = 6.907;

/// How much heavier than each other hash the one that is taken must be.
const MARGIN: f64 = 8.0;

/// How many keys of each of so many partitions are evidence: at least two, so that topics of very many partitions have some.
pub fn keys_of_a_partition_max(partitions: NonZeroU32) -> usize {
    (KEYS_MAX / partitions.get() as usize).max(2)
}

/// A key, and where it lies.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub struct PlacedKey {
    partition: Partition,
    /// As [`Partitioner::ALL`] has them.
    hashes: [u32; 3],
    is_foreign: bool,
}

impl PlacedKey {
    /// A key whose first record lies in `partition`; `is_foreign` if BKES did not write it.
    pub fn new(key: &[u8], partition: Partition, is_foreign: bool) -> PlacedKey {
        PlacedKey { partition, hashes: Partitioner::ALL.map(|partitioner| partitioner.hash(key)), is_foreign }
    }
}

/// Whether the keys that were looked at are all there were.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Completeness {
    /// The first keys of each partition.
    Whole,
    /// An earlier run read some of the topic and decided nothing; its keys are not among these.
    Part,
}

/// What the keys say, in numbers.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Evidence {
    /// Distinct keys looked at.
    pub keys: u32,
    /// Those whose first record BKES did not write.
    pub foreign: u32,
    /// How many lie where each hash puts them among today's partitions, as [`Partitioner::ALL`] has them.
    pub fits: [u32; 3],
    /// Today's number of partitions.
    pub partitions: u32,
}

impl fmt::Display for Evidence {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "of {} distinct keys", self.keys)?;
        for (partitioner, fits) in Partitioner::ALL.iter().zip(self.fits) {
            write!(f, ", {fits} lie where {partitioner} puts them")?;
        }
        let chance = f64::from(self.keys) / f64::from(self.partitions.max(1));
        write!(f, "; by chance {chance:.0} would, among {} partitions", self.partitions)
    }
}

/// The evidence, and what it decides.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Verdict {
    /// The hash to place new keys with; `None` if that cannot be told.
    pub partitioner: Option<Partitioner>,
    /// On what evidence.
    pub evidence: Evidence,
}

/// Judges keys of a topic that has `count` partitions today. Their order does not matter.
pub fn judge(keys: &[PlacedKey], count: NonZeroU32, completeness: Completeness) -> Verdict {
    let fits = [0, 1, 2].map(|hash| fits(keys, hash, count.get()));
    let foreign = keys.iter().filter(|key| key.is_foreign).count() as u32;
    let evidence = Evidence { keys: keys.len() as u32, foreign, fits, partitions: count.get() };
    let weights = [0, 1, 2].map(|hash| weight(keys, hash, count.get()));
    let best = (0..3).rev().max_by(|a, b| weights[*a].total_cmp(&weights[*b])).unwrap_or(0);
    let is_clear = weights[best] >= WEIGHT_MIN
        && (0..3).all(|other| other == best || weights[other] * MARGIN <= weights[best]);
    let is_ours = foreign == 0 && completeness == Completeness::Whole;
    let decided = count.get() == 1 || is_ours || is_clear;
    let partitioner = decided.then(|| Partitioner::ALL[if count.get() == 1 { 0 } else { best }]);
    Verdict { partitioner, evidence }
}

/// How many keys lie where a hash puts them among `count` partitions.
fn fits(keys: &[PlacedKey], hash: usize, count: u32) -> u32 {
    let Some(count) = NonZeroU32::new(count) else { return 0 };
    let fits = |key: &&PlacedKey| Partitioner::ALL[hash].fold(key.hashes[hash], count) == key.partition;
    keys.iter().filter(fits).count() as u32
}

/// How much speaks for a hash: for today's number of partitions, or for the older one that it fits best.
fn weight(keys: &[PlacedKey], hash: usize, count: u32) -> f64 {
    let highest = keys.iter().map(|key| key.partition.0 + 1).max().unwrap_or(0);
    let older = (2..count.min(OLD_COUNTS_MAX)).chain(Some(highest).filter(|old| (2..count).contains(old)));
    let price = f64::from(count.min(OLD_COUNTS_MAX)).ln();
    let of = |count: u32| surprise(fits(keys, hash, count), keys.len() as u32, count);
    older.map(|old| of(old) - price).fold(of(count), f64::max)
}

/// `k * KL(f/k || 1/n)`: how unlikely it is that so many of the keys fit by chance.
fn surprise(fits: u32, keys: u32, count: u32) -> f64 {
    let (share, chance) = (f64::from(fits) / f64::from(keys.max(1)), 1.0 / f64::from(count));
    if share <= chance {
        return 0.0;
    }
    let rest = if fits == keys { 0.0 } else { (1.0 - share) * ((1.0 - share) / (1.0 - chance)).ln() };
    f64::from(keys) * (share * (share / chance).ln() + rest)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn count(partitions: u32) -> NonZeroU32 {
        NonZeroU32::new(partitions).expect("not zero")
    }

    /// Keys `from..to`, as a writer places them.
    fn keys(range: std::ops::Range<u32>, place: impl Fn(&[u8]) -> Partition) -> Vec<PlacedKey> {
        let placed = |n| {
            let key = format!("order-{n}-{}", n * 7919 % 1000);
            PlacedKey::new(key.as_bytes(), place(key.as_bytes()), true)
        };
        range.map(placed).collect()
    }

    fn by(partitioner: Partitioner, partitions: u32) -> impl Fn(&[u8]) -> Partition {
        move |key| partitioner.place(key, count(partitions))
    }

    fn decided(keys: &[PlacedKey], partitions: u32) -> Option<Partitioner> {
        judge(keys, count(partitions), Completeness::Whole).partitioner
    }

    #[test]
    fn each_hash_is_told_and_one_stray_key_does_not_stop_it() {
        for partitioner in Partitioner::ALL {
            for partitions in [2, 3, 5, 12, 100, 1_000] {
                let mut placed = keys(0..200, by(partitioner, partitions));
                assert_eq!(decided(&placed, partitions), Some(partitioner), "{partitions} partitions");
                let stray =
                    |key: &[u8]| Partition((partitioner.place(key, count(partitions)).0 + 1) % partitions);
                placed.extend(keys(900..901, stray));
                assert_eq!(
                    decided(&placed, partitions),
                    Some(partitioner),
                    "{partitions} partitions, a stray"
                );
            }
        }
    }

    #[test]
    fn few_keys_tell_among_many_partitions_and_not_among_two() {
        let of = |n, partitions| decided(&keys(0..n, by(Partitioner::Crc32, partitions)), partitions);
        assert_eq!((of(3, 12), of(1, 1_000)), (Some(Partitioner::Crc32), Some(Partitioner::Crc32)));
        assert_eq!((of(5, 2), of(2, 12)), (None, None), "by chance that is so too often");
    }

    /// A topic that grew was given up, since its old keys do not lie where the hash puts them now.
    #[test]
    fn a_topic_that_grew_once_is_told_with_and_without_new_keys() {
        for partitioner in Partitioner::ALL {
            for (old, new) in [(3, 6), (5, 6), (5, 12), (7, 100), (300, 301)] {
                let mut placed = keys(0..400, by(partitioner, old));
                assert_eq!(decided(&placed, new), Some(partitioner), "{old} to {new}, no new keys");
                placed.extend(keys(1_000..1_100, by(partitioner, new)));
                assert_eq!(decided(&placed, new), Some(partitioner), "{old} to {new}");
            }
        }
    }

    #[test]
    fn a_clear_majority_decides_and_none_does_not() {
        let mixed = |crc32: u32| {
            let mut placed = keys(0..1_000 - crc32, by(Partitioner::Murmur2, 5));
            placed.extend(keys(2_000..2_000 + crc32, by(Partitioner::Crc32, 5)));
            decided(&placed, 5)
        };
        assert_eq!((mixed(0), mixed(200)), (Some(Partitioner::Murmur2), Some(Partitioner::Murmur2)));
        assert_eq!((mixed(400), mixed(500), mixed(600)), (None, None, None));
        assert_eq!((mixed(800), mixed(1_000)), (Some(Partitioner::Crc32), Some(Partitioner::Crc32)));
    }

    /// Seeded, so that it is the same each time: what no hash placed is not taken for one's.
    #[test]
    fn keys_that_none_of_the_hashes_placed_decide_nothing() {
        for seed in 0..300 {
            let random = std::cell::RefCell::new(fastrand::Rng::with_seed(seed));
            let partitions = 2 + (seed % 30) as u32;
            let anywhere = |_: &[u8]| Partition(random.borrow_mut().u32(..partitions));
            assert_eq!(decided(&keys(0..300, anywhere), partitions), None, "seed {seed}");
        }
        assert_eq!(decided(&keys(0..300, |_| Partition(0)), 5), None, "it grew from one partition");
    }

    #[test]
    fn a_topic_without_keys_gets_murmur2_and_one_that_bkes_wrote_what_fits_best() {
        assert_eq!(decided(&[], 5), Some(Partitioner::Murmur2));
        let own: Vec<PlacedKey> = keys(0..3, by(Partitioner::Fnv1a, 5))
            .into_iter()
            .map(|key| PlacedKey { is_foreign: false, ..key })
            .collect();
        assert_eq!(decided(&own, 5), Some(Partitioner::Fnv1a));
        let of_part = |keys: &[PlacedKey]| judge(keys, count(5), Completeness::Part).partitioner;
        assert_eq!((of_part(&[]), of_part(&own)), (None, None), "the keys of an earlier run are not known");
        assert_eq!(judge(&own, count(1), Completeness::Part).partitioner, Some(Partitioner::Murmur2));
    }

    #[test]
    fn the_evidence_is_said_in_a_sentence() {
        let evidence = Evidence { keys: 12, foreign: 12, fits: [12, 3, 2], partitions: 5 };
        assert_eq!(
            evidence.to_string(),
            "of 12 distinct keys, 12 lie where murmur2 puts them, 3 lie where crc32 puts them, 2 lie where fnv1a puts them; by \
             chance 2 would, among 5 partitions"
        );
    }
}
