//! Appends with ids, as their caller knows them: each may be tried again by hand, delivered again, or decided anew under its id.

use crate::limits::{KEPT_MAX, TRIES_MAX};
use bkes_api::{Append, EventContent, Expected};
use bkes_check::{AppendCall, AppendOutcome, Expecting, InstanceId, Premise, TryOf};
use bkes_core::append_id::{AppendId, Identity};
use bkes_core::{Key, Order};
use bytes::Bytes;
use fastrand::Rng;

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
    /// Whether a try has ended it.
    pub is_ended: bool,
    id: AppendId,
    /// How far the aggregate was before the first try, if that is told.
    seen: Option<Order>,
    says_first: bool,
    tries: u32,
    /// Who was asked last.
    asked: Option<InstanceId>,
}

/// Who is asked, after whom.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Asked {
    /// Nobody was asked before.
    First,
    /// The same instance again.
    Again,
    /// Another one.
    Elsewhere,
}

impl Named {
    /// A new one, which `premise` led to.
    pub fn new(random: &mut Rng, key: &Key, premise: Premise, id: String) -> Named {
        let expected = match (random.u8(..10), premise.count) {
            (0..4, 0) => Expecting::New,
            (0..4, count) => Expecting::At(Order(count)),
            (4..6, _) => Expecting::Exists,
            _ => Expecting::Any,
        };
        let seen = random.bool().then_some(Order(premise.count));
        let says_first = random.u8(..4) > 0;
        let id = AppendId::new(id).expect("an id of a test is short");
        let (key, values) = (key.clone(), Vec::new());
        Named { key, expected, values, premise, is_ended: false, id, seen, says_first, tries: 0, asked: None }
    }

    /// Whether it takes whatever order is next.
    pub fn takes_any(&self) -> bool {
        self.expected.order().is_none()
    }

    /// Another decision under the same id, which `premise` led to.
    pub fn anew(&mut self, premise: Premise, values: Vec<Bytes>) {
        self.expected = match (self.takes_any(), premise.count) {
            (true, _) => self.expected,
            (false, 0) => Expecting::New,
            (false, count) => Expecting::At(Order(count)),
        };
        (self.premise, self.values, self.says_first, self.is_ended) = (premise, values, false, false);
    }

    /// The next try of it, on this instance: as the checker knows it, as it is sent, and after whom.
    pub fn tried(&mut self, instance: InstanceId) -> (AppendCall, Append, Asked) {
        let asked = match self.asked.replace(instance) {
            None => Asked::First,
            Some(same) if same == instance => Asked::Again,
            Some(_) => Asked::Elsewhere,
        };
        let is_first = self.says_first && self.tries == 0;
        self.tries += 1;
        let (id, seen) = (self.id.clone(), self.seen);
        let (expected, values, premise) = (self.expected, self.values.clone(), self.premise);
        let append = Append {
            identity: Some(Identity { id, is_first, seen }),
            ..Append::new(self.key.clone(), expected_of(expected)).events(contents(&values))
        };
        let identity = Some(TryOf { id: self.id.bytes().clone(), is_first, seen });
        let outcome = AppendOutcome::Unanswered;
        (AppendCall { expected, values, premise, identity, outcome }, append.with_missing(), asked)
    }

    /// What its caller has seen when its first event was stored at an order: what came between is not known.
    pub fn after(&self, first: Order) -> Option<Premise> {
        let follows = first == Order(self.premise.count);
        follows.then(|| self.values.iter().fold(self.premise, |premise, value| premise.and(value)))
    }
}

/// An expectation as it is sent.
pub fn expected_of(expecting: Expecting) -> Expected {
    match expecting {
        Expecting::New => Expected::New,
        Expecting::At(order) => Expected::At(order),
        Expecting::Exists => Expected::Exists,
        Expecting::Any => Expected::Any,
    }
}

/// Values as they are sent.
pub fn contents(values: &[Bytes]) -> impl Iterator<Item = EventContent> {
    values.iter().map(|value| EventContent { value: Some(value.clone()), headers: Vec::new() })
}

/// The appends with ids that a client remembers.
#[derive(Default)]
pub struct Kept(Vec<Named>);

impl Kept {
    /// Keeps one after a try.
    pub fn keep(&mut self, mut named: Named, outcome: AppendOutcome) {
        named.is_ended = !matches!(
            outcome,
            AppendOutcome::Unknown | AppendOutcome::Unanswered | AppendOutcome::Unavailable
        );
        if named.tries >= TRIES_MAX {
            return;
        }
        if self.0.len() == KEPT_MAX {
            self.0.remove(0);
        }
        self.0.push(named);
    }

    /// One that no try has ended, if there is one.
    pub fn take_open(&mut self) -> Option<Named> {
        let at = self.0.iter().position(|named| !named.is_ended)?;
        Some(self.0.remove(at))
    }

    /// Any of them.
    pub fn take_any(&mut self, random: &mut Rng) -> Option<Named> {
        (!self.0.is_empty()).then(|| self.0.remove(random.usize(..self.0.len())))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_first_try_of_the_first_decision_says_that_it_is_the_first() {
        let key = Key::new("k").expect("it has bytes");
        let mut random = Rng::with_seed(5);
        let says = |named: &mut Named, instance| {
            let (call, append, asked) = named.tried(InstanceId(instance));
            let said = append.identity.expect("it has an id");
            let told = call.identity.expect("it has an id");
            assert_eq!((said.is_first, said.seen), (told.is_first, told.seen));
            (said.is_first, asked)
        };
        let mut firsts = 0;
        for number in 0..64 {
            let mut named = Named::new(&mut random, &key, Premise::NOTHING, format!("id-{number}"));
            let (is_first, asked) = says(&mut named, 0);
            firsts += u32::from(is_first);
            assert_eq!(asked, Asked::First);
            assert_eq!(says(&mut named, 0), (false, Asked::Again));
            assert_eq!(says(&mut named, 1), (false, Asked::Elsewhere));
            named.anew(Premise::NOTHING.and(b"v"), vec![Bytes::from_static(b"w")]);
            assert_eq!(says(&mut named, 1), (false, Asked::Again));
            assert!(named.takes_any() || named.expected == Expecting::At(Order(1)));
        }
        assert!((20..64).contains(&firsts), "{firsts}");
    }

    #[test]
    fn what_did_not_end_is_tried_again_and_not_for_ever() {
        let key = Key::new("k").expect("it has bytes");
        let (mut random, mut kept) = (Rng::with_seed(5), Kept::default());
        let named = |random: &mut Rng| Named::new(random, &key, Premise::NOTHING, "id".to_owned());
        kept.keep(named(&mut random), AppendOutcome::Rejected { current: None });
        assert!(kept.take_open().is_none(), "a refusal ends it");
        for tries in 0..TRIES_MAX {
            let mut open = kept.take_open().unwrap_or_else(|| named(&mut random));
            assert_eq!(open.tries, tries);
            open.tried(InstanceId(0));
            kept.keep(open, AppendOutcome::Unknown);
        }
        assert!(kept.take_open().is_none(), "it was tried often enough");
        assert!(kept.take_any(&mut random).is_some(), "the refused one can be delivered again");
    }
}
