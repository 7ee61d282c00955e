//! Reading: records go through the accept rule in offset order, once per fold.
//!
//! A record that was applied before it was read comes by a second time: it must be the one that was applied, or the log is not the
//! one we know.

use super::fingerprint::fingerprint;
use super::premises::JudgedAbove;
use super::readback::Divergence;
use super::settling::Place;
use super::tally::Counting;
use super::{
    Accepted, Counted, Degradation, Fetched, Input, Notice, PartitionMachine, Records, Sent, Step, Stopped,
    mark_of_sent,
};
use crate::append::EventContent;
use crate::evidence::PlacedKey;
use crate::machine::limits::UNCONFIRMED_MAX;
use crate::marker::classify;
use crate::{
    Decision, Fingerprint, Head, Offset, Order, Position, ReadFailure, Record, RecordClass, Stamp,
    TimestampMs, Token,
};

/// A record to be applied now.
struct Applying {
    record: Record,
    class: RecordClass,
    /// None if another record of the partition is applied right after it: then that one's mark is the last.
    mark: Option<Fingerprint>,
    /// Of its key, if it has one.
    counted: Option<Counted>,
    is_read: bool,
}

impl<T> PartitionMachine<T> {
    /// The reader met a record: new, or one that was applied before it was read. `class` is what it is, if that was found out already;
    /// what the one after it is comes back, for the same reason.
    pub(super) fn on_record(
        &mut self,
        fetched: Fetched,
        class: Option<RecordClass>,
        behind: Option<&Input<T>>,
        step: Step<'_, T>,
    ) -> Option<RecordClass> {
        let Fetched { record, epoch, counted } = fetched;
        if !self.is_read() {
            return None;
        }
        // One that was applied before it was read is only compared: what its headers say is known.
        let is_new = record.offset >= self.checkpoint.position.offset();
        let class = is_new.then(|| class.unwrap_or_else(|| classify(&record)));
        let mark = || fingerprint(&record, epoch);
        if let Err(divergence) = self.readback.on_record(record.offset, mark, self.checkpoint.position) {
            let found = Some(mark());
            self.diverged(divergence, found, step);
            return None;
        }
        let class = class?;
        let next = behind_in_log(&record, behind).map(|next| (next, classify(&next.record)));
        self.passed(record.offset.next());
        let counted = counted.map(|counted| self.as_of_now(counted));
        if self.doubts(&record, class, counted.as_ref(), step) {
            return None;
        }
        let is_event = !matches!(class, RecordClass::Marked(_));
        let ahead =
            u64::from(is_event && next.as_ref().is_some_and(|(next, _)| next.record.key == record.key));
        let is_followed =
            next.as_ref().is_some_and(|(next, class)| self.is_surely_applied(next, *class, ahead));
        let mark = (!is_followed).then(|| fingerprint(&record, epoch));
        let next_class = next.map(|(_, class)| class);
        self.apply(Applying { record, class, mark, counted, is_read: true }, step);
        next_class
    }

    /// Whether a record will be applied right after another one, which adds `ahead` events to its key for sure: only then that one needs no
    /// fingerprint. A fold ends before a record of a newer format, and before one above the next order.
    fn is_surely_applied(&self, next: &Fetched, class: RecordClass, ahead: u64) -> bool {
        let marker = match class {
            RecordClass::Newer { .. } => return false,
            RecordClass::Foreign | RecordClass::Forwarded => return true,
            RecordClass::Marked(marker) => marker,
        };
        let Some(counted) = &next.counted else { return true };
        let head = self.opened(counted.hash, &counted.key).or(counted.count.head);
        let next = head.map_or(0, |head| head.next.0) + ahead;
        marker.order.0.saturating_sub(u64::from(marker.stamp.i() - 1)) <= next
    }

    /// Where a key stands by now: what was applied since it was counted is in the work.
    fn as_of_now(&self, mut counted: Counted) -> Counted {
        if let Some(head) = self.opened(counted.hash, &counted.key) {
            counted.count.head = Some(head);
        }
        counted
    }

    /// The reader met a record that was applied before it was read, and told its mark only.
    pub(super) fn on_known(&mut self, mark: Fingerprint, step: Step<'_, T>) {
        if !self.is_read() {
            return;
        }
        if let Err(divergence) = self.readback.on_record(mark.offset, || mark, self.checkpoint.position) {
            self.diverged(divergence, Some(mark), step);
        }
    }

    /// The reader has come to the end.
    pub(super) fn on_end(&mut self, position: Position, step: Step<'_, T>) {
        if self.awaits_turn || self.is_condemned {
            return;
        }
        if let Err(divergence) = self.readback.on_end(position) {
            return self.diverged(divergence, None, step);
        }
        if self.stopped.is_none() {
            if position > self.checkpoint.position {
                self.come_to(position);
            }
            // What stopped reading at the end, or above it before the log lost its end, is no longer there.
            self.passed(Position(u64::MAX));
        }
        self.note_caught_up();
    }

    /// Reading stopped.
    pub(super) fn on_read_failed(&mut self, failure: ReadFailure, step: Step<'_, T>) {
        if self.awaits_turn || self.is_condemned {
            return;
        }
        let since = step.now;
        match failure {
            ReadFailure::Unavailable { detail } => self.work.notices.push(Notice::ReadUnavailable { detail }),
            ReadFailure::OutOfRange { position } => {
                self.stopped = Some(Stopped { position, since });
                self.work.wants_watermarks = true;
            }
            ReadFailure::LostEnd { end } => {
                self.stopped = Some(Stopped { position: end, since });
                self.lost_end = Some(end).filter(|end| self.readback.has_read(*end));
                self.work.wants_watermarks = true;
            }
            ReadFailure::Damaged { position, detail } => {
                self.stop_reading(position, Degradation::DamagedRecord { at: position, detail }, step);
            }
            ReadFailure::DoesNotFit { position, detail } => {
                self.stop_reading(position, Degradation::DoesNotFit { at: position, detail }, step);
            }
        }
    }

    /// What lies at or after `position` cannot be read now: the partition is not served until it can.
    fn stop_reading(&mut self, position: Position, reason: Degradation, step: Step<'_, T>) {
        self.stopped = Some(Stopped { position, since: step.now });
        self.degrade(reason);
    }

    /// Everything below `position` was read: what stopped reading below it is over.
    fn passed(&mut self, position: Position) {
        if self.degradation.as_ref().and_then(Degradation::stopped_at).is_some_and(|at| position > at) {
            self.mended();
        }
    }

    fn diverged(&mut self, divergence: Divergence, found: Option<Fingerprint>, step: Step<'_, T>) {
        let Offset(at) = divergence.offset();
        self.stopped = Some(Stopped { position: Position(at), since: step.now });
        self.rebuild(Degradation::Diverged { divergence, found });
    }

    /// Whether nothing is decided on a record because its writer knew events that this fold does not: the partition is read again from
    /// the beginning, and what comes of that decides.
    fn doubts(
        &mut self,
        record: &Record,
        class: RecordClass,
        counted: Option<&Counted>,
        step: Step<'_, T>,
    ) -> bool {
        let (RecordClass::Marked(marker), Some(counted)) = (class, counted) else { return false };
        let offset = record.offset;
        let next = counted.count.head.map(|head| head.next);
        let Some(above) = self.rule.above_next(marker, offset, next) else { return false };
        // Where the head of the log is gone, it may have held them.
        let is_explained = self.checkpoint.cut;
        if is_explained
            || self.premises.judge(above.incarnation, offset, self.is_caught_up) == JudgedAbove::Decide
        {
            return false;
        }
        self.stopped = Some(Stopped { position: Position(offset.0), since: step.now });
        let low = self.marks.low;
        if low > self.checkpoint.fold_start {
            // A rebuild would lose what only this store still has.
            self.degrade(Degradation::MissedAndRemoved { offset, above, low });
            return true;
        }
        self.rebuild(Degradation::Missed { offset, above });
        true
    }

    /// Applies a record of our own at the place that was reported, if nothing came in between. Says whether it did.
    pub(super) fn apply_unread(
        &mut self,
        token: Token,
        offset: Offset,
        timestamp: TimestampMs,
        step: Step<'_, T>,
    ) -> bool {
        let Some(sent) = self.sent.get(&token) else { return true };
        if self.checkpoint.position.offset() != offset
            || !self.is_caught_up
            || self.stopped.is_some()
            || self.is_condemned
            || self.readback.len() >= UNCONFIRMED_MAX
        {
            return false;
        }
        let Some(counted) = step.lookup.count(&sent.key, sent.known) else { return false };
        let counted = self.as_of_now(counted);
        let sent = self.arrived(token).expect("just found");
        let mark = Some(mark_of_sent(offset, &sent));
        // What the marker's headers say is known.
        let Sent { marker, key, content: EventContent { value, headers }, .. } = sent;
        let key = Some(key.bytes().clone());
        let (partition, timestamp) = (self.partition, Some(timestamp));
        let record = Record { partition, offset, timestamp, key, value, headers };
        let class = RecordClass::Marked(marker);
        self.apply(Applying { record, class, mark, counted: Some(counted), is_read: false }, step);
        true
    }

    /// Runs the rule on the next record and does what follows from it.
    fn apply(&mut self, applying: Applying, step: Step<'_, T>) {
        let Applying { record, class, mark, counted, is_read } = applying;
        let (offset, timestamp) = (record.offset, record.timestamp);
        let next = counted.as_ref().and_then(|counted| counted.count.head).map(|head| head.next);
        let applied = match self.rule.apply_classified(record, class, next) {
            Ok(applied) => applied,
            Err(newer) => {
                return self.stop_reading(Position(offset.0), Degradation::NewerFormat(newer), step);
            }
        };
        self.advance(offset, mark, is_read);
        if applied.cut && !self.checkpoint.cut {
            self.checkpoint.cut = true;
            self.work.notices.push(Notice::Cut { offset });
        }
        let is_first = |counted: &&Counted| counted.count.head.is_none();
        let split = counted
            .as_ref()
            .filter(is_first)
            .filter(|counted| counted.count.elsewhere || step.lookup.is_elsewhere(counted));
        let events =
            self.tally(&Counting { offset, class, applied: &applied, split: split.map(|split| &split.key) });
        if let Some(stamp) = applied.stamp.filter(|_| self.sequencer.in_flight() > 0) {
            self.sequencer.applied(stamp, &applied.decision, &mut self.ended);
        }
        let first_offset = first_offset(&applied.decision).unwrap_or(offset);
        if events > 0 {
            let counted = counted.expect("an event has a key");
            if self.evidence_left > 0 && is_first(&&counted) {
                self.evidence_left -= 1;
                let key = PlacedKey::new(counted.key.as_ref(), self.partition, applied.stamp.is_none());
                self.work.evidence.push(key);
            }
            self.keep(counted, applied.stamp, applied.decision);
        }
        if !self.ended.is_empty() {
            let place = Place { partition: self.partition, first_offset, offset, timestamp };
            self.settle(Some(place), step);
        }
    }

    /// A record was applied.
    fn advance(&mut self, offset: Offset, mark: Option<Fingerprint>, is_read: bool) {
        self.come_to(offset.next());
        if let Some(mark) = mark {
            self.checkpoint.fingerprint = Some(mark);
            if is_read {
                self.readback.applied(mark);
            } else {
                self.readback.applied_unread(mark);
            }
        }
    }

    /// Everything below `position` is applied.
    fn come_to(&mut self, position: Position) {
        self.checkpoint.position = position;
        self.is_dirty = true;
        if self.lagging_since.is_some() && position >= self.marks.stable {
            self.lagging_since = None;
        }
    }

    /// Hands accepted events on.
    fn keep(&mut self, counted: Counted, stamp: Option<Stamp>, decision: Decision) {
        let Counted { hash, key, count } = counted;
        let (first, records) = match decision {
            Decision::Accepted { order, record } => (order, Records::One(record)),
            Decision::AcceptedBatch { first, records } => (first, Records::Batch(records)),
            Decision::Skipped | Decision::Undecided | Decision::Void(_) => return,
        };
        let base = count.head.map_or(first, |head| head.base);
        let mut accepted = Accepted {
            hash,
            key,
            head: Head { partition: self.partition, base, next: first },
            stamp,
            records,
        };
        accepted.head.next = Order(first.0 + accepted.count());
        let events = &mut self.work.events;
        let at = events.len();
        let is_same = |known: &usize| events[*known].hash == hash && events[*known].key == accepted.key;
        match self.opened.find_mut(hash, is_same) {
            Some(known) => *known = at,
            None => drop(self.opened.insert_unique(hash, at, |known| events[*known].hash)),
        }
        events.push(accepted);
    }
}

/// Where the first of the records lies that a decision makes events.
fn first_offset(decision: &Decision) -> Option<Offset> {
    match decision {
        Decision::Accepted { record, .. } => Some(record.offset),
        Decision::AcceptedBatch { records, .. } => records.first().map(|record| record.offset),
        Decision::Skipped | Decision::Undecided | Decision::Void(_) => None,
    }
}

/// The record that was fetched next, if it lies behind this one.
fn behind_in_log<'a, T>(record: &Record, next: Option<&'a Input<T>>) -> Option<&'a Fetched> {
    let Input::Record(next) = next? else { return None };
    (next.record.offset > record.offset).then_some(next)
}
