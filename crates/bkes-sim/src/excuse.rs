//! What BKES does not promise, and the checker cannot know: situations that the documents name.
//!
//! * A *split* key: it can be read, partition by partition. While one of its partitions is caught up and another is not, a
//!   read shows the first only; and when a topic grows while several instances write, the same key may be begun in two
//!   partitions at once, by writers that rested on different halves.
//! * A batch that rested on events that are lost with the *end of the log*, or with its head: others may have come between its members
//!   until there were as many again, and it is decided at its last member.
//! * A record that was decided by an instance that did not know yet that its log had lost its end: refused for what is lost,
//!   it may be an event in what is left.
//! * A key of which such an instance denies what was written since. Where the log still ends below what the instance had applied,
//!   that is seen and nothing is denied; where it has grown as long again, only reading tells.
//! * What lies below a record that was lost with the end of the log and is back at its old place with every byte, because a copy of
//!   it came late: an instance that was down meanwhile compares that record only. It shows what others do not have, and may answer an
//!   append that is void for them, until it meets a record above the next order (P20).
//! * A key whose head was *removed* by retention: whoever begins with nothing knows nothing of it, and it may be begun anew.
//!
//! Everything else is held against every run.

use bkes_check::{AppendOutcome, Call, ContentOf, History, Operation, ReadOutcome, Violation};
use bkes_core::{Key, Offset, Partition};
use std::collections::BTreeSet;

/// What is excused in a history, mostly by key.
pub struct Excused<'h> {
    history: &'h History,
    split: BTreeSet<&'h Key>,
    removed: BTreeSet<&'h Key>,
    /// Keys of events below a record that came back.
    below_returned: BTreeSet<&'h Key>,
}

impl<'h> Excused<'h> {
    /// Those of a history.
    pub fn of(history: &'h History) -> Excused<'h> {
        let rebuilt = history.contents.iter().filter(|content| content.of == ContentOf::Rebuilt);
        let keys = rebuilt.flat_map(|content| &content.keys);
        let is_split = |events: &[bkes_check::Event]| {
            events.windows(2).any(|pair| pair[0].partition != pair[1].partition)
        };
        let split = keys.filter(|(_, events)| is_split(events)).map(|(key, _)| key).collect();
        let is_removed = |(partition, offset): (Partition, Offset)| {
            history.excuses.cuts.iter().any(|(of, low)| *of == partition && offset < *low)
        };
        let touched = |call: &&Call| places(call).into_iter().any(is_removed);
        let removed = history.calls.iter().filter(touched).map(|call| &call.key);
        let foreign = history.contents.iter().flat_map(|content| &content.keys);
        let foreign = foreign
            .filter(|(_, events)| events.iter().any(|event| is_removed((event.partition, event.offset))));
        let removed = removed.chain(foreign.map(|(key, _)| key)).collect();
        Excused { history, split, removed, below_returned: below_returned(history) }
    }

    /// Whether this breaks nothing that was promised.
    pub fn excuses(&self, violation: &Violation) -> bool {
        match violation {
            Violation::ReadWentBack { key, .. }
            | Violation::AcknowledgedNotShown { key, .. }
            | Violation::PremiseBroken { key, .. } => self.split.contains(key) || self.removed.contains(key),
            Violation::ReadDiffers { key, .. } | Violation::ContentsDiffer { key, .. } => {
                self.removed.contains(key) || self.below_returned.contains(key)
            }
            Violation::AcknowledgedLost { call, key, .. } => {
                let begin = self.history.calls[call.0].begin;
                let is_later = self.history.excuses.truncations.iter().any(|lost| lost.at <= begin);
                self.removed.contains(key) || (is_later && self.below_returned.contains(key))
            }
            Violation::AcknowledgedTwice { key, .. }
            | Violation::ReadBadPage { key, .. }
            | Violation::StoredAtAnotherOrder { key, .. } => self.removed.contains(key),
            Violation::OffsetsGoBack { key, event, .. } => {
                let lost = &self.history.excuses.truncations;
                self.removed.contains(key) || lost.iter().any(|lost| lost.partition == event.partition)
            }
            Violation::KnownDenied { call, key, .. } => {
                let begin = self.history.calls[call.0].begin;
                let lost = &self.history.excuses.truncations;
                self.removed.contains(key) || lost.iter().any(|lost| begin <= lost.until)
            }
            Violation::RefusedStored { call, event, .. } => {
                let begin = self.history.calls[call.0].begin;
                let lost = &self.history.excuses.truncations;
                lost.iter().any(|lost| {
                    lost.partition == event.partition && event.offset >= lost.from && begin <= lost.until
                })
            }
            _ => false,
        }
    }
}

/// The keys of all events, wherever they are shown, that lie where the end of the log was lost, up to a record that somebody knew
/// before and that is back at its place.
fn below_returned(history: &History) -> BTreeSet<&Key> {
    let mut below = BTreeSet::new();
    for lost in &history.excuses.truncations {
        let is_there = |(partition, offset, value): &(Partition, Offset, &[u8])| {
            let mut log = history.log.iter();
            log.any(|record| {
                (record.partition, record.offset) == (*partition, *offset)
                    && record.value.as_deref() == Some(*value)
            })
        };
        let before = history.calls.iter().filter(|call| call.end.is_some_and(|end| end < lost.at));
        let known = before.flat_map(known_records);
        let of_lost =
            known.filter(|(partition, offset, _)| *partition == lost.partition && *offset >= lost.from);
        let Some((_, last, _)) = of_lost.filter(is_there).max_by_key(|(_, offset, _)| *offset) else {
            continue;
        };
        for (key, events) in history.contents.iter().flat_map(|content| &content.keys) {
            let within = |event: &bkes_check::Event| {
                event.partition == lost.partition && (lost.from..=last).contains(&event.offset)
            };
            if events.iter().any(within) {
                below.insert(key);
            }
        }
    }
    below
}

/// The records that a call was told of, of a batch the last one.
fn known_records(call: &Call) -> Vec<(Partition, Offset, &[u8])> {
    match &call.operation {
        Operation::Append(append) => match (&append.outcome, append.values.last()) {
            (AppendOutcome::Acknowledged { partition, offset, .. }, Some(value)) => {
                vec![(*partition, *offset, &value[..])]
            }
            _ => Vec::new(),
        },
        Operation::Read(read) => match &read.outcome {
            ReadOutcome::Events { events, .. } => {
                events.iter().map(|event| (event.partition, event.offset, &event.value[..])).collect()
            }
            _ => Vec::new(),
        },
    }
}

/// The places that a call was told of, of a batch where it begins.
fn places(call: &Call) -> Vec<(Partition, Offset)> {
    match &call.operation {
        Operation::Append(append) => match append.outcome {
            // A batch begins before that, by as many records at least.
            AppendOutcome::Acknowledged { partition, offset, .. } => {
                let before = append.values.len() as u64 - 1;
                vec![(partition, Offset(offset.0.saturating_sub(before)))]
            }
            _ => Vec::new(),
        },
        Operation::Read(read) => match &read.outcome {
            ReadOutcome::Events { events, .. } => {
                events.iter().map(|event| (event.partition, event.offset)).collect()
            }
            _ => Vec::new(),
        },
    }
}
