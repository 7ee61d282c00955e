//! The fingerprint of a record: what tells it from another at the same offset. Its bytes are a format (docs/formats.md).

use bkes_core::{Header, Record};
use bkes_storage::Fingerprint;

/// Parts up to this size are gathered, since each call of the checksum costs as much as some 200 bytes do.
const GATHERED_BYTES: usize = 256;

/// Of a record as it was read.
pub fn fingerprint(record: &Record) -> Fingerprint {
    let crc32c = checksum(record.key.as_deref(), record.value.as_deref(), &record.headers);
    Fingerprint { offset: record.offset, crc32c }
}

/// CRC-32C over key, value, and name and value of each header, each with its length before it.
pub fn checksum(key: Option<&[u8]>, value: Option<&[u8]>, headers: &[Header]) -> u32 {
    let mut sum = Sum { crc: 0, gathered: [0; GATHERED_BYTES], length: 0 };
    sum.part(key);
    sum.part(value);
    for header in headers {
        sum.part(Some(&header.name));
        sum.part(header.value.as_deref());
    }
    sum.flush();
    sum.crc
}

struct Sum {
    crc: u32,
    gathered: [u8; GATHERED_BYTES],
    length: usize,
}

impl Sum {
    fn part(&mut self, bytes: Option<&[u8]>) {
        let length = bytes.map_or(u64::MAX, |bytes| bytes.len() as u64);
        self.add(&length.to_le_bytes());
        self.add(bytes.unwrap_or_default());
    }

    fn add(&mut self, bytes: &[u8]) {
        if self.length + bytes.len() > GATHERED_BYTES {
            self.flush();
        }
        match self.gathered.get_mut(self.length..self.length + bytes.len()) {
            Some(room) => {
                room.copy_from_slice(bytes);
                self.length += bytes.len();
            }
            None => self.crc = crc32c::crc32c_append(self.crc, bytes),
        }
    }

    fn flush(&mut self) {
        self.crc = crc32c::crc32c_append(self.crc, &self.gathered[..self.length]);
        self.length = 0;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use bkes_core::{Header, Offset, Partition};
    use bytes::Bytes;

    /// As the format has it: all parts one behind the other.
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
            assert_eq!(fingerprint(&record), Fingerprint { offset, crc32c: plain(&record) });
        }
    }
}
