//! The file: its head, how it is opened, and what is found in it.
//!
//! ```text
//! "BKESLOG\x01" | u32 partitions | 16 bytes topic id | u16 length, topic name | u32 CRC-32C of all before | frames ...
//! ```

use crate::frame::{self, Broken};
use bkes_core::{Offset, Partition};
use std::fs::{self, File, TryLockError};
use std::io::{self, Write};
use std::num::NonZeroU32;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};

/// The name of the file in its directory.
pub const FILE: &str = "events.log";

/// Magic and format number.
const MAGIC: &[u8; 8] = b"BKESLOG\x01";

/// How far apart the places are that the index knows.
const INDEX_BYTES: u64 = 64 * 1024;

/// How much is read at a time when the file is opened.
const SCAN_BYTES: usize = 4 * 1024 * 1024;

/// The most that can lie behind the last group that was synced: one group, see the writer. More is damage.
pub const TAIL_BYTES_MAX: u64 = 64 * 1024 * 1024;

/// Why a log cannot be opened. It is never changed by a refusal.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    /// Another process uses it.
    #[error("another process uses the log {}: stop it, or choose another data directory", path.display())]
    Locked {
        /// The file.
        path: PathBuf,
    },
    /// The file or its directory cannot be used.
    #[error("cannot use the log {}: {source}", path.display())]
    Unusable {
        /// The file or directory.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// The head is not one this version reads.
    #[error("{} is not a log of this version: its first bytes are {found:?}", path.display())]
    NotALog {
        /// The file.
        path: PathBuf,
        /// What it begins with.
        found: Vec<u8>,
    },
    /// The log belongs to another topic.
    #[error("the log {} belongs to topic {found}, not to {asked}", path.display())]
    OtherTopic {
        /// The file.
        path: PathBuf,
        /// The topic it was made for.
        found: String,
        /// The topic asked for.
        asked: String,
    },
    /// A record is damaged, and there are good ones behind it. The log is the only truth, so nothing is cut or skipped.
    #[error("the log {} is damaged at byte {position}, before good records at byte {good}: restore it from a copy", path.display())]
    Damaged {
        /// The file.
        path: PathBuf,
        /// Where the damage begins.
        position: u64,
        /// Where the next good record lies.
        good: u64,
    },
}

/// What the head says.
#[derive(Clone, Debug)]
pub struct Head {
    pub partitions: NonZeroU32,
    pub topic_id: [u8; 16],
    pub topic: String,
}

/// Sparse places of a partition's records in the file, ascending.
#[derive(Clone, Debug, Default)]
pub struct Index {
    places: Vec<(Offset, u64)>,
    next: u64,
}

impl Index {
    /// The offset of the partition's next record.
    pub fn next(&self) -> Offset {
        Offset(self.next)
    }

    /// Notes that the record lies at `position`, if the last noted place is far enough away.
    pub fn note(&mut self, offset: Offset, position: u64) {
        self.next = offset.0 + 1;
        if self.places.last().is_none_or(|(_, last)| position >= last + INDEX_BYTES) {
            self.places.push((offset, position));
        }
    }

    /// A position at or before that of the record at `offset`; `None` when there are no records yet.
    pub fn locate(&self, offset: Offset) -> Option<u64> {
        let after = self.places.partition_point(|(at, _)| *at <= offset);
        self.places.get(after.saturating_sub(1)).map(|(_, position)| *position)
    }
}

/// An opened file: locked, checked, its torn tail cut.
pub struct Opened {
    pub file: File,
    pub head: Head,
    /// Where the first frame lies.
    pub start: u64,
    /// Behind the last frame.
    pub end: u64,
    pub index: Vec<Index>,
}

/// Opens the file, or makes it.
pub fn open(directory: &Path, topic: &str, partitions: NonZeroU32) -> Result<Opened, OpenError> {
    let path = directory.join(FILE);
    let unusable = |source| OpenError::Unusable { path: path.clone(), source };
    fs::create_dir_all(directory)
        .map_err(|source| OpenError::Unusable { path: directory.to_owned(), source })?;
    let lock = File::options().create(true).truncate(false).write(true).open(directory.join("lock"));
    let lock = lock.map_err(unusable)?;
    match lock.try_lock() {
        Ok(()) => {}
        Err(TryLockError::WouldBlock) => return Err(OpenError::Locked { path }),
        Err(TryLockError::Error(source)) => return Err(unusable(source)),
    }
    if !path.try_exists().map_err(unusable)? {
        create(directory, &path, topic, partitions).map_err(unusable)?;
    }
    let file = File::options().read(true).write(true).open(&path).map_err(unusable)?;
    match file.try_lock() {
        Ok(()) => {}
        Err(TryLockError::WouldBlock) => return Err(OpenError::Locked { path }),
        Err(TryLockError::Error(source)) => return Err(unusable(source)),
    }
    let size = file.metadata().map_err(unusable)?.len();
    let mut front = vec![0; size.min(1024 + u64::from(u16::MAX)) as usize];
    file.read_exact_at(&mut front, 0).map_err(unusable)?;
    let (head, start) = get_head(&front).ok_or_else(|| {
        let found = front[..front.len().min(16)].to_vec();
        OpenError::NotALog { path: path.clone(), found }
    })?;
    if head.topic != topic {
        return Err(OpenError::OtherTopic { path, found: head.topic, asked: topic.to_owned() });
    }
    let mut index = vec![Index::default(); head.partitions.get() as usize];
    let end = scan(&file, start, size, &mut index).map_err(unusable)?;
    if end < size {
        if let Some(good) = good_frame_after(&file, end, size, head.partitions).map_err(unusable)? {
            return Err(OpenError::Damaged { path, position: end, good });
        }
        tracing::warn!(
            "{}: a torn tail of {} bytes is cut; nothing in it was acknowledged",
            path.display(),
            size - end
        );
        file.set_len(end).and_then(|()| file.sync_all()).map_err(unusable)?;
    }
    Ok(Opened { file, head, start, end, index })
}

/// Makes a file with a head; it is there whole or not at all.
fn create(directory: &Path, path: &Path, topic: &str, partitions: NonZeroU32) -> io::Result<()> {
    let mut topic_id = [0; 16];
    getrandom::fill(&mut topic_id).map_err(io::Error::other)?;
    let Ok(length) = u16::try_from(topic.len()) else {
        return Err(io::Error::other(format!("a topic name of {} bytes is too long", topic.len())));
    };
    let mut head = MAGIC.to_vec();
    head.extend_from_slice(&partitions.get().to_le_bytes());
    head.extend_from_slice(&topic_id);
    head.extend_from_slice(&length.to_le_bytes());
    head.extend_from_slice(topic.as_bytes());
    head.extend_from_slice(&crc32c::crc32c(&head).to_le_bytes());
    let fresh = directory.join("events.log.new");
    let mut file = File::create(&fresh)?;
    file.write_all(&head)?;
    file.sync_all()?;
    fs::rename(&fresh, path)?;
    File::open(directory)?.sync_all()
}

fn get_head(front: &[u8]) -> Option<(Head, u64)> {
    let rest = front.strip_prefix(MAGIC)?;
    let partitions = NonZeroU32::new(u32::from_le_bytes(rest.get(..4)?.try_into().ok()?))?;
    let topic_id = rest.get(4..20)?.try_into().ok()?;
    let length = usize::from(u16::from_le_bytes(rest.get(20..22)?.try_into().ok()?));
    let topic = String::from_utf8(rest.get(22..22 + length)?.to_vec()).ok()?;
    let end = MAGIC.len() + 22 + length;
    let crc = u32::from_le_bytes(front.get(end..end + 4)?.try_into().ok()?);
    (crc == crc32c::crc32c(&front[..end])).then_some((Head { partitions, topic_id, topic }, end as u64 + 4))
}

/// Walks the frames; the end of the last good one.
fn scan(file: &File, start: u64, size: u64, index: &mut [Index]) -> io::Result<u64> {
    let (mut position, mut chunk, mut at) = (start, Vec::new(), 0);
    loop {
        let frame = &chunk[at..];
        match frame::check(frame) {
            Ok(length) => {
                let (partition, offset) = frame::place(frame);
                match index.get_mut(partition.0 as usize) {
                    Some(index) if index.next() == offset => index.note(offset, position),
                    // A good checksum at a wrong place: not written by us here.
                    _ => return Ok(position),
                }
                at += length;
                position += length as u64;
            }
            Err(Broken::Garbled) => return Ok(position),
            Err(Broken::Short) => {
                let wanted = frame::length(frame).unwrap_or(0).max(SCAN_BYTES) as u64;
                let available = (size - position).min(wanted) as usize;
                if available <= frame.len() {
                    return Ok(position);
                }
                chunk.resize(available, 0);
                file.read_exact_at(&mut chunk, position)?;
                at = 0;
            }
        }
    }
}

/// Whether a good frame lies anywhere behind a bad place: then it is damage and not a torn tail.
fn good_frame_after(
    file: &File,
    position: u64,
    size: u64,
    partitions: NonZeroU32,
) -> io::Result<Option<u64>> {
    let mut tail = vec![0; (size - position).min(TAIL_BYTES_MAX) as usize];
    file.read_exact_at(&mut tail, position)?;
    let good = (1..tail.len()).find(|at| {
        let bytes = &tail[*at..];
        // Most places are ruled out by the partition alone, before the checksum is computed.
        let plausible = bytes.len() >= 12
            && u32::from_le_bytes([bytes[8], bytes[9], bytes[10], bytes[11]]) < partitions.get();
        plausible && frame::check(bytes).is_ok()
    });
    match good {
        Some(at) => Ok(Some(position + at as u64)),
        None if size - position > TAIL_BYTES_MAX => Ok(Some(position + TAIL_BYTES_MAX)),
        None => Ok(None),
    }
}

/// The index of a partition that exists.
pub fn of(index: &[Index], partition: Partition) -> Option<&Index> {
    index.get(partition.0 as usize)
}

#[cfg(test)]
mod tests;
