//! Opening: the log is found or made, walked, and put into the state that the writer goes on from.
//!
//! What a reader is shown must survive a power cut, and what is read when the file is opened may not be on disk yet: the
//! process that wrote it may have been killed before its sync returned, or the sync may have failed, after which the system
//! shows bytes that it will never write. All groups but the last were synced before a later one was written. So the last one
//! is written again, the same bytes in the same place, and synced before anything is shown.

use crate::disk::{Claim, Disk, DiskFile};
use crate::header::{FileHeader, HEADER_BYTES_MAX};
use crate::index::Index;
use crate::walk::{self, Proof, Rest, Walked};
use std::io::{self, ErrorKind};
use std::num::NonZeroU32;
use std::path::PathBuf;

/// The name of the file in its directory.
pub const FILE: &str = "events.log";

/// The name that it has until its header is synced.
const FRESH: &str = "events.log.new";

/// Why a log cannot be opened. It is never changed by a refusal.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
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
    /// The header is not one this version reads.
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
    /// Bytes that had been synced do not read. The log is the only truth, so nothing is cut or skipped.
    #[error("the log {} is damaged at byte {position} ({proof}): restore it from a copy", path.display())]
    Damaged {
        /// The file.
        path: PathBuf,
        /// Where the group begins that does not read.
        position: u64,
        /// What shows that this is no write that was torn.
        proof: Proof,
    },
}

/// An opened file: locked, checked, its torn tail cut, everything in it synced.
pub struct Opened {
    pub file: Box<dyn DiskFile>,
    pub claim: Claim,
    pub header: FileHeader,
    /// Where the first group lies.
    pub start: u64,
    /// Behind the last group.
    pub end: u64,
    /// Whether there is nothing, or a seal, at the end.
    pub sealed: bool,
    pub index: Vec<Index>,
}

/// Opens the file, or makes it.
pub fn open(disk: &dyn Disk, topic: &str, partitions: NonZeroU32) -> Result<Opened, OpenError> {
    let path = disk.path(FILE);
    let unusable = |source: io::Error| match source.kind() {
        ErrorKind::WouldBlock => OpenError::Locked { path: path.clone() },
        _ => OpenError::Unusable { path: path.clone(), source },
    };
    let claim = disk.claim().map_err(unusable)?;
    let file = match disk.open(FILE).map_err(unusable)? {
        Some(file) => file,
        None => create(disk, topic, partitions).map_err(unusable)?,
    };
    let size = file.length().map_err(unusable)?;
    let mut front = vec![0; size.min(HEADER_BYTES_MAX) as usize];
    file.read_exact_at(&mut front, 0).map_err(unusable)?;
    let Some((header, start)) = FileHeader::get(&front) else {
        front.truncate(16);
        return Err(OpenError::NotALog { path, found: front });
    };
    if header.topic != topic {
        return Err(OpenError::OtherTopic { path, found: header.topic, asked: topic.to_owned() });
    }
    let partitions = header.partitions.get() as usize;
    let walked = walk::walk(&*file, header.mark, start..size, partitions).map_err(unusable)?;
    if let Rest::Damaged(proof) = walked.rest {
        return Err(OpenError::Damaged { path, position: walked.end, proof });
    }
    settle(&*file, &walked, size).and_then(|()| disk.sync_names()).map_err(unusable)?;
    if walked.rest == Rest::Torn {
        tracing::warn!(
            "{}: {} bytes of a group that was not written to its end were cut off; none of its records was acknowledged",
            path.display(),
            size - walked.end
        );
    }
    let sealed = walked.last.is_none_or(|last| last.records == 0);
    let Walked { end, index, .. } = walked;
    Ok(Opened { file, claim, header, start, end, sealed, index })
}

/// Makes a file with a header; it is there whole or not at all.
fn create(disk: &dyn Disk, topic: &str, partitions: NonZeroU32) -> io::Result<Box<dyn DiskFile>> {
    let header = FileHeader::draw(topic, partitions)?.to_bytes()?;
    let file = disk.create(FRESH)?;
    file.write_all_at(&header, 0)?;
    file.sync_all()?;
    disk.rename(FRESH, FILE)?;
    Ok(file)
}

/// Makes durable what was found, and cuts off what does not count.
fn settle(file: &dyn DiskFile, walked: &Walked, size: u64) -> io::Result<()> {
    if let Some(last) = &walked.last {
        let mut group = vec![0; (last.end() - last.position) as usize];
        file.read_exact_at(&mut group, last.position)?;
        file.write_all_at(&group, last.position)?;
    }
    if walked.end < size {
        file.set_length(walked.end)?;
    }
    file.sync_all()
}

#[cfg(test)]
mod tests;
