//! Promises 5 and 9: what instances hold at the end, by itself, against each other, and against the log.

use crate::history::{Content, Event, LogRecord};
use crate::index::Index;
use crate::violation::Violation;
use bkes_core::{Key, Order, Partition};
use std::collections::{HashMap, HashSet};

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

/// Each partition's orders are 0, 1, 2 and so on (in a cut one, from a base), and offsets rise with them.
fn check_orders(
    index: &Index<'_>,
    content: &Content,
    (key, events): (&Key, &Vec<Event>),
    found: &mut Vec<Violation>,
) {
    let mut last: HashMap<Partition, &Event> = HashMap::new();
    for event in events {
        let before = last.insert(event.partition, event);
        let base = if index.is_cut(event.partition) { event.order } else { Order::FIRST };
        let expected = before.map_or(Some(base), |before| before.order.plus(1)).unwrap_or(Order::FIRST);
        let (content, key) = (content.of, key.clone());
        if event.order != expected {
            found.push(Violation::Gap { content, key, expected, event: event.clone() });
        } else if let Some(before) = before.filter(|before| before.offset >= event.offset) {
            let (before, event) = (before.clone(), event.clone());
            found.push(Violation::OffsetsGoBack { content, key, before, event });
        }
    }
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
