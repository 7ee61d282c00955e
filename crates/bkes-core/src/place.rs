//! Placing keys: which partition the first event of an aggregate goes to.
//!
//! Kafka's clients disagree: Java hashes with murmur2, librdkafka by default with CRC-32. One partitioner must be used by
//! everyone who writes to a topic, so `auto` looks at the foreign records of an existing topic and takes the hash they fit.

use crate::{Key, Partition};
use std::fmt;
use std::num::NonZeroU32;

/// The hash that maps a key to a partition.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Hash)]
pub enum Partitioner {
    /// Java's default, librdkafka's `murmur2_random`.
    Murmur2,
    /// librdkafka's default, `consistent_random`.
    Crc32,
}

impl Partitioner {
    /// The partition of `key` among `count`.
    pub fn place(self, key: &[u8], count: NonZeroU32) -> Partition {
        let hash = match self {
            Partitioner::Murmur2 => murmur2(key) & 0x7fff_ffff,
            Partitioner::Crc32 => crc32(key),
        };
        Partition(hash % count.get())
    }
}

impl fmt::Display for Partitioner {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Partitioner::Murmur2 => "murmur2",
            Partitioner::Crc32 => "crc32",
        })
    }
}

/// What the foreign records seen so far say about the partitioner their writers use.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct PartitionerEvidence {
    /// Records looked at.
    pub records: u64,
    /// Those that lie where murmur2 puts them.
    pub murmur2: u64,
    /// Those that lie where CRC-32 puts them.
    pub crc32: u64,
}

impl PartitionerEvidence {
    /// Takes one foreign record into account.
    pub fn add(&mut self, key: &Key, partition: Partition, count: NonZeroU32) {
        self.records += 1;
        self.murmur2 += u64::from(Partitioner::Murmur2.place(key.as_ref(), count) == partition);
        self.crc32 += u64::from(Partitioner::Crc32.place(key.as_ref(), count) == partition);
    }

    /// The one partitioner that every record fits: murmur2 when there are none or with one partition, `None` when they fit
    /// neither, or both.
    pub fn verdict(&self, count: NonZeroU32) -> Option<Partitioner> {
        match (self.murmur2 == self.records, self.crc32 == self.records) {
            _ if self.records == 0 || count.get() == 1 => Some(Partitioner::Murmur2),
            (true, false) => Some(Partitioner::Murmur2),
            (false, true) => Some(Partitioner::Crc32),
            _ => None,
        }
    }
}

/// Murmur2 as Kafka's Java client computes it (seed 0x9747b28c, 32 bits).
fn murmur2(data: &[u8]) -> u32 {
    const M: u32 = 0x5bd1_e995;
    let mut hash = 0x9747_b28c_u32 ^ data.len() as u32;
    let mut words = data.chunks_exact(4);
    for word in &mut words {
        let mut k = u32::from_le_bytes([word[0], word[1], word[2], word[3]]).wrapping_mul(M);
        k = (k ^ (k >> 24)).wrapping_mul(M);
        hash = hash.wrapping_mul(M) ^ k;
    }
    let rest = words.remainder();
    if !rest.is_empty() {
        for (i, byte) in rest.iter().enumerate() {
            hash ^= u32::from(*byte) << (8 * i);
        }
        hash = hash.wrapping_mul(M);
    }
    hash = (hash ^ (hash >> 13)).wrapping_mul(M);
    hash ^ (hash >> 15)
}

/// CRC-32 (IEEE 802.3, reflected), as zlib and librdkafka compute it; keys are short, so four bits at a time do.
fn crc32(data: &[u8]) -> u32 {
    const TABLE: [u32; 16] = nibble_table();
    !data.iter().fold(!0u32, |mut crc, byte| {
        crc ^= u32::from(*byte);
        crc = TABLE[(crc & 15) as usize] ^ (crc >> 4);
        TABLE[(crc & 15) as usize] ^ (crc >> 4)
    })
}

const fn nibble_table() -> [u32; 16] {
    let mut table = [0; 16];
    let mut i = 0;
    while i < 16 {
        let mut crc = i as u32;
        let mut bit = 0;
        while bit < 4 {
            crc = if crc & 1 == 1 { 0xedb8_8320 ^ (crc >> 1) } else { crc >> 1 };
            bit += 1;
        }
        table[i] = crc;
        i += 1;
    }
    table
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn murmur2_gives_the_values_kafka_documents() {
        for (key, hash) in [("kafka", 0xd067_cf64), ("", 0x106e_08d9)] {
            assert_eq!(murmur2(key.as_bytes()), hash, "{key}");
        }
    }

    /// Kafka's own test of its hash; keys of all lengths modulo four are among them.
    #[test]
    fn murmur2_gives_the_values_of_kafkas_own_test() {
        let values: [(&str, i32); 6] = [
            ("21", -973_932_308),
            ("abc", 479_470_107),
            ("foobar", -790_332_482),
            ("a-little-bit-long-string", -985_981_536),
            ("a-little-bit-longer-string", -1_486_304_829),
            ("lkjh234lh9fiuh90y23oiuhsafujhadof229phr9h19h89h8", -58_897_971),
        ];
        for (key, hash) in values {
            assert_eq!(murmur2(key.as_bytes()) as i32, hash, "{key}");
        }
    }

    #[test]
    fn a_key_lies_at_its_hash_modulo_the_partitions_and_murmur2_without_its_sign() {
        let eleven = NonZeroU32::new(11).expect("eleven");
        assert_eq!(Partitioner::Murmur2.place(b"kafka", eleven), Partition(0x5067_cf64 % 11));
        assert_eq!(Partitioner::Crc32.place(b"123456789", eleven), Partition(0xcbf4_3926 % 11));
        let names = [Partitioner::Murmur2, Partitioner::Crc32].map(|partitioner| partitioner.to_string());
        assert_eq!(names, ["murmur2", "crc32"]);
    }

    #[test]
    fn crc32_gives_the_check_value_of_its_definition() {
        for (data, crc) in [("123456789", 0xcbf4_3926), ("", 0)] {
            assert_eq!(crc32(data.as_bytes()), crc, "{data}");
        }
    }

    #[test]
    fn evidence_decides_only_for_the_hash_every_record_fits() {
        let count = NonZeroU32::new(7).expect("seven");
        let keys: Vec<Key> = (0..50u32).filter_map(|n| Key::new(format!("key-{n}"))).collect();
        for partitioner in [Partitioner::Murmur2, Partitioner::Crc32] {
            let mut evidence = PartitionerEvidence::default();
            for key in &keys {
                evidence.add(key, partitioner.place(key.as_ref(), count), count);
            }
            assert_eq!(evidence.verdict(count), Some(partitioner));
            evidence.add(&keys[0], Partition((partitioner.place(keys[0].as_ref(), count).0 + 1) % 7), count);
            assert_eq!(evidence.verdict(count), None);
        }
        assert_eq!(PartitionerEvidence::default().verdict(count), Some(Partitioner::Murmur2));
    }
}
