//! Clients of the second contract: appends with ids that are tried again by hand or by the client, reads of every kind.

use crate::coverage::{Coverage, Deed};
use crate::limits::{ANSWER_MAX, APPEND_MAX, LARGE_BATCH, TOLD_MAX};
use crate::load::{Keys, Scene};
use crate::named::{Asked, Kept, Named};
use crate::v2;
use bkes_api::{AppendFailure, Appended, EventStore, Positions, TopicId, WaitFor};
use bkes_check::{
    AppendOutcome, Call, ClientId, Event, Fresh, InstanceId, Operation, Premise, ReadCall, ReadOutcome, View,
};
use bkes_client::Client;
use bkes_core::{Key, Order, Partition, Position};
use bytes::Bytes;
use fastrand::Rng;
use std::collections::{HashMap, VecDeque};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, OnceLock, PoisonError};
use std::time::Duration;

/// A client of several instances is known by a number above theirs: which of them answered is not told.
const ANY_INSTANCE: u32 = 1_000;

/// Most events of a page of those that are read on.
const PAGE_MAX: u64 = 500;

/// What somebody was told, for everybody to read at.
#[derive(Default)]
pub struct Told {
    topic: OnceLock<TopicId>,
    places: Mutex<VecDeque<(Key, Partition, Position)>>,
}

impl Told {
    /// An append was stored.
    pub fn stored(&self, key: &Key, appended: &Appended) {
        self.topic.get_or_init(|| appended.topic.clone());
        let mut places = self.places.lock().unwrap_or_else(PoisonError::into_inner);
        if places.len() == TOLD_MAX {
            places.pop_front();
        }
        places.push_back((key.clone(), appended.partition, appended.last_offset.next()));
    }

    /// The topic, once it is known.
    pub fn topic(&self) -> Option<&TopicId> {
        self.topic.get()
    }

    fn pick(&self, random: &mut Rng) -> Option<(Key, Partition, Position)> {
        let places = self.places.lock().unwrap_or_else(PoisonError::into_inner);
        // Mostly what was told last.
        let back = random.usize(..8).min(places.len().checked_sub(1)?);
        places.get(places.len() - 1 - back).cloned()
    }
}

/// What clients of the second contract share beside the scene.
#[derive(Clone, Default)]
pub struct Common {
    /// What they did.
    pub coverage: Arc<Coverage>,
    /// What they were told.
    pub told: Arc<Told>,
}

/// One client.
pub struct StoreClient {
    id: ClientId,
    random: Rng,
    scene: Scene,
    common: Common,
    /// The instances that speak the contract, and a way to each.
    doors: Vec<(InstanceId, Client)>,
    /// A way to all of them.
    all: Client,
    at: usize,
    seen: HashMap<Key, Premise>,
    kept: Kept,
    /// Some event that was shown last.
    moment: Option<(Key, Event)>,
    written: u64,
}

impl StoreClient {
    /// A client that begins at the instance of its number.
    pub fn new(number: u32, random: Rng, scene: Scene, common: Common) -> anyhow::Result<StoreClient> {
        let servers: Vec<_> = scene.instances.iter().filter(|instance| v2::speaks(instance)).collect();
        let all = v2::again(&servers)?;
        let door = |instance: &&crate::instance::Instance| Ok((instance.id, v2::once(instance)?));
        let doors = servers.iter().map(door).collect::<anyhow::Result<Vec<_>>>()?;
        let (id, at) = (ClientId(number), number as usize % doors.len());
        let (seen, kept) = (HashMap::new(), Kept::default());
        Ok(StoreClient { id, random, scene, common, doors, all, at, seen, kept, moment: None, written: 0 })
    }

    /// Calls until told to stop; the last call runs to its end.
    pub async fn run(mut self, stop: Arc<AtomicBool>) {
        while !stop.load(Ordering::Acquire) {
            let keys: Arc<Keys> = Arc::clone(&self.scene.keys);
            let key = keys.pick(&mut self.random);
            let is_answered = match self.random.u8(..20) {
                0..2 => self.read_a_view(&key).await,
                2..4 => self.read_fresh(&key).await,
                4..9 => self.try_kept().await,
                9..14 => self.read_on(&key).await && self.append(&key).await,
                _ => self.append(&key).await,
            };
            if !is_answered {
                tokio::time::sleep(Duration::from_millis(self.random.u64(..50))).await;
            }
            if !is_answered || self.random.u8(..30) == 0 {
                self.at = self.random.usize(..self.doors.len());
            }
            tokio::time::sleep(Duration::from_millis(self.random.u64(..8))).await;
        }
    }

    /// Appends what it has decided.
    async fn append(&mut self, key: &Key) -> bool {
        let premise = self.seen.get(key).copied().unwrap_or_default();
        let id = format!("c{}.{}", self.id.0, self.written);
        let mut named = Named::new(&mut self.random, key, premise, id);
        named.values = self.values();
        if named.takes_any() {
            self.common.coverage.count(Deed::TookAnyOrder);
        }
        self.attempt(named).await
    }

    /// Tries an append again that no try has ended, or delivers one again, or decides anew under its id.
    async fn try_kept(&mut self) -> bool {
        let is_open = self.random.u8(..10) < 7;
        let open = if is_open { self.kept.take_open() } else { None };
        let Some(mut named) = open.or_else(|| self.kept.take_any(&mut self.random)) else { return true };
        if self.random.bool() {
            self.at = self.random.usize(..self.doors.len());
        }
        if self.random.u8(..6) == 0 {
            let premise = self.seen.get(&named.key).copied().unwrap_or_default();
            let values = self.values();
            named.anew(premise, values);
            self.common.coverage.count(Deed::DecidedAnew);
        } else if named.is_ended {
            self.common.coverage.count(Deed::Redelivered);
        }
        self.attempt(named).await
    }

    /// Makes one try by hand, or leaves it to the client to settle it; whether there was an answer.
    async fn attempt(&mut self, mut named: Named) -> bool {
        let is_by_hand = self.random.u8(..4) > 0;
        let instance = if is_by_hand { self.doors[self.at].0 } else { InstanceId(ANY_INSTANCE + self.id.0) };
        let (mut call, append, asked) = named.tried(instance);
        self.common.coverage.count(match (is_by_hand, asked) {
            (false, _) => Deed::LeftToClient,
            (true, Asked::First) => Deed::TriedFirst,
            (true, Asked::Again) => Deed::TriedAgain,
            (true, Asked::Elsewhere) => Deed::TriedElsewhere,
        });
        let begin = self.scene.recorder.now();
        let answer = match is_by_hand {
            true => self.doors[self.at].1.try_append(append.within(APPEND_MAX)).await,
            false => self.all.append(append.within(2 * APPEND_MAX)).await,
        };
        let outcome = if is_by_hand { v2::outcome_of_try(&answer) } else { v2::outcome(&answer) };
        call.outcome = outcome;
        self.keep(
            (instance, &named.key, begin),
            Operation::Append(call),
            outcome != AppendOutcome::Unanswered,
        );
        match &answer {
            Ok(appended) => self.stored(&named, appended),
            Err(failure) if is_by_hand => self.learn(&named, failure, begin),
            Err(_) => {}
        }
        self.kept.keep(named, outcome);
        !matches!(outcome, AppendOutcome::Unanswered | AppendOutcome::Unavailable)
    }

    fn stored(&mut self, named: &Named, appended: &Appended) {
        self.common.told.stored(&named.key, appended);
        if appended.by_earlier_try {
            self.common.coverage.count(Deed::FoundEarlierTry);
        }
        if named.values.len() >= LARGE_BATCH.start {
            self.common.coverage.count(Deed::LargeBatchStored);
        }
        let known = self.seen.get(&named.key).map_or(0, |seen| seen.count);
        if let Some(after) = named.after(appended.first).filter(|after| after.count > known) {
            self.seen.insert(named.key.clone(), after);
        }
    }

    /// Takes in the events that a conflict brought along; they were read like others.
    fn learn(&mut self, named: &Named, failure: &AppendFailure, begin: u64) {
        let AppendFailure::Conflict(conflict) = failure else { return };
        let (Some(from), false) = (named.expected.order(), conflict.missing.is_empty()) else { return };
        self.common.coverage.count(Deed::ConflictBrought);
        let events: Vec<Event> = conflict.missing.iter().map(v2::event).collect();
        self.see(&named.key, from.0, &events);
        let outcome = ReadOutcome::Events { events, more: conflict.more };
        let read = ReadCall { from, limit: None, view: View::Now, fresh: Fresh::Local, outcome };
        self.keep((self.doors[self.at].0, &named.key, begin), Operation::Read(read), true);
    }

    fn keep(&self, (instance, key, begin): (InstanceId, &Key, u64), operation: Operation, is_answered: bool) {
        let end = is_answered.then(|| self.scene.recorder.now());
        let key = key.clone();
        self.scene.recorder.keep(Call { client: self.id, instance, key, begin, end, operation });
    }

    fn see(&mut self, key: &Key, from: u64, events: &[Event]) {
        let seen = self.seen.get(key).copied().unwrap_or_default();
        if seen.count == from {
            let all = events.iter().fold(seen, |seen, event| seen.and(&event.value));
            self.seen.insert(key.clone(), all);
        }
        if !events.is_empty() {
            let event = events[self.random.usize(..events.len())].clone();
            self.moment = Some((key.clone(), event));
        }
    }

    /// Reads as `read` asks, on the instance it is at; whether there was an answer.
    async fn read(&mut self, key: &Key, mut read: ReadCall) -> bool {
        let begin = self.scene.recorder.now();
        let (instance, door) = &self.doors[self.at];
        let instance = *instance;
        read.outcome = v2::read(door, key, self.common.told.topic(), &read).await;
        self.read_ended((instance, key, begin), read)
    }

    fn read_ended(&mut self, of: (InstanceId, &Key, u64), read: ReadCall) -> bool {
        if let (View::Now, ReadOutcome::Events { events, .. }) = (read.view, &read.outcome) {
            self.see(of.1, read.from.0, events);
        }
        let is_answer = matches!(read.outcome, ReadOutcome::Events { .. } | ReadOutcome::NoSuchAggregate);
        let is_answered = read.outcome != ReadOutcome::Unanswered;
        self.keep(of, Operation::Read(read), is_answered);
        is_answer
    }

    async fn read_on(&mut self, key: &Key) -> bool {
        let from = self.seen.get(key).map_or(0, |seen| seen.count);
        let read = asked(Order(from), Some(PAGE_MAX), View::Now, Fresh::Local);
        self.read(key, read).await
    }

    /// Reads backwards, or what there was at the moment of an event that it was shown.
    async fn read_a_view(&mut self, key: &Key) -> bool {
        let moment = self.moment.clone();
        let (key, view, deed) = match (self.random.u8(..3), &moment) {
            (0, Some((of, event))) => {
                (of, View::AsOfOffset(event.partition, event.offset), Deed::ReadAsOfOffset)
            }
            (1, Some((of, Event { timestamp_ms: Some(ms), .. }))) => {
                (of, View::AsOfTime(*ms), Deed::ReadAsOfTime)
            }
            _ => (key, View::Backwards, Deed::ReadBackwards),
        };
        let limit = (view == View::Backwards).then(|| self.random.u64(1..200));
        self.at = self.random.usize(..self.doors.len());
        let is_answer = self.read(key, asked(Order::FIRST, limit, view, Fresh::Local)).await;
        if is_answer {
            self.common.coverage.count(deed);
        }
        is_answer
    }

    /// Reads the latest, or what somebody was told of, on any instance.
    async fn read_fresh(&mut self, key: &Key) -> bool {
        self.at = self.random.usize(..self.doors.len());
        let told = self.common.told.pick(&mut self.random);
        let (is_answer, deed) = match (self.random.u8(..3), told) {
            (0, Some((key, partition, position))) => {
                let fresh = Fresh::AtLeast(vec![(partition, position)]);
                (self.read(&key, asked(Order::FIRST, None, View::Now, fresh)).await, Deed::ReadAtLeast)
            }
            (1, Some((key, partition, position))) => {
                (self.wait_and_read(&key, (partition, position)).await, Deed::WaitedFor)
            }
            _ => {
                let read = asked(Order::FIRST, None, View::Now, Fresh::Latest);
                (self.read(key, read).await, Deed::ReadLatest)
            }
        };
        if is_answer {
            self.common.coverage.count(deed);
        }
        is_answer
    }

    /// Waits for a position, and reads what is local then: it takes in what lies below, as a read does that is at least as fresh.
    async fn wait_and_read(&mut self, key: &Key, position: (Partition, Position)) -> bool {
        let begin = self.scene.recorder.now();
        let (instance, door) = &self.doors[self.at];
        let (instance, of) = (*instance, vec![position]);
        let positions = Positions { topic: self.common.told.topic().cloned(), of: of.clone() };
        let waited = door.wait_for(WaitFor { positions, group: None, timeout: ANSWER_MAX / 2 }).await;
        let mut read = asked(Order::FIRST, None, View::Now, Fresh::Local);
        read.outcome = match waited {
            Ok(()) => v2::read(door, key, None, &read).await,
            Err(failure) => v2::refusal(&failure),
        };
        read.fresh = Fresh::AtLeast(of);
        self.read_ended((instance, key, begin), read)
    }

    /// What an append writes: mostly one event, sometimes more than the window of ids has.
    fn values(&mut self) -> Vec<Bytes> {
        let count = match self.random.u8(..100) {
            0 => self.random.usize(LARGE_BATCH),
            1..15 => self.random.usize(2..8),
            _ => 1,
        };
        (0..count).map(|_| self.value(if count < LARGE_BATCH.start { 150 } else { 10 })).collect()
    }

    /// A value that nobody else has.
    fn value(&mut self, padding_max: usize) -> Bytes {
        self.written += 1;
        let mut value = format!("s{}-{} ", self.id.0, self.written);
        value.extend(std::iter::repeat_n('.', self.random.usize(..padding_max)));
        Bytes::from(value)
    }
}

/// A read as it is asked for.
pub fn asked(from: Order, limit: Option<u64>, view: View, fresh: Fresh) -> ReadCall {
    ReadCall { from, limit, view, fresh, outcome: ReadOutcome::Unanswered }
}
