//! An engine with its threads.

use crate::assembly::{self, OwnerPart, Parts, Surroundings};
use crate::handle::{Clock, EngineHandle};
use crate::limits::UNASKED_MAX;
use crate::options::{EngineOptions, StartError};
use crate::threads::{Spawn, Starter, Thread, run_asker, run_monitor, run_owner, run_verifier, run_writer};
use bkes_core::Incarnation;
use bkes_core::sequence::NowMs;
use bkes_log::Log;
use bkes_storage::{Store, StoreError};
use std::sync::Arc;
use std::time::{Duration, Instant};

/// A running engine; dropping it stops it without grace. [`EngineHandle`]s are what callers use.
pub struct Engine {
    handle: EngineHandle,
    owners: Vec<Thread>,
    /// The verifier, the monitor and the askers: they wait for answers of the log.
    asking: Vec<Thread>,
    writer: Option<Thread>,
}

impl Engine {
    /// Starts on `log` and `store`: checks that they belong together, then catches up in the background.
    ///
    /// Blocks while the log answers (bounded by the log's own time limits) and the store is loaded.
    pub fn start(
        log: Arc<dyn Log>,
        store: Arc<dyn Store>,
        options: EngineOptions,
    ) -> Result<Engine, StartError> {
        let began = Instant::now();
        // Begins at 1, so that 0 can mean "never" on the board.
        let clock: Clock = Arc::new(move || began.elapsed().as_millis() as NowMs + 1);
        let surroundings = Surroundings { clock: Arc::clone(&clock), draw: Arc::new(draw_incarnation) };
        let parts = assembly::assemble(log, store, options, surroundings)?;
        Engine::run(parts, clock, std::thread::Builder::spawn)
    }

    /// Gives each part a thread, which `spawn` starts. If one cannot be started, those before it end.
    fn run(parts: Parts, clock: Clock, spawn: impl Spawn) -> Result<Engine, StartError> {
        let Parts { handle, owners, writer, monitor, verifier, askers } = parts;
        let mut threads = Starter { board: Arc::clone(&handle.context().board), spawn };
        let mut engine = Engine { handle, owners: Vec::new(), asking: Vec::new(), writer: None };
        for (index, (owner, waiter)) in owners.into_iter().map(OwnerPart::split).enumerate() {
            let clock = Arc::clone(&clock);
            let run = move || run_owner(owner, waiter, &*clock);
            engine.owners.push(threads.start(format!("bkes-owner-{index}"), run)?);
        }
        let verifier_clock = Arc::clone(&clock);
        engine.writer = Some(threads.start("bkes-writer".into(), move || run_writer(writer, &*clock))?);
        let run = move || run_verifier(verifier, &*verifier_clock);
        engine.asking.push(threads.start("bkes-verifier".into(), run)?);
        engine.asking.push(threads.start("bkes-monitor".into(), move || run_monitor(monitor))?);
        for (index, asker) in askers.into_iter().enumerate() {
            engine.asking.push(threads.start(format!("bkes-groups-{index}"), move || run_asker(asker))?);
        }
        Ok(engine)
    }

    /// The way in.
    pub fn handle(&self) -> EngineHandle {
        self.handle.clone()
    }

    /// Stops gracefully: new and waiting appends are refused, sent ones awaited for at most `grace`, everything applied is
    /// committed, the store closed. Blocks. The log is let go when the last [`EngineHandle`] is dropped too, and the questions that it
    /// had not answered when `grace` was over have ended: nobody waits for those.
    pub fn stop(mut self, grace: Duration) -> Result<(), StoreError> {
        self.halt(grace);
        self.handle.context().store.close()
    }

    fn halt(&mut self, grace: Duration) {
        let until = Instant::now() + grace.max(UNASKED_MAX);
        assembly::begin_stop(&self.handle, self.handle.now() + grace.as_millis() as NowMs);
        self.handle.context().look.wake();
        self.owners.drain(..).for_each(Thread::join);
        for thread in self.asking.drain(..) {
            // What it may still do, when it has its answer, changes nothing: nobody listens.
            thread.join_until(until);
        }
        assembly::end_writer(&self.handle);
        self.writer.take().into_iter().for_each(Thread::join);
    }
}

impl Drop for Engine {
    fn drop(&mut self) {
        if !self.owners.is_empty() || self.writer.is_some() {
            self.halt(Duration::ZERO);
        }
    }
}

/// A name that no other producer handle has: from the system's random source.
fn draw_incarnation() -> Incarnation {
    let mut bytes = [0; 8];
    getrandom::fill(&mut bytes).expect("the system has a random source");
    Incarnation(u64::from_le_bytes(bytes))
}

#[cfg(test)]
mod tests {
    use super::*;
    use bkes_log::MemoryLog;
    use bkes_storage::MemoryStore;
    use std::num::NonZeroU32;
    use std::thread::Builder;

    /// The threads that had been started before went on for ever, with the log and the store in their hands.
    #[test]
    fn where_a_thread_cannot_be_started_those_before_it_end() {
        let began = Instant::now();
        let clock: Clock = Arc::new(move || began.elapsed().as_millis() as NowMs + 1);
        let options = EngineOptions { threads: 2, ..EngineOptions::default() };
        let mut started_most = 0;
        for failing in 0..=7 {
            let log: Arc<dyn Log> = Arc::new(MemoryLog::new("topic", NonZeroU32::new(2).expect("not zero")));
            let store: Arc<dyn Store> = Arc::new(MemoryStore::new());
            let surroundings = Surroundings { clock: Arc::clone(&clock), draw: Arc::new(draw_incarnation) };
            let parts =
                assembly::assemble(Arc::clone(&log), Arc::clone(&store), options.clone(), surroundings)
                    .expect("they belong together");
            let mut started = 0;
            let spawn = |builder: Builder, run: Box<dyn FnOnce() + Send>| {
                if started == failing {
                    return Err(std::io::ErrorKind::WouldBlock.into());
                }
                started += 1;
                builder.spawn(run)
            };
            let engine = Engine::run(parts, Arc::clone(&clock), spawn);
            assert_eq!(engine.is_err(), failing < 7, "there are seven threads");
            if let Ok(engine) = engine {
                engine.stop(Duration::ZERO).expect("it closes");
            }
            started_most = started_most.max(started);
            assert_eq!((Arc::strong_count(&log), Arc::strong_count(&store)), (1, 1), "thread {failing}");
        }
        assert_eq!(started_most, 7);
    }
}
