//! The way to the verifier.

use crate::limits::{VERIFY_MS_MAX, VERIFY_WAITING_MAX};
use crate::lock::lock;
use crate::waits::{Caller, Verified};
use bkes_core::append::{Unit, Unready};
use bkes_core::machine::Scope;
use bkes_core::sequence::NowMs;
use bkes_log::Waker;
use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard};
use tokio::sync::oneshot;

/// Those who wait for the next question.
#[derive(Default)]
struct Asking {
    callers: BTreeMap<Scope, Vec<Caller>>,
    count: usize,
    closed: bool,
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
        let mut asking = self.lock();
        if asking.closed {
            return Ok(answer);
        }
        if asking.count >= VERIFY_WAITING_MAX {
            let (queue, limit) = ("the queue for questions to the log", VERIFY_WAITING_MAX as u64);
            return Err(Unready::Overloaded { queue, limit, unit: Unit::Calls });
        }
        asking.count += 1;
        asking.callers.entry(scope).or_default().push(caller);
        drop(asking);
        self.waker.wake();
        Ok(answer)
    }

    pub fn wake(&self) {
        self.waker.wake();
    }

    pub fn take(&self) -> BTreeMap<Scope, Vec<Caller>> {
        let mut asking = self.lock();
        asking.count = 0;
        std::mem::take(&mut asking.callers)
    }

    pub fn close(&self) {
        self.lock().closed = true;
        drop(self.take());
    }

    fn lock(&self) -> MutexGuard<'_, Asking> {
        lock(&self.asking)
    }
}
