//! A directory of the system's, with a lock file that keeps other processes out.

use super::direct::Direct;
use super::{Claim, Disk, DiskFile};
#[cfg(target_os = "linux")]
use rustix::fs::{FallocateFlags, fallocate};
use std::fs::{self, File};
use std::io::{self, Write};
use std::ops::Range;
use std::os::unix::fs::{FileExt, MetadataExt};
use std::path::PathBuf;

pub const FILE: &str = "store.redb";
pub const VALUES: &str = "store.values";
const LOCK: &str = "lock";
const ROOM: &str = "room";

/// Files that are set aside before the oldest is deleted: enough to look into what happened, not enough to fill a disk.
const SET_ASIDE_MAX: u32 = 2;

/// A directory that belongs to one store; made when it is not there.
pub struct Directory(pub PathBuf);

impl Disk for Directory {
    fn claim(&self) -> io::Result<Claim> {
        fs::create_dir_all(&self.0)?;
        let lock = File::options().create(true).truncate(false).write(true).open(self.0.join(LOCK))?;
        lock.try_lock()?;
        Ok(Box::new(lock))
    }

    fn open(&self) -> io::Result<Box<dyn DiskFile>> {
        let file = File::options().read(true).write(true).create(true).truncate(false).open(self.path())?;
        Ok(Box::new(PlainFile { file, direct: None }))
    }

    fn open_values(&self) -> io::Result<Box<dyn DiskFile>> {
        let path = self.0.join(VALUES);
        let file = File::options().read(true).write(true).create(true).truncate(false).open(&path)?;
        Ok(Box::new(PlainFile { file, direct: Some(Direct::open(&path)) }))
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
        let name = |file: &str, number: u32| self.0.join(format!("{file}.damaged-{number}"));
        for file in [VALUES, FILE] {
            for number in (1..SET_ASIDE_MAX).rev() {
                unless_missing(fs::rename(name(file, number), name(file, number + 1)))?;
            }
        }
        unless_missing(fs::rename(self.0.join(VALUES), name(VALUES, 1)))?;
        fs::rename(self.path(), name(FILE, 1))?;
        Ok(name(FILE, 1))
    }

    fn remove(&self) -> io::Result<()> {
        unless_missing(fs::remove_file(self.0.join(VALUES)))?;
        fs::remove_file(self.path())
    }

    fn file_bytes(&self) -> u64 {
        let metadata = |file| fs::metadata(self.0.join(file));
        // What was given back lies in the file as holes.
        let without_holes = |values: fs::Metadata| values.len().min(values.blocks() * 512);
        metadata(FILE).map_or(0, |file| file.len()) + metadata(VALUES).map_or(0, without_holes)
    }

    fn path(&self) -> PathBuf {
        self.0.join(FILE)
    }
}

/// A file that is not there is as good as one that was moved or removed.
fn unless_missing(done: io::Result<()>) -> io::Result<()> {
    match done {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        done => done,
    }
}

/// A file as it is.
#[derive(Debug)]
struct PlainFile {
    file: File,
    /// None where nothing is written past the system's cache.
    direct: Option<Direct>,
}

impl DiskFile for PlainFile {
    fn length(&self) -> io::Result<u64> {
        Ok(self.file.metadata()?.len())
    }

    fn read(&self, offset: u64, out: &mut [u8]) -> io::Result<()> {
        self.file.read_exact_at(out, offset)
    }

    fn set_length(&self, length: u64) -> io::Result<()> {
        self.file.set_len(length)
    }

    fn write(&self, offset: u64, data: &[u8]) -> io::Result<()> {
        self.file.write_all_at(data, offset)
    }

    fn write_past_cache(&self, offset: u64, blocks: &[u8]) -> io::Result<()> {
        match &self.direct {
            Some(direct) if direct.write(offset, blocks)? => Ok(()),
            _ => self.write(offset, blocks),
        }
    }

    fn sync(&self) -> io::Result<()> {
        self.file.sync_data()
    }

    #[cfg(target_os = "linux")]
    fn discard(&self, range: Range<u64>) -> io::Result<()> {
        let flags = FallocateFlags::PUNCH_HOLE | FallocateFlags::KEEP_SIZE;
        Ok(fallocate(&self.file, flags, range.start, range.end - range.start)?)
    }
}
