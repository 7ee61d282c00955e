//! The topic machine: what is decided about all partitions together. One for each engine.
//!
//! Where a key lives is where its events are; where a new one begins is told by a partitioner over a number of partitions. Which
//! partitioner the topic's other writers use is given, kept from an earlier run, or judged from the topic's keys once every partition
//! was read. When the topic grows, keys are placed over the new partitions only after they were read, and after every other instance had
//! the time to see and read them too: or two instances would begin a key in two places.
//!
//! Pure: time, and whether all is read, are arguments.

mod catch_up_order;

pub use catch_up_order::{CatchUpOrder, Reading};

use crate::append::{AppendError, AppendRequest, Expected, Unready};
use crate::evidence::{Completeness, Evidence, PlacedKey, Verdict, judge};
use crate::sequence::NowMs;
use crate::{Head, Heads, Key, Partition, Partitioner};
use hashbrown::HashSet;
use std::num::NonZeroU32;

/// How new keys are placed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Placing {
    /// Over so many partitions.
    pub partitions: NonZeroU32,
    /// By this partitioner; `None` until it is decided.
    pub partitioner: Option<Partitioner>,
}

/// What is decided about all partitions together.
#[derive(Debug)]
pub struct TopicMachine {
    placing: Placing,
    /// Whether no key is begun, however it would be placed.
    existing_only: bool,
    /// Whether an earlier run read keys that are not in the sample.
    completeness: Completeness,
    /// The first keys of each partition.
    sample: HashSet<PlacedKey>,
    /// What they say, of so many keys and partitions.
    judged: Option<(usize, NonZeroU32, Verdict)>,
    /// How many keys there were when it was said that they tell nothing.
    told: Option<u32>,
    /// How long new partitions rest before keys are placed in them.
    rest_ms: NowMs,
    /// How many partitions are read, and since when the new ones rest.
    resting: Option<(u32, NowMs)>,
}

/// What became of the question how keys are placed.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Choice {
    /// It is not open, or cannot be answered yet.
    Unchanged,
    /// It is answered now.
    Made(Partitioner, Evidence),
    /// The topic's keys do not tell.
    Open {
        /// What they say.
        evidence: Evidence,
        /// Whether that is to be said: the first time, and whenever they are twice as many.
        is_news: bool,
    },
}

impl TopicMachine {
    /// A topic whose keys are placed so; `rest_ms` is how long new partitions rest before keys are placed in them.
    pub fn new(
        placing: Placing,
        existing_only: bool,
        completeness: Completeness,
        rest_ms: NowMs,
    ) -> TopicMachine {
        TopicMachine {
            placing,
            existing_only,
            completeness,
            sample: HashSet::new(),
            judged: None,
            told: None,
            rest_ms,
            resting: None,
        }
    }

    /// How new keys are placed.
    pub fn placing(&self) -> Placing {
        self.placing
    }

    /// Whether an earlier run read keys that are not in the sample.
    pub fn completeness(&self) -> Completeness {
        self.completeness
    }

    /// The partition that a key hashes to. Where its aggregate lives may be another one.
    pub fn guess(&self, key: &Key) -> Partition {
        let Placing { partitions, partitioner } = self.placing;
        partitioner.map_or(Partition(0), |partitioner| partitioner.place(key.as_ref(), partitions))
    }

    /// The partition that holds the aggregate of an append, or would hold a new one. `are_read` says whether the partitions of a split
    /// aggregate are all read: what an earlier fold had of one that is read anew may not be there any more. `unready` is what is
    /// answered while they are not.
    pub fn locate(
        &mut self,
        request: &AppendRequest,
        heads: &Heads,
        are_read: &dyn Fn(&[Head]) -> bool,
        unready: &dyn Fn() -> Unready,
    ) -> Result<Partition, AppendError> {
        match heads {
            Heads::One(head) => Ok(head.partition),
            Heads::Split(parts) if !are_read(parts) => Err(AppendError::Unavailable(unready())),
            Heads::Split(parts) => {
                Err(AppendError::Split { partitions: parts.iter().map(|head| head.partition).collect() })
            }
            Heads::None => self.place_new(request, unready),
        }
    }

    fn place_new(
        &mut self,
        request: &AppendRequest,
        unready: &dyn Fn() -> Unready,
    ) -> Result<Partition, AppendError> {
        let Placing { partitions, partitioner } = self.placing;
        match (request.expected, partitioner) {
            (Expected::New | Expected::Any, _) if self.existing_only => Err(AppendError::ExistingOnly),
            (_, Some(partitioner)) => Ok(partitioner.place(request.key.as_ref(), partitions)),
            (Expected::At(_) | Expected::Exists, None) => Err(request.no_such_aggregate()),
            (Expected::New | Expected::Any, None) if self.judged.is_none() => {
                Err(AppendError::Unavailable(unready()))
            }
            (Expected::New | Expected::Any, None) => {
                Err(AppendError::PartitionerUnknown { evidence: self.verdict().evidence })
            }
        }
    }

    /// Whether the topic's keys still matter for how new ones are placed.
    pub fn wants_evidence(&self) -> bool {
        self.placing.partitioner.is_none() && !self.existing_only
    }

    /// Takes keys of the topic as evidence. A fold that begins anew brings keys again: they count once.
    pub fn add_evidence(&mut self, keys: impl IntoIterator<Item = PlacedKey>) {
        self.sample.extend(keys);
    }

    /// Decides how new keys are placed, if that is still open; every partition was read.
    pub fn choose(&mut self) -> Choice {
        if !self.wants_evidence() {
            return Choice::Unchanged;
        }
        let Verdict { partitioner, evidence } = self.verdict();
        if let Some(partitioner) = partitioner {
            self.placing.partitioner = Some(partitioner);
            return Choice::Made(partitioner, evidence);
        }
        let is_news = self.told.is_none_or(|told| evidence.keys >= told.max(1).saturating_mul(2));
        if is_news {
            self.told = Some(evidence.keys);
        }
        Choice::Open { evidence, is_news }
    }

    /// What the sample says; judged again only when there is more of it.
    fn verdict(&mut self) -> Verdict {
        let (known, partitions) = (self.sample.len(), self.placing.partitions);
        match self.judged {
            Some((keys, of, verdict)) if (keys, of) == (known, partitions) => verdict,
            _ => {
                let keys: Vec<PlacedKey> = self.sample.iter().copied().collect();
                let verdict = judge(&keys, partitions, self.completeness);
                self.judged = Some((known, partitions, verdict));
                verdict
            }
        }
    }

    /// Places keys over new partitions once they were read and others had the time to see and read them too; says over how many, if
    /// that has changed now. The topic has `count` partitions, `all_read` or not.
    pub fn place_over(&mut self, count: u32, all_read: bool, now: NowMs) -> Option<NonZeroU32> {
        let known = self.placing.partitions;
        let count = NonZeroU32::new(count).filter(|count| *count > known && all_read);
        let Some(count) = count else {
            self.resting = None;
            return None;
        };
        let (of, since) = *self.resting.get_or_insert((count.get(), now));
        if of != count.get() {
            self.resting = Some((count.get(), now));
            return None;
        }
        if now < since + self.rest_ms {
            return None;
        }
        self.placing.partitions = count;
        Some(count)
    }
}

#[cfg(test)]
mod tests;
