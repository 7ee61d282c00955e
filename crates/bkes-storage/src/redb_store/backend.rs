//! A file of a [`Disk`] as redb wants it.
//!
//! redb's own locks are not used: the disk is claimed by one store, and [`InUse`] keeps that store from opening the file
//! a second time while a reader still works on it.

use crate::disk::{Disk, DiskFile};
use redb::StorageBackend;
use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::Duration;

/// How long an opening waits for the last reader of a file: a read of the largest reply takes some ten milliseconds.
const READERS_WAIT: Duration = Duration::from_millis(1);
const READERS_WAITS_MAX: u32 = 500;

/// Whether a file is open; shared with the backend that has it open.
#[derive(Clone, Debug, Default)]
pub struct InUse(Arc<AtomicBool>);

/// An open file.
#[derive(Debug)]
pub struct Backend {
    file: Box<dyn DiskFile>,
    in_use: InUse,
}

impl Backend {
    /// Opens the file once nobody has it open any more.
    pub fn open(disk: &dyn Disk, in_use: &InUse) -> io::Result<Backend> {
        let mut waits = 0;
        while in_use.0.load(Ordering::Acquire) {
            if waits == READERS_WAITS_MAX {
                return Err(io::Error::new(
                    io::ErrorKind::ResourceBusy,
                    "a read is still at work on the file",
                ));
            }
            thread::sleep(READERS_WAIT);
            waits += 1;
        }
        let file = disk.open()?;
        in_use.0.store(true, Ordering::Release);
        Ok(Backend { file, in_use: in_use.clone() })
    }
}

impl Drop for Backend {
    fn drop(&mut self) {
        self.in_use.0.store(false, Ordering::Release);
    }
}

impl StorageBackend for Backend {
    fn len(&self) -> io::Result<u64> {
        self.file.length()
    }

    fn read(&self, offset: u64, out: &mut [u8]) -> io::Result<()> {
        self.file.read(offset, out)
    }

    fn set_len(&self, length: u64) -> io::Result<()> {
        self.file.set_length(length)
    }

    fn sync_data(&self) -> io::Result<()> {
        self.file.sync()
    }

    fn write(&self, offset: u64, data: &[u8]) -> io::Result<()> {
        self.file.write(offset, data)
    }
}
