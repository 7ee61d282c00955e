//! Promises 5 and 9: what instances hold at the end, by itself, against each other, and against the log.

use crate::history::{Content, Event, LogRecord};
use crate::index::Index;
use crate::violation::Violation;
use bkes_core::{Key, Order, Partition};
use std::collections::{BTreeMap, HashMap, HashSet};

/// Walks over every event of every content.
pub fn check(index: &Index<'_>, found: &mut Vec<Violation>) {
    for content in &index.history.contents {
        for aggregate in &content.keys {
            check_orders(index, content, aggregate, found);
        }
    }
    let Some(reference) = index.reference else { return };
    for other in index.history.contents.iter().filter(|content| content.of != reference.of) {
        check_equal(index, reference, other, found);
    }
    check_log(index, reference, found);
}

/// Each partition's orders are 0, 1, 2 and so on (in a cut one, from a base), and where appends lie rises with them.
fn check_orders(
    index: &Index<'_>,
    content: &Content,
    (key, events): (&Key, &Vec<Event>),
    found: &mut Vec<Violation>,
) {
    let mut last: HashMap<Partition, &Event> = HashMap::new();
    let mut lines: BTreeMap<Partition, Vec<&Event>> = BTreeMap::new();
    for event in events {
        let before = last.insert(event.partition, event);
        let base = if index.is_cut(event.partition) { event.order } else { Order::FIRST };
        let expected = before.map_or(Some(base), |before| before.order.plus(1)).unwrap_or(Order::FIRST);
        if event.order != expected {
            let (content, key) = (content.of, key.clone());
            found.push(Violation::Gap { content, key, expected, event: event.clone() });
        }
        lines.entry(event.partition).or_default().push(event);
    }
    for line in lines.values() {
        for (before, event) in falls(index, line) {
            let (content, key, before, event) = (content.of, key.clone(), before.clone(), event.clone());
            found.push(Violation::OffsetsGoBack { content, key, before, event });
        }
    }
}

/// The pairs of events of a partition of which the second lies lower and should not. Within an append offsets rise. From one to the next
/// its last offset does: the first members of a batch may lie below an event of a lower order, one that came between them and filled
/// a gap before the batch was decided.
fn falls<'e>(index: &Index<'_>, line: &[&'e Event]) -> Vec<(&'e Event, &'e Event)> {
    let append = |event: &Event| index.writer(&event.value).map(|append| append.first().id);
    let is_one = |one: &&Event, other: &&Event| append(one).is_some_and(|one| append(other) == Some(one));
    let appends: Vec<&[&Event]> = line.chunk_by(is_one).collect();
    let within = appends.iter().flat_map(|append| append.windows(2)).map(|pair| (pair[0], pair[1]));
    let lasts: Vec<&Event> = appends.iter().filter_map(|append| append.last().copied()).collect();
    let between = lasts.windows(2).map(|pair| (pair[0], pair[1]));
    within.chain(between).filter(|(before, event)| before.offset >= event.offset).collect()
}

fn check_equal(index: &Index<'_>, one: &Content, other: &Content, found: &mut Vec<Violation>) {
    let nothing: &[Event] = &[];
    let only_in_other = other.keys.keys().filter(|key| !one.keys.contains_key(*key));
    for key in one.keys.keys().chain(only_in_other) {
        let left = one.keys.get(key).map_or(nothing, Vec::as_slice);
        let right = other.keys.get(key).map_or(nothing, Vec::as_slice);
        if left == right || left.iter().chain(right).any(|event| index.is_cut(event.partition)) {
            continue;
        }
        let same = left.iter().zip(right).take_while(|(left, right)| left == right).count();
        found.push(Violation::ContentsDiffer {
            key: key.clone(),
            one: (one.of, left.get(same).cloned()),
            other: (other.of, right.get(same).cloned()),
        });
    }
}

/// The final history is made of the log's records, and no foreign one is missing.
fn check_log(index: &Index<'_>, reference: &Content, found: &mut Vec<Violation>) {
    let mut places = HashSet::new();
    for (key, events) in &reference.keys {
        places.extend(events.iter().map(|event| (key, event.partition, event.offset)));
        for event in events.iter().filter(|event| !index.is_removed(event.partition, event.offset)) {
            let record =
                index.record(event.partition, event.offset).filter(|record| record.key.as_ref() == Some(key));
            if !record.is_some_and(|record| is_of(event, record)) {
                let value = record.map(|record| record.value.clone().unwrap_or_default());
                found.push(Violation::EventNotInLog { key: key.clone(), event: event.clone(), found: value });
            }
        }
    }
    for record in index.history.log.iter().filter(|record| record.foreign) {
        let LogRecord { partition, offset, .. } = *record;
        let Some(key) = &record.key else { continue };
        if !places.contains(&(key, partition, offset)) {
            found.push(Violation::ForeignMissing { key: key.clone(), partition, offset });
        }
    }
}

fn is_of(event: &Event, record: &LogRecord) -> bool {
    record.value.as_deref().unwrap_or_default() == event.value
        && record.value.is_none() == event.tombstone
        && record.timestamp_ms == event.timestamp_ms
}
