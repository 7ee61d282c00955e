//! A caller: reads, and appends what rests on what it has seen.
//!
//! Callers are honest, as the promises ask of them: an append names the order after exactly the events that were read or
//! acknowledged to its caller, though others may have come since. After an unknown outcome a caller reads before it retries. In a
//! third of the runs half of the appends have ids: what did not end is tried again as it was, on any instance, and some of it is decided
//! anew under its id.

use crate::faults::Fault;
use crate::instance::World;
use crate::named::{Kept, Named};
use crate::plan::RECORD_BYTES_MAX;
use crate::recorder::{TRIES, headers_of, page};
use bkes_check::{AppendCall, AppendOutcome, ClientId, Expecting, Fresh, InstanceId, Premise, ReadOutcome};
use bkes_core::append_id::Identity;
use bkes_core::{Key, Order};
use bkes_engine::{
    AppendError, AppendRequest, Appended, EngineHandle, EventContent, Events, Expected, Freshness, Positions,
    ReadError, ReadRequest,
};
use bytes::Bytes;
use fastrand::Rng;
use std::collections::BTreeMap;
use std::pin::Pin;
use std::task::{Context, Poll, Waker};

/// A caller.
pub struct Client {
    id: ClientId,
    random: Rng,
    /// What it has seen of each key; `None` when it must read first.
    known: BTreeMap<Key, Seen>,
    pending: Option<Pending>,
    /// Tries that nobody waits for any more, which are on their way still or under way.
    strays: Vec<Pending>,
    /// Appends with ids.
    kept: Kept,
    ids: u32,
    values: u32,
    /// It makes no bad requests.
    is_careful: bool,
}

#[derive(Clone, Copy)]
struct Seen {
    premise: Premise,
    is_split: bool,
}

struct Pending {
    call: usize,
    began: u64,
    instance: InstanceId,
    key: Key,
    future: Asked,
}

enum Asked {
    Append { future: Answer<Result<Appended, AppendError>>, after: Premise },
    Named { future: Answer<Result<Appended, AppendError>>, named: Box<Named> },
    Read(Answer<Result<Events, ReadError>>),
}

type Answer<T> = Pin<Box<dyn Future<Output = T>>>;

/// What a poll of a caller came to.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Polled {
    /// It waits for nothing.
    Free,
    /// No answer yet.
    Waits,
    /// An append was answered: whether with success, and what next order it was told.
    Appended {
        /// Whether it is stored.
        accepted: bool,
        /// The call.
        call: usize,
    },
    /// A read was answered.
    Read,
}

/// The instance that is asked.
#[derive(Clone, Copy)]
pub struct Server<'a> {
    /// Which one.
    pub instance: InstanceId,
    /// The way in.
    pub handle: &'a EngineHandle,
}

impl Client {
    /// A caller that knows nothing.
    pub fn new(id: ClientId, random: Rng) -> Client {
        let (known, kept) = (BTreeMap::new(), Kept::default());
        Client {
            id,
            random,
            known,
            pending: None,
            strays: Vec::new(),
            kept,
            ids: 0,
            values: 0,
            is_careful: false,
        }
    }

    /// A caller that makes no bad requests.
    pub fn careful(id: ClientId, random: Rng) -> Client {
        Client { is_careful: true, ..Client::new(id, random) }
    }

    /// The instance whose answer it waits for.
    pub fn waits_for(&self) -> Option<InstanceId> {
        self.pending.as_ref().map(|pending| pending.instance)
    }

    /// The instances at which something of it is under way, whether it waits for that or not.
    pub fn busy_at(&self) -> impl Iterator<Item = InstanceId> {
        self.pending.iter().chain(&self.strays).map(|pending| pending.instance)
    }

    /// The answer will never come: the connection is gone, and nothing is under way any more that was not sent.
    pub fn forget(&mut self, world: &World) {
        drop(self.give_up(world));
    }

    /// It does not wait any longer for an append with an id, which stays on its way. Says whether it did.
    pub fn let_go(&mut self, world: &World) -> bool {
        let is_named = matches!(&self.pending, Some(Pending { future: Asked::Named { .. }, .. }));
        if !is_named || !world.plan.may(Fault::HeldUp) {
            return false;
        }
        world.recorder.fault(Fault::HeldUp);
        let given_up = self.give_up(world);
        self.strays.extend(given_up);
        true
    }

    fn give_up(&mut self, world: &World) -> Option<Pending> {
        let pending = self.pending.take()?;
        world.recorder.say(|| format!("   {} c{} gets no answer", pending.call, self.id.0));
        self.known.remove(&pending.key);
        if let Asked::Named { named, .. } = &pending.future {
            self.kept.keep((**named).clone(), None);
        }
        Some(pending)
    }

    /// What is under way at an instance whose process is gone, or was started after it began, is gone too.
    pub fn lose_strays(&mut self, is_gone: impl Fn(InstanceId, u64) -> bool) {
        self.strays.retain(|stray| !is_gone(stray.instance, stray.began));
    }

    /// Has what nobody waits for go on, each or some of it; its answers are heard by nobody but the recorder.
    pub fn poll_strays(&mut self, world: &World, is_each: bool) -> Vec<Polled> {
        let mut context = Context::from_waker(Waker::noop());
        let mut polled = Vec::new();
        let random = &mut self.random;
        self.strays.retain_mut(|stray| {
            let Asked::Named { future, .. } = &mut stray.future else { return false };
            if !is_each && random.u32(..4) > 0 {
                return true;
            }
            let Poll::Ready(answer) = future.as_mut().poll(&mut context) else { return true };
            world.recorder.appended(stray.call, &answer);
            polled.push(Polled::Appended { accepted: answer.is_ok(), call: stray.call });
            false
        });
        polled
    }

    /// Makes a call about a key, or tries an append with an id again, and looks whether the answer is there at once.
    pub fn call(&mut self, world: &World, server: Server<'_>, key: &Key) -> Polled {
        assert!(self.pending.is_none(), "one call after the other");
        match self.kept.take(&mut self.random) {
            Some((named, is_anew)) => self.call_again(world, server, named, is_anew),
            None => self.call_about(world, server, key),
        }
        if self.random.u32(..8) == 0 && self.let_go(world) {
            return Polled::Free;
        }
        self.poll(world)
    }

    fn call_again(&mut self, world: &World, server: Server<'_>, mut named: Named, is_anew: bool) {
        if is_anew {
            let known = self.known.get(&named.key).filter(|seen| !seen.is_split);
            let premise = match (known, named.is_exact()) {
                (Some(seen), _) => seen.premise,
                (None, false) => Premise::NOTHING,
                // It can be decided when its aggregate was read.
                (None, true) => {
                    let key = named.key.clone();
                    self.kept.keep(named, None);
                    return self.read(world, server, &key);
                }
            };
            named.anew(premise);
            world.recorder.tried(TRIES[3]);
        }
        self.try_named(world, server, named);
    }

    fn call_about(&mut self, world: &World, server: Server<'_>, key: &Key) {
        let seen = self.known.get(key).copied().filter(|seen| !seen.is_split);
        match seen {
            // Most appends follow a read. Some rest on what was seen before: they may come too late.
            Some(seen) if self.random.u32(..10) < 8 => self.append(world, server, key, seen.premise),
            // A start needs no read: it rests on nothing.
            None if self.random.u32(..10) < 2 => self.append(world, server, key, Premise::NOTHING),
            _ => self.read(world, server, key),
        }
    }

    /// Reads a key from the beginning.
    pub fn read(&mut self, world: &World, server: Server<'_>, key: &Key) {
        let instance = server.instance;
        let fresh = self.fresh(world);
        let call = world.recorder.begin_read(self.id, instance, key, fresh.clone());
        let handle = server.handle.clone();
        let freshness = match fresh {
            Fresh::Local => Freshness::Local,
            Fresh::AtLeast(of) => Freshness::AtLeast(Positions { topic: None, of }),
            Fresh::Latest => Freshness::Latest,
        };
        let request = ReadRequest { freshness, ..page(key, Order::FIRST) };
        let future = Asked::Read(Box::pin(async move { handle.read(request).await }));
        self.wait(world, call, (instance, key), future);
    }

    /// What a read is to take in: in a quarter of the reads what somebody was told a moment ago, on whichever instance.
    fn fresh(&mut self, world: &World) -> Fresh {
        if self.is_careful {
            return Fresh::Local;
        }
        match self.random.u32(..8) {
            0 => Fresh::Latest,
            1 | 2 => {
                let mut places: BTreeMap<_, _> = BTreeMap::new();
                let told = world.recorder.places();
                for _ in 0..self.random.usize(1..3).min(told.len()) {
                    let (partition, position) = told[self.random.usize(..told.len())];
                    places.insert(partition, position);
                }
                Fresh::AtLeast(places.into_iter().collect())
            }
            _ => Fresh::Local,
        }
    }

    fn wait(&mut self, world: &World, call: usize, (instance, key): (InstanceId, &Key), future: Asked) {
        let began = world.recorder.tick();
        self.pending = Some(Pending { call, began, instance, key: key.clone(), future });
    }

    /// Appends on what it knows, which must be something.
    pub fn append_known(&mut self, world: &World, server: Server<'_>, key: &Key) {
        let premise = self.known.get(key).map_or(Premise::NOTHING, |seen| seen.premise);
        self.append(world, server, key, premise);
    }

    fn append(&mut self, world: &World, server: Server<'_>, key: &Key, premise: Premise) {
        if !self.is_careful && self.random.u32(..100) < world.plan.ids_percent() {
            self.ids += 1;
            let id = format!("c{}.{}", self.id.0, self.ids).into();
            let named = Named::new(&mut self.random, key, premise, id);
            return self.try_named(world, server, named);
        }
        let values = self.values(world);
        let expected = match premise.count {
            0 => Expecting::New,
            count => Expecting::At(Order(count)),
        };
        let after = values.iter().fold(premise, |premise, value| premise.and(value));
        let outcome = AppendOutcome::Unanswered;
        let append = AppendCall { expected, values, premise, identity: None, outcome };
        let (call, future) = self.ask(world, server, key, (append, None));
        self.wait(world, call, (server.instance, key), Asked::Append { future, after });
    }

    fn try_named(&mut self, world: &World, server: Server<'_>, mut named: Named) {
        if named.values.is_empty() {
            named.values = self.values(world);
            // A few are larger than what is looked at for an id.
            if !named.is_exact() && self.random.u32(..30) == 0 {
                let more = self.random.usize(100..140);
                named.values.extend((0..more).map(|_| self.value(0)));
            }
            let id = named.id().clone();
            if let Some(first) = named.values.first_mut() {
                *first = named_value(&id, first);
            }
        }
        let (append, identity) = named.tried(world, server.instance);
        let key = named.key.clone();
        let (call, future) = self.ask(world, server, &key, (append, Some(identity)));
        let named = Box::new(named);
        self.wait(world, call, (server.instance, &key), Asked::Named { future, named });
    }

    fn ask(
        &mut self,
        world: &World,
        server: Server<'_>,
        key: &Key,
        (append, identity): (AppendCall, Option<Identity>),
    ) -> (usize, Answer<Result<Appended, AppendError>>) {
        let expected = match append.expected {
            Expecting::New => Expected::New,
            Expecting::At(order) => Expected::At(order),
            Expecting::Exists => Expected::Exists,
            Expecting::Any => Expected::Any,
        };
        let content = |value: &Bytes| EventContent { headers: headers_of(value), value: Some(value.clone()) };
        let events = append.values.iter().map(content).collect();
        let request = AppendRequest { key: key.clone(), expected, events, identity };
        let call = world.recorder.begin_append(self.id, server.instance, key, append);
        let handle = server.handle.clone();
        (call, Box::pin(async move { handle.append(request).await }))
    }

    fn values(&mut self, world: &World) -> Vec<Bytes> {
        let bad = !self.is_careful && world.plan.may(Fault::BadRequest) && self.random.u32(..30) == 0;
        if bad {
            world.recorder.fault(Fault::BadRequest);
        }
        let count = match self.random.u32(..10) {
            _ if bad && self.random.bool() => 0,
            _ if self.is_careful => 1,
            0..6 => 1,
            6..9 => self.random.u32(2..5),
            _ => self.random.u32(5..12),
        };
        let values = (0..count).map(|_| {
            let padding = if bad { RECORD_BYTES_MAX as usize } else { self.random.usize(..20) };
            self.value(padding)
        });
        values.collect()
    }

    fn value(&mut self, padding: usize) -> Bytes {
        self.values += 1;
        format!("c{}.{} {}", self.id.0, self.values, "x".repeat(padding)).into()
    }

    /// Looks whether the answer is there.
    pub fn poll(&mut self, world: &World) -> Polled {
        let Some(pending) = &mut self.pending else { return Polled::Free };
        let mut context = Context::from_waker(Waker::noop());
        let call = pending.call;
        match &mut pending.future {
            Asked::Append { future, after } => {
                let after = *after;
                let Poll::Ready(answer) = future.as_mut().poll(&mut context) else { return Polled::Waits };
                let key = self.take().key;
                world.recorder.appended(call, &answer);
                self.learn(key, &answer, Some(after));
                Polled::Appended { accepted: answer.is_ok(), call }
            }
            Asked::Named { future, .. } => {
                let Poll::Ready(answer) = future.as_mut().poll(&mut context) else { return Polled::Waits };
                let Pending { future: Asked::Named { named, .. }, key, .. } = self.take() else {
                    unreachable!("it was just polled")
                };
                world.recorder.appended(call, &answer);
                let after = answer.as_ref().ok().and_then(|appended| named.after(appended));
                self.learn(key, &answer, after);
                self.kept.keep(*named, Some(&answer));
                Polled::Appended { accepted: answer.is_ok(), call }
            }
            Asked::Read(future) => {
                let Poll::Ready(answer) = future.as_mut().poll(&mut context) else { return Polled::Waits };
                let key = self.take().key;
                match world.recorder.read(call, answer) {
                    ReadOutcome::Events { events, more: false } => {
                        let premise = Premise::of(events.iter().map(|event| &event.value[..]));
                        let is_split = events.windows(2).any(|pair| pair[0].partition != pair[1].partition);
                        self.known.insert(key, Seen { premise, is_split });
                    }
                    ReadOutcome::NoSuchAggregate => {
                        self.known.insert(key, Seen { premise: Premise::NOTHING, is_split: false });
                    }
                    _ => drop(self.known.remove(&key)),
                }
                Polled::Read
            }
        }
    }

    /// What a caller has seen after an append was answered; `after`, if what came before that is known.
    fn learn(&mut self, key: Key, answer: &Result<Appended, AppendError>, after: Option<Premise>) {
        match (answer, after) {
            (Ok(_), Some(premise)) => drop(self.known.insert(key, Seen { premise, is_split: false })),
            // Not stored, and nothing new: what it has seen it still has seen.
            (Err(AppendError::Unavailable(_) | AppendError::NotStored { .. }), _) => {}
            _ => drop(self.known.remove(&key)),
        }
    }

    fn take(&mut self) -> Pending {
        self.pending.take().expect("it is pending")
    }
}

/// The value of an append's first event says its id, so that the header that carries it can be compared wherever the event is shown.
fn named_value(id: &Bytes, value: &Bytes) -> Bytes {
    [b"#", &id[..], b" ", value].concat().into()
}
