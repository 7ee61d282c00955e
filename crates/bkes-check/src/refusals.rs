//! Promise 10: a refusal is true on every instance.
//!
//! "No such aggregate", and a conflict in which the order asked for is above the next one, deny events. What any instance had
//! acknowledged or shown before such a call began must not be among them. A *latest* read denies all that it does not show. (That an aggregate exists, or is further than asked
//! for, is held against the log by the other promises: there is nothing in them that could be out of date.)

use crate::history::{AppendOutcome, Call, CallId, Fresh, Operation, ReadOutcome};
use crate::index::Index;
use crate::violation::Violation;
use bkes_core::{Key, Order};
use std::collections::HashMap;

/// How many events of a key a call proves, and when its answer was there.
struct Proof {
    end: u64,
    events: u64,
    call: CallId,
}

/// An answer that denies all events from an order on.
struct Denial {
    begin: u64,
    next: Order,
    call: CallId,
}

#[derive(Default)]
struct Known {
    proofs: Vec<Proof>,
    denials: Vec<Denial>,
}

/// Compares what was denied with what had been told before.
pub fn check(index: &Index<'_>, found: &mut Vec<Violation>) {
    let mut keys: HashMap<&Key, Known> = HashMap::new();
    for (id, call) in index.calls() {
        if index.is_key_cut(&call.key) || index.is_before_truncation(&call.key, call.begin) {
            continue;
        }
        let known = keys.entry(&call.key).or_default();
        let (call_id, begin) = (id, call.begin);
        if let Some((end, events)) = call.end.zip(proved(call)) {
            known.proofs.push(Proof { end, events, call: call_id });
        }
        // Orders of a split key are of one partition each: only that there are none at all can be compared.
        let next = denied_from(call).filter(|next| *next == Order::FIRST || !index.is_split(&call.key));
        if let Some(next) = next {
            known.denials.push(Denial { begin, next, call: call_id });
        }
    }
    let before = found.len();
    for (key, known) in keys {
        known.check(key, found);
    }
    // The keys come in no order; what is reported does.
    found[before..].sort_by_key(|violation| match violation {
        Violation::KnownDenied { call, .. } => *call,
        _ => CallId(0),
    });
}

/// How many events a call's answer proves.
fn proved(call: &Call) -> Option<u64> {
    match &call.operation {
        Operation::Append(append) => match append.outcome {
            AppendOutcome::Acknowledged { first, .. } => {
                Some(first.0.saturating_add(append.values.len() as u64))
            }
            _ => None,
        },
        Operation::Read(read) => match &read.outcome {
            ReadOutcome::Events { events, .. } => read.proves(events),
            _ => None,
        },
    }
}

/// The first order that a call's answer denies.
fn denied_from(call: &Call) -> Option<Order> {
    match &call.operation {
        Operation::Append(append) => match append.outcome {
            // An append without an order is told one only where there is no such aggregate.
            AppendOutcome::Rejected { current } => {
                current.filter(|next| append.expected.order().is_none_or(|order| order > *next))
            }
            _ => None,
        },
        Operation::Read(read) => match &read.outcome {
            ReadOutcome::NoSuchAggregate if read.view.is_now() => Some(Order::FIRST),
            // A latest read that ends with the last event denies all after it.
            ReadOutcome::Events { events, more } if read.fresh == Fresh::Latest => {
                read.denies(events, *more).map(Order)
            }
            _ => None,
        },
    }
}

impl Known {
    fn check(mut self, key: &Key, found: &mut Vec<Violation>) {
        self.proofs.sort_by_key(|proof| (proof.end, proof.call));
        self.denials.sort_by_key(|denial| (denial.begin, denial.call));
        let mut proofs = self.proofs.iter().peekable();
        let mut most: Option<&Proof> = None;
        for Denial { begin, next, call } in self.denials {
            while let Some(proof) = proofs.next_if(|proof| proof.end < begin) {
                if most.is_none_or(|most| proof.events > most.events) {
                    most = Some(proof);
                }
            }
            if let Some(proof) = most.filter(|proof| proof.events > next.0) {
                let (key, earlier, known) = (key.clone(), proof.call, proof.events);
                found.push(Violation::KnownDenied { call, key, next, earlier, known });
            }
        }
    }
}
