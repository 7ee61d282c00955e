//! What BKES does not promise, and the checker cannot know: situations that the documents name.
//!
//! * A *split* key: it can be read, partition by partition. While one of its partitions is caught up and another is not, a
//!   read shows the first only, and so does who follows the key, and is told that it is caught up; and when a topic grows while
//!   several instances write, the same key may be begun in two partitions at once, by writers that rested on different halves.
//! * An append with an id to a key that is, or becomes, split: each partition has its own orders, so one try may be accepted in one of
//!   them and another try, by an instance that does not know that one, in another; and one of them may be told a conflict in the
//!   other's partition.
//! * A record that was decided by an instance that did not know yet that its log had lost its end: refused for what is lost,
//!   it may be an event in what is left.
//! * A key of which such an instance denies what was written since. Where the log still ends below what the instance had applied,
//!   that is seen and nothing is denied; where it has grown as long again, only reading tells.
//! * An append that such an instance acknowledged at the exact offset, after a transaction that is open in what is left: it is not stable,
//!   and is shown again when the transaction ends (P4).
//! * A key whose head was *removed* by retention: whoever begins with nothing knows nothing of it, and it may be begun anew.
//!
//! Everything else is held against every run.

use bkes_check::{
    AppendCall, AppendOutcome, Call, CallId, ContentOf, Followed, History, Operation, ReadOutcome, StreamOf,
    Violation,
};
use bkes_core::{Key, Offset, Partition};
use std::collections::BTreeSet;

/// What is excused in a history, mostly by key.
pub struct Excused<'h> {
    history: &'h History,
    split: BTreeSet<&'h Key>,
    removed: BTreeSet<&'h Key>,
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
        Excused { history, split, removed }
    }

    /// Whether an append was acknowledged where the end of the log had been lost, and read before everybody had noticed.
    fn hides_again(&self, read: &Call, append: &Call) -> bool {
        let Operation::Append(AppendCall {
            outcome: AppendOutcome::Acknowledged { partition, offset, .. },
            ..
        }) = &append.operation
        else {
            return false;
        };
        self.history.excuses.truncations.iter().any(|lost| {
            let is_behind = append.end.is_some_and(|end| end >= lost.at);
            lost.partition == *partition && *offset >= lost.from && is_behind && read.begin <= lost.until
        })
    }

    /// Whether a call is one of several tries of an append.
    fn is_tried_again(&self, call: CallId) -> bool {
        let Call { key, operation: Operation::Append(append), .. } = &self.history.calls[call.0] else {
            return false;
        };
        let Some(identity) = &append.identity else { return false };
        let tries = self.history.calls.iter().filter(|other| match &other.operation {
            Operation::Append(other_append) => {
                let is_named = other_append.identity.as_ref().is_some_and(|other| other.id == identity.id);
                is_named && other.key == *key && other_append.values == append.values
            }
            Operation::Read(_) => false,
        });
        tries.count() > 1
    }

    /// Whether somebody follows one aggregate, and that is split.
    fn follows_a_split_key(&self, stream: StreamOf) -> bool {
        let mut followers = self.history.follows.iter().filter(|follower| follower.client == stream.client);
        followers.any(|follower| matches!(&follower.followed, Followed::Key(key) if self.split.contains(key)))
    }

    /// Whether two places of a split key lie in two of its partitions.
    fn is_apart(&self, key: &Key, one: Partition, other: Partition) -> bool {
        self.split.contains(key) && one != other
    }

    /// Where a call was told that its append is.
    fn partition_told(&self, call: CallId) -> Option<Partition> {
        places(&self.history.calls[call.0]).first().map(|(partition, _)| *partition)
    }

    /// Whether this breaks nothing that was promised.
    pub fn excuses(&self, violation: &Violation) -> bool {
        match violation {
            Violation::ReadWentBack { key, .. }
            | Violation::WaitedNotShown { key, .. }
            | Violation::PremiseBroken { key, .. } => self.split.contains(key) || self.removed.contains(key),
            Violation::AcknowledgedNotShown { call, key, append, .. } => {
                let (read, append) = (&self.history.calls[call.0], &self.history.calls[append.0]);
                self.split.contains(key) || self.removed.contains(key) || self.hides_again(read, append)
            }
            Violation::ReadDiffers { key, .. }
            | Violation::ContentsDiffer { key, .. }
            | Violation::AcknowledgedLost { key, .. }
            | Violation::AcknowledgedTwice { key, .. }
            | Violation::ReadBadPage { key, .. }
            | Violation::OffsetsGoBack { key, .. }
            | Violation::StoredAtAnotherOrder { key, .. } => self.removed.contains(key),
            Violation::KnownDenied { call, key, .. } => {
                let begin = self.history.calls[call.0].begin;
                let lost = &self.history.excuses.truncations;
                self.removed.contains(key) || lost.iter().any(|lost| begin <= lost.until)
            }
            Violation::FollowedMissing { stream, .. } => self.follows_a_split_key(*stream),
            Violation::StoredTwice { key, one, other, .. }
            | Violation::IdStoredTwice { key, one: (_, one), other: (_, other) } => {
                self.is_apart(key, one.partition, other.partition)
            }
            Violation::AcknowledgedInTwoPlaces { key, one, other } => {
                let told = self.partition_told(*one).zip(self.partition_told(*other));
                told.is_some_and(|(one, other)| self.is_apart(key, one, other))
            }
            Violation::RefusedStored { call, key, event } => {
                let begin = self.history.calls[call.0].begin;
                let lost = &self.history.excuses.truncations;
                let is_split = self.split.contains(key) && self.is_tried_again(*call);
                is_split
                    || lost.iter().any(|lost| {
                        lost.partition == event.partition && event.offset >= lost.from && begin <= lost.until
                    })
            }
            _ => false,
        }
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
