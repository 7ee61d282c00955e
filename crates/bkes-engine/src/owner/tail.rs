//! Reading in an owner's hands: records go through the accept rule in offset order, once per fold.
//!
//! A record that the fast path applied comes by a second time: it must be the one that was applied, or the log is not the
//! one we know.

use super::append::Place;
use super::counting::Counting;
use super::fingerprint::fingerprint;
use super::premises::JudgedAbove;
use super::readback::Divergence;
use super::{Look, Lost, Owned, Owner, Sent};
use crate::degraded::Degradation;
use crate::limits::UNCONFIRMED_MAX;
use crate::overlay::{Count, Counted};
use bkes_core::evidence::PlacedKey;
use bkes_core::marker::{classify, is_reserved};
use bkes_core::planted::{Bug, planted};
use bkes_core::sequence::NowMs;
use bkes_core::{
    Decision, Key, LeaderEpoch, Offset, Order, Partition, Position, Record, RecordClass, Stamp, TimestampMs,
};
use bkes_log::{ReadEvent, ReadFailure, Token};
use bkes_storage::{Fingerprint, Heads, StoreError, StoredEvent};
use std::collections::BTreeSet;
use std::sync::atomic::Ordering;

/// A record as reading met it.
struct Fetched {
    record: Record,
    epoch: Option<LeaderEpoch>,
    /// Whether another one of the partition comes right behind it.
    is_followed: bool,
}

/// A record to be applied now.
struct Applying {
    record: Record,
    class: RecordClass,
    /// None if another record of the partition is applied right behind it: then that one's mark is the last.
    mark: Option<Fingerprint>,
    /// Of its key, if it has one: before anything of its fetch was applied.
    counted: Option<Counted>,
}

impl Owner {
    /// Takes what the reader gave, in order.
    pub(super) fn read(&mut self, events: &mut Vec<ReadEvent>, now: NowMs) {
        let counts = match self.counts(events) {
            Ok(counts) => counts,
            Err(error) => return self.read_again(events, error, now),
        };
        let mut events = events.drain(..).zip(counts).peekable();
        let mut next_class = None;
        while let Some((event, counted)) = events.next() {
            match event {
                ReadEvent::Record { record, epoch } => {
                    // One that was applied before it was read is only compared: what its headers say is known.
                    let known = next_class.take();
                    let class = self.is_new(&record).then(|| known.unwrap_or_else(|| classify(&record)));
                    next_class =
                        class.and_then(|_| class_behind(&record, events.peek().map(|(next, _)| next)));
                    // Of all records, only one of a newer format ends the fold in the middle of what was fetched.
                    let is_followed =
                        next_class.is_some_and(|class| !matches!(class, RecordClass::Newer { .. }));
                    self.met(Fetched { record, epoch, is_followed }, class, counted, now);
                }
                ReadEvent::Known { partition, offset, crc32c, epoch } => {
                    next_class = None;
                    self.met_known(partition, Fingerprint { offset, crc32c, epoch }, now);
                }
                ReadEvent::End { partition, position } => self.ended(partition, position, now),
                ReadEvent::Failed { partition, failure } => self.read_failed(partition, failure, now),
            }
        }
    }

    /// Applies a record of our own at the place that was reported, if nothing came in between. Says whether it did.
    pub(super) fn apply_fast(
        &mut self,
        token: Token,
        offset: Offset,
        timestamp: TimestampMs,
        now: NowMs,
    ) -> bool {
        let Some(sent) = self.sent.get(&token) else { return true };
        let Some(owned) = self.partitions.get(&sent.partition) else { return false };
        let caught_up = owned.is_caught_up();
        if (owned.checkpoint.position.offset() != offset && !planted(Bug::FastPathAnyOffset))
            || !caught_up
            || owned.lost.is_some()
            || owned.readback.len() >= UNCONFIRMED_MAX
        {
            return false;
        }
        let hash = self.context.overlay.hash(&sent.key);
        let Ok(count) = self.count_sent(sent, hash) else { return false };
        let Sent { partition, marker, key, value, crc32c, .. } = self.arrived(token).expect("just found");
        // Nothing is left to be read from the headers.
        let (bytes, headers) = (Some(key.bytes().clone()), Vec::new());
        let timestamp = Some(timestamp);
        let record = Record { partition, offset, timestamp, key: bytes, value: Some(value), headers };
        let mark = Some(Fingerprint { offset, crc32c, epoch: None });
        let class = RecordClass::Marked(marker);
        let counted = Some(Counted { hash, key, partition, count });
        self.apply(Applying { record, class, mark, counted }, now, true);
        true
    }

    /// The monitor looked at the log.
    pub(super) fn looked(&mut self, look: Look) {
        let Look { partition, marks, asked, applied_before } = look;
        let Some(owned) = self.partitions.get_mut(&partition) else { return };
        owned.sequencer.probed(marks.high, asked);
        owned.note_caught_up();
        let applied = owned.checkpoint.position;
        // A reader that stands at the new end is told nothing. What counts is what this fold had applied when the log was asked: its
        // position may have gone on since, or back to the last record that was applied, and an earlier fold's is of another log.
        let before = applied_before.filter(|(epoch, _)| *epoch == owned.epoch).map(|(_, before)| before);
        // What was applied was stable for good: an end of what is stable below it tells the same, where the log has grown again.
        let last = owned.checkpoint.behind_last();
        let is_cut_off = before
            .is_some_and(|before| marks.high < before.min(applied) || marks.stable < before.min(last))
            || planted(Bug::OldLookBelieved) && marks.high < applied;
        let position = match owned.lost {
            // Nothing was applied since then, but the log may have been asked before that.
            Some(lost) if lost.since < asked => lost.position,
            _ if is_cut_off => applied,
            Some(_) => return self.context.look.wake(),
            None => return,
        };
        // What retention removed is out of range too, and not lost.
        let ended = owned.lost_end.take().filter(|end| *end >= marks.low);
        // Where the log has grown again past what was applied, what is stable tells where it had ended.
        let end = if applied > marks.high { marks.high } else { marks.stable };
        let ended = ended.or((is_cut_off || applied > marks.high).then_some(end));
        if let Some(end) = ended {
            owned.lost = None;
            self.rebuild(partition, Degradation::Truncated { end, applied });
        } else if applied < marks.low {
            owned.board.degrade(Degradation::Removed { low: marks.low, applied });
        } else {
            // A partition that is degraded was complained of already; it is tried again and again.
            if owned.board.degraded().is_none() {
                tracing::warn!(
                    partition = partition.0,
                    "position {position} was out of range, reading again"
                );
            }
            owned.lost = None;
            // The log may have lost its end and grown again: the last record that was read tells.
            let start = owned.reading_start();
            if !owned.waits {
                self.reader.assign(partition, start);
            }
        }
    }

    /// Where the keys of all records to be applied stand, one answer for each event: by the overlay, and for keys that are not
    /// there by the store, in one snapshot. What this owner has open stays open from here to the end of the step.
    fn counts(&mut self, events: &[ReadEvent]) -> Result<Vec<Option<Counted>>, StoreError> {
        let overlay = &self.context.overlay;
        if !events.is_empty() {
            overlay.begin_step(self.index);
            self.in_step = true;
        }
        let mut counts: Vec<Option<Counted>> = events.iter().map(|event| self.to_be_counted(event)).collect();
        overlay.count_all(&mut counts);
        let unknown = |counted: &&mut Counted| counted.count.head.is_none();
        let mut asking: Vec<&mut Counted> = counts.iter_mut().flatten().filter(unknown).collect();
        let asked: Vec<Key> = asking.iter().map(|counted| counted.key.clone()).collect();
        let mut stored = Vec::with_capacity(asked.len());
        if !asked.is_empty() {
            self.context.store.heads(&asked, &mut stored)?;
        }
        // What the store said of a partition that begins anew counts for nothing: none of its records is applied.
        for (counted, heads) in asking.iter_mut().zip(stored) {
            add_stored(&mut counted.count, counted.partition, &heads);
        }
        Ok(counts)
    }

    /// The key of a record that is to be applied, not counted yet.
    fn to_be_counted(&self, event: &ReadEvent) -> Option<Counted> {
        let ReadEvent::Record { record, .. } = event else { return None };
        let partition = record.partition;
        let owned = self.partitions.get(&partition)?;
        if record.offset < owned.checkpoint.position.offset() {
            return None;
        }
        let key = record.aggregate()?;
        Some(Counted { hash: self.context.overlay.hash(&key), key, partition, count: Count::default() })
    }

    /// Where the key of a record of our own stands. What was known when it was sent holds as long as all that was applied since
    /// is in the overlay.
    fn count_sent(&self, sent: &Sent, hash: u64) -> Result<Count, StoreError> {
        let (overlay, key, partition) = (&self.context.overlay, &sent.key, sent.partition);
        let mut count = overlay.count(hash, key, partition);
        if count.head.is_none() && overlay.cleared() == sent.cleared {
            count.head = sent.head;
        } else if count.head.is_none() {
            let mut stored = Vec::with_capacity(1);
            self.context.store.heads(std::slice::from_ref(key), &mut stored)?;
            add_stored(&mut count, partition, stored.first().unwrap_or(&Heads::None));
        }
        // What the store said counts for nothing if the partition begins anew: it may have been dropped before.
        let is_overtaken = self.partitions.get(&partition).is_none_or(Owned::is_overtaken);
        if is_overtaken { Err(StoreError::Closed) } else { Ok(count) }
    }

    /// The store could not be asked: what was read is read again later.
    fn read_again(&mut self, events: &[ReadEvent], error: StoreError, now: NowMs) {
        match error {
            StoreError::Damaged { detail } => self.context.writer.damaged(self.epoch, detail),
            StoreError::ReadFailed { detail } => self.context.writer.unreadable(detail),
            // It begins anew, and so will this fold.
            StoreError::Closed => {}
            error => tracing::error!("{error}; reading the log rests"),
        }
        self.read_retry_at = now + crate::limits::RETRY_MS;
        if planted(Bug::RecordsSkippedOnError) {
            return;
        }
        let partitions: BTreeSet<Partition> = events
            .iter()
            .filter_map(|event| match event {
                ReadEvent::Record { record, .. } => Some(record.partition),
                ReadEvent::Known { partition, .. } | ReadEvent::End { partition, .. } => Some(*partition),
                ReadEvent::Failed { partition, .. } => *partition,
            })
            .collect();
        for partition in partitions {
            if let Some(owned) = self.partitions.get_mut(&partition).filter(|owned| !owned.waits) {
                self.reader.assign(partition, owned.reading_start());
            }
        }
    }

    /// Whether a record that was read is to be applied.
    fn is_new(&self, record: &Record) -> bool {
        let owned = self.partitions.get(&record.partition);
        owned.is_some_and(|owned| record.offset >= owned.checkpoint.position.offset())
            || planted(Bug::AppliedAgain)
    }

    /// The reader met a record: new, or one that was applied before it was read. If it is new and followed by another of its
    /// partition, that one will be applied.
    fn met(&mut self, fetched: Fetched, class: Option<RecordClass>, counted: Option<Counted>, now: NowMs) {
        let Fetched { record, epoch, is_followed } = fetched;
        let most = planted(Bug::OffsetsAcrossPartitions)
            .then(|| self.partitions.values().map(|owned| owned.checkpoint.position).max());
        let most = most.flatten().unwrap_or_default();
        let Some(owned) = self.partitions.get_mut(&record.partition) else { return };
        if !owned.is_read() {
            return;
        }
        let mark = || fingerprint(&record, epoch);
        if let Err(divergence) = owned.readback.met(record.offset, mark, owned.checkpoint.position) {
            return self.diverged(record.partition, divergence, Some(mark()), now);
        }
        let position = owned.checkpoint.position.max(most);
        let is_due = |_: &RecordClass| record.offset >= position.offset() || planted(Bug::AppliedAgain);
        if let Some(class) = class.filter(is_due) {
            owned.passed(record.offset.next());
            let mark = (!is_followed).then(mark);
            let counted = counted.map(|counted| self.as_of_now(counted));
            if self.doubts(&record, class, counted.as_ref(), now) {
                return;
            }
            self.apply(Applying { record, class, mark, counted }, now, false);
        }
    }

    /// The reader met a record that was applied before it was read, and told its mark only.
    fn met_known(&mut self, partition: Partition, mark: Fingerprint, now: NowMs) {
        let Some(owned) = self.partitions.get_mut(&partition).filter(|owned| owned.is_read()) else { return };
        if let Err(divergence) = owned.readback.met(mark.offset, || mark, owned.checkpoint.position) {
            self.diverged(partition, divergence, Some(mark), now);
        }
    }

    fn ended(&mut self, partition: Partition, position: Position, now: NowMs) {
        // What a fold that is overtaken did not take is not missing.
        let goes_on = |owned: &&mut Owned| !owned.waits() && !owned.is_overtaken();
        let Some(owned) = self.partitions.get_mut(&partition).filter(goes_on) else { return };
        if let Err(divergence) = owned.readback.ended(position) {
            return self.diverged(partition, divergence, None, now);
        }
        if position > owned.checkpoint.position && owned.lost.is_none() {
            owned.checkpoint.position = position;
            owned.dirty = true;
        }
        if owned.lost.is_none() {
            // What stopped reading at the end, or above it before the log lost its end, is no longer there.
            owned.passed(Position(u64::MAX));
        }
        owned.note_caught_up();
    }

    fn read_failed(&mut self, partition: Option<Partition>, failure: ReadFailure, now: NowMs) {
        let owned = partition.and_then(|partition| self.partitions.get_mut(&partition));
        if owned.as_ref().is_some_and(|owned| owned.waits()) {
            return;
        }
        match (failure, owned) {
            (ReadFailure::Unavailable { detail }, _) => tracing::debug!("reading the log: {detail}"),
            (ReadFailure::OutOfRange { position }, Some(owned)) => {
                owned.lost = Some(Lost { position, since: now });
                self.context.look.wake();
            }
            (ReadFailure::LostEnd { end }, Some(owned)) => {
                owned.lost = Some(Lost { position: end, since: now });
                owned.lost_end = Some(end).filter(|end| owned.readback.has_met(*end));
                self.context.look.wake();
            }
            (ReadFailure::Damaged { position, detail }, Some(owned)) => {
                if planted(Bug::ReadFailureSkips) {
                    return self.reader.assign(partition.unwrap_or_default(), Position(position.0 + 1));
                }
                owned.stop_reading(position, Degradation::DamagedRecord { at: position, detail }, now);
            }
            (ReadFailure::DoesNotFit { position, detail }, Some(owned)) => {
                owned.stop_reading(position, Degradation::DoesNotFit { at: position, detail }, now);
            }
            (failure, None) => tracing::warn!("reading the log: {failure}"),
        }
    }

    fn diverged(
        &mut self,
        partition: Partition,
        divergence: Divergence,
        found: Option<Fingerprint>,
        now: NowMs,
    ) {
        let Offset(at) = divergence.offset();
        let reason = Degradation::Diverged { divergence, found };
        let owned = self.partitions.get_mut(&partition).expect("the caller found it");
        owned.lost = Some(Lost { position: Position(at), since: now });
        self.rebuild(partition, reason);
    }

    /// Whether nothing is decided on a record because its writer knew events that this fold does not: the partition is read again from
    /// the beginning, and what comes of that decides.
    fn doubts(&mut self, record: &Record, class: RecordClass, counted: Option<&Counted>, now: NowMs) -> bool {
        let (RecordClass::Marked(marker), Some(counted)) = (class, counted) else { return false };
        let (partition, offset) = (record.partition, record.offset);
        let owned = self.partitions.get_mut(&partition).expect("the caller found it");
        let next = counted.count.head.map(|head| head.next);
        let Some(above) = owned.rule.above_next(marker, offset, next) else { return false };
        // Where the head of the log is gone, it may have held them.
        let is_explained = owned.checkpoint.cut;
        let is_caught_up = owned.is_caught_up();
        if is_explained
            || owned.premises.judge(above.incarnation, offset, is_caught_up) == JudgedAbove::Decide
        {
            return false;
        }
        owned.lost = Some(Lost { position: Position(offset.0), since: now });
        let low = Position(owned.board.low.load(Ordering::Acquire));
        if low > owned.checkpoint.fold_start {
            // A rebuild would lose what only this store still has.
            owned.board.degrade(Degradation::MissedAndRemoved { offset, above, low });
            return true;
        }
        self.rebuild(partition, Degradation::Missed { offset, above });
        true
    }

    /// Runs the rule on the next record and does what follows from it.
    fn apply(&mut self, applying: Applying, now: NowMs, fast: bool) {
        let Applying { record, class, mark, counted } = applying;
        let (partition, offset, timestamp) = (record.partition, record.offset, record.timestamp);
        let owned = self.partitions.get_mut(&partition).expect("the caller found it");
        let next = counted.as_ref().and_then(|counted| counted.count.head).map(|head| head.next);
        let applied = match owned.rule.apply_classified(record, class, next) {
            Ok(applied) => applied,
            Err(newer) => {
                owned.stop_reading(Position(offset.0), Degradation::NewerFormat(newer), now);
                return;
            }
        };
        owned.checkpoint.position = offset.next();
        owned.dirty = true;
        if let Some(mark) = mark {
            owned.checkpoint.fingerprint = Some(mark);
            if fast && !planted(Bug::FastPathNotCompared) {
                owned.readback.applied_unread(mark);
            } else {
                owned.readback.applied(mark);
            }
        }
        let is_ours = applied.stamp.is_some_and(|stamp| stamp.incarnation == self.incarnation);
        self.pacing.applied(is_ours);
        if applied.cut && !owned.checkpoint.cut {
            owned.checkpoint.cut = true;
            owned.board.cut.store(true, Ordering::Release);
            tracing::error!(
                partition = partition.0,
                "the head of the log was removed after events had been numbered there (seen at offset {offset}): reads go on, appends \
                 are refused"
            );
        }
        let split =
            counted.as_ref().filter(|counted| counted.count.elsewhere && counted.count.head.is_none());
        let split = split.map(|counted| &counted.key);
        let events = owned.count(&Counting { partition, offset, class, applied: &applied, split });
        let mut kept = None;
        if events > 0 {
            let counted = counted.expect("an event has a key");
            let is_first = counted.count.head.is_none() && owned.evidence_left > 0;
            if is_first && self.context.board.wants_evidence() {
                owned.evidence_left -= 1;
                let key = counted.key.as_ref();
                self.evidence.push(PlacedKey::new(key, partition, applied.stamp.is_none()));
            }
            kept = Some(counted);
        }
        let mut ended = std::mem::take(&mut self.ended);
        if let Some(stamp) = applied.stamp.filter(|_| owned.sequencer.in_flight() > 0) {
            owned.sequencer.applied(stamp, &applied.decision, &mut ended);
        }
        if let Some(counted) = kept {
            self.keep(counted, applied.stamp, applied.decision);
        }
        let place: Place = (partition, offset, timestamp);
        self.settle(ended, Some(place), now);
    }

    /// Where a key stands now: what was applied since it was counted is open.
    fn as_of_now(&self, mut counted: Counted) -> Counted {
        let Counted { hash, key, partition, count } = &mut counted;
        let open = self.context.overlay.count_open(self.index, *hash, key, *partition);
        if count.head.is_none() {
            count.elsewhere |= open.elsewhere;
        }
        count.head = open.head.or(count.head);
        counted
    }

    /// Puts accepted events into the overlay, and with that on the way to the store.
    fn keep(&mut self, counted: Counted, stamp: Option<Stamp>, decision: Decision) {
        let Counted { hash, key, count, .. } = counted;
        let base = |first| count.head.map_or(first, |head| head.base);
        let member = |index| stamp.map(|stamp| stamp.of_member(index));
        let overlay = &self.context.overlay;
        match decision {
            Decision::Accepted { order, record } => {
                let event = stored_event(record, order, member(1));
                overlay.insert(self.index, hash, key, base(order), event);
            }
            Decision::AcceptedBatch { first, records } => {
                let events = (0u32..).zip(records).map(|(index, record)| {
                    stored_event(record, Order(first.0 + u64::from(index)), member(index + 1))
                });
                overlay.insert_batch(self.index, hash, &key, base(first), events);
            }
            Decision::Skipped | Decision::Undecided | Decision::Void(_) => return,
        }
        self.in_step = true;
    }
}

impl Owned {
    /// What lies at or after `position` cannot be read now: it is not served until it can.
    fn stop_reading(&mut self, position: Position, reason: Degradation, now: NowMs) {
        self.lost = Some(Lost { position, since: now });
        self.board.degrade(reason);
        self.stopped_at = self.board.stopped_at();
    }

    /// Everything below `position` was read: what stopped reading below it is over.
    fn passed(&mut self, position: Position) {
        if self.stopped_at.is_some_and(|at| position > at) {
            self.stopped_at = self.board.passed(position);
        }
    }
}

/// What the record is that was fetched next, if it lies behind this one in its partition.
fn class_behind(record: &Record, next: Option<&ReadEvent>) -> Option<RecordClass> {
    let ReadEvent::Record { record: next, .. } = next? else { return None };
    let is_behind = next.partition == record.partition && next.offset > record.offset;
    is_behind.then(|| classify(next))
}

/// Adds what the store says of a key that the overlay does not know in this partition.
fn add_stored(count: &mut Count, partition: Partition, heads: &Heads) {
    let parts = match heads {
        Heads::None => &[],
        Heads::One(head) => std::slice::from_ref(head),
        Heads::Split(parts) => parts.as_slice(),
    };
    count.add(partition, parts.iter().copied());
}

fn stored_event(record: Record, order: Order, stamp: Option<Stamp>) -> StoredEvent {
    let Record { partition, offset, timestamp, value, mut headers, .. } = record;
    if stamp.is_some() {
        // Collected anew, so that no room is held for those that are left out.
        headers = headers.iter().filter(|header| !is_reserved(header)).cloned().collect();
    }
    let tombstone = value.is_none();
    StoredEvent {
        order,
        partition,
        offset,
        timestamp,
        value: value.unwrap_or_default(),
        tombstone,
        stamp,
        headers,
    }
}
