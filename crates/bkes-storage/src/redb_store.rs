//! The store on disk: one redb file in a directory of its own.
//!
//! redb trusts a file that was closed cleanly, and panics on pages of garbage. So every row with content carries a checksum,
//! every call runs under a guard that turns a panic into [`StoreError::Damaged`], and a damaged file is set aside, never
//! repaired: the log still has everything. No lock of ours is held while the disk works.

mod blocks;
mod codec;
mod read;
mod schema;

use crate::contract::{
    Durability, Heads, Loaded, ReadPart, Store, StoreBatch, StoreError, StoreIdentity, StoreStats,
    StoredEvent,
};
use bkes_core::Key;
use redb::{Builder, Database};
use schema::{Failure, Numbers};
use std::fs::{self, File, TryLockError};
use std::io;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, RwLock};

const FILE: &str = "store.redb";
const LOCK: &str = "lock";

/// Files that are set aside before the oldest is deleted: enough to look into what happened, not enough to fill a disk.
const SET_ASIDE_MAX: u32 = 2;

/// Where the store lies, and how much memory it may use.
#[derive(Clone, Debug)]
pub struct RedbOptions {
    /// The directory; made when it is not there. It belongs to the store alone.
    pub directory: PathBuf,
    /// Memory for cached pages, in bytes.
    pub cache_bytes: usize,
}

/// Why a store cannot be opened.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    /// Another process uses the directory.
    #[error("another process uses {}: stop it, or choose another data directory", directory.display())]
    Locked {
        /// The directory.
        directory: PathBuf,
    },
    /// The directory cannot be used.
    #[error("cannot use {}: {source}", path.display())]
    Unusable {
        /// The file or directory.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// The file was written by another version of BKES. It is left as it is.
    #[error("the store in {} has format {found}, this version reads format {supported}: use a matching version, or remove the directory to rebuild from the log", directory.display())]
    OtherFormat {
        /// The directory.
        directory: PathBuf,
        /// The file's format.
        found: u64,
        /// Ours.
        supported: u64,
    },
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
    options: RedbOptions,
    database: RwLock<Option<Arc<Database>>>,
    /// Only the one writer takes it, so it is never waited for.
    numbers: Mutex<Numbers>,
    keys: AtomicU64,
    damaged: AtomicBool,
    /// Held for the store's life.
    _lock: File,
}

impl RedbStore {
    /// Opens the store in a directory, or makes a new one. A damaged file is set aside.
    pub fn open(options: &RedbOptions) -> Result<Opened, OpenError> {
        let directory = options.directory.clone();
        let unusable = |path: &Path| {
            let path = path.to_owned();
            move |source| OpenError::Unusable { path, source }
        };
        fs::create_dir_all(&directory).map_err(unusable(&directory))?;
        let lock_path = directory.join(LOCK);
        let lock = File::options().create(true).truncate(false).write(true).open(&lock_path);
        let lock = lock.map_err(unusable(&lock_path))?;
        match lock.try_lock() {
            Ok(()) => {}
            Err(TryLockError::WouldBlock) => return Err(OpenError::Locked { directory }),
            Err(TryLockError::Error(source)) => return Err(OpenError::Unusable { path: lock_path, source }),
        }
        let path = directory.join(FILE);
        let (opened, set_aside) = match guarded(|| open_file(&path, options.cache_bytes)) {
            Ok(opened) => (opened, None),
            Err(failure) => {
                if let Some(source) = io_error(&failure) {
                    return Err(OpenError::Unusable { path, source });
                }
                tracing::warn!("{} is damaged: {failure:?}", path.display());
                let aside = set_aside(&directory).map_err(unusable(&path))?;
                let opened = guarded(|| open_file(&path, options.cache_bytes)).map_err(|failure| {
                    let source =
                        io_error(&failure).unwrap_or_else(|| io::Error::other(format!("{failure:?}")));
                    OpenError::Unusable { path: path.clone(), source }
                })?;
                (opened, Some(aside))
            }
        };
        let (database, numbers) = match opened {
            FileState::Open(database, numbers) => (database, numbers),
            FileState::OtherFormat(found) => {
                return Err(OpenError::OtherFormat { directory, found, supported: schema::FORMAT });
            }
        };
        let store = RedbStore {
            options: options.clone(),
            keys: AtomicU64::new(numbers.keys),
            database: RwLock::new(Some(Arc::new(database))),
            numbers: Mutex::new(numbers),
            damaged: AtomicBool::new(false),
            _lock: lock,
        };
        Ok(Opened { store, set_aside })
    }

    fn path(&self) -> PathBuf {
        self.options.directory.join(FILE)
    }

    fn database(&self) -> Result<Arc<Database>, StoreError> {
        let database = self.database.read().unwrap_or_else(PoisonError::into_inner);
        database.as_ref().map(Arc::clone).ok_or(StoreError::Closed)
    }

    fn take_database(&self) -> Option<Arc<Database>> {
        self.database.write().unwrap_or_else(PoisonError::into_inner).take()
    }

    fn numbers(&self) -> MutexGuard<'_, Numbers> {
        self.numbers.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn reading<T>(
        &self,
        read: impl FnOnce(&redb::ReadTransaction) -> Result<T, Failure>,
    ) -> Result<T, StoreError> {
        let database = self.database()?;
        guarded(|| read(&schema::begin_read(&database)?)).map_err(|failure| {
            let error = store_error(failure, |detail| StoreError::ReadFailed { detail });
            self.note(error)
        })
    }

    fn writing(
        &self,
        durability: Durability,
        write: impl FnOnce(&redb::WriteTransaction, &mut Numbers) -> Result<(), Failure>,
    ) -> Result<(), StoreError> {
        let database = self.database()?;
        let mut ahead = self.numbers().clone();
        let written = guarded(|| {
            let mut transaction = database.begin_write()?;
            match durability {
                Durability::Eventual => transaction.set_durability(redb::Durability::None)?,
                Durability::Immediate => transaction.set_quick_repair(true),
            }
            write(&transaction, &mut ahead)?;
            transaction.commit()?;
            Ok(())
        });
        match written {
            Ok(()) => {
                self.keys.store(ahead.keys, Ordering::Relaxed);
                *self.numbers() = ahead;
                Ok(())
            }
            Err(failure) => {
                let error = store_error(failure, |detail| StoreError::WriteFailed { detail });
                Err(self.note(error))
            }
        }
    }

    fn note(&self, error: StoreError) -> StoreError {
        if matches!(error, StoreError::Damaged { .. }) {
            self.damaged.store(true, Ordering::Release);
        }
        error
    }

    /// Opens the file and takes it into use.
    fn open_again(&self) -> Result<(), StoreError> {
        let opened = guarded(|| open_file(&self.path(), self.options.cache_bytes));
        let failed = |failure| self.note(store_error(failure, |detail| StoreError::WriteFailed { detail }));
        match opened.map_err(failed)? {
            FileState::Open(database, numbers) => {
                self.keys.store(numbers.keys, Ordering::Relaxed);
                *self.numbers() = numbers;
                *self.database.write().unwrap_or_else(PoisonError::into_inner) = Some(Arc::new(database));
                Ok(())
            }
            FileState::OtherFormat(found) => {
                let detail = format!("the file has format {found} all of a sudden");
                Err(self.note(StoreError::Damaged { detail }))
            }
        }
    }
}

impl Store for RedbStore {
    fn load(&self) -> Result<Loaded, StoreError> {
        self.reading(schema::load)
    }

    fn set_identity(&self, identity: &StoreIdentity) -> Result<(), StoreError> {
        self.writing(Durability::Immediate, |write, _| schema::set_identity(write, identity))
    }

    fn heads(&self, keys: &[Key], out: &mut Vec<Heads>) -> Result<(), StoreError> {
        if keys.is_empty() {
            return Ok(());
        }
        self.reading(|read| read::heads(read, keys, out))
    }

    fn read(&self, part: ReadPart<'_>, out: &mut Vec<StoredEvent>) -> Result<(), StoreError> {
        let before = out.len();
        let read = self.reading(|read| read::read(read, part, out));
        if read.is_err() {
            out.truncate(before);
        }
        read
    }

    fn commit(&self, batch: &StoreBatch, durability: Durability) -> Result<(), StoreError> {
        self.writing(durability, |write, numbers| schema::write(write, batch, numbers))
    }

    fn reopen(&self) -> Result<Loaded, StoreError> {
        drop(self.take_database());
        self.open_again()?;
        self.load()
    }

    fn reset(&self) -> Result<(), StoreError> {
        drop(self.take_database());
        let removed = if self.damaged.swap(false, Ordering::AcqRel) {
            set_aside(&self.options.directory)
                .map(|aside| tracing::warn!("damaged store set aside as {}", aside.display()))
        } else {
            fs::remove_file(self.path())
        };
        match removed {
            Ok(()) => {}
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            Err(error) => return Err(StoreError::WriteFailed { detail: error.to_string() }),
        }
        self.open_again()
    }

    fn close(&self) -> Result<(), StoreError> {
        let Some(database) = self.take_database() else { return Err(StoreError::Closed) };
        let closed = guarded(move || {
            let transaction = database.begin_write()?;
            transaction.commit()?;
            // A reader that is still at work closes the file when it is done.
            if let Ok(database) = Arc::try_unwrap(database) {
                database.close()?;
            }
            Ok(())
        });
        closed.map_err(|failure| store_error(failure, |detail| StoreError::WriteFailed { detail }))
    }

    fn stats(&self) -> StoreStats {
        let file_bytes = fs::metadata(self.path()).map_or(0, |metadata| metadata.len());
        StoreStats { keys: self.keys.load(Ordering::Relaxed), file_bytes }
    }
}

enum FileState {
    Open(Database, Numbers),
    OtherFormat(u64),
}

fn open_file(path: &Path, cache_bytes: usize) -> Result<FileState, Failure> {
    let database = Builder::new().set_cache_size(cache_bytes).create(path)?;
    let found = schema::format(&schema::begin_read(&database)?)?;
    match found {
        Some(schema::FORMAT) => {}
        Some(found) => return Ok(FileState::OtherFormat(found)),
        None => {
            let transaction = database.begin_write()?;
            schema::create(&transaction)?;
            transaction.commit()?;
        }
    }
    let read = schema::begin_read(&database)?;
    // A file whose checkpoints cannot be read is of no use, and this is the time to know.
    schema::load(&read)?;
    let numbers = schema::numbers(&read)?;
    drop(read);
    Ok(FileState::Open(database, numbers))
}

/// Moves the file away under a name that says what it is.
fn set_aside(directory: &Path) -> io::Result<PathBuf> {
    let name = |number: u32| directory.join(format!("{FILE}.damaged-{number}"));
    for number in (1..SET_ASIDE_MAX).rev() {
        match fs::rename(name(number), name(number + 1)) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
            _ => {}
        }
    }
    fs::rename(directory.join(FILE), name(1))?;
    Ok(name(1))
}

/// Runs what touches the file; a panic in it means that the file is not what it should be.
fn guarded<T>(work: impl FnOnce() -> Result<T, Failure>) -> Result<T, Failure> {
    catch_unwind(AssertUnwindSafe(work)).unwrap_or_else(|panic| {
        let said = panic.downcast_ref::<&str>().map(ToString::to_string);
        let said = said.or_else(|| panic.downcast_ref::<String>().cloned()).unwrap_or_default();
        Err(Failure::Garbled(format!("a page that cannot be read: {said}")))
    })
}

fn io_error(failure: &Failure) -> Option<io::Error> {
    match failure {
        Failure::Redb(redb::Error::Io(error)) if !is_about_content(error) => {
            Some(io::Error::new(error.kind(), error.to_string()))
        }
        Failure::Redb(redb::Error::DatabaseAlreadyOpen) => {
            Some(io::Error::other("the file is open elsewhere"))
        }
        Failure::Redb(_) | Failure::Garbled(_) => None,
    }
}

/// Whether the disk works and what lies on it is wrong.
fn is_about_content(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::UnexpectedEof | io::ErrorKind::InvalidData)
}

fn store_error(failure: Failure, failed: impl FnOnce(String) -> StoreError) -> StoreError {
    match failure {
        Failure::Garbled(detail) => StoreError::Damaged { detail },
        Failure::Redb(redb::Error::Io(error)) if is_about_content(&error) => {
            StoreError::Damaged { detail: error.to_string() }
        }
        Failure::Redb(redb::Error::DatabaseClosed) => StoreError::Closed,
        Failure::Redb(error @ (redb::Error::Io(_) | redb::Error::PreviousIo)) => failed(error.to_string()),
        Failure::Redb(error) => StoreError::Damaged { detail: error.to_string() },
    }
}

#[cfg(test)]
mod tests;
