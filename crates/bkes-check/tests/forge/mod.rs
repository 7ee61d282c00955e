//! A store that is right by construction: one vector per partition. It writes histories for the tests to break.

use bkes_check::{
    AppendCall, AppendOutcome, Call, CallId, ClientId, Content, ContentOf, Event, Expecting, Fresh, History,
    InstanceId, LogRecord, Operation, Premise, ReadCall, ReadOutcome, TryOf, View,
};
use bkes_core::{Key, Offset, Order, Partition};
use bytes::Bytes;
use std::collections::BTreeMap;

pub fn key(name: &str) -> Key {
    Key::new(name.to_owned()).expect("a key has a name")
}

pub fn bytes(text: &str) -> Bytes {
    Bytes::from(text.to_owned())
}

/// The store, and the history it leaves. Each call takes two units of time and none overlap.
#[derive(Default)]
pub struct Forge {
    pub history: History,
    events: BTreeMap<Key, Vec<Event>>,
    premises: BTreeMap<Key, Premise>,
    next: [u64; 3],
    time: u64,
}

/// A try of an append with an id, which rests on the first `seen` events.
#[derive(Clone, Copy)]
pub struct Tried<'a> {
    pub instance: u32,
    pub name: &'a str,
    pub id: &'a str,
    pub expected: Expecting,
    pub seen: usize,
    pub values: &'a [&'a str],
}

impl Forge {
    fn record(&mut self, partition: u32, key: &Key, value: Option<&str>, foreign: bool) -> Event {
        // Offsets have gaps.
        let offset = self.next[partition as usize] + 1;
        self.next[partition as usize] = offset + 1;
        let (partition, offset) = (Partition(partition), Offset(offset));
        let events = self.events.entry(key.clone()).or_default();
        // A split key is read partition by partition, lowest first.
        let first = events.partition_point(|event| event.partition < partition);
        let place = events.partition_point(|event| event.partition <= partition);
        let event = Event {
            order: Order((place - first) as u64),
            partition,
            offset,
            timestamp_ms: Some(1_000 + offset.0 as i64),
            value: bytes(value.unwrap_or_default()),
            tombstone: value.is_none(),
        };
        events.insert(place, event.clone());
        if events.first().is_some_and(|first| first.partition == partition) {
            let premise = self.premises.entry(key.clone()).or_default();
            *premise = premise.and(&event.value);
        }
        self.history.log.push(LogRecord {
            partition,
            offset,
            timestamp_ms: event.timestamp_ms,
            key: Some(key.clone()),
            value: value.map(bytes),
            foreign,
        });
        event
    }

    /// Someone writes a record who knows nothing of BKES.
    pub fn foreign(&mut self, partition: u32, name: &str, value: Option<&str>) {
        self.record(partition, &key(name), value, true);
    }

    /// A record that is void.
    pub fn void(&mut self, partition: u32, name: &str, value: &str) {
        let offset = self.next[partition as usize];
        self.next[partition as usize] = offset + 1;
        let (partition, offset) = (Partition(partition), Offset(offset));
        let (key, value) = (Some(key(name)), Some(bytes(value)));
        let record = LogRecord { partition, offset, timestamp_ms: Some(1), key, value, foreign: false };
        self.history.log.push(record);
    }

    fn call(&mut self, instance: u32, name: &str, operation: Operation, answered: bool) -> CallId {
        let (begin, end) = (self.time, answered.then_some(self.time + 1));
        self.time += 2;
        let (client, instance) = (ClientId(0), InstanceId(instance));
        self.history.calls.push(Call { client, instance, key: key(name), begin, end, operation });
        CallId(self.history.calls.len() - 1)
    }

    fn append(&mut self, instance: u32, name: &str, values: &[&str], outcome: AppendOutcome) -> CallId {
        let premise = self.premises.get(&key(name)).copied().unwrap_or_default();
        self.append_on(instance, (name, values), premise, outcome)
    }

    fn append_on(
        &mut self,
        instance: u32,
        (name, values): (&str, &[&str]),
        premise: Premise,
        outcome: AppendOutcome,
    ) -> CallId {
        let expected = if premise.count == 0 { Expecting::New } else { Expecting::At(Order(premise.count)) };
        let values = values.iter().map(|value| bytes(value)).collect();
        let append = AppendCall { expected, values, premise, identity: None, outcome };
        self.call(instance, name, Operation::Append(append), outcome != AppendOutcome::Unanswered)
    }

    /// An append that succeeds.
    pub fn acknowledged(&mut self, instance: u32, partition: u32, name: &str, values: &[&str]) -> CallId {
        let call = self.append(instance, name, values, AppendOutcome::Unknown);
        let outcome = self.store(partition, name, values);
        if let Operation::Append(append) = &mut self.history.calls[call.0].operation {
            append.outcome = outcome;
        }
        call
    }

    /// An append with another outcome, stored or not.
    pub fn other(
        &mut self,
        outcome: AppendOutcome,
        partition: Option<u32>,
        name: &str,
        values: &[&str],
    ) -> CallId {
        let call = self.append(0, name, values, outcome);
        for value in partition.map_or(&[][..], |_| values) {
            self.record(partition.unwrap_or_default(), &key(name), Some(value), false);
        }
        call
    }

    /// A try of an append with an id. It tells no order, and is not said to be the first.
    pub fn tried(&mut self, tried: Tried<'_>, outcome: AppendOutcome) -> CallId {
        let Tried { instance, name, id, expected, seen, values } = tried;
        let events = self.events.get(&key(name)).map_or(&[][..], Vec::as_slice);
        let premise = Premise::of(events[..seen].iter().map(|event| &event.value[..]));
        let values = values.iter().map(|value| bytes(value)).collect();
        let identity = Some(TryOf { id: bytes(id), is_first: false, seen: None });
        let append = AppendCall { expected, values, premise, identity, outcome };
        self.call(instance, name, Operation::Append(append), outcome != AppendOutcome::Unanswered)
    }

    /// Events are stored, and a success names their place.
    pub fn store(&mut self, partition: u32, name: &str, values: &[&str]) -> AppendOutcome {
        let stored: Vec<Event> =
            values.iter().map(|value| self.record(partition, &key(name), Some(value), false)).collect();
        let (first, offset) = (stored[0].order, stored[stored.len() - 1].offset);
        AppendOutcome::Acknowledged { partition: Partition(partition), offset, first }
    }

    /// An append that rests on the first `seen` events only, and is refused.
    pub fn stale(&mut self, name: &str, seen: usize, value: &str) -> CallId {
        let events = &self.events[&key(name)];
        let current = Some(Order(events.len() as u64));
        let premise = Premise::of(events[..seen].iter().map(|event| &event.value[..]));
        self.append_on(1, (name, &[value]), premise, AppendOutcome::Rejected { current })
    }

    /// A read, of everything or of a part.
    pub fn read(&mut self, instance: u32, name: &str, from: u64, limit: Option<u64>) -> CallId {
        let all = self.events.get(&key(name)).map_or(&[][..], Vec::as_slice);
        let is_there = !all.is_empty();
        let rest = &all[all.len().min(from as usize)..];
        let wanted = limit.map_or(rest.len(), |limit| rest.len().min(limit as usize));
        let more = wanted < rest.len();
        let outcome = match is_there {
            true => ReadOutcome::Events { events: rest[..wanted].to_vec(), more },
            false => ReadOutcome::NoSuchAggregate,
        };
        self.call(
            instance,
            name,
            Operation::Read(ReadCall {
                from: Order(from),
                limit,
                view: View::Now,
                fresh: Fresh::Local,
                outcome,
            }),
            true,
        )
    }

    /// A read without events.
    pub fn unread(&mut self, name: &str, outcome: ReadOutcome) -> CallId {
        let answered = outcome != ReadOutcome::Unanswered;
        let read =
            ReadCall { from: Order::FIRST, limit: None, view: View::Now, fresh: Fresh::Local, outcome };
        self.call(0, name, Operation::Read(read), answered)
    }

    /// The history, with the same content everywhere.
    pub fn finish(mut self) -> History {
        let of = [
            ContentOf::Instance(InstanceId(0)),
            ContentOf::Instance(InstanceId(1)),
            ContentOf::Resumed(InstanceId(0)),
            ContentOf::Rebuilt,
        ];
        self.history.contents = of.map(|of| Content { of, keys: self.events.clone() }).to_vec();
        self.history
    }
}
