//! The judge's fold of the log: the accept rule alone, and the histories it gives. And what broken variants take a record for.

use crate::world::{Bug, Value};
use bkes_core::checksum::{PartsSum, PayloadSum};
use bkes_core::marker::classify;
use bkes_core::{
    AcceptRule, Applied, Decision, Incarnation, IncarnationState, Key, Marker, Order, Position, Record,
    RecordClass, VoidReason,
};
use std::collections::BTreeMap;

/// The accepted events of each key.
pub type Histories = BTreeMap<Key, Vec<Value>>;

#[derive(Clone, Debug)]
pub struct Fold {
    rule: AcceptRule,
    pub position: Position,
    pub histories: Histories,
    bug: Option<Bug>,
}

/// What survives a restart.
#[derive(Clone, Default, Debug)]
pub struct Checkpoint {
    position: Position,
    histories: Histories,
    incarnations: BTreeMap<Incarnation, IncarnationState>,
}

pub fn value_of(record: &Record) -> Value {
    let value = record.value.as_deref().expect("every record of the model has a value");
    std::str::from_utf8(value).expect("digits").parse().expect("a number")
}

/// A record, or what a reader takes it for that believes every marker, or no base.
pub fn taken_for(bug: Option<Bug>, record: &Record) -> Record {
    match (bug, classify(record)) {
        (Some(Bug::BelievesForwarded), RecordClass::Forwarded) => believed(record),
        (Some(Bug::IgnoresBase), RecordClass::Marked(marker)) => {
            marked_as(record, Marker { base: Position(record.offset.0), ..marker })
        }
        _ => record.clone(),
    }
}

/// The record with another marker.
pub fn marked_as(record: &Record, marker: Marker) -> Record {
    let payload = PayloadSum::of(record.key.as_deref(), record.value.as_deref());
    Record { headers: marker.headers(payload).into(), ..record.clone() }
}

/// The record with its marker made to fit.
fn believed(record: &Record) -> Record {
    let mut record = record.clone();
    let value = |index: usize| record.headers[index].value.clone().unwrap_or_default();
    let (order, bkes) = (value(0), value(1));
    let text = bkes[..bkes.len() - 8].to_vec();
    let mut sum = PartsSum::over_payload(&record);
    sum.part(Some(&order));
    sum.part(Some(&text));
    record.headers[1].value = Some([text, format!("{:08x}", sum.finish()).into_bytes()].concat().into());
    record
}

impl Fold {
    pub fn resume(checkpoint: &Checkpoint, bug: Option<Bug>) -> Fold {
        let mut incarnations = checkpoint.incarnations.clone();
        if bug == Some(Bug::ForgetsOpenBatch) {
            incarnations.values_mut().for_each(|state| state.open = None);
        }
        Fold {
            rule: AcceptRule::resume(Position::START, checkpoint.position, incarnations),
            position: checkpoint.position,
            histories: checkpoint.histories.clone(),
            bug,
        }
    }

    pub fn next(&self, key: &Key) -> Order {
        Order(self.histories.get(key).map_or(0, |events| events.len() as u64))
    }

    /// Brings a checkpoint up to where the fold stands, by the changes alone, as a store does.
    pub fn store(&mut self, checkpoint: &mut Checkpoint) {
        for (incarnation, state) in self.rule.take_changes() {
            match state {
                Some(state) => checkpoint.incarnations.insert(incarnation, state),
                None => checkpoint.incarnations.remove(&incarnation),
            };
        }
        checkpoint.position = self.position;
        checkpoint.histories.clone_from(&self.histories);
    }

    pub fn apply(&mut self, record: &Record) -> Applied {
        let key = record.aggregate().expect("every record of the model has a key");
        let next = Some(self.next(&key)).filter(|next| *next > Order::FIRST);
        let class = classify(&taken_for(self.bug, record));
        let applied = self.rule.apply_classified(record.clone(), class, next);
        let mut applied = applied.expect("no newer format in the model");
        self.position = record.offset.next();
        let again = applied.decision == Decision::Void(VoidReason::JudgedBefore);
        if self.bug == Some(Bug::JudgesTwice) && again {
            let forgetful = AcceptRule::new(Position::START).apply(record.clone(), next);
            applied = forgetful.expect("no newer format in the model");
        }
        let events = self.histories.entry(key).or_default();
        match &applied.decision {
            Decision::Accepted { order, record } => {
                assert_eq!(order.0, events.len() as u64, "an event takes the next order");
                events.push(value_of(record));
            }
            Decision::AcceptedBatch { first, records } => {
                assert_eq!(first.0, events.len() as u64, "a batch takes the next orders");
                events.extend(records.iter().map(value_of));
            }
            Decision::Undecided if self.bug == Some(Bug::AcceptsFirstMember) => {
                if applied.stamp.is_some_and(|stamp| stamp.i() == 1) {
                    events.push(value_of(record));
                }
            }
            Decision::Undecided | Decision::Void(_) | Decision::Skipped => {}
        }
        applied
    }
}
