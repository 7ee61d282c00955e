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
//!
//! The other way round, librdkafka's thread is in the way of those whom it wakes: while what it sent is on the way and more waits
//! after that, it does not sleep but looks again and again. The system takes for granted that who wakes another soon sleeps, so a
//! broker on the same machine waits behind that thread for the end of its slice, up to 4 ms, even if another processor is idle.
//! Whoever asks for a slice longer than the usual one is put aside at once by all who are woken and have a shorter one (Linux
//! 6.12 and later, Documentation/scheduler/sched-eevdf.rst); that, too, changes no share.

use std::panic::resume_unwind;
use std::sync::{Mutex, PoisonError};
use std::thread;

/// Runs `start` so that the threads which it starts, and those that they start, yield: a processor that others want at the same time
/// is left to them for a moment. `start` runs on a thread of its own; this one waits for it, and a panic goes on here. Where the system
/// has no such class (all but Linux), refuses it, or has no thread left to start with, the threads are as all others.
pub fn with_batch_threads<T: Send>(start: impl FnOnce() -> T + Send) -> T {
    let start = Mutex::new(Some(start));
    let take = || start.lock().unwrap_or_else(PoisonError::into_inner).take();
    // A thread has the class of the one that started it.
    let run = || {
        let start = take()?;
        yield_from_here_on();
        Some(start())
    };
    let done = thread::scope(|scope| {
        let thread = thread::Builder::new().spawn_scoped(scope, run).ok()?;
        thread.join().unwrap_or_else(|panic| resume_unwind(panic))
    });
    done.unwrap_or_else(|| take().expect("nobody else takes it")())
}

/// A slice that is longer than the usual one, which is 2.8 ms at most. One of 20 ms gains less and delays the thread itself more.
#[cfg(target_os = "linux")]
const SLICE_NS: u64 = 5_000_000;

#[cfg(target_os = "linux")]
fn yield_from_here_on() {
    let mut attributes = attributes();
    attributes.sched_policy = libc::SCHED_BATCH as u32;
    // Older systems ignore it in this class.
    attributes.sched_runtime = SLICE_NS;
    // SAFETY: the attributes live through the call and have their size in them; 0 is the calling thread.
    let result = unsafe { libc::syscall(libc::SYS_sched_setattr, 0, &raw const attributes, 0) };
    if result != 0 {
        let error = std::io::Error::last_os_error();
        tracing::debug!("threads are not made to yield, but scheduled as all others: {error}");
    }
}

/// How the calling thread is scheduled. What the system does not say is zero, which is what most threads have.
#[cfg(target_os = "linux")]
fn attributes() -> libc::sched_attr {
    // SAFETY: numbers, all of which may be zero.
    let mut attributes: libc::sched_attr = unsafe { std::mem::zeroed() };
    attributes.size = size_of::<libc::sched_attr>() as u32;
    // SAFETY: the system writes at most as many bytes as it is told; 0 is the calling thread.
    unsafe { libc::syscall(libc::SYS_sched_getattr, 0, &raw mut attributes, attributes.size, 0) };
    attributes
}

#[cfg(not(target_os = "linux"))]
fn yield_from_here_on() {}

#[cfg(all(test, target_os = "linux"))]
mod tests {
    use super::*;

    #[test]
    fn a_thread_started_within_yields_and_the_caller_does_not() {
        let seen = || {
            let libc::sched_attr { sched_policy, sched_nice, sched_runtime, .. } = attributes();
            (sched_policy, sched_nice, sched_runtime)
        };
        let before @ (class, nice, slice) = seen();
        // A system that knows no slices says 0.
        let longer = if slice == 0 { 0 } else { SLICE_NS };
        let within = with_batch_threads(|| thread::spawn(seen).join());
        assert_ne!(class, libc::SCHED_BATCH as u32);
        assert_eq!(within.ok(), Some((libc::SCHED_BATCH as u32, nice, longer)));
        assert_eq!(seen(), before);
    }
}
