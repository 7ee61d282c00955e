//! What a store on disk lies on: a file of tables and one of large values, in a place of their own, which may be set aside or
//! removed as a whole.
//!
//! [`Disk`] is the only way of the store to its bytes: a directory of the system is what [`crate::RedbStore::open`] uses, and
//! [`crate::RedbStore::open_on`] takes any other. A disk does not know what the bytes mean.

mod checked;
mod direct;
mod directory;

pub(crate) use checked::{BLOCK, Checked, Kind};
pub(crate) use directory::Directory;
#[cfg(test)]
pub(crate) use directory::{FILE, VALUES};

use std::any::Any;
use std::fmt::Debug;
use std::io;
use std::ops::Range;
use std::path::PathBuf;

/// Held by the store that claimed a disk; another one may claim it once this is dropped.
pub type Claim = Box<dyn Any + Send + Sync>;

/// A place for the two files of a store.
pub trait Disk: Send + Sync {
    /// Makes the place if it is not there, and takes it for one store alone; `WouldBlock` when another one has it.
    fn claim(&self) -> io::Result<Claim>;

    /// Opens the file of tables; it is made, empty, when it is not there.
    fn open(&self) -> io::Result<Box<dyn DiskFile>>;

    /// Opens the file of large values; it is made, empty, when it is not there.
    fn open_values(&self) -> io::Result<Box<dyn DiskFile>>;

    /// Tries whether this many bytes more can be written and made durable, and leaves nothing behind.
    fn try_room(&self, bytes: u64) -> io::Result<()>;

    /// Moves both files away; the one of tables has the name returned.
    fn set_aside(&self) -> io::Result<PathBuf>;

    /// Deletes both files.
    fn remove(&self) -> io::Result<()>;

    /// How long the files are together; 0 when there are none.
    fn file_bytes(&self) -> u64;

    /// The name of the file of tables, for messages.
    fn path(&self) -> PathBuf;
}

/// An open file. What was written is durable once a later `sync` returned.
pub trait DiskFile: Debug + Send + Sync {
    /// Its length in bytes.
    fn length(&self) -> io::Result<u64>;

    /// Fills `out` from this place on; an error when the file ends before.
    fn read(&self, offset: u64, out: &mut [u8]) -> io::Result<()>;

    /// Makes it this long; new bytes are zero.
    fn set_length(&self, length: u64) -> io::Result<()>;

    /// Writes all of `data` from this place on.
    fn write(&self, offset: u64, data: &[u8]) -> io::Result<()>;

    /// The same, of whole blocks that will hardly be read soon: what does that without a copy in the system's memory may do so.
    fn write_past_cache(&self, offset: u64, blocks: &[u8]) -> io::Result<()> {
        self.write(offset, blocks)
    }

    /// Makes everything written durable.
    fn sync(&self) -> io::Result<()>;

    /// Gives the room of these bytes back, if that can be done: what is read there from now on is not what was written.
    fn discard(&self, _range: Range<u64>) -> io::Result<()> {
        Ok(())
    }
}
