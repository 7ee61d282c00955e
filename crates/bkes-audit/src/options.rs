//! What an audit is given beside the log, and why it may not come to an end.

use crate::limits::{FINDINGS_MAX, MEMORY_BYTES_MAX, SUSPECTS_MAX};
use bkes_api::{EventStore, Failure};
use bkes_core::{Partition, Position, ReadFailure};
use bkes_log::{LogError, LogIdentity};
use std::time::Duration;
use tokio::runtime::Handle;

/// A running instance, whose events are compared.
#[derive(Clone, Copy)]
pub struct Instance<'a> {
    /// The instance.
    pub store: &'a dyn EventStore,
    /// The multi-threaded runtime that its calls run on, with time enabled. The audit blocks its thread on them, so it runs outside of the
    /// runtime's own threads, or on one for blocking work.
    pub runtime: &'a Handle,
}

/// How an audit is made.
#[derive(Clone, Debug)]
pub struct Options {
    /// Most bytes for what is kept of aggregates. Where they do not do for all, the topic is read in several passes. Beside it there are
    /// the log's own queue of fetched records, the members of open batches (65 MiB a partition at most, by the rule's own limits), and a
    /// page of the instance.
    pub memory_bytes_max: usize,
    /// Most findings that are kept.
    pub findings_max: usize,
    /// Most aggregates that are compared event by event once they are known to differ. Each [`memory_bytes_max`](Self::memory_bytes_max)
    /// / 3 MiB of them take one more pass.
    pub suspects_max: usize,
    /// How long a page of the instance, or anything of the log, may take.
    pub wait_max: Duration,
    /// How often a call is made before its failure counts; at least 1.
    pub tries_max: u32,
    /// The pause before a call is made again, unless the instance asks for a longer one.
    pub pause: Duration,
}

impl Default for Options {
    fn default() -> Options {
        Options {
            memory_bytes_max: MEMORY_BYTES_MAX,
            findings_max: FINDINGS_MAX,
            suspects_max: SUSPECTS_MAX,
            wait_max: Duration::from_secs(60),
            tries_max: 10,
            pause: Duration::from_millis(500),
        }
    }
}

/// How far an audit is.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Progress {
    /// The topic is read.
    Reading {
        /// Which pass this is, from 1.
        pass: u32,
        /// Passes that are known to follow; more may turn out to be needed.
        left: usize,
        /// Records read in this pass.
        records: u64,
        /// Offsets between what is read and the end.
        offsets_left: u64,
    },
    /// The instance is compared.
    Comparing {
        /// Aggregates compared so far, in all passes.
        aggregates: u64,
    },
    /// The topic is read once more, to compare some aggregates event by event.
    Detailing {
        /// Aggregates left.
        left: usize,
    },
}

/// Why an audit has no report.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
pub enum AuditError {
    /// The log did not answer.
    #[error(transparent)]
    Log(#[from] LogError),
    /// The log could not be read.
    #[error("partition {partition} cannot be read: {failure}")]
    Read {
        /// The partition.
        partition: Partition,
        /// Why.
        failure: ReadFailure,
    },
    /// Nothing came of the log for too long.
    #[error("nothing came of the log for {waited_s} s: {detail}")]
    Silent {
        /// How long.
        waited_s: u64,
        /// What it said last.
        detail: String,
    },
    /// The log is not what it was when the audit began: it was read twice and had other records, or came below what was read.
    #[error("partition {partition} changed below {below} while it was read")]
    LogChanged {
        /// The partition.
        partition: Partition,
        /// The end that was asked for at the beginning.
        below: Position,
    },
    /// The topic is another one than at the beginning.
    #[error("the topic was {before:?} when the audit began, and is {after:?}")]
    AnotherLog {
        /// At the beginning.
        before: Box<LogIdentity>,
        /// At the end.
        after: Box<LogIdentity>,
    },
    /// The instance did not answer, or refused a call that it must answer.
    #[error("the instance has no answer: {0}")]
    Instance(Failure),
    /// The memory allowed is so little that there would be too many passes.
    #[error("{memory_bytes_max} bytes are too few for a topic of so many keys")]
    TooLittleMemory {
        /// What is allowed.
        memory_bytes_max: usize,
    },
}
