//! One process on the stage: its parts, and who gets the processor in the middle of a step.
//!
//! In production an owner, the writer, the monitor and readers run side by side. Here one part is stepped at a time, and
//! where it calls the store or the log, another may come in between: that is where threads meet. A part that is in the middle
//! of its own step is left alone, as a thread is only in one place.

use crate::faults::Fault;
use crate::follower::Followers;
use crate::lock::locked;
use crate::recorder::Recorder;
use bkes_check::InstanceId;
use bkes_core::Key;
use bkes_core::sequence::NowMs;
use bkes_engine::assembly::{MonitorPart, OwnerPart, Parts, Step, VerifierPart, WriterPart};
use bkes_engine::{EngineHandle, PartitionState, Status};
use fastrand::Rng;
use std::sync::atomic::{AtomicBool, AtomicU32, AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, TryLockError};

/// How deep steps may come in between steps.
const DEPTH_MAX: u32 = 2;

/// A process.
pub struct Stage {
    /// Which instance it is a life of.
    pub instance: InstanceId,
    /// Where everything is written down.
    pub recorder: Recorder,
    /// It was killed in the middle of a step: nothing of it has an effect any more.
    pub dead: AtomicBool,
    clock: ProcessClock,
    keys: Vec<Key>,
    random: Mutex<Rng>,
    /// How likely somebody comes in between, in 1,000.
    interleaved: u32,
    depth: AtomicU32,
    /// So many readers are to be caught in the middle of a read, one after the other, before all others go on.
    caught: AtomicUsize,
    followers: Arc<Followers>,
    cast: Mutex<Option<Arc<Cast>>>,
}

struct Cast {
    handle: EngineHandle,
    owners: Vec<Mutex<OwnerPart>>,
    writer: Mutex<WriterPart>,
    monitor: Mutex<MonitorPart>,
    verifier: Mutex<VerifierPart>,
}

/// The clock of one process: that of the world, which began earlier and may be behind.
#[derive(Clone)]
pub struct ProcessClock {
    world: Arc<AtomicU64>,
    began: NowMs,
    ahead: Arc<AtomicU64>,
}

impl ProcessClock {
    /// A clock that begins now.
    pub fn new(world: &Arc<AtomicU64>) -> ProcessClock {
        let began = world.load(Ordering::Relaxed);
        ProcessClock { world: Arc::clone(world), began, ahead: Arc::default() }
    }

    /// Milliseconds since the process began, from 1.
    pub fn now(&self) -> NowMs {
        self.world.load(Ordering::Relaxed) - self.began + self.ahead.load(Ordering::Relaxed) + 1
    }

    /// It jumps forward.
    pub fn jump(&self, duration_ms: u64) {
        self.ahead.fetch_add(duration_ms, Ordering::Relaxed);
    }
}

/// What a process begins with.
pub struct Scene {
    /// Which instance it is a life of.
    pub instance: InstanceId,
    /// Its own.
    pub clock: ProcessClock,
    /// What readers may ask for.
    pub keys: Vec<Key>,
    /// Where everything is written down.
    pub recorder: Recorder,
    /// Decides who comes in between.
    pub random: Rng,
    /// How likely somebody does, in 1,000.
    pub interleaved: u32,
    /// Who follows, some of them this process.
    pub followers: Arc<Followers>,
}

/// Somebody who can be stepped.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Actor {
    /// An owner, by its number.
    Owner(usize),
    /// The writer.
    Writer,
    /// The monitor.
    Monitor,
    /// The verifier.
    Verifier,
}

impl Stage {
    /// A process whose parts are not there yet.
    pub fn new(scene: Scene) -> Stage {
        let Scene { instance, clock, keys, recorder, random, interleaved, followers } = scene;
        Stage {
            instance,
            recorder,
            dead: AtomicBool::new(false),
            clock,
            keys,
            random: Mutex::new(random),
            interleaved,
            depth: AtomicU32::new(0),
            caught: AtomicUsize::new(0),
            followers,
            cast: Mutex::default(),
        }
    }

    /// The parts come in.
    pub fn enter(&self, parts: Parts) {
        let Parts { handle, owners, writer, monitor, verifier, .. } = parts;
        let owners = owners.into_iter().map(Mutex::new).collect();
        let (writer, monitor, verifier) = (Mutex::new(writer), Mutex::new(monitor), Mutex::new(verifier));
        let cast = Cast { handle, owners, writer, monitor, verifier };
        *locked(&self.cast) = Some(Arc::new(cast));
    }

    /// The parts are gone; they and the stage hold each other until then.
    pub fn leave(&self) {
        let cast = locked(&self.cast).take();
        drop(cast);
    }

    /// The way in; the parts must be there.
    pub fn handle(&self) -> EngineHandle {
        self.cast().handle.clone()
    }

    /// Why a partition is not served.
    pub fn degraded(&self) -> Option<String> {
        degraded(&self.cast().handle.status())
    }

    /// How many owners there are.
    pub fn owners(&self) -> usize {
        self.cast().owners.len()
    }

    /// The process's clock.
    pub fn clock(&self) -> &ProcessClock {
        &self.clock
    }

    /// Steps one part; nothing happens while it is in the middle of a step.
    pub fn step(&self, actor: Actor) -> Step {
        let now = self.clock.now();
        let cast = self.cast();
        match actor {
            Actor::Owner(index) => entered(&cast.owners[index]).map_or(Step::Busy, |mut owner| {
                owner.take_wake();
                owner.step(now)
            }),
            Actor::Writer => entered(&cast.writer).map_or(Step::Busy, |mut writer| writer.step(now)),
            Actor::Monitor => entered(&cast.monitor).map_or(Step::Busy, |mut monitor| {
                monitor.take_wake();
                monitor.step();
                Step::Idle(None)
            }),
            Actor::Verifier => entered(&cast.verifier).map_or(Step::Busy, |mut verifier| {
                verifier.take_wake();
                verifier.step(now)
            }),
        }
    }

    /// Whether a part was woken. The writer has no place to look.
    pub fn is_woken(&self, actor: Actor) -> bool {
        let cast = self.cast();
        match actor {
            Actor::Owner(index) => entered(&cast.owners[index]).is_some_and(|mut owner| owner.take_wake()),
            Actor::Monitor => entered(&cast.monitor).is_some_and(|mut monitor| monitor.take_wake()),
            Actor::Verifier => entered(&cast.verifier).is_some_and(|mut verifier| verifier.take_wake()),
            Actor::Writer => true,
        }
    }

    /// A moment at which threads meet: somebody else may get the processor.
    pub fn interlude(&self) {
        let cast = locked(&self.cast).clone();
        let Some(cast) = cast else { return };
        if self.caught.load(Ordering::Relaxed) > 0 {
            return self.catch_another(&cast);
        }
        if self.interleaved == 0 || self.depth.load(Ordering::Relaxed) >= DEPTH_MAX {
            return;
        }
        let (dice, index, key, follower) = {
            let mut random = locked(&self.random);
            if random.u32(..1_000) >= self.interleaved {
                return;
            }
            // Drawn only where there are followers, so that nothing else of other seeds changes.
            let follows = !self.followers.is_empty() && random.u32(..3) == 0;
            let follower = follows.then(|| random.usize(..));
            let (owners, keys) = (cast.owners.len(), self.keys.len());
            (random.u32(..11), random.usize(..owners), random.usize(..keys), follower)
        };
        self.depth.fetch_add(1, Ordering::Relaxed);
        self.recorder.fault(Fault::Interleaved);
        match (follower, dice) {
            (Some(drawn), _) => self.have_follower_take(drawn),
            (None, 0..3) => drop(self.step(Actor::Owner(index))),
            (None, 3..6) => drop(self.step(Actor::Writer)),
            (None, 6) => drop(self.step(Actor::Monitor)),
            (None, 10) => drop(self.step(Actor::Verifier)),
            (None, _) => self.recorder.read_at_once(self.instance, &cast.handle, &self.keys[key]),
        }
        self.depth.fetch_sub(1, Ordering::Relaxed);
    }

    /// A reader of each key loses the processor when it has copied the overlay and not looked into the store yet; meanwhile the writer and
    /// the owners go on, and whatever begins anew is taken over. As if one reader were as slow as that by chance, and far more often.
    pub fn overtake_readers(&self) {
        if self.interleaved == 0 {
            return;
        }
        self.caught.store(self.keys.len(), Ordering::Relaxed);
        self.read_caught(&self.cast());
        self.caught.store(0, Ordering::Relaxed);
    }

    /// Begins the read of the next key that is to be caught.
    fn read_caught(&self, cast: &Cast) {
        let key = &self.keys[self.caught.load(Ordering::Relaxed) - 1];
        self.recorder.read_at_once(self.instance, &cast.handle, key);
    }

    /// A reader is caught: the next one begins, or all are caught and the others go on.
    fn catch_another(&self, cast: &Cast) {
        self.recorder.fault(Fault::Interleaved);
        if self.caught.fetch_sub(1, Ordering::Relaxed) > 1 {
            return self.read_caught(cast);
        }
        self.depth.fetch_add(1, Ordering::Relaxed);
        self.step(Actor::Writer);
        for _ in 0..2 {
            for index in 0..cast.owners.len() {
                self.step(Actor::Owner(index));
            }
        }
        self.depth.fetch_sub(1, Ordering::Relaxed);
    }

    /// A follower of this process takes what is there.
    fn have_follower_take(&self, drawn: usize) {
        let Some(mut follower) = self.followers.one(drawn) else { return };
        if follower.at().is_some_and(|(instance, _)| instance == self.instance) {
            follower.take(&self.recorder, 2);
        }
    }

    /// Owners get on while an answer is on its way.
    pub fn meanwhile(&self, steps: usize) {
        let cast = locked(&self.cast).clone();
        let Some(cast) = cast else { return };
        for _ in 0..steps {
            let index = locked(&self.random).usize(..cast.owners.len());
            self.step(Actor::Owner(index));
        }
    }

    fn cast(&self) -> Arc<Cast> {
        locked(&self.cast).clone().expect("the parts are on the stage")
    }
}

/// A part, unless it is in the middle of a step.
fn entered<T>(part: &Mutex<T>) -> Option<MutexGuard<'_, T>> {
    match part.try_lock() {
        Ok(part) => Some(part),
        Err(TryLockError::Poisoned(poisoned)) => Some(poisoned.into_inner()),
        Err(TryLockError::WouldBlock) => None,
    }
}

/// Why a partition is not served.
pub fn degraded(status: &Status) -> Option<String> {
    status.partitions.iter().find_map(|partition| match &partition.state {
        PartitionState::Degraded { reason } => Some(reason.clone()),
        _ => None,
    })
}
