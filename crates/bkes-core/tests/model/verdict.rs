//! What must hold of a finished run, as callers feel it. Where the log lost its end, what lay there is excused, and what rested on it.

use crate::fold::{Checkpoint, Fold, Histories};
use crate::world::{Answer, Append, World};
use bkes_core::Record;
use bkes_core::append_id::ID_WINDOW;
use std::collections::BTreeMap;

/// The history that a fold over the whole log gives, resumed at `cut` as if the instance had ended there.
fn history(world: &World, cut: Option<usize>) -> Histories {
    let mut checkpoint = Checkpoint::default();
    let mut fold = Fold::resume(&checkpoint, world.bug);
    let apply =
        |fold: &mut Fold, records: &[Record]| records.iter().for_each(|record| drop(fold.apply(record)));
    let (head, tail) = world.log.records.split_at(cut.unwrap_or(0).min(world.log.records.len()));
    apply(&mut fold, head);
    if cut.is_some() {
        fold.store(&mut checkpoint);
        fold = Fold::resume(&checkpoint, world.bug);
    }
    apply(&mut fold, tail);
    fold.histories.retain(|_, events| !events.is_empty());
    fold.histories
}

/// The first broken promise of a finished run; `cut` is where the resumed fold is resumed.
pub fn broken_promise(world: &World, cut: usize) -> Option<String> {
    let truth = history(world, None);
    let resumed = history(world, Some(cut));
    if resumed != truth {
        return Some(format!(
            "a fold resumed after {cut} records has {resumed:?}, one from nothing {truth:?}"
        ));
    }
    for (at, instance) in world.instances.iter().enumerate() {
        let mut own = instance.histories.clone();
        own.retain(|_, events| !events.is_empty());
        if own != truth {
            return Some(format!("instance {at} has {own:?}, a fold from nothing {truth:?}"));
        }
    }
    let mut places = BTreeMap::new();
    for (key, events) in &truth {
        for (order, value) in events.iter().enumerate() {
            // Where the log lost its end, a retry may have taken its place behind what was lost, and an earlier try come in its stead.
            let is_excused = !world.lost.is_empty() && world.is_named(*value);
            if places.insert(*value, (key, order)).is_some() && !is_excused {
                return Some(format!("{value} is stored twice"));
            }
        }
    }
    for view in world.views.iter().filter(|view| !view.is_unaware && !world.is_lost(&view.seen)) {
        if !truth.get(&view.key).map_or(&[][..], Vec::as_slice).starts_with(&view.seen) {
            return Some(format!("{:?} was shown of {}, and the history is {truth:?}", view.seen, view.key));
        }
    }
    let mut foreign = world.foreign.iter().filter(|value| !world.lost.contains(value));
    if let Some(lost) = foreign.find(|value| !places.contains_key(value)) {
        return Some(format!("{lost}, which somebody wrote without BKES, is no event: {truth:?}"));
    }
    if let Some(twice) = named_twice(world, &truth) {
        return Some(twice);
    }
    let mut appends = world.appends.iter();
    appends
        .find_map(|append| broken_for(world, append, truth.get(&append.key).map_or(&[][..], Vec::as_slice)))
}

/// An id under which two decisions were stored, though the first was in the window of the second.
fn named_twice(world: &World, truth: &Histories) -> Option<String> {
    let mut stored: BTreeMap<usize, &Append> = BTreeMap::new();
    for append in &world.appends {
        let history = truth.get(&append.key).map_or(&[][..], Vec::as_slice);
        let Some(name) = append.name.filter(|_| history.contains(&append.values[0])) else { continue };
        let other = *stored.entry(name.of).or_insert(append);
        let is_excused = world.id_window < ID_WINDOW && !name.takes_any || !world.lost.is_empty();
        if other.values != append.values && !is_excused {
            let (one, two) = (&other.values, &append.values);
            return Some(format!("{one:?} and {two:?} were stored under one id: {history:?}"));
        }
    }
    None
}

fn broken_for(world: &World, append: &Append, history: &[u64]) -> Option<String> {
    let Append { values, seen, answer, key, .. } = append;
    // Rejected and unavailable speak of one try. Only that its order was taken speaks of all. An instance that has not read as far, and here
    // nobody has it read on first, speaks of what it has read.
    let tried_again = |other: &&Append| append.name.is_some() && other.name == append.name;
    let tries = world.appends.iter().filter(tried_again).filter(|other| other.values == *values).count();
    let is_of_one_try = tries > 1
        && match answer {
            Some(Answer::NotStored) => true,
            Some(Answer::Conflict { next }) => *next < append.first(),
            _ => false,
        };
    let stored = values.iter().filter(|value| history.contains(value)).count();
    let told = format!("{values:?} on {seen:?} of {key}, answered {answer:?}, history {history:?}");
    if stored != 0 && stored != values.len() {
        return Some(format!("a batch is torn: {told}"));
    }
    if stored > 0 && append.takes_any() {
        let begin = history.iter().position(|value| *value == values[0]);
        if !begin.is_some_and(|begin| history[begin..].starts_with(values)) {
            return Some(format!("its events do not follow each other: {told}"));
        }
    } else if stored > 0 && !history.starts_with(seen) && !append.rests_on_lost {
        return Some(format!("its premise was false: {told}"));
    }
    if stored > 0 && !append.takes_any() && !history[seen.len()..].starts_with(values) {
        return Some(format!("it is not at its order: {told}"));
    }
    match answer {
        None => Some(format!("it was never answered: {told}")),
        Some(Answer::Success) if stored == 0 && !append.is_told_unaware && !world.is_lost(values) => {
            Some(format!("acknowledged and lost: {told}"))
        }
        Some(Answer::Conflict { .. } | Answer::NotStored)
            if stored > 0 && !is_of_one_try && !append.is_told_unaware && !append.is_refusal_lost =>
        {
            Some(format!("refused and stored: {told}"))
        }
        Some(_) => None,
    }
}
