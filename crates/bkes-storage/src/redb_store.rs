//! The store on disk: a redb file, and beside it one of large values, in a directory of their own.
//!
//! redb trusts a file that was closed cleanly, and panics on pages of garbage. So every row with content carries a checksum,
//! every call runs under a guard that turns a panic into [`StoreError::Damaged`], and a damaged file is set aside, never
//! repaired: the log still has everything. The file is changed under a lock that is held while
//! the disk works; reads do not take it, unless a change has failed.

mod varint;

mod layout;

mod blocks;
mod row_grouping;

mod codec;

mod failure;
mod leak_on_panic;

mod backend;
mod tables;
mod values;

mod numbers;
mod write_back;

mod dropping;
mod read;

mod keys;
mod write;

mod open;

use crate::contract::{
    Durability, EventOutline, Heads, KeyPage, KeyRange, Loaded, OffsetPart, OutlinePart, ReadPart, Store,
    StoreBatch, StoreError, StoreIdentity, StoreStats, StoredEvent,
};
use crate::disk::{Claim, Directory, Disk};
use backend::FileUse;
use bkes_core::{Key, Partition};
use codec::Content;
use dropping::SweepLimits;
use failure::{Failure, guarded, io_error, store_error};
use leak_on_panic::LeakOnPanic;
use numbers::Numbers;
use open::{FileState, Files, UNSETTLED_SHARE, begin_write, check_writable, open_file};
use redb::Database;
use std::io;
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, RwLock, RwLockWriteGuard};
use write::{Change, Latest};
use write_back::{Changes, WriteBack};

pub use open::OpenError;

/// Room that must be there before a store whose disk was full is reopened: one transaction of the engine at its largest.
const ROOM_BYTES: u64 = 16 * 1024 * 1024;

/// Events that may be committed and not made to last, in bytes: redb keeps account of their pages in memory.
const UNSYNCED_BYTES_MAX: usize = 256 * 1024 * 1024;

/// Rows that become visible at once: so long a reader may wait for the writer, some 100 us.
const ROWS_AT_ONCE: usize = 1_000;

/// Where the store lies, and how much memory it may use.
#[derive(Clone, Debug)]
pub struct RedbOptions {
    /// The directory; made when it is not there. It belongs to the store alone.
    pub directory: PathBuf,
    /// Memory for cached pages and for rows that are still to be written, in bytes.
    pub cache_bytes: usize,
}

/// An opened store.
pub struct Opened {
    /// The store.
    pub store: RedbStore,
    /// Where a damaged file was set aside; the store is empty then.
    pub set_aside: Option<PathBuf>,
}

/// The store on disk.
pub struct RedbStore {
    disk: Arc<dyn Disk>,
    cache_bytes: usize,
    files: RwLock<Option<Files>>,
    snapshot: Mutex<Snapshot>,
    /// Rises after each commit, and when the file is let go: a snapshot of an earlier version is not used again.
    version: AtomicU64,
    /// What was committed of aggregates and is not in the file. Only the one writer changes it.
    unsettled: RwLock<WriteBack>,
    /// Only the one writer takes it, so it is never waited for.
    numbers: Mutex<Numbers>,
    keys: AtomicU64,
    damaged: AtomicBool,
    /// redb panicked on the file that is open.
    panicked: AtomicBool,
    /// What is known of the file that was opened last.
    file_use: Mutex<FileUse>,
    sweep_limits: SweepLimits,
    /// Held for the store's life.
    _claim: Claim,
}

/// What reads look at, kept from one commit to the next: opening it costs as much as a look-up does.
#[derive(Default)]
struct Snapshot {
    version: u64,
    tables: Option<Arc<read::Tables>>,
}

impl RedbStore {
    /// Opens the store in a directory, or makes a new one. A damaged file is set aside.
    pub fn open(options: &RedbOptions) -> Result<Opened, OpenError> {
        RedbStore::open_on(Arc::new(Directory(options.directory.clone())), options.cache_bytes)
    }

    /// Opens the store on any disk, with this much memory for cached pages.
    pub fn open_on(disk: Arc<dyn Disk>, cache_bytes: usize) -> Result<Opened, OpenError> {
        let directory = disk.path().parent().map_or_else(PathBuf::new, Into::into);
        let claim = disk.claim().map_err(|source| match source.kind() {
            io::ErrorKind::WouldBlock => OpenError::Locked { directory: directory.clone() },
            _ => OpenError::Unusable { path: directory.clone(), source },
        })?;
        let unusable = |source| OpenError::Unusable { path: disk.path(), source };
        let mut file_use = FileUse::default();
        let (opened, set_aside) = match guarded(|| open_file(&*disk, cache_bytes, &file_use)) {
            Ok(opened) => (opened, None),
            Err(failure) => {
                if let Some(source) = io_error(&failure) {
                    return Err(unusable(source));
                }
                tracing::warn!("{} is damaged: {failure:?}", disk.path().display());
                let aside = disk.set_aside().map_err(unusable)?;
                file_use = FileUse::default();
                let opened = guarded(|| open_file(&*disk, cache_bytes, &file_use)).map_err(|failure| {
                    unusable(io_error(&failure).unwrap_or_else(|| io::Error::other(format!("{failure:?}"))))
                })?;
                (opened, Some(aside))
            }
        };
        let (files, numbers) = match opened {
            FileState::Open(files, numbers) => (files, numbers),
            FileState::OtherFormat(found) => {
                return Err(OpenError::OtherFormat { directory, found, supported: tables::FORMAT });
            }
        };
        let store = RedbStore {
            keys: AtomicU64::new(numbers.keys),
            files: RwLock::new(Some(files)),
            snapshot: Mutex::default(),
            version: AtomicU64::new(0),
            unsettled: RwLock::default(),
            numbers: Mutex::new(numbers),
            damaged: AtomicBool::new(false),
            panicked: AtomicBool::new(false),
            file_use: Mutex::new(file_use),
            cache_bytes,
            sweep_limits: SweepLimits::default(),
            _claim: claim,
            disk,
        };
        Ok(Opened { store, set_aside })
    }

    fn files(&self) -> Result<Files, StoreError> {
        let files = self.files.read().unwrap_or_else(PoisonError::into_inner);
        files.clone().ok_or(StoreError::Closed)
    }

    fn take_database(&self) -> Option<Arc<Database>> {
        let files = self.files.write().unwrap_or_else(PoisonError::into_inner).take();
        self.end_snapshot();
        self.unsettled_mut().clear();
        files.map(|files| files.database)
    }

    fn unsettled_mut(&self) -> RwLockWriteGuard<'_, WriteBack> {
        self.unsettled.write().unwrap_or_else(PoisonError::into_inner)
    }

    /// The tables as of the last commit, or of one that has just returned.
    fn tables(&self) -> Result<Arc<read::Tables>, Failure> {
        let version = self.version.load(Ordering::Acquire);
        let current = |snapshot: &Snapshot| snapshot.tables.clone().filter(|_| snapshot.version == version);
        if let Some(tables) = current(&self.snapshot()) {
            return Ok(tables);
        }
        let Files { database, values } =
            self.files().map_err(|_| Failure::Redb(redb::Error::DatabaseClosed))?;
        let tables = Arc::new(read::Tables::open(&tables::begin_read(&database)?, values)?);
        // A commit that returns from here on raises the version, so that these are not used after it.
        *self.snapshot() = Snapshot { version, tables: Some(Arc::clone(&tables)) };
        Ok(tables)
    }

    fn end_snapshot(&self) {
        self.version.fetch_add(1, Ordering::AcqRel);
        let ended = std::mem::take(&mut *self.snapshot());
        drop(ended);
    }

    fn snapshot(&self) -> MutexGuard<'_, Snapshot> {
        self.snapshot.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Lets the file go. redb writes once more when it is closed; what a panic has left behind makes it panic again, twice at times,
    /// which would end the process: such a file is left open, and takes its cache along.
    fn let_go(&self) {
        let database = self.take_database();
        if self.panicked.swap(false, Ordering::AcqRel) {
            return std::mem::forget(database);
        }
        if let Err(failure) = guarded(|| {
            drop(database);
            Ok(())
        }) {
            tracing::warn!("{} did not close: {failure:?}", self.disk.path().display());
        }
    }

    fn file_use(&self) -> FileUse {
        self.file_use_locked().clone()
    }

    fn file_use_locked(&self) -> MutexGuard<'_, FileUse> {
        self.file_use.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn numbers(&self) -> MutexGuard<'_, Numbers> {
        self.numbers.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn reading<T>(&self, read: impl FnOnce() -> Result<T, Failure>) -> Result<T, StoreError> {
        guarded(read).map_err(|failure| self.note(failure, |source| StoreError::ReadFailed { source }))
    }

    /// Reads events, with so much of their content.
    fn read_part(
        &self,
        part: ReadPart<'_>,
        content: Content,
        out: &mut Vec<StoredEvent>,
    ) -> Result<(), StoreError> {
        self.reading_twice(out, |out| read::read(&self.unsettled, || self.tables(), (part, content), out))
    }

    /// Reads events, once more if a commit came in between: the room of a value may have been given back that nobody names any more but
    /// the snapshot that the read had. A read that fails adds nothing.
    fn reading_twice<T>(
        &self,
        out: &mut Vec<T>,
        mut read: impl FnMut(&mut Vec<T>) -> Result<(), Failure>,
    ) -> Result<(), StoreError> {
        let before = out.len();
        let version = self.version.load(Ordering::Acquire);
        let mut try_read = || guarded(|| read(out)).inspect_err(|_| out.truncate(before));
        let mut found = try_read();
        if matches!(found, Err(Failure::Garbled(_))) && self.version.load(Ordering::Acquire) != version {
            found = try_read();
        }
        let found = self.reading(|| found);
        self.file_use_locked().note_read();
        found
    }

    /// Makes a change in a transaction of its own; `unsettled` is what is.
    fn writing<T>(
        &self,
        durability: Durability,
        unsettled: &WriteBack,
        work: impl FnOnce(&mut Change<'_>) -> Result<T, Failure>,
    ) -> Result<T, StoreError> {
        let Files { database, values } = self.files()?;
        let mut numbers = self.numbers().clone();
        let file_use = self.file_use();
        let written = guarded(|| {
            check_writable(&file_use, &values)?;
            let transaction = LeakOnPanic::new(begin_write(&database, durability)?);
            let numbers = &mut numbers;
            let written = work(&mut Change { write: &transaction, values: &values, numbers, unsettled })?;
            if durability == Durability::Immediate {
                values.sync()?;
            }
            transaction.into_inner().commit()?;
            check_writable(&file_use, &values).map(|()| written)
        });
        match written {
            Ok(written) => {
                self.keys.store(numbers.keys, Ordering::Relaxed);
                *self.numbers() = numbers;
                self.end_snapshot();
                Ok(written)
            }
            Err(failure) => Err(self.note(failure, |source| StoreError::WriteFailed { source })),
        }
    }

    /// Makes a durable change that settles everything.
    fn writing_settled(
        &self,
        work: impl FnOnce(&mut Change<'_>) -> Result<(), Failure>,
    ) -> Result<(), StoreError> {
        self.writing(Durability::Immediate, &write_back::locked(&self.unsettled), work)?;
        let mut unsettled = self.unsettled_mut();
        unsettled.clear();
        unsettled.unsynced_bytes = 0;
        Ok(())
    }

    /// Lets readers see what was committed and is not settled.
    fn let_see(&self, batch: &StoreBatch, changes: &Changes) {
        for start in (0..changes.len()).step_by(ROWS_AT_ONCE) {
            self.unsettled_mut().add_rows(changes, start..changes.len().min(start + ROWS_AT_ONCE));
        }
        self.unsettled_mut().add_rest(changes, batch);
    }

    /// Keeps in mind what a failure means for the file.
    fn note(&self, failure: Failure, failed: impl FnOnce(io::Error) -> StoreError) -> StoreError {
        self.panicked.fetch_or(matches!(failure, Failure::Panicked(_)), Ordering::AcqRel);
        let error = store_error(failure, failed);
        self.damaged.fetch_or(matches!(error, StoreError::Damaged { .. }), Ordering::AcqRel);
        error
    }

    /// Opens the file and takes it into use.
    fn open_again(&self) -> Result<(), StoreError> {
        let file_use = self.file_use();
        let opened = guarded(|| open_file(&*self.disk, self.cache_bytes, &file_use));
        let failed = |source| StoreError::WriteFailed { source };
        match opened.map_err(|failure| self.note(failure, failed))? {
            FileState::Open(files, numbers) => {
                self.keys.store(numbers.keys, Ordering::Relaxed);
                *self.numbers() = numbers;
                *self.files.write().unwrap_or_else(PoisonError::into_inner) = Some(files);
                Ok(())
            }
            FileState::OtherFormat(found) => {
                let detail = format!("the file has format {found} all of a sudden");
                Err(self.note(Failure::Garbled(detail), failed))
            }
        }
    }
}

impl Drop for RedbStore {
    fn drop(&mut self) {
        self.let_go();
    }
}

impl Store for RedbStore {
    fn load(&self) -> Result<Loaded, StoreError> {
        let files = self.files()?;
        let mut loaded = self.reading(|| tables::load(&tables::begin_read(&files.database)?))?;
        write_back::locked(&self.unsettled).amend(&mut loaded);
        Ok(loaded)
    }

    fn set_identity(&self, identity: &StoreIdentity) -> Result<(), StoreError> {
        let unsettled = write_back::locked(&self.unsettled);
        self.writing(Durability::Immediate, &unsettled, |change| write::set_identity(change, identity))
    }

    fn heads(&self, keys: &[Key], out: &mut Vec<Heads>) -> Result<(), StoreError> {
        if keys.is_empty() {
            return Ok(());
        }
        let before = out.len();
        self.reading(|| read::heads(&self.unsettled, || self.tables(), keys, out))
            .inspect_err(|_| out.truncate(before))
    }

    fn read(&self, part: ReadPart<'_>, out: &mut Vec<StoredEvent>) -> Result<(), StoreError> {
        self.read_part(part, Content::Whole, out)
    }

    fn outlines(&self, part: OutlinePart<'_>, out: &mut Vec<EventOutline>) -> Result<(), StoreError> {
        let OutlinePart { key, partition, from, events_max } = part;
        let part = ReadPart { key, partition, from, events_max, bytes_max: usize::MAX };
        let mut events = Vec::new();
        self.read_part(part, Content::Outline, &mut events)?;
        out.extend(events.iter().map(StoredEvent::outline));
        Ok(())
    }

    fn outlines_from(
        &self,
        parts: &[OffsetPart<'_>],
        out: &mut Vec<Vec<EventOutline>>,
    ) -> Result<(), StoreError> {
        self.reading_twice(out, |out| read::outlines_from(&self.unsettled, || self.tables(), parts, out))
    }

    fn keys(&self, range: KeyRange<'_>) -> Result<KeyPage, StoreError> {
        self.reading(|| keys::keys(&self.unsettled, || self.tables(), range))
    }

    fn reads_may_block(&self) -> bool {
        self.file_use_locked().may_wait()
    }

    fn commit(&self, batch: &StoreBatch, durability: Durability) -> Result<(), StoreError> {
        let lasts = durability == Durability::Immediate;
        let (mut changes, settled, synced) = {
            let unsettled = write_back::locked(&self.unsettled);
            let syncs = lasts || unsettled.unsynced_bytes >= UNSYNCED_BYTES_MAX;
            let durability = if syncs { Durability::Immediate } else { Durability::Eventual };
            let (changes, settled) = self.writing(durability, &unsettled, |change| {
                let changes = write::write(change, &batch.events)?;
                change.numbers.forget_states(&batch.incarnations);
                if lasts {
                    let latest = Latest { changes: &changes, batch };
                    write::settle(change.write, &unsettled, Some(latest), change.numbers)?;
                    return Ok((changes, true));
                }
                let is_due = unsettled.is_due(&changes, self.cache_bytes / UNSETTLED_SHARE);
                if is_due {
                    write::settle(change.write, &unsettled, None, &self.numbers())?;
                }
                Ok((changes, is_due))
            })?;
            (changes, settled, syncs)
        };
        if settled {
            self.unsettled_mut().clear();
            changes.forget_known();
        }
        if !lasts {
            self.let_see(batch, &changes);
        }
        let mut unsettled = self.unsettled_mut();
        unsettled.unsynced_bytes = if synced { 0 } else { unsettled.unsynced_bytes + changes.event_bytes };
        Ok(())
    }

    fn drop_partition(&self, partition: Partition) -> Result<(), StoreError> {
        self.writing_settled(|change| dropping::drop_partition(change, partition))
    }

    fn sweep(&self) -> Result<bool, StoreError> {
        let is_left = || !self.numbers().dropped.0.is_empty();
        if is_left() {
            let limits = self.sweep_limits;
            self.writing_settled(|change| dropping::sweep(change, limits))?;
        }
        Ok(is_left())
    }

    fn reopen(&self) -> Result<Loaded, StoreError> {
        // Reads go on in the file as it is open now, until there is a prospect of more.
        self.disk.try_room(ROOM_BYTES).map_err(|source| StoreError::WriteFailed { source })?;
        self.let_go();
        self.open_again()?;
        self.load().inspect_err(|_| self.let_go())
    }

    fn reset(&self) -> Result<(), StoreError> {
        self.let_go();
        let removed = if self.damaged.swap(false, Ordering::AcqRel) {
            let set_aside = self.disk.set_aside();
            set_aside.map(|aside| tracing::warn!("damaged store set aside as {}", aside.display()))
        } else {
            self.disk.remove()
        };
        match removed {
            Ok(()) => {}
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            Err(source) => return Err(StoreError::WriteFailed { source }),
        }
        // Whoever still reads the old file does not touch the new one.
        *self.file_use_locked() = FileUse::default();
        self.open_again()
    }

    fn close(&self) -> Result<(), StoreError> {
        self.commit(&StoreBatch::default(), Durability::Immediate)?;
        let values = self.files()?.values;
        let Some(database) = self.take_database() else { return Err(StoreError::Closed) };
        let file_use = self.file_use();
        let closed = guarded(move || {
            // A reader that is still at work closes the file when it is done.
            if let Ok(database) = Arc::try_unwrap(database) {
                database.close()?;
            }
            check_writable(&file_use, &values)
        });
        closed.map_err(|failure| store_error(failure, |source| StoreError::WriteFailed { source }))
    }

    fn stats(&self) -> StoreStats {
        StoreStats { keys: self.keys.load(Ordering::Relaxed), file_bytes: self.disk.file_bytes() }
    }
}

#[cfg(test)]
mod tests;
