//! The walk through a file's groups when it is opened: where the last whole one ends, and what follows it.
//!
//! The writer writes a group only after everything before it was synced. So at most one group, the last, can be other than it
//! was written because the power failed; it was not acknowledged, and is cut off. What shows that a later group was begun
//! shows that the earlier one was synced: that it does not read is then damage, which a power cut does not explain.

use crate::disk::DiskFile;
use crate::frame;
use crate::group::{self, GroupHeader, HEADER_BYTES, Mark};
use crate::index::Index;
use crate::limits::{GROUP_BYTES_MAX, SCAN_BYTES};
use std::fmt;
use std::io;
use std::ops::Range;

/// What shows that bytes which do not read were once synced.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Proof {
    /// The header of a later group: all before it was synced before it was written.
    LaterGroup {
        /// Where it lies.
        position: u64,
    },
    /// The header is whole, and there are bytes after the group's end.
    BytesBehind {
        /// Where the group ends.
        position: u64,
    },
    /// More bytes than one group can have.
    TooManyBytes {
        /// How many follow.
        bytes: u64,
    },
    /// A group is whole and does not belong there.
    Misplaced,
}

impl fmt::Display for Proof {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Proof::LaterGroup { position } => write!(out, "a later group begins at byte {position}"),
            Proof::BytesBehind { position } => {
                write!(out, "its group ends at byte {position}, before others")
            }
            Proof::TooManyBytes { bytes } => write!(out, "{bytes} bytes follow, more than one group has"),
            Proof::Misplaced => write!(out, "the group that begins there does not belong there"),
        }
    }
}

/// What follows the last whole group.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Rest {
    /// Nothing.
    Nothing,
    /// Bytes of one group whose sync did not return: none of its records was acknowledged.
    Torn,
    /// Bytes that were synced and do not read.
    Damaged(Proof),
}

/// What was found in a file.
pub struct Walked {
    /// The last whole group.
    pub last: Option<GroupHeader>,
    /// Where it ends.
    pub end: u64,
    /// What follows it.
    pub rest: Rest,
    /// Where the records lie.
    pub index: Vec<Index>,
}

/// Walks the groups, which begin after the header and end with the file.
pub fn walk(file: &dyn DiskFile, mark: Mark, groups: Range<u64>, partitions: usize) -> io::Result<Walked> {
    let Range { start, end: size } = groups;
    let mut window = Window { file, size, start, bytes: Vec::new() };
    let mut walked =
        Walked { last: None, end: start, rest: Rest::Nothing, index: vec![Index::default(); partitions] };
    while walked.end < size {
        let begin = walked.end;
        let header = window.get(begin, HEADER_BYTES)?.and_then(|bytes| group::get(bytes, mark));
        let Some(header) = header else {
            walked.rest = rest(file, mark, begin..size)?;
            break;
        };
        if header.position != begin {
            walked.rest = Rest::Damaged(Proof::Misplaced);
            break;
        }
        let frames = window.get(header.frames(), header.bytes as usize)?;
        match frames {
            Some(frames) if crc32c::crc32c(frames) == header.crc32c => {
                if !note(frames, &header, &mut walked.index) {
                    walked.rest = Rest::Damaged(Proof::Misplaced);
                    break;
                }
            }
            _ if header.end() < size => {
                walked.rest = Rest::Damaged(Proof::BytesBehind { position: header.end() });
                break;
            }
            _ => {
                walked.rest = rest(file, mark, begin..size)?;
                break;
            }
        }
        walked.end = header.end();
        walked.last = Some(header);
    }
    Ok(walked)
}

/// Notes the records of a whole group; whether they are those that belong there.
fn note(frames: &[u8], header: &GroupHeader, index: &mut [Index]) -> bool {
    let (mut at, mut records) = (0, 0);
    while at < frames.len() {
        let frame = &frames[at..];
        let Ok(length) = frame::check(frame) else { return false };
        let (partition, offset) = frame::place(frame);
        match index.get_mut(partition.0 as usize) {
            Some(index) if index.next() == offset => index.note(offset, header.frames() + at as u64),
            _ => return false,
        }
        at += length;
        records += 1;
    }
    records == header.records
}

/// What bytes are that do not begin with a whole group.
fn rest(file: &dyn DiskFile, mark: Mark, range: Range<u64>) -> io::Result<Rest> {
    let bytes = range.end - range.start;
    let later = find_later(file, mark, range)?;
    Ok(match later {
        Some(position) => Rest::Damaged(Proof::LaterGroup { position }),
        None if bytes > GROUP_BYTES_MAX => Rest::Damaged(Proof::TooManyBytes { bytes }),
        None => Rest::Torn,
    })
}

/// The header of a group that was written after the beginning of a range, wherever it lies now: bytes may have been lost or come between.
/// Copies of older groups, which an event may hold, say positions before it.
fn find_later(file: &dyn DiskFile, mark: Mark, range: Range<u64>) -> io::Result<Option<u64>> {
    let Range { start: begin, end: size } = range;
    let mut bytes = Vec::new();
    let mut at = begin;
    while size - at >= HEADER_BYTES as u64 {
        bytes.resize((size - at).min(SCAN_BYTES as u64) as usize, 0);
        file.read_exact_at(&mut bytes, at)?;
        if let Some(found) = group::find(&bytes, mark, |header| header.position > begin) {
            return Ok(Some(at + found as u64));
        }
        // The next part begins with what may be the front of a header.
        at += (bytes.len() + 1 - HEADER_BYTES) as u64;
    }
    Ok(None)
}

/// Bytes of the file that were read ahead.
struct Window<'a> {
    file: &'a dyn DiskFile,
    size: u64,
    start: u64,
    bytes: Vec<u8>,
}

impl Window<'_> {
    /// So many bytes from `position` on, which never goes back; `None` when the file ends before, or no group has so many.
    fn get(&mut self, position: u64, length: usize) -> io::Result<Option<&[u8]>> {
        let available = self.size.saturating_sub(position);
        if length as u64 > available.min(GROUP_BYTES_MAX) {
            return Ok(None);
        }
        let end = position + length as u64;
        if position < self.start || end > self.start + self.bytes.len() as u64 {
            let wanted = available.min(SCAN_BYTES.max(length) as u64) as usize;
            self.bytes.resize(wanted, 0);
            self.file.read_exact_at(&mut self.bytes, position)?;
            self.start = position;
        }
        let from = (position - self.start) as usize;
        Ok(Some(&self.bytes[from..from + length]))
    }
}
