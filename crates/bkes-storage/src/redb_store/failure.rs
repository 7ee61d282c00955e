//! What goes wrong below the store, and what it is to those above.

use super::varint::Garbled;
use crate::contract::StoreError;
use std::io;
use std::panic::{AssertUnwindSafe, catch_unwind};

/// Why a transaction did not do what was asked.
#[derive(Debug)]
pub enum Failure {
    Redb(redb::Error),
    Garbled(String),
    /// redb met what it never wrote. Its locks may be poisoned.
    Panicked(String),
}

impl<E: Into<redb::Error>> From<E> for Failure {
    fn from(error: E) -> Failure {
        Failure::Redb(error.into())
    }
}

/// What is not what was written.
pub fn garbled(what: impl Into<String>) -> impl FnOnce(Garbled) -> Failure {
    move |Garbled| Failure::Garbled(what.into())
}

/// Runs what touches the file; a panic in it means that the file is not what it should be.
pub fn guarded<T>(work: impl FnOnce() -> Result<T, Failure>) -> Result<T, Failure> {
    catch_unwind(AssertUnwindSafe(work)).unwrap_or_else(|panic| {
        let said = panic.downcast_ref::<&str>().map(ToString::to_string);
        let said = said.or_else(|| panic.downcast_ref::<String>().cloned()).unwrap_or_default();
        Err(Failure::Panicked(said))
    })
}

pub fn io_error(failure: &Failure) -> Option<io::Error> {
    match failure {
        Failure::Redb(redb::Error::Io(error)) if !is_about_content(error) => {
            Some(io::Error::new(error.kind(), error.to_string()))
        }
        Failure::Redb(_) | Failure::Garbled(_) | Failure::Panicked(_) => None,
    }
}

/// Whether the disk works and what lies on it is wrong.
fn is_about_content(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::UnexpectedEof | io::ErrorKind::InvalidData)
}

pub fn store_error(failure: Failure, failed: impl FnOnce(io::Error) -> StoreError) -> StoreError {
    match failure {
        Failure::Garbled(detail) => StoreError::Damaged { detail },
        Failure::Panicked(said) => {
            StoreError::Damaged { detail: format!("a page that cannot be read: {said}") }
        }
        Failure::Redb(redb::Error::Io(error)) if is_about_content(&error) => {
            StoreError::Damaged { detail: error.to_string() }
        }
        Failure::Redb(redb::Error::DatabaseClosed) => StoreError::Closed,
        Failure::Redb(redb::Error::Io(error)) => failed(error),
        Failure::Redb(error @ redb::Error::PreviousIo) => failed(io::Error::other(error)),
        Failure::Redb(error) => StoreError::Damaged { detail: error.to_string() },
    }
}
