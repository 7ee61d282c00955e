//! The file's header: what the log is, and what its groups are marked with.
//!
//! ```text
//! "BKESLOG" 0x02 | u32 partitions | 16 bytes topic id | 8 bytes mark | u16 length, topic name | u32 CRC-32C of all before
//! ```

use crate::group::Mark;
use std::io;
use std::num::NonZeroU32;

/// Magic and format number.
const MAGIC: &[u8; 8] = b"BKESLOG\x02";

/// The fixed numbers between magic and name.
const FIXED_BYTES: usize = 4 + 16 + 8 + 2;

/// The most bytes a header can have.
pub const HEADER_BYTES_MAX: u64 = (MAGIC.len() + FIXED_BYTES + u16::MAX as usize + 4) as u64;

/// What the header says.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct FileHeader {
    pub partitions: NonZeroU32,
    pub topic_id: [u8; 16],
    pub mark: Mark,
    pub topic: String,
}

impl FileHeader {
    /// The header of a new file, with an identity and a mark of its own.
    pub fn draw(topic: &str, partitions: NonZeroU32) -> io::Result<FileHeader> {
        let (mut topic_id, mut mark) = ([0; 16], [0; 8]);
        getrandom::fill(&mut topic_id).map_err(io::Error::other)?;
        getrandom::fill(&mut mark).map_err(io::Error::other)?;
        Ok(FileHeader { partitions, topic_id, mark, topic: topic.to_owned() })
    }

    /// As it lies in the file.
    pub fn to_bytes(&self) -> io::Result<Vec<u8>> {
        let Ok(length) = u16::try_from(self.topic.len()) else {
            return Err(io::Error::other(format!("a topic name of {} bytes is too long", self.topic.len())));
        };
        let mut out = MAGIC.to_vec();
        out.extend_from_slice(&self.partitions.get().to_le_bytes());
        out.extend_from_slice(&self.topic_id);
        out.extend_from_slice(&self.mark);
        out.extend_from_slice(&length.to_le_bytes());
        out.extend_from_slice(self.topic.as_bytes());
        out.extend_from_slice(&crc32c::crc32c(&out).to_le_bytes());
        Ok(out)
    }

    /// The header at the front of a file, and where the first group lies.
    pub fn get(front: &[u8]) -> Option<(FileHeader, u64)> {
        let rest = front.strip_prefix(MAGIC)?;
        let partitions = NonZeroU32::new(u32::from_le_bytes(rest.get(..4)?.try_into().ok()?))?;
        let topic_id = rest.get(4..20)?.try_into().ok()?;
        let mark = rest.get(20..28)?.try_into().ok()?;
        let length = usize::from(u16::from_le_bytes(rest.get(28..FIXED_BYTES)?.try_into().ok()?));
        let topic = String::from_utf8(rest.get(FIXED_BYTES..FIXED_BYTES + length)?.to_vec()).ok()?;
        let end = MAGIC.len() + FIXED_BYTES + length;
        let crc = u32::from_le_bytes(front.get(end..end + 4)?.try_into().ok()?);
        let header = FileHeader { partitions, topic_id, mark, topic };
        (crc == crc32c::crc32c(&front[..end])).then_some((header, end as u64 + 4))
    }
}
