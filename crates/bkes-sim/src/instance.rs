//! An instance: a machine, and the process on it while it lives.

use crate::faults::Fault;
use crate::follower::{Around, Followers};
use crate::link::{Link, LinkedLog, Rates};
use crate::lock::locked;
use crate::machine::{Machine, MachineStore};
use crate::plan::Plan;
use crate::recorder::Recorder;
use crate::stage::{Actor, ProcessClock, Scene, Stage};
use bkes_check::InstanceId;
use bkes_core::{Incarnation, Key, Partitioner};
use bkes_engine::assembly::{Step, Surroundings, assemble, begin_stop, end_writer};
use bkes_engine::{EngineOptions, StartError};
use bkes_log::Log;
use bkes_storage::Store;
use bkes_testkit::log::SimulatedLog;
use fastrand::Rng;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

/// How long a graceful stop may take.
const GRACE_MS: u64 = 2_000;

/// What all instances share.
#[derive(Clone)]
pub struct World {
    /// What this run is.
    pub plan: Plan,
    /// The topic.
    pub log: SimulatedLog,
    /// Milliseconds of the world.
    pub now: Arc<AtomicU64>,
    /// The aggregates of the load.
    pub keys: Vec<Key>,
    /// Where everything is written down.
    pub recorder: Recorder,
    /// Who follows.
    pub followers: Arc<Followers>,
}

impl World {
    /// Milliseconds of the world.
    pub fn now(&self) -> u64 {
        self.now.load(Ordering::Relaxed)
    }

    /// What followers see of it.
    pub fn around(&self) -> Around<'_> {
        Around { recorder: &self.recorder, log: &self.log, now: self.now() }
    }
}

/// An instance.
pub struct Instance {
    /// Its number.
    pub id: InstanceId,
    /// What survives a process.
    pub machine: Machine,
    /// The process, while there is one.
    pub life: Option<Life>,
    /// Its process stands still until then.
    pub paused_until: u64,
    /// Its process is started again then.
    pub down_until: u64,
    /// Its disk is healed then; 0 when it works.
    pub disk_until: u64,
    /// Its link is joined then; 0 when it is.
    pub link_until: u64,
    /// Faults are over: whatever is started has none.
    pub healed: bool,
    random: Rng,
}

/// A process.
pub struct Life {
    /// When it was started.
    pub started_at: u64,
    /// Its parts.
    pub stage: Arc<Stage>,
    /// Its store.
    pub store: Arc<MachineStore>,
    /// What lies between it and the log.
    pub link: Arc<Link>,
    /// The next owner and part to be stepped, one after the other.
    stopping: Option<Stopping>,
    /// When each part wants to be stepped again without having been woken.
    due: Vec<(Actor, Due)>,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Due {
    Now,
    At(u64),
    Woken,
}

#[derive(Default)]
struct Stopping {
    owners: Vec<usize>,
    writer: bool,
}

impl Instance {
    /// An instance without data, whose process was not started yet.
    pub fn new(id: InstanceId, world: &World, random: Rng) -> Instance {
        Instance {
            id,
            machine: Machine::new(world.plan.store),
            life: None,
            paused_until: 0,
            down_until: 0,
            disk_until: 0,
            link_until: 0,
            healed: false,
            random,
        }
    }

    /// Starts a process. What refuses to start is looked at by whoever operates it: data that belongs to another log is
    /// removed, anything else is tried again a second later.
    pub fn start(&mut self, world: &World) {
        let started = self.try_start(world);
        if let Err(error) = started {
            world.recorder.say(|| format!("   i{} does not start: {error}", self.id.0));
            let hopeless = matches!(
                error,
                StartError::Truncated { .. } | StartError::Removed { .. } | StartError::TopicRecreated { .. }
            );
            if hopeless {
                self.machine = Machine::new(world.plan.store);
                world.recorder.say(|| format!("   i{}: its data directory is removed", self.id.0));
            }
            self.down_until = world.now() + 1_000;
        }
    }

    fn try_start(&mut self, world: &World) -> Result<(), StartError> {
        let plan = &world.plan;
        let started_at = world.recorder.tick();
        let inner = self.machine.open().map_err(|detail| bkes_storage::StoreError::WriteFailed {
            source: std::io::Error::other(detail),
        })?;
        let interleaved = match plan.may(Fault::Interleaved) {
            true if !self.healed => self.random.u32(20..300),
            _ => 0,
        };
        let stage = Arc::new(Stage::new(Scene {
            instance: self.id,
            clock: ProcessClock::new(&world.now),
            keys: world.keys.clone(),
            recorder: world.recorder.clone(),
            random: self.random.fork(),
            interleaved,
            followers: Arc::clone(&world.followers),
        }));
        let rates = if self.healed { Rates::default() } else { rates(plan, &mut self.random) };
        let link = Link::new(world.log.clone(), Arc::clone(&stage), self.random.fork(), rates);
        let store = Arc::new(MachineStore::new(inner, Arc::clone(&stage), self.random.fork()));
        let names = Mutex::new(self.random.fork());
        let clock = stage.clock().clone();
        let surroundings = Surroundings {
            clock: Arc::new(move || clock.now()),
            draw: Arc::new(move || Incarnation(locked(&names).u64(..))),
        };
        let log: Arc<dyn Log> = Arc::new(LinkedLog(Arc::clone(&link)));
        let assembled = assemble(log, Arc::clone(&store) as Arc<dyn Store>, options(plan), surroundings);
        if assembled.is_err() {
            self.machine.abandon();
        }
        let parts = assembled?;
        stage.enter(parts);
        let actors =
            (0..stage.owners()).map(Actor::Owner).chain([Actor::Writer, Actor::Monitor, Actor::Verifier]);
        let due = actors.map(|actor| (actor, Due::Now)).collect();
        world.recorder.say(|| format!("   i{} starts", self.id.0));
        self.life = Some(Life { started_at, stage, store, link, stopping: None, due });
        Ok(())
    }

    /// The process is gone from one moment to the next.
    pub fn kill(&mut self, world: &World) {
        let Some(life) = self.life.take() else { return };
        if life.store.unsynced.load(Ordering::Relaxed) {
            world.recorder.fault(Fault::Unsynced);
        }
        life.stage.dead.store(true, Ordering::Relaxed);
        // First the machine, so that nothing is written while the process falls apart.
        self.machine.crash(&mut self.random);
        drop(life);
        self.paused_until = 0;
    }

    /// Whether its process can be stepped.
    pub fn is_running(&self, now: u64) -> bool {
        self.life.is_some() && self.paused_until <= now
    }

    /// Begins a graceful stop.
    pub fn begin_stop(&mut self) {
        let Some(life) = self.life.as_mut().filter(|life| life.stopping.is_none()) else { return };
        begin_stop(&life.stage.handle(), life.stage.clock().now() + GRACE_MS);
        life.stopping = Some(Stopping::default());
    }

    /// Whether its process was told to stop.
    pub fn is_stopping(&self) -> bool {
        self.life.as_ref().is_some_and(|life| life.stopping.is_some())
    }

    /// Steps one part of its process.
    pub fn step(&mut self, actor: Actor, world: &World) {
        let Some(life) = &mut self.life else { return };
        if life.stopping.as_ref().is_some_and(|stopping| stopping.has_ended(actor)) {
            return;
        }
        let step = life.stage.step(actor);
        if life.stage.dead.load(Ordering::Relaxed) {
            world.recorder.fault_said(Fault::KillInWrite, || format!("i{}", self.id.0));
            self.kill(world);
            self.down_until = world.now() + self.random.u64(100..3_000);
            return;
        }
        life.note_due(actor, step);
        if step == Step::Stopped {
            self.part_stopped(actor, world);
        }
    }

    /// When the writer gets to open a broken store anew, or to empty it, readers are in the middle of a look into it.
    pub fn overtake_readers(&self, actor: Actor) {
        let Some(life) = &self.life else { return };
        let is_due = life.store.is_broken.load(Ordering::Relaxed) && self.disk_until == 0;
        if actor == Actor::Writer && is_due && life.stopping.is_none() {
            life.stage.overtake_readers();
        }
    }

    fn part_stopped(&mut self, actor: Actor, world: &World) {
        let Some(life) = &mut self.life else { return };
        let stopping = life.stopping.get_or_insert_default();
        match actor {
            Actor::Owner(index) => {
                stopping.owners.push(index);
                if stopping.owners.len() == life.stage.owners() {
                    end_writer(&life.stage.handle());
                }
            }
            Actor::Writer => stopping.writer = true,
            Actor::Monitor | Actor::Verifier => {}
        }
        if stopping.writer {
            // What fails to close is what a crash leaves.
            let closed = life.store.close().is_ok();
            world.recorder.say(|| format!("   i{} has stopped", self.id.0));
            self.life = None;
            if !closed {
                self.machine.crash(&mut self.random);
            }
            self.down_until = world.now() + self.random.u64(100..2_000);
        }
    }

    /// Steps every part that was woken or is due, as threads would, until nothing is.
    pub fn settle(&mut self, world: &World) {
        for _ in 0..200 {
            let Some(life) = &self.life else { return };
            let now = life.stage.clock().now();
            let is_due = |(actor, due): &&(Actor, Due)| match due {
                Due::Now => true,
                Due::At(at) if *at <= now => true,
                Due::At(_) | Due::Woken => *actor != Actor::Writer && life.stage.is_woken(*actor),
            };
            let due: Vec<Actor> = life.due.iter().filter(is_due).map(|(actor, _)| *actor).collect();
            if due.is_empty() {
                return;
            }
            for actor in due {
                self.step(actor, world);
            }
        }
    }

    /// No more faults, for this process and those to come.
    pub fn heal(&mut self) {
        self.healed = true;
        self.paused_until = 0;
        self.machine.heal();
        if let Some(life) = &mut self.life {
            life.link.heal();
            life.store.heal();
            life.store.kill_in_write.store(false, Ordering::Relaxed);
            life.due.iter_mut().for_each(|(_, due)| *due = Due::Now);
        }
    }
}

impl Stopping {
    fn has_ended(&self, actor: Actor) -> bool {
        match actor {
            Actor::Owner(index) => self.owners.contains(&index),
            Actor::Writer => self.writer,
            Actor::Monitor | Actor::Verifier => false,
        }
    }
}

impl Drop for Life {
    /// However it ends, its parts and the stage let each other go.
    fn drop(&mut self) {
        self.stage.leave();
    }
}

impl Life {
    /// Whether a part has ended: a thread that returned is not stepped again.
    fn note_due(&mut self, actor: Actor, step: Step) {
        let now = self.stage.clock().now();
        let next = match (actor, step) {
            (_, Step::Busy) => Due::Now,
            (_, Step::Stopped) => Due::Woken,
            // The threads look again after a second, and the writer gathers for 10 ms once there is work.
            (Actor::Monitor, _) => Due::At(now + 1_000),
            (Actor::Writer, _) => Due::At(now + 10),
            (Actor::Owner(_) | Actor::Verifier, Step::Idle(Some(at))) => Due::At(at),
            (Actor::Owner(_) | Actor::Verifier, Step::Idle(None)) => Due::Woken,
        };
        if let Some((_, due)) = self.due.iter_mut().find(|(of, _)| *of == actor) {
            *due = next;
        }
    }
}

fn options(plan: &Plan) -> EngineOptions {
    let mut random = Rng::with_seed(plan.seed ^ 0x0b5e_55ed);
    let mut options = EngineOptions { threads: plan.owners, ..EngineOptions::default() };
    options.partitioner = Some(Partitioner::Murmur2);
    if plan.may(Fault::QueueFull) {
        options.appends_max = random.usize(2..6);
    }
    options.placing_rest = Duration::from_millis([0, 200, 2_000, 60_000][random.usize(..4)]);
    options.catch_up_records = [1, 3, 10, u64::MAX][random.usize(..4)];
    if plan.may(Fault::OverlayFull) {
        options.overlay_bytes_max = random.usize(1_000..6_000);
    }
    // Drawn last, so that nothing else of a seed changes.
    if plan.may(Fault::QueueFull) || plan.may(Fault::OverlayFull) {
        options.room_wait = Duration::from_millis([0, 5, 100, 10_000][random.usize(..4)]);
    }
    if plan.may(Fault::QueueFull) && random.bool() {
        options.append_bytes_max = random.usize(50..500);
    }
    // Followers fall behind when little is kept for them.
    if plan.followers > 0 && random.u32(..4) > 0 {
        options.feed_bytes_max = random.usize(300..4_000);
    }
    options
}

fn rates(plan: &Plan, random: &mut Rng) -> Rates {
    let mut rate = |fault, most| if plan.may(fault) { random.u32(0..=most) } else { 0 };
    Rates {
        question: rate(Fault::QuestionFails, 300),
        old: rate(Fault::OldLook, 300),
        unavailable: rate(Fault::ReadUnavailable, 100),
        damaged: rate(Fault::ReadDamaged, 40),
        out_of_range: rate(Fault::ReadOutOfRange, 40),
        slow: rate(Fault::ReadSlow, 700),
        held: rate(Fault::ReportHeld, 500),
        stops: rate(Fault::SendStops, 200),
        gathered: rate(Fault::ReadGathered, 950),
    }
}
