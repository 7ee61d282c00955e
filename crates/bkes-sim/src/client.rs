//! A caller: reads, and appends what rests on what it has seen.
//!
//! Callers are honest, as the promises ask of them: an append names the order after exactly the events that were read or
//! acknowledged to its caller, though others may have come since. After an unknown outcome a caller reads before it retries.

use crate::faults::Fault;
use crate::instance::World;
use crate::plan::RECORD_BYTES_MAX;
use crate::recorder::{headers_of, page};
use bkes_check::{AppendCall, AppendOutcome, ClientId, Expecting, InstanceId, Premise, ReadOutcome};
use bkes_core::{Key, Order};
use bkes_engine::{
    AppendError, AppendRequest, Appended, EngineHandle, EventContent, Events, Expected, ReadError,
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
    instance: InstanceId,
    key: Key,
    future: Asked,
}

enum Asked {
    Append { future: Answer<Result<Appended, AppendError>>, after: Premise },
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
        Client { id, random, known: BTreeMap::new(), pending: None, values: 0, is_careful: false }
    }

    /// A caller that makes no bad requests.
    pub fn careful(id: ClientId, random: Rng) -> Client {
        Client { is_careful: true, ..Client::new(id, random) }
    }

    /// The instance whose answer it waits for.
    pub fn waits_for(&self) -> Option<InstanceId> {
        self.pending.as_ref().map(|pending| pending.instance)
    }

    /// The answer will never come: the connection is gone.
    pub fn forget(&mut self, world: &World) {
        if let Some(pending) = self.pending.take() {
            world.recorder.say(|| format!("   {} c{} gets no answer", pending.call, self.id.0));
            self.known.remove(&pending.key);
        }
    }

    /// Makes a call about a key, and looks whether the answer is there at once.
    pub fn call(&mut self, world: &World, server: Server<'_>, key: &Key) -> Polled {
        assert!(self.pending.is_none(), "one call after the other");
        let seen = self.known.get(key).copied().filter(|seen| !seen.is_split);
        match seen {
            // Most appends follow a read. Some rest on what was seen before: they may come too late.
            Some(seen) if self.random.u32(..10) < 8 => self.append(world, server, key, seen.premise),
            // A start needs no read: it rests on nothing.
            None if self.random.u32(..10) < 2 => {
                self.append(world, server, key, Premise::NOTHING);
            }
            _ => self.read(world, server, key),
        }
        self.poll(world)
    }

    /// Reads a key from the beginning.
    pub fn read(&mut self, world: &World, server: Server<'_>, key: &Key) {
        let instance = server.instance;
        let call = world.recorder.begin_read(self.id, instance, key, Order::FIRST);
        let handle = server.handle.clone();
        let request = page(key, Order::FIRST);
        let future = Asked::Read(Box::pin(async move { handle.read(request).await }));
        self.pending = Some(Pending { call, instance, key: key.clone(), future });
    }

    /// Appends on what it knows, which must be something.
    pub fn append_known(&mut self, world: &World, server: Server<'_>, key: &Key) {
        let premise = self.known.get(key).map_or(Premise::NOTHING, |seen| seen.premise);
        self.append(world, server, key, premise);
    }

    fn append(&mut self, world: &World, server: Server<'_>, key: &Key, premise: Premise) {
        let values = self.values(world);
        let (expecting, expected) = match premise.count {
            0 => (Expecting::New, Expected::New),
            count => (Expecting::At(Order(count)), Expected::At(Order(count))),
        };
        let after = values.iter().fold(premise, |premise, value| premise.and(value));
        let outcome = AppendOutcome::Unanswered;
        let append = AppendCall { expected: expecting, values: values.clone(), premise, outcome };
        let instance = server.instance;
        let call = world.recorder.begin_append(self.id, instance, key, append);
        let content = |value: Bytes| EventContent { headers: headers_of(&value), value: Some(value) };
        let events = values.into_iter().map(content).collect();
        let request = AppendRequest { key: key.clone(), expected, events, identity: None };
        let handle = server.handle.clone();
        let future = Asked::Append { future: Box::pin(async move { handle.append(request).await }), after };
        self.pending = Some(Pending { call, instance, key: key.clone(), future });
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
            self.values += 1;
            let padding = if bad { RECORD_BYTES_MAX as usize } else { self.random.usize(..20) };
            format!("c{}.{} {}", self.id.0, self.values, "x".repeat(padding)).into()
        });
        values.collect()
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
                let key = self.take();
                world.recorder.appended(call, &answer);
                match &answer {
                    Ok(_) => drop(self.known.insert(key, Seen { premise: after, is_split: false })),
                    // Not stored, and nothing new: what it has seen it still has seen.
                    Err(AppendError::Unavailable(_) | AppendError::NotStored { .. }) => {}
                    Err(_) => drop(self.known.remove(&key)),
                }
                Polled::Appended { accepted: answer.is_ok(), call }
            }
            Asked::Read(future) => {
                let Poll::Ready(answer) = future.as_mut().poll(&mut context) else { return Polled::Waits };
                let key = self.take();
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

    fn take(&mut self) -> Key {
        self.pending.take().expect("it is pending").key
    }
}
