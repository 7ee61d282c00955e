//! The accept rule: a state machine over the records of one partition, in offset order.
//!
//! For a key, `next` is the number of events accepted so far in this partition. A foreign record is always accepted and takes
//! the next order. A marked record is accepted iff the order it names equals `next`; a batch is decided at its last member,
//! as one. Before that comes the check of sequence numbers: those of an incarnation are judged once, in rising order, so a
//! repeated copy never tears, repeats or revives anything; and a copy that is so late that its number may have been forgotten
//! is told by its base.
//!
//! The rule knows no counts: there are millions of keys, so its host looks a count up and passes it in. It keeps what is
//! bounded: per incarnation the highest number and the unfinished batch. All limits are measured in offsets, so that two
//! instances that read the same log forget the same things at the same record.

mod headers;
mod open;

use self::headers::OrderHeaders;
use self::open::{Joined, Member, OpenBatches};
use crate::limits::{BASE_SPAN_OFFSETS, BATCH_SPAN_OFFSETS, INCARNATION_SPAN_OFFSETS};
use crate::marker::{Marker, RecordClass, Stamp, classify};
use crate::{Incarnation, Key, Offset, Order, Position, Record};
use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

/// What the rule remembers of one incarnation in one partition.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct IncarnationState {
    /// The highest number seen.
    pub top: u64,
    /// Where its last record lay.
    pub last_offset: Offset,
    /// The batch whose last member was not seen yet.
    pub open: Option<OpenBatch>,
}

/// The members of a batch that is not decided yet.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct OpenBatch {
    /// The aggregate all members belong to.
    pub key: Key,
    /// The order the first member names.
    pub first: Order,
    /// How many members the batch says it has.
    pub count: u32,
    /// Bytes of keys and values so far.
    pub bytes: usize,
    /// The records seen so far, from the first; whole, or without the headers of the marker.
    pub members: Vec<Record>,
}

/// Why a marked record is not an event.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum VoidReason {
    /// The aggregate's next order was another one.
    OrderTaken {
        /// The order the append named (its first, for a batch).
        expected: Order,
        /// The aggregate's next order at that moment.
        next: Order,
    },
    /// Its sequence number was judged before: this record changed nothing. A member that comes after its batch expired too.
    JudgedBefore,
    /// Its batch can never become whole: a member is missing or does not fit, or the batch is too large.
    BatchBroken,
    /// It came too late: it lies [`BASE_SPAN_OFFSETS`] or more above the position that its writer had applied.
    BaseTooOld {
        /// That position.
        base: Position,
    },
}

impl fmt::Display for VoidReason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            VoidReason::OrderTaken { expected, next } => {
                write!(f, "it names order {expected}, and the next one is {next}")
            }
            VoidReason::JudgedBefore => f.write_str("a copy of one that was judged before"),
            VoidReason::BatchBroken => f.write_str("its batch is not whole"),
            VoidReason::BaseTooOld { base } => write!(f, "it was numbered at {base}, too far below it"),
        }
    }
}

/// What the rule says of a record.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Decision {
    /// Null or empty key: not an event of anything.
    Skipped,
    /// An event, at this order.
    Accepted {
        /// Its order.
        order: Order,
        /// The record.
        record: Record,
    },
    /// The last member of a batch: all members are events, the first at this order.
    AcceptedBatch {
        /// The order of the first member.
        first: Order,
        /// All members, in order.
        records: Vec<Record>,
    },
    /// A member of a batch that waits for the rest.
    Undecided,
    /// Not an event.
    Void(VoidReason),
}

/// What applying a record did.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Applied {
    /// Who numbered the record, when BKES wrote it.
    pub stamp: Option<Stamp>,
    /// What it is.
    pub decision: Decision,
    /// Records that became void with this one: itself, or members of batches that can no longer be whole.
    pub void_records: u64,
    /// The record shows that the head of the log was removed after events had been numbered there: it names an order above the
    /// next one, it is from the middle of a batch that may have begun below the fold's start, or unmarked records count in
    /// their `order` headers from above 0.
    pub cut: bool,
}

/// A record that names an order above the next one: its writer knew events that were not applied here.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct AboveNext {
    /// Who wrote it.
    pub incarnation: Incarnation,
    /// The order it names, for a batch that of the first member.
    pub expected: Order,
    /// The aggregate's next order.
    pub next: Order,
}

/// A record written by a newer BKES, which this one cannot judge: the partition stops before it.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
#[error("record at offset {offset} was written by a newer BKES (marker format {format}): upgrade")]
pub struct NewerFormat {
    /// Where the record lies.
    pub offset: Offset,
    /// The format it carries.
    pub format: u64,
}

/// What a whole append asks for, and what is there.
#[derive(Clone, Copy)]
struct Expectation {
    expected: Order,
    /// The next order of its key, `None` without events.
    next: Option<Order>,
    /// Whether the fold may have begun above the first events of the key.
    head_missing: bool,
}

impl Expectation {
    /// Decides an append of `count` records; `voided` are those of others that this record made void.
    fn decide(self, stamp: Stamp, voided: u64, count: u64, accepted: impl FnOnce() -> Decision) -> Applied {
        let Expectation { expected, next, head_missing } = self;
        let base = next.is_none() && head_missing && expected > Order::FIRST;
        let current = next.unwrap_or(Order::FIRST);
        let stamp = Some(stamp);
        if expected != current && !base {
            let cut = head_missing && expected > current;
            let decision = Decision::Void(VoidReason::OrderTaken { expected, next: current });
            return Applied { stamp, decision, void_records: voided + count, cut };
        }
        Applied { stamp, decision: accepted(), void_records: voided, cut: base }
    }
}

/// The rule's state for one partition.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct AcceptRule {
    /// Where the fold began: above the first offset, the head of an aggregate may be missing.
    fold_start: Position,
    incarnations: BTreeMap<Incarnation, IncarnationState>,
    open: OpenBatches,
    /// Of a fold that began above the first offset: what unmarked records say of a head that was cut off.
    headers: Option<Box<OrderHeaders>>,
    changed: BTreeSet<Incarnation>,
    /// Expired state is swept out when the log enters another span of this number.
    span: u64,
}

impl AcceptRule {
    /// The rule at the beginning of a fold that starts at `fold_start`.
    pub fn new(fold_start: Position) -> AcceptRule {
        AcceptRule::resume(fold_start, fold_start, [])
    }

    /// The rule as it was at a checkpoint.
    pub fn resume(
        fold_start: Position,
        position: Position,
        incarnations: impl IntoIterator<Item = (Incarnation, IncarnationState)>,
    ) -> AcceptRule {
        let incarnations: BTreeMap<Incarnation, IncarnationState> = incarnations.into_iter().collect();
        AcceptRule {
            fold_start,
            open: OpenBatches::of(incarnations.iter()),
            headers: (fold_start > Position::START).then(Box::default),
            incarnations,
            changed: BTreeSet::new(),
            span: position.0 / BATCH_SPAN_OFFSETS,
        }
    }

    /// Applies the next record. `next` is the next order of the record's key in this partition, `None` for a key without
    /// events there. Offsets must rise.
    pub fn apply(&mut self, record: Record, next: Option<Order>) -> Result<Applied, NewerFormat> {
        let class = classify(&record);
        self.apply_classified(record, class, next)
    }

    /// The same for a record of which it is known what its headers say it is: they are not looked at.
    pub fn apply_classified(
        &mut self,
        record: Record,
        class: RecordClass,
        next: Option<Order>,
    ) -> Result<Applied, NewerFormat> {
        if let RecordClass::Newer { format } = class {
            // Before anything changes, and whatever its key is: what a newer format means by it cannot be known here.
            return Err(NewerFormat { offset: record.offset, format });
        }
        let expired = self.expire(record.offset);
        self.sweep(record.offset);
        if record.key.as_ref().is_none_or(|key| key.is_empty()) {
            return Ok(Applied {
                stamp: None,
                decision: Decision::Skipped,
                void_records: expired,
                cut: false,
            });
        }
        let mut applied = match class {
            RecordClass::Foreign => {
                let cut = self.headers.as_mut().is_some_and(|headers| headers.show_cut(&record, next));
                Applied { cut, ..Applied::event(next.unwrap_or(Order::FIRST), record) }
            }
            RecordClass::Forwarded => Applied::event(next.unwrap_or(Order::FIRST), record),
            RecordClass::Marked(marker) => self.apply_marked(marker, record, next),
            RecordClass::Newer { .. } => unreachable!("returned above"),
        };
        applied.void_records += expired;
        Ok(applied)
    }

    /// Whether a marked record names an order above `next`, which no correct writer does that knew no more than what was applied here;
    /// with `next` as [`apply`](Self::apply) takes it. A member of a batch does if its batch does. What was judged before says nothing.
    pub fn above_next(&self, marker: Marker, offset: Offset, next: Option<Order>) -> Option<AboveNext> {
        let Marker { stamp, order, base } = marker;
        let next = next.unwrap_or(Order::FIRST);
        let expected = Order(order.0.checked_sub(u64::from(stamp.i() - 1))?);
        // One whose writer had applied more than lies before it rests on a lost end of the log, or on another log.
        if expected <= next || base > Position(offset.0) || offset.0 - base.0 >= BASE_SPAN_OFFSETS {
            return None;
        }
        let state = self.incarnations.get(&stamp.incarnation);
        let state = state.filter(|state| !state.is_forgotten(offset));
        let is_fresh = state.is_none_or(|state| state.is_fresh(stamp, offset));
        is_fresh.then_some(AboveNext { incarnation: stamp.incarnation, expected, next })
    }

    /// The incarnations that changed since the last call, each with its state, `None` when it was forgotten.
    pub fn take_changes(&mut self) -> Vec<(Incarnation, Option<IncarnationState>)> {
        let changed = std::mem::take(&mut self.changed);
        changed
            .into_iter()
            .map(|incarnation| (incarnation, self.incarnations.get(&incarnation).cloned()))
            .collect()
    }

    /// The batch of an incarnation whose last member was not seen yet.
    pub fn open_batch(&self, incarnation: Incarnation) -> Option<&OpenBatch> {
        self.incarnations.get(&incarnation)?.open.as_ref()
    }

    fn apply_marked(&mut self, marker: Marker, record: Record, next: Option<Order>) -> Applied {
        let Marker { stamp, order, base } = marker;
        let expectation =
            Expectation { expected: order, next, head_missing: self.fold_start > Position::START };
        let below_fold_start = self.may_begin_below_fold_start(record.offset);
        let (state, open, judged) = self.judge(stamp, record.offset);
        let Judged { fresh, known, voided } = judged;
        if !fresh {
            return Applied::void(Some(stamp), VoidReason::JudgedBefore, voided + 1);
        }
        if record.offset.0.saturating_sub(base.0) >= BASE_SPAN_OFFSETS {
            // Only now: it uses up its number, and breaks the batch it belongs to.
            let members = open.close(state).map_or(0, |batch| batch.members.len() as u64);
            return Applied::void(Some(stamp), VoidReason::BaseTooOld { base }, voided + members + 1);
        }
        if stamp.place.is_none() {
            return expectation.decide(stamp, voided, 1, || Decision::Accepted { order, record });
        }
        let key = record.aggregate().expect("a record without a key was skipped");
        match state.join(Member { stamp, order, key, record }, open) {
            Joined::Waits => self.bound_open(stamp, voided),
            Joined::Broken { members } => Applied {
                cut: below_fold_start && !known && stamp.i() > 1,
                ..Applied::void(Some(stamp), VoidReason::BatchBroken, voided + members)
            },
            Joined::Whole(batch) => {
                let (first, records) = (batch.first, batch.members);
                let count = records.len() as u64;
                let expectation = Expectation { expected: first, ..expectation };
                expectation.decide(stamp, voided, count, || Decision::AcceptedBatch { first, records })
            }
        }
    }

    /// Whether the first member of a batch that has one here may have been removed with the head of the log.
    fn may_begin_below_fold_start(&self, offset: Offset) -> bool {
        self.fold_start > Position::START && offset.0.saturating_sub(self.fold_start.0) < BATCH_SPAN_OFFSETS
    }

    /// The check of the sequence number. Besides its result: the incarnation's state, in which a batch that has a lower number
    /// has been voided, and all open batches.
    fn judge(&mut self, stamp: Stamp, offset: Offset) -> (&mut IncarnationState, &mut OpenBatches, Judged) {
        let AcceptRule { incarnations, open, changed, .. } = self;
        changed.insert(stamp.incarnation);
        let new = || IncarnationState { top: stamp.number, last_offset: offset, open: None };
        let mut known = true;
        let state = incarnations.entry(stamp.incarnation).or_insert_with(|| {
            known = false;
            new()
        });
        // As if it had been swept just now: when the sweep really came must not be seen. Its batch expired long before.
        if state.is_forgotten(offset) {
            known = false;
            *state = new();
        }
        state.last_offset = offset;
        let fresh = !known || state.is_fresh(stamp, offset);
        let mut voided = 0;
        if fresh && stamp.number > state.top {
            voided = open.close(state).map_or(0, |batch| batch.members.len() as u64);
            state.top = stamp.number;
        }
        (state, open, Judged { fresh, known, voided })
    }

    /// A member waits for the rest of its batch, unless there are too many of those: then the oldest are void.
    fn bound_open(&mut self, stamp: Stamp, voided: u64) -> Applied {
        let waits = Decision::Undecided;
        let mut applied = Applied { stamp: Some(stamp), decision: waits, void_records: voided, cut: false };
        while self.open.too_many()
            && let Some(oldest) = self.open.oldest()
        {
            applied.void_records += self.void_open(oldest);
            if oldest == stamp.incarnation {
                applied.decision = Decision::Void(VoidReason::BatchBroken);
            }
        }
        applied
    }

    /// Voids the batch that an incarnation has open. Says how many members it had.
    fn void_open(&mut self, incarnation: Incarnation) -> u64 {
        self.changed.insert(incarnation);
        let state = self.incarnations.get_mut(&incarnation).expect("who has a batch open is known");
        self.open.close(state).map_or(0, |batch| batch.members.len() as u64)
    }

    /// Voids the batches that began too far below this record. Says how many members they had.
    fn expire(&mut self, offset: Offset) -> u64 {
        let mut voided = 0;
        while let Some(incarnation) = self.open.expired(offset) {
            voided += self.void_open(incarnation);
        }
        voided
    }

    /// Forgets the incarnations that have expired, each time the log enters another span: nothing that is swept could be seen
    /// again, since `judge` measures the same limit exactly.
    fn sweep(&mut self, offset: Offset) {
        let span = offset.0 / BATCH_SPAN_OFFSETS;
        if span == self.span {
            return;
        }
        self.span = span;
        let changed = &mut self.changed;
        self.incarnations.retain(|incarnation, state| {
            let is_forgotten = state.is_forgotten(offset);
            if is_forgotten {
                changed.insert(*incarnation);
            }
            !is_forgotten
        });
    }
}

struct Judged {
    /// Its number was not judged before.
    fresh: bool,
    /// Its incarnation was seen before, and not forgotten.
    known: bool,
    /// Members of an unfinished batch that this voided.
    voided: u64,
}

impl IncarnationState {
    /// Whether the log is so far past its last record that it is forgotten.
    fn is_forgotten(&self, offset: Offset) -> bool {
        offset.0.saturating_sub(self.last_offset.0) >= INCARNATION_SPAN_OFFSETS
    }

    /// Whether a record's number was not judged before, be it as a member of the open batch.
    fn is_fresh(&self, stamp: Stamp, offset: Offset) -> bool {
        let open = self.open.as_ref().filter(|batch| !batch.spans_too_far(offset));
        let is_new = |batch: &OpenBatch| stamp.i() > batch.members.len() as u32;
        stamp.number > self.top || (stamp.number == self.top && open.is_some_and(is_new))
    }
}

impl Applied {
    fn event(order: Order, record: Record) -> Applied {
        Applied { stamp: None, decision: Decision::Accepted { order, record }, void_records: 0, cut: false }
    }

    fn void(stamp: Option<Stamp>, reason: VoidReason, void_records: u64) -> Applied {
        Applied { stamp, decision: Decision::Void(reason), void_records, cut: false }
    }
}

#[cfg(test)]
mod tests;
