//! The simulated world: one partition's log, the instances that write and read it, what is on its way between them, and
//! their clients. It moves by [`Step`]s alone, so a list of steps is a run. A step that cannot be taken does nothing.

use crate::fold::{Checkpoint, Fold, value_of};
use bkes_core::checksum::PayloadSum;
use bkes_core::sequence::{NowMs, Outcome, Sequencer, Settled};
use bkes_core::{
    BatchPlace, Delivery, Incarnation, Key, Marker, Offset, Order, Partition, Position, Record, Stamp,
};
use std::collections::{BTreeMap, VecDeque};
use std::fmt::Write;
use std::hash::Hasher;

/// Every event of a run has a value of its own.
pub type Value = u64;
/// An append's place in [`World::appends`].
pub type AppendId = usize;

/// What a broken host or rule would do: each must be caught.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Bug {
    /// Success is answered when the log says "stored", not when the record was accepted.
    AnswersOnAcknowledgement,
    /// A reader is shown events that are in flight.
    ShowsPending,
    /// A copy of a record is judged as if its number were new.
    JudgesTwice,
    /// "Not met up to the high watermark" is answered as "not stored".
    TakesHighForNotStored,
    /// After a timeout the next in the queue is checked against the count of before.
    ChecksStaleCount,
    /// A batch's first member becomes an event before the others are there.
    AcceptsFirstMember,
    /// The undecided batch is not part of the checkpoint.
    ForgetsOpenBatch,
    /// A record is judged however far it lies above its base.
    IgnoresBase,
    /// A marker is believed whatever record it lies on.
    BelievesForwarded,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Answer {
    Success,
    Conflict { next: Order },
    NotStored,
    Unknown,
}

#[derive(Clone, Debug)]
pub struct Append {
    pub at: usize,
    pub key: Key,
    /// The events it rests on; their number is the order it names.
    pub seen: Vec<Value>,
    pub values: Vec<Value>,
    /// How many of its records the appender takes before it refuses.
    taken: u32,
    pub answer: Option<Answer>,
}

impl Append {
    pub fn first(&self) -> Order {
        Order(self.seen.len() as u64)
    }
}

/// What a client was shown.
#[derive(Clone, Debug)]
pub struct View {
    pub key: Key,
    pub seen: Vec<Value>,
}

/// A record that was handed to the appender.
#[derive(Clone, Debug)]
struct Sent {
    at: usize,
    append: AppendId,
    stamp: Stamp,
    record: Record,
    reported: bool,
}

#[derive(Clone, Debug)]
pub struct Instance {
    pub fold: Fold,
    pub sequencer: Sequencer<AppendId, AppendId>,
    checkpoint: Checkpoint,
    /// It serves from here on: the end of the log when it was started.
    ready_at: Position,
    /// Reports on their way: a record by its place in `World::sent`.
    pub reports: Vec<(usize, Delivery)>,
    asked: Option<(Position, NowMs)>,
    /// The last high watermark it learned.
    high: Option<Position>,
}

/// How a report arrives.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Manner {
    /// As it is; a record at exactly the next position is applied from it.
    Fast,
    /// As it is, and waits for tailing.
    Plain,
    /// Stored, at an offset it does not name.
    WithoutOffset,
    /// The answer was lost on the way.
    AsUnknown,
    /// Never.
    Lost,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Step {
    /// A client reads a key.
    Read { at: usize, key: usize },
    /// A client appends `count` events on what it saw, through an appender that takes `taken` of the records.
    Append { at: usize, view: usize, count: u32, taken: u32 },
    /// A copy on the wire reaches the log; `again`: it will come once more.
    Deliver { copy: usize, again: bool },
    /// A copy is lost, and the writer is told so (`known`) or is not.
    Drop { copy: usize, known: bool },
    /// The writer is told that the outcome is unknown; the copy stays on the wire.
    TimeOut { copy: usize },
    /// A report arrives.
    Report { at: usize, report: usize, manner: Manner },
    /// Tailing applies the next record, or passes the hole at the end.
    Apply { at: usize },
    /// The high watermark is read; the answer comes later.
    Ask { at: usize },
    /// The answer came.
    Learn { at: usize },
    /// The clock of an instance.
    Tick { at: usize },
    /// Time passes.
    Wait { ms: u64 },
    /// What is applied is stored.
    Store { at: usize },
    /// An instance ends, by a shutdown (`orderly`) or a crash, and starts again, `resumed` at its checkpoint or from nothing.
    Restart { at: usize, orderly: bool, resumed: bool },
    /// A new producer handle.
    Renew { at: usize },
    /// Somebody writes without BKES.
    Foreign { key: usize },
    /// Somebody answers a record of the log, whose headers are carried along, with an event of a key.
    Forward { record: usize, key: usize },
    /// Offsets that hold no record.
    Hole { offsets: u64 },
}

#[derive(Clone)]
pub struct World {
    pub bug: Option<Bug>,
    pub keys: Vec<Key>,
    pub log: Vec<Record>,
    high: u64,
    pub instances: Vec<Instance>,
    pub appends: Vec<Append>,
    pub views: Vec<View>,
    sent: Vec<Sent>,
    /// Events that somebody wrote without BKES.
    pub foreign: Vec<Value>,
    /// Copies on their way to the log, by their record's place in `sent`.
    pub wire: Vec<usize>,
    now: NowMs,
    /// How long a step takes; asking for the high watermark takes a moment more in any case.
    step_ms: NowMs,
    last_incarnation: u64,
    last_value: Value,
    acknowledged: BTreeMap<(Key, Order), AppendId>,
    /// The first promise that was seen broken.
    pub violation: Option<String>,
    pub steps: Vec<Step>,
}

type Ended = Vec<(Settled<AppendId>, VecDeque<AppendId>)>;

impl World {
    pub fn new(instances: usize, keys: usize, bug: Option<Bug>) -> World {
        let mut world = World {
            bug,
            keys: ["a", "b", "c"][..keys].iter().filter_map(|key| Key::new(*key)).collect(),
            log: Vec::new(),
            high: 0,
            instances: Vec::new(),
            appends: Vec::new(),
            views: Vec::new(),
            sent: Vec::new(),
            foreign: Vec::new(),
            wire: Vec::new(),
            now: 0,
            step_ms: 1,
            last_incarnation: 0,
            last_value: 0,
            acknowledged: BTreeMap::new(),
            violation: None,
            steps: Vec::new(),
        };
        for _ in 0..instances {
            let instance = world.start(Checkpoint::default());
            world.instances.push(instance);
        }
        world
    }

    fn start(&mut self, checkpoint: Checkpoint) -> Instance {
        let incarnation = self.draw_incarnation();
        Instance {
            fold: Fold::resume(&checkpoint, self.bug),
            sequencer: Sequencer::new(incarnation),
            checkpoint,
            ready_at: Position(self.high),
            reports: Vec::new(),
            asked: None,
            high: None,
        }
    }

    /// Rising, where real ones are random: only that they are new matters.
    fn draw_incarnation(&mut self) -> Incarnation {
        self.last_incarnation += 1;
        Incarnation(self.last_incarnation)
    }

    fn draw_value(&mut self) -> Value {
        self.last_value += 1;
        self.last_value
    }

    pub fn violate(&mut self, text: String) {
        self.violation.get_or_insert(text);
    }

    pub fn take(&mut self, step: Step) {
        self.steps.push(step);
        self.now += self.step_ms;
        match step {
            Step::Read { at, key } => self.read(at, key),
            Step::Append { at, view, count, taken } => self.append(at, view, count, taken),
            Step::Deliver { copy, again } => self.deliver(copy, again),
            Step::Drop { copy, known } => self.lose(copy, known),
            Step::TimeOut { copy } => {
                if let Some(sent) = self.wire.get(copy).copied() {
                    self.report(sent, Delivery::Unknown { detail: "timed out".into() });
                }
            }
            Step::Report { at, report, manner } => self.reported(at, report, manner),
            Step::Apply { at } => self.apply(at),
            Step::Ask { at } => {
                self.now += 1;
                self.instances[at].asked = Some((Position(self.high), self.now));
            }
            Step::Learn { at } => {
                let instance = &mut self.instances[at];
                if let Some((high, asked)) = instance.asked.take() {
                    instance.sequencer.probed(high, asked);
                    instance.high = Some(high);
                }
            }
            Step::Tick { at } => {
                let (mut ended, instance) = (Ended::new(), &mut self.instances[at]);
                instance.sequencer.tick(self.now, instance.fold.position, &mut ended);
                self.settle(at, ended);
            }
            Step::Wait { ms } => self.now += ms,
            Step::Store { at } => {
                let Instance { fold, checkpoint, .. } = &mut self.instances[at];
                fold.store(checkpoint);
            }
            Step::Restart { at, orderly, resumed } => self.restart(at, orderly, resumed),
            Step::Renew { at } => {
                let incarnation = self.draw_incarnation();
                self.instances[at].sequencer.renew(incarnation);
            }
            Step::Foreign { key } => {
                let record = self.record(key, Vec::new());
                self.foreign.push(value_of(&record));
                self.store(record);
            }
            Step::Forward { record, key } => {
                let Some(headers) = self.log.get(record).map(|record| record.headers.clone()) else { return };
                let record = self.record(key, headers);
                self.foreign.push(value_of(&record));
                self.store(record);
            }
            Step::Hole { offsets } => self.high += offsets,
        }
    }

    /// Steps take no time any more, so that it does not tell two ways to one state apart.
    pub fn stop_the_clock(&mut self) {
        self.step_ms = 0;
    }

    /// Whether an instance has something to apply.
    pub fn is_behind(&self, at: usize) -> bool {
        self.instances[at].fold.position < Position(self.high)
    }

    /// Whether an instance waits for the answer to its question for the high watermark.
    pub fn has_asked(&self, at: usize) -> bool {
        self.instances[at].asked.is_some()
    }

    /// Two worlds with the same digest have the same future, whatever led to them.
    pub fn digest(&self, hasher: &mut impl Hasher) {
        struct Text<'a, H>(&'a mut H);
        impl<H: Hasher> Write for Text<'_, H> {
            fn write_str(&mut self, text: &str) -> std::fmt::Result {
                self.0.write(text.as_bytes());
                Ok(())
            }
        }
        let World { log, high, instances, appends, views, sent, wire, now, .. } = self;
        let state = (log, high, instances, appends, views, sent, wire, now);
        write!(Text(hasher), "{state:?}").expect("a hasher takes everything");
    }

    fn is_ready(&self, at: usize) -> bool {
        self.instances[at].fold.position >= self.instances[at].ready_at
    }

    fn read(&mut self, at: usize, key: usize) {
        if !self.is_ready(at) {
            return;
        }
        let (key, instance) = (self.keys[key].clone(), &self.instances[at]);
        let mut seen = instance.fold.histories.get(&key).cloned().unwrap_or_default();
        if let (Some(Bug::ShowsPending), Some((_, append))) = (self.bug, instance.sequencer.flight(&key)) {
            seen.extend(&self.appends[*append].values);
        }
        let missing = |append: &&Append| {
            let acknowledged = append.at == at && append.key == key && append.answer == Some(Answer::Success);
            acknowledged && !append.values.iter().all(|value| seen.contains(value))
        };
        if let Some(append) = self.appends.iter().find(missing) {
            let text =
                format!("{:?} was acknowledged by instance {at}, which does not show it", append.values);
            self.violate(text);
        }
        self.views.push(View { key, seen });
    }

    fn append(&mut self, at: usize, view: usize, count: u32, taken: u32) {
        let Some(View { key, seen }) = self.views.get(view).cloned() else { return };
        if !self.is_ready(at) {
            return;
        }
        let values = (0..count).map(|_| self.draw_value()).collect();
        let id = self.appends.len();
        self.appends.push(Append { at, key: key.clone(), seen, values, taken, answer: None });
        let instance = &mut self.instances[at];
        if instance.sequencer.is_busy(&key) {
            return instance.sequencer.wait(&key, id);
        }
        let next = instance.fold.next(&key);
        self.begin(at, id, VecDeque::new(), next);
    }

    /// Sends an append if its order is the next one; gives the queue back when nothing was put in flight.
    fn begin(
        &mut self,
        at: usize,
        id: AppendId,
        rest: VecDeque<AppendId>,
        next: Order,
    ) -> Option<VecDeque<AppendId>> {
        let Append { key, values, taken, .. } = &self.appends[id];
        let (key, values, taken, first) = (key.clone(), values.clone(), *taken, self.appends[id].first());
        if first != next {
            self.answer(id, Answer::Conflict { next });
            return Some(rest);
        }
        let count = values.len() as u32;
        let Instance { sequencer, fold, .. } = &mut self.instances[at];
        let base = fold.position;
        let flight = sequencer.begin(key.clone(), first, count, id, rest);
        for (i, value) in (1..).zip(values) {
            let place = (count > 1).then_some(BatchPlace { i, count });
            let stamp = Stamp { incarnation: flight.0, number: flight.1, place };
            if i > taken && i == 1 {
                let (id, rest) = self.instances[at].sequencer.withdraw(flight);
                self.answer(id, Answer::NotStored);
                return Some(rest);
            }
            if i > taken {
                let mut ended = Ended::new();
                let Instance { sequencer, fold, .. } = &mut self.instances[at];
                let said = Delivery::NotStored { detail: "sending stopped".into() };
                let told = sequencer.reported(stamp, said, fold.position, self.now, &mut ended);
                told.expect("only a stored record can diverge");
                self.settle(at, ended);
                return None;
            }
            let marker = Marker { stamp, order: Order(first.0 + u64::from(i) - 1), base };
            let record = marked(&key, value, marker);
            self.wire.push(self.sent.len());
            self.sent.push(Sent { at, append: id, stamp, record, reported: false });
        }
        None
    }

    fn record(&mut self, key: usize, headers: Vec<bkes_core::Header>) -> Record {
        let value = self.draw_value();
        let key = self.keys[key].clone();
        Record { headers, ..unmarked(&key, value) }
    }

    fn store(&mut self, record: Record) -> Offset {
        let offset = Offset(self.high);
        self.log.push(Record { offset, ..record });
        self.high += 1;
        offset
    }

    fn deliver(&mut self, copy: usize, again: bool) {
        let Some(sent) = self.wire.get(copy).copied() else { return };
        if !again {
            self.wire.remove(copy);
        }
        let record = self.sent[sent].record.clone();
        let offset = self.store(record);
        self.report(sent, Delivery::Stored { offset: Some(offset), timestamp: None });
    }

    fn lose(&mut self, copy: usize, known: bool) {
        let Some(sent) = self.wire.get(copy).copied() else { return };
        self.wire.remove(copy);
        // A copy stays on the wire only when another was stored, and that one was reported.
        let said = if known {
            Delivery::NotStored { detail: "dropped".into() }
        } else {
            Delivery::Unknown { detail: "no answer".into() }
        };
        self.report(sent, said);
    }

    /// A record is reported on once, whatever becomes of its copies.
    fn report(&mut self, sent: usize, said: Delivery) {
        if !std::mem::replace(&mut self.sent[sent].reported, true) {
            self.instances[self.sent[sent].at].reports.push((sent, said));
        }
    }

    fn reported(&mut self, at: usize, report: usize, manner: Manner) {
        if report >= self.instances[at].reports.len() {
            return;
        }
        let (sent, said) = self.instances[at].reports.remove(report);
        let Sent { append, stamp, .. } = self.sent[sent];
        let position = self.instances[at].fold.position;
        let said = match (manner, said) {
            (Manner::Lost, _) => return,
            (Manner::AsUnknown, _) => Delivery::Unknown { detail: "the answer was lost".into() },
            (Manner::WithoutOffset, Delivery::Stored { .. }) => {
                Delivery::Stored { offset: None, timestamp: None }
            }
            (Manner::Fast, Delivery::Stored { offset: Some(offset), timestamp: None })
                if offset == position.offset() =>
            {
                return self.apply(at);
            }
            (_, said) => said,
        };
        let whole = matches!(said, Delivery::Stored { .. }) && stamp.i() == stamp.count();
        if self.bug == Some(Bug::AnswersOnAcknowledgement) && whole {
            self.answer(append, Answer::Success);
        }
        let mut ended = Ended::new();
        let told = self.instances[at].sequencer.reported(stamp, said, position, self.now, &mut ended);
        if let Err(diverged) = told {
            self.violate(format!("instance {at} reads the one log there is, and was told: {diverged}"));
        }
        self.settle(at, ended);
    }

    fn apply(&mut self, at: usize) {
        let Instance { fold, sequencer, .. } = &mut self.instances[at];
        let index = self.log.partition_point(|record| record.offset.next() <= fold.position);
        let Some(record) = self.log.get(index) else {
            fold.position = Position(self.high);
            return;
        };
        let applied = fold.apply(record);
        let Some(stamp) = applied.stamp else { return };
        let mut ended = Ended::new();
        sequencer.applied(stamp, &applied.decision, &mut ended);
        self.settle(at, ended);
    }

    fn settle(&mut self, at: usize, ended: Ended) {
        for (settled, mut queue) in ended {
            let Instance { fold, high, .. } = &self.instances[at];
            let passed = high.is_some_and(|high| high <= fold.position);
            let unknown = matches!(settled.outcome, Outcome::Unknown(_));
            let answer = match settled.outcome {
                Outcome::Accepted => Answer::Success,
                Outcome::Conflict { next } => Answer::Conflict { next },
                Outcome::NotStored(_) | Outcome::Oversized(_) => Answer::NotStored,
                Outcome::Unknown(_) if passed && self.bug == Some(Bug::TakesHighForNotStored) => {
                    Answer::NotStored
                }
                Outcome::Unknown(_) => Answer::Unknown,
            };
            self.answer(settled.ticket, answer);
            while let Some(id) = queue.pop_front() {
                let stale = unknown && self.bug == Some(Bug::ChecksStaleCount);
                let next = if stale { settled.first } else { self.instances[at].fold.next(&settled.key) };
                match self.begin(at, id, queue, next) {
                    Some(rest) => queue = rest,
                    None => break,
                }
            }
        }
    }

    fn answer(&mut self, id: AppendId, answer: Answer) {
        let append = &mut self.appends[id];
        if append.answer.is_some() {
            if self.bug != Some(Bug::AnswersOnAcknowledgement) {
                self.violate(format!("append {id} was answered twice"));
            }
            return;
        }
        append.answer = Some(answer);
        let (key, first, count, at) = (append.key.clone(), append.first(), append.values.len(), append.at);
        match answer {
            Answer::Success => {
                for order in (first.0..).take(count).map(Order) {
                    if let Some(other) = self.acknowledged.insert((key.clone(), order), id) {
                        self.violate(format!(
                            "{id} and {other} were both acknowledged at order {order} of {key}"
                        ));
                    }
                }
            }
            Answer::Conflict { next } => {
                let real = self.instances[at].fold.next(&key);
                if next != real || first == real {
                    self.violate(format!(
                        "{id} at {first} was refused naming {next}, and the next is {real}"
                    ));
                }
            }
            Answer::NotStored | Answer::Unknown => {}
        }
    }

    fn restart(&mut self, at: usize, orderly: bool, resumed: bool) {
        let sequencer = &mut self.instances[at].sequencer;
        if orderly {
            let (waiting, mut ended) = (sequencer.take_waiting(), Ended::new());
            sequencer.give_up("shutdown", &mut ended);
            waiting.into_iter().for_each(|id| self.answer(id, Answer::NotStored));
            self.settle(at, ended);
        }
        for id in 0..self.appends.len() {
            let Append { key, answer: None, at: here, .. } = &self.appends[id] else { continue };
            if *here == at {
                // The connection broke. What waited was never sent, so it can be held to the stronger promise.
                let in_flight =
                    self.instances[at].sequencer.flight(key).is_some_and(|(_, ticket)| *ticket == id);
                self.answer(id, if in_flight { Answer::Unknown } else { Answer::NotStored });
            }
        }
        let checkpoint = if resumed { self.instances[at].checkpoint.clone() } else { Checkpoint::default() };
        self.instances[at] = self.start(checkpoint);
    }

    /// The end of a run: what is on the wire arrives after all, and everyone reads to the end and shuts down.
    pub fn finish(&mut self) {
        while !self.wire.is_empty() {
            self.take(Step::Deliver { copy: 0, again: false });
        }
        for at in 0..self.instances.len() {
            self.catch_up(at);
            for id in 0..self.appends.len() {
                if self.appends[id].at == at && self.appends[id].answer.is_none() {
                    self.take(Step::Wait { ms: 20_000 });
                    self.take(Step::Tick { at });
                }
            }
            let (mut ended, sequencer) = (Ended::new(), &mut self.instances[at].sequencer);
            let waiting = sequencer.take_waiting();
            sequencer.give_up("the end of the run", &mut ended);
            waiting.into_iter().for_each(|id| self.answer(id, Answer::NotStored));
            self.settle(at, ended);
        }
        // A tick may have freed a key and sent the next in its queue.
        while !self.wire.is_empty() {
            self.take(Step::Deliver { copy: 0, again: false });
        }
        (0..self.instances.len()).for_each(|at| self.catch_up(at));
    }

    fn catch_up(&mut self, at: usize) {
        while self.instances[at].fold.position < Position(self.high) {
            self.take(Step::Apply { at });
        }
    }
}

fn unmarked(key: &Key, value: Value) -> Record {
    Record {
        partition: Partition(0),
        offset: Offset(0),
        timestamp: None,
        key: Some(key.bytes().clone()),
        value: Some(value.to_string().into()),
        headers: Vec::new(),
    }
}

fn marked(key: &Key, value: Value, marker: Marker) -> Record {
    let plain = unmarked(key, value);
    let payload = PayloadSum::of(plain.key.as_deref(), plain.value.as_deref());
    Record { headers: marker.headers(payload).into(), ..plain }
}

/// For the trace of a failed run.
pub fn describe(record: &Record) -> String {
    let headers: Vec<String> = record
        .headers
        .iter()
        .map(|header| String::from_utf8_lossy(header.value.as_deref().unwrap_or_default()).into_owned())
        .collect();
    let key = record.aggregate().map(|key| key.to_string()).unwrap_or_default();
    format!("{}: {key} = {} {}", record.offset, value_of(record), headers.join(" "))
}
