//! Settling: appends that have ended are answered, and their keys go to those that waited for them.

use super::{Answer, Append, Ended, PartitionMachine, Scope, Step};
use crate::append::{AppendError, Appended, Expected};
use crate::machine::limits::{OVERTAKEN_MAX, RESENDS_MAX};
use crate::sequence::Outcome;
use crate::{Key, Offset, Order, Partition, TimestampMs};
use std::collections::VecDeque;

/// Where the records of an accepted append lie.
#[derive(Clone, Copy)]
pub(super) struct Place {
    pub partition: Partition,
    /// Of the first one.
    pub first_offset: Offset,
    /// Of the last one.
    pub offset: Offset,
    /// The log's, of the last one.
    pub timestamp: Option<TimestampMs>,
}

impl<T> PartitionMachine<T> {
    /// Answers what has ended, and goes on with those that waited for the keys.
    pub(super) fn settle(&mut self, place: Option<Place>, step: Step<'_, T>) {
        let mut ended = std::mem::take(&mut self.ended);
        for (settled, _) in &ended {
            step.lookup.release(&settled.key);
        }
        for ended in ended.drain(..) {
            self.settle_one(ended, place, step);
        }
        self.ended = ended;
    }

    fn settle_one(&mut self, (settled, mut queue): Ended<T>, place: Option<Place>, step: Step<'_, T>) {
        let mut append = settled.ticket;
        // It is not stored and never will be, so it is an append like a new one: checked again, against what the log takes by now.
        if matches!(settled.outcome, Outcome::Oversized(_)) && append.resent < RESENDS_MAX {
            append.resent += 1;
            queue.push_front(append);
        } else if matches!(settled.outcome, Outcome::Conflict { .. })
            && append.request.identity.is_some()
            && append.overtaken < OVERTAKEN_MAX
        {
            // What took its order may be an earlier try; where the append names no order, the next one is as good.
            append.overtaken += 1;
            queue.push_front(append);
        } else {
            let last = Order(settled.first.0 + u64::from(settled.count) - 1);
            let expected = append.request.expected;
            self.work.answers.push(
                match answer_to(expected, settled.outcome, (settled.first, last), place) {
                    Ok(appended) => Answer::Stored { ticket: append.ticket, appended },
                    Err(error) => Answer::Failed { ticket: append.ticket, error },
                },
            );
        }
        self.go_on(&settled.key, queue, step);
    }

    /// A key is free: the appends that wait for it are begun in turn, until one of them is in flight.
    pub(super) fn go_on(&mut self, key: &Key, mut queue: VecDeque<Box<Append<T>>>, step: Step<'_, T>) {
        while let Some(append) = queue.pop_front() {
            // What would be refused anyhow does not wait for room first.
            if !step.lookup.fits(&append, self.work.sending) && self.serving(step).is_ok() {
                self.work.held.push(append);
                self.work.held.extend(queue);
                return;
            }
            let here = self.opened(step.lookup.hash(key), key);
            match step.lookup.locate(&append, here) {
                Err(error) => self.refuse(append, error),
                Ok(located) if located.partition == self.partition => {
                    match self.begin(append, located.known, queue, step) {
                        Some(rest) => queue = rest,
                        None => return,
                    }
                }
                Ok(located) => self.work.rerouted.push((located.partition, append)),
            }
        }
    }

    /// Refuses an append of which nothing is stored. What the log may hold beyond what is applied here decides some refusals: those are
    /// to be verified first. That an aggregate exists, or is further than asked for, stays true whatever the log holds.
    pub(super) fn refuse(&mut self, append: Box<Append<T>>, error: AppendError) {
        self.work.answers.push(refused(append, error, Some(self.partition)));
    }
}

/// The answer to an append that is refused before it was sent; `partition` is where its aggregate was found.
pub fn refused<T>(append: Box<Append<T>>, error: AppendError, partition: Option<Partition>) -> Answer<T> {
    let scope = match &error {
        AppendError::NoSuchAggregate { .. }
        | AppendError::ExistingOnly
        | AppendError::PartitionerUnknown { .. } => Some(Scope::All),
        AppendError::Conflict { expected, current } if expected > current => partition.map(Scope::One),
        _ => None,
    };
    match scope.filter(|_| !append.is_verified) {
        Some(scope) => Answer::Unverified { append, scope },
        None => Answer::Failed { ticket: append.ticket, error },
    }
}

/// What the caller of an append that ended is told.
fn answer_to(
    expected: Expected,
    outcome: Outcome,
    (first, last): (Order, Order),
    place: Option<Place>,
) -> Result<Appended, AppendError> {
    match outcome {
        Outcome::Accepted => {
            let Place { partition, first_offset, offset, timestamp } =
                place.expect("only an applied record is accepted");
            let timestamp_ms = timestamp.map(|timestamp| timestamp.0);
            Ok(Appended { partition, first_offset, offset, timestamp_ms, first, last, by_earlier_try: false })
        }
        Outcome::Conflict { next } => Err(match expected {
            Expected::New => AppendError::AlreadyExists { current: next },
            Expected::At(expected) => AppendError::Conflict { expected, current: next },
            Expected::Exists | Expected::Any => AppendError::NotStored {
                detail: format!("others took the next order {} times in a row", u32::from(OVERTAKEN_MAX) + 1),
            },
        }),
        Outcome::NotStored(detail) | Outcome::Oversized(detail) => Err(AppendError::NotStored { detail }),
        Outcome::Unknown(detail) => Err(AppendError::Unknown { detail }),
    }
}
