//! Promises 2, 4 and 10 of append ids: under one id one append is stored, its tries are told of one place, and an id is said to be taken
//! only where it is.
//!
//! What is excused is what the promise leaves out: two decisions that name their orders, further apart than the window; a first try that was
//! overtaken by more than the window and did not tell what it had seen; and what came in the stead of a lost end of the log.

use crate::history::{AppendOutcome, CallId, Event};
use crate::index::{Append, Index, Try};
use crate::violation::Violation;
use bkes_core::{Key, Offset, Order, Partition};
use bytes::Bytes;
use std::collections::BTreeMap;

/// So many of an aggregate's last events are looked at for an id, as the promise says.
const WINDOW_EVENTS: u64 = 128;

/// Walks over every append with an id.
pub fn check(index: &Index<'_>, found: &mut Vec<Violation>) {
    let mut decisions: BTreeMap<(&Key, &Bytes), Vec<Stored<'_, '_>>> = BTreeMap::new();
    for append in &index.appends {
        let Some(id) = append.id() else { continue };
        one_place(index, append, found);
        for tried in &append.tries {
            is_taken(index, (append, id), *tried, found);
        }
        if let Some(stored) = stored(index, append) {
            decisions.entry((append.key, id)).or_default().push(stored);
        }
    }
    for ((key, _), mut stored) in decisions {
        stored.sort_by_key(|stored| (stored.first.partition, stored.first.order));
        for (at, later) in stored.iter().enumerate() {
            for earlier in stored[..at].iter().filter(|earlier| !is_excused(index, earlier, later)) {
                let one = (earlier.append.first().id, earlier.first.clone());
                let other = (later.append.first().id, later.first.clone());
                found.push(Violation::IdStoredTwice { key: key.clone(), one, other });
            }
        }
    }
}

/// A stored append: its first event, and the order of its last one.
pub struct Stored<'a, 'h> {
    pub append: &'a Append<'h>,
    pub first: &'h Event,
    pub last: Option<Order>,
}

fn stored<'a, 'h>(index: &Index<'h>, append: &'a Append<'h>) -> Option<Stored<'a, 'h>> {
    let place = index.places(append.values().first()?).first()?;
    let is_judged = place.key == append.key && !index.is_cut(place.event.partition);
    let last = place.event.order.plus(append.values().len() as u64 - 1);
    is_judged.then_some(Stored { append, first: place.event, last })
}

/// Whether both may be stored under one id.
fn is_excused(index: &Index<'_>, earlier: &Stored<'_, '_>, later: &Stored<'_, '_>) -> bool {
    let begin = later.append.tries.iter().map(|tried| tried.call.begin).min().unwrap_or_default();
    is_out_of_sight(earlier, (later, later.first.order.0)) || is_lost_between(index, earlier, (later, begin))
}

/// Whether the window of the later one, which begins at order `at`, did not reach back to the earlier one, and nothing had it look further.
pub fn is_out_of_sight(earlier: &Stored<'_, '_>, (later, at): (&Stored<'_, '_>, u64)) -> bool {
    if earlier.first.partition != later.first.partition {
        return false;
    }
    let window = Order(at.saturating_sub(WINDOW_EVENTS));
    let is_before = earlier.last.is_some_and(|last| last < window);
    let mut said = later.append.tries.iter().filter_map(|tried| tried.append.identity.as_ref());
    let is_held_up = said.any(|said| said.is_first && said.seen.is_none());
    is_before && (later.append.first().append.expected.order().is_some() || is_held_up)
}

/// Whether the earlier one lies where the end of the log was lost, and the later one was sent, at `begin` or after, by someone who may not
/// have known.
pub fn is_lost_between(
    index: &Index<'_>,
    earlier: &Stored<'_, '_>,
    (later, begin): (&Stored<'_, '_>, u64),
) -> bool {
    let Event { partition, offset, .. } = *earlier.first;
    later.first.partition == partition && index.is_excused(partition, offset, begin)
}

/// All successes of an append name one place. One that is stored twice has two: whether it may be is judged elsewhere.
fn one_place(index: &Index<'_>, append: &Append<'_>, found: &mut Vec<Violation>) {
    if append.values().first().is_some_and(|first| index.places(first).len() > 1) {
        return;
    }
    let mut told: Option<(CallId, (Partition, Offset, Order))> = None;
    for Try { id, call, append: tried } in &append.tries {
        let AppendOutcome::Acknowledged { partition, offset, first } = tried.outcome else { continue };
        if index.is_excused(partition, offset, call.begin) || index.is_cut(partition) {
            continue;
        }
        let place = (partition, offset, first);
        let (one, first_told) = *told.get_or_insert((*id, place));
        if first_told != place {
            found.push(Violation::AcknowledgedInTwoPlaces { key: append.key.clone(), one, other: *id });
        }
    }
}

/// Where a try was told that another append has its id, there is one.
fn is_taken(
    index: &Index<'_>,
    (append, id): (&Append<'_>, &Bytes),
    tried: Try<'_>,
    found: &mut Vec<Violation>,
) {
    let (first, place) = match tried.append.outcome {
        AppendOutcome::IdReused { first } => (first, None),
        AppendOutcome::IdUsed { first, partition, offset } => (first, Some((partition, offset))),
        _ => return,
    };
    let is_lost = match place {
        Some((partition, offset)) => index.is_excused(partition, offset, tried.call.begin),
        None => index.is_before_a_truncation(tried.call.begin),
    };
    if is_lost || index.is_key_cut(append.key) || index.may_be_removed(append.key) {
        return;
    }
    let lines = index.partitions(append.key).filter_map(|partition| index.line(append.key, partition));
    let events: Vec<&Event> = lines.filter_map(|line| line.at(first)).collect();
    let is_another = |event: &&&Event| {
        let is_there = place.is_none_or(|place| place == (event.partition, event.offset));
        let other =
            index.writer(&event.value).filter(|other| other.id() == Some(id) && other.key == append.key);
        is_there
            && other.is_some_and(|other| {
                other.first().id != append.first().id && other.values().first() == Some(&event.value)
            })
    };
    if events.iter().find(is_another).is_none() {
        let (key, event) = (append.key.clone(), events.first().copied().cloned());
        found.push(Violation::IdNotTaken { call: tried.id, key, first, found: event });
    }
}
