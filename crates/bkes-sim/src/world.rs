//! The run: one step after the other, each decided by the seed.

use crate::client::{Client, Polled, Server};
use crate::faults::Fault;
use crate::follower::Followers;
use crate::instance::{Instance, World};
use crate::plan::{Plan, RECORD_BYTES_MAX, Topic};
use crate::recorder::Recorder;
use crate::stage::Actor;
use crate::topic::Foreigners;
use crate::waiter::Waiter;
use crate::{Finding, Run};
use bkes_check::{ClientId, Excuses, History, InstanceId};
use bkes_core::{Key, Partition};
use bkes_testkit::log::{Faults as Delivery, SimulatedLog};
use fastrand::Rng;
use std::num::NonZeroU32;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

/// Steps in which the callers must have made their calls; most runs need a tenth.
const STEPS_MAX: u32 = 12_000;

/// Where the time of the log's records begins.
const LOG_TIME_MS: i64 = 1_700_000_000_000;

/// A run under way.
pub struct Simulation {
    pub(crate) world: World,
    pub(crate) random: Rng,
    pub(crate) instances: Vec<Instance>,
    pub(crate) clients: Vec<Client>,
    pub(crate) foreigners: Foreigners,
    pub(crate) excuses: Excuses,
    pub(crate) findings: Vec<Finding>,
    calls_left: u32,
    log_until: u64,
    /// Decides which follower goes on, and when; and who waits where.
    pub(crate) following: Rng,
    /// Who waits for positions.
    pub(crate) waiter: Option<Waiter>,
}

/// Runs a plan to its end and judges it. With `taped`, what happened can be read afterwards.
pub fn run(plan: &Plan, taped: bool) -> Run {
    let now = Arc::new(AtomicU64::new(1));
    let recorder = Recorder::new(&now, taped);
    let recording = recorder.clone();
    // A panic of the product is a finding, and what led to it is on the tape.
    let ran = catch_unwind(AssertUnwindSafe(move || {
        let mut simulation = Simulation::new(plan, now, recorder);
        simulation.begin();
        let contents = simulation.end();
        simulation.judge(contents)
    }));
    let (calls, coverage, tape) = recording.finish();
    match ran {
        Ok((mut history, mut findings)) => {
            history.calls = calls;
            let excused = crate::excuse::Excused::of(&history);
            let broken = bkes_check::check(&history).into_iter();
            let broken = broken.filter(|violation| !excused.excuses(violation));
            findings.extend(broken.map(Finding::Broken));
            Run { findings, coverage, tape, history }
        }
        Err(panic) => {
            let said = panic.downcast_ref::<&str>().map(ToString::to_string);
            let said = said.or_else(|| panic.downcast_ref::<String>().cloned()).unwrap_or_default();
            let history = History { calls, ..History::default() };
            Run { findings: vec![Finding::Panicked(said)], coverage, tape, history }
        }
    }
}

impl Simulation {
    fn new(plan: &Plan, now: Arc<AtomicU64>, recorder: Recorder) -> Simulation {
        let mut random = Rng::with_seed(plan.seed ^ 0x51_u64.rotate_left(40));
        let partitions = NonZeroU32::new(plan.partitions).expect("a plan has partitions");
        let delivery = delivery(plan, &mut random);
        let log = SimulatedLog::with_faults("topic", partitions, delivery, random.u64(..));
        log.set_record_bytes_max(RECORD_BYTES_MAX);
        if plan.may(Fault::QueueFull) {
            log.set_queue_max(random.usize(3..12));
        }
        log.set_append_time(random.u32(..5) == 0);
        let keys: Vec<Key> = (0..plan.keys).filter_map(|number| Key::new(format!("k{number}"))).collect();
        let mut following = Rng::with_seed(plan.seed ^ 0xf011_0ed0);
        let followers = Arc::new(Followers::new(plan.followers, &keys, following.fork()));
        let waiter = plan.waits.then(|| Waiter::new(following.fork()));
        let world = World { plan: plan.clone(), log, now, keys, recorder, followers };
        let instances = (0..plan.instances)
            .map(|number| Instance::new(InstanceId(number), &world, random.fork()))
            .collect();
        let clients = (0..plan.clients).map(|number| Client::new(ClientId(number), random.fork())).collect();
        let foreigners = Foreigners::new(random.fork());
        Simulation {
            world,
            random,
            instances,
            clients,
            foreigners,
            excuses: Excuses::default(),
            findings: Vec::new(),
            calls_left: plan.calls,
            log_until: 0,
            following,
            waiter,
        }
    }

    /// Everything up to the moment when faults stop.
    fn begin(&mut self) {
        for _ in 0..STEPS_MAX {
            if self.calls_left == 0 && self.clients.iter().all(|client| client.waits_for().is_none()) {
                return;
            }
            self.pass_time();
            self.recover();
            match self.random.u32(..100) {
                0..45 => self.step_somebody(),
                45..60 => drop(self.world.log.step()),
                60..100 => self.let_somebody_call(),
                _ => unreachable!("below 100"),
            }
            self.let_somebody_follow();
            self.let_somebody_wait();
            if self.random.u32(..1_000) < self.world.plan.fault_rate {
                self.disturb();
            }
        }
    }

    fn pass_time(&mut self) {
        let duration_ms = match self.random.u32(..100) {
            0..40 => 0,
            40..92 => self.random.u64(1..6),
            92..99 => self.random.u64(20..400),
            _ => self.random.u64(1_000..4_000),
        };
        self.advance(duration_ms);
    }

    pub(crate) fn advance(&mut self, duration_ms: u64) {
        let now = self.world.now.fetch_add(duration_ms, Ordering::Relaxed) + duration_ms;
        self.world.log.set_now(bkes_core::TimestampMs(LOG_TIME_MS + now as i64));
    }

    /// Things come back when their time has come.
    pub(crate) fn recover(&mut self) {
        let now = self.world.now();
        if self.log_until != 0 && self.log_until <= now {
            self.log_until = 0;
            self.world.log.come_up();
            self.world.recorder.say(|| "   the log is back".into());
        }
        for instance in &mut self.instances {
            if instance.disk_until != 0 && instance.disk_until <= now {
                instance.disk_until = 0;
                instance.machine.heal();
                if let Some(life) = &instance.life {
                    life.store.heal();
                }
                self.world.recorder.say(|| format!("   the disk of i{} works again", instance.id.0));
            }
            if instance.link_until != 0 && instance.link_until <= now {
                instance.link_until = 0;
                if let Some(life) = &instance.life {
                    life.link.set_cut(false);
                }
            }
            if instance.life.is_none() && instance.down_until <= now {
                instance.start(&self.world);
            }
        }
        self.foreigners.end_stalled(&self.world);
        self.hang_up();
    }

    /// Callers of a process that is gone learn that their connection is.
    fn hang_up(&mut self) {
        let instances = &self.instances;
        for client in &mut self.clients {
            client.lose_strays(|instance, began| {
                instances[instance.0 as usize].life.as_ref().is_none_or(|life| life.started_at > began)
            });
            let Some(instance) = client.waits_for() else { continue };
            if self.instances[instance.0 as usize].life.is_none() {
                client.forget(&self.world);
            }
        }
        self.lose_audience();
    }

    fn step_somebody(&mut self) {
        let now = self.world.now();
        let index = self.random.usize(..self.instances.len());
        let instance = &mut self.instances[index];
        if !instance.is_running(now) {
            return;
        }
        let owners = instance.life.as_ref().map_or(1, |life| life.stage.owners());
        let actor = match self.random.u32(..12) {
            0..7 => Actor::Owner(self.random.usize(..owners)),
            7..9 => Actor::Writer,
            9 => Actor::Monitor,
            _ => Actor::Verifier,
        };
        instance.overtake_readers(actor);
        instance.step(actor, &self.world);
        if matches!(actor, Actor::Owner(_)) {
            self.look_at_losses(index);
        }
    }

    /// A log that keeps what it has must not be said to have lost it: the store would be thrown away, and unavailable, for nothing.
    fn look_at_losses(&mut self, index: usize) {
        let (instance, topic) = (&self.instances[index], self.world.plan.topic);
        let Some(life) = instance.life.as_ref().filter(|_| matches!(topic, Topic::Stays | Topic::Splits))
        else {
            return;
        };
        let of_loss = |reason: &String| {
            ["was truncated", "diverged", "rests on"].iter().any(|words| reason.contains(words))
        };
        let invented = life.stage.degraded().filter(of_loss).filter(|_| self.findings.is_empty());
        let instance = instance.id;
        self.findings.extend(invented.map(|reason| Finding::LossInvented { instance, reason }));
    }

    fn let_somebody_call(&mut self) {
        let index = self.random.usize(..self.clients.len());
        self.poll_strays(index, false);
        if self.clients[index].waits_for().is_some() {
            let polled = self.clients[index].poll(&self.world);
            self.look_at(polled);
            if polled == Polled::Waits {
                self.lose_patience(index);
            }
            return;
        }
        if self.calls_left == 0 {
            return;
        }
        let at = self.random.usize(..self.instances.len());
        let key = self.world.keys[self.random.usize(..self.world.keys.len())].clone();
        let Instance { id, life: Some(life), .. } = &self.instances[at] else { return };
        self.calls_left -= 1;
        let server = Server { instance: *id, handle: &life.stage.handle() };
        let polled = self.clients[index].call(&self.world, server, &key);
        self.look_at(polled);
    }

    /// Has what a caller does not wait for any more go on.
    pub(crate) fn poll_strays(&mut self, index: usize, is_each: bool) {
        for polled in self.clients[index].poll_strays(&self.world, is_each) {
            self.look_at(polled);
        }
    }

    /// Now and then a caller waits no longer.
    fn lose_patience(&mut self, index: usize) {
        let plan = &self.world.plan;
        if plan.may(Fault::CallerGone) && self.random.u32(..60) == 0 {
            self.world.recorder.fault(Fault::CallerGone);
            self.clients[index].forget(&self.world);
        } else if self.random.u32(..60) == 0 {
            self.clients[index].let_go(&self.world);
        }
    }

    /// Looks at what an answer says beyond the promises.
    pub(crate) fn look_at(&mut self, polled: Polled) {
        let Polled::Appended { accepted, call } = polled else { return };
        match accepted {
            true => self.look_at_beginning(call),
            false => self.look_at_refusal(call),
        }
    }

    /// A process that was started after a key had events in one partition must not begin it in another.
    fn look_at_beginning(&mut self, call: usize) {
        let stays = matches!(self.world.plan.topic, Topic::Stays | Topic::Splits);
        let Some((instance, key, partition)) = self.world.recorder.begun_at(call).filter(|_| stays) else {
            return;
        };
        let Some(life) = &self.instances[instance.0 as usize].life else { return };
        let known = |(of, at, when): &(Key, Partition, u64)| {
            *of == key && *at != partition && *when < life.started_at
        };
        if self.foreigners.plain.iter().any(known) {
            self.findings.push(Finding::BegunTwice { call, key, partition });
        }
    }

    /// A refusal that names the next order must name one that was reached: the log has at least that many records of the key.
    fn look_at_refusal(&mut self, call: usize) {
        let Some((key, current)) = self.world.recorder.refused_at(call) else { return };
        if !self.excuses.truncations.is_empty() || !self.excuses.cuts.is_empty() {
            return;
        }
        let records = self.records().filter(|record| record.key.as_deref() == Some(key.as_ref())).count();
        if current > records as u64 {
            self.findings.push(Finding::NextOrderInvented { call, key, current, records });
        }
    }

    fn records(&self) -> impl Iterator<Item = bkes_core::Record> + '_ {
        (0..self.world.log.partitions()).flat_map(|number| self.world.log.records(Partition(number)))
    }

    /// One of the faults that may happen.
    fn disturb(&mut self) {
        let kinds: Vec<Fault> = self.world.plan.faults.iter().filter(|fault| is_event(*fault)).collect();
        if kinds.is_empty() {
            return;
        }
        let fault = kinds[self.random.usize(..kinds.len())];
        let index = self.random.usize(..self.instances.len());
        if self.disturb_topic(fault) || self.disturb_process(fault, index) {
            return;
        }
        self.disturb_disk(fault, index);
    }

    fn disturb_topic(&mut self, fault: Fault) -> bool {
        let (now, recorder) = (self.world.now(), self.world.recorder.clone());
        match fault {
            Fault::GivenUp => {
                if self.world.log.give_up() {
                    recorder.fault(fault);
                }
            }
            Fault::HandleFails => {
                self.world.log.fail_appenders("fenced");
                recorder.fault_said(fault, || "every producer handle".into());
            }
            Fault::LogDown => {
                self.world.log.go_down("no broker answers");
                self.log_until = now + self.random.u64(50..6_000);
                recorder.fault_said(fault, || format!("until {}", self.log_until));
            }
            _ => return self.foreigners.disturb(fault, &self.world, &mut self.excuses),
        }
        true
    }

    fn disturb_process(&mut self, fault: Fault, index: usize) -> bool {
        let (now, world) = (self.world.now(), &self.world);
        let instance = &mut self.instances[index];
        let number = instance.id.0;
        let Some(life) = &instance.life else { return matches!(fault, Fault::Kill | Fault::Stop) };
        match fault {
            Fault::Kill => {
                world.recorder.fault_said(fault, || format!("i{number}"));
                instance.kill(world);
                world.log.lose_abandoned();
                instance.down_until = now + self.random.u64(50..4_000);
                if world.plan.may(Fault::Wiped) && self.random.u32(..6) == 0 {
                    world.recorder.fault_said(Fault::Wiped, || format!("i{number}"));
                    instance.machine = crate::machine::Machine::new(world.plan.store);
                }
            }
            Fault::KillInWrite => life.store.kill_in_write.store(true, Ordering::Relaxed),
            Fault::Stop => {
                world.recorder.fault_said(fault, || format!("i{number}"));
                instance.begin_stop();
            }
            Fault::Pause => {
                instance.paused_until = now + self.random.u64(500..20_000);
                world.recorder.fault_said(fault, || format!("i{number} until {}", instance.paused_until));
            }
            Fault::ClockJump => {
                let duration_ms = self.random.u64(100..30_000);
                life.stage.clock().jump(duration_ms);
                world.recorder.fault_said(fault, || format!("i{number} by {duration_ms} ms"));
            }
            Fault::LinkCut => {
                life.link.set_cut(true);
                instance.link_until = now + self.random.u64(50..6_000);
                world.recorder.fault_said(fault, || format!("i{number} until {}", instance.link_until));
            }
            _ => return false,
        }
        true
    }

    fn disturb_disk(&mut self, fault: Fault, index: usize) {
        let (now, world) = (self.world.now(), &self.world);
        let instance = &mut self.instances[index];
        let number = instance.id.0;
        let until = now + self.random.u64(50..5_000);
        world.recorder.fault_said(fault, || format!("i{number} until {until}"));
        match fault {
            Fault::WriteFails => instance.machine.fail_writes(&mut self.random),
            Fault::DiskFull => instance.machine.fill(),
            Fault::ReadFails => {
                if let Some(life) = &instance.life {
                    life.store.read_fails.store(self.random.u32(50..500), Ordering::Relaxed);
                }
            }
            Fault::ShowFails => {
                if let Some(life) = &instance.life {
                    life.store.show_fails.store(self.random.u32(50..500), Ordering::Relaxed);
                }
            }
            Fault::Damaged => return instance.machine.damage(&mut self.random),
            Fault::Torn => {
                instance.kill(world);
                instance.machine.damage(&mut self.random);
                instance.down_until = until;
                return;
            }
            _ => return,
        }
        instance.disk_until = until;
    }
}

impl Simulation {
    /// What the checker is given, but for the calls.
    fn judge(mut self, contents: Vec<bkes_check::Content>) -> (History, Vec<Finding>) {
        let follows = self.world.followers.iter().map(|mut follower| follower.end()).collect();
        let log = self.foreigners.log_records(&self.world.log);
        self.world.recorder.delivered(&self.world.log.fates());
        for truncation in &mut self.excuses.truncations {
            truncation.until = self.foreigners.noticed_at;
        }
        let waits = self.waiter.take().map_or(Vec::new(), Waiter::end);
        let calls = Vec::new();
        (History { calls, follows, waits, log, contents, excuses: self.excuses }, self.findings)
    }
}

/// Whether a fault happens at a moment, or is a matter of rates.
fn is_event(fault: Fault) -> bool {
    !matches!(
        fault,
        Fault::Delayed
            | Fault::AcknowledgementLost
            | Fault::Late
            | Fault::Lost
            | Fault::NotStored
            | Fault::Repeated
            | Fault::OffsetUnknown
            | Fault::Gap
            | Fault::ReportHeld
            | Fault::SendStops
            | Fault::QuestionFails
            | Fault::OldLook
            | Fault::ReadUnavailable
            | Fault::ReadDamaged
            | Fault::ReadOutOfRange
            | Fault::ReadSlow
            | Fault::Interleaved
            | Fault::Unsynced
            | Fault::Wiped
            | Fault::QueueFull
            | Fault::OverlayFull
            | Fault::CallerGone
            | Fault::HeldUp
            | Fault::BadRequest
    )
}

/// The fates of records, in 1,000.
fn delivery(plan: &Plan, random: &mut Rng) -> Delivery {
    let mut rate = |fault, most| if plan.may(fault) { random.u32(0..=most) } else { 0 };
    Delivery {
        delayed: rate(Fault::Delayed, 500),
        acknowledgement_lost: rate(Fault::AcknowledgementLost, 60),
        late: rate(Fault::Late, 60),
        lost: rate(Fault::Lost, 60),
        not_stored: rate(Fault::NotStored, 60),
        oversized: rate(Fault::Oversized, 60),
        repeated: rate(Fault::Repeated, 60),
        offset_unknown: rate(Fault::OffsetUnknown, 60),
        gap: rate(Fault::Gap, 60),
    }
}
