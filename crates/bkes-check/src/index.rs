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

/// The index.
pub struct Index<'h> {
    pub history: &'h History,
    /// The content that calls are compared with.
    pub reference: Option<&'h Content>,
    lines: HashMap<&'h Key, Vec<(Partition, Line<'h>)>>,
    placed: HashMap<&'h Bytes, Vec<Place<'h>>>,
    log: HashMap<(Partition, Offset), &'h LogRecord>,
    written: HashMap<&'h Bytes, CallId>,
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
        for (id, _, append) in index.appends() {
            for value in &append.values {
                if let Some(one) = index.written.insert(value, id) {
                    found.push(Violation::ValueNotUnique { value: value.clone(), one, other: id });
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

    /// Every append.
    pub fn appends(&self) -> impl Iterator<Item = (CallId, &'h Call, &'h AppendCall)> + use<'h> {
        self.calls().filter_map(|(id, call)| match &call.operation {
            Operation::Append(append) => Some((id, call, append)),
            Operation::Read(_) => None,
        })
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
    pub fn writer(&self, value: &Bytes) -> Option<CallId> {
        self.written.get(value).copied()
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

    /// Whether a truncation explains that what a call knew of this place is no longer so.
    pub fn is_excused(&self, partition: Partition, offset: Offset, begin: u64) -> bool {
        let truncations = &self.history.excuses.truncations;
        truncations
            .iter()
            .any(|lost| lost.partition == partition && offset >= lost.from && begin <= lost.until)
    }

    /// Whether a truncation took events of this key that someone knew.
    pub fn is_deceived(&self, key: &Key) -> bool {
        self.deceived.contains(key)
    }

    /// Whether a call about a key came too early to be held against a truncation that took events of the key.
    pub fn is_before_truncation(&self, key: &Key, begin: u64) -> bool {
        self.is_deceived(key) && self.history.excuses.truncations.iter().any(|lost| begin <= lost.until)
    }

    fn find_deceived(&self) -> HashSet<&'h Key> {
        let mut deceived = HashSet::new();
        let is_there = |key: &Key, partition, offset, value: &Bytes| {
            let mut places = self.places(value).iter();
            places.any(|place| {
                place.key == key && (place.event.partition, place.event.offset) == (partition, offset)
            })
        };
        for (_, call) in self.calls() {
            let is_lost = match &call.operation {
                Operation::Append(AppendCall { values, outcome, .. }) => match outcome {
                    AppendOutcome::Acknowledged { partition, offset, .. } => {
                        let last = values.last();
                        self.is_excused(*partition, *offset, call.begin)
                            && last.is_some_and(|value| !is_there(&call.key, *partition, *offset, value))
                    }
                    _ => false,
                },
                Operation::Read(read) => shown(&read.outcome).iter().any(|event| {
                    self.is_excused(event.partition, event.offset, call.begin)
                        && !is_there(&call.key, event.partition, event.offset, &event.value)
                }),
            };
            if is_lost {
                deceived.insert(&call.key);
            }
        }
        deceived
    }
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
