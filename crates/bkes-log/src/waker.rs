//! The one place an owner thread waits: appends, delivery reports and fetched records all wake it. A task may wait there as well.
//!
//! A wake that comes before the wait is not lost: the flag stays set until the waiter takes it. Waking twice costs one
//! atomic exchange and no system call.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Condvar, Mutex, MutexGuard};
use std::task;
use std::time::Duration;

#[derive(Default)]
struct Shared {
    woken: AtomicBool,
    /// Guards the sleep: taken by a waker to be sure that the waiter is either before its check or asleep. The task to wake, if it is
    /// one that waits.
    sleeping: Mutex<Option<task::Waker>>,
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
            let task = lock(&shared.sleeping).clone();
            shared.wake.notify_one();
            // Out of the lock: what a task's waker does is not ours.
            task.iter().for_each(task::Waker::wake_by_ref);
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
        let asleep = |_: &mut Option<task::Waker>| !self.0.woken.load(Ordering::Acquire);
        match timeout {
            Some(timeout) => drop(self.0.wake.wait_timeout_while(guard, timeout, asleep)),
            None => drop(self.0.wake.wait_while(guard, asleep)),
        }
        self.take()
    }

    /// From here on a wake wakes this task too. Whoever takes the wakes that are there after this, and then looks for what there is to do,
    /// misses none.
    pub fn wake_task(&mut self, task: &task::Waker) {
        let mut known = lock(&self.0.sleeping);
        if !known.as_ref().is_some_and(|known| known.will_wake(task)) {
            *known = Some(task.clone());
        }
    }

    /// Takes a wake that is there, without waiting.
    pub fn take(&mut self) -> bool {
        self.0.woken.swap(false, Ordering::AcqRel)
    }
}

/// Nothing of ours can panic under this lock, and what it guards is replaced as a whole.
fn lock(mutex: &Mutex<Option<task::Waker>>) -> MutexGuard<'_, Option<task::Waker>> {
    mutex.lock().unwrap_or_else(std::sync::PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::atomic::AtomicUsize;

    #[test]
    fn a_wake_before_the_wait_is_kept_and_counts_once() {
        let (waker, mut waiter) = wake_pair();
        waker.wake();
        waker.wake();
        assert!(waiter.wait(None));
        assert!(!waiter.wait(Some(Duration::ZERO)));
    }

    #[test]
    fn a_task_is_woken_once_for_each_wake_that_was_taken() {
        struct Counting(AtomicUsize);
        impl task::Wake for Counting {
            fn wake(self: Arc<Self>) {
                self.0.fetch_add(1, Ordering::SeqCst);
            }
        }
        let counting = Arc::new(Counting(AtomicUsize::new(0)));
        let woken = || counting.0.load(Ordering::SeqCst);
        let (waker, mut waiter) = wake_pair();
        waker.wake();
        waiter.wake_task(&Arc::clone(&counting).into());
        assert_eq!((woken(), waiter.take()), (0, true), "that wake was there before the task");
        waker.wake();
        waker.wake();
        assert_eq!(woken(), 1, "the second finds the first not taken");
        assert!(waiter.take());
        waker.wake();
        assert_eq!(woken(), 2);
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
