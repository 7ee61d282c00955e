//! A directory of the system's, with a lock file that keeps other processes out.

use super::background_sync::BackgroundSync;
use super::direct::Direct;
use super::{Claim, Disk, DiskFile};
use redb::StorageBackend;
use redb::backends::FileBackend;
#[cfg(target_os = "linux")]
use rustix::fs::{FallocateFlags, fallocate};
use std::fs::{self, File};
use std::io::{self, Write};
use std::ops::Range;
use std::os::unix::fs::{FileExt, MetadataExt};
use std::path::PathBuf;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

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
        Ok(Box::new(SystemFile::new(file)?))
    }

    fn open_values(&self) -> io::Result<Box<dyn DiskFile>> {
        let path = self.0.join(VALUES);
        let file = File::options().read(true).write(true).create(true).truncate(false).open(&path)?;
        Ok(Box::new(PlainFile::new(file, Direct::open(&path))))
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

/// A file as it is; what was written is synced while more is.
#[derive(Debug)]
struct PlainFile {
    file: Arc<File>,
    direct: Direct,
    syncs: BackgroundSync,
}

impl PlainFile {
    fn new(file: File, direct: Direct) -> PlainFile {
        let file = Arc::new(file);
        let synced = Arc::clone(&file);
        PlainFile { file, direct, syncs: BackgroundSync::new(move || synced.sync_data()) }
    }
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
        self.file.write_all_at(data, offset)?;
        self.syncs.note_written(data.len());
        Ok(())
    }

    fn write_past_cache(&self, offset: u64, blocks: &[u8]) -> io::Result<()> {
        if !self.direct.write(offset, blocks)? {
            return self.write(offset, blocks);
        }
        self.syncs.note_written(blocks.len());
        Ok(())
    }

    fn sync(&self) -> io::Result<()> {
        self.syncs.sync()
    }

    #[cfg(target_os = "linux")]
    fn discard(&self, range: Range<u64>) -> io::Result<()> {
        let flags = FallocateFlags::PUNCH_HOLE | FallocateFlags::KEEP_SIZE;
        Ok(fallocate(&self.file, flags, range.start, range.end - range.start)?)
    }
}

/// redb's own way to a file, without its locks: the directory's lock file stands for them.
///
/// redb writes page by page. The first page that is written into a part of the file that was blank takes the whole part along, as
/// zeros: the system then has the part in its cache as a whole, and a page costs it half as much, when it is written and when it is
/// synced. A page as large as a part needs no zeros: the system takes it as a whole anyway, and they would be written twice. And what
/// was written is synced while more is.
#[derive(Debug)]
struct SystemFile {
    file: Arc<FileBackend>,
    blank: Mutex<Blank>,
    syncs: BackgroundSync,
}

/// How much of a file is written as a whole.
const PART: u64 = 64 * 1024;

static ZEROS: [u8; PART as usize] = [0; PART as usize];

/// Which parts of a file were blank when it grew, and still are.
#[derive(Debug)]
struct Blank {
    length: u64,
    /// By the part's number; those behind are not in the file.
    parts: Vec<bool>,
}

impl Blank {
    /// Nothing of a file of this length is known to be blank.
    fn behind(length: u64) -> Blank {
        Blank { length, parts: vec![false; length.div_ceil(PART) as usize] }
    }

    /// A part that was in the file, if only in part, may have been written.
    fn set_length(&mut self, length: u64) {
        self.length = length;
        self.parts.resize(length.div_ceil(PART) as usize, true);
    }

    /// Takes the parts that a write touches from those that are blank; those that were and are to be made whole, as ranges of the file.
    fn take(&mut self, range: Range<u64>) -> impl Iterator<Item = Range<u64>> {
        if range.end > self.length {
            self.set_length(range.end);
        }
        let Blank { length, parts } = self;
        let is_whole = range.end - range.start >= PART;
        (range.start / PART..range.end.div_ceil(PART)).filter_map(move |part| {
            let was_blank = std::mem::take(&mut parts[part as usize]);
            (was_blank && !is_whole).then(|| part * PART..(*length).min((part + 1) * PART))
        })
    }
}

impl SystemFile {
    fn new(file: File) -> io::Result<SystemFile> {
        let file = Arc::new(FileBackend::new(file).map_err(io::Error::other)?);
        let blank = Mutex::new(Blank::behind(file.len()?));
        let synced = Arc::clone(&file);
        let syncs = BackgroundSync::new(move || synced.sync_data());
        Ok(SystemFile { file, blank, syncs })
    }

    fn blank(&self) -> MutexGuard<'_, Blank> {
        self.blank.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl DiskFile for SystemFile {
    fn length(&self) -> io::Result<u64> {
        self.file.len()
    }

    fn read(&self, offset: u64, out: &mut [u8]) -> io::Result<()> {
        self.file.read(offset, out)
    }

    fn set_length(&self, length: u64) -> io::Result<()> {
        let mut blank = self.blank();
        self.file.set_len(length)?;
        blank.set_length(length);
        Ok(())
    }

    fn write(&self, offset: u64, data: &[u8]) -> io::Result<()> {
        // Held until the data is there, or the zeros could come over what another thread writes.
        let mut blank = self.blank();
        for part in blank.take(offset..offset + data.len() as u64) {
            // If there is no room for zeros there may be some for the data.
            let _ = self.file.write(part.start, &ZEROS[..(part.end - part.start) as usize]);
        }
        self.file.write(offset, data)?;
        drop(blank);
        self.syncs.note_written(data.len());
        Ok(())
    }

    fn sync(&self) -> io::Result<()> {
        self.syncs.sync()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Whatever parts of it are written along, a file holds what a plain one would.
    #[test]
    fn what_is_written_along_changes_nothing() {
        let directory = tempfile::tempdir().expect("a directory");
        let disk = Directory(directory.path().to_owned());
        let mut random = fastrand::Rng::with_seed(5);
        let mut model: Vec<u8> = Vec::new();
        let mut file = disk.open().expect("it is made");
        let longest = 12 * PART as usize;
        for _ in 0..1_500 {
            match random.u8(..20) {
                0 => {
                    let length = random.usize(..longest);
                    model.resize(length, 0);
                    file.set_length(length as u64).expect("there is room");
                }
                1 => file = disk.open().expect("it is there"),
                _ => {
                    // Here and there behind the end, too.
                    let behind = if random.u8(..50) == 0 { 100_000 } else { 0 };
                    let offset = random.usize(..=model.len() + behind);
                    let most = [9_000, 3 * PART as usize][usize::from(random.u8(..8) == 0)];
                    let data = vec![random.u8(1..); random.usize(1..most)];
                    model.resize(model.len().max(offset + data.len()), 0);
                    model[offset..offset + data.len()].copy_from_slice(&data);
                    file.write(offset as u64, &data).expect("there is room");
                }
            }
            assert_eq!(file.length().expect("it has one"), model.len() as u64);
        }
        let mut found = vec![0; model.len()];
        file.read(0, &mut found).expect("all of it is there");
        assert!(found == model, "the file differs from a plain one");
    }
}
