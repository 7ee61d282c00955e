//! Placing keys: which partition the first event of an aggregate goes to.
//!
//! Kafka's clients disagree: Java hashes with murmur2, librdkafka by default with CRC-32, Go's sarama with FNV-1a. One partitioner
//! must be used by everyone who writes to a topic, so `auto` takes the one that the keys of an existing topic tell ([`crate::evidence`]).

use crate::Partition;
use std::fmt;
use std::num::NonZeroU32;

/// The hash that maps a key to a partition.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Hash)]
pub enum Partitioner {
    /// Java's default, librdkafka's `murmur2_random`.
    Murmur2,
    /// librdkafka's default, `consistent_random`.
    Crc32,
    /// The default of Go's sarama, `NewHashPartitioner`; librdkafka's `fnv1a_random`.
    Fnv1a,
}

impl Partitioner {
    /// The partition of `key` among `count`.
    pub fn place(self, key: &[u8], count: NonZeroU32) -> Partition {
        self.fold(self.hash(key), count)
    }

    /// All of them, the one first that a topic without keys gets.
    pub const ALL: [Partitioner; 3] = [Partitioner::Murmur2, Partitioner::Crc32, Partitioner::Fnv1a];

    /// The hash of a key, of which a partition is the remainder.
    pub(crate) fn hash(self, key: &[u8]) -> u32 {
        match self {
            Partitioner::Murmur2 => murmur2(key) & 0x7fff_ffff,
            Partitioner::Crc32 => crc32(key),
            // The remainder of a signed number without its sign is that of the number without its sign.
            Partitioner::Fnv1a => (fnv1a(key) as i32).unsigned_abs(),
        }
    }

    /// The partition of a hash among `count`.
    pub(crate) fn fold(self, hash: u32, count: NonZeroU32) -> Partition {
        Partition(hash % count.get())
    }
}

impl fmt::Display for Partitioner {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Partitioner::Murmur2 => "murmur2",
            Partitioner::Crc32 => "crc32",
            Partitioner::Fnv1a => "fnv1a",
        })
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

/// FNV-1a of 32 bits.
fn fnv1a(data: &[u8]) -> u32 {
    data.iter().fold(0x811c_9dc5, |hash: u32, byte| (hash ^ u32::from(*byte)).wrapping_mul(0x0100_0193))
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

    /// librdkafka's own test of its hash (`rdfnv1a.c`), whose values come from Go's `hash/fnv`; sarama's `NewHashPartitioner` takes
    /// the remainder of the signed hash and drops its sign, where `NewReferenceHashPartitioner` would drop the sign first.
    #[test]
    fn fnv1a_gives_the_values_of_librdkafkas_own_test() {
        let values = [
            ("kafka", 0x0d33_c4e1),
            ("giberish123456789", 0x77a5_8295),
            ("1234", 0x023b_dd03),
            ("234", 0x2dea_3cd2),
            ("34", 0x740f_a83e),
            ("4", 0x310c_a263),
            ("PreAmbleWillBeRemoved,ThePrePartThatIs", 0x65cb_d69c),
            ("reAmbleWillBeRemoved,ThePrePartThatIs", 0x6e49_c79a),
            ("", 0x7ee3_623b),
        ];
        for (key, hash) in values {
            assert_eq!((fnv1a(key.as_bytes()) as i32).unsigned_abs(), hash, "{key}");
            let seven = NonZeroU32::new(7).expect("seven");
            assert_eq!(Partitioner::Fnv1a.place(key.as_bytes(), seven), Partition(hash % 7), "{key}");
        }
        // A negative one.
        let (hash, five) = (fnv1a(b"") as i32, NonZeroU32::new(5).expect("five"));
        assert!(hash < 0);
        assert_eq!(Partitioner::Fnv1a.place(b"", five), Partition((hash % 5).unsigned_abs()));
    }
}
