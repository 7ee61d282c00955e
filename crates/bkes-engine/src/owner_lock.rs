//! An owner between its thread and the threads of callers.
//!
//! A caller whose append finds the owner at rest, with nothing on its way to the log, sends it there and then, instead of waking a
//! thread to do it: that saves two changes of threads, which cost a lone append more than all of its own work. Under load it would
//! cost a tenth, since callers get into the way of the owner's thread, which has to wake for reports anyway. Whatever else there
//! is to do is the owner's thread's too; so a caller never reads the log, and works on its own append and few others.

use crate::owner::{Accepted, Owner, OwnerStep};
use bkes_core::sequence::NowMs;
use std::any::Any;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Mutex, MutexGuard, OnceLock, PoisonError};

/// An owner that one thread at a time steps.
pub struct OwnerLock {
    /// None once it has ended.
    owner: Mutex<Option<Owner>>,
    /// What a panic in the owner's hands on a caller's thread said: nobody touches the owner any more.
    panicked: OnceLock<String>,
    /// Whether anything is on its way to the log, or will be in a moment: a hint for callers.
    is_sending: AtomicBool,
    /// Until when the owner's thread sleeps unless it is woken; written under the lock.
    asleep_until: AtomicU64,
}

/// What an owner's thread does after a step.
pub struct Rest {
    pub step: OwnerStep,
    /// Whether fetched records need not wake it.
    pub is_patient: bool,
}

impl OwnerLock {
    pub fn new(owner: Owner) -> OwnerLock {
        let (owner, asleep_until) = (Mutex::new(Some(owner)), AtomicU64::new(0));
        let (panicked, is_sending) = (OnceLock::new(), AtomicBool::new(false));
        OwnerLock { owner, panicked, is_sending, asleep_until }
    }

    /// A whole step, on the owner's thread. A panic on a caller's thread goes on here, where it is seen.
    pub fn step(&self, now: NowMs) -> Rest {
        let mut owner = self.lock();
        if let Some(said) = self.panicked.get() {
            panic!("{said}");
        }
        let Some(owner) = &mut *owner else { return Rest { step: OwnerStep::Stopped, is_patient: false } };
        let step = owner.step(now);
        self.is_sending.store(owner.is_sending() || step == OwnerStep::Pause, Ordering::Relaxed);
        if let OwnerStep::Idle(until) = step {
            self.asleep_until.store(until.unwrap_or(NowMs::MAX), Ordering::Relaxed);
        }
        Rest { step, is_patient: owner.is_patient() }
    }

    /// Sends the appends that came in, on a caller's thread, if the owner is at rest. Says whether that leaves nothing for the owner's
    /// thread, which is to be woken otherwise.
    pub fn try_accept(&self, now: NowMs) -> bool {
        if self.is_sending.load(Ordering::Relaxed) {
            return false;
        }
        let Ok(mut owner) = self.owner.try_lock() else { return false };
        let Some(owner) = owner.as_mut().filter(|_| self.panicked.get().is_none()) else { return false };
        let accepted = catch_unwind(AssertUnwindSafe(|| owner.accept(now)));
        self.is_sending.store(owner.is_sending(), Ordering::Relaxed);
        match accepted {
            Ok(Accepted::All(deadline)) => {
                deadline.is_none_or(|deadline| deadline >= self.asleep_until.load(Ordering::Relaxed))
            }
            Ok(Accepted::Left) => false,
            Err(panic) => {
                let _ = self.panicked.set(said(&*panic));
                false
            }
        }
    }

    /// Ends it: whoever waits for it is answered.
    pub fn end(&self) {
        let owner = self.lock().take();
        drop(owner);
    }

    fn lock(&self) -> MutexGuard<'_, Option<Owner>> {
        self.owner.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The words of a panic.
pub fn said(panic: &(dyn Any + Send)) -> String {
    let said = panic.downcast_ref::<&str>().map(ToString::to_string);
    said.or_else(|| panic.downcast_ref::<String>().cloned()).unwrap_or_default()
}
