//! Partitions that have fewer replicas in sync than a write needs: their leader refuses every record, and librdkafka tries again
//! and says nothing until a record's time is over. So it is known from the topic's metadata, before anything is sent.

use crate::lock::lock;
use bkes_core::Partition;
use std::collections::BTreeMap;
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, Ordering};

/// What the last look at the topic said. Looked at for each record, so without a lock while nothing is short.
#[derive(Default)]
pub(crate) struct Shortage {
    short: Mutex<BTreeMap<Partition, String>>,
    /// Written under the lock.
    is_any: AtomicBool,
}

impl Shortage {
    /// What is wrong with a partition.
    pub fn of(&self, partition: Partition) -> Option<String> {
        if !self.is_any.load(Ordering::Acquire) {
            return None;
        }
        lock(&self.short).get(&partition).cloned()
    }

    /// Takes over how many replicas of each partition are in sync, and how many a write needs, if that is known. What changed
    /// leaves a line.
    pub fn note(&self, in_sync: &[(Partition, u32)], needed: Option<u32>) {
        let needed = needed.unwrap_or(0);
        let is_short = |(_, count): &&(Partition, u32)| *count < needed;
        if !self.is_any.load(Ordering::Acquire) && !in_sync.iter().any(|one| is_short(&one)) {
            return;
        }
        let now: BTreeMap<Partition, String> = in_sync
            .iter()
            .filter(is_short)
            .map(|(partition, count)| (*partition, words(*partition, *count, needed)))
            .collect();
        let mut before = lock(&self.short);
        for (partition, reason) in now.iter().filter(|(partition, _)| !before.contains_key(partition)) {
            tracing::warn!(partition = partition.0, "{reason}; its appends are refused until then");
        }
        for partition in before.keys().filter(|partition| !now.contains_key(partition)) {
            tracing::info!(partition = partition.0, "enough replicas are in sync again");
        }
        self.is_any.store(!now.is_empty(), Ordering::Release);
        *before = now;
    }
}

fn words(partition: Partition, count: u32, needed: u32) -> String {
    let replicas = if count == 1 { "replica" } else { "replicas" };
    format!(
        "partition {partition} has {count} {replicas} in sync, and min.insync.replicas={needed}: bring its other replicas back"
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_partition_is_short_while_it_has_too_few_replicas_and_no_longer() {
        let (shortage, zero, one) = (Shortage::default(), Partition(0), Partition(1));
        shortage.note(&[(zero, 0), (one, 1)], None);
        assert_eq!((shortage.of(zero), shortage.of(one)), (None, None), "nobody said how many it needs");
        shortage.note(&[(zero, 2), (one, 1)], Some(2));
        assert_eq!(shortage.of(zero), None);
        let said = shortage.of(one).expect("it has one of two");
        assert!(said.contains("1 replica in sync") && said.contains("min.insync.replicas=2"), "{said}");
        shortage.note(&[(zero, 2), (one, 2)], Some(2));
        assert_eq!(shortage.of(one), None);
    }
}
