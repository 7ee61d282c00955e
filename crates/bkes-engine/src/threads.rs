//! The threads of an engine: what each does between the steps of its part, a panic that is seen, and an end that is waited for.

use crate::assembly::{AskerPart, MonitorPart, Step, VerifierPart, WriterPart};
use crate::board::Board;
use crate::fault::Fault;
use crate::limits::{COMMIT_GATHER, LOOK_INTERVAL, LOOK_REST_FACTOR, LOOK_REST_MAX, PAUSE, SYNC_INTERVAL_MS};
use crate::options::StartError;
use crate::owner::{Owner, OwnerStep};
use bkes_core::sequence::NowMs;
use bkes_log::Waiter;
use std::any::Any;
use std::convert::Infallible;
use std::io;
use std::sync::Arc;
use std::sync::mpsc::{Receiver, RecvTimeoutError, channel};
use std::thread::{Builder, JoinHandle};
use std::time::{Duration, Instant};

/// What a thread runs.
pub type Run = Box<dyn FnOnce() + Send>;

/// Starts a thread: the system's call, or in a test one that fails.
pub trait Spawn: FnMut(Builder, Run) -> io::Result<JoinHandle<()>> {}

impl<S: FnMut(Builder, Run) -> io::Result<JoinHandle<()>>> Spawn for S {}

/// A thread that was started.
pub struct Thread {
    name: String,
    handle: JoinHandle<()>,
    /// Disconnected when it ends.
    ended: Receiver<Infallible>,
}

impl Thread {
    /// Waits for its end.
    pub fn join(self) {
        // A panic is on the board already.
        drop(self.handle.join());
    }

    /// Waits for its end until then; one that goes on is left behind.
    pub fn join_until(self, until: Instant) {
        match self.ended.recv_timeout(until.saturating_duration_since(Instant::now())) {
            Err(RecvTimeoutError::Disconnected) => self.join(),
            Err(RecvTimeoutError::Timeout) => {
                tracing::warn!("{} still waits for an answer of the log; nobody waits for it", self.name);
            }
        }
    }
}

/// Starts threads whose panic is seen: every partition is degraded, nothing goes on in silence.
pub struct Starter<S> {
    pub board: Arc<Board>,
    pub spawn: S,
}

impl<S: Spawn> Starter<S> {
    pub fn start(&mut self, name: String, run: impl FnOnce() + Send + 'static) -> Result<Thread, StartError> {
        let (board, thread_name) = (Arc::clone(&self.board), name.clone());
        let (until_here, ended) = channel::<Infallible>();
        let watched = move || {
            if let Err(panic) = std::panic::catch_unwind(std::panic::AssertUnwindSafe(run)) {
                board.set_fault(Fault::Panicked { thread: thread_name, message: said(&*panic) });
            }
            drop(until_here);
        };
        let builder = Builder::new().name(name.clone());
        let handle = (self.spawn)(builder, Box::new(watched)).map_err(StartError::Thread)?;
        Ok(Thread { name, handle, ended })
    }
}

/// However this ends, the owner ends with it.
pub fn run_owner(mut owner: Owner, mut waiter: Waiter, clock: &dyn Fn() -> NowMs) {
    loop {
        match owner.step(clock()) {
            OwnerStep::Busy => {}
            OwnerStep::Pause => std::thread::sleep(PAUSE),
            OwnerStep::Idle(until) => {
                let timeout = until.map(|until| Duration::from_millis(until.saturating_sub(clock()).max(1)));
                waiter.wait(timeout);
            }
            OwnerStep::Stopped => return,
        }
    }
}

pub fn run_writer(mut writer: WriterPart, clock: &dyn Fn() -> NowMs) {
    loop {
        match writer.step(clock()) {
            // Whatever was applied meanwhile would be a transaction of its own.
            Step::Busy => writer.gather(COMMIT_GATHER),
            Step::Idle(until) => {
                if writer.wait(writer_rest(until, clock())) {
                    writer.gather(COMMIT_GATHER);
                }
            }
            Step::Stopped => return,
        }
    }
}

/// How long the writer rests when nothing comes: until what it has to do by itself is due, a failed write for one.
fn writer_rest(until: Option<NowMs>, now: NowMs) -> Duration {
    let rest_ms = until.map_or(SYNC_INTERVAL_MS, |until| until.saturating_sub(now));
    Duration::from_millis(rest_ms.min(SYNC_INTERVAL_MS))
}

pub fn run_verifier(mut verifier: VerifierPart, clock: &dyn Fn() -> NowMs) {
    loop {
        match verifier.step(clock()) {
            Step::Busy => {}
            Step::Idle(until) => {
                let timeout = until.map(|until| Duration::from_millis(until.saturating_sub(clock()).max(1)));
                verifier.wait(timeout);
            }
            Step::Stopped => return,
        }
    }
}

pub fn run_asker(mut asker: AskerPart) {
    loop {
        match asker.step() {
            Step::Busy => {}
            Step::Idle(until) => asker.wait(until),
            Step::Stopped => return,
        }
    }
}

pub fn run_monitor(mut monitor: MonitorPart) {
    while !monitor.is_stopping() {
        let began = Instant::now();
        monitor.step();
        monitor.wait(rest_behind(began.elapsed()));
        // Doubts need a look that begins after them, not a storm of looks.
        std::thread::sleep(Duration::from_millis(2));
    }
}

/// How long the monitor rests after a look that took so long.
fn rest_behind(look: Duration) -> Duration {
    look.saturating_mul(LOOK_REST_FACTOR).clamp(LOOK_INTERVAL, LOOK_REST_MAX)
}

/// The words of a panic.
fn said(panic: &(dyn Any + Send)) -> String {
    let said = panic.downcast_ref::<&str>().map(ToString::to_string);
    said.or_else(|| panic.downcast_ref::<String>().cloned()).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_monitor_rests_longer_behind_a_long_look_but_never_for_minutes() {
        let rests = [0, 100, 1_000, 30_000].map(|ms| rest_behind(Duration::from_millis(ms)).as_millis());
        assert_eq!(rests, [1_000, 1_000, 5_000, 10_000]);
        assert_eq!(rest_behind(Duration::MAX), LOOK_REST_MAX);
    }

    #[test]
    fn the_writer_rests_until_something_is_due_and_never_longer_than_a_sync() {
        let rests =
            [None, Some(1_500), Some(400), Some(90_000)].map(|until| writer_rest(until, 500).as_millis());
        assert_eq!(rests, [10_000, 1_000, 0, 10_000]);
    }
}
