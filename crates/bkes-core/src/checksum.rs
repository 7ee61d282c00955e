//! CRC-32C over the parts of a record, each with its length: what markers and fingerprints are made of (docs/formats.md).
//!
//! A part is its length as u64, little-endian, and its bytes; null is the length 2^64 - 1, so that it is told from empty.
//! Key and value come first in every sum, so that one pass over them serves several: [`PayloadSum`].

use crate::Record;

/// Parts up to this size together are copied side by side: each call of the checksum costs as much as some 200 bytes do.
const GATHERED_BYTES: usize = 320;

/// The sum over a record's key and value, from which sums go on.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct PayloadSum(u32);

impl PayloadSum {
    /// Of this key and value.
    pub fn of(key: Option<&[u8]>, value: Option<&[u8]>) -> PayloadSum {
        let mut sum = PartsSum::new();
        sum.part(key);
        sum.part(value);
        PayloadSum(sum.finish())
    }
}

/// The sum over a whole record: key, value, and name and value of each header. What fingerprints hold.
pub fn record_sum(record: &Record) -> u32 {
    let mut sum = PartsSum::over_payload(record);
    for header in &record.headers {
        sum.part(Some(&header.name));
        sum.part(header.value.as_deref());
    }
    sum.finish()
}

/// A sum that grows part by part.
#[derive(Clone, Debug)]
pub struct PartsSum {
    crc: u32,
    gathered: [u8; GATHERED_BYTES],
    length: usize,
}

impl PartsSum {
    /// Over nothing yet.
    #[expect(
        clippy::new_without_default,
        reason = "a sum over nothing is no value that anyone means by default"
    )]
    #[inline]
    pub fn new() -> PartsSum {
        PartsSum { crc: 0, gathered: [0; GATHERED_BYTES], length: 0 }
    }

    /// Goes on after key and value.
    #[inline]
    pub fn after(payload: PayloadSum) -> PartsSum {
        let mut sum = PartsSum::new();
        sum.crc = payload.0;
        sum
    }

    /// Over a record's key and value so far.
    #[inline]
    pub fn over_payload(record: &Record) -> PartsSum {
        let mut sum = PartsSum::new();
        sum.part(record.key.as_deref());
        sum.part(record.value.as_deref());
        sum
    }

    /// Adds a part.
    pub fn part(&mut self, bytes: Option<&[u8]>) {
        let length = bytes.map_or(u64::MAX, |bytes| bytes.len() as u64).to_le_bytes();
        let bytes = bytes.unwrap_or_default();
        let end = self.length + length.len() + bytes.len();
        if let Some(room) = self.gathered.get_mut(self.length..end) {
            let (first, rest) = room.split_at_mut(length.len());
            first.copy_from_slice(&length);
            rest.copy_from_slice(bytes);
            self.length = end;
            return;
        }
        self.flush();
        self.crc = crc32c::crc32c_append(self.crc, &length);
        if bytes.len() > GATHERED_BYTES {
            self.crc = crc32c::crc32c_append(self.crc, bytes);
        } else {
            self.gathered[..bytes.len()].copy_from_slice(bytes);
            self.length = bytes.len();
        }
    }

    /// The sum over all parts.
    pub fn finish(&mut self) -> u32 {
        self.flush();
        self.crc
    }

    fn flush(&mut self) {
        self.crc = crc32c::crc32c_append(self.crc, &self.gathered[..self.length]);
        self.length = 0;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// As the format has it: all parts one after the other.
    fn plain(parts: &[Option<Vec<u8>>]) -> u32 {
        let mut all = Vec::new();
        for part in parts {
            all.extend(part.as_ref().map_or(u64::MAX, |part| part.len() as u64).to_le_bytes());
            all.extend(part.as_deref().unwrap_or_default());
        }
        crc32c::crc32c(&all)
    }

    #[test]
    fn a_sum_is_the_checksum_of_all_parts_in_turn_wherever_it_goes_on_from() {
        let mut random = fastrand::Rng::with_seed(11);
        for _ in 0..5_000 {
            let part = |random: &mut fastrand::Rng| {
                let most = [20, 330, 700][random.usize(..3)];
                let length = random.usize(..most);
                (random.u8(..8) > 0).then(|| (0..length).map(|_| random.u8(..)).collect::<Vec<u8>>())
            };
            let parts: Vec<_> = (0..random.usize(2..7)).map(|_| part(&mut random)).collect();
            let mut whole = PartsSum::new();
            parts.iter().for_each(|part| whole.part(part.as_deref()));
            let mut shared = PartsSum::after(PayloadSum::of(parts[0].as_deref(), parts[1].as_deref()));
            parts[2..].iter().for_each(|part| shared.part(part.as_deref()));
            let expected = plain(&parts);
            assert_eq!((whole.finish(), shared.finish()), (expected, expected));
        }
    }

    #[test]
    fn null_is_told_from_empty_and_parts_from_each_other() {
        let empty = PayloadSum::of(Some(b""), Some(b""));
        let others = [
            PayloadSum::of(None, Some(b"")),
            PayloadSum::of(Some(b""), None),
            PayloadSum::of(Some(b"ab"), Some(b"c")),
            PayloadSum::of(Some(b"a"), Some(b"bc")),
        ];
        for (index, other) in others.iter().enumerate() {
            assert!(*other != empty && others[..index].iter().all(|earlier| earlier != other));
        }
    }
}
