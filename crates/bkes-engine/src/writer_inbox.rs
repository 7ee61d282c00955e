//! The way to the store writer.

use crate::epoch::Epoch;
use bkes_core::machine::FoldId;
use bkes_core::{Cause, Partition};
use bkes_storage::StoreIdentity;
use std::collections::BTreeMap;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

/// What the writer is told.
#[derive(Debug, Default)]
pub struct Queue {
    /// Whether something was applied since the writer last looked.
    pub applied: bool,
    /// Whether that is worth a commit at once.
    pub commit_now: bool,
    /// Partitions, the latest fold that asked for it, and why.
    pub rebuild: BTreeMap<Partition, (FoldId, String)>,
    pub damaged: Option<(Epoch, String)>,
    pub unreadable: Option<Cause>,
    pub identity: Option<StoreIdentity>,
    pub stop: bool,
}

impl Queue {
    fn is_urgent(&self) -> bool {
        !self.rebuild.is_empty() || self.damaged.is_some() || self.unreadable.is_some() || self.stop
    }
}

/// The way to the writer; cheap to clone.
#[derive(Clone, Default)]
pub struct WriterInbox(Arc<(Mutex<Queue>, Condvar)>);

impl WriterInbox {
    /// An owner's step has ended: there is something in the overlay to commit, and whether it is worth a commit at once.
    pub fn applied(&self, commit_now: bool) {
        let mut queue = self.lock();
        let is_news = !queue.applied || (commit_now && !queue.commit_now);
        queue.applied = true;
        queue.commit_now |= commit_now;
        drop(queue);
        // The writer is woken when it may sleep or gather, not by every step.
        if is_news {
            self.0.1.notify_one();
        }
    }

    /// The log is not the one that this fold of a partition read: drop the partition and begin it anew.
    pub fn rebuild(&self, partition: Partition, fold: FoldId, reason: String) {
        let mut queue = self.lock();
        if queue.rebuild.get(&partition).is_none_or(|(asked_in, _)| *asked_in < fold) {
            queue.rebuild.insert(partition, (fold, reason));
        }
        drop(queue);
        self.0.1.notify_one();
    }

    /// Stored bytes, met by a fold of this epoch, are not what was written: throw the store away; the log has everything.
    pub fn damaged(&self, epoch: Epoch, detail: String) {
        self.lock().damaged.get_or_insert((epoch, detail));
        self.0.1.notify_one();
    }

    /// A fold or a read met a failure of the disk: the file is opened anew, or every later look-up fails as well.
    pub fn unreadable(&self, cause: Cause) {
        self.lock().unreadable.get_or_insert(cause);
        self.0.1.notify_one();
    }

    /// Keeps how keys are placed.
    pub fn set_identity(&self, identity: StoreIdentity) {
        self.lock().identity = Some(identity);
        self.0.1.notify_one();
    }

    /// Ends the writer once everything pushed is committed.
    pub fn stop(&self) {
        self.lock().stop = true;
        self.0.1.notify_one();
    }

    pub fn lock(&self) -> MutexGuard<'_, Queue> {
        self.0.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Waits until there is work, or for `timeout`; says whether there is.
    pub fn wait(&self, timeout: Duration) -> bool {
        let idle = |queue: &mut Queue| !queue.applied && !queue.is_urgent() && queue.identity.is_none();
        !self.wait_while(timeout, idle)
    }

    /// Waits for `time`, or until what was applied is worth a commit.
    pub fn gather(&self, time: Duration) {
        self.wait_while(time, |queue| !queue.commit_now && !queue.is_urgent());
    }

    /// Says whether the time ended first.
    fn wait_while(&self, time: Duration, condition: impl FnMut(&mut Queue) -> bool) -> bool {
        let waited = self.0.1.wait_timeout_while(self.lock(), time, condition);
        waited.unwrap_or_else(PoisonError::into_inner).1.timed_out()
    }
}
