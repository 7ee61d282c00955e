//! What a consumer gives: what was decided, and what happens to the log meanwhile.

use crate::decided::Decided;
use crate::key_table::TableFull;
use bkes_core::{Fingerprint, Key, NewerFormat, Offset, Partition, Position};
use bkes_log::{LogError, LogIdentity};

/// What comes of reading. Items of one partition come in its order.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Item {
    /// Records were decided.
    Decided(Decided),
    /// The decision that comes next begins an aggregate that has events in another partition that is read too: it is *split*, and there
    /// is no order between its events in two partitions.
    Split {
        /// The aggregate.
        key: Key,
        /// The partition it appeared in now.
        partition: Partition,
    },
    /// Everything below the position that can be read is read.
    CaughtUp {
        /// The partition.
        partition: Partition,
        /// The end of what is stable in it.
        position: Position,
    },
    /// The log is away; reading goes on by itself.
    Unavailable {
        /// The partition, or all of them.
        partition: Option<Partition>,
        /// What went wrong.
        detail: String,
    },
    /// The partition is read no further.
    Stopped {
        /// The partition.
        partition: Partition,
        /// Why.
        why: Stop,
    },
}

/// Why a partition is read no further. A compacted topic looks like one with gaps: whoever opens the log is told of its settings.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
pub enum Stop {
    /// The log ended, at some moment, below what was read: what was told of events from there on may be no longer so. Begin anew.
    #[error("the log ended at {end}, below what was read: begin the partition anew")]
    LostEnd {
        /// Where it ended.
        end: Position,
    },
    /// The position is not in the log: it was removed from its head, or the log lost its end. The marks of the partition tell which.
    #[error("position {position} is not in the log: its head was removed, or it lost its end")]
    OutOfRange {
        /// The position to be read.
        position: Position,
    },
    /// The log is not the one that the checkpoint is of.
    #[error("the log is not the one that was read: {expected} was there, and now is {}", Found(*found))]
    Diverged {
        /// The record that was there.
        expected: Fingerprint,
        /// What is there; `None` if no record is.
        found: Option<Fingerprint>,
    },
    /// A record came below what was read.
    #[error("a record came at offset {offset}, below position {position}, up to which all was read")]
    WentBack {
        /// Where it lies.
        offset: Offset,
        /// The position that was read up to.
        position: Position,
    },
    /// What the log returned is damaged.
    #[error("damaged record: {detail}")]
    Damaged {
        /// What is wrong.
        detail: String,
    },
    /// What the log holds is larger, or of another kind, than the reader takes.
    #[error("what lies at or after position {position} cannot be taken in: {detail}")]
    DoesNotFit {
        /// Where reading stopped.
        position: Position,
        /// What makes it fit.
        detail: String,
    },
    /// A newer BKES wrote the next record.
    #[error(transparent)]
    NewerFormat(NewerFormat),
    /// The counts of keys have taken all that they may. Nothing of the next record was told.
    #[error("the counts of keys have no room for another one: {0}")]
    TooManyKeys(TableFull),
}

struct Found(Option<Fingerprint>);

impl std::fmt::Display for Found {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match &self.0 {
            Some(found) => write!(f, "{found}"),
            None => f.write_str("no record"),
        }
    }
}

/// Why there is no consumer.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
pub enum ConsumeError {
    /// The log did not answer.
    #[error(transparent)]
    Log(#[from] LogError),
    /// The checkpoint is of another log.
    #[error("the checkpoint is of {known:?}, and this is {found:?}")]
    AnotherLog {
        /// The log it is of.
        known: Box<LogIdentity>,
        /// The log that is there.
        found: Box<LogIdentity>,
    },
}
