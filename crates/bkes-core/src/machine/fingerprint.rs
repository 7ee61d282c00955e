//! The fingerprint of a record: what tells it from another at the same offset. Its bytes are a format (docs/formats.md).

use crate::checksum::{PartsSum, PayloadSum, record_sum};
use crate::{Fingerprint, Header, LeaderEpoch, Record};

/// Of a record as it was read, and who took it.
pub fn fingerprint(record: &Record, epoch: Option<LeaderEpoch>) -> Fingerprint {
    Fingerprint { offset: record.offset, crc32c: record_sum(record), epoch }
}

/// CRC-32C over key, value, and name and value of each header, each with its length before it; of a record that is sent.
pub fn checksum(payload: PayloadSum, headers: &[Header]) -> u32 {
    let mut sum = PartsSum::after(payload);
    for header in headers {
        sum.part(Some(&header.name));
        sum.part(header.value.as_deref());
    }
    sum.finish()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Header, Offset, Partition};
    use bytes::Bytes;

    /// As the format has it: all parts one after the other.
    fn plain(record: &Record) -> u32 {
        let mut all = Vec::new();
        let mut part = |bytes: Option<&[u8]>| {
            all.extend(bytes.map_or(u64::MAX, |bytes| bytes.len() as u64).to_le_bytes());
            all.extend(bytes.unwrap_or_default());
        };
        part(record.key.as_deref());
        part(record.value.as_deref());
        for header in &record.headers {
            part(Some(&header.name));
            part(header.value.as_deref());
        }
        crc32c::crc32c(&all)
    }

    #[test]
    fn a_fingerprint_is_the_checksum_of_all_parts_in_turn() {
        let mut random = fastrand::Rng::with_seed(11);
        for _ in 0..5_000 {
            let mut bytes = |most: usize| {
                let length = random.usize(..most);
                let bytes: Vec<u8> = (0..length).map(|_| random.u8(..)).collect();
                (random.u8(..8) > 0).then(|| Bytes::from(bytes))
            };
            let headers = (0..3).map(|_| Header { name: bytes(40).unwrap_or_default(), value: bytes(300) });
            let headers = headers.collect();
            let (key, value) = (bytes(300), bytes(600));
            let (partition, offset) = (Partition(0), Offset(7));
            let record = Record { partition, offset, timestamp: None, key, value, headers };
            let epoch = Some(LeaderEpoch(3));
            assert_eq!(fingerprint(&record, epoch), Fingerprint { offset, crc32c: plain(&record), epoch });
            let payload = PayloadSum::of(record.key.as_deref(), record.value.as_deref());
            assert_eq!(checksum(payload, &record.headers), plain(&record));
        }
    }
}
