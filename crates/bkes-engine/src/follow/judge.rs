//! Judging records of the past: which are events, and at which orders.
//!
//! The machines have judged them. A marked record is an event if and only if the overlay or the store has an event at this offset and at
//! the order that it names; a foreign one is an event, and its order is asked for. The overlay is copied *first* and the store asked
//! *second*, or an event that moves in between could be missed. The key's events are asked for as a run: all appends that lie
//! from its first record here to its last. Where an append lies rises with the order; offsets alone do not.
//!
//! A batch lies where its last member lies, and is shown there as a whole: with the members that are at hand, or as the store has it, where
//! reading began behind the first ones. A member before the last one is nothing by itself.

use crate::context::Context;
use bkes_core::marker::classify;
use bkes_core::{EventOutline, Key, Marker, Offset, Order, Partition, Record, RecordClass, StoredEvent};
use bkes_storage::{OffsetPart, StoreError};
use std::ops::Range;

/// An append of the past that is to be shown.
#[derive(Debug)]
pub enum Shown {
    /// All of it is at hand.
    Events { key: Key, events: Vec<StoredEvent> },
    /// Some of its records lie before those that were read: all of them are in the overlay or the store.
    Stored { key: Key, partition: Partition, first: Order, count: u32 },
}

/// An append, and where its last record lies.
#[derive(Debug)]
pub struct Judged {
    pub last: Offset,
    pub partition: Partition,
    pub shown: Shown,
}

/// Why records could not be judged.
#[derive(Debug)]
pub enum Unjudged {
    /// The store said so.
    Store(StoreError),
    /// A foreign record below what is decided is no event: what was applied is not what the log holds.
    Missing { partition: Partition, offset: Offset },
}

/// A record of somebody's who is followed.
struct Known {
    record: Record,
    key: Key,
    marker: Option<Marker>,
}

impl Known {
    /// Whether it decides an append.
    fn decides(&self) -> bool {
        self.marker.is_none_or(|marker| marker.stamp.i() == marker.stamp.count())
    }
}

/// Judges records, which lie partition by partition in the order of their offsets, below what is decided there. Those of keys that do
/// not begin so are left out.
pub fn judge(context: &Context, records: Vec<Record>, prefix: &[u8]) -> Result<Vec<Judged>, Unjudged> {
    let known: Vec<Known> = records.into_iter().filter_map(|record| known(record, prefix)).collect();
    let mut sorted: Vec<usize> = (0..known.len()).collect();
    sorted.sort_by(|a, b| {
        let of = |at: &usize| (known[*at].record.partition, &known[*at].key, known[*at].record.offset);
        of(a).cmp(&of(b))
    });
    let is_one = |a: &usize, b: &usize| {
        let of = |at: &usize| (known[*at].record.partition, &known[*at].key);
        of(a) == of(b)
    };
    let groups: Vec<&[usize]> =
        sorted.chunk_by(is_one).filter(|group| group.iter().any(|at| known[*at].decides())).collect();
    let places = places(context, &known, &groups).map_err(Unjudged::Store)?;
    let mut judged: Vec<(usize, Judged)> = Vec::new();
    for (group, places) in groups.iter().zip(&places) {
        let is_last = |at: &usize| places[*at].append().end == Order(places[*at].order.0 + 1);
        let lasts = (0..places.len()).filter(is_last).collect();
        let group = Group { known: &known, members: group, places, lasts };
        for at in group.members.iter().filter(|at| known[**at].decides()) {
            judged.extend(group.judge(*at)?.map(|judged| (*at, judged)));
        }
    }
    // As they lie in the log.
    judged.sort_unstable_by_key(|(at, _)| *at);
    Ok(judged.into_iter().map(|(_, judged)| judged).collect())
}

fn known(record: Record, prefix: &[u8]) -> Option<Known> {
    let key = record.aggregate().filter(|key| key.as_ref().starts_with(prefix))?;
    let marker = match classify(&record) {
        RecordClass::Marked(marker) => Some(marker),
        RecordClass::Foreign | RecordClass::Forwarded => None,
        // Nothing below what is decided is of a newer format.
        RecordClass::Newer { .. } => return None,
    };
    Some(Known { record, key, marker })
}

/// For each group the appends of its key that lie from its first record to its last, in order and whole.
fn places(
    context: &Context,
    known: &[Known],
    groups: &[&[usize]],
) -> Result<Vec<Vec<EventOutline>>, StoreError> {
    let part = |group: &[usize]| {
        let first = &known[group[0]];
        OffsetPart {
            key: &first.key,
            partition: first.record.partition,
            from: first.record.offset,
            guess: first.marker.map(|marker| marker.order),
            events_max: group.len(),
        }
    };
    let mut asked: Vec<OffsetPart<'_>> = groups.iter().map(|group| part(group)).collect();
    let overlay =
        |part: &OffsetPart<'_>| context.overlay.outlines_from((part.key, part.partition), part.from);
    let applied: Vec<Vec<EventOutline>> = asked.iter().map(overlay).collect();
    let mut places: Vec<Vec<EventOutline>> = vec![Vec::new(); groups.len()];
    let mut open: Vec<usize> = (0..groups.len()).collect();
    while !open.is_empty() {
        let mut stored = Vec::with_capacity(asked.len());
        context.store.outlines_from(&asked, &mut stored)?;
        let mut cut = (Vec::new(), Vec::new());
        for ((at, part), stored) in open.iter().zip(&asked).zip(stored) {
            let end = known[*groups[*at].last().expect("a group has members")].record.offset;
            let is_full = stored.len() >= part.events_max;
            places[*at].extend(stored);
            // More than was counted on: the first append may have begun below, and the log may have lost to compaction what is an event.
            if let Some(last) = places[*at].last().filter(|last| is_full && last.offset < end) {
                let (from, guess) = (Offset(last.offset.0 + 1), last.order.plus(1));
                cut.0.push(*at);
                cut.1.push(OffsetPart { from, guess, ..*part });
            }
        }
        (open, asked) = cut;
    }
    for (places, applied) in places.iter_mut().zip(applied) {
        let next = places.last().map_or(Order::FIRST, |last| Order(last.order.0 + 1));
        places.extend(applied.into_iter().filter(|outline| outline.order >= next));
    }
    Ok(places)
}

/// The records of one key in one partition, and its events among them.
struct Group<'a> {
    known: &'a [Known],
    /// Rising by their offsets.
    members: &'a [usize],
    places: &'a [EventOutline],
    /// Of the places those of last events, which rise by their offsets.
    lasts: Vec<usize>,
}

impl Group<'_> {
    /// What comes of a record that decides an append.
    fn judge(&self, at: usize) -> Result<Option<Judged>, Unjudged> {
        let Known { record, key, marker } = &self.known[at];
        let (partition, last) = (record.partition, record.offset);
        let found = self.lasts.binary_search_by_key(&last, |at| self.places[*at].offset);
        let found = found.ok().map(|index| self.lasts[index]);
        let Some(marker) = marker else {
            let found = found.ok_or(Unjudged::Missing { partition, offset: last })?;
            let event = StoredEvent::of(record.clone(), self.places[found].order, None);
            let shown = Shown::Events { key: key.clone(), events: vec![event] };
            return Ok(Some(Judged { last, partition, shown }));
        };
        let Some(found) = found.filter(|found| self.places[*found].order == marker.order) else {
            return Ok(None);
        };
        let count = marker.stamp.count();
        let first = Order(marker.order.0 - u64::from(count - 1));
        let whole = (found + 1).checked_sub(count as usize).map(|start| start..found + 1);
        let shown = match whole.and_then(|range| self.events(range, *marker)) {
            Some(events) => Shown::Events { key: key.clone(), events },
            None => Shown::Stored { key: key.clone(), partition, first, count },
        };
        Ok(Some(Judged { last, partition, shown }))
    }

    /// The events at these places, if all their records are here.
    fn events(&self, places: Range<usize>, marker: Marker) -> Option<Vec<StoredEvent>> {
        let of = |(i, place): (u32, &EventOutline)| {
            let by_offset = |at: &usize| self.known[*at].record.offset;
            let at = self.members.binary_search_by_key(&place.offset, by_offset).ok()?;
            let record = self.known[self.members[at]].record.clone();
            Some(StoredEvent::of(record, place.order, Some(marker.stamp.of_member(i))))
        };
        (1..).zip(&self.places[places]).map(of).collect()
    }
}
