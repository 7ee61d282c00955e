//! The one place an owner thread waits: appends, delivery reports and fetched records all wake it.
//!
//! A wake that comes before the wait is not lost: the flag stays set until the waiter takes it. Waking twice costs one
//! atomic exchange and no system call. A *lazy* waker is for what can wait a little: while the waiter says that it is patient,
//! it leaves a note instead, which is taken when the patience ends.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Condvar, Mutex, MutexGuard};
use std::time::Duration;

#[derive(Default)]
struct Shared {
    woken: AtomicBool,
    /// Lazy wakers leave a note only.
    patient: AtomicBool,
    noted: AtomicBool,
    /// Guards the sleep only: taken by a waker to be sure that the waiter is either before its check or asleep.
    sleeping: Mutex<()>,
    wake: Condvar,
}

/// Wakes one waiter; cheap to clone and to call from any thread, foreign callbacks included.
#[derive(Clone)]
pub struct Waker {
    shared: Arc<Shared>,
    lazy: bool,
}

/// The waiting end; it belongs to one thread at a time.
pub struct Waiter(Arc<Shared>);

/// A waker and its waiter.
pub fn wake_pair() -> (Waker, Waiter) {
    let shared = Arc::new(Shared::default());
    (Waker { shared: Arc::clone(&shared), lazy: false }, Waiter(shared))
}

impl Waker {
    /// Makes the current or the next wait return.
    pub fn wake(&self) {
        let shared = &self.shared;
        if self.lazy {
            // Noted first and asked second, and the other way round in `set_patient`: one of both sees the other.
            shared.noted.store(true, Ordering::SeqCst);
            if shared.patient.load(Ordering::SeqCst) {
                return;
            }
            // The wake that follows makes every note known.
            shared.noted.store(false, Ordering::SeqCst);
        }
        if !shared.woken.swap(true, Ordering::AcqRel) {
            drop(lock(&shared.sleeping));
            shared.wake.notify_one();
        }
    }

    /// The same for what can wait while the waiter is patient.
    pub fn lazy(&self) -> Waker {
        Waker { shared: Arc::clone(&self.shared), lazy: true }
    }
}

impl Waiter {
    /// Sleeps until woken, or at most `timeout`; returns at once when a wake is already there. Says whether it was woken.
    pub fn wait(&mut self, timeout: Option<Duration>) -> bool {
        if self.take() {
            return true;
        }
        let guard = lock(&self.0.sleeping);
        let asleep = |_: &mut ()| !self.0.woken.load(Ordering::Acquire);
        match timeout {
            Some(timeout) => drop(self.0.wake.wait_timeout_while(guard, timeout, asleep)),
            None => drop(self.0.wake.wait_while(guard, asleep)),
        }
        self.take()
    }

    /// Whether lazy wakers may leave a note only. Whoever is patient waits with a timeout.
    pub fn set_patient(&mut self, patient: bool) {
        self.0.patient.store(patient, Ordering::SeqCst);
        if !patient && self.0.noted.swap(false, Ordering::SeqCst) {
            self.0.woken.store(true, Ordering::Release);
        }
    }

    /// Takes a wake that is there, without waiting.
    pub fn take(&mut self) -> bool {
        self.0.woken.swap(false, Ordering::AcqRel)
    }
}

/// Nothing can panic under this lock, and it guards no data.
fn lock(mutex: &Mutex<()>) -> MutexGuard<'_, ()> {
    mutex.lock().unwrap_or_else(std::sync::PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_wake_before_the_wait_is_kept_and_counts_once() {
        let (waker, mut waiter) = wake_pair();
        waker.wake();
        waker.wake();
        assert!(waiter.wait(None));
        assert!(!waiter.wait(Some(Duration::ZERO)));
    }

    #[test]
    fn a_lazy_wake_is_noted_while_the_waiter_is_patient() {
        let (waker, mut waiter) = wake_pair();
        let lazy = waker.lazy();
        lazy.wake();
        assert!(waiter.wait(None), "without patience it is a wake like any other");
        waiter.set_patient(true);
        lazy.wake();
        assert!(!waiter.wait(Some(Duration::ZERO)));
        waker.wake();
        assert!(waiter.wait(None));
        waiter.set_patient(false);
        assert!(waiter.wait(None), "the note was kept");
        waiter.set_patient(false);
        assert!(!waiter.wait(Some(Duration::ZERO)), "it counts once");
    }

    #[test]
    fn no_lazy_wake_is_lost_when_patience_ends() {
        let (waker, mut waiter) = wake_pair();
        let lazy = waker.lazy();
        let rounds = 2_000;
        let done = Arc::new(std::sync::atomic::AtomicUsize::new(0));
        let seen = Arc::clone(&done);
        let thread = std::thread::spawn(move || {
            for round in 0..rounds {
                lazy.wake();
                while seen.load(Ordering::Acquire) <= round {
                    std::thread::yield_now();
                }
            }
        });
        for round in 0..rounds {
            waiter.set_patient(true);
            let early = waiter.wait(Some(Duration::ZERO));
            waiter.set_patient(false);
            assert!(early || waiter.wait(Some(Duration::from_secs(30))), "round {round} was lost");
            done.store(round + 1, Ordering::Release);
        }
        thread.join().expect("the waker does not panic");
    }

    #[test]
    fn a_wake_from_another_thread_ends_a_wait_without_timeout() {
        let (waker, mut waiter) = wake_pair();
        let thread = std::thread::spawn(move || (0..1000).all(|_| waiter.wait(None)));
        while !thread.is_finished() {
            waker.wake();
            std::thread::yield_now();
        }
        assert!(thread.join().expect("the waiter does not panic"));
    }
}
