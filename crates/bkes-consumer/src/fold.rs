//! A partition's records through the accept rule, without any I/O.
//!
//! The rule decides, and counts what became void; a [`Fold`] tells of each record what it came to. For that it knows beside the rule
//! where the members of open batches lie. It knows no counts of keys, as the rule knows none: its host looks them up.

use crate::decided::{Decided, Decision, Events, VoidRecord, Writer};
use bkes_core::limits::BATCH_SPAN_OFFSETS;
use bkes_core::marker::classify;
use bkes_core::{
    AcceptRule, Applied, Decision as Ruled, Incarnation, Key, NewerFormat, Offset, Order, Partition,
    Position, Record, RecordClass, Stamp, StoredEvent, VoidReason,
};
use std::collections::BTreeMap;

/// The members of a batch that is not decided yet.
#[derive(Clone, Debug)]
struct OpenMembers {
    key: Key,
    /// Of the first member.
    stamp: Stamp,
    offsets: Vec<Offset>,
}

/// A member of a batch that is not decided yet.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Undecided<'a> {
    /// The aggregate.
    pub key: &'a Key,
    /// Where it lies.
    pub offset: Offset,
}

/// One partition, from the beginning of its log.
#[derive(Clone, Debug)]
pub struct Fold {
    partition: Partition,
    rule: AcceptRule,
    position: Position,
    open: BTreeMap<Incarnation, OpenMembers>,
    is_cut: bool,
    heeds_order_headers: bool,
    /// The rule's list of changes, which nobody here keeps, is emptied when the log enters another span of this number.
    span: u64,
}

impl Fold {
    /// Of a partition whose log begins at `fold_start`.
    pub fn new(partition: Partition, fold_start: Position) -> Fold {
        Fold {
            partition,
            rule: AcceptRule::new(fold_start),
            position: fold_start,
            open: BTreeMap::new(),
            is_cut: false,
            heeds_order_headers: true,
            span: 0,
        }
    }

    /// The same, for a host that does not know the counts of all keys: what the `order` headers of unmarked records tell of a head that
    /// was removed is left alone. It changes no decision.
    pub fn without_order_headers(self) -> Fold {
        Fold { heeds_order_headers: false, ..self }
    }

    /// The partition.
    pub fn partition(&self) -> Partition {
        self.partition
    }

    /// The next offset to apply. Everything below it is decided, but for [`undecided`](Self::undecided).
    pub fn position(&self) -> Position {
        self.position
    }

    /// The members of batches that wait for the rest.
    pub fn undecided(&self) -> impl Iterator<Item = Undecided<'_>> {
        self.open.values().flat_map(|OpenMembers { key, offsets, .. }| {
            offsets.iter().map(move |offset| Undecided { key, offset: *offset })
        })
    }

    /// Applies the next record; `next` is the next order of its key in this partition, `None` for a key without events there.
    /// Adds what is decided by it to `out`.
    ///
    /// # Errors
    ///
    /// A record of a newer format is not applied, and nothing may be applied after it.
    ///
    /// # Panics
    ///
    /// If the record lies below the position.
    pub fn apply(
        &mut self,
        record: Record,
        next: Option<Order>,
        out: &mut Vec<Decided>,
    ) -> Result<(), NewerFormat> {
        let Fold { partition, .. } = *self;
        let offset = record.offset;
        assert!(offset >= self.position.offset(), "records come in the order of their offsets");
        let class = classify(&record);
        let ruled_class = match class {
            RecordClass::Foreign if !self.heeds_order_headers => RecordClass::Forwarded,
            class => class,
        };
        let key = record.aggregate();
        let applied = self.rule.apply_classified(record, ruled_class, next)?;
        self.come_to(Position(offset.0), out);
        self.position = offset.next();
        self.empty_changes();
        if applied.cut && !self.is_cut {
            self.is_cut = true;
            out.push(Decided::Cut { partition, offset });
        }
        let Applied { stamp, decision, void_records, .. } = applied;
        let before = out.len();
        self.void_members(stamp, &decision, void_records, out);
        let Some(key) = key else {
            assert_eq!((out.len() - before) as u64, void_records, "every void record is told");
            out.push(Decided::Skipped { partition, offset });
            return Ok(());
        };
        if let Ruled::Void(reason) = decision {
            let stamp = stamp.expect("only what BKES wrote is void");
            out.push(Decided::Void(VoidRecord { key: key.clone(), partition, offset, stamp, reason }));
        }
        assert_eq!((out.len() - before) as u64, void_records, "every void record is told");
        if let Some(events) = self.events(key, stamp, decision, offset) {
            let writer = match class {
                RecordClass::Foreign => Writer::Foreign,
                RecordClass::Forwarded => Writer::Forwarded,
                RecordClass::Marked(_) | RecordClass::Newer { .. } => Writer::Bkes,
            };
            let (key, events) = events;
            out.push(Decided::Events(Decision { key, writer, is_first: next.is_none(), events }));
        }
        Ok(())
    }

    /// There is nothing more below this position.
    pub fn come_to(&mut self, position: Position, out: &mut Vec<Decided>) {
        if position > self.position {
            out.push(Decided::Gap { partition: self.partition, from: self.position, to: position });
            self.position = position;
        }
    }

    /// The events that were decided. A member that waits is noted.
    fn events(
        &mut self,
        key: Key,
        stamp: Option<Stamp>,
        decision: Ruled,
        offset: Offset,
    ) -> Option<(Key, Events)> {
        match decision {
            Ruled::Accepted { order, record } => {
                Some((key, Events::One(StoredEvent::of(record, order, stamp))))
            }
            Ruled::AcceptedBatch { first, records } => {
                let stamp = stamp.expect("only BKES writes batches");
                let event = |(index, record): (usize, Record)| {
                    let stamp = stamp.of_member(index as u32 + 1);
                    StoredEvent::of(record, Order(first.0 + index as u64), Some(stamp))
                };
                Some((key, Events::Batch(records.into_iter().enumerate().map(event).collect())))
            }
            Ruled::Undecided => {
                let stamp = stamp.expect("only BKES writes batches");
                let new = || OpenMembers { key, stamp: stamp.of_member(1), offsets: Vec::new() };
                self.open.entry(stamp.incarnation).or_insert_with(new).offsets.push(offset);
                None
            }
            Ruled::Void(_) | Ruled::Skipped => None,
        }
    }

    /// Tells of the members of batches that became void with a record: of its own batch, or of others.
    fn void_members(
        &mut self,
        stamp: Option<Stamp>,
        decision: &Ruled,
        void_records: u64,
        out: &mut Vec<Decided>,
    ) {
        let itself = u64::from(matches!(decision, Ruled::Void(_)));
        if void_records == itself && !matches!(decision, Ruled::AcceptedBatch { .. }) {
            return;
        }
        // A batch that was decided is not open any more, and is not broken.
        let decided = stamp.filter(|stamp| stamp.place.is_some());
        match decision {
            Ruled::AcceptedBatch { .. } => drop(self.close(decided)),
            Ruled::Void(reason @ VoidReason::OrderTaken { .. }) => {
                if let Some(members) = self.close(decided) {
                    members.void(self.partition, *reason, out);
                }
            }
            _ => {}
        }
        let rule = &self.rule;
        let is_open = |incarnation: &Incarnation, members: &mut OpenMembers| {
            let open = rule.open_batch(*incarnation);
            open.is_some_and(|batch| batch.members.first().map(|first| first.offset) == members.first())
        };
        for (_, members) in self.open.extract_if(.., |incarnation, members| !is_open(incarnation, members)) {
            members.void(self.partition, VoidReason::BatchBroken, out);
        }
    }

    fn close(&mut self, stamp: Option<Stamp>) -> Option<OpenMembers> {
        self.open.remove(&stamp?.incarnation)
    }

    fn empty_changes(&mut self) {
        let span = self.position.0 / BATCH_SPAN_OFFSETS;
        if span != self.span {
            self.span = span;
            drop(self.rule.take_changes());
        }
    }
}

impl OpenMembers {
    fn first(&self) -> Option<Offset> {
        self.offsets.first().copied()
    }

    fn void(&self, partition: Partition, reason: VoidReason, out: &mut Vec<Decided>) {
        for (offset, i) in self.offsets.iter().zip(1..) {
            let (key, stamp) = (self.key.clone(), self.stamp.of_member(i));
            out.push(Decided::Void(VoidRecord { key, partition, offset: *offset, stamp, reason }));
        }
    }
}
