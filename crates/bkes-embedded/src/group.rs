//! What stands before the records that were written with one call: the header of their group.
//!
//! ```text
//! "GRP" 0xff | 8 bytes mark of the file | u64 position | u32 bytes | u32 records | u32 CRC-32C of the frames | u32 CRC-32C of all before
//! ```
//!
//! All numbers are little-endian. `position` is where the header lies. A group is written only after everything before it was
//! synced, so a header also says: *every byte before my position was on disk*. A group without records is a *seal*: it says
//! only that.
//!
//! The first four bytes are no length of a frame: a reader that walks frames knows a header when it comes to one. The mark is
//! drawn when the file is made, so that nothing a caller stores is taken for a header of this file.

/// The bytes of a header.
pub const HEADER_BYTES: usize = 36;

/// What a header begins with. As a length it would be above 4 billion, far above any frame.
const TAG: &[u8; 4] = b"GRP\xff";

/// Bytes drawn when a file is made, which all headers of its groups have.
pub type Mark = [u8; 8];

/// The header of a group.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct GroupHeader {
    /// Where the header lies in the file; all before it was synced before it was written.
    pub position: u64,
    /// The bytes of the frames that follow.
    pub bytes: u32,
    /// How many frames they are.
    pub records: u32,
    /// The checksum of those bytes.
    pub crc32c: u32,
}

impl GroupHeader {
    /// The header of these frames.
    ///
    /// # Panics
    ///
    /// If the frames have 4 GiB or more; the queue's limit is far below.
    pub fn of(position: u64, frames: &[u8], records: usize) -> GroupHeader {
        GroupHeader {
            position,
            bytes: u32::try_from(frames.len()).expect("a group is not larger than the queue"),
            records: u32::try_from(records).expect("a group has no more records than the queue"),
            crc32c: crc32c::crc32c(frames),
        }
    }

    /// Where the group ends.
    pub fn end(&self) -> u64 {
        self.frames() + u64::from(self.bytes)
    }

    /// Where its first frame lies.
    pub fn frames(&self) -> u64 {
        self.position + HEADER_BYTES as u64
    }

    /// As it lies in the file.
    pub fn to_bytes(self, mark: Mark) -> [u8; HEADER_BYTES] {
        let mut out = [0; HEADER_BYTES];
        out[..4].copy_from_slice(TAG);
        out[4..12].copy_from_slice(&mark);
        out[12..20].copy_from_slice(&self.position.to_le_bytes());
        out[20..24].copy_from_slice(&self.bytes.to_le_bytes());
        out[24..28].copy_from_slice(&self.records.to_le_bytes());
        out[28..32].copy_from_slice(&self.crc32c.to_le_bytes());
        let crc = crc32c::crc32c(&out[..HEADER_BYTES - 4]);
        out[HEADER_BYTES - 4..].copy_from_slice(&crc.to_le_bytes());
        out
    }
}

/// Whether a header begins here, or could with more bytes.
pub fn begins(bytes: &[u8]) -> bool {
    bytes.len() >= TAG.len() && bytes.starts_with(TAG)
}

/// The header at the front of `bytes`; `None` when it is none of a file with this mark, or not whole.
pub fn get(bytes: &[u8], mark: Mark) -> Option<GroupHeader> {
    let header = bytes.get(..HEADER_BYTES)?;
    let u32_at = |at: usize| u32::from_le_bytes([header[at], header[at + 1], header[at + 2], header[at + 3]]);
    let is_ours = begins(header) && header[4..12] == mark;
    if !is_ours || u32_at(HEADER_BYTES - 4) != crc32c::crc32c(&header[..HEADER_BYTES - 4]) {
        return None;
    }
    let position = u64::from_le_bytes(header[12..20].try_into().expect("these are eight bytes"));
    Some(GroupHeader { position, bytes: u32_at(20), records: u32_at(24), crc32c: u32_at(28) })
}

/// The first place in `bytes` where a whole header of this mark lies that `is_wanted`.
pub fn find(bytes: &[u8], mark: Mark, is_wanted: impl Fn(&GroupHeader) -> bool) -> Option<usize> {
    let last = bytes.len().checked_sub(HEADER_BYTES)?;
    (0..=last).find(|at| bytes[*at] == TAG[0] && get(&bytes[*at..], mark).as_ref().is_some_and(&is_wanted))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::frame::tests::CASES;
    use bkes_testkit::input::cases;
    use fastrand::Rng;

    #[test]
    fn any_bytes_are_a_header_that_was_written_or_none() {
        let (mut whole, mut refused) = (0u64, 0u64);
        for seed in 0..cases(CASES) {
            let random = &mut Rng::with_seed(seed);
            let mark = random.u64(..).to_le_bytes();
            let header = GroupHeader {
                position: random.u64(..1 << 40),
                bytes: random.u32(..),
                records: random.u32(..),
                crc32c: random.u32(..),
            };
            let good = header.to_bytes(mark).to_vec();
            let mut bytes = good.clone();
            for _ in 0..random.usize(..3) {
                let at = random.usize(..bytes.len());
                match random.u8(..3) {
                    0 => bytes[at] ^= 1 << random.u8(..8),
                    1 => bytes.truncate(at.max(1)),
                    _ => bytes.insert(at, random.u8(..)),
                }
            }
            match get(&bytes, mark) {
                Some(found) => {
                    assert!(bytes.starts_with(&good) && found == header, "seed {seed}");
                    whole += 1;
                }
                None => {
                    assert!(!bytes.starts_with(&good), "seed {seed}: a good header is not read");
                    refused += 1;
                }
            }
            assert_eq!(get(&good, random.u64(..).to_le_bytes()), None, "seed {seed}: of another file");
        }
        assert!(whole > cases(CASES) / 5 && refused > cases(CASES) / 5, "{whole} whole, {refused} refused");
    }

    #[test]
    fn a_header_is_found_wherever_it_lies() {
        let mark = *b"the mark";
        let header = GroupHeader::of(77, b"frames", 1);
        for at in 0..100 {
            let mut bytes = vec![b'G'; 150];
            bytes[at..at + HEADER_BYTES].copy_from_slice(&header.to_bytes(mark));
            assert_eq!(find(&bytes, mark, |_| true), Some(at));
            assert_eq!(find(&bytes, mark, |header| header.position > 77), None);
            assert_eq!(find(&bytes[..at + HEADER_BYTES - 1], mark, |_| true), None, "it is not whole");
        }
    }
}
