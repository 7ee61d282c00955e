//! What the log's threads share: the file, what of it may be read, and the queue.

use crate::disk::{Claim, DiskFile};
use crate::file::Opened;
use crate::header::FileHeader;
use crate::index::Index;
use crate::queue::{Queue, WriteState};
use bkes_log::Waker;
use std::sync::{Condvar, Mutex, MutexGuard, PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard};

/// What is synced, and so may be read.
pub struct Published {
    pub end: u64,
    pub index: Vec<Index>,
}

pub struct Shared {
    pub file: Box<dyn DiskFile>,
    pub header: FileHeader,
    pub start: u64,
    pub record_bytes_max: u64,
    /// Woken when there is something in the queue, or it is to stop.
    pub queued: Condvar,
    published: RwLock<Published>,
    queue: Mutex<Queue>,
    readers: Mutex<Vec<Waker>>,
    /// Keeps other processes out as long as anybody may write.
    _claim: Claim,
}

impl Shared {
    pub fn new(opened: Opened, record_bytes_max: u64) -> Shared {
        let Opened { file, claim, header, start, end, index, .. } = opened;
        Shared {
            file,
            header,
            start,
            record_bytes_max,
            queued: Condvar::new(),
            published: RwLock::new(Published { end, index }),
            queue: Mutex::default(),
            readers: Mutex::default(),
            _claim: claim,
        }
    }

    pub fn published(&self) -> RwLockReadGuard<'_, Published> {
        self.published.read().unwrap_or_else(PoisonError::into_inner)
    }

    pub fn published_mut(&self) -> RwLockWriteGuard<'_, Published> {
        self.published.write().unwrap_or_else(PoisonError::into_inner)
    }

    pub fn queue(&self) -> MutexGuard<'_, Queue> {
        self.queue.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub fn set_state(&self, state: WriteState) {
        let mut queue = self.queue();
        queue.state = state;
        let appenders = queue.appenders();
        drop(queue);
        appenders.iter().for_each(|reports| reports.1.wake());
        self.wake_readers();
    }

    pub fn add_reader(&self, waker: Waker) {
        self.readers.lock().unwrap_or_else(PoisonError::into_inner).push(waker);
    }

    pub fn wake_readers(&self) {
        self.readers.lock().unwrap_or_else(PoisonError::into_inner).iter().for_each(Waker::wake);
    }
}
