//! Large values, in a file of their own.
//!
//! A page of redb is as large as the power of two above what stands in it, and a value goes through four copies on its way there and
//! through two more sums. A large value is written once, as it came, after the last one; its event's row says where it lies, and
//! has a sum over it that names the event too. The file has no order of its own: what counts of it is what rows name, up to the end that
//! `meta` has as of the same commit. Whatever lies after that end was written by a commit that did not last, and is cut off when the
//! file is opened.
//!
//! Values are written before the transaction that names them is committed, and synced before one that is to last. None is ever written
//! again, so a reader of any snapshot finds what it names; but the room of those that were dropped is given back while an old
//! snapshot may still name them, so that who finds garbage looks again with a new one.

mod adding;

pub use adding::Adding;

use super::backend::FileUse;
use super::failure::{Failure, garbled};
use super::layout::{Large, Slot};
use super::varint::Garbled;
use crate::disk::{BLOCK, Disk, DiskFile};
use adding::Buffer;
use bytes::Bytes;
use std::io;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, MutexGuard, OnceLock, PoisonError};

/// A value of so many bytes lies here: with less of it, a row may share a page of the log table with others.
pub const LARGE_BYTES: usize = 16 * 1024;

const BLOCK_BYTES: u64 = BLOCK as u64;

/// The file.
#[derive(Debug)]
pub struct Values {
    file: Box<dyn DiskFile>,
    file_use: FileUse,
    is_unsynced: AtomicBool,
    /// What failed first. The file takes nothing from then on: what is in it may not be what was written.
    failure: OnceLock<String>,
    /// The buffer of the last commit that had large values. Only the one writer takes it.
    spare: Mutex<Option<Buffer>>,
}

impl Values {
    /// Takes the file into use, up to this end.
    pub fn open(disk: &dyn Disk, file_use: &FileUse, end: u64) -> io::Result<Values> {
        let file = disk.open_values()?;
        let length = file.length()?;
        if length < end {
            let detail = format!("{length} bytes of large values are there, and there were {end}");
            return Err(io::Error::new(io::ErrorKind::InvalidData, detail));
        }
        if length > end {
            file.set_length(end)?;
        }
        let (file_use, is_unsynced) = (file_use.clone(), AtomicBool::new(false));
        Ok(Values { file, file_use, is_unsynced, failure: OnceLock::new(), spare: Mutex::default() })
    }

    /// Why nothing is written any more.
    pub fn failure(&self) -> Option<&String> {
        self.failure.get()
    }

    /// Writes whole blocks; much of it past the system's cache.
    fn write(&self, block: u64, blocks: &[u8], past_cache: bool) -> Result<(), Failure> {
        self.is_unsynced.store(true, Ordering::Release);
        let at = block * BLOCK_BYTES;
        self.unless_failed(|| match past_cache {
            true => self.file.write_past_cache(at, blocks),
            false => self.file.write(at, blocks),
        })
    }

    fn spare(&self) -> MutexGuard<'_, Option<Buffer>> {
        self.spare.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Makes all values durable.
    pub fn sync(&self) -> Result<(), Failure> {
        if self.is_unsynced.load(Ordering::Acquire) {
            self.unless_failed(|| self.file.sync())?;
            self.is_unsynced.store(false, Ordering::Release);
        }
        Ok(())
    }

    fn unless_failed(&self, change: impl FnOnce() -> io::Result<()>) -> Result<(), Failure> {
        let done = match self.failure() {
            Some(detail) => Err(io::Error::other(detail.clone())),
            None => change(),
        };
        done.map_err(|error| {
            self.failure.get_or_init(|| error.to_string());
            Failure::Redb(redb::Error::Io(error))
        })
    }

    /// A value, which is what was written.
    pub fn get(&self, slot: Slot, large: Large) -> Result<Bytes, Failure> {
        let detail = || format!("the large value of event {} of stream {}", slot.order, slot.stream);
        let bytes = usize::try_from(large.bytes).map_err(|_| garbled(detail())(Garbled))?;
        let at = large.block.checked_mul(BLOCK_BYTES).ok_or_else(|| garbled(detail())(Garbled))?;
        let mut value = vec![0; bytes];
        let read = self.file_use.watched(bytes, || self.file.read(at, &mut value));
        read.map_err(|error| Failure::Redb(redb::Error::Io(error)))?;
        if sum(slot, &value) != large.sum {
            return Err(garbled(detail())(Garbled));
        }
        Ok(value.into())
    }

    /// Gives back the room of a value that nobody names any more.
    pub fn discard(&self, Large { block, bytes, .. }: Large) {
        let end = block.saturating_add(bytes.div_ceil(BLOCK_BYTES)).saturating_mul(BLOCK_BYTES);
        // A system that cannot do that keeps the room until the store is rebuilt.
        let _ = self.file.discard(block.saturating_mul(BLOCK_BYTES)..end);
    }
}

fn sum(slot: Slot, value: &[u8]) -> u32 {
    crc32c::crc32c_append(crc32c::crc32c(&slot.context()), value)
}

#[cfg(test)]
mod tests;
