//! The simulated world: one partition's log, the instances that write and read it, what is on its way between them, and
//! their clients. It moves by [`Step`]s alone, so a list of steps is a run. A step that cannot be taken does nothing.

use crate::fold::value_of;
use crate::host::{Inputs, Instance, Stored, expected};
use crate::log::{Log, digest_record};
use bkes_core::append::{AppendError, AppendRequest, Appended, EventContent, Expected};
use bkes_core::append_id::{ID_WINDOW, Identity};
use bkes_core::machine::{self, BeforeQuestion, Input, Notice, Send, WatermarksRead};
use bkes_core::sequence::NowMs;
use bkes_core::{
    Delivery, EventOutline, Header, Incarnation, Key, Offset, Order, Partition, Position, Record,
    TimestampMs, Token,
};
use std::collections::{BTreeMap, BTreeSet};
use std::hash::{Hash, Hasher};

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
    /// A step's answers are given before its events are shown.
    AnswersBeforeShowing,
    /// What a step itself applied is left out where the host is asked for an aggregate.
    ForgetsTheStep,
    /// Where the appender does not take a record, that one and the rest of its append are handed over all the same.
    SendsTheRest,
    /// What lies below the applied position is not handed to the machine when it is read.
    DoesNotCompare,
    /// The host does not know the ids of the appends that are stored.
    ForgetsIds,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug, Hash)]
pub enum Answer {
    Success,
    Conflict { next: Order },
    NotStored,
    Unknown,
}

#[derive(Clone, Debug, Hash)]
pub struct Append {
    pub at: usize,
    pub key: Key,
    /// The events it rests on; their number is the order it names, if it names one.
    pub seen: Vec<Value>,
    /// What a retry of it is known by.
    pub name: Option<Name>,
    /// Where it was said to begin.
    placed: Option<Order>,
    pub values: Vec<Value>,
    /// How many of its records the appender takes before it refuses.
    taken: u32,
    pub answer: Option<Answer>,
    /// How far the log was applied where it was answered.
    answered_at: Position,
    /// It rests on what is lost, or on what was shown by an instance that did not know of the loss yet.
    pub rests_on_lost: bool,
    /// It was answered by such an instance.
    pub is_told_unaware: bool,
    /// What decided that it is refused may be lost.
    pub is_refusal_lost: bool,
}

/// What a writer says of its append so that a retry is known for one.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Hash)]
pub struct Name {
    /// The first try, by which all are known.
    pub of: AppendId,
    /// Whether it takes whatever order is next.
    pub takes_any: bool,
    /// The order that the aggregate had reached before the first try, if that is told.
    seen: Option<Order>,
}

impl Append {
    /// On what was seen, and whether that rests on what is lost.
    fn new(at: usize, key: Key, (seen, rests_on_lost): (Vec<Value>, bool), values: Vec<Value>) -> Append {
        Append {
            at,
            key,
            seen,
            name: None,
            placed: None,
            taken: values.len() as u32,
            values,
            answer: None,
            answered_at: Position::START,
            rests_on_lost,
            is_told_unaware: false,
            is_refusal_lost: false,
        }
    }

    /// The order that its first event takes, or took.
    pub fn first(&self) -> Order {
        self.placed.unwrap_or(Order(self.seen.len() as u64))
    }

    pub fn takes_any(&self) -> bool {
        self.name.is_some_and(|name| name.takes_any)
    }
}

/// What a client was shown.
#[derive(Clone, Debug, Hash)]
pub struct View {
    at: usize,
    pub key: Key,
    pub seen: Vec<Value>,
    /// By an instance that did not know yet that its log had lost its end.
    pub is_unaware: bool,
}

/// A record that was handed to the appender.
#[derive(Clone, Debug)]
struct Sent {
    at: usize,
    /// Of the process that sent it: nobody else is told what became of it.
    life: Incarnation,
    append: AppendId,
    token: Token,
    /// Whether it is the last of its append.
    is_last: bool,
    record: Record,
    reported: bool,
}

/// How a report arrives.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Manner {
    /// With the time the log gave it; a record at exactly the next position is applied from it.
    Fast,
    /// Without, so that it waits for reading.
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
    /// The same with an id, at the order of what it saw or at whatever order is next; `tells` how far the aggregate was.
    Name { at: usize, view: usize, takes_any: bool, tells: bool },
    /// A client sends an append with an id again.
    Retry { at: usize, append: usize },
    /// What led to an append with an id is delivered to a client again, which decides anew on what it saw.
    Redeliver { at: usize, append: usize, view: usize },
    /// A copy on the wire reaches the log; `again`: it will come once more.
    Deliver { copy: usize, again: bool },
    /// A copy is lost, and the writer is told so (`known`) or is not.
    Drop { copy: usize, known: bool },
    /// The writer is told that the outcome is unknown; the copy stays on the wire.
    TimeOut { copy: usize },
    /// A report arrives.
    Report { at: usize, report: usize, manner: Manner },
    /// The reader meets the next records, at most so many in one step of the machine, or passes the hole at the end.
    Apply { at: usize, records_max: usize },
    /// The log is asked for its marks; the answer comes later.
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
    /// The reader begins again.
    ReadAgain { at: usize },
    /// The store falls back to what it held, and every fold with it.
    FallBack { at: usize },
    /// The log loses its last records, to a leader that does not have them.
    LoseEnd { records: usize },
    /// A partition that is not what the log holds is dropped, and read anew.
    Rebuild { at: usize },
}

#[derive(Clone)]
pub struct World {
    pub bug: Option<Bug>,
    /// How many of a key's last events are looked at for an id.
    pub id_window: u64,
    pub keys: Vec<Key>,
    pub log: Log,
    pub instances: Vec<Instance>,
    pub appends: Vec<Append>,
    pub views: Vec<View>,
    sent: Vec<Sent>,
    /// Events that somebody wrote without BKES.
    pub foreign: Vec<Value>,
    /// What lay in the log's end when that was lost. Copies may have come again since.
    pub lost: BTreeSet<Value>,
    /// Copies on their way to the log, by their record's place in `sent`.
    pub wire: Vec<usize>,
    now: NowMs,
    /// How long a step takes; asking for the marks takes a moment more in any case.
    step_ms: NowMs,
    last_incarnation: u64,
    last_value: Value,
    acknowledged: BTreeMap<(Key, Order), AppendId>,
    /// Whether the log may lose its end.
    pub is_lossy: bool,
    /// Partitions that were read anew.
    pub rebuilds: u64,
    /// Tries that found an earlier one stored, another decision under their id, and neither, nor that there is none.
    pub found: u64,
    pub used: u64,
    pub not_found: u64,
    /// The first promise that was seen broken.
    pub violation: Option<String>,
    pub steps: Vec<Step>,
}

impl World {
    pub fn new(instances: usize, keys: usize, bug: Option<Bug>) -> World {
        World::with_window(ID_WINDOW, instances, keys, bug)
    }

    pub fn with_window(id_window: u64, instances: usize, keys: usize, bug: Option<Bug>) -> World {
        let mut world = World {
            bug,
            id_window,
            keys: ["a", "b", "c"][..keys].iter().filter_map(|key| Key::new(*key)).collect(),
            log: Log::default(),
            instances: Vec::new(),
            appends: Vec::new(),
            views: Vec::new(),
            sent: Vec::new(),
            foreign: Vec::new(),
            lost: BTreeSet::new(),
            wire: Vec::new(),
            now: 0,
            step_ms: 1,
            last_incarnation: 0,
            last_value: 0,
            acknowledged: BTreeMap::new(),
            is_lossy: false,
            rebuilds: 0,
            found: 0,
            used: 0,
            not_found: 0,
            violation: None,
            steps: Vec::new(),
        };
        for at in 0..instances {
            let instance = world.start(Stored::default());
            world.instances.push(instance);
            world.tell(at, vec![Input::BeginReading]);
        }
        world
    }

    fn start(&mut self, stored: Stored) -> Instance {
        let name = self.draw_incarnation();
        Instance::start(stored, name, &self.log, (self.id_window, self.bug))
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
            Step::Name { at, view, takes_any, tells } => self.name(at, view, takes_any, tells),
            Step::Retry { at, append } => self.retry(at, append),
            Step::Redeliver { at, append, view } => self.redeliver(at, append, view),
            Step::Deliver { copy, again } => self.deliver(copy, again),
            Step::Drop { copy, known } => self.lose(copy, known),
            Step::TimeOut { copy } => {
                if let Some(sent) = self.wire.get(copy).copied() {
                    self.report(sent, Delivery::Unknown { detail: "timed out".into() });
                }
            }
            Step::Report { at, report, manner } => self.reported(at, report, manner),
            Step::Apply { at, records_max } => {
                if self.is_behind(at) {
                    let inputs = self.instances[at].read(&self.log, records_max);
                    self.tell(at, inputs);
                }
            }
            Step::Ask { at } => self.ask(at),
            Step::Learn { at } => self.learn(at),
            Step::Tick { at } => self.tell(at, vec![Input::Tick]),
            Step::Wait { ms } => self.now += ms,
            Step::Store { at } => self.instances[at].store(),
            Step::Restart { at, orderly, resumed } => self.restart(at, orderly, resumed),
            Step::Renew { at } => {
                let name = self.draw_incarnation();
                self.instances[at].name = name;
                self.tell(at, vec![Input::Renamed { name, given_up: None }]);
            }
            Step::ReadAgain { at } => self.tell(at, vec![Input::BeginReading]),
            Step::FallBack { at } => {
                if !self.instances[at].must_rebuild {
                    let name = self.draw_incarnation();
                    let inputs = self.instances[at].fall_back(name);
                    self.tell(at, inputs);
                }
            }
            Step::Rebuild { at } => {
                if self.instances[at].must_rebuild {
                    self.rebuilds += 1;
                    let name = self.draw_incarnation();
                    let inputs = self.instances[at].drop_partition(name);
                    self.tell(at, inputs);
                }
            }
            Step::LoseEnd { records } => self.lose_end(records),
            Step::Foreign { key } => {
                let record = self.record(key, Vec::new());
                self.foreign.push(value_of(&record));
                self.log.store(record);
            }
            Step::Forward { record, key } => {
                let Some(headers) = self.log.records.get(record).map(|record| record.headers.clone()) else {
                    return;
                };
                let record = self.record(key, headers);
                self.foreign.push(value_of(&record));
                self.log.store(record);
            }
            Step::Hole { offsets } => self.log.high.0 += offsets,
        }
    }

    /// Steps take no time any more, so that it does not tell two ways to one state apart.
    pub fn stop_the_clock(&mut self) {
        self.step_ms = 0;
    }

    /// Whether an instance has something to read.
    pub fn is_behind(&self, at: usize) -> bool {
        self.instances[at].is_behind(&self.log)
    }

    /// Whether an instance waits for an answer about the log.
    pub fn has_asked(&self, at: usize) -> bool {
        self.instances[at].asked.is_some()
    }

    /// Whether an instance is to read the partition anew.
    pub fn must_rebuild(&self, at: usize) -> bool {
        self.instances[at].must_rebuild
    }

    /// Two worlds with the same digest have the same future, whatever led to them.
    pub fn digest(&self, hasher: &mut impl Hasher) {
        let World { log, instances, appends, views, sent, wire, now, lost, .. } = self;
        log.digest(hasher);
        instances.iter().for_each(|instance| instance.digest(hasher));
        (appends, views, wire, now, lost).hash(hasher);
        for Sent { at, life, append, token, is_last, record, reported } in sent {
            (at, life, append, token, is_last, reported).hash(hasher);
            digest_record(record, hasher);
        }
    }

    fn read(&mut self, at: usize, key: usize) {
        if !self.instances[at].is_ready() {
            return;
        }
        let (key, instance) = (self.keys[key].clone(), &self.instances[at]);
        let mut seen = instance.shown(&key).to_vec();
        if let (Some(Bug::ShowsPending), Some((_, append))) = (self.bug, instance.machine.flight(&key)) {
            seen.extend(&self.appends[append.ticket].values);
        }
        let missing = |append: &&Append| {
            let acknowledged = append.at == at && append.key == key && append.answer == Some(Answer::Success);
            let acknowledged = acknowledged && !append.is_told_unaware;
            acknowledged
                && !append.values.iter().all(|value| seen.contains(value))
                && !self.is_lost(&append.values)
        };
        if let Some(append) = self.appends.iter().find(missing) {
            let text =
                format!("{:?} was acknowledged by instance {at}, which does not show it", append.values);
            self.violate(text);
        }
        let gone = |view: &&View| view.at == at && view.key == key && !seen.starts_with(&view.seen);
        let is_held = |view: &&View| !view.is_unaware && !self.is_lost(&view.seen);
        if let Some(view) = self.views.iter().filter(is_held).find(gone) {
            let text =
                format!("{:?} of {key} was shown by instance {at}, which shows {seen:?} now", view.seen);
            self.violate(text);
        }
        let is_unaware = self.instances[at].is_unaware;
        self.views.push(View { at, key, seen, is_unaware });
    }

    /// Whether an event is of an append that may be tried again.
    pub fn is_named(&self, value: Value) -> bool {
        self.appends.iter().any(|append| append.name.is_some() && append.values.contains(&value))
    }

    /// Whether any of it lay in an end of the log that was lost.
    pub fn is_lost(&self, values: &[Value]) -> bool {
        values.iter().any(|value| self.lost.contains(value))
    }

    fn append(&mut self, at: usize, view: usize, count: u32, taken: u32) {
        let Some(View { key, seen, is_unaware, .. }) = self.views.get(view).cloned() else { return };
        let values: Vec<Value> = (0..count).map(|_| self.draw_value()).collect();
        let rests_on_lost = is_unaware || self.is_lost(&seen);
        self.begin(Append { taken, ..Append::new(at, key, (seen, rests_on_lost), values) });
    }

    /// An append with an id, of one event or two.
    fn name(&mut self, at: usize, view: usize, takes_any: bool, tells: bool) {
        let Some(View { key, seen, is_unaware, .. }) = self.views.get(view).cloned() else { return };
        let values: Vec<Value> = (0..1 + view % 2).map(|_| self.draw_value()).collect();
        let told = tells.then_some(Order(seen.len() as u64));
        let name = Some(Name { of: self.appends.len(), takes_any, seen: told });
        let rests_on_lost = is_unaware || self.is_lost(&seen);
        self.begin(Append { name, ..Append::new(at, key, (seen, rests_on_lost), values) });
    }

    /// The same append again, in a process's or a client's name that does not know what became of it.
    fn retry(&mut self, at: usize, append: AppendId) {
        let Some(Append { key, seen, rests_on_lost, values, name: name @ Some(_), .. }) =
            self.appends.get(append).cloned()
        else {
            return;
        };
        let rests_on_lost = rests_on_lost || self.is_lost(&seen);
        self.begin(Append { name, ..Append::new(at, key, (seen, rests_on_lost), values) });
    }

    /// Another decision under the same id.
    fn redeliver(&mut self, at: usize, append: AppendId, view: usize) {
        let Some(Append { key, name: name @ Some(_), .. }) = self.appends.get(append).cloned() else {
            return;
        };
        let Some(View { key: of, seen, is_unaware, .. }) = self.views.get(view).cloned() else { return };
        if of != key {
            return;
        }
        let values = vec![self.draw_value()];
        let rests_on_lost = is_unaware || self.is_lost(&seen);
        self.begin(Append { name, ..Append::new(at, key, (seen, rests_on_lost), values) });
    }

    fn begin(&mut self, append: Append) {
        let (at, id) = (append.at, self.appends.len());
        if !self.instances[at].is_ready() {
            return;
        }
        let expected = if append.takes_any() { Expected::Any } else { expected(append.first()) };
        let events = append.values.iter().map(|value| content(*value)).collect();
        let identity = append.name.map(|name| Identity {
            id: machine_id(name.of),
            // Without the order that was seen, a first try may be overtaken by its retry and by more than a small window holds.
            is_first: name.of == id && (self.id_window == ID_WINDOW || name.seen.is_some()),
            seen: name.seen,
        });
        let mut request = AppendRequest { key: append.key.clone(), expected, events, identity };
        request.carry_id();
        self.appends.push(append);
        let input = self.instances[at].append(id, request);
        self.tell(at, vec![input]);
    }

    /// Has a machine take inputs and carries its work out, until nothing follows from it.
    fn tell(&mut self, at: usize, mut inputs: Inputs) {
        while !inputs.is_empty() {
            let is_one = inputs.len() == 1;
            let mut work = self.instances[at].step(&mut inputs, self.now);
            for answer in work.answers.drain(..) {
                self.answered(at, answer, is_one);
            }
            self.send(at, work.sends, &mut inputs);
            if !work.rerouted.is_empty() || !work.held.is_empty() {
                self.violate(format!(
                    "there is one partition and room for all, and instance {at} gave an append away"
                ));
            }
            for notice in work.notices {
                if let (Notice::Degraded(reason), true) = (notice, self.lost.is_empty()) {
                    self.violate(format!("instance {at} reads the one log there is, and was told: {reason}"));
                }
            }
        }
        self.instances[at].end_step();
        if let Some(fault) = self.instances[at].fault.take() {
            self.violate(format!("instance {at}: {fault}"));
        }
    }

    /// Hands records to the appender. Where one is not taken, the rest of its append is left out.
    fn send(&mut self, at: usize, sends: Vec<Send>, inputs: &mut Inputs) {
        let (mut stopped, mut last) = (None, (None, 0));
        for Send { token, append, key, value, headers } in sends {
            last = (Some(append), if last.0 == Some(append) { last.1 + 1 } else { 1 });
            let key = Key::new(key).expect("an append has a key");
            let (_, flight) = self.instances[at].machine.flight(&key).expect("what is sent is in flight");
            let (id, i) = (flight.ticket, last.1);
            if i > self.appends[id].taken && stopped != Some(append) {
                stopped = Some(append);
                let detail = String::from("the queue is full");
                let error = AppendError::NotStored { detail: detail.clone() };
                inputs.push(Input::SendFailed { token, detail, error });
            }
            if stopped == Some(append) && self.bug != Some(Bug::SendsTheRest) {
                continue;
            }
            let record = Record { value, headers, ..unmarked(&key, 0) };
            let is_last = i as usize == self.appends[id].values.len();
            let life = self.instances[at].life;
            self.wire.push(self.sent.len());
            self.sent.push(Sent { at, life, append: id, token, is_last, record, reported: false });
        }
    }

    fn record(&mut self, key: usize, headers: Vec<Header>) -> Record {
        let value = self.draw_value();
        let key = self.keys[key].clone();
        Record { headers, ..unmarked(&key, value) }
    }

    fn deliver(&mut self, copy: usize, again: bool) {
        let Some(sent) = self.wire.get(copy).copied() else { return };
        if !again {
            self.wire.remove(copy);
        }
        let record = self.sent[sent].record.clone();
        let offset = self.log.store(record);
        self.report(sent, Delivery::Stored { offset: Some(offset), timestamp: None });
    }

    fn lose(&mut self, copy: usize, known: bool) {
        let Some(sent) = self.wire.get(copy).copied() else { return };
        self.wire.remove(copy);
        // A copy stays on the wire only when another was stored, and that one was reported.
        let delivery = match known {
            true => Delivery::NotStored { detail: "dropped".into() },
            false => Delivery::Unknown { detail: "no answer".into() },
        };
        self.report(sent, delivery);
    }

    /// A record is reported on once, whatever becomes of its copies.
    fn report(&mut self, sent: usize, delivery: Delivery) {
        let Sent { at, life, reported, .. } = &mut self.sent[sent];
        let instance = &mut self.instances[*at];
        if !std::mem::replace(reported, true) && instance.life == *life {
            instance.reports.push((sent, delivery));
        }
    }

    fn reported(&mut self, at: usize, report: usize, manner: Manner) {
        if report >= self.instances[at].reports.len() {
            return;
        }
        let (sent, delivery) = self.instances[at].reports.remove(report);
        let Sent { append, token, is_last, .. } = self.sent[sent];
        let delivery = match (manner, delivery) {
            (Manner::Lost, _) => return,
            (Manner::AsUnknown, _) => Delivery::Unknown { detail: "the answer was lost".into() },
            (Manner::WithoutOffset, Delivery::Stored { .. }) => {
                Delivery::Stored { offset: None, timestamp: None }
            }
            (Manner::Fast, Delivery::Stored { offset, .. }) => {
                Delivery::Stored { offset, timestamp: Some(TimestampMs(0)) }
            }
            (_, delivery) => delivery,
        };
        let is_stored = matches!(delivery, Delivery::Stored { .. });
        if self.bug == Some(Bug::AnswersOnAcknowledgement) && is_stored && is_last {
            self.answer(append, Answer::Success, true);
        }
        let before = self.instances[at].machine.position();
        let was_unaware = self.instances[at].is_unaware;
        self.instances[at].is_unaware |= self.is_gone(sent, &delivery);
        self.tell(at, vec![Input::Report { token, delivery }]);
        if self.instances[at].machine.position() == before {
            self.instances[at].is_unaware = was_unaware;
        }
    }

    /// Whether a record does not lie where its report says, since the log lost it.
    fn is_gone(&self, sent: usize, delivery: &Delivery) -> bool {
        let Delivery::Stored { offset: Some(offset), .. } = delivery else { return false };
        let is_it = |record: &Record| value_of(record) == value_of(&self.sent[sent].record);
        !self.log.at(*offset).is_some_and(is_it)
    }

    fn learn(&mut self, at: usize) {
        if let Some(read) = self.instances[at].asked.take() {
            self.instances[at].high = Some(read.marks.high);
            let read = WatermarksRead { answered: self.now, ..read };
            self.tell(at, vec![Input::Watermarks(read)]);
        }
    }

    fn ask(&mut self, at: usize) {
        self.now += 1;
        let instance = &mut self.instances[at];
        let machine = &instance.machine;
        let (fold, applied, target) = (machine.fold(), machine.position(), machine.snapshot().target);
        let before = Some(BeforeQuestion { fold, applied, target });
        let (marks, asked) = (self.log.marks(), self.now);
        instance.asked = Some(WatermarksRead { marks, asked, answered: asked, before });
    }

    fn lose_end(&mut self, records: usize) {
        let lost = self.log.lose_end(records);
        if lost.is_empty() {
            return;
        }
        self.lost.extend(lost.iter().map(value_of));
        let World { appends, acknowledged, instances, log, lost, .. } = self;
        let is_lost = |values: &[Value]| values.iter().any(|value| lost.contains(value));
        acknowledged.retain(|_, id| !is_lost(&appends[*id].values));
        for append in appends {
            append.rests_on_lost |= is_lost(&append.seen);
            append.is_refusal_lost |= append.answered_at > log.high;
        }
        instances.iter_mut().for_each(|instance| instance.log_lost_end(log.high));
    }

    /// An append of an instance has ended.
    fn answered(&mut self, at: usize, answer: machine::Answer<AppendId>, is_one: bool) {
        let (id, answer) = match answer {
            machine::Answer::Stored { ticket, appended } => {
                if self.appends[ticket].takes_any() {
                    self.appends[ticket].placed = Some(appended.first);
                }
                self.check_place(ticket, appended);
                (ticket, Answer::Success)
            }
            machine::Answer::Found { append, first } => {
                (append.ticket, self.compare(at, append.ticket, &first))
            }
            machine::Answer::Failed { ticket, error } => {
                self.used += u64::from(matches!(error, AppendError::IdUsed { .. }));
                self.not_found += u64::from(matches!(error, AppendError::IdWindow { .. }));
                let instance = &self.instances[at];
                let passed = instance.high.is_some_and(|high| high <= instance.machine.position());
                let bug = self.bug.filter(|bug| *bug == Bug::TakesHighForNotStored && passed);
                (ticket, told(&error, bug))
            }
            machine::Answer::Unverified { append, .. } => {
                self.violate(format!("{append:?} was to be verified, and was verified before"));
                (append.ticket, Answer::NotStored)
            }
        };
        self.answer(id, answer, is_one);
    }

    /// An append was found by its id: it is that one if the content is the same.
    fn compare(&mut self, at: usize, id: AppendId, first: &EventOutline) -> Answer {
        let Append { key, values, name, .. } = &self.appends[id];
        let count = first.stamp.map_or(1, |stamp| stamp.count() as usize);
        let begin = first.order.0 as usize;
        let stored = &self.instances[at].shown(key)[begin..begin + count];
        let mut named = self.appends.iter().filter(|append| append.name == *name);
        if !named.any(|append| append.values == stored) {
            let text = format!("{stored:?} was found for the id of {values:?}");
            self.violate(text);
            return Answer::NotStored;
        }
        if stored != values {
            // It was decided anew: its id was used.
            self.used += 1;
            return Answer::NotStored;
        }
        self.appends[id].placed = Some(first.order);
        self.found += 1;
        Answer::Success
    }

    /// Whether an append lies where its caller is told.
    fn check_place(&mut self, id: AppendId, appended: Appended) {
        let append = &self.appends[id];
        let first = append.first();
        let last = Order(first.0 + append.values.len() as u64 - 1);
        let is_there = |record: &Record| Some(&value_of(record)) == append.values.last();
        let found = self.log.at(Offset(appended.offset.0)).is_some_and(is_there);
        let is_true = (appended.first, appended.last) == (first, last) && appended.partition == Partition(0);
        if !is_true || !(found || self.is_lost(&append.values)) {
            self.violate(format!("{append:?} is said to lie at {appended:?}"));
        }
    }

    /// `is_one`: nothing else happened in the same step.
    fn answer(&mut self, id: AppendId, answer: Answer, is_one: bool) {
        let append = &mut self.appends[id];
        if append.answer.is_some() {
            if self.bug != Some(Bug::AnswersOnAcknowledgement) {
                self.violate(format!("append {id} was answered twice"));
            }
            return;
        }
        append.answer = Some(answer);
        let instance = &self.instances[append.at];
        if self.is_lossy {
            append.answered_at = instance.machine.position();
        }
        append.is_told_unaware = instance.is_unaware;
        let (key, first, count, at) = (append.key.clone(), append.first(), append.values.len(), append.at);
        match answer {
            // It may lie in an end of the log that was lost since.
            Answer::Success if self.appends[id].is_told_unaware || self.is_lost(&self.appends[id].values) => {
            }
            Answer::Success => {
                for order in (first.0..).take(count).map(Order) {
                    let other = self.acknowledged.insert((key.clone(), order), id);
                    let is_other = |other: &AppendId| self.appends[*other].values != self.appends[id].values;
                    if let Some(other) = other.filter(is_other) {
                        self.violate(format!(
                            "{id} and {other} were both acknowledged at order {order} of {key}"
                        ));
                    }
                }
            }
            Answer::Conflict { next } => {
                let real = Order(self.instances[at].shown(&key).len() as u64);
                // What was applied after it in the same step is shown as well.
                if next != real && (is_one || next > real) || first == next {
                    self.violate(format!(
                        "{id} at {first} was refused naming {next}, and the next is {real}"
                    ));
                }
            }
            Answer::NotStored | Answer::Unknown => {}
        }
    }

    fn restart(&mut self, at: usize, orderly: bool, resumed: bool) {
        if orderly {
            self.stop(at);
        }
        for id in 0..self.appends.len() {
            let Append { key, answer: None, at: here, .. } = &self.appends[id] else { continue };
            if *here == at {
                // The connection broke. What waited was never sent, so it can be held to the stronger promise.
                let flight = self.instances[at].machine.flight(key);
                let in_flight = flight.is_some_and(|(_, append)| append.ticket == id);
                self.answer(id, if in_flight { Answer::Unknown } else { Answer::NotStored }, true);
            }
        }
        let stored = if resumed { self.instances[at].clone().into_stored() } else { Stored::default() };
        self.instances[at] = self.start(stored);
        self.tell(at, vec![Input::BeginReading]);
    }

    fn stop(&mut self, at: usize) {
        self.tell(at, vec![Input::Stop]);
        self.tell(at, vec![Input::GiveUp]);
    }

    /// The end of a run: what is on the wire arrives after all, and everyone reads to the end and shuts down.
    pub fn finish(&mut self) {
        self.deliver_all();
        for at in 0..self.instances.len() {
            self.catch_up(at);
            for id in 0..self.appends.len() {
                if self.appends[id].at == at && self.appends[id].answer.is_none() {
                    self.take(Step::Wait { ms: 20_000 });
                    self.take(Step::Tick { at });
                }
            }
            self.stop(at);
        }
        // A tick may have freed a key and sent the next in its queue.
        self.deliver_all();
        (0..self.instances.len()).for_each(|at| self.catch_up(at));
    }

    fn deliver_all(&mut self) {
        while !self.wire.is_empty() {
            self.take(Step::Deliver { copy: 0, again: false });
        }
    }

    /// Reads to the end. Where the log lost its end once, what it says of that is asked for, until nothing new follows from it.
    fn catch_up(&mut self, at: usize) {
        for _ in 0..20 {
            while self.is_behind(at) {
                self.take(Step::Apply { at, records_max: 1 });
            }
            let is_asking = !self.lost.is_empty() || !self.instances[at].is_ready();
            if is_asking {
                self.take(Step::Ask { at });
                self.take(Step::Learn { at });
            }
            self.take(Step::Rebuild { at });
            if self.instances[at].is_ready() && !self.is_behind(at) {
                return;
            }
        }
        self.violate(format!("instance {at} is not served again, whatever happens"));
    }
}

/// An event of this value; every third has a header of its writer's.
fn content(value: Value) -> EventContent {
    let header = Header { name: "of".into(), value: Some(value.to_string().into()) };
    let headers = if value.is_multiple_of(3) { vec![header] } else { Vec::new() };
    EventContent { value: Some(value.to_string().into()), headers }
}

/// What the caller of an append that failed concludes.
fn told(error: &AppendError, bug: Option<Bug>) -> Answer {
    match error {
        AppendError::Conflict { current, .. } | AppendError::AlreadyExists { current } => {
            Answer::Conflict { next: *current }
        }
        AppendError::NoSuchAggregate { .. } => Answer::Conflict { next: Order::FIRST },
        AppendError::Unknown { .. } if bug != Some(Bug::TakesHighForNotStored) => Answer::Unknown,
        AppendError::IdWindow { .. } => Answer::Unknown,
        _ => Answer::NotStored,
    }
}

fn machine_id(of: AppendId) -> bkes_core::append_id::AppendId {
    bkes_core::append_id::AppendId::new(of.to_string()).expect("a number is short")
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
