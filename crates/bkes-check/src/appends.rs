//! Promises 1, 2, 3, 4 and 6: what appends were told, against the final history and the log.

use crate::history::{AppendCall, AppendOutcome, Call, CallId, Event};
use crate::index::{Index, Line};
use crate::violation::Violation;
use bkes_core::{Key, Offset, Order, Partition};
use std::collections::HashMap;
use std::collections::hash_map::Entry;

/// Walks over every append.
pub fn check(index: &Index<'_>, found: &mut Vec<Violation>) {
    let mut acknowledged = HashMap::new();
    for (id, call, append) in index.appends() {
        let one = Append { index, id, call, append };
        one.stored_once_and_whole(found);
        match append.outcome {
            AppendOutcome::Acknowledged { partition, offset, first } => {
                one.acknowledged_once(&mut acknowledged, (partition, offset), first, found);
                one.acknowledged_stays((partition, offset), first, found);
            }
            AppendOutcome::Rejected { .. } | AppendOutcome::Unavailable => one.never_stored(found),
            AppendOutcome::Unknown | AppendOutcome::Unanswered => {}
        }
        one.premise_held(found);
    }
    written_by_somebody(index, found);
}

/// Who was acknowledged which order of which key; in a split key, orders are of one partition.
type Acknowledged<'h> = HashMap<(&'h Key, Option<Partition>, Order), CallId>;

struct Append<'a, 'h> {
    index: &'a Index<'h>,
    id: CallId,
    call: &'h Call,
    append: &'h AppendCall,
}

impl<'h> Append<'_, 'h> {
    fn key(&self) -> Key {
        self.call.key.clone()
    }

    /// Its events in the final history that are where they should be, or anywhere else.
    fn stored(&self) -> impl Iterator<Item = (&'h Key, &'h Event)> + '_ {
        let places = self.append.values.iter().filter_map(|value| self.index.places(value).first());
        places.map(|place| (place.key, place.event))
    }

    fn orders(&self, first: Order) -> impl Iterator<Item = Order> {
        (0..self.append.values.len() as u64).filter_map(move |i| first.plus(i))
    }

    fn acknowledged_once(
        &self,
        all: &mut Acknowledged<'h>,
        (partition, offset): (Partition, Offset),
        first: Order,
        found: &mut Vec<Violation>,
    ) {
        let is_lost = || self.stored().count() < self.append.values.len();
        if self.index.is_excused(partition, offset, self.call.begin) && is_lost() {
            return;
        }
        let within = self.index.is_split(&self.call.key).then_some(partition);
        for order in self.orders(first) {
            match all.entry((&self.call.key, within, order)) {
                Entry::Vacant(entry) => {
                    entry.insert(self.id);
                }
                Entry::Occupied(entry) => {
                    let (one, other) = (*entry.get(), self.id);
                    found.push(Violation::AcknowledgedTwice { key: self.key(), order, one, other });
                }
            }
        }
    }

    fn acknowledged_stays(
        &self,
        (partition, offset): (Partition, Offset),
        first: Order,
        found: &mut Vec<Violation>,
    ) {
        let (call, key) = (self.id, self.key());
        let asked = self.append.expected.order();
        if asked != first {
            let told = first;
            found.push(Violation::AcknowledgedAtAnotherOrder { call, key: key.clone(), asked, told });
        }
        self.acknowledged_in_log(partition, offset, found);
        if self.index.is_cut(partition) {
            return;
        }
        let is_excused = self.index.is_excused(partition, offset, self.call.begin);
        let line = self.index.line(&key, partition);
        let mut last = None;
        for (order, value) in self.orders(first).zip(&self.append.values) {
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

    fn acknowledged_in_log(&self, partition: Partition, offset: Offset, found: &mut Vec<Violation>) {
        let index = self.index;
        let excused =
            index.is_excused(partition, offset, self.call.begin) || index.is_removed(partition, offset);
        let record =
            index.record(partition, offset).filter(|record| record.key.as_ref() == Some(&self.call.key));
        let value = record.map(|record| record.value.clone().unwrap_or_default());
        if !excused && value.as_ref() != self.append.values.last() {
            let (call, key, told) = (self.id, self.key(), (partition, offset));
            found.push(Violation::AcknowledgedNotInLog { call, key, told, found: value });
        }
    }

    fn never_stored(&self, found: &mut Vec<Violation>) {
        for (_, event) in self.stored().filter(|(_, event)| !self.index.is_cut(event.partition)) {
            let event = event.clone();
            found.push(Violation::RefusedStored { call: self.id, key: self.key(), event });
        }
    }

    fn stored_once_and_whole(&self, found: &mut Vec<Violation>) {
        let call = self.id;
        for value in &self.append.values {
            let places = self.index.places(value);
            if let Some(place) = places.iter().find(|place| *place.key != self.call.key) {
                let (other, event) = (place.key.clone(), place.event.clone());
                found.push(Violation::StoredUnderAnotherKey { call, key: self.key(), other, event });
            }
            if let [one, other, ..] = places {
                let (one, other) = (one.event.clone(), other.event.clone());
                found.push(Violation::StoredTwice { call, key: self.key(), one, other });
            }
        }
        let events: Vec<&Event> = self.stored().map(|(_, event)| event).collect();
        let (stored, of) = (events.len(), self.append.values.len());
        let in_one_piece = events.windows(2).all(|pair| {
            pair[0].partition == pair[1].partition && pair[0].order.plus(1) == Some(pair[1].order)
        });
        let is_cut = events.first().is_some_and(|event| self.index.is_cut(event.partition));
        if stored > 0 && !is_cut && (stored < of || !in_one_piece) {
            found.push(Violation::Torn { call, key: self.key(), stored, of });
        }
    }

    /// Whatever its writer was told: once it is stored, its premise must have been true.
    fn premise_held(&self, found: &mut Vec<Violation>) {
        let Some(place) = self.append.values.first().and_then(|value| self.index.places(value).first())
        else {
            return;
        };
        let (event, premise) = (place.event, self.append.premise);
        let line = self.index.line(place.key, event.partition);
        if self.index.is_cut(event.partition) || *place.key != self.call.key {
            return;
        }
        let (call, key, asked) = (self.id, self.key(), self.append.expected.order());
        if asked != event.order {
            found.push(Violation::StoredAtAnotherOrder { call, key, asked, event: event.clone() });
            return;
        }
        let before = line.and_then(|line: &Line<'_>| line.premise(event.order));
        if before != Some(premise) && !self.index.is_deceived(&key) {
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
