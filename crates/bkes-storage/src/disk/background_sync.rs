//! Syncing what was written while more is written.
//!
//! What is waited for in the end is then little: whoever syncs after a second of writing would wait for a tenth of a second.

use std::fmt::{self, Debug, Formatter};
use std::io;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::mpsc::{SyncSender, sync_channel};
use std::sync::{Arc, Mutex, OnceLock, PoisonError};
use std::thread;

/// Bytes that are written before they are synced: a disk that writes a gigabyte in a second has them in 30 ms.
const UNSYNCED_BYTES: usize = 32 * 1024 * 1024;

/// The syncs of a file: those that are waited for, and those ahead of them on a thread of their own, which begins when it is needed
/// first and ends with this.
pub struct BackgroundSync {
    file: Arc<Syncing>,
    /// Bytes written since a sync began last.
    written: AtomicUsize,
    /// None if the system has no thread for it: then everything is waited for.
    thread: OnceLock<Option<SyncSender<()>>>,
}

struct Syncing {
    sync: Box<dyn Fn() -> io::Result<()> + Send + Sync>,
    /// Why a sync failed, held while one is going on. The system says it once, and what was to be written may be lost then: all later
    /// syncs fail too.
    failure: Mutex<Option<io::Error>>,
}

impl BackgroundSync {
    /// The syncs of a file that is synced so.
    pub fn new(sync: impl Fn() -> io::Result<()> + Send + Sync + 'static) -> BackgroundSync {
        let file = Arc::new(Syncing { sync: Box::new(sync), failure: Mutex::default() });
        BackgroundSync { file, written: AtomicUsize::new(0), thread: OnceLock::new() }
    }

    /// So many bytes were written.
    pub fn note_written(&self, bytes: usize) {
        if self.written.fetch_add(bytes, Ordering::Relaxed) + bytes < UNSYNCED_BYTES {
            return;
        }
        self.written.store(0, Ordering::Relaxed);
        let thread = self.thread.get_or_init(|| {
            let (sender, asked) = sync_channel(1);
            let file = Arc::clone(&self.file);
            // Whoever syncs next is told of a failure.
            let work = move || asked.iter().for_each(|()| drop(file.sync()));
            thread::Builder::new().name("bkes-sync".into()).spawn(work).ok().map(|_| sender)
        });
        if let Some(thread) = thread {
            // One that was asked for and has not begun will do for this too.
            let _ = thread.try_send(());
        }
    }

    /// Makes everything written lasting; an error if that failed before.
    pub fn sync(&self) -> io::Result<()> {
        self.written.store(0, Ordering::Relaxed);
        self.file.sync()
    }
}

impl Debug for BackgroundSync {
    fn fmt(&self, to: &mut Formatter<'_>) -> fmt::Result {
        to.debug_struct("BackgroundSync").field("written", &self.written).finish_non_exhaustive()
    }
}

impl Syncing {
    fn sync(&self) -> io::Result<()> {
        let mut failure = self.failure.lock().unwrap_or_else(PoisonError::into_inner);
        if failure.is_none() {
            *failure = (self.sync)().err();
        }
        let again = |error: &io::Error| io::Error::new(error.kind(), error.to_string());
        failure.as_ref().map_or(Ok(()), |error| Err(again(error)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::ErrorKind;
    use std::sync::mpsc::channel;

    #[test]
    fn much_that_is_written_is_synced_before_anybody_asks_and_little_is_not() {
        let (begun, syncs) = channel();
        let ahead = BackgroundSync::new(move || begun.send(()).map_err(io::Error::other));
        ahead.note_written(UNSYNCED_BYTES - 1);
        assert!(syncs.try_recv().is_err(), "it is too little");
        ahead.note_written(1);
        syncs.recv().expect("it is synced");
        ahead.note_written(UNSYNCED_BYTES - 1);
        ahead.sync().expect("it is synced");
        ahead.note_written(UNSYNCED_BYTES - 1);
        drop(ahead);
        assert_eq!(syncs.iter().count(), 1, "only the one that was asked for");
    }

    /// The system tells of a failed write once: to the thread, which nobody listens to.
    #[test]
    fn what_failed_ahead_is_told_to_all_who_sync_later() {
        let (begun, syncs) = channel();
        let ahead = BackgroundSync::new(move || match begun.send(()) {
            Ok(()) => Err(ErrorKind::StorageFull.into()),
            Err(_) => Ok(()),
        });
        ahead.note_written(UNSYNCED_BYTES);
        syncs.recv().expect("it is synced");
        for _ in 0..2 {
            assert_eq!(ahead.sync().expect_err("it had failed").kind(), ErrorKind::StorageFull);
        }
        assert!(syncs.try_recv().is_err(), "what failed is not tried again");
    }
}
