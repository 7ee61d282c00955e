//! Promises 1, 2, 3, 4 and 6: what appends were told, against the final history and the log.
//!
//! An append with an id is judged with all its tries: it is stored once, whichever try that was, and each success names its place.

use crate::history::{AppendOutcome, CallId, Event, Expecting};
use crate::ids::{self, Stored};
use crate::index::{Append, Index, Line, Try};
use crate::violation::Violation;
use bkes_core::{Key, Offset, Order, Partition};
use std::collections::HashMap;
use std::collections::hash_map::Entry;

/// Walks over every append.
pub fn check(index: &Index<'_>, found: &mut Vec<Violation>) {
    let mut acknowledged = HashMap::new();
    for append in &index.appends {
        let one = Judged { index, append };
        one.stored_once_and_whole(found);
        for tried in &append.tries {
            let AppendOutcome::Acknowledged { partition, offset, first } = tried.append.outcome else {
                continue;
            };
            one.acknowledged_once(&mut acknowledged, (*tried, (partition, offset)), first, found);
            one.acknowledged_stays((*tried, (partition, offset)), first, found);
        }
        one.never_stored(found);
        one.premise_held(found);
    }
    written_by_somebody(index, found);
}

/// Who was acknowledged which order of which key, first: the append's first try and the call. In a split key, orders are of one partition.
type Acknowledged<'h> = HashMap<(&'h Key, Option<Partition>, Order), (CallId, CallId)>;

/// A success: who was told it, and of which place.
type Success<'h> = (Try<'h>, (Partition, Offset));

struct Judged<'a, 'h> {
    index: &'a Index<'h>,
    append: &'a Append<'h>,
}

impl<'h> Judged<'_, 'h> {
    fn key(&self) -> Key {
        self.append.key.clone()
    }

    /// Its events in the final history that are where they should be, or anywhere else.
    fn stored(&self) -> impl Iterator<Item = (&'h Key, &'h Event)> + '_ {
        let places = self.append.values().iter().filter_map(|value| self.index.places(value).first());
        places.map(|place| (place.key, place.event))
    }

    fn orders(&self, first: Order) -> impl Iterator<Item = Order> {
        (0..self.append.values().len() as u64).filter_map(move |i| first.plus(i))
    }

    fn acknowledged_once(
        &self,
        all: &mut Acknowledged<'h>,
        (tried, (partition, offset)): Success<'h>,
        first: Order,
        found: &mut Vec<Violation>,
    ) {
        if self.index.is_excused(partition, offset, tried.call.begin)
            && self.is_lost((partition, offset), first)
        {
            return;
        }
        let (within, append) =
            (self.index.is_split(self.append.key).then_some(partition), self.append.first().id);
        for order in self.orders(first) {
            match all.entry((self.append.key, within, order)) {
                Entry::Vacant(entry) => {
                    entry.insert((append, tried.id));
                }
                // Of two tries of one append.
                Entry::Occupied(entry) if entry.get().0 == append => {}
                Entry::Occupied(entry) => {
                    let (one, other) = (entry.get().1, tried.id);
                    found.push(Violation::AcknowledgedTwice { key: self.key(), order, one, other });
                }
            }
        }
    }

    /// Whether what was acknowledged at a place is gone from there: for good, or until a later try was stored.
    fn is_lost(&self, (partition, offset): (Partition, Offset), first: Order) -> bool {
        let values = self.append.values();
        let place = (partition, offset, first.plus((values.len() as u64).saturating_sub(1)));
        let is_there = |event: &Event| (event.partition, event.offset, Some(event.order)) == place;
        let mut last = values.last().into_iter().flat_map(|value| self.index.places(value));
        let was_tried_again = self.append.tries.len() > 1;
        self.stored().count() < values.len() || was_tried_again && !last.any(|place| is_there(place.event))
    }

    fn acknowledged_stays(
        &self,
        (tried, (partition, offset)): Success<'h>,
        first: Order,
        found: &mut Vec<Violation>,
    ) {
        let (call, key) = (tried.id, self.key());
        if let Some(asked) = tried.append.expected.order().filter(|asked| *asked != first) {
            let told = first;
            found.push(Violation::AcknowledgedAtAnotherOrder { call, key: key.clone(), asked, told });
        }
        self.acknowledged_in_log((tried, (partition, offset)), found);
        if self.index.is_cut(partition) {
            return;
        }
        let is_excused = self.index.is_excused(partition, offset, tried.call.begin);
        let line = self.index.line(&key, partition);
        let mut last = None;
        for (order, value) in self.orders(first).zip(self.append.values()) {
            let event = line.and_then(|line| line.at(order));
            if event.is_none_or(|event| event.value != *value) {
                if !is_excused {
                    let (value, event) = (value.clone(), event.cloned());
                    found.push(Violation::AcknowledgedLost { call, key, order, value, found: event });
                }
                return;
            }
            last = event;
        }
        // A copy of what was lost may stand for it.
        if let Some(event) = last.filter(|event| event.offset != offset && !is_excused) {
            let event = event.clone();
            found.push(Violation::AcknowledgedElsewhere { call, key, told: (partition, offset), event });
        }
    }

    fn acknowledged_in_log(&self, (tried, (partition, offset)): Success<'h>, found: &mut Vec<Violation>) {
        let index = self.index;
        let excused =
            index.is_excused(partition, offset, tried.call.begin) || index.is_removed(partition, offset);
        let record =
            index.record(partition, offset).filter(|record| record.key.as_ref() == Some(self.append.key));
        let value = record.map(|record| record.value.clone().unwrap_or_default());
        if !excused && value.as_ref() != self.append.values().last() {
            let (call, key, told) = (tried.id, self.key(), (partition, offset));
            found.push(Violation::AcknowledgedNotInLog { call, key, told, found: value });
        }
    }

    /// The try whose answer says that nothing of the append is stored: a conflict, or any refusal if no try may have stored it.
    fn refusal(&self) -> Option<Try<'h>> {
        let tries = &self.append.tries;
        let is_conflict = |tried: &&Try<'_>| {
            let is_told = matches!(tried.append.outcome, AppendOutcome::Rejected { current: Some(_) });
            is_told && tried.append.expected.order().is_some()
        };
        let conflict = tries.iter().find(is_conflict).copied();
        let may_be_stored = tries.iter().any(|tried| tried.append.outcome.may_be_stored());
        conflict.or_else(|| (!may_be_stored).then(|| self.append.first()))
    }

    fn never_stored(&self, found: &mut Vec<Violation>) {
        let Some(Try { id: call, .. }) = self.refusal() else { return };
        for (_, event) in self.stored().filter(|(_, event)| !self.index.is_cut(event.partition)) {
            let event = event.clone();
            found.push(Violation::RefusedStored { call, key: self.key(), event });
        }
    }

    fn stored_once_and_whole(&self, found: &mut Vec<Violation>) {
        let call = self.append.first().id;
        for (at, value) in self.append.values().iter().enumerate() {
            let places = self.index.places(value);
            if let Some(place) = places.iter().find(|place| place.key != self.append.key) {
                let (other, event) = (place.key.clone(), place.event.clone());
                found.push(Violation::StoredUnderAnotherKey { call, key: self.key(), other, event });
            }
            let pairs = places.windows(2).map(|pair| (pair[0].event, pair[1].event));
            for (one, other) in pairs.filter(|pair| !self.is_twice_excused(*pair, at)) {
                let (one, other) = (one.clone(), other.clone());
                found.push(Violation::StoredTwice { call, key: self.key(), one, other });
            }
        }
        let events: Vec<&Event> = self.stored().map(|(_, event)| event).collect();
        let (stored, of) = (events.len(), self.append.values().len());
        let in_one_piece = events.windows(2).all(|pair| {
            pair[0].partition == pair[1].partition && pair[0].order.plus(1) == Some(pair[1].order)
        });
        let is_cut = events.first().is_some_and(|event| self.index.is_cut(event.partition));
        if stored > 0 && !is_cut && (stored < of || !in_one_piece) {
            found.push(Violation::Torn { call, key: self.key(), stored, of });
        }
    }

    /// Whether two tries may both be stored, by what the `at`-th event of the append says.
    fn is_twice_excused(&self, (one, other): (&Event, &Event), at: usize) -> bool {
        let (tries, is_exact) = (&self.append.tries, self.append.first().append.expected.order().is_some());
        // One that takes any order is sent again, by itself, where others took its place.
        let begin = match &tries[..] {
            [_, second, ..] => second.call.begin,
            [only] if !is_exact => only.call.begin,
            _ => return false,
        };
        // Without what lay in its head, a fold takes a record for an event that was void.
        if self.index.is_cut(one.partition) && one.partition == other.partition {
            return true;
        }
        let last = (self.append.values().len() - 1 - at) as u64;
        let earlier = Stored { append: self.append, first: one, last: one.order.plus(last) };
        let later = Stored { append: self.append, first: other, last: other.order.plus(last) };
        let begins = other.order.0.saturating_sub(at as u64);
        let is_held_up = !is_exact && ids::is_out_of_sight(&earlier, (&later, begins));
        is_held_up || ids::is_lost_between(self.index, &earlier, (&later, begin))
    }

    /// Whatever its writer was told: once it is stored, its premise must have been true.
    fn premise_held(&self, found: &mut Vec<Violation>) {
        let first = self.append.values().first();
        let Some(place) = first.and_then(|value| self.index.places(value).first()) else { return };
        let Try { id: call, append, .. } = self.append.first();
        let (event, premise, key) = (place.event, append.premise, self.key());
        if self.index.is_cut(event.partition) || place.key != self.append.key {
            return;
        }
        // Where no order is named, everything that was seen comes before, and others may come between.
        let seen = append.expected.order().map_or(Order(premise.count), |_| event.order);
        if let Some(asked) = append.expected.order().filter(|asked| *asked != event.order) {
            found.push(Violation::StoredAtAnotherOrder { call, key, asked, event: event.clone() });
            return;
        }
        let line = self.index.line(place.key, event.partition);
        let before = line.and_then(|line: &Line<'_>| line.premise(seen));
        let exists = append.expected != Expecting::Exists || event.order > Order::FIRST;
        let holds = before == Some(premise) && seen <= event.order && exists;
        if !holds && !self.index.is_deceived(&key) {
            found.push(Violation::PremiseBroken { call, key, order: event.order, seen: premise.count });
        }
    }
}

/// Every event of the final history was written by a call or by someone foreign.
fn written_by_somebody(index: &Index<'_>, found: &mut Vec<Violation>) {
    for (key, event) in index.reference.into_iter().flat_map(|content| events(&content.keys)) {
        let is_foreign = index.record(event.partition, event.offset).is_none_or(|record| record.foreign);
        if index.writer(&event.value).is_none() && !is_foreign {
            found.push(Violation::WrittenByNobody { key: key.clone(), event: event.clone() });
        }
    }
}

fn events(keys: &std::collections::BTreeMap<Key, Vec<Event>>) -> impl Iterator<Item = (&Key, &Event)> {
    keys.iter().flat_map(|(key, events)| events.iter().map(move |event| (key, event)))
}
