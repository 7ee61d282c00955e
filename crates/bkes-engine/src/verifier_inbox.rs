//! The way to the verifier.

use crate::limits::{VERIFY_MS_MAX, VERIFY_WAITING_MAX};
use crate::lock::lock;
use crate::waits::{Caller, Verified};
use bkes_core::append::{Unit, Unready};
use bkes_core::machine::Scope;
use bkes_core::sequence::NowMs;
use bkes_core::{Cause, Partition, Position};
use bkes_log::Waker;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex, MutexGuard};
use tokio::sync::oneshot;

/// Those who wait for the next questions.
#[derive(Default)]
pub struct Asking {
    /// Who wants everything applied that the log holds, by what they want it of.
    pub callers: BTreeMap<Scope, Vec<Caller>>,
    /// Who wants to know where partitions end.
    pub marks: Vec<oneshot::Sender<Arc<Marks>>>,
    /// Which partitions those mean.
    pub partitions: BTreeSet<Partition>,
    count: usize,
    closed: bool,
}

/// Where partitions end, as the log told after it was asked.
#[derive(Debug)]
pub struct Marks {
    /// Whether all partitions of the topic were taken in, if one that was not known was asked for.
    pub growth: Result<(), Cause>,
    /// The high watermarks of those there are.
    pub highs: BTreeMap<Partition, Result<Position, Cause>>,
}

/// The way to the verifier; cheap to clone.
#[derive(Clone)]
pub struct VerifierInbox {
    asking: Arc<Mutex<Asking>>,
    waker: Waker,
}

impl VerifierInbox {
    pub fn new(waker: Waker) -> VerifierInbox {
        VerifierInbox { asking: Arc::default(), waker }
    }

    /// Asks that everything in `scope` be applied that the log holds now. The answer comes when it is, or cannot be had, and not at all
    /// when the verifier has ended.
    pub fn ask(&self, scope: Scope, now: NowMs) -> Result<oneshot::Receiver<Verified>, Unready> {
        let (to, answer) = oneshot::channel();
        let caller = Caller { deadline: now + VERIFY_MS_MAX, to };
        self.join(|asking| asking.callers.entry(scope).or_default().push(caller))?;
        Ok(answer)
    }

    /// Asks where these partitions end, by a question that begins after the call.
    pub fn ask_marks(
        &self,
        partitions: impl IntoIterator<Item = Partition>,
    ) -> Result<oneshot::Receiver<Arc<Marks>>, Unready> {
        let (to, answer) = oneshot::channel();
        self.join(|asking| {
            asking.marks.push(to);
            asking.partitions.extend(partitions);
        })?;
        Ok(answer)
    }

    /// What joins when the verifier has ended is let go.
    fn join(&self, join: impl FnOnce(&mut Asking)) -> Result<(), Unready> {
        let mut asking = self.lock();
        if asking.closed {
            return Ok(());
        }
        if asking.count >= VERIFY_WAITING_MAX {
            let (queue, limit) = ("the queue for questions to the log", VERIFY_WAITING_MAX as u64);
            return Err(Unready::Overloaded { queue, limit, unit: Unit::Calls });
        }
        asking.count += 1;
        join(&mut asking);
        drop(asking);
        self.waker.wake();
        Ok(())
    }

    pub fn wake(&self) {
        self.waker.wake();
    }

    pub fn take(&self) -> Asking {
        let mut asking = self.lock();
        let rest = Asking { closed: asking.closed, ..Asking::default() };
        std::mem::replace(&mut *asking, rest)
    }

    pub fn close(&self) {
        self.lock().closed = true;
        drop(self.take());
    }

    fn lock(&self) -> MutexGuard<'_, Asking> {
        lock(&self.asking)
    }
}
