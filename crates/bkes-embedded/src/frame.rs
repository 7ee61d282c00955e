//! One record as it lies in the file: a length, a checksum, and the content.
//!
//! ```text
//! u32 length of the body | u32 CRC-32C of length and body | body
//! body: u32 partition | u64 offset | i64 timestamp (ms) | key | value | u16 headers | (u16 length, name, value)*
//! key, value, header value: u32 length, bytes; a length of 2^32 - 1 is null
//! ```
//!
//! All numbers are little-endian.

use bkes_core::{Header, Offset, Partition, Record, TimestampMs};
use bkes_log::NewRecord;
use bytes::Bytes;

/// Length and checksum.
pub const HEAD_BYTES: usize = 8;

/// The least a body can be: fixed numbers and two lengths.
const BODY_BYTES_MIN: usize = 4 + 8 + 8 + 4 + 4 + 2;

const NULL: u32 = u32::MAX;

/// Why bytes are not a frame.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Broken {
    /// There are fewer bytes than the frame says, or than any frame has.
    Short,
    /// They are not what was written.
    Garbled,
}

/// Writes a record to the end of `out`.
pub fn put(out: &mut Vec<u8>, record: &NewRecord, offset: Offset, timestamp: TimestampMs) {
    let start = out.len();
    out.extend_from_slice(&[0; HEAD_BYTES]);
    out.extend_from_slice(&record.partition.0.to_le_bytes());
    out.extend_from_slice(&offset.0.to_le_bytes());
    out.extend_from_slice(&timestamp.0.to_le_bytes());
    put_optional(out, record.key.as_deref());
    put_optional(out, record.value.as_deref());
    out.extend_from_slice(&(record.headers.len() as u16).to_le_bytes());
    for header in &record.headers {
        out.extend_from_slice(&(header.name.len() as u16).to_le_bytes());
        out.extend_from_slice(&header.name);
        put_optional(out, header.value.as_deref());
    }
    let length = (out.len() - start - HEAD_BYTES) as u32;
    out[start..start + 4].copy_from_slice(&length.to_le_bytes());
    let crc = checksum(length, &out[start + HEAD_BYTES..]);
    out[start + 4..start + HEAD_BYTES].copy_from_slice(&crc.to_le_bytes());
}

fn put_optional(out: &mut Vec<u8>, bytes: Option<&[u8]>) {
    match bytes {
        None => out.extend_from_slice(&NULL.to_le_bytes()),
        Some(bytes) => {
            out.extend_from_slice(&(bytes.len() as u32).to_le_bytes());
            out.extend_from_slice(bytes);
        }
    }
}

fn checksum(length: u32, body: &[u8]) -> u32 {
    crc32c::crc32c_append(crc32c::crc32c(&length.to_le_bytes()), body)
}

/// Whether the format can carry the record: counts and names have 16 bits.
pub fn fits(record: &NewRecord) -> bool {
    let small = |length: usize| u16::try_from(length).is_ok();
    small(record.headers.len()) && record.headers.iter().all(|header| small(header.name.len()))
}

/// The bytes that the record's frame has.
pub fn bytes_of(record: &NewRecord) -> u64 {
    let of = |bytes: &Option<Bytes>| 4 + bytes.as_ref().map_or(0, Bytes::len);
    let headers: usize = record.headers.iter().map(|header| 2 + header.name.len() + of(&header.value)).sum();
    (HEAD_BYTES + 4 + 8 + 8 + of(&record.key) + of(&record.value) + 2 + headers) as u64
}

/// The whole length of the frame at the front of `bytes`, when its checksum holds.
pub fn check(bytes: &[u8]) -> Result<usize, Broken> {
    let head = bytes.get(..HEAD_BYTES).ok_or(Broken::Short)?;
    let length = u32_at(head, 0);
    if (length as usize) < BODY_BYTES_MIN {
        return Err(Broken::Garbled);
    }
    let end = HEAD_BYTES + length as usize;
    let body = bytes.get(HEAD_BYTES..end).ok_or(Broken::Short)?;
    if u32_at(head, 4) != checksum(length, body) {
        return Err(Broken::Garbled);
    }
    Ok(end)
}

/// How long the frame says it is; `None` when there are too few bytes to say.
pub fn length(bytes: &[u8]) -> Option<usize> {
    bytes.get(..4).map(|head| HEAD_BYTES + u32_at(head, 0) as usize)
}

/// Where a checked frame belongs.
pub fn place(frame: &[u8]) -> (Partition, Offset) {
    let offset = frame[HEAD_BYTES + 4..HEAD_BYTES + 12].try_into().expect("a checked frame has an offset");
    (Partition(u32_at(frame, HEAD_BYTES)), Offset(u64::from_le_bytes(offset)))
}

/// The record of a checked frame, its content sliced out of it.
pub fn get(frame: &Bytes) -> Result<Record, Broken> {
    let (partition, offset) = place(frame);
    let mut cursor = Cursor { frame, at: HEAD_BYTES + 12 };
    let timestamp = i64::from_le_bytes(cursor.take(8)?[..].try_into().map_err(|_| Broken::Garbled)?);
    let key = cursor.optional()?;
    let value = cursor.optional()?;
    let count = cursor.u16()?;
    let headers = (0..count)
        .map(|_| {
            let length = cursor.u16()?;
            Ok(Header { name: cursor.take(usize::from(length))?, value: cursor.optional()? })
        })
        .collect::<Result<Vec<Header>, Broken>>()?;
    if cursor.at != frame.len() {
        return Err(Broken::Garbled);
    }
    Ok(Record { partition, offset, timestamp: Some(TimestampMs(timestamp)), key, value, headers })
}

struct Cursor<'a> {
    frame: &'a Bytes,
    at: usize,
}

impl Cursor<'_> {
    fn take(&mut self, length: usize) -> Result<Bytes, Broken> {
        let end =
            self.at.checked_add(length).filter(|end| *end <= self.frame.len()).ok_or(Broken::Garbled)?;
        let bytes = self.frame.slice(self.at..end);
        self.at = end;
        Ok(bytes)
    }

    fn u16(&mut self) -> Result<u16, Broken> {
        let bytes = self.take(2)?;
        Ok(u16::from_le_bytes([bytes[0], bytes[1]]))
    }

    fn optional(&mut self) -> Result<Option<Bytes>, Broken> {
        match u32_at(&self.take(4)?, 0) {
            NULL => Ok(None),
            length => self.take(length as usize).map(Some),
        }
    }
}

fn u32_at(bytes: &[u8], at: usize) -> u32 {
    u32::from_le_bytes([bytes[at], bytes[at + 1], bytes[at + 2], bytes[at + 3]])
}

#[cfg(test)]
pub mod tests;
