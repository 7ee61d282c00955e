//! The history, made ready for looking things up: every check is then a walk over calls or events.

use crate::history::{
    AppendCall, AppendOutcome, Call, CallId, Content, ContentOf, Event, History, LogRecord, Operation,
    Premise,
};
use crate::violation::Violation;
use bkes_core::{Key, Offset, Order, Partition};
use bytes::Bytes;
use std::collections::{HashMap, HashSet};

/// One key's events in one partition, in the final history.
pub struct Line<'h> {
    /// The events, in the order of the content.
    pub events: Vec<&'h Event>,
    /// What one has seen who has seen the events before each place; one longer than `events`.
    premises: Vec<Premise>,
    gapless: bool,
}

impl<'h> Line<'h> {
    /// The event at an order.
    pub fn at(&self, order: Order) -> Option<&'h Event> {
        let event = self.events.get(self.place(order)?).copied();
        event.filter(|event| event.order == order)
    }

    /// What one has seen who has seen exactly the events before `order`.
    pub fn premise(&self, order: Order) -> Option<Premise> {
        self.premises.get(self.place(order)?).copied()
    }

    /// How many events lie before `order`. Gaps are reported by themselves; what is behind one is still found, slowly.
    fn place(&self, order: Order) -> Option<usize> {
        let base = self.events.first().map_or(order, |event| event.order);
        if self.gapless {
            return usize::try_from(order.0.checked_sub(base.0)?).ok();
        }
        let before = self.events.iter().position(|event| event.order >= order);
        Some(before.unwrap_or(self.events.len()))
    }
}

/// Where a value is stored.
pub struct Place<'h> {
    pub key: &'h Key,
    pub event: &'h Event,
}

/// A call that tries to append.
#[derive(Clone, Copy)]
pub struct Try<'h> {
    pub id: CallId,
    pub call: &'h Call,
    pub append: &'h AppendCall,
}

/// An append and its tries, in the order of the calls: one, if it has no id.
pub struct Append<'h> {
    pub key: &'h Key,
    pub tries: Vec<Try<'h>>,
}

impl<'h> Append<'h> {
    /// Its first try, which says what all have in common.
    pub fn first(&self) -> Try<'h> {
        self.tries[0]
    }

    /// Its values.
    pub fn values(&self) -> &'h [Bytes] {
        &self.first().append.values
    }

    /// Its id.
    pub fn id(&self) -> Option<&'h Bytes> {
        self.first().append.identity.as_ref().map(|identity| &identity.id)
    }
}

/// The index.
pub struct Index<'h> {
    pub history: &'h History,
    /// The content that calls are compared with.
    pub reference: Option<&'h Content>,
    lines: HashMap<&'h Key, Vec<(Partition, Line<'h>)>>,
    placed: HashMap<&'h Bytes, Vec<Place<'h>>>,
    log: HashMap<(Partition, Offset), &'h LogRecord>,
    /// Every append, with all its tries.
    pub appends: Vec<Append<'h>>,
    /// Which of them wrote a value.
    written: HashMap<&'h Bytes, usize>,
    cuts: HashMap<Partition, Offset>,
    /// Keys with an event that was acknowledged or shown and that a truncation took.
    deceived: HashSet<&'h Key>,
}

impl<'h> Index<'h> {
    /// Builds it; what makes a history unfit is reported.
    pub fn new(history: &'h History, found: &mut Vec<Violation>) -> Index<'h> {
        let rebuilt = history.contents.iter().find(|content| content.of == ContentOf::Rebuilt);
        let reference = rebuilt.or(history.contents.first());
        if reference.is_none() {
            found.push(Violation::NoContent);
        }
        let mut index = Index {
            history,
            reference,
            lines: HashMap::new(),
            placed: HashMap::new(),
            log: history.log.iter().map(|record| ((record.partition, record.offset), record)).collect(),
            appends: Vec::new(),
            written: HashMap::new(),
            cuts: history.excuses.cuts.iter().copied().collect(),
            deceived: HashSet::new(),
        };
        for (key, events) in reference.into_iter().flat_map(|content| &content.keys) {
            index.lines.insert(key, lines(events));
            for event in events {
                index.placed.entry(&event.value).or_default().push(Place { key, event });
            }
        }
        index.appends = appends(history, found);
        for (number, append) in index.appends.iter().enumerate() {
            for value in append.values() {
                if let Some(one) = index.written.insert(value, number) {
                    let (one, other) = (index.appends[one].first().id, append.first().id);
                    found.push(Violation::ValueNotUnique { value: value.clone(), one, other });
                }
            }
        }
        if !history.excuses.truncations.is_empty() {
            index.deceived = index.find_deceived();
        }
        index
    }

    /// Every call, with its number.
    pub fn calls(&self) -> impl Iterator<Item = (CallId, &'h Call)> + use<'h> {
        self.history.calls.iter().enumerate().map(|(number, call)| (CallId(number), call))
    }

    /// A key's events in a partition.
    pub fn line(&self, key: &Key, partition: Partition) -> Option<&Line<'h>> {
        let lines = self.lines.get(key)?;
        lines.iter().find(|(number, _)| *number == partition).map(|(_, line)| line)
    }

    /// The partitions in which a key has events.
    pub fn partitions(&self, key: &Key) -> impl Iterator<Item = Partition> + '_ {
        self.lines.get(key).into_iter().flatten().map(|(partition, _)| *partition)
    }

    /// Whether a key has events in several partitions.
    pub fn is_split(&self, key: &Key) -> bool {
        self.lines.get(key).is_some_and(|lines| lines.len() > 1)
    }

    /// The places where a value is an event.
    pub fn places(&self, value: &Bytes) -> &[Place<'h>] {
        self.placed.get(value).map_or(&[], Vec::as_slice)
    }

    /// The append that wrote a value.
    pub fn writer(&self, value: &Bytes) -> Option<&Append<'h>> {
        self.written.get(value).map(|number| &self.appends[*number])
    }

    /// The log's record at a place.
    pub fn record(&self, partition: Partition, offset: Offset) -> Option<&'h LogRecord> {
        self.log.get(&(partition, offset)).copied()
    }

    /// Whether the head of a partition was removed.
    pub fn is_cut(&self, partition: Partition) -> bool {
        self.cuts.contains_key(&partition)
    }

    /// Whether a place lies below what was removed from its partition's head.
    pub fn is_removed(&self, partition: Partition, offset: Offset) -> bool {
        self.cuts.get(&partition).is_some_and(|start| offset < *start)
    }

    /// Whether a key lies, as far as can be told, in a partition whose head was removed.
    pub fn is_key_cut(&self, key: &Key) -> bool {
        !self.cuts.is_empty() && self.partitions(key).any(|partition| self.is_cut(partition))
    }

    /// Whether all events that a key had may have been removed.
    pub fn may_be_removed(&self, key: &Key) -> bool {
        !self.cuts.is_empty() && !self.lines.contains_key(key)
    }

    /// Whether a truncation explains that what a call knew of this place is no longer so.
    pub fn is_excused(&self, partition: Partition, offset: Offset, begin: u64) -> bool {
        let truncations = &self.history.excuses.truncations;
        truncations
            .iter()
            .any(|lost| lost.partition == partition && offset >= lost.from && begin <= lost.until)
    }

    /// Whether a call may have been told of what a truncation took.
    pub fn is_before_a_truncation(&self, begin: u64) -> bool {
        self.history.excuses.truncations.iter().any(|lost| begin <= lost.until)
    }

    /// Whether a truncation took events of this key that someone knew.
    pub fn is_deceived(&self, key: &Key) -> bool {
        self.deceived.contains(key)
    }

    /// Whether a call about a key came too early to be held against a truncation that took events of the key.
    pub fn is_before_truncation(&self, key: &Key, begin: u64) -> bool {
        self.is_deceived(key) && self.is_before_a_truncation(begin)
    }

    /// Whether a value may have been lost from a place and stored there again by a later try.
    fn may_be_back(&self, value: &Bytes, (partition, offset): (Partition, Offset)) -> bool {
        let Some(append) = self.writer(value).filter(|append| append.id().is_some()) else { return false };
        let tries = || append.tries.iter().map(|tried| tried.call);
        let mut truncations = self.history.excuses.truncations.iter();
        truncations.any(|lost| {
            let is_lost = lost.partition == partition && offset >= lost.from;
            is_lost
                && tries().any(|call| call.begin <= lost.at)
                && tries().any(|call| call.end.is_none_or(|end| end >= lost.at))
        })
    }

    fn find_deceived(&self) -> HashSet<&'h Key> {
        let mut deceived = HashSet::new();
        let is_there = |key: &Key, (partition, offset): (Partition, Offset), order, value: &Bytes| {
            let mut places = self.places(value).iter();
            places.any(|place| {
                let Event { partition: there, offset: at, order: of, .. } = *place.event;
                place.key == key && (there, at, of) == (partition, offset, order)
            }) && !self.may_be_back(value, (partition, offset))
        };
        for (_, call) in self.calls() {
            let is_lost = match &call.operation {
                Operation::Append(AppendCall { values, outcome, .. }) => match outcome {
                    AppendOutcome::Acknowledged { partition, offset, first } => {
                        let (last, place) = (values.last(), (*partition, *offset));
                        let order = Order(first.0.saturating_add((values.len() as u64).saturating_sub(1)));
                        self.is_excused(*partition, *offset, call.begin)
                            && last.is_some_and(|value| !is_there(&call.key, place, order, value))
                    }
                    _ => false,
                },
                Operation::Read(read) => shown(&read.outcome).iter().any(|event| {
                    self.is_excused(event.partition, event.offset, call.begin)
                        && !is_there(&call.key, (event.partition, event.offset), event.order, &event.value)
                }),
            };
            if is_lost {
                deceived.insert(&call.key);
            }
        }
        deceived
    }
}

/// Every append with its tries. What makes them unfit is reported.
fn appends<'h>(history: &'h History, found: &mut Vec<Violation>) -> Vec<Append<'h>> {
    let mut appends: Vec<Append<'h>> = Vec::new();
    let mut begun: HashMap<(&Key, &Bytes, &[Bytes]), usize> = HashMap::new();
    for (number, call) in history.calls.iter().enumerate() {
        let Operation::Append(append) = &call.operation else { continue };
        let new = Try { id: CallId(number), call, append };
        // What has no events is refused, and has nothing to be known by.
        let named = append.identity.as_ref().filter(|_| !append.values.is_empty());
        let earlier = named.and_then(|identity| {
            let number = begun.entry((&call.key, &identity.id, &append.values)).or_insert(appends.len());
            appends.get_mut(*number)
        });
        match earlier {
            None => appends.push(Append { key: &call.key, tries: vec![new] }),
            Some(earlier) => {
                let first = earlier.first().append;
                if (first.expected, first.premise) != (append.expected, append.premise) {
                    found.push(Violation::TriesDiffer { one: earlier.first().id, other: new.id });
                }
                earlier.tries.push(new);
            }
        }
    }
    appends
}

/// The events of a read's answer.
pub fn shown(outcome: &crate::history::ReadOutcome) -> &[Event] {
    match outcome {
        crate::history::ReadOutcome::Events { events, .. } => events,
        _ => &[],
    }
}

fn lines(events: &[Event]) -> Vec<(Partition, Line<'_>)> {
    let mut lines: Vec<(Partition, Line<'_>)> = Vec::new();
    for event in events {
        let found = lines.iter().position(|(partition, _)| *partition == event.partition);
        let place = found.unwrap_or_else(|| {
            let premises = vec![Premise::NOTHING];
            lines.push((event.partition, Line { events: Vec::new(), premises, gapless: true }));
            lines.len() - 1
        });
        let line = &mut lines[place].1;
        line.gapless &= line.events.last().is_none_or(|last| last.order.plus(1) == Some(event.order));
        let before = line.premises.last().copied().unwrap_or_default();
        line.premises.push(before.and(&event.value));
        line.events.push(event);
    }
    lines
}
