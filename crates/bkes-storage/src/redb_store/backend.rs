//! A file of a [`Disk`] as redb wants it.
//!
//! Three things differ from a plain file. Its blocks are [`Checked`]. After a failed write nothing reaches the file any more, as
//! if the machine had crashed there, and redb goes on in memory: to redb any error is the end of reading too, and reads have to
//! go on while a disk is full. [`FileUse`] tells the store, which refuses to write until the file is opened anew. And redb's own locks are
//! not used: the disk is claimed by one store, which does not open the file again while a reader still works on it.

use crate::disk::{BLOCK, Checked, Disk, DiskFile, Kind};
use redb::StorageBackend;
use std::collections::HashMap;
use std::io;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

/// How long an opening waits for the last reader of a file: a read of the largest reply takes some ten milliseconds.
const READERS_WAIT: Duration = Duration::from_millis(1);
const READERS_WAITS_MAX: u32 = 500;

/// A read of a page that takes so long waited for the disk: from the system's cache it comes in some microseconds.
const DISK_WAIT: Duration = Duration::from_micros(50);

/// So many bytes more may take a microsecond longer: a slow memory copies a gigabyte in a second.
const BYTES_OF_MICROSECOND: u64 = 1_000;

/// So many reads of aggregates are said to be about to wait, after one that did.
const READS_WARNED: u32 = 200;

#[derive(Debug, Default)]
struct Use {
    open: AtomicBool,
    failed: AtomicBool,
    failure: Mutex<Option<String>>,
    /// Reads of aggregates that had better expect to wait for the disk.
    warned: AtomicU32,
}

/// What is known of a file that redb has open.
#[derive(Clone, Debug, Default)]
pub struct FileUse(Arc<Use>);

impl FileUse {
    /// Why the file does not take writes any more.
    pub fn failure(&self) -> Option<String> {
        if !self.0.failed.load(Ordering::Acquire) {
            return None;
        }
        locked(&self.0.failure).clone()
    }

    /// Whether the next read may well wait for the disk.
    pub fn may_wait(&self) -> bool {
        self.0.warned.load(Ordering::Relaxed) > 0
    }

    /// Reads so many bytes from the file, and has the next reads expect to wait if this one did.
    pub fn watched<T>(&self, bytes: usize, read: impl FnOnce() -> T) -> T {
        let began = Instant::now();
        let done = read();
        if began.elapsed() >= DISK_WAIT + Duration::from_micros(bytes as u64 / BYTES_OF_MICROSECOND) {
            self.0.warned.store(READS_WARNED, Ordering::Relaxed);
        }
        done
    }

    /// An aggregate was read.
    pub fn note_read(&self) {
        if self.may_wait() {
            let one_less = |warned: u32| warned.checked_sub(1);
            let _ = self.0.warned.fetch_update(Ordering::Relaxed, Ordering::Relaxed, one_less);
        }
    }
}

/// An open file.
#[derive(Debug)]
pub struct Backend {
    file: Box<dyn DiskFile>,
    file_use: FileUse,
    /// What would be in the file if the disk had not failed. Held while the file is changed.
    beyond: Mutex<Beyond>,
}

impl Backend {
    /// Opens the file once nobody has it open any more.
    pub fn open(disk: &dyn Disk, file_use: &FileUse) -> io::Result<(Backend, Kind)> {
        let mut waits = 0;
        while file_use.0.open.load(Ordering::Acquire) {
            if waits == READERS_WAITS_MAX {
                return Err(io::Error::new(
                    io::ErrorKind::ResourceBusy,
                    "a read is still at work on the file",
                ));
            }
            thread::sleep(READERS_WAIT);
            waits += 1;
        }
        let (file, kind) = Checked::new(disk.open()?)?;
        file_use.0.open.store(true, Ordering::Release);
        file_use.0.failed.store(false, Ordering::Release);
        let backend = Backend { file: Box::new(file), file_use: file_use.clone(), beyond: Mutex::default() };
        Ok((backend, kind))
    }

    /// Changes the file, or what stands for it once a change has failed.
    fn change(
        &self,
        change: impl FnOnce(&dyn DiskFile) -> io::Result<()>,
        instead: impl FnOnce(&mut Beyond, &dyn DiskFile) -> io::Result<()>,
    ) -> io::Result<()> {
        let used = &self.file_use.0;
        let mut beyond = locked(&self.beyond);
        if !used.failed.load(Ordering::Acquire) {
            let Err(error) = change(&*self.file) else { return Ok(()) };
            beyond.length = self.file.length()?;
            beyond.in_file = beyond.length;
            *locked(&used.failure) = Some(error.to_string());
            used.failed.store(true, Ordering::Release);
        }
        instead(&mut beyond, &*self.file)
    }
}

impl Drop for Backend {
    fn drop(&mut self) {
        self.file_use.0.open.store(false, Ordering::Release);
    }
}

impl StorageBackend for Backend {
    fn len(&self) -> io::Result<u64> {
        if self.file_use.0.failed.load(Ordering::Acquire) {
            return Ok(locked(&self.beyond).length);
        }
        self.file.length()
    }

    fn read(&self, offset: u64, out: &mut [u8]) -> io::Result<()> {
        if self.file_use.0.failed.load(Ordering::Acquire) {
            return locked(&self.beyond).read(&*self.file, offset, out);
        }
        self.file_use.watched(out.len(), || self.file.read(offset, out))
    }

    fn set_len(&self, length: u64) -> io::Result<()> {
        self.change(
            |file| file.set_length(length),
            |beyond, _| {
                beyond.set_length(length);
                Ok(())
            },
        )
    }

    fn sync_data(&self) -> io::Result<()> {
        self.change(|file| file.sync(), |_, _| Ok(()))
    }

    fn write(&self, offset: u64, data: &[u8]) -> io::Result<()> {
        self.change(|file| file.write(offset, data), |beyond, file| beyond.write(file, offset, data))
    }
}

/// The blocks that differ from the file, and the length that it would have.
#[derive(Debug, Default)]
struct Beyond {
    length: u64,
    /// How much of the file still counts.
    in_file: u64,
    blocks: HashMap<u64, Box<[u8]>>,
}

impl Beyond {
    fn read(&self, file: &dyn DiskFile, offset: u64, out: &mut [u8]) -> io::Result<()> {
        if offset + out.len() as u64 > self.length {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        for (block, within, part) in parts(offset, out.len()) {
            let out = &mut out[part];
            match self.blocks.get(&block) {
                Some(bytes) => out.copy_from_slice(&bytes[within..within + out.len()]),
                None => self.read_file(file, block * BLOCK as u64 + within as u64, out)?,
            }
        }
        Ok(())
    }

    fn write(&mut self, file: &dyn DiskFile, offset: u64, data: &[u8]) -> io::Result<()> {
        for (block, within, part) in parts(offset, data.len()) {
            let data = &data[part];
            if !self.blocks.contains_key(&block) {
                let mut bytes = vec![0; BLOCK];
                if data.len() < BLOCK {
                    self.read_file(file, block * BLOCK as u64, &mut bytes)?;
                }
                self.blocks.insert(block, bytes.into());
            }
            let bytes = self.blocks.get_mut(&block).expect("it was inserted above");
            bytes[within..within + data.len()].copy_from_slice(data);
        }
        self.length = self.length.max(offset + data.len() as u64);
        Ok(())
    }

    /// What is cut off comes back as zeros when the file grows again.
    fn set_length(&mut self, length: u64) {
        let (last, kept) = (length / BLOCK as u64, (length % BLOCK as u64) as usize);
        self.blocks.retain(|block, _| *block < last || (*block == last && kept > 0));
        if let Some(bytes) = self.blocks.get_mut(&last) {
            bytes[kept..].fill(0);
        }
        self.in_file = self.in_file.min(length);
        self.length = length;
    }

    /// Reads what the file has; the rest is zeros.
    fn read_file(&self, file: &dyn DiskFile, offset: u64, out: &mut [u8]) -> io::Result<()> {
        let there = self.in_file.saturating_sub(offset).min(out.len() as u64) as usize;
        let (there, behind) = out.split_at_mut(there);
        behind.fill(0);
        if there.is_empty() { Ok(()) } else { file.read(offset, there) }
    }
}

/// A range, block by block: the block, where in it, and which part of the range.
fn parts(offset: u64, length: usize) -> impl Iterator<Item = (u64, usize, std::ops::Range<usize>)> {
    let mut done = 0;
    std::iter::from_fn(move || {
        if done == length {
            return None;
        }
        let at = offset + done as u64;
        let within = (at % BLOCK as u64) as usize;
        let part = done..length.min(done + BLOCK - within);
        done = part.end;
        Some((at / BLOCK as u64, within, part))
    })
}

/// A panic elsewhere leaves what is locked whole enough: the file is opened anew after it.
fn locked<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
