//! One who waits for positions: those that some caller was told a moment ago, by whichever instance. When they are reached, keys are read
//! there at once.
//!
//! It has random numbers of its own, so that the other events of a run do not depend on how many it draws.

use crate::instance::World;
use bkes_api::{Failure, Positions, Reason, WaitFor};
use bkes_check::{ClientId, InstanceId, WaitCall, WaitOutcome};
use bkes_engine::EngineHandle;
use fastrand::Rng;
use std::collections::BTreeMap;
use std::pin::Pin;
use std::task::{Context, Poll, Waker};
use std::time::Duration;

/// How a wait may end, and how often it did.
pub const WAITING: &[&str] = &["reached", "above the end", "not in time", "lost its instance"];

/// Who waits.
const WAITER: ClientId = ClientId(790);

/// One who waits.
pub struct Waiter {
    random: Rng,
    pending: Option<Pending>,
    waits: Vec<WaitCall>,
}

struct Pending {
    handle: EngineHandle,
    call: WaitCall,
    answer: Pin<Box<dyn Future<Output = Result<(), Failure>>>>,
}

impl Waiter {
    /// One who does not wait yet.
    pub fn new(random: Rng) -> Waiter {
        Waiter { random, pending: None, waits: Vec::new() }
    }

    /// The instance whose answer it waits for, and since when.
    pub fn at(&self) -> Option<(InstanceId, u64)> {
        self.pending.as_ref().map(|pending| (pending.call.instance, pending.call.begin))
    }

    /// Its instance is gone, or faults are over: no answer comes.
    pub fn lose(&mut self, world: &World) {
        if let Some(Pending { call, .. }) = self.pending.take() {
            world.recorder.waited(WAITING[3]);
            self.waits.push(call);
        }
    }

    /// Waits on an instance, or looks whether the answer is there.
    pub fn go_on(&mut self, world: &World, asked: Option<(InstanceId, EngineHandle)>) {
        if self.pending.is_none() {
            let Some((instance, handle)) = asked else { return };
            self.wait(world, instance, handle);
        }
        let Some(pending) = &mut self.pending else { return };
        let polled = pending.answer.as_mut().poll(&mut Context::from_waker(Waker::noop()));
        let Poll::Ready(answer) = polled else { return };
        let Some(Pending { mut call, handle, .. }) = self.pending.take() else { return };
        call.end = Some(world.recorder.tick());
        let (how, outcome) = match &answer {
            Ok(()) => (WAITING[0], WaitOutcome::Reached),
            Err(failure) if failure.reason == Reason::OutOfRange => (WAITING[1], WaitOutcome::OutOfRange),
            Err(_) => (WAITING[2], WaitOutcome::Unavailable),
        };
        call.outcome = outcome;
        world.recorder.waited(how);
        world.recorder.say(|| format!("   w i{}: {how}", call.instance.0));
        if outcome == WaitOutcome::Reached {
            for key in &world.keys {
                world.recorder.read_at_once(call.instance, &handle, key);
            }
        }
        self.waits.push(call);
    }

    /// What it waited for.
    pub fn end(self) -> Vec<WaitCall> {
        self.waits
    }

    fn wait(&mut self, world: &World, instance: InstanceId, handle: EngineHandle) {
        let told = world.recorder.places();
        if told.is_empty() {
            return;
        }
        let mut of = BTreeMap::new();
        for _ in 0..self.random.usize(1..3) {
            let (partition, position) = told[self.random.usize(..told.len())];
            of.insert(partition, position);
        }
        let of: Vec<_> = of.into_iter().collect();
        world.recorder.say(|| format!("   w i{}: wait for {of:?}", instance.0));
        let timeout = Duration::from_millis([100, 2_000, 20_000][self.random.usize(..3)]);
        let (begin, positions) = (world.recorder.tick(), of.clone());
        let outcome = WaitOutcome::Unanswered;
        let call = WaitCall { client: WAITER, instance, begin, end: None, positions, outcome };
        let wait = WaitFor { positions: Positions { topic: None, of }, group: None, timeout };
        let asked = handle.clone();
        let answer = Box::pin(async move { asked.wait_for(wait).await });
        self.pending = Some(Pending { handle, call, answer });
    }
}
