//! Promises 7 and 8: what reads were shown, against the final history, the positions they named, earlier reads and earlier
//! acknowledgements.

use crate::history::{
    AppendOutcome, Call, CallId, Event, Fresh, InstanceId, Operation, ReadCall, ReadOutcome, View,
};
use crate::index::Index;
use crate::views;
use crate::violation::Violation;
use bkes_core::{Key, Order, Partition, Position};
use bytes::Bytes;
use std::collections::HashMap;

/// Walks over every read, then over what each instance showed of each key, by time.
pub fn check(index: &Index<'_>, found: &mut Vec<Violation>) {
    let mut groups = Groups::default();
    for (id, call) in index.calls() {
        if let Operation::Read(read) = &call.operation {
            let shown = Shown { id, call, read, index };
            shown.check_page(found);
            if read.view == View::Now {
                shown.check_events(found);
            } else {
                views::check(index, (id, call, read), found);
            }
            shown.check_positions(found);
        }
        if !index.is_key_cut(&call.key) && !index.is_before_truncation(&call.key, call.begin) {
            groups.note(id, call, index);
        }
    }
    let before = found.len();
    for (group, seen) in groups.0 {
        seen.check(group.key, found);
    }
    // The groups come in no order; what is reported does.
    found[before..].sort_by_key(|violation| match violation {
        Violation::ReadWentBack { call, .. } | Violation::AcknowledgedNotShown { call, .. } => *call,
        _ => CallId(0),
    });
}

/// A read and what it is held against.
struct Shown<'a, 'h> {
    id: CallId,
    call: &'a Call,
    read: &'a ReadCall,
    index: &'a Index<'h>,
}

impl Shown<'_, '_> {
    fn check_page(&self, found: &mut Vec<Violation>) {
        let Shown { id, call, read, index } = *self;
        let ReadOutcome::Events { events, more } = &read.outcome else { return };
        let shown = events.len() as u64;
        let first = events.first().map(|event| event.order);
        let is_split = index.is_split(&call.key);
        let detail = if read.limit.is_some_and(|limit| shown > limit) {
            "it was shown more events than it asked for"
        } else if *more && events.is_empty() {
            "it was told of more events and shown none"
        } else if read.view == View::Now && !is_split && first.is_some_and(|first| first < read.from) {
            "it was shown events before those it asked for"
        } else {
            return;
        };
        found.push(Violation::ReadBadPage { call: id, key: call.key.clone(), detail });
    }

    /// The events shown are those of the final history, from the place asked for, in one piece.
    fn check_events(&self, found: &mut Vec<Violation>) {
        let Shown { id, call, read, index } = *self;
        let ReadOutcome::Events { events, more } = &read.outcome else { return };
        if index.is_key_cut(&call.key) {
            return;
        }
        let is_split = index.is_split(&call.key);
        let mut differs = |shown: &Event, expected: Option<&Event>| {
            let (key, shown, expected) = (call.key.clone(), shown.clone(), expected.cloned());
            found.push(Violation::ReadDiffers { call: id, key, shown, expected });
        };
        let mut expected_order = read.from;
        let mut next: HashMap<Partition, Order> = HashMap::new();
        for event in events {
            if index.is_excused(event.partition, event.offset, call.begin) {
                return;
            }
            // Of a split key, a page may begin anywhere in a partition: only then is the first order taken as it comes.
            let asked = match is_split {
                false => expected_order,
                true if read.from == Order::FIRST => {
                    next.get(&event.partition).copied().unwrap_or(Order::FIRST)
                }
                true => next.get(&event.partition).copied().unwrap_or(event.order),
            };
            let line = index.line(&call.key, event.partition);
            let there = line.and_then(|line| line.at(asked));
            if there != Some(event) {
                return differs(event, there);
            }
            expected_order = asked.plus(1).unwrap_or(asked);
            next.insert(event.partition, expected_order);
        }
        let held: usize = index
            .partitions(&call.key)
            .filter_map(|p| index.line(&call.key, p))
            .map(|l| l.events.len())
            .sum();
        if *more
            && read.from.0 + events.len() as u64 >= held as u64
            && !index.is_before_truncation(&call.key, call.begin)
        {
            let detail = "it was told of more events than there are";
            found.push(Violation::ReadBadPage { call: id, key: call.key.clone(), detail });
        }
    }
}

impl Shown<'_, '_> {
    /// Everything below the positions is shown that the key has there.
    fn check_positions(&self, found: &mut Vec<Violation>) {
        let Shown { id, call, read, index } = *self;
        if let (View::AsOfOffset(partition, offset), ReadOutcome::OutOfRange) = (read.view, &read.outcome) {
            return self.check_denial(&[(partition, offset.next())], found);
        }
        let Fresh::AtLeast(positions) = &read.fresh else { return };
        if read.outcome == ReadOutcome::OutOfRange {
            return self.check_denial(positions, found);
        }
        for position in positions {
            if let Some((position, event)) = missing_below(index, (call, read), [*position]) {
                let (key, event) = (call.key.clone(), event.clone());
                found.push(Violation::PositionNotShown { call: id, key, position, event });
            }
        }
    }

    fn check_denial(&self, positions: &[(Partition, Position)], found: &mut Vec<Violation>) {
        if !may_lie_above(self.index, positions) {
            found.push(Violation::PositionDenied { call: self.id, positions: positions.to_vec() });
        }
    }
}

/// Whether one of these positions may lie above the end of the log: it ends below what somebody was told only if it lost its end.
pub fn may_lie_above(index: &Index<'_>, positions: &[(Partition, Position)]) -> bool {
    positions.iter().any(|(partition, position)| {
        let mut lost = index.history.excuses.truncations.iter();
        lost.any(|lost| lost.partition == *partition && lost.from < position.offset())
    })
}

/// An event that lies below one of these positions and that a read of the whole aggregate did not show.
pub fn missing_below<'h>(
    index: &Index<'h>,
    (call, read): (&Call, &ReadCall),
    positions: impl IntoIterator<Item = (Partition, Position)>,
) -> Option<((Partition, Position), &'h Event)> {
    let shown = match &read.outcome {
        ReadOutcome::Events { events, more: false } => events.as_slice(),
        ReadOutcome::NoSuchAggregate => &[],
        _ => return None,
    };
    if read.from != Order::FIRST || read.view != View::Now {
        return None;
    }
    if index.is_key_cut(&call.key) || index.is_before_truncation(&call.key, call.begin) {
        return None;
    }
    let is_shown = |event: &Event| {
        shown.iter().any(|other| other.partition == event.partition && other.order == event.order)
    };
    positions.into_iter().find_map(|(partition, position)| {
        let line = index.line(&call.key, partition)?;
        let mut below = line.events.iter().copied().filter(|event| is_below(index, event, position));
        let missing =
            below.find(|event| !is_shown(event) && !index.is_excused(partition, event.offset, call.begin))?;
        Some(((partition, position), missing))
    })
}

/// Whether an event lies below a position, with all of its append.
fn is_below(index: &Index<'_>, event: &Event, position: Position) -> bool {
    let is_there = |value: &Bytes| {
        let mut places = index.places(value).iter();
        places.all(|place| place.event.partition != event.partition || place.event.offset < position.offset())
    };
    let append = index.writer(&event.value);
    event.offset < position.offset() && append.is_none_or(|append| append.values().iter().all(is_there))
}

/// What an instance showed of a key; of a split key also of each partition by itself.
#[derive(PartialEq, Eq, Hash)]
struct Group<'h> {
    instance: InstanceId,
    key: &'h Key,
    partition: Option<Partition>,
}

#[derive(Default)]
struct Seen {
    /// When a read or an acknowledgement was there, how many events it proves, and which it was.
    proofs: Vec<Proof>,
    /// When a read began, how many events it showed the key to have, and which it was. Not of reads that end before the end.
    shows: Vec<(u64, u64, CallId)>,
}

struct Proof {
    end: u64,
    events: u64,
    call: CallId,
    acknowledged: Option<Order>,
}

/// What every instance showed of every key.
#[derive(Default)]
struct Groups<'h>(HashMap<Group<'h>, Seen>);

impl<'h> Groups<'h> {
    fn of(&mut self, call: &'h Call, partition: Option<Partition>) -> &mut Seen {
        self.0.entry(Group { instance: call.instance, key: &call.key, partition }).or_default()
    }

    fn note(&mut self, id: CallId, call: &'h Call, index: &Index<'h>) {
        let Some(end) = call.end else { return };
        match &call.operation {
            Operation::Append(append) => {
                let AppendOutcome::Acknowledged { partition, first, .. } = append.outcome else { return };
                let events = first.0.saturating_add(append.values.len() as u64);
                let acknowledged = Some(Order(events.saturating_sub(1)));
                self.of(call, None).proofs.push(Proof { end, events, call: id, acknowledged });
                if index.is_split(&call.key) {
                    self.of(call, Some(partition)).proofs.push(Proof { end, events, call: id, acknowledged });
                }
            }
            Operation::Read(read) => self.note_read((id, call, read), end, index),
        }
    }

    fn note_read(&mut self, (id, call, read): (CallId, &'h Call, &'h ReadCall), end: u64, index: &Index<'h>) {
        let (shown, more) = match &read.outcome {
            ReadOutcome::Events { events, more } => (events.as_slice(), *more),
            ReadOutcome::NoSuchAggregate => (&[][..], false),
            ReadOutcome::OutOfRange | ReadOutcome::Unavailable | ReadOutcome::Unanswered => return,
        };
        if let Some(events) = read.proves(shown) {
            self.of(call, None).proofs.push(Proof { end, events, call: id, acknowledged: None });
        }
        let shows = match (&read.outcome, read.view) {
            // As of a time it shows what there is, if that is not all that there will ever be.
            (_, View::AsOfTime(_)) => {
                let shows = shown.len() as u64;
                views::most(index, call, read).filter(|most| shows < *most && !more).map(|_| shows)
            }
            (ReadOutcome::NoSuchAggregate, view) => view.is_now().then_some(0),
            _ => read.denies(shown, more),
        };
        if let Some(events) = shows {
            self.of(call, None).shows.push((call.begin, events, id));
        }
        if shows.is_some() && read.view == View::Now && read.from == Order::FIRST && index.is_split(&call.key)
        {
            for partition in index.partitions(&call.key) {
                let events = shown.iter().filter(|event| event.partition == partition).count() as u64;
                let seen = self.of(call, Some(partition));
                seen.proofs.push(Proof { end, events, call: id, acknowledged: None });
                seen.shows.push((call.begin, events, id));
            }
        }
    }
}

impl Seen {
    /// No read shows less than what was proved before it began.
    fn check(mut self, key: &Key, found: &mut Vec<Violation>) {
        self.proofs.sort_by_key(|proof| (proof.end, proof.call));
        self.shows.sort();
        let mut proofs = self.proofs.iter().peekable();
        let (mut read, mut acknowledged) = ((0, CallId(0)), (0, CallId(0), Order::FIRST));
        for (begin, shown, call) in self.shows {
            while let Some(proof) = proofs.next_if(|proof| proof.end < begin) {
                match proof.acknowledged {
                    None if proof.events > read.0 => read = (proof.events, proof.call),
                    Some(order) if proof.events > acknowledged.0 => {
                        acknowledged = (proof.events, proof.call, order);
                    }
                    _ => {}
                }
            }
            if shown < read.0 {
                let (earlier_shown, earlier) = read;
                let key = key.clone();
                found.push(Violation::ReadWentBack { call, key, shown, earlier, earlier_shown });
            }
            if shown < acknowledged.0 {
                let (_, append, order) = acknowledged;
                let key = key.clone();
                found.push(Violation::AcknowledgedNotShown { call, key, shown, append, order });
            }
        }
    }
}
