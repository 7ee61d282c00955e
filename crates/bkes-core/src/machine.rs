//! The partition machine: everything that is decided about one partition.
//!
//! ```text
//!                        ┌───────────────── PartitionMachine ─────────────────┐
//!   Input ── step ─────► │ accept rule   sequencer   read-back   degradation  │ ─────► Work, carried out by the host
//!                        └──────────────▲─────────────────────────────────────┘
//!                                    Lookup: what the host knows, as of now
//! ```
//!
//! Inputs go in, work comes out; no thread, clock, disk or network is in between. [`Input`] is the closed list of what can happen,
//! [`Work`] what follows from it, in the order in which the host carries it out, and [`Lookup`] what has to be asked meanwhile, since
//! there may be millions of keys. The same inputs and the same answers give the same work.
//!
//! Invariants: every record of a partition goes through [`AcceptRule`] once per fold, in offset order; an append is answered after its
//! events are in the work before it; nothing is sent while the partition is not caught up, is degraded, or cannot be decided; a key is
//! claimed as long as an append of it is in flight.

mod appends;
mod beginning;
mod debug;
mod degradation;
mod fingerprint;
mod ids;
mod input;
mod limits;
mod lookup;
mod premises;
mod readback;
mod records;
mod settling;
mod snapshot;
mod tally;
mod watermarks;
mod work;

pub use degradation::{Degradation, Shown};
pub use ids::LookedAt;
pub use input::{
    Append, BeforeQuestion, Beginning, Counted, Fetched, Input, Known, Load, Located, WatermarksRead,
};
pub use limits::MARKER_BYTES_MAX;
pub use lookup::Lookup;
pub use readback::Divergence;
pub use settling::refused;
pub use snapshot::{FoldId, Snapshot};
pub use work::{Accepted, Answer, Notice, Records, Scope, Send, Work};

use self::premises::Premises;
use self::readback::Readback;
use self::tally::Strangers;
use crate::append::EventContent;
use crate::sequence::{NowMs, Sequencer, Settled};
use crate::{
    AcceptRule, Checkpoint, Fingerprint, Head, Incarnation, IncarnationState, Key, Marker, Partition,
    Position,
};
use crate::{Token, Watermarks};
use hashbrown::{HashMap, HashTable};
use std::collections::VecDeque;

/// What is set for all partitions.
#[derive(Clone, Copy, Debug)]
pub struct Settings {
    /// Appends to cut partitions are allowed.
    pub allow_cut: bool,
    /// Appends are taken while reading lags less than this.
    pub ready_lag_ms: NowMs,
    /// Keys of a partition that may be taken as evidence of how the topic's writers place keys.
    pub evidence_max: usize,
    /// So many of an aggregate's last events are looked at for an append's id: [`ID_WINDOW`](crate::append_id::ID_WINDOW).
    pub id_window: u64,
}

/// Everything that is decided about one partition. `T` is what the host answers an append by.
#[derive(Clone)]
pub struct PartitionMachine<T> {
    partition: Partition,
    settings: Settings,

    // The fold.
    fold: FoldId,
    rule: AcceptRule,
    checkpoint: Checkpoint,
    readback: Readback,
    premises: Premises,
    strangers: Strangers,
    evidence_left: usize,
    /// Whether the checkpoint is ahead of what the host was given to store.
    is_dirty: bool,
    /// What was folded is not what the log holds. Nothing more is applied on top of it: the checkpoint would name a record of the log as
    /// it is now, and a process that resumes there would not notice what is missing below.
    is_condemned: bool,

    // Reading.
    /// Its turn to be read has not come; what the reader may still give is from an earlier fold.
    awaits_turn: bool,
    /// Reading has ended until an answer says otherwise that was asked for after this.
    stopped: Option<Stopped>,
    /// Where the log ended at some moment, if that is before a record that reading had met.
    lost_end: Option<Position>,

    // What is known of the log, and what is served.
    marks: Watermarks,
    /// The marks before these, and when they were answered.
    marks_before: Option<(Watermarks, NowMs)>,
    /// Up to where it must be applied before it is served; `None` until the log says so.
    target: Option<Position>,
    is_caught_up: bool,
    /// Since when something is known to be unread.
    lagging_since: Option<NowMs>,
    is_stalled: bool,
    degradation: Option<Degradation>,

    // Appends.
    sequencer: Sequencer<Box<Append<T>>, Box<Append<T>>>,
    /// Records on their way to the log.
    sent: HashMap<Token, Sent>,
    sent_load: Load,
    next_token: Token,
    is_stopping: bool,

    // Of the step that is being made.
    work: Box<Work<T>>,
    /// The last event of each key in the work: its place there.
    opened: HashTable<usize>,
    /// Room for what ends; empty between uses.
    ended: Vec<Ended<T>>,
}

/// Where reading stopped, and when.
#[derive(Clone, Copy, Debug)]
struct Stopped {
    position: Position,
    since: NowMs,
}

/// A record on its way to the log, kept to be applied when its place is known.
#[derive(Clone, Debug)]
struct Sent {
    marker: Marker,
    key: Key,
    content: EventContent,
    /// Of the record as it was sent, with all its headers.
    crc32c: u32,
    known: Known,
}

impl Sent {
    /// What it takes, without its marker.
    fn load(&self) -> Load {
        let bytes = (self.key.bytes().len() + self.content.bytes()) as u64;
        Load { records: 1, headers: self.content.headers.len(), bytes }
    }
}

type Ended<T> = (Settled<Box<Append<T>>>, VecDeque<Box<Append<T>>>);

/// What a step goes by.
struct Step<'a, T> {
    now: NowMs,
    lookup: &'a dyn Lookup<T>,
}

impl<T> Clone for Step<'_, T> {
    fn clone(&self) -> Self {
        *self
    }
}

impl<T> Copy for Step<'_, T> {}

/// What is stored together with events, so that a later fold begins behind them.
#[derive(Clone, Debug)]
pub struct Cover {
    /// How far the partition is applied.
    pub checkpoint: Checkpoint,
    /// The writers of whom something else is known now; `None` forgets one.
    pub incarnations: Vec<(Incarnation, Option<IncarnationState>)>,
}

/// What a machine begins with.
#[derive(Clone, Debug)]
pub struct Origin {
    /// Its partition.
    pub partition: Partition,
    /// The name that its records are numbered under, which nobody used before.
    pub name: Incarnation,
    /// What the log says of it now; it is served once it is applied up to what is stable now.
    pub marks: Watermarks,
    /// Where its fold begins.
    pub beginning: Beginning,
}

impl<T> PartitionMachine<T> {
    /// Takes a partition over. What follows from that is [taken](Self::take_work) like the work of a step.
    pub fn new(origin: Origin, settings: Settings) -> PartitionMachine<T> {
        let Origin { partition, name, marks, beginning } = origin;
        let mut machine = PartitionMachine {
            partition,
            settings,
            fold: beginning.fold,
            rule: AcceptRule::new(marks.low),
            checkpoint: Checkpoint::default(),
            readback: Readback::default(),
            premises: Premises::default(),
            strangers: Strangers::default(),
            evidence_left: 0,
            is_dirty: false,
            is_condemned: false,
            awaits_turn: true,
            stopped: None,
            lost_end: None,
            marks,
            marks_before: None,
            target: Some(marks.stable),
            is_caught_up: false,
            lagging_since: None,
            is_stalled: false,
            degradation: None,
            sequencer: Sequencer::new(name),
            sent: HashMap::new(),
            sent_load: Load::default(),
            next_token: 0,
            is_stopping: false,
            work: Box::default(),
            opened: HashTable::new(),
            ended: Vec::new(),
        };
        machine.begin_fold(beginning);
        machine.compare_with_stable();
        machine
    }

    /// Takes what happened, in this order; what follows is in the work. `inputs` is empty afterwards. The work of the step before must
    /// have been carried out.
    pub fn step(&mut self, inputs: &mut Vec<Input<T>>, now: NowMs, lookup: &dyn Lookup<T>) {
        debug_assert!(
            self.work.events.is_empty() && self.work.sends.is_empty(),
            "the work before is carried out"
        );
        self.opened.clear();
        let step = Step { now, lookup };
        let mut class = None;
        let mut inputs = inputs.drain(..);
        while let Some(input) = inputs.next() {
            let known = class.take();
            match input {
                Input::Record(fetched) => {
                    class = self.on_record(fetched, known, inputs.as_slice().first(), step);
                }
                Input::Known(mark) => self.on_known(mark, step),
                Input::Report { token, delivery } => self.on_report(token, delivery, step),
                Input::Append { append, located } => self.on_append(append, located, step),
                Input::Wait(append) => self.on_wait(append),
                Input::EndOfPartition(position) => self.on_end(position, step),
                Input::ReadFailed(failure) => self.on_read_failed(failure, step),
                Input::Watermarks(read) => self.on_watermarks(read),
                Input::SendFailed { token, detail, error } => {
                    self.on_send_failed(token, &detail, error, step)
                }
                Input::HandleFailed { detail } => self.on_handle_failed(&detail, step),
                Input::Renamed { name, given_up } => self.on_renamed(name, given_up),
                Input::BeginAnew(beginning) => self.on_begin_anew(*beginning),
                Input::BeginReading => self.on_begin_reading(),
                Input::Tick => self.on_tick(step),
                Input::Stop => self.on_stop(),
                Input::GiveUp => self.on_give_up(step),
            }
        }
    }

    /// The work that is not carried out yet, if there is any, for an empty one whose room is used for what comes.
    pub fn take_work(&mut self, empty: &mut Option<Box<Work<T>>>) -> Option<Box<Work<T>>> {
        if self.work.is_empty() {
            return None;
        }
        let empty = empty.take().unwrap_or_default();
        debug_assert!(empty.is_empty(), "what is carried out is taken out");
        Some(std::mem::replace(&mut self.work, empty))
    }

    /// The key that a record's [`Counted`] is wanted of: only a record that will be applied has one.
    pub fn wants(&self, record: &crate::Record) -> Option<Key> {
        (record.offset >= self.checkpoint.position.offset()).then(|| record.aggregate()).flatten()
    }

    /// What is to be stored with the events of the steps since the last time, if there is anything: how far it is applied, and the
    /// writers of whom something else is known now.
    pub fn take_checkpoint(&mut self) -> Option<Cover> {
        if !std::mem::take(&mut self.is_dirty) {
            return None;
        }
        self.note_caught_up();
        self.readback.note_in(&mut self.checkpoint);
        Some(Cover { checkpoint: self.checkpoint, incarnations: self.rule.take_changes() })
    }

    /// The next offset to apply.
    pub fn position(&self) -> Position {
        self.checkpoint.position
    }

    /// Its fold.
    pub fn fold(&self) -> FoldId {
        self.fold
    }

    /// Offsets to apply until it is served, as far as is known.
    pub fn left(&self) -> u64 {
        if self.is_caught_up { 0 } else { self.marks.stable.0.saturating_sub(self.checkpoint.position.0) }
    }

    /// Whether its turn to be read has not come.
    pub fn awaits_turn(&self) -> bool {
        self.awaits_turn
    }

    /// Whether what the reader gives of it is taken.
    pub fn is_read(&self) -> bool {
        self.stopped.is_none() && !self.awaits_turn && !self.is_condemned
    }

    /// Records that were sent and not reported on.
    pub fn sent(&self) -> usize {
        self.sent.len()
    }

    /// What they take, without their markers.
    pub fn sent_load(&self) -> Load {
        self.sent_load
    }

    /// Appends in flight.
    pub fn in_flight(&self) -> usize {
        self.sequencer.in_flight()
    }

    /// Whether an append waits for reading to come to it, so that [`Input::Tick`] matters.
    pub fn is_in_doubt(&self) -> bool {
        self.sequencer.in_doubt()
    }

    /// Whether an append of this key is in flight.
    pub fn is_busy(&self, key: &Key) -> bool {
        self.sequencer.is_busy(key)
    }

    /// The append of a key that is in flight, and the order its first event takes if it is accepted.
    pub fn flight(&self, key: &Key) -> Option<(crate::Order, &Append<T>)> {
        let (first, append) = self.sequencer.flight(key)?;
        Some((first, append))
    }

    /// When [`Input::Tick`] is due for the time alone.
    pub fn deadline(&self) -> Option<NowMs> {
        self.sequencer.deadline()
    }

    /// The share of a key that this step has changed.
    fn opened(&self, hash: u64, key: &Key) -> Option<Head> {
        let events = &self.work.events;
        let at = self.opened.find(hash, |at| events[*at].hash == hash && events[*at].key == *key)?;
        Some(events[*at].head)
    }

    /// Marks the partition as not served, unless it is so for a reason that takes as much to be mended.
    fn degrade(&mut self, reason: Degradation) {
        if self.degradation.as_ref().is_none_or(|known| known.rank() < reason.rank()) {
            self.work.notices.push(Notice::Degraded(reason.clone()));
            self.degradation = Some(reason);
        }
    }

    /// What was folded is not what the log holds: it is not served before the log was read anew.
    fn rebuild(&mut self, reason: Degradation) {
        self.degrade(reason.clone());
        self.work.rebuild = Some(reason);
        self.is_condemned = true;
    }

    /// Ends the degradation.
    fn mended(&mut self) {
        if let Some(reason) = self.degradation.take() {
            self.work.notices.push(Notice::Mended(reason));
        }
    }

    /// Lets the partition be served if it is applied up to its target, of a log that is the one it began with.
    fn note_caught_up(&mut self) {
        let is_there = self.target.is_some_and(|target| self.checkpoint.position >= target);
        if is_there && self.readback.is_compared() && !self.is_caught_up {
            // How long it took is no lag, which only the next answer about the marks would end.
            self.lagging_since = None;
            self.is_caught_up = true;
        }
    }

    /// What was applied was stable once, for good. Where it is not any more, the log lost its end and has grown again, under a
    /// transaction that is still open: what stands there now cannot be read to be compared, and nothing rests on it.
    fn compare_with_stable(&mut self) {
        let (end, applied) = (self.marks.stable, self.checkpoint.behind_last());
        if end < applied {
            self.rebuild(Degradation::Truncated { end, applied });
        }
    }
}

/// The fingerprint of a record that was sent, at the place that was reported.
fn mark_of_sent(offset: crate::Offset, sent: &Sent) -> Fingerprint {
    Fingerprint { offset, crc32c: sent.crc32c, epoch: None }
}

#[cfg(test)]
mod tests;
