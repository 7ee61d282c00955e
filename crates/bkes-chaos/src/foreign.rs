//! Producers that know nothing of BKES: plain ones, and transactions that commit or abort.

use crate::load::Keys;
use bkes_core::checksum::PayloadSum;
use bkes_core::{
    BatchPlace, Header, Incarnation, Key, Marker, Order, Partition, Partitioner, Position, Stamp,
};
use bkes_foreign::{Cluster, ForeignRecord, Producer};
use fastrand::Rng;
use std::num::NonZeroU32;
use std::sync::Arc;
use std::time::Duration;

/// The one transactional id: a new producer ends what an earlier one left open.
const TRANSACTIONAL: &str = "chaos";

/// Writers of records that are not ours.
pub struct Foreign {
    /// The brokers.
    pub brokers: String,
    /// The topic.
    pub topic: String,
    /// Its partitions.
    pub partitions: NonZeroU32,
    /// The keys that everybody uses.
    pub keys: Arc<Keys>,
}

impl Foreign {
    /// Some records, written as they come.
    pub fn plain(&self, random: &mut Rng) -> anyhow::Result<()> {
        let producer = Cluster::new(&self.brokers).producer(&[("message.timeout.ms", "10000")])?;
        self.send_some(&producer, random)?;
        Ok(producer.flush()?)
    }

    /// A transaction that stays open for a while, and then commits or aborts.
    pub fn transaction(&self, commit: bool, open: Duration, random: &mut Rng) -> anyhow::Result<()> {
        let producer = Cluster::new(&self.brokers).transactional(TRANSACTIONAL)?;
        producer.begin()?;
        self.send_some(&producer, random)?;
        producer.flush()?;
        std::thread::sleep(open);
        Ok(if commit { producer.commit() } else { producer.abort() }?)
    }

    /// Ends what a transaction left open, if one did.
    pub fn end_transactions(&self) -> anyhow::Result<()> {
        Cluster::new(&self.brokers).transactional(TRANSACTIONAL)?;
        Ok(())
    }

    /// Writes one last record to every partition; who shows them has read everything before. The key of each.
    pub fn sentinels(&self) -> anyhow::Result<Vec<Key>> {
        let producer = Cluster::new(&self.brokers).producer(&[])?;
        let keys = (0..self.partitions.get()).map(|partition| self.key_in(Partition(partition)));
        let keys: Vec<Key> = keys.collect();
        for key in &keys {
            self.send(&producer, Some(key), Some(format!("the end of {key}").as_bytes()), &[])?;
        }
        producer.flush()?;
        Ok(keys)
    }

    fn key_in(&self, partition: Partition) -> Key {
        let mut names = (0..).filter_map(|number: u64| Key::new(format!("end-{number}")));
        let found = names.find(|key| Partitioner::Murmur2.place(key.as_ref(), self.partitions) == partition);
        found.expect("there are names without end")
    }

    /// Records as others write them: with headers that look like ours, without a value, without a key.
    fn send_some(&self, producer: &Producer, random: &mut Rng) -> anyhow::Result<()> {
        for _ in 0..random.u8(3..20) {
            let key = self.keys.pick(random);
            let value = format!("foreign-{:016x}", random.u64(..));
            match random.u8(..10) {
                0 => self.send(producer, Some(&key), None, &[])?,
                1 => self.send(producer, None, Some(value.as_bytes()), &[])?,
                2 => self.send(producer, Some(&key), Some(value.as_bytes()), &[("order", Some(b"3"))])?,
                3 => self.send(producer, Some(&key), Some(value.as_bytes()), &[("bkes", Some(b"1;x"))])?,
                4 => {
                    let marker = marker_of_another(random);
                    let headers = [("order", &marker[0]), ("bkes", &marker[1]), ("order", &marker[0])];
                    let headers = headers.map(|(name, value)| (name, value.value.as_deref()));
                    // As it was forwarded, or with an order of the forwarder's own before or after it.
                    let from = random.usize(..2);
                    let until = random.usize(2..4);
                    self.send(producer, Some(&key), Some(value.as_bytes()), &headers[from..until])?;
                }
                _ => self.send(producer, Some(&key), Some(value.as_bytes()), &[])?,
            }
        }
        Ok(())
    }

    fn send(
        &self,
        producer: &Producer,
        key: Option<&Key>,
        value: Option<&[u8]>,
        headers: &[(&str, Option<&[u8]>)],
    ) -> anyhow::Result<()> {
        let partition = key.map_or(0, |key| Partitioner::Murmur2.place(key.as_ref(), self.partitions).0);
        let (key, partition) = (key.map(AsRef::as_ref), Some(partition));
        Ok(producer.send(
            &self.topic,
            &ForeignRecord { key, value, partition, headers, ..ForeignRecord::default() },
        )?)
    }
}

/// The two headers of a record of BKES that is another one than theirs: a processor carried them along.
fn marker_of_another(random: &mut Rng) -> [Header; 2] {
    let count = 2;
    let place = random.bool().then_some(BatchPlace { i: random.u32(1..=count), count });
    let stamp = Stamp { incarnation: Incarnation(random.u64(..)), number: random.u64(1..100), place };
    let marker = Marker { stamp, order: Order(random.u64(..20)), base: Position(random.u64(..1_000)) };
    marker.headers(PayloadSum::of(Some(b"the key it answers"), Some(b"the value it answers")))
}
