//! What a partition machine wants done.

use super::degradation::Degradation;
use super::input::{Append, Load};
use crate::append::{AppendError, Appended};
use crate::event::append_id;
use crate::evidence::PlacedKey;
use crate::{
    EventOutline, Head, Header, Incarnation, Key, Offset, Order, Partition, Position, Record, Stamp, Token,
    VoidReason,
};
use bytes::Bytes;

/// What follows from the inputs of one step. A host carries it out before the next one, in the order of the fields: an answer goes
/// out only when what it speaks of can be read, and what is sent goes to the log in the order in which it was numbered.
///
/// It is taken from the machine against an empty one ([`PartitionMachine::take_work`](super::PartitionMachine::take_work)), so that its room
/// is used again.
#[derive(Clone, Debug)]
pub struct Work<T> {
    /// Events that were accepted, in the order in which they were applied.
    pub events: Vec<Accepted>,
    /// Appends that have ended.
    pub answers: Vec<Answer<T>>,
    /// Records to be sent, those of an append one after the other.
    pub sends: Vec<Send>,
    /// What those take.
    pub sending: Load,
    /// Appends whose aggregate lives, or is in flight, in another partition by now.
    pub rerouted: Vec<(Partition, Box<Append<T>>)>,
    /// Appends that waited for their key and do not fit now: they came before all that waits for room, in this order.
    pub held: Vec<Box<Append<T>>>,
    /// Where the reader goes on in this partition.
    pub read_from: Option<Position>,
    /// Whether the marks are wanted soon.
    pub wants_watermarks: bool,
    /// Why the fold has to begin anew at the beginning of the log, with an empty partition in the store.
    pub rebuild: Option<Degradation>,
    /// Keys that may tell how the topic's writers place them.
    pub evidence: Vec<PlacedKey>,
    /// What an operator should hear.
    pub notices: Vec<Notice>,
}

impl<T> Default for Work<T> {
    fn default() -> Work<T> {
        Work {
            events: Vec::new(),
            answers: Vec::new(),
            sends: Vec::new(),
            sending: Load::default(),
            rerouted: Vec::new(),
            held: Vec::new(),
            read_from: None,
            wants_watermarks: false,
            rebuild: None,
            evidence: Vec::new(),
            notices: Vec::new(),
        }
    }
}

impl<T> Work<T> {
    /// Whether there is nothing to do.
    pub fn is_empty(&self) -> bool {
        let Work { events, answers, sends, sending, rerouted, held, notices, evidence, .. } = self;
        let is_more = self.read_from.is_some() || self.wants_watermarks || self.rebuild.is_some();
        let is_said = !notices.is_empty() || !evidence.is_empty();
        let is_moved = !rerouted.is_empty() || !held.is_empty() || sending.records > 0;
        let is_asked = !events.is_empty() || !answers.is_empty() || !sends.is_empty();
        !(is_asked || is_moved || is_more || is_said)
    }
}

/// An accepted record or batch. Its events are shown together, or none.
#[derive(Clone, Debug)]
pub struct Accepted {
    /// Of the key, as the host hashes keys.
    pub hash: u64,
    /// The aggregate.
    pub key: Key,
    /// Where it stands with these events.
    pub head: Head,
    /// Who wrote it, when BKES did: of one of its records.
    pub stamp: Option<Stamp>,
    /// The records.
    pub records: Records,
}

/// One record, or those of a batch.
#[derive(Clone, Debug)]
pub enum Records {
    /// An event of its own.
    One(Record),
    /// The members of a batch.
    Batch(Vec<Record>),
}

impl Accepted {
    /// How many events it is.
    pub fn count(&self) -> u64 {
        match &self.records {
            Records::One(_) => 1,
            Records::Batch(records) => records.len() as u64,
        }
    }

    /// The order of its first event.
    pub fn first(&self) -> Order {
        Order(self.head.next.0 - self.count())
    }

    /// Its events without their content.
    pub fn outlines(&self) -> impl Iterator<Item = EventOutline> {
        let records = match &self.records {
            Records::One(record) => std::slice::from_ref(record),
            Records::Batch(records) => records,
        };
        let first = self.first();
        (0..).zip(records).map(move |(index, record)| {
            let stamp = self.stamp.map(|stamp| stamp.of_member(index + 1));
            EventOutline {
                order: Order(first.0 + u64::from(index)),
                partition: record.partition,
                offset: record.offset,
                timestamp: record.timestamp,
                stamp,
                append_id: append_id(stamp, &record.headers).cloned(),
            }
        })
    }
}

/// How an append ended.
#[derive(Clone, Debug)]
pub enum Answer<T> {
    /// It was accepted.
    Stored {
        /// Its caller.
        ticket: T,
        /// Where.
        appended: Appended,
    },
    /// It was not, or nobody knows.
    Failed {
        /// Its caller.
        ticket: T,
        /// Why.
        error: AppendError,
    },
    /// It is to be compared with the append that its id was found at: it is that one if their content is the same.
    Found {
        /// The append.
        append: Box<Append<T>>,
        /// The first event of the other one.
        first: EventOutline,
    },
    /// Nothing is stored, and the refusal is true only if the log holds no more than is applied here: it is to be asked for again when
    /// everything in `scope` is applied.
    Unverified {
        /// The append.
        append: Box<Append<T>>,
        /// What has to be applied.
        scope: Scope,
    },
}

/// What must be read before a refusal is true.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub enum Scope {
    /// The partition in which the aggregate lives.
    One(Partition),
    /// Every partition that the log has now: the aggregate may live in any.
    All,
}

/// A record to be sent.
#[derive(Clone, Debug)]
pub struct Send {
    /// What its report has to carry.
    pub token: Token,
    /// Its append, as its writer numbered it.
    pub append: (Incarnation, u64),
    /// Its key.
    pub key: Bytes,
    /// Its value; `None` is written as null.
    pub value: Option<Bytes>,
    /// Its headers: those of the marker first.
    pub headers: Vec<Header>,
}

/// What an operator should hear of. Each is told once, or when it changes.
#[derive(Clone, Debug)]
pub enum Notice {
    /// The fold begins above the first offset: what came before was removed.
    HeadRemoved {
        /// Where the log begins.
        low: Position,
    },
    /// The first record that is void.
    FirstVoid {
        /// Where it lies.
        offset: Offset,
        /// Why it is void; `None` for the members of a batch before it, which was never finished.
        why: Option<VoidReason>,
    },
    /// The first record without a key.
    FirstSkipped {
        /// Where it lies.
        offset: Offset,
    },
    /// The first event that BKES did not write.
    FirstForeign {
        /// Where it lies.
        offset: Offset,
    },
    /// The first record with a marker that was written for another one.
    FirstForwarded {
        /// Where it lies.
        offset: Offset,
    },
    /// The first key with events in another partition too.
    FirstSplit {
        /// Where its first event here lies.
        offset: Offset,
        /// The key.
        key: Key,
    },
    /// Records of this writer are void again and again, and none was accepted.
    OnlyVoid {
        /// The last of them.
        offset: Offset,
        /// Who writes them.
        writer: Incarnation,
    },
    /// Traces of a head that was removed after events had been numbered there.
    Cut {
        /// Where they were met.
        offset: Offset,
    },
    /// The partition is not served any more.
    Degraded(Degradation),
    /// What kept it from being served is over.
    Mended(Degradation),
    /// A position was out of range, and is read again.
    ReadAgain {
        /// The position.
        position: Position,
    },
    /// The log does not give this partition's records now.
    ReadUnavailable {
        /// What went wrong.
        detail: String,
    },
    /// The log ends below what it had held at the start.
    TargetLost {
        /// Its end.
        high: Position,
        /// What it had held.
        target: Position,
    },
    /// Somebody else's open transaction holds what is stable.
    Stalled {
        /// The last stable offset.
        stable: Position,
        /// The high watermark.
        high: Position,
    },
    /// It does so no more.
    NoLongerStalled,
    /// Retention removes events.
    StartMoved {
        /// Where the log begins now.
        low: Position,
    },
}
