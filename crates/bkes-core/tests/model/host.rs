//! An instance: it hosts one partition machine as an owner of the engine does. It keeps what it shows, a reader's place in the log,
//! the keys in flight and what is stored, steps the machine, and shows what the work says; the rest of the work is the world's.

use crate::fold::{Histories, marked_as, taken_for, value_of};
use crate::log::Log;
use crate::world::{AppendId, Bug};
use bkes_core::append::{AppendError, AppendRequest, Expected, Unready};
use bkes_core::checksum::record_sum;
use bkes_core::machine::{
    Accepted, Append, Beginning, Counted, Cover, Fetched, FoldId, Input, Known, Load, Located, Lookup,
    Origin, PartitionMachine, Records, Settings, Shown, WatermarksRead, Work,
};
use bkes_core::marker::classify;
use bkes_core::sequence::NowMs;
use bkes_core::{
    Checkpoint, Count, Delivery, EventOutline, Fingerprint, Head, Incarnation, IncarnationState, Key,
    LeaderEpoch, Marker, Offset, Order, Partition, Position, ReadFailure, Record, RecordClass, Stamp,
};
use std::cell::{Cell, RefCell};
use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write;
use std::hash::{DefaultHasher, Hash, Hasher};
use std::ops::Range;

pub type Machine = PartitionMachine<AppendId>;
pub type Inputs = Vec<Input<AppendId>>;

/// All keys hash alike: nothing may rest on their not doing so.
const HASH: u64 = 7;
const PARTITION: Partition = Partition(0);

/// The accepted events of each key without their content.
type Outlines = BTreeMap<Key, Vec<EventOutline>>;

/// What a store holds of the partition.
#[derive(Clone, Default, Debug)]
pub struct Stored {
    checkpoint: Option<Checkpoint>,
    incarnations: BTreeMap<Incarnation, IncarnationState>,
    histories: Histories,
    outlines: Outlines,
    /// See `Instance::is_unaware`.
    is_unaware: bool,
}

#[derive(Clone, Debug)]
struct Reader {
    place: Position,
    is_reading: bool,
    /// It is to be told that the log ended here, before what it had read.
    lost_end: Option<Position>,
}

/// What the machine is answered by.
#[derive(Clone, Debug)]
struct Keys {
    bug: Option<Bug>,
    claimed: RefCell<BTreeSet<Key>>,
    /// Where a key stood when an append of it was taken in that had not to wait.
    before: RefCell<BTreeMap<Key, Option<Head>>>,
}

#[derive(Clone, Debug)]
pub struct Instance {
    /// Which process it is, of all there ever were.
    pub life: Incarnation,
    pub machine: Machine,
    /// The name that records are numbered under.
    pub name: Incarnation,
    /// What it shows.
    pub histories: Histories,
    outlines: Outlines,
    reader: Reader,
    keys: Keys,
    /// What is to be stored next, but for the histories.
    noted: Stored,
    stored: Stored,
    /// Reports on their way: a record by its place in `World::sent`.
    pub reports: Vec<(usize, Delivery)>,
    /// An answer about the log that is on its way.
    pub asked: Option<WatermarksRead>,
    /// The last high watermark it learned.
    pub high: Option<Position>,
    /// The partition is to be dropped, and read anew.
    pub must_rebuild: bool,
    /// It has applied what was lost with the log's end, and has not begun anew since: it may say what is no longer so.
    pub is_unaware: bool,
    /// Events that were accepted, and are shown one step late.
    unshown: Vec<Accepted>,
    /// Offsets that were applied by their reports; kept for a host that changes what it reads.
    applied_unread: BTreeSet<Offset>,
    /// What its host did that no host may.
    pub fault: Option<String>,
    /// Of the machine's text, as long as it is not stepped.
    digest: Cell<Option<u64>>,
}

impl Instance {
    /// An instance that begins where `stored` ends.
    pub fn start(stored: Stored, name: Incarnation, log: &Log, broken: (u64, Option<Bug>)) -> Instance {
        let (id_window, bug) = broken;
        let mut stored = stored;
        if bug == Some(Bug::ForgetsOpenBatch) {
            stored.incarnations.values_mut().for_each(|state| state.open = None);
        }
        let beginning = stored.beginning(FoldId(0), Shown::MustReturn);
        let origin = Origin { partition: PARTITION, name, marks: log.marks(), beginning };
        let settings = Settings { allow_cut: false, ready_lag_ms: 30_000, evidence_max: 0, id_window };
        let keys = Keys { bug, claimed: RefCell::default(), before: RefCell::default() };
        Instance {
            life: name,
            machine: PartitionMachine::new(origin, settings),
            name,
            histories: stored.histories.clone(),
            outlines: stored.outlines.clone(),
            reader: Reader { place: Position::START, is_reading: false, lost_end: None },
            keys,
            noted: stored.clone(),
            reports: Vec::new(),
            asked: None,
            high: None,
            must_rebuild: false,
            is_unaware: stored.is_unaware,
            unshown: Vec::new(),
            applied_unread: BTreeSet::new(),
            fault: None,
            digest: Cell::new(None),
            stored,
        }
    }

    fn answers(&self) -> Answers<'_> {
        Answers { histories: &self.histories, outlines: &self.outlines, keys: &self.keys }
    }

    pub fn digest(&self, hasher: &mut impl Hasher) {
        let digest = self.digest.get().unwrap_or_else(|| self.digest_of_machine());
        self.digest.set(Some(digest));
        let Instance { histories, reader, stored, reports, asked, must_rebuild, is_unaware, .. } = self;
        (digest, histories, must_rebuild, is_unaware).hash(hasher);
        (reader.place, reader.is_reading, reader.lost_end).hash(hasher);
        text(&(reports, asked, stored)).hash(hasher);
        if self.keys.bug.is_some() {
            text(&(&self.keys, &self.unshown, &self.applied_unread, self.high)).hash(hasher);
        }
    }

    fn digest_of_machine(&self) -> u64 {
        let mut hasher = DefaultHasher::new();
        text(&self.machine).hash(&mut hasher);
        hasher.finish()
    }

    /// What a crash leaves of it.
    pub fn into_stored(self) -> Stored {
        self.stored
    }

    pub fn is_ready(&self) -> bool {
        self.machine.snapshot().unserved().is_none()
    }

    /// Whether reading would meet something.
    pub fn is_behind(&self, log: &Log) -> bool {
        self.reader.is_reading && (self.reader.place != log.high || self.reader.lost_end.is_some())
    }

    /// The events it shows of a key.
    pub fn shown(&self, key: &Key) -> &[u64] {
        self.histories.get(key).map_or(&[], Vec::as_slice)
    }

    /// The log lost its end. A reader that had come further is told, by the leader's epoch.
    pub fn log_lost_end(&mut self, end: Position) {
        let is_ahead =
            |checkpoint: Option<Checkpoint>| checkpoint.is_some_and(|checkpoint| checkpoint.position > end);
        self.is_unaware |= self.machine.position() > end;
        self.stored.is_unaware |= is_ahead(self.stored.checkpoint);
        let Reader { place, is_reading, lost_end } = &mut self.reader;
        if *is_reading && (*place > end || lost_end.is_some()) {
            *lost_end = Some(lost_end.map_or(end, |before| before.min(end)));
        }
    }

    /// An append, as the machine takes it.
    pub fn append(&self, id: AppendId, request: AppendRequest) -> Input<AppendId> {
        let load = Load::of(&request);
        let append = Box::new(Append {
            request,
            load,
            is_verified: true,
            resent: 0,
            overtaken: 0,
            looked_at: None,
            ticket: id,
        });
        let lookup = self.answers();
        let located = lookup.located(lookup.head(&append.request.key));
        if !self.machine.is_busy(&append.request.key) {
            self.keys.before.borrow_mut().insert(append.request.key.clone(), located.known.head);
        }
        Input::Append { append, located }
    }

    /// What the reader gives next, of at most so many records.
    pub fn read(&mut self, log: &Log, records_max: usize) -> Inputs {
        let stopped = match self.reader.lost_end.take() {
            Some(end) => Some(ReadFailure::LostEnd { end }),
            None if self.reader.place > log.high => {
                Some(ReadFailure::OutOfRange { position: self.reader.place })
            }
            None => None,
        };
        if let Some(failure) = stopped {
            self.reader.is_reading = false;
            return vec![Input::ReadFailed(failure)];
        }
        let mut inputs = Vec::new();
        for _ in 0..records_max {
            let Some((record, epoch)) = log.next(self.reader.place) else {
                if self.reader.place < log.high {
                    self.reader.place = log.high;
                    inputs.push(Input::EndOfPartition(log.high));
                }
                break;
            };
            self.reader.place = record.offset.next();
            inputs.extend(self.met(record, epoch, log));
        }
        inputs
    }

    /// What the reader gives of a record: every second one below the applied position by its sum only.
    fn met(&self, record: &Record, epoch: LeaderEpoch, log: &Log) -> Option<Input<AppendId>> {
        let offset = record.offset;
        let is_applied = offset < self.machine.position().offset();
        if is_applied && self.keys.bug == Some(Bug::DoesNotCompare) {
            return None;
        }
        let is_as_sent = self.applied_unread.contains(&offset);
        let record = if is_as_sent { record.clone() } else { self.taken_for(record, log) };
        let epoch = Some(epoch);
        if is_applied && offset.0 % 2 == 1 {
            let crc32c = record_sum(&record);
            return Some(Input::Known(Fingerprint { offset, crc32c, epoch }));
        }
        let lookup = self.answers();
        let counted = self.machine.wants(&record).map(|key| lookup.counted(&key));
        Some(Input::Record(Fetched { record, epoch, counted }))
    }

    /// The record, or what a broken host makes of it.
    fn taken_for(&self, record: &Record, log: &Log) -> Record {
        let bug = self.keys.bug;
        let RecordClass::Marked(marker) = classify(record) else { return taken_for(bug, record) };
        if bug != Some(Bug::JudgesTwice) {
            return taken_for(bug, record);
        }
        let is_copy = |other: &&Record| {
            let is_same = |stamp: Stamp| stamp == marker.stamp;
            matches!(classify(other), RecordClass::Marked(Marker { stamp, .. }) if is_same(stamp))
        };
        let before = log.records.iter().take_while(|other| other.offset < record.offset);
        let copies = before.filter(is_copy).count() as u64;
        let incarnation = Incarnation(marker.stamp.incarnation.0 + 1_000_000 * copies);
        marked_as(record, Marker { stamp: Stamp { incarnation, ..marker.stamp }, ..marker })
    }

    /// Steps the machine and shows what was accepted. The rest of the work comes back.
    pub fn step(&mut self, inputs: &mut Inputs, now: NowMs) -> Work<AppendId> {
        self.digest.set(None);
        let late = std::mem::take(&mut self.unshown);
        self.show(late);
        let firsts = self.first_members(inputs);
        let before = self.machine.position();
        let is_report = matches!(inputs.as_slice(), [Input::Report { .. }]);
        let lookup = Answers { histories: &self.histories, outlines: &self.outlines, keys: &self.keys };
        self.machine.step(inputs, now, &lookup);
        let mut work = self.machine.take_work(&mut None).map_or_else(Work::default, |work| *work);
        let events = std::mem::take(&mut work.events);
        if self.keys.bug == Some(Bug::AnswersBeforeShowing) {
            self.unshown = events;
        } else {
            self.show(events);
        }
        for (key, record) in
            firsts.into_iter().filter(|(_, record)| self.machine.position() > Position(record.offset.0))
        {
            self.histories.entry(key).or_default().push(value_of(&record));
        }
        if self.keys.bug == Some(Bug::IgnoresBase) && is_report && self.machine.position() > before {
            self.applied_unread.insert(before.offset());
        }
        if let Some(place) = work.read_from.take() {
            self.reader = Reader { place, is_reading: true, lost_end: None };
        }
        self.must_rebuild |= work.rebuild.take().is_some();
        work
    }

    /// The first members of batches, where they are shown before the others are there.
    fn first_members(&self, inputs: &Inputs) -> Vec<(Key, Record)> {
        let of = |input: &Input<AppendId>| {
            let Input::Record(Fetched { record, .. }) = input else { return None };
            let RecordClass::Marked(Marker { stamp, .. }) = classify(record) else { return None };
            let is_first =
                stamp.count() > 1 && stamp.i() == 1 && record.offset >= self.machine.position().offset();
            is_first.then(|| Some((record.aggregate()?, record.clone())))?
        };
        if self.keys.bug != Some(Bug::AcceptsFirstMember) {
            return Vec::new();
        }
        inputs.iter().filter_map(of).collect()
    }

    fn show(&mut self, events: Vec<Accepted>) {
        for accepted in events {
            let first = accepted.first();
            self.outlines.entry(accepted.key.clone()).or_default().extend(accepted.outlines());
            let history = self.histories.entry(accepted.key).or_default();
            if first != Order(history.len() as u64) {
                self.fault.get_or_insert(format!("an event takes order {first} behind {history:?}"));
            }
            match &accepted.records {
                Records::One(record) => history.push(value_of(record)),
                Records::Batch(records) => history.extend(records.iter().map(value_of)),
            }
        }
    }

    /// The end of a step: what is to be stored is taken from the machine.
    pub fn end_step(&mut self) {
        if let Some(Cover { checkpoint, incarnations }) = self.machine.take_checkpoint() {
            self.digest.set(None);
            self.noted.checkpoint = Some(checkpoint);
            for (incarnation, state) in incarnations {
                match state {
                    Some(state) => self.noted.incarnations.insert(incarnation, state),
                    None => self.noted.incarnations.remove(&incarnation),
                };
            }
        }
        let claimed = self.keys.claimed.borrow();
        if claimed.len() != self.machine.in_flight() || !claimed.iter().all(|key| self.machine.is_busy(key)) {
            self.fault.get_or_insert(format!("{claimed:?} are claimed, and others are in flight"));
        }
    }

    /// What is applied is stored.
    pub fn store(&mut self) {
        self.stored = Stored {
            histories: self.histories.clone(),
            outlines: self.outlines.clone(),
            is_unaware: self.is_unaware,
            ..self.noted.clone()
        };
    }

    /// The store holds nothing of the partition any more, and its fold begins anew.
    pub fn drop_partition(&mut self, name: Incarnation) -> Inputs {
        self.must_rebuild = false;
        self.stored = Stored::default();
        self.begin_anew(name, Shown::IsVoid)
    }

    /// The store fell back to what it held, and so does the fold.
    pub fn fall_back(&mut self, name: Incarnation) -> Inputs {
        self.begin_anew(name, Shown::MustReturn)
    }

    fn begin_anew(&mut self, name: Incarnation, shown: Shown) -> Inputs {
        let given_up = Some(std::mem::replace(&mut self.name, name));
        self.unshown.clear();
        self.is_unaware = self.stored.is_unaware;
        self.noted = self.stored.clone();
        self.histories = self.stored.histories.clone();
        self.outlines = self.stored.outlines.clone();
        let beginning = self.stored.beginning(FoldId(self.machine.fold().0 + 1), shown);
        vec![Input::Renamed { name, given_up }, Input::BeginAnew(Box::new(beginning)), Input::BeginReading]
    }
}

impl Stored {
    fn beginning(&self, fold: FoldId, shown: Shown) -> Beginning {
        let incarnations = self.incarnations.iter().map(|(name, state)| (*name, state.clone())).collect();
        Beginning { fold, checkpoint: self.checkpoint, incarnations, shown }
    }
}

/// What the host of a machine knows, as of now.
struct Answers<'a> {
    histories: &'a Histories,
    outlines: &'a Outlines,
    keys: &'a Keys,
}

impl Answers<'_> {
    fn head(&self, key: &Key) -> Option<Head> {
        let next = self.histories.get(key).map_or(0, |events| events.len() as u64);
        (next > 0).then_some(Head { partition: PARTITION, base: Order::FIRST, next: Order(next) })
    }

    fn counted(&self, key: &Key) -> Counted {
        Counted { hash: HASH, key: key.clone(), count: Count { head: self.head(key), elsewhere: false } }
    }

    fn located(&self, head: Option<Head>) -> Located {
        Located { partition: PARTITION, known: Known { head, as_of: 0 } }
    }
}

impl Lookup<AppendId> for Answers<'_> {
    fn hash(&self, _: &Key) -> u64 {
        HASH
    }

    fn count(&self, key: &Key, _: Known) -> Option<Counted> {
        Some(self.counted(key))
    }

    fn outlines(&self, key: &Key, orders: Range<Order>) -> Result<Vec<EventOutline>, Unready> {
        let all = self.outlines.get(key).map_or(&[][..], Vec::as_slice);
        let asked = orders.start.0 as usize..orders.end.0 as usize;
        let Some(found) = all.get(asked) else {
            assert!(self.keys.bug.is_some(), "only events that are there are asked for");
            return Err(Unready::ShuttingDown);
        };
        let mut found = found.to_vec();
        if self.keys.bug == Some(Bug::ForgetsIds) {
            found.iter_mut().for_each(|event| event.append_id = None);
        }
        Ok(found)
    }

    fn is_elsewhere(&self, _: &Counted) -> bool {
        false
    }

    fn locate(&self, append: &Append<AppendId>, here: Option<Head>) -> Result<Located, AppendError> {
        let key = &append.request.key;
        let shown = self.head(key);
        Ok(self.located(match self.keys.bug {
            Some(Bug::ForgetsTheStep) => shown,
            Some(Bug::ChecksStaleCount) => self.keys.before.borrow().get(key).copied().flatten(),
            _ => here.or(shown),
        }))
    }

    fn claim(&self, key: &Key) -> Result<(), Partition> {
        if self.keys.claimed.borrow_mut().insert(key.clone()) { Ok(()) } else { Err(PARTITION) }
    }

    fn release(&self, key: &Key) {
        self.keys.claimed.borrow_mut().remove(key);
    }

    fn is_gone(&self, _: &AppendId) -> bool {
        false
    }

    fn unsendable(&self) -> Option<Unready> {
        None
    }

    fn fits(&self, _: &Append<AppendId>, _: Load) -> bool {
        true
    }

    fn has_room(&self, _: Load) -> Result<(), Unready> {
        Ok(())
    }

    fn record_bytes_max(&self) -> Option<u64> {
        Some(1_000)
    }
}

fn text(value: &impl std::fmt::Debug) -> String {
    let mut text = String::with_capacity(4_096);
    write!(text, "{value:?}").expect("writing to a string cannot fail");
    text
}

/// What an append that names this order believes of its aggregate.
pub fn expected(first: Order) -> Expected {
    if first == Order::FIRST { Expected::New } else { Expected::At(first) }
}
