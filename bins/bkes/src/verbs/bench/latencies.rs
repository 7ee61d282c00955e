//! Times of calls, counted in buckets: flat memory, however many there are.

use std::time::Duration;

/// Buckets between a power of two and the next: each is at most 1/32 wide, so that a time is told to 3 %.
const PARTS_BITS: u32 = 5;
const PARTS: usize = 1 << PARTS_BITS;

/// Powers of two of a microsecond: up to 2^35, nine hours.
const POWERS: usize = 36;

/// Times of calls.
#[derive(Clone, Debug)]
pub struct Latencies {
    buckets: Vec<u64>,
    count: u64,
    max_us: u64,
}

impl Default for Latencies {
    fn default() -> Latencies {
        Latencies { buckets: vec![0; POWERS * PARTS], count: 0, max_us: 0 }
    }
}

impl Latencies {
    /// A call took so long.
    pub fn record(&mut self, time: Duration) {
        let us = u64::try_from(time.as_micros()).unwrap_or(u64::MAX);
        self.buckets[bucket(us)] += 1;
        self.count += 1;
        self.max_us = self.max_us.max(us);
    }

    /// Takes in other ones.
    pub fn add(&mut self, other: &Latencies) {
        for (mine, theirs) in self.buckets.iter_mut().zip(&other.buckets) {
            *mine += theirs;
        }
        self.count += other.count;
        self.max_us = self.max_us.max(other.max_us);
    }

    /// How many calls there were.
    pub fn count(&self) -> u64 {
        self.count
    }

    /// The longest, in microseconds.
    pub fn max_us(&self) -> u64 {
        self.max_us
    }

    /// So many of a hundred calls took at most this, in microseconds, told at most 1/32 too high; 0 if there were none.
    pub fn percentile_us(&self, percent: u64) -> u64 {
        // The rank is rounded up, so that the 99th of one call is that call.
        let rank = (u128::from(self.count) * u128::from(percent)).div_ceil(100).max(1);
        let mut below = 0;
        for (index, count) in self.buckets.iter().enumerate() {
            below += u128::from(*count);
            if below >= rank {
                return end_us(index).min(self.max_us);
            }
        }
        0
    }
}

/// The bucket of a time.
fn bucket(us: u64) -> usize {
    let power = us.max(1).ilog2();
    if power < PARTS_BITS {
        return us as usize;
    }
    let shift = power - PARTS_BITS;
    let index = ((shift as usize + 1) << PARTS_BITS) + ((us >> shift) as usize - PARTS);
    index.min(POWERS * PARTS - 1)
}

/// The longest time of a bucket.
fn end_us(index: usize) -> u64 {
    if index < PARTS {
        return index as u64;
    }
    let shift = (index >> PARTS_BITS) - 1;
    let part = (index & (PARTS - 1)) + PARTS;
    ((part as u64 + 1) << shift) - 1
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_time_lies_in_its_bucket_and_is_told_to_a_32nd() {
        let times =
            (0..5_000).chain((0..30).flat_map(|power| [(1 << power) - 1, 1 << power, (1 << power) + 1]));
        for us in times {
            let index = bucket(us);
            let (end, before) = (end_us(index), index.checked_sub(1).map(end_us));
            assert!(us <= end && before.is_none_or(|before| us > before), "{us} in {before:?}..={end}");
            assert!(end - us <= us / 32 + 1, "{us} told as {end}");
        }
        assert!(bucket(u64::MAX) < POWERS * PARTS);
    }

    #[test]
    fn percentiles_are_those_of_a_sorted_list() {
        let mut latencies = Latencies::default();
        assert_eq!((latencies.percentile_us(50), latencies.max_us()), (0, 0));
        (1..=1_000).for_each(|ms| latencies.record(Duration::from_millis(ms)));
        for (percent, exact_us) in [(50, 500_000), (95, 950_000), (99, 990_000)] {
            let told = latencies.percentile_us(percent);
            assert!((exact_us..=exact_us + exact_us / 32).contains(&told), "{percent}: {told}");
        }
        assert_eq!((latencies.percentile_us(100), latencies.count()), (1_000_000, 1_000));
        let mut both = Latencies::default();
        both.record(Duration::from_secs(5));
        both.add(&latencies);
        assert_eq!((both.count(), both.max_us()), (1_001, 5_000_000));
        let mut one = Latencies::default();
        one.record(Duration::from_micros(777));
        assert_eq!((one.percentile_us(50), one.percentile_us(99)), (777, 777));
    }
}
