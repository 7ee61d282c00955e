//! A directory of the system's, with a lock file that keeps other processes out.

use super::{Claim, Disk, DiskFile};
use crate::redb_store::OpenError;
use redb::StorageBackend;
use redb::backends::FileBackend;
use std::fs::{self, File, TryLockError};
use std::io::{self, Write};
use std::path::PathBuf;

pub const FILE: &str = "store.redb";
const LOCK: &str = "lock";
const ROOM: &str = "room";

/// Files that are set aside before the oldest is deleted: enough to look into what happened, not enough to fill a disk.
const SET_ASIDE_MAX: u32 = 2;

/// A directory that belongs to one store; made when it is not there.
pub struct Directory(pub PathBuf);

impl Disk for Directory {
    fn claim(&self) -> Result<Claim, OpenError> {
        let unusable = |path: PathBuf| move |source| OpenError::Unusable { path, source };
        fs::create_dir_all(&self.0).map_err(unusable(self.0.clone()))?;
        let path = self.0.join(LOCK);
        let lock = File::options().create(true).truncate(false).write(true).open(&path);
        let lock = lock.map_err(unusable(path.clone()))?;
        match lock.try_lock() {
            Ok(()) => Ok(Box::new(lock)),
            Err(TryLockError::WouldBlock) => Err(OpenError::Locked { directory: self.0.clone() }),
            Err(TryLockError::Error(source)) => Err(OpenError::Unusable { path, source }),
        }
    }

    fn open(&self) -> io::Result<Box<dyn DiskFile>> {
        let file = File::options().read(true).write(true).create(true).truncate(false).open(self.path())?;
        Ok(Box::new(SystemFile(FileBackend::new(file).map_err(io::Error::other)?)))
    }

    fn try_room(&self, bytes: u64) -> io::Result<()> {
        let path = self.0.join(ROOM);
        let write = || {
            let mut file = File::create(&path)?;
            let zeros = [0; 64 * 1024];
            let mut left = bytes;
            while left > 0 {
                let part = left.min(zeros.len() as u64);
                file.write_all(&zeros[..part as usize])?;
                left -= part;
            }
            file.sync_data()
        };
        let written = write();
        let removed = fs::remove_file(&path);
        written.and(removed)
    }

    fn set_aside(&self) -> io::Result<PathBuf> {
        let name = |number: u32| self.0.join(format!("{FILE}.damaged-{number}"));
        for number in (1..SET_ASIDE_MAX).rev() {
            match fs::rename(name(number), name(number + 1)) {
                Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
                _ => {}
            }
        }
        fs::rename(self.path(), name(1))?;
        Ok(name(1))
    }

    fn remove(&self) -> io::Result<()> {
        fs::remove_file(self.path())
    }

    fn file_bytes(&self) -> u64 {
        fs::metadata(self.path()).map_or(0, |metadata| metadata.len())
    }

    fn path(&self) -> PathBuf {
        self.0.join(FILE)
    }
}

/// redb's own way to a file, without its locks: the directory's lock file stands for them.
#[derive(Debug)]
struct SystemFile(FileBackend);

impl DiskFile for SystemFile {
    fn length(&self) -> io::Result<u64> {
        self.0.len()
    }

    fn read(&self, offset: u64, out: &mut [u8]) -> io::Result<()> {
        self.0.read(offset, out)
    }

    fn set_length(&self, length: u64) -> io::Result<()> {
        self.0.set_len(length)
    }

    fn write(&self, offset: u64, data: &[u8]) -> io::Result<()> {
        self.0.write(offset, data)
    }

    fn sync(&self) -> io::Result<()> {
        self.0.sync_data()
    }
}
