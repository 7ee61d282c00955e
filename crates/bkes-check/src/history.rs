//! What a run leaves behind: plain data, filled by whoever ran it.
//!
//! Times are numbers of one clock of the run, in any unit: only their order counts. A call that ended at the very time
//! another began counts as overlapping it.

mod followed;
mod waited;

pub use followed::{FollowStream, Followed, FollowedFrom, FollowedItem, Follower};
pub use waited::{WaitCall, WaitOutcome};

use bkes_core::{Key, Offset, Order, Partition, Position};
use bytes::Bytes;
use std::collections::BTreeMap;
use std::fmt;

/// A call's place in [`History::calls`].
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct CallId(pub usize);

/// One caller: it makes one call after the other.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct ClientId(pub u32);

/// One instance: a process and its data directory, over all its restarts. A data directory that is lost is rebuilt, and it is
/// the same instance.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct InstanceId(pub u32);

/// Everything that is checked.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct History {
    /// Every call, in any order.
    pub calls: Vec<Call>,
    /// What followers were shown.
    pub follows: Vec<Follower>,
    /// Who waited for positions.
    pub waits: Vec<WaitCall>,
    /// The visible, committed records that the log holds at the end; those of a partition in rising offset order.
    pub log: Vec<LogRecord>,
    /// What every instance, a resumed one and a rebuilt one hold at the end. The rebuilt one, or else the first, is what the
    /// calls are compared with.
    pub contents: Vec<Content>,
    /// What the faults of the run have voided.
    pub excuses: Excuses,
}

/// One call of a client.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Call {
    /// Who called.
    pub client: ClientId,
    /// Whom.
    pub instance: InstanceId,
    /// About which aggregate.
    pub key: Key,
    /// When the call was made.
    pub begin: u64,
    /// When the answer was there; `None` when none came.
    pub end: Option<u64>,
    /// What was asked, and what was answered.
    pub operation: Operation,
}

/// What was asked.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Operation {
    /// To write.
    Append(AppendCall),
    /// To read.
    Read(ReadCall),
}

/// An append: one event, or a batch. With an id, it is one try of an append.
///
/// Calls about one key that have the same id and the same values are the tries of one append, and have the same `expected` and the same
/// premise. Calls that have the same id and other values are other decisions under that id: at most one of those is to be stored.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct AppendCall {
    /// The order asked for.
    pub expected: Expecting,
    /// The values in order; each of them is in no other append and no foreign record.
    pub values: Vec<Bytes>,
    /// What the caller had seen of the key when it made the call, or the first try of it.
    pub premise: Premise,
    /// What the try is known by; `None` for an append without an id.
    pub identity: Option<TryOf>,
    /// What it was told.
    pub outcome: AppendOutcome,
}

/// What a try of an append with an id says of itself.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct TryOf {
    /// The id.
    pub id: Bytes,
    /// Whether it says that it is the first try under this id. Only one that is may say so.
    pub is_first: bool,
    /// How far the aggregate was before the first try, if it tells. It must be true.
    pub seen: Option<Order>,
}

/// The order that an append asks for.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Expecting {
    /// The first: the aggregate is to be new.
    New,
    /// This one, of an existing aggregate.
    At(Order),
    /// The next one of an existing aggregate, whichever that is. Only with an id.
    Exists,
    /// The next one, whichever that is. Only with an id.
    Any,
}

impl Expecting {
    /// The order of the first event, if it is named.
    pub fn order(self) -> Option<Order> {
        match self {
            Expecting::New => Some(Order::FIRST),
            Expecting::At(order) => Some(order),
            Expecting::Exists | Expecting::Any => None,
        }
    }
}

/// What a caller had seen of an aggregate, from its first event on, in reads and in acknowledgements of its own.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Hash)]
pub struct Premise {
    /// How many events.
    pub count: u64,
    /// A digest of their values, in order.
    pub digest: u64,
}

/// The offset basis of FNV-1a with 64 bits.
const FNV_BASIS: u64 = 0xcbf2_9ce4_8422_2325;

/// The prime of FNV-1a with 64 bits.
const FNV_PRIME: u64 = 0x0000_0100_0000_01b3;

impl Default for Premise {
    fn default() -> Self {
        Premise::NOTHING
    }
}

impl Premise {
    /// Nothing was seen: the aggregate is believed not to exist.
    pub const NOTHING: Premise = Premise { count: 0, digest: FNV_BASIS };

    /// What was seen, and one more event after it.
    pub fn and(self, value: &[u8]) -> Premise {
        let step = |digest: u64, byte: u8| (digest ^ u64::from(byte)).wrapping_mul(FNV_PRIME);
        let length = (value.len() as u64).to_le_bytes();
        let digest = length.iter().chain(value).fold(self.digest, |digest, byte| step(digest, *byte));
        Premise { count: self.count + 1, digest }
    }

    /// These events were seen.
    pub fn of<'a>(values: impl IntoIterator<Item = &'a [u8]>) -> Premise {
        values.into_iter().fold(Premise::NOTHING, Premise::and)
    }
}

/// What an append's caller was told. Of an append with an id, everything but success and a conflict speaks of one try.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum AppendOutcome {
    /// Success: this try is stored, or an earlier one.
    Acknowledged {
        /// The partition.
        partition: Partition,
        /// The offset of its last event.
        offset: Offset,
        /// The order of its first event.
        first: Order,
    },
    /// Not stored, for good.
    Rejected {
        /// The aggregate's next order, where it was told; 0 of one that does not exist.
        current: Option<Order>,
    },
    /// Not stored: an append of other content has its id.
    IdReused {
        /// The order at which that one begins.
        first: Order,
    },
    /// Not stored: another decision under its id is.
    IdUsed {
        /// The order at which that one begins.
        first: Order,
        /// Its partition.
        partition: Partition,
        /// The offset of its first event.
        offset: Offset,
    },
    /// Not stored; a retry is safe.
    Unavailable,
    /// An earlier try may be stored. This one was not sent.
    IdWindow,
    /// It may be stored.
    Unknown,
    /// The answer did not come: it may be stored.
    Unanswered,
}

impl AppendOutcome {
    /// Whether a call with this outcome may have stored something.
    pub(crate) fn may_be_stored(self) -> bool {
        matches!(
            self,
            AppendOutcome::Acknowledged { .. } | AppendOutcome::Unknown | AppendOutcome::Unanswered
        )
    }
}

/// A read of accepted events (never of pending ones).
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct ReadCall {
    /// The first order wanted. (Of a split key: the index over all partitions.)
    pub from: Order,
    /// Most events wanted; `None` for no limit.
    pub limit: Option<u64>,
    /// Which way, and at which moment the aggregate is shown.
    pub view: View,
    /// What the answer is to take in.
    pub fresh: Fresh,
    /// What was answered. Events come in the order they were shown.
    pub outcome: ReadOutcome,
}

/// Which way a read goes, and at which moment it shows the aggregate. Only what is now and forwards begins elsewhere than at an end.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub enum View {
    /// As it is now, forwards.
    #[default]
    Now,
    /// As it is now, backwards from its last event on.
    Backwards,
    /// As it was when the record at this offset of its partition was decided: the events whose appends lie there or below.
    AsOfOffset(Partition, Offset),
    /// As it was before its first event that has a later timestamp than this, in milliseconds; whole appends only.
    AsOfTime(i64),
}

/// What the answer to a read is to take in.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub enum Fresh {
    /// What its instance has applied.
    #[default]
    Local,
    /// Everything below these positions too. Each was told by a call to any instance, before this one began: it is where an event lies,
    /// and one more.
    AtLeast(Vec<(Partition, Position)>),
    /// Everything that any call had been told before it began.
    Latest,
}

impl View {
    /// Whether the aggregate is shown as it is now.
    pub(crate) fn is_now(self) -> bool {
        matches!(self, View::Now | View::Backwards)
    }
}

impl ReadCall {
    /// How many events the aggregate has at least, by what was shown.
    pub(crate) fn proves(&self, shown: &[Event]) -> Option<u64> {
        let last = if self.view == View::Backwards { shown.first() } else { shown.last() };
        match self.view {
            // Of a split aggregate, orders count within a partition.
            View::Now => last.map(|_| self.from.0.saturating_add(shown.len() as u64)),
            _ => last.map(|last| last.order.0.saturating_add(1)),
        }
    }

    /// So many events the aggregate has and no more, by what was shown; `None` if the read does not say.
    pub(crate) fn denies(&self, shown: &[Event], more: bool) -> Option<u64> {
        match self.view {
            View::Now => (!more).then(|| self.from.0.saturating_add(shown.len() as u64)),
            // It begins at the last event; without one there is nothing to tell where that would be.
            View::Backwards => self.proves(shown),
            View::AsOfOffset(..) | View::AsOfTime(_) => None,
        }
    }
}

/// What a read's caller was told.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum ReadOutcome {
    /// Events.
    Events {
        /// The events, in order.
        events: Vec<Event>,
        /// Whether the answer says that there are more after these.
        more: bool,
    },
    /// The aggregate has no events.
    NoSuchAggregate,
    /// The positions lie above what the log holds.
    OutOfRange,
    /// Not now.
    Unavailable,
    /// The answer did not come.
    Unanswered,
}

/// An event as a read shows it.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Event {
    /// Its order in its aggregate, within its partition.
    pub order: Order,
    /// Its partition.
    pub partition: Partition,
    /// Its offset.
    pub offset: Offset,
    /// The log's timestamp, where there is one.
    pub timestamp_ms: Option<i64>,
    /// Its value; empty for a tombstone.
    pub value: Bytes,
    /// Whether the record's value is null.
    pub tombstone: bool,
}

/// A record of the log at the end.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct LogRecord {
    /// Its partition.
    pub partition: Partition,
    /// Its offset.
    pub offset: Offset,
    /// The log's timestamp, where there is one.
    pub timestamp_ms: Option<i64>,
    /// Its key; `None` when it is null or empty.
    pub key: Option<Key>,
    /// Its value.
    pub value: Option<Bytes>,
    /// Whether it was written by someone who knows nothing of BKES: with a key, it is an event whatever else happens.
    pub foreign: bool,
}

/// The events of every key somewhere, each key's in the order of a read.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Content {
    /// Where.
    pub of: ContentOf,
    /// The events of every key that has any.
    pub keys: BTreeMap<Key, Vec<Event>>,
}

/// Where a content was read.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Hash)]
pub enum ContentOf {
    /// On an instance as it ran at the end.
    Instance(InstanceId),
    /// On an instance that was stopped and started again on its data.
    Resumed(InstanceId),
    /// On one that began with nothing and read the whole log.
    Rebuilt,
}

/// What faults of a run void, and nothing more. Without any, everything is checked.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Excuses {
    /// Partitions that lost their end. A topic that was deleted and made again lost every partition from offset 0.
    pub truncations: Vec<Truncation>,
    /// Partitions whose head was removed, and below which offset. A rebuild and an instance that still has the head may differ,
    /// so neither contents of keys there nor reads of them are compared. What is left: orders are acknowledged once and have
    /// no gaps, acknowledged events above the cut are in the log, and nothing is stored twice but what was sent twice for its id.
    pub cuts: Vec<(Partition, Offset)>,
}

/// A partition lost its end: events at or above an offset that were acknowledged or shown before everyone knew of the loss may
/// be missing, and who rested on them was deceived.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Truncation {
    /// The partition.
    pub partition: Partition,
    /// The first offset that was lost.
    pub from: Offset,
    /// When it was lost.
    pub at: u64,
    /// When every instance had noticed: calls that begin later are not excused.
    pub until: u64,
}

impl fmt::Display for CallId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "call {}", self.0)
    }
}

impl fmt::Display for InstanceId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "instance {}", self.0)
    }
}

impl fmt::Display for ContentOf {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            ContentOf::Instance(instance) => write!(f, "{instance}"),
            ContentOf::Resumed(instance) => write!(f, "{instance} resumed"),
            ContentOf::Rebuilt => f.write_str("the rebuilt one"),
        }
    }
}

impl fmt::Display for Event {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Event { order, partition, offset, value, .. } = self;
        let shown = &value[..value.len().min(64)];
        write!(f, "order {order} ({partition}/{offset}) \"{}\"", shown.escape_ascii())?;
        if self.tombstone {
            f.write_str(" tombstone")?;
        }
        Ok(())
    }
}
