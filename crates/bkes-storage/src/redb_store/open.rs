//! Opening the files of a store.

use super::backend::{Backend, FileUse};
use super::failure::Failure;
use super::leak_on_panic::LeakOnPanic;
use super::numbers::{self, Numbers};
use super::tables;
use super::values::Values;
use crate::contract::Durability;
use crate::disk::{Disk, Kind};
use redb::{Builder, Database};
use std::io;
use std::path::PathBuf;
use std::sync::Arc;

/// Of the memory for cached pages, this share is for rows that are not settled. 16 MiB hold some 250,000.
pub const UNSETTLED_SHARE: usize = 4;

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

/// The files as they are open.
#[derive(Clone)]
pub struct Files {
    pub database: Arc<Database>,
    pub values: Arc<Values>,
}

/// What an opened file turned out to be.
pub enum FileState {
    Open(Files, Numbers),
    /// Of this format, which is not ours.
    OtherFormat(u64),
}

/// Opens the files of a store, or makes them.
pub fn open_file(disk: &dyn Disk, cache_bytes: usize, file_use: &FileUse) -> Result<FileState, Failure> {
    let opened = Backend::open(disk, file_use).map_err(|error| Failure::Redb(redb::Error::Io(error)))?;
    let backend = match opened {
        (backend, Kind::Checked) => backend,
        (_, Kind::Bare) => return Ok(FileState::OtherFormat(tables::BARE_FORMAT)),
        (_, Kind::Other) => return Err(Failure::Garbled("it does not begin as a store does".into())),
    };
    let database = Builder::new()
        .set_cache_size(cache_bytes - cache_bytes / UNSETTLED_SHARE)
        .create_with_backend(backend)?;
    let found = tables::format(&tables::begin_read(&database)?)?;
    match found {
        Some(tables::FORMAT) => {}
        Some(found) => return Ok(FileState::OtherFormat(found)),
        None => {
            let transaction = begin_write(&database, Durability::Immediate)?;
            tables::create(&transaction)?;
            transaction.commit()?;
        }
    }
    let read = tables::begin_read(&database)?;
    // A file whose checkpoints cannot be read is of no use, and this is the time to know.
    tables::load(&read)?;
    let (numbers, blocks) = numbers::read(&read)?;
    let has_more = tables::has_blocks_from(&read, blocks)?;
    drop(read);
    if has_more {
        let transaction = LeakOnPanic::new(begin_write(&database, Durability::Immediate)?);
        tables::remove_blocks_from(&transaction, blocks)?;
        transaction.into_inner().commit()?;
    }
    let values = Values::open(disk, file_use, numbers.values_end);
    let values = Arc::new(values.map_err(|error| Failure::Redb(redb::Error::Io(error)))?);
    check_writable(file_use, &values)?;
    Ok(FileState::Open(Files { database: Arc::new(database), values }, numbers))
}

/// A durable commit syncs its pages before it says that they count: redb could do with one sync and find out by their checksums
/// later, but a page that was not synced is one whose block fails its own check.
pub fn begin_write(database: &Database, durability: Durability) -> Result<redb::WriteTransaction, Failure> {
    let mut transaction = database.begin_write()?;
    match durability {
        Durability::Eventual => transaction.set_durability(redb::Durability::None)?,
        Durability::Immediate => transaction.set_quick_repair(true),
    }
    Ok(transaction)
}

/// redb does not know that a write failed: it goes on in memory.
pub fn check_writable(file_use: &FileUse, values: &Values) -> Result<(), Failure> {
    match file_use.failure().or_else(|| values.failure().cloned()) {
        Some(detail) => Err(Failure::Redb(redb::Error::Io(io::Error::other(detail)))),
        None => Ok(()),
    }
}
