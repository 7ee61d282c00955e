//! Promise 11: what followers were shown, against the final history.
//!
//! What is to be shown of a partition is one sequence: its events in the order they were decided, which is that of the last offsets of
//! their appends. A position divides it in two. So each stream is held against the sequence by itself, from where it was to begin: it
//! shows the next event, and no other, those of an append together, and each position that it tells divides what was shown from what was not. A follower that goes on at
//! positions it was told has then seen everything once, however often it was killed.

use crate::history::{AppendOutcome, CallId, Event, InstanceId, Operation};
use crate::history::{FollowStream, Followed, FollowedFrom, FollowedItem};
use crate::index::Index;
use crate::violation::{StreamOf, Violation};
use bkes_core::{Key, Offset, Partition, Position};
use std::collections::{BTreeMap, HashMap};

/// Walks over every stream of every follower.
pub fn check(index: &Index<'_>, found: &mut Vec<Violation>) {
    if index.history.follows.is_empty() {
        return;
    }
    let decided = decided(index);
    let told = told(index);
    for follower in &index.history.follows {
        let sequences = sequences(&decided, &follower.followed);
        for (number, stream) in follower.streams.iter().enumerate() {
            let of = StreamOf { client: follower.client, number };
            let shown = Shown { index, stream, of, sequences: &sequences, told: &told };
            shown.check(found);
        }
    }
}

/// An event, and where its append lies.
#[derive(Clone, Copy)]
struct Decided<'h> {
    key: &'h Key,
    event: &'h Event,
    lies_at: Offset,
}

type Sequences<'h> = BTreeMap<Partition, Vec<Decided<'h>>>;

/// Every event of the final history, in the order of decision.
fn decided<'h>(index: &Index<'h>) -> Sequences<'h> {
    let mut decided: Sequences<'h> = BTreeMap::new();
    for (key, events) in index.reference.into_iter().flat_map(|content| &content.keys) {
        for event in events {
            let lies_at = lies_at(index, key, event);
            decided.entry(event.partition).or_default().push(Decided { key, event, lies_at });
        }
    }
    for sequence in decided.values_mut() {
        sequence.sort_by_key(|one| (one.lies_at, one.event.offset));
    }
    decided
}

/// The last offset of an event's append.
pub fn lies_at(index: &Index<'_>, key: &Key, event: &Event) -> Offset {
    let append = index.writer(&event.value).filter(|append| append.key == key);
    let last = append.and_then(|append| append.values().last());
    let mut places = last.into_iter().flat_map(|last| index.places(last));
    let place = places.find(|place| place.key == key && place.event.partition == event.partition);
    place.map_or(event.offset, |place| place.event.offset.max(event.offset))
}

fn sequences<'h>(decided: &Sequences<'h>, followed: &Followed) -> Sequences<'h> {
    let of = |(partition, all): (&Partition, &Vec<Decided<'h>>)| {
        let followed = all.iter().filter(|one| followed.has(one.key, *partition)).copied();
        (*partition, followed.collect())
    };
    decided.iter().map(of).collect()
}

/// A success: where it was told to lie, and when.
struct Told {
    call: CallId,
    instance: InstanceId,
    begin: u64,
    end: u64,
    offset: Offset,
}

/// Every success, by partition.
fn told(index: &Index<'_>) -> HashMap<Partition, Vec<Told>> {
    let mut all: HashMap<Partition, Vec<Told>> = HashMap::new();
    for (id, call) in index.calls() {
        let Operation::Append(append) = &call.operation else { continue };
        let AppendOutcome::Acknowledged { partition, offset, .. } = append.outcome else { continue };
        let Some(end) = call.end else { continue };
        let told = Told { call: id, instance: call.instance, begin: call.begin, end, offset };
        all.entry(partition).or_default().push(told);
    }
    all
}

struct Shown<'a, 'h> {
    index: &'a Index<'h>,
    stream: &'h FollowStream,
    of: StreamOf,
    sequences: &'a Sequences<'h>,
    told: &'a HashMap<Partition, Vec<Told>>,
}

/// How far a stream has come in a partition: the place in its sequence of what comes next; `None` while that is not known.
struct Next {
    at: Option<usize>,
    /// It is not judged any more: what is shown is explained by a fault, or was found wrong already.
    is_void: bool,
}

impl<'h> Shown<'_, 'h> {
    fn check(&self, found: &mut Vec<Violation>) {
        if self.stream.is_out_of_range {
            self.denied(found);
        }
        let mut next: BTreeMap<Partition, Next> = BTreeMap::new();
        let mut is_caught_up = false;
        for item in &self.stream.items {
            match item {
                FollowedItem::Events(events) => {
                    for (key, event) in events {
                        let next = next.entry(event.partition).or_insert_with(|| self.begin(event.partition));
                        self.event(next, (key, event), found);
                    }
                    for (partition, next) in &next {
                        self.whole(next, *partition, found);
                    }
                }
                FollowedItem::Positions(positions) => {
                    for (partition, position) in positions {
                        let next = next.entry(*partition).or_insert_with(|| self.begin(*partition));
                        self.position(next, (*partition, *position), found);
                    }
                }
                FollowedItem::CaughtUp if !std::mem::replace(&mut is_caught_up, true) => {
                    for partition in self.sequences.keys() {
                        let next = next.entry(*partition).or_insert_with(|| self.begin(*partition));
                        self.caught_up(next, *partition, found);
                    }
                }
                FollowedItem::CaughtUp | FollowedItem::FellBehind => {}
            }
        }
    }

    /// A log has what a follower was told of it, unless it lost its end or its head.
    fn denied(&self, found: &mut Vec<Violation>) {
        let FollowedFrom::Positions(positions) = &self.stream.from else { return };
        let excuses = &self.index.history.excuses;
        let is_lost = |partition: Partition, position: Position| {
            let mut ends = excuses.truncations.iter();
            ends.any(|lost| lost.partition == partition && lost.from < position.offset())
                || self.index.is_removed(partition, position.offset())
        };
        // A partition that is not named is followed from its beginning, which may be removed before it is shown.
        let mut cuts = excuses.cuts.iter();
        let may_pass = cuts.any(|(cut, _)| positions.iter().all(|(partition, _)| partition != cut));
        if !may_pass && !positions.iter().any(|(partition, position)| is_lost(*partition, *position)) {
            found.push(Violation::FollowDenied { stream: self.of, positions: positions.clone() });
        }
    }

    fn sequence(&self, partition: Partition) -> &[Decided<'h>] {
        self.sequences.get(&partition).map_or(&[], Vec::as_slice)
    }

    /// The place of the first event that lies at a position or above.
    fn place(&self, partition: Partition, position: Position) -> usize {
        self.sequence(partition).partition_point(|one| one.lies_at < position.offset())
    }

    fn begin(&self, partition: Partition) -> Next {
        let is_void = self.index.is_cut(partition)
            || self.index.is_excused(partition, Offset(u64::MAX), self.stream.begin);
        let at = match &self.stream.from {
            FollowedFrom::Now => None,
            FollowedFrom::Positions(positions) => {
                let named = positions.iter().find(|(of, _)| *of == partition);
                Some(named.map_or(0, |(_, position)| self.place(partition, *position)))
            }
        };
        Next { at, is_void }
    }

    /// The event is the next one.
    fn event(&self, next: &mut Next, (key, event): (&'h Key, &'h Event), found: &mut Vec<Violation>) {
        if next.is_void {
            return;
        }
        let sequence = self.sequence(event.partition);
        let is_it = |one: &Decided<'_>| one.key == key && one.event == event;
        let at = next.at.or_else(|| {
            let place = sequence.iter().position(is_it)?;
            self.begins_now(event.partition, place, found);
            Some(place)
        });
        let expected = at.and_then(|at| sequence.get(at));
        if expected.is_some_and(is_it) {
            next.at = at.map(|at| at + 1);
            return;
        }
        next.is_void = true;
        let expected = expected.map(|one| (one.key.clone(), one.event.clone()));
        let shown = (key.clone(), event.clone());
        found.push(Violation::FollowedAnother { stream: self.of, shown: Box::new(shown), expected });
    }

    /// What is shown together ends with the end of an append.
    fn whole(&self, next: &Next, partition: Partition, found: &mut Vec<Violation>) {
        let Some(at) = next.at.filter(|at| *at > 0 && !next.is_void) else { return };
        let sequence = self.sequence(partition);
        let (last, rest) = (sequence[at - 1], sequence.get(at));
        if let Some(rest) = rest.filter(|rest| (rest.key, rest.lies_at) == (last.key, last.lies_at)) {
            let of = |one: &Decided<'_>| Box::new((one.key.clone(), one.event.clone()));
            found.push(Violation::FollowedTorn { stream: self.of, shown: of(&last), rest: of(rest) });
        }
    }

    /// What begins now leaves out all that somebody was told before, and nothing of what was begun after it was open.
    fn begins_now(&self, partition: Partition, place: usize, found: &mut Vec<Violation>) {
        let sequence = self.sequence(partition);
        let told = || self.told.get(&partition).into_iter().flatten();
        let first = sequence.get(place).map(|one| one.lies_at);
        let before =
            told().find(|told| told.end < self.stream.begin && first.is_some_and(|at| told.offset >= at));
        if let (Some(told), Some(one)) = (before, sequence.get(place)) {
            let shown = Box::new((one.key.clone(), one.event.clone()));
            found.push(Violation::FollowedBefore { stream: self.of, shown, append: told.call });
        }
        let Some(opened) = self.stream.opened else { return };
        let is_left_out = |one: &&Decided<'_>| {
            told().any(|told| told.begin > opened && told.offset == one.lies_at)
                && !self.was_tried_before(one, opened)
        };
        if let Some(one) = sequence[..place].iter().find(is_left_out) {
            let position = (partition, first.map_or(Position::START, |first| Position(first.0)));
            self.missing(one, position, found);
        }
    }

    /// Whether it may have been stored before: a later try of its append is told where it lies.
    fn was_tried_before(&self, one: &Decided<'_>, opened: u64) -> bool {
        let append = self.index.writer(&one.event.value);
        append.is_some_and(|append| append.tries.iter().any(|tried| tried.call.begin <= opened))
    }

    /// What lies below the position is shown, and nothing else.
    fn position(
        &self,
        next: &mut Next,
        (partition, position): (Partition, Position),
        found: &mut Vec<Violation>,
    ) {
        if next.is_void {
            return;
        }
        let place = self.place(partition, position);
        let Some(at) = next.at else {
            self.begins_now(partition, place, found);
            next.at = Some(place);
            return;
        };
        let sequence = self.sequence(partition);
        if at < place {
            next.is_void = true;
            self.missing(&sequence[at], (partition, position), found);
        } else if at > place {
            next.is_void = true;
            let one = sequence[at - 1];
            let event = Box::new((one.key.clone(), one.event.clone()));
            found.push(Violation::FollowedAhead { stream: self.of, position: (partition, position), event });
        }
    }

    /// What was told by its instance before it began is shown.
    fn caught_up(&self, next: &mut Next, partition: Partition, found: &mut Vec<Violation>) {
        let Some(at) = next.at.filter(|_| !next.is_void) else { return };
        let told = self.told.get(&partition).into_iter().flatten();
        let before =
            told.filter(|told| told.end < self.stream.begin && told.instance == self.stream.instance);
        let Some(last) = before.map(|told| told.offset).max() else { return };
        let missing = self.sequence(partition).get(at).filter(|one| one.lies_at <= last);
        if let Some(one) = missing {
            next.is_void = true;
            self.missing(one, (partition, Position(last.0 + 1)), found);
        }
    }

    fn missing(&self, one: &Decided<'_>, position: (Partition, Position), found: &mut Vec<Violation>) {
        let event = Box::new((one.key.clone(), one.event.clone()));
        found.push(Violation::FollowedMissing { stream: self.of, position, event });
    }
}
