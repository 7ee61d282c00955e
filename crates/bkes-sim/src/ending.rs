//! The end of a run: faults stop, everything comes to rest, and every instance tells what it holds.
//!
//! In the liveness mode it is a finding when something does not come to rest in time, or when an append to a key that can be
//! appended to does not succeed.

use crate::Finding;
use crate::client::{Client, Polled, Server};
use crate::instance::Instance;
use crate::plan::{Mode, Topic};
use crate::recorder::{event, page};
use crate::stage::degraded;
use crate::world::Simulation;
use bkes_check::{ClientId, Content, ContentOf, Event, InstanceId};
use bkes_core::{Key, Order, Partition};
use bkes_engine::{EngineHandle, PartitionState, PartitionStatus, Status, Unready};
use bkes_log::Log;
use bkes_testkit::log::Faults as Delivery;
use std::collections::BTreeMap;
use std::pin::pin;
use std::task::{Context, Poll, Waker};

/// How long the world may take to come to rest: a doubt may wait 15 s for tailing, a failed store and a failed producer
/// handle are tried again every second, and a paused instance lags.
const REST_MS: u64 = 40_000;

/// Between two looks at a world that comes to rest.
const ROUND_MS: u64 = 20;

/// Answers after which it makes sense to try again.
const RETRIED: &[&str] = &[
    "catching up",
    "degraded",
    "shutting down",
    "lagging",
    "unverified",
    "log down",
    "stalled",
    "store down",
    "overloaded",
    "no room",
    "not stored",
    "conflict",
    "exists already",
];

/// Within this time everyone has read the log again, and looked at it: a monitor rests for ten seconds at most.
const NOTICED_MS: u64 = 15_000;

/// Who appends at the end.
const LAST: ClientId = ClientId(901);

impl Simulation {
    /// Ends the run and returns what every instance holds.
    pub(crate) fn end(&mut self) -> Vec<Content> {
        self.heal();
        self.let_losses_be_noticed();
        let rested = self.rest();
        if !rested {
            self.report_unrest();
        }
        self.foreigners.noticed_at = self.world.recorder.tick();
        if rested && self.world.plan.mode == Mode::Liveness {
            self.append_everywhere();
            self.rest();
        }
        self.follow_to_the_end();
        let contents = self.contents();
        for mut follower in self.world.followers.iter() {
            follower.may_begin_anew();
        }
        self.follow_to_the_end();
        contents
    }

    fn heal(&mut self) {
        self.lose_waiter();
        self.world.recorder.say(|| "== faults stop".into());
        self.world.log.set_faults(Delivery::default());
        self.world.log.come_up();
        self.world.log.set_queue_max(100_000);
        self.foreigners.end_all(&self.world);
        for instance in &mut self.instances {
            instance.heal();
        }
    }

    /// A log that lost its end and has grown as long again seems to be applied by whoever has not noticed: nobody is at rest before
    /// each had the time to.
    fn let_losses_be_noticed(&mut self) {
        if self.excuses.truncations.is_empty() {
            return;
        }
        let noticed = self.world.now() + NOTICED_MS;
        self.live_until(|simulation| simulation.world.now() >= noticed);
    }

    /// Steps everything until nothing is left to do. Says whether it came to rest in time.
    fn rest(&mut self) -> bool {
        self.live_until(|simulation| simulation.is_at_rest())
    }

    /// Steps everything as threads would, until something is so or the time is over. Says whether it is.
    pub(crate) fn live_until(&mut self, mut until: impl FnMut(&mut Simulation) -> bool) -> bool {
        let deadline = self.world.now() + REST_MS;
        while self.world.now() < deadline {
            self.advance(ROUND_MS);
            while self.world.log.step() {}
            self.recover();
            for index in 0..self.instances.len() {
                self.operate(index);
                self.instances[index].settle(&self.world);
            }
            for index in 0..self.clients.len() {
                self.poll_strays(index, true);
                let polled = self.clients[index].poll(&self.world);
                self.look_at(polled);
            }
            self.have_followers_catch_up();
            if until(self) {
                return true;
            }
        }
        false
    }

    fn is_at_rest(&self) -> bool {
        let idle = self.clients.iter().all(|client| client.busy_at().next().is_none());
        idle && self.world.log.on_the_way() == 0 && self.instances.iter().all(|instance| self.is_up(instance))
    }

    /// Ready, every partition served, and everything that the log holds is applied.
    pub(crate) fn is_up(&self, instance: &Instance) -> bool {
        let Some(life) = &instance.life else { return false };
        if instance.is_stopping() {
            return false;
        }
        let status = life.stage.handle().status();
        let count = self.world.log.partitions();
        let applied = |number: u32| {
            let marks = self.world.log.watermarks(Partition(number));
            let at = status.partitions.get(number as usize).map(|partition| partition.applied);
            marks.is_ok_and(|marks| at == Some(marks.high))
        };
        // An instance is ready while it reads one partition anew; at rest it serves that one too.
        let is_served = |partition: &PartitionStatus| {
            !matches!(partition.state, PartitionState::CatchingUp | PartitionState::Degraded { .. })
        };
        status.unready.is_none() && status.partitions.iter().all(is_served) && (0..count).all(applied)
    }

    /// Whoever operates an instance removes its data and starts it again when it says that only this will help.
    fn operate(&mut self, index: usize) {
        let instance = &mut self.instances[index];
        let topic = self.world.plan.topic;
        let Some(life) = &instance.life else { return };
        let asks =
            |reason: &str| reason.contains("another data directory") || reason.contains("remove the data");
        let wanted = degraded(&life.stage.handle().status()).is_some_and(|reason| asks(&reason));
        if wanted && matches!(topic, Topic::Returns | Topic::Forgets) {
            self.world
                .recorder
                .say(|| format!("   i{}: its operator removes the data directory", instance.id.0));
            instance.kill(&self.world);
            instance.machine = crate::machine::Machine::new(self.world.plan.store);
            instance.down_until = self.world.now() + 100;
        }
    }

    fn report_unrest(&mut self) {
        if self.world.plan.mode == Mode::Safety {
            return;
        }
        let mut findings = Vec::new();
        for instance in self.instances.iter().filter(|instance| !self.is_up(instance)) {
            let detail = match &instance.life {
                None => "it does not start".to_owned(),
                Some(life) => describe(&life.stage.handle().status()),
            };
            findings.push(Finding::NotReady { instance: instance.id, detail });
        }
        for instance in self.clients.iter().flat_map(Client::busy_at) {
            findings.push(Finding::NoAnswer { instance });
        }
        self.findings.extend(findings);
    }

    /// An append to every key succeeds on every instance, but where it must be refused.
    fn append_everywhere(&mut self) {
        for index in 0..self.instances.len() {
            let mut last = Client::careful(ClientId(LAST.0 + index as u32), self.random.fork());
            for key in self.world.keys.clone() {
                // Callers read one page only.
                if let Some(events) = self.repaired(index, |simulation| simulation.everything(index, &key))
                    && (events.len() as u64) < crate::recorder::PAGE
                {
                    self.append_one(&mut last, index, &key);
                }
            }
        }
    }

    /// What is unavailable may be tried again for a while.
    fn append_one(&mut self, last: &mut Client, index: usize, key: &Key) {
        let id = self.instances[index].id;
        let deadline = self.world.now() + REST_MS;
        let (call, told) = loop {
            let Some(handle) = self.handle(index) else { return };
            last.read(&self.world, Server { instance: id, handle: &handle }, key);
            if self.answer(last) == Polled::Waits {
                return self.findings.push(Finding::NoAnswer { instance: id });
            }
            let Some(handle) = self.handle(index) else { return };
            last.append_known(&self.world, Server { instance: id, handle: &handle }, key);
            let answer = self.answer(last);
            let Polled::Appended { call, .. } = answer else {
                return self.findings.push(Finding::NoAnswer { instance: id });
            };
            let told = self.world.recorder.told(call);
            if !RETRIED.contains(&told) || self.world.now() > deadline {
                break (call, told);
            }
            self.rest();
        };
        let events = self.repaired(index, |simulation| simulation.everything(index, key));
        let Some(events) = events else { return };
        let is_split = events.windows(2).any(|pair| pair[0].partition != pair[1].partition);
        let expected = if is_split { "split" } else { "accepted" };
        let may_fail = told == "cut" && self.world.plan.topic == Topic::Forgets;
        if told != expected && !may_fail {
            self.findings.push(Finding::AppendFails { call, key: key.clone(), told });
        }
    }

    /// What is read of an instance; damage that only this meets is repaired first. None, and a finding, if that does not help.
    fn repaired<T>(
        &mut self,
        index: usize,
        mut read: impl FnMut(&mut Simulation) -> Result<T, String>,
    ) -> Option<T> {
        let found = (0..3).find_map(|_| match read(self) {
            Ok(found) => Some(Ok(found)),
            Err(_) if self.rest() => None,
            Err(detail) => Some(Err(detail)),
        });
        match found.unwrap_or_else(|| read(self)) {
            Ok(found) => Some(found),
            Err(detail) => {
                self.findings.push(Finding::NotReady { instance: self.instances[index].id, detail });
                None
            }
        }
    }

    /// Lives until a caller has its answer, or the time is over.
    fn answer(&mut self, caller: &mut Client) -> Polled {
        let mut answer = caller.poll(&self.world);
        self.live_until(|simulation| {
            if answer == Polled::Waits {
                answer = caller.poll(&simulation.world);
            }
            answer != Polled::Waits
        });
        answer
    }

    fn handle(&self, index: usize) -> Option<EngineHandle> {
        self.instances[index].life.as_ref().map(|life| life.stage.handle())
    }

    /// What every instance holds, one of them after a restart too, and one that begins with nothing.
    fn contents(&mut self) -> Vec<Content> {
        let mut contents = Vec::new();
        for index in 0..self.instances.len() {
            let id = self.instances[index].id;
            contents.extend(self.content(index, ContentOf::Instance(id)));
        }
        let index = self.random.usize(..self.instances.len());
        let id = self.instances[index].id;
        if self.random.bool() {
            self.instances[index].begin_stop();
        } else {
            self.instances[index].kill(&self.world);
        }
        if self.rest() {
            contents.extend(self.content(index, ContentOf::Resumed(id)));
        }
        let mut fresh = Instance::new(InstanceId(800), &self.world, self.random.fork());
        fresh.heal();
        self.instances.push(fresh);
        self.rest();
        contents.extend(self.content(self.instances.len() - 1, ContentOf::Rebuilt));
        self.check_voids();
        contents
    }

    /// What an instance holds; nothing when it is not up, which is a finding of its own where it matters.
    fn content(&mut self, index: usize, of: ContentOf) -> Option<Content> {
        if !self.is_up(&self.instances[index]) {
            if self.world.plan.mode == Mode::Liveness || of == ContentOf::Rebuilt {
                let detail = match &self.instances[index].life {
                    None => "it does not start".into(),
                    Some(life) => describe(&life.stage.handle().status()),
                };
                self.findings.push(Finding::NotReady { instance: self.instances[index].id, detail });
            }
            return None;
        }
        // An instance that meets damage reads a partition anew, and shows one part of a split key meanwhile.
        let keys = self.repaired(index, |simulation| {
            let keys = simulation.read_keys(index)?;
            match simulation.is_up(&simulation.instances[index]) {
                true => Ok(keys),
                false => Err("a partition began anew while it was read".into()),
            }
        })?;
        Some(Content { of, keys })
    }

    fn read_keys(&mut self, index: usize) -> Result<BTreeMap<Key, Vec<Event>>, String> {
        let mut keys = BTreeMap::new();
        for key in self.world.keys.clone() {
            let events = self.everything(index, &key)?;
            if !events.is_empty() {
                keys.insert(key, events);
            }
        }
        Ok(keys)
    }

    /// Every event of a key, page by page. A read that waits has the instance go on.
    fn everything(&mut self, index: usize, key: &Key) -> Result<Vec<Event>, String> {
        let handle = self.handle(index).ok_or("it is down")?;
        let mut events: Vec<Event> = Vec::new();
        loop {
            // In a cut partition, orders begin above 0.
            let base = events.first().map_or(0, |event| event.order.0);
            let mut read = pin!(handle.read(page(key, Order(base + events.len() as u64))));
            let mut rounds = 0..10;
            let answer = loop {
                match read.as_mut().poll(&mut Context::from_waker(Waker::noop())) {
                    Poll::Ready(answer) => break answer,
                    Poll::Pending if rounds.next().is_some() => self.instances[index].settle(&self.world),
                    Poll::Pending => return Err("a short read waits".into()),
                }
            };
            match answer {
                Ok(shown) => {
                    events.extend(shown.events.iter().map(event));
                    if !shown.more {
                        return Ok(events);
                    }
                }
                Err(bkes_engine::ReadError::NoSuchAggregate { .. }) => return Ok(events),
                Err(error) => return Err(error.to_string()),
            }
        }
    }

    /// With one instance, and nothing that doubles or delays records beyond a report, there are no void records.
    fn check_voids(&mut self) {
        let calm = self.world.plan.calm;
        let Some(handle) = self.handle(0).filter(|_| calm) else { return };
        let void: u64 = handle.status().partitions.iter().map(|partition| partition.counters.void).sum();
        if void > 0 {
            self.findings.push(Finding::VoidRecords { void });
        }
    }
}

fn describe(status: &Status) -> String {
    let unready = status.unready.as_ref().map_or("ready".into(), Unready::to_string);
    let partitions = status.partitions.iter().map(|partition| {
        format!(
            "{}: {:?} applied {} of {}",
            partition.partition, partition.state, partition.applied, partition.high
        )
    });
    format!("{unready}; {}", partitions.collect::<Vec<_>>().join(", "))
}
