//! Promise 7 of reads that go backwards, or show a moment: what they are to show follows from the final history.

use crate::follows::lies_at;
use crate::history::{Call, CallId, Event, ReadCall, ReadOutcome, View};
use crate::index::{Index, Line};
use crate::violation::Violation;
use bkes_core::{Key, Offset, Order};

/// Judges one read whose view is another than what is now, forwards. A split aggregate has no such reads.
pub fn check(index: &Index<'_>, (id, call, read): (CallId, &Call, &ReadCall), found: &mut Vec<Violation>) {
    let (events, more) = match &read.outcome {
        ReadOutcome::Events { events, more } => (events.as_slice(), *more),
        ReadOutcome::NoSuchAggregate => (&[][..], false),
        _ => return,
    };
    let is_lost = |event: &Event| index.is_excused(event.partition, event.offset, call.begin);
    let is_void = index.is_key_cut(&call.key) || index.is_before_truncation(&call.key, call.begin);
    if is_void || index.is_split(&call.key) || events.iter().any(is_lost) {
        return;
    }
    let line = index.partitions(&call.key).next().and_then(|partition| index.line(&call.key, partition));
    let is_backwards = read.view == View::Backwards;
    let mut expected: Vec<&Event> = match (is_backwards, line) {
        (_, None) => Vec::new(),
        (false, Some(line)) => line.events[..moment(index, (&call.key, line), read.view)].to_vec(),
        (true, Some(line)) => {
            let last = events.first().map_or(0, |event| event.order.0.saturating_add(1));
            let count = line.events.partition_point(|event| event.order < Order(last));
            line.events[..count].iter().rev().copied().collect()
        }
    };
    let all = expected.len();
    let wanted = read.limit.map_or(all, |limit| all.min(usize::try_from(limit).unwrap_or(all)));
    let is_left_out = wanted < all;
    // What is later than a moment need not have been there yet, nor all that is not.
    let wanted = if matches!(read.view, View::AsOfTime(_)) { wanted.min(events.len()) } else { wanted };
    expected.truncate(wanted);
    let places = 0..events.len().max(expected.len());
    if let Some(at) = places.into_iter().find(|at| events.get(*at) != expected.get(*at).copied()) {
        let (key, there) = (call.key.clone(), expected.get(at).copied().cloned());
        found.push(match events.get(at) {
            Some(shown) => Violation::ReadDiffers { call: id, key, shown: shown.clone(), expected: there },
            None => Violation::ReadBadPage { call: id, key, detail: "it was shown less than there was" },
        });
    } else if more && !is_left_out {
        let detail = "it was told of more events than there are";
        found.push(Violation::ReadBadPage { call: id, key: call.key.clone(), detail });
    } else if !more && is_left_out {
        let detail = "it was not told of more events, and there are";
        found.push(Violation::ReadBadPage { call: id, key: call.key.clone(), detail });
    }
}

/// The most that a read as of a time shows; `None` for any other.
pub fn most(index: &Index<'_>, call: &Call, read: &ReadCall) -> Option<u64> {
    let View::AsOfTime(_) = read.view else { return None };
    let partition = index.partitions(&call.key).next()?;
    Some(moment(index, (&call.key, index.line(&call.key, partition)?), read.view) as u64)
}

/// How many events an aggregate has at a moment.
fn moment(index: &Index<'_>, (key, line): (&Key, &Line<'_>), view: View) -> usize {
    let events = &line.events;
    let lies = |event: &Event| lies_at(index, key, event);
    match view {
        View::Now | View::Backwards => events.len(),
        View::AsOfOffset(partition, offset) => {
            let is_there = |event: &&Event| event.partition == partition && lies(event) <= offset;
            events.iter().take_while(|event| is_there(event)).count()
        }
        View::AsOfTime(ms) => {
            let is_later = |event: &&Event| event.timestamp_ms.is_some_and(|at| at > ms);
            let Some(first) = events.iter().position(is_later) else { return events.len() };
            // None of an append, if it is later in part.
            let append: Offset = lies(events[first]);
            events[..first].iter().take_while(|event| lies(event) < append).count()
        }
    }
}
