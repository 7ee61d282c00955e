//! Appends with ids, as their caller knows them: each may be tried again, or decided anew under its id.

use crate::instance::World;
use crate::recorder::TRIES;
use bkes_check::{AppendCall, AppendOutcome, Expecting, InstanceId, Premise, TryOf};
use bkes_core::append_id::{AppendId, Identity};
use bkes_core::{Key, Order};
use bkes_engine::{AppendError, Appended, ErrorClass};
use bytes::Bytes;
use fastrand::Rng;

/// So often an append is tried at most.
const TRIES_MAX: u32 = 8;

/// So many appends a caller remembers.
const KEPT_MAX: usize = 8;

/// An append with an id.
#[derive(Clone)]
pub struct Named {
    /// Its aggregate.
    pub key: Key,
    /// Where it is to go.
    pub expected: Expecting,
    /// Its values.
    pub values: Vec<Bytes>,
    /// What its caller had seen when it was decided.
    pub premise: Premise,
    id: Bytes,
    /// How far the aggregate was before the first try, if that is told.
    seen: Option<Order>,
    says_first: bool,
    tries: u32,
    /// Who was asked last.
    asked: Option<InstanceId>,
    /// It is to be tried again.
    is_open: bool,
}

impl Named {
    /// A new one, which `premise` led to. It may take whatever order is next.
    pub fn new(random: &mut Rng, key: &Key, premise: Premise, id: Bytes) -> Named {
        let expected = match (random.u32(..10), premise.count) {
            (0..5, 0) => Expecting::New,
            (0..5, count) => Expecting::At(Order(count)),
            (5..7, _) => Expecting::Exists,
            _ => Expecting::Any,
        };
        let seen = random.bool().then_some(Order(premise.count));
        let says_first = random.u32(..4) > 0;
        let (key, values) = (key.clone(), Vec::new());
        Named { key, expected, values, premise, id, seen, says_first, tries: 0, asked: None, is_open: true }
    }

    /// Its id.
    pub fn id(&self) -> &Bytes {
        &self.id
    }

    /// Whether it names the order that it takes.
    pub fn is_exact(&self) -> bool {
        self.expected.order().is_some()
    }

    /// Another decision under the same id, which `premise` led to.
    pub fn anew(&mut self, premise: Premise) {
        self.expected = match (self.expected, premise.count) {
            (Expecting::New | Expecting::At(_), 0) => Expecting::New,
            (Expecting::New | Expecting::At(_), count) => Expecting::At(Order(count)),
            (any, _) => any,
        };
        self.premise = premise;
        self.values.clear();
        self.says_first = false;
    }

    /// Has it be tried on an instance: what the checker is told of it, and what the instance is told.
    pub fn tried(&mut self, world: &World, instance: InstanceId) -> (AppendCall, Identity) {
        let before = self.asked.replace(instance);
        let is_first = self.says_first && self.tries == 0;
        world.recorder.tried(match before {
            None => TRIES[0],
            Some(same) if same == instance => TRIES[1],
            Some(_) => TRIES[2],
        });
        self.tries += 1;
        let (id, seen) = (self.id.clone(), self.seen);
        let named = AppendId::new(id.clone()).expect("an id of a test is short");
        let append = AppendCall {
            expected: self.expected,
            values: self.values.clone(),
            premise: self.premise,
            identity: Some(TryOf { id, is_first, seen }),
            outcome: AppendOutcome::Unanswered,
        };
        (append, Identity { id: named, is_first, seen })
    }

    /// What its caller has seen when it was told of success.
    pub fn after(&self, appended: &Appended) -> Option<Premise> {
        let follows = appended.first == Order(self.premise.count);
        follows.then(|| self.values.iter().fold(self.premise, |premise, value| premise.and(value)))
    }
}

/// The appends with ids that a caller remembers.
#[derive(Default)]
pub struct Kept(Vec<Named>);

impl Kept {
    /// Keeps one that a try has ended of; without an answer it may be stored.
    pub fn keep(&mut self, mut named: Named, answer: Option<&Result<Appended, AppendError>>) {
        named.is_open = match answer {
            Some(Ok(_)) => false,
            Some(Err(error)) => error.class() != ErrorClass::Rejected,
            None => true,
        };
        if named.tries >= TRIES_MAX {
            return;
        }
        if self.0.len() == KEPT_MAX {
            self.0.remove(0);
        }
        self.0.push(named);
    }

    /// One that is to be tried now, if any, and whether it is decided anew. Most have not ended; a few have, and are delivered again.
    pub fn take(&mut self, random: &mut Rng) -> Option<(Named, bool)> {
        let is_open = random.u32(..100) < 94;
        let of_kind = |(at, named): (usize, &Named)| (named.is_open || !is_open).then_some(at);
        let places: Vec<usize> = self.0.iter().enumerate().filter_map(of_kind).collect();
        if places.is_empty() || random.u32(..10) < 4 {
            return None;
        }
        let is_anew = random.u32(..100) < if is_open { 12 } else { 50 };
        Some((self.0.remove(places[random.usize(..places.len())]), is_anew))
    }
}
