//! Everything that happened in a run: the calls for the checker, a readable tape for people, and counts.

use crate::faults::{Coverage, Fault};
use crate::lock::locked;
use bkes_check::{
    AppendCall, AppendOutcome, Call, ClientId, Event, Fresh, InstanceId, Operation, ReadCall, ReadOutcome,
    TryOf, View,
};
use bkes_core::marker::ID_HEADER;
use bkes_core::{Header, Key, Offset, Order, Partition, Position};
use bkes_engine::{
    AppendError, Appended, EngineHandle, Events, ReadError, ReadRequest, StoredEvent, Unready,
};
use bkes_testkit::log::{Fate, Faults as Fates};
use bytes::Bytes;
use std::collections::{BTreeMap, VecDeque};
use std::pin::pin;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::task::{Context, Poll, Waker};

/// Most events of a read: the engine answers up to this many on the spot.
pub const PAGE: u64 = 100;

/// How many positions that were told are remembered.
const PLACES: usize = 8;

/// Who reads in between.
pub const PASSER_BY: ClientId = ClientId(900);

/// The recorder; clones write to the same one.
#[derive(Clone)]
pub struct Recorder(Arc<Inner>);

struct Inner {
    /// Milliseconds of the world.
    now: Arc<AtomicU64>,
    /// Rises with everything that is recorded: the checker's time.
    tick: AtomicU64,
    calls: Mutex<Vec<Call>>,
    /// The name of each answer to an append.
    told: Mutex<BTreeMap<usize, &'static str>>,
    /// Where events lie that callers were told of last.
    places: Mutex<VecDeque<(Partition, Position)>>,
    coverage: Mutex<Coverage>,
    /// `None` when nobody will read it.
    tape: Option<Mutex<Vec<String>>>,
}

impl Recorder {
    /// An empty one; `taped` when the tape is wanted.
    pub fn new(now: &Arc<AtomicU64>, taped: bool) -> Recorder {
        Recorder(Arc::new(Inner {
            now: Arc::clone(now),
            tick: AtomicU64::new(0),
            calls: Mutex::default(),
            told: Mutex::default(),
            places: Mutex::default(),
            coverage: Mutex::default(),
            tape: taped.then(Mutex::default),
        }))
    }

    /// The next moment.
    pub fn tick(&self) -> u64 {
        self.0.tick.fetch_add(1, Ordering::Relaxed) + 1
    }

    /// Writes a line on the tape.
    pub fn say(&self, line: impl FnOnce() -> String) {
        if let Some(tape) = &self.0.tape {
            let now = self.0.now.load(Ordering::Relaxed);
            let line = format!("{now:>7} ms  {}", line());
            locked(tape).push(line);
        }
    }

    /// A fault happened.
    pub fn fault(&self, fault: Fault) {
        locked(&self.0.coverage).fault(fault);
    }

    /// A fault happened, and it is worth a line.
    pub fn fault_said(&self, fault: Fault, line: impl FnOnce() -> String) {
        self.fault(fault);
        self.say(|| format!("-- {fault}: {}", line()));
    }

    /// An append with an id is tried.
    pub fn tried(&self, how: &'static str) {
        locked(&self.0.coverage).tried(how);
    }

    /// A wait for positions ends.
    pub fn waited(&self, how: &'static str) {
        locked(&self.0.coverage).waited(how);
    }

    /// A follower meets something.
    pub fn followed(&self, what: &'static str) {
        locked(&self.0.coverage).followed(what);
    }

    /// A call begins.
    pub fn begin(&self, client: ClientId, instance: InstanceId, key: &Key, operation: Operation) -> usize {
        let begin = self.tick();
        let mut calls = locked(&self.0.calls);
        calls.push(Call { client, instance, key: key.clone(), begin, end: None, operation });
        calls.len() - 1
    }

    /// An append was answered.
    pub fn appended(&self, call: usize, answer: &Result<Appended, AppendError>) {
        let end = self.tick();
        locked(&self.0.coverage).answer(answer_name(answer));
        locked(&self.0.told).insert(call, answer_name(answer));
        if let Err(AppendError::Unavailable(
            Unready::Overloaded { queue, .. } | Unready::NoRoom { queue, .. },
        )) = answer
        {
            let overlay = queue.contains("overlay");
            self.fault(if overlay { Fault::OverlayFull } else { Fault::QueueFull });
        }
        let mut calls = locked(&self.0.calls);
        let of = &mut calls[call];
        of.end = Some(end);
        let Operation::Append(append) = &mut of.operation else { return };
        append.outcome = outcome(answer);
        if let Ok(at) = answer {
            self.told_place(at.partition, at.offset);
        }
        let (client, instance, key) = (of.client.0, of.instance.0, of.key.clone());
        drop(calls);
        self.say(|| match answer {
            Ok(at) => format!(
                "   {call} c{client} i{instance} {key}: orders {}..={} at {}/{}",
                at.first, at.last, at.partition, at.offset
            ),
            Err(error) => format!("   {call} c{client} i{instance} {key}: {error}"),
        });
    }

    /// A read was answered; says what it was told.
    pub fn read(&self, call: usize, answer: Result<Events, ReadError>) -> ReadOutcome {
        let end = self.tick();
        locked(&self.0.coverage).answer(read_name(&answer));
        let told = answer.as_ref().err().map(ToString::to_string);
        let outcome = match answer {
            Ok(Events { events, more, .. }) => {
                ReadOutcome::Events { events: events.iter().map(event).collect(), more }
            }
            Err(ReadError::NoSuchAggregate { .. }) => ReadOutcome::NoSuchAggregate,
            Err(ReadError::Positions(_)) => ReadOutcome::OutOfRange,
            Err(_) => ReadOutcome::Unavailable,
        };
        if let ReadOutcome::Events { events, .. } = &outcome
            && let Some(last) = events.last()
        {
            self.told_place(last.partition, last.offset);
        }
        let mut calls = locked(&self.0.calls);
        let of = &mut calls[call];
        of.end = Some(end);
        let (client, instance, key) = (of.client.0, of.instance.0, of.key.clone());
        if let Operation::Read(read) = &mut of.operation {
            read.outcome = outcome.clone();
        }
        drop(calls);
        self.say(|| {
            let shown = match (&outcome, told) {
                (ReadOutcome::Events { events, more }, _) => show(events, *more),
                (_, Some(told)) => told,
                (_, None) => String::new(),
            };
            format!("   {call} c{client} i{instance} {key} read: {shown}")
        });
        outcome
    }

    /// A read of somebody who passes by, which has its answer at once or none.
    pub fn read_at_once(&self, instance: InstanceId, handle: &EngineHandle, key: &Key) {
        let call = self.begin_read(PASSER_BY, instance, key, Fresh::Local);
        let read = pin!(handle.read(page(key, Order::FIRST)));
        if let Poll::Ready(answer) = read.poll(&mut Context::from_waker(Waker::noop())) {
            self.read(call, answer);
        }
    }

    /// A read begins.
    pub fn begin_read(&self, client: ClientId, instance: InstanceId, key: &Key, fresh: Fresh) -> usize {
        let said = (fresh != Fresh::Local).then(|| format!("{fresh:?}"));
        let read = ReadCall {
            from: Order::FIRST,
            limit: Some(PAGE),
            view: View::Now,
            fresh,
            outcome: ReadOutcome::Unanswered,
        };
        let call = self.begin(client, instance, key, Operation::Read(read));
        if let Some(said) = said {
            self.say(|| format!("   {call} c{} i{} {key}: read {said}", client.0, instance.0));
        }
        call
    }

    fn told_place(&self, partition: Partition, offset: Offset) {
        let mut places = locked(&self.0.places);
        places.truncate(PLACES - 1);
        places.push_front((partition, offset.next()));
    }

    /// Positions that somebody was told, on whichever instance: those told last first.
    pub fn places(&self) -> Vec<(Partition, Position)> {
        locked(&self.0.places).iter().copied().collect()
    }

    /// An append begins.
    pub fn begin_append(
        &self,
        client: ClientId,
        instance: InstanceId,
        key: &Key,
        append: AppendCall,
    ) -> usize {
        let shown = self.0.tape.is_some().then(|| {
            let values: Vec<_> = append.values.iter().map(|value| short(value)).collect();
            let named = append.identity.as_ref().map_or(String::new(), |TryOf { id, is_first, seen }| {
                let first = if *is_first { " first try" } else { "" };
                format!(" id {}{first} seen {:?}", id.escape_ascii(), seen.map(|seen| seen.0))
            });
            format!("{:?}{named} {}", append.expected, values.join(" "))
        });
        let call = self.begin(client, instance, key, Operation::Append(append));
        self.say(|| {
            format!("   {call} c{} i{} {key}: append {}", client.0, instance.0, shown.unwrap_or_default())
        });
        call
    }

    /// The key of a refused append and the next order that its caller was told.
    pub fn refused_at(&self, call: usize) -> Option<(Key, u64)> {
        let calls = locked(&self.0.calls);
        match &calls[call].operation {
            Operation::Append(AppendCall {
                outcome: AppendOutcome::Rejected { current: Some(current) },
                ..
            }) => Some((calls[call].key.clone(), current.0)),
            _ => None,
        }
    }

    /// An append that began an aggregate by this very try: the instance, the key, and the partition it was told.
    pub fn begun_at(&self, call: usize) -> Option<(InstanceId, Key, Partition)> {
        if self.told(call) != "accepted" {
            return None;
        }
        let calls = locked(&self.0.calls);
        let Call { instance, key, operation, .. } = &calls[call];
        let Operation::Append(append) = operation else { return None };
        match append.outcome {
            AppendOutcome::Acknowledged { partition, first: Order::FIRST, .. } => {
                Some((*instance, key.clone(), partition))
            }
            _ => None,
        }
    }

    /// The name of the answer to an append.
    pub fn told(&self, call: usize) -> &'static str {
        locked(&self.0.told).get(&call).copied().unwrap_or("nothing")
    }

    /// Adds what the log did to records.
    pub fn delivered(&self, fates: &Fates) {
        let name = |fate| match fate {
            Fate::Delayed => Fault::Delayed,
            Fate::AcknowledgementLost => Fault::AcknowledgementLost,
            Fate::Late => Fault::Late,
            Fate::Lost => Fault::Lost,
            Fate::NotStored => Fault::NotStored,
            Fate::Oversized => Fault::Oversized,
            Fate::Repeated => Fault::Repeated,
            Fate::OffsetUnknown => Fault::OffsetUnknown,
            Fate::Gap => Fault::Gap,
        };
        let mut coverage = locked(&self.0.coverage);
        for (fate, count) in fates.shares().filter(|(_, count)| *count > 0) {
            *coverage.faults.entry(name(fate)).or_default() += u64::from(count);
        }
    }

    /// Everything recorded.
    pub fn finish(&self) -> (Vec<Call>, Coverage, Vec<String>) {
        let calls = std::mem::take(&mut *locked(&self.0.calls));
        let coverage = std::mem::take(&mut *locked(&self.0.coverage));
        let tape = self.0.tape.as_ref().map(|tape| std::mem::take(&mut *locked(tape))).unwrap_or_default();
        (calls, coverage, tape)
    }
}

/// A page of a key's events.
pub fn page(key: &Key, from: Order) -> ReadRequest {
    ReadRequest { from, events_max: PAGE as usize, ..ReadRequest::all(key.clone()) }
}

/// The headers that a client gives an event with this value: none, one, or two of one name.
pub fn headers_of(value: &Bytes) -> Vec<Header> {
    let header = |value| Header { name: Bytes::from_static(b"of"), value };
    match value.len() % 4 {
        0 => vec![header(Some(value.clone()))],
        1 => vec![header(None), header(Some(Bytes::new()))],
        _ => Vec::new(),
    }
}

/// The header that carries the id of the append which begins with this value, if it has one.
pub fn id_of(value: &Bytes) -> Option<Header> {
    let id = value.strip_prefix(b"#")?.split(|byte| *byte == b' ').next()?;
    Some(Header { name: Bytes::from_static(ID_HEADER), value: Some(Bytes::copy_from_slice(id)) })
}

/// An event in the checker's words.
pub fn event(stored: &StoredEvent) -> Event {
    if stored.stamp.is_some() {
        let mut headers = headers_of(&stored.value);
        headers.splice(..0, id_of(&stored.value));
        assert_eq!(stored.headers, headers, "an event comes back with its headers: {stored:?}");
    }
    Event {
        order: stored.order,
        partition: stored.partition,
        offset: stored.offset,
        timestamp_ms: stored.timestamp.map(|timestamp| timestamp.0),
        value: stored.value.clone(),
        tombstone: stored.tombstone,
    }
}

fn short(value: &[u8]) -> String {
    value[..value.len().min(12)].escape_ascii().to_string()
}

/// The last few events, and how many there are.
fn show(events: &[Event], more: bool) -> String {
    let last = &events[events.len().saturating_sub(3)..];
    let shown = last
        .iter()
        .map(|event| format!("{}={}@{}/{}", event.order, short(&event.value), event.partition, event.offset));
    let shown: Vec<String> = shown.collect();
    format!("{} events, .. {}{}", events.len(), shown.join(" "), if more { " and more" } else { "" })
}

fn outcome(answer: &Result<Appended, AppendError>) -> AppendOutcome {
    match answer {
        Ok(at) => AppendOutcome::Acknowledged { partition: at.partition, offset: at.offset, first: at.first },
        Err(AppendError::Conflict { current, .. } | AppendError::AlreadyExists { current }) => {
            AppendOutcome::Rejected { current: Some(*current) }
        }
        Err(AppendError::NoSuchAggregate { .. }) => AppendOutcome::Rejected { current: Some(Order::FIRST) },
        Err(AppendError::IdReused { first, .. }) => AppendOutcome::IdReused { first: *first },
        Err(AppendError::IdUsed { first, partition, offset, .. }) => {
            AppendOutcome::IdUsed { first: *first, partition: *partition, offset: *offset }
        }
        Err(AppendError::IdWindow { .. }) => AppendOutcome::IdWindow,
        Err(error) => match error.class() {
            bkes_engine::ErrorClass::Rejected => AppendOutcome::Rejected { current: None },
            bkes_engine::ErrorClass::Unavailable => AppendOutcome::Unavailable,
            bkes_engine::ErrorClass::Unknown => AppendOutcome::Unknown,
        },
    }
}

/// How an append with an id is tried: for the first time, on the same instance again, on another one, and decided anew.
pub const TRIES: &[&str] = &["first", "again", "again elsewhere", "decided anew"];

/// Every name of an answer to an append or a read.
pub const ANSWERS: &[&str] = &[
    "accepted",
    "found by its id",
    "id reused",
    "id used",
    "id window",
    "conflict",
    "exists already",
    "no such aggregate",
    "bad count",
    "too large",
    "split",
    "cut",
    "catching up",
    "lagging",
    "log down",
    "stalled",
    "degraded",
    "store down",
    "overloaded",
    "no room",
    "unverified",
    "shutting down",
    "not stored",
    "unknown",
    "read: events",
    "read: no such aggregate",
    "read: positions refused",
    "read: unavailable",
    "read: damaged",
    "read: store failed",
];

fn answer_name(answer: &Result<Appended, AppendError>) -> &'static str {
    match answer {
        Ok(Appended { by_earlier_try: false, .. }) => "accepted",
        Ok(_) => "found by its id",
        Err(AppendError::Conflict { .. }) => "conflict",
        Err(AppendError::AlreadyExists { .. }) => "exists already",
        Err(AppendError::NoSuchAggregate { .. }) => "no such aggregate",
        Err(AppendError::NeedsId) => "needs an id",
        Err(AppendError::IdReused { .. }) => "id reused",
        Err(AppendError::IdUsed { .. }) => "id used",
        Err(AppendError::IdWindow { .. }) => "id window",
        Err(AppendError::BadCount { .. }) => "bad count",
        Err(AppendError::TooLarge { .. }) => "too large",
        Err(
            AppendError::ReservedHeader { .. }
            | AppendError::TooManyHeaders { .. }
            | AppendError::LongHeaderName { .. },
        ) => "bad header",
        Err(AppendError::Split { .. }) => "split",
        Err(AppendError::Cut { .. }) => "cut",
        Err(AppendError::PartitionerUnknown { .. } | AppendError::ExistingOnly) => "no new keys",
        Err(AppendError::NotStored { .. }) => "not stored",
        Err(AppendError::Unknown { .. }) => "unknown",
        Err(AppendError::Unavailable(unready)) => match unready {
            Unready::CatchingUp { .. } => "catching up",
            Unready::Lagging { .. } => "lagging",
            Unready::LogDown { .. } => "log down",
            Unready::Stalled { .. } => "stalled",
            Unready::Degraded { .. } => "degraded",
            Unready::Store { .. } => "store down",
            Unready::Unverified { .. } => "unverified",
            Unready::Overloaded { .. } => "overloaded",
            Unready::NoRoom { .. } => "no room",
            Unready::ShuttingDown => "shutting down",
        },
    }
}

fn read_name(answer: &Result<Events, ReadError>) -> &'static str {
    match answer {
        Ok(_) => "read: events",
        Err(ReadError::NoSuchAggregate { .. }) => "read: no such aggregate",
        Err(ReadError::Positions(_)) => "read: positions refused",
        Err(ReadError::Unavailable(_)) => "read: unavailable",
        Err(ReadError::Split { .. }) => "read: split",
        Err(ReadError::Damaged { .. }) => "read: damaged",
        Err(ReadError::Store { .. }) => "read: store failed",
    }
}
