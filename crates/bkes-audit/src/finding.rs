//! What an instance shows that the topic does not say, or the other way round.

use crate::limits::{FINDINGS_BYTES_MAX, LISTED_PARTITIONS_MAX};
use bkes_api::{Failure, ListedKey};
use bkes_core::{Key, Offset, Order, Partition, VoidReason};

/// Where an event is.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Place {
    /// Its order.
    pub order: Order,
    /// The partition.
    pub partition: Partition,
    /// Its offset.
    pub offset: Offset,
}

/// Something of an event.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub enum Field {
    /// The partition.
    Partition,
    /// The offset.
    Offset,
    /// The timestamp.
    Timestamp,
    /// The value, or whether it has one.
    Value,
    /// The headers.
    Headers,
    /// Whether BKES wrote it.
    Writer,
    /// Its place in its append.
    Batch,
    /// The id of its append.
    AppendId,
}

/// A difference between topic and instance. What the topic has is right.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Finding {
    /// The instance shows nothing of an aggregate.
    MissingAggregate {
        /// The aggregate.
        key: Key,
        /// How many events the topic has.
        events: u64,
    },
    /// The instance shows an aggregate of which the topic has no event.
    ExtraAggregate {
        /// The aggregate.
        key: Key,
        /// How many events it shows.
        shown: u64,
    },
    /// An aggregate can be read, and is not in the list of all.
    NotListed {
        /// The aggregate.
        key: Key,
    },
    /// The list says other things of an aggregate than there are: a next order that is not reached or exceeded, or other partitions.
    WronglyListed {
        /// The aggregate.
        key: Key,
        /// The next order that the list says.
        next: Order,
        /// The first partitions it says.
        partitions: Vec<Partition>,
        /// How many more it says.
        more_partitions: usize,
    },
    /// The list is not in order, or says that there is more and has nothing. What was not listed is looked for all the same.
    ListDisorder {
        /// The last key that was in order.
        after: Option<Key>,
    },
    /// An event is not shown.
    Missing {
        /// The aggregate.
        key: Key,
        /// The event.
        event: Place,
    },
    /// Something is shown that is not an event of the aggregate.
    Extra {
        /// The aggregate.
        key: Key,
        /// Where it is said to be.
        event: Place,
    },
    /// A void record is shown as an event.
    VoidShown {
        /// The aggregate.
        key: Key,
        /// Where it is shown.
        event: Place,
        /// Why it is void.
        reason: VoidReason,
    },
    /// An event is shown as another one.
    Differs {
        /// The aggregate.
        key: Key,
        /// The event.
        event: Place,
        /// What differs.
        fields: Vec<Field>,
    },
    /// An event is shown at another order.
    WrongOrder {
        /// The aggregate.
        key: Key,
        /// The event.
        event: Place,
        /// The order it is shown at.
        shown: Order,
    },
    /// The orders that one read shows do not count up.
    Disorder {
        /// The aggregate.
        key: Key,
        /// An order.
        after: Order,
        /// The one shown after it.
        shown: Order,
    },
    /// A read that came to its end says another next order than it showed, or that it is not complete, or that there is no aggregate.
    WrongEnd {
        /// The aggregate.
        key: Key,
        /// The next order it says.
        next: Order,
    },
    /// An aggregate is said to be in one partition or in several, and its events are not.
    WrongLayout {
        /// The aggregate.
        key: Key,
        /// Whether its events are in several partitions.
        is_split: bool,
    },
    /// Where an aggregate stands is said otherwise than its events were shown right before.
    WrongHead {
        /// The aggregate.
        key: Key,
        /// The next order that is said; `None` if there is said to be no aggregate.
        next: Option<Order>,
    },
    /// More events are shown above the end than the log has offsets there.
    TooManyNewer {
        /// The aggregate.
        key: Key,
        /// How many were shown until it was given up.
        shown: u64,
    },
    /// A split aggregate is shown with other events. Of which partition, and how many the topic has and the instance shows.
    SplitDiffers {
        /// The aggregate.
        key: Key,
        /// Partition, events in the topic, events shown.
        partitions: Vec<(Partition, u64, u64)>,
    },
    /// An aggregate differed when it was read first, and did not when it was compared event by event.
    Unsteady {
        /// The aggregate.
        key: Key,
    },
    /// The instance refuses to show an aggregate.
    Unreadable {
        /// The aggregate.
        key: Key,
        /// What it says.
        failure: Failure,
    },
}

impl Finding {
    /// That the list has this of an aggregate, which is not so.
    pub(crate) fn wrongly_listed(listed: &ListedKey) -> Finding {
        let ListedKey { key, next, partitions } = listed;
        let kept = partitions.len().min(LISTED_PARTITIONS_MAX);
        Finding::WronglyListed {
            key: key.clone(),
            next: *next,
            partitions: partitions[..kept].to_vec(),
            more_partitions: partitions.len() - kept,
        }
    }

    /// What it takes in memory beside its place in a list.
    fn bytes(&self) -> usize {
        let rest = match self {
            Finding::WronglyListed { partitions, .. } => size_of_val(&partitions[..]),
            Finding::SplitDiffers { partitions, .. } => size_of_val(&partitions[..]),
            Finding::Differs { fields, .. } => size_of_val(&fields[..]),
            Finding::Unreadable { failure, .. } => failure.message.len(),
            _ => 0,
        };
        self.key().map_or(0, |key| key.bytes().len()) + rest
    }

    /// The aggregate it is about.
    pub fn key(&self) -> Option<&Key> {
        match self {
            Finding::ListDisorder { after } => after.as_ref(),
            Finding::MissingAggregate { key, .. }
            | Finding::ExtraAggregate { key, .. }
            | Finding::NotListed { key }
            | Finding::WronglyListed { key, .. }
            | Finding::Missing { key, .. }
            | Finding::Extra { key, .. }
            | Finding::VoidShown { key, .. }
            | Finding::Differs { key, .. }
            | Finding::WrongOrder { key, .. }
            | Finding::Disorder { key, .. }
            | Finding::WrongEnd { key, .. }
            | Finding::WrongLayout { key, .. }
            | Finding::WrongHead { key, .. }
            | Finding::TooManyNewer { key, .. }
            | Finding::SplitDiffers { key, .. }
            | Finding::Unsteady { key }
            | Finding::Unreadable { key, .. } => Some(key),
        }
    }
}

/// Findings, the first of them kept.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Findings {
    /// Those that are kept.
    pub kept: Vec<Finding>,
    /// How many more there are.
    pub more: u64,
    /// Aggregates that differ and were not compared event by event, since there were too many.
    pub more_aggregates: u64,
    bytes: usize,
    pub(crate) kept_max: usize,
}

impl Findings {
    /// None yet, of which so many will be kept.
    pub(crate) fn new(kept_max: usize) -> Findings {
        Findings { kept_max, ..Findings::default() }
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.kept.is_empty() && self.more == 0 && self.more_aggregates == 0
    }

    pub(crate) fn add(&mut self, finding: Finding) {
        let bytes = finding.bytes();
        if self.kept.len() >= self.kept_max || self.bytes + bytes > FINDINGS_BYTES_MAX {
            self.more += 1;
            return;
        }
        self.bytes += bytes;
        self.kept.push(finding);
    }
}
