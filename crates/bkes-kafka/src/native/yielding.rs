//! Threads that do not push others aside when they wake.
//!
//! librdkafka's thread is woken by the first record of a group that an owner hands over. Where the system lets it go ahead of the
//! owner there and then, it sends that record or a few alone, in a request of their own, and all others wait until it was answered,
//! since with idempotence a partition has one request under way. Of a group of 40 records two or three requests became, each with
//! all of its cost in client and broker. The same holds between the server's workers, who take requests in, and the owner that the
//! first of them wakes.
//!
//! Linux has a class for threads that may wait until whoever runs is done or its slice is over: `SCHED_BATCH`. It needs no right,
//! changes no share of the processor, and a processor that has nothing to do runs such a thread at once (sched(7)).

use std::panic::resume_unwind;
use std::thread;

/// Runs `start` so that the threads which it starts, and those that they start, yield: a processor that others want at the same time
/// is left to them for a moment. `start` runs on a thread of its own; this one waits for it, and a panic goes on here. Where the system
/// has no such class (all but Linux), or refuses it, the threads are as all others.
pub fn with_yielding_threads<T: Send>(start: impl FnOnce() -> T + Send) -> T {
    // A thread has the class of the one that started it.
    let start = || {
        yield_from_here_on();
        start()
    };
    thread::scope(|scope| scope.spawn(start).join()).unwrap_or_else(|panic| resume_unwind(panic))
}

#[cfg(target_os = "linux")]
fn yield_from_here_on() {
    let none = libc::sched_param { sched_priority: 0 };
    // SAFETY: the parameter lives through the call; 0 is the calling thread.
    let result = unsafe { libc::sched_setscheduler(0, libc::SCHED_BATCH, &none) };
    if result != 0 {
        let error = std::io::Error::last_os_error();
        tracing::debug!("threads are not made to yield, but scheduled as all others: {error}");
    }
}

#[cfg(not(target_os = "linux"))]
fn yield_from_here_on() {}

#[cfg(all(test, target_os = "linux"))]
mod tests {
    use super::*;

    fn class() -> libc::c_int {
        // SAFETY: 0 is the calling thread.
        unsafe { libc::sched_getscheduler(0) }
    }

    #[test]
    fn a_thread_started_within_yields_and_the_caller_does_not() {
        let before = class();
        let within = with_yielding_threads(|| thread::spawn(class).join());
        assert_eq!(within.ok(), Some(libc::SCHED_BATCH));
        assert_eq!(class(), before);
    }
}
