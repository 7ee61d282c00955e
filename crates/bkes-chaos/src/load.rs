//! Clients: each reads, decides, and appends at the order it has seen, on one instance after the other.

use crate::calls::{Caller, Line, Recorder};
use crate::instance::{Instance, Kind};
use bkes_check::{AppendOutcome, ClientId, Premise, ReadOutcome};
use bkes_core::{Key, Order};
use bytes::Bytes;
use fastrand::Rng;
use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

/// Keys that everyone wants.
const HOT_KEYS: u64 = 4;

/// Keys that are written at a time beside them.
const WINDOW: u64 = 200;

/// Most events of a batch, as a rule.
const BATCH_MAX: usize = 8;

/// Most events read at once.
const PAGE_MAX: u64 = 500;

/// Which keys are in use: a few for the whole run, and many that change with time.
#[derive(Default)]
pub struct Keys(AtomicU64);

impl Keys {
    /// A key; now and then one that nobody had before.
    pub fn pick(&self, random: &mut Rng) -> Key {
        let name = if random.u8(..10) < 4 {
            format!("hot-{}", random.u64(..HOT_KEYS))
        } else {
            let begin = self.0.fetch_add(u64::from(random.u8(..20) == 0), Ordering::AcqRel);
            format!("many-{}", begin + random.u64(..WINDOW))
        };
        Key::new(name).expect("a name is not empty")
    }
}

/// What clients share.
#[derive(Clone)]
pub struct Scene {
    pub recorder: Arc<Recorder>,
    pub instances: Arc<Vec<Instance>>,
    pub keys: Arc<Keys>,
}

/// One client.
pub struct Client {
    id: ClientId,
    random: Rng,
    recorder: Arc<Recorder>,
    instances: Arc<Vec<Instance>>,
    keys: Arc<Keys>,
    at: usize,
    line: Line,
    /// What it has seen of each key, from the first event on.
    seen: HashMap<Key, Premise>,
    written: u64,
}

impl Client {
    /// A client that begins at the instance of its number.
    pub fn new(number: u32, random: Rng, scene: Scene) -> Client {
        let Scene { recorder, instances, keys } = scene;
        let at = number as usize % instances.len();
        let line = Line::to(&instances[at]);
        let (id, seen) = (ClientId(number), HashMap::new());
        Client { id, random, recorder, instances, keys, at, line, seen, written: 0 }
    }

    /// Calls until told to stop; the last call runs to its end.
    pub async fn run(mut self, stop: Arc<AtomicBool>) {
        while !stop.load(Ordering::Acquire) {
            let key = self.keys.pick(&mut self.random);
            let answered = match self.random.u8(..10) {
                0..2 => self.read_somewhere(&key).await,
                2..6 => self.read_on(&key).await && self.write(&key).await,
                _ => self.write(&key).await,
            };
            if !answered {
                tokio::time::sleep(Duration::from_millis(self.random.u64(..50))).await;
            }
            if !answered || self.random.u8(..50) == 0 {
                self.at = self.random.usize(..self.instances.len());
                self.line = Line::to(&self.instances[self.at]);
            }
            // Which kind of call comes next is random, and so is when; without a rest the faults would not get the processor.
            tokio::time::sleep(Duration::from_millis(self.random.u64(..8))).await;
        }
    }

    fn instance(&self) -> &Instance {
        &self.instances[self.at]
    }

    async fn read(&mut self, key: &Key, from: u64, limit: Option<u64>) -> ReadOutcome {
        let caller = Caller { client: self.id, instance: self.instance().id, line: &mut self.line };
        self.recorder.read(caller, key, Order(from), limit).await
    }

    /// Reads what it has not seen yet; whether there was an answer.
    async fn read_on(&mut self, key: &Key) -> bool {
        let seen = self.seen.get(key).copied().unwrap_or_default();
        let outcome = self.read(key, seen.count, Some(PAGE_MAX)).await;
        if let ReadOutcome::Events { events, .. } = &outcome {
            let all = events.iter().fold(seen, |seen, event| seen.and(&event.value));
            self.seen.insert(key.clone(), all);
        }
        is_answer(&outcome)
    }

    /// Reads everything of a short aggregate, or some page; only to look.
    async fn read_somewhere(&mut self, key: &Key) -> bool {
        let seen = self.seen.get(key).map_or(0, |seen| seen.count);
        let outcome = if seen <= PAGE_MAX && self.random.bool() {
            self.read(key, 0, None).await
        } else {
            let (from, limit) = (self.random.u64(..=seen), self.random.u64(1..PAGE_MAX));
            self.read(key, from, Some(limit)).await
        };
        is_answer(&outcome)
    }

    /// Appends at the order that it has seen.
    async fn write(&mut self, key: &Key) -> bool {
        let kind = self.instance().start.kind;
        let count = match kind {
            Kind::Server => 1,
            Kind::Worker if self.random.u8(..100) == 0 => 100,
            Kind::Worker => self.random.usize(1..=BATCH_MAX),
        };
        let values: Vec<Bytes> = (0..count).map(|_| self.value()).collect();
        let premise = self.seen.get(key).copied().unwrap_or_default();
        let sent = values.clone();
        let caller = Caller { client: self.id, instance: self.instance().id, line: &mut self.line };
        let outcome = self.recorder.append(caller, key, premise, sent).await;
        if let AppendOutcome::Acknowledged { .. } = outcome {
            let all = values.iter().fold(premise, |seen, value| seen.and(value));
            self.seen.insert(key.clone(), all);
            return true;
        }
        // After anything else it reads before it writes to this key again.
        if outcome != AppendOutcome::Unanswered && outcome != AppendOutcome::Unavailable {
            return self.read_on(key).await;
        }
        false
    }

    /// A value that nobody else has.
    fn value(&mut self) -> Bytes {
        self.written += 1;
        let mut value = format!("c{}-{} ", self.id.0, self.written);
        value.extend(std::iter::repeat_n('.', self.random.usize(..150)));
        Bytes::from(value)
    }
}

fn is_answer(outcome: &ReadOutcome) -> bool {
    matches!(outcome, ReadOutcome::Events { .. } | ReadOutcome::NoSuchAggregate)
}
