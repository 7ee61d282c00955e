//! What the log lies on: a few names in a place of its own, and the files behind them.
//!
//! [`Disk`] and [`DiskFile`] are the only way to the bytes, so that tests can put a disk below that loses, tears and reorders
//! what was not synced and fails in every call. [`Directory`] is the one of the system. Neither knows what the bytes mean.

mod directory;

pub use directory::Directory;

use std::any::Any;
use std::fmt::Debug;
use std::io;
use std::os::unix::fs::FileExt;
use std::path::PathBuf;

/// Held by the log that claimed a disk; another one may claim it once this is dropped.
pub type Claim = Box<dyn Any + Send + Sync>;

/// A place for files, by name.
pub trait Disk {
    /// Makes the place if it is not there, and takes it for one log alone; `WouldBlock` when another one has it.
    fn claim(&self) -> io::Result<Claim>;

    /// Opens a file; `None` when there is none of this name, `WouldBlock` when another process has it locked.
    fn open(&self, name: &str) -> io::Result<Option<Box<dyn DiskFile>>>;

    /// Makes a file, empty, in the place of one that has the name.
    fn create(&self, name: &str) -> io::Result<Box<dyn DiskFile>>;

    /// Gives a file another name, in the place of the file that had it.
    fn rename(&self, from: &str, to: &str) -> io::Result<()>;

    /// Makes the names durable: without it a power cut may undo what `create` and `rename` did.
    fn sync_names(&self) -> io::Result<()>;

    /// The path of a name, for messages.
    fn path(&self, name: &str) -> PathBuf;
}

/// An open file. What was written is durable once a later sync returned without an error; after one that failed nobody knows,
/// and no later sync tells.
///
/// [`FileExt`] gives the calls of the system, which may write or read less than they were asked to or be interrupted, and the
/// loops around them.
pub trait DiskFile: FileExt + Debug + Send + Sync {
    /// Its length in bytes.
    fn length(&self) -> io::Result<u64>;

    /// Makes it this long; new bytes are zero.
    fn set_length(&self, length: u64) -> io::Result<()>;

    /// Makes durable what was written, and as much of the length as it takes to read it.
    fn sync_data(&self) -> io::Result<()>;

    /// Makes everything durable, the length too.
    fn sync_all(&self) -> io::Result<()>;
}
