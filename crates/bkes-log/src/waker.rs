//! The one place an owner thread waits: appends, delivery reports and fetched records all wake it.
//!
//! A wake that comes before the wait is not lost: the flag stays set until the waiter takes it. Waking twice costs one
//! atomic exchange and no system call.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Condvar, Mutex, MutexGuard};
use std::time::Duration;

#[derive(Default)]
struct Shared {
    woken: AtomicBool,
    /// Guards the sleep only: taken by a waker to be sure that the waiter is either before its check or asleep.
    sleeping: Mutex<()>,
    wake: Condvar,
}

/// Wakes one waiter; cheap to clone and to call from any thread, foreign callbacks included.
#[derive(Clone)]
pub struct Waker(Arc<Shared>);

/// The waiting end; it belongs to one thread at a time.
pub struct Waiter(Arc<Shared>);

/// A waker and its waiter.
pub fn wake_pair() -> (Waker, Waiter) {
    let shared = Arc::new(Shared::default());
    (Waker(Arc::clone(&shared)), Waiter(shared))
}

impl Waker {
    /// Makes the current or the next wait return.
    pub fn wake(&self) {
        let shared = &self.0;
        if !shared.woken.swap(true, Ordering::AcqRel) {
            drop(lock(&shared.sleeping));
            shared.wake.notify_one();
        }
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
