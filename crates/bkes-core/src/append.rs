//! What the writer of an append says and hears: requests, answers, and why there is none.

use crate::append_id::{AppendId, ID_LOOK_MAX, Identity};
use crate::evidence::Evidence;
use crate::limits::{EVENT_HEADERS_MAX, HEADER_FRAME_BYTES, HEADER_NAME_BYTES_MAX};
use crate::marker::{ID_HEADER, is_reserved_name};
use crate::{Cause, Head, Header, Key, Offset, Order, Partition, Position, StoredEvent};
use bytes::Bytes;
use std::fmt;

/// What the writer of an append believes about the aggregate.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Expected {
    /// It does not exist yet: the first event takes order 0.
    New,
    /// It exists and its next event takes this order. `At(Order(0))` is never true of an existing aggregate.
    At(Order),
    /// It exists, however far it is. Only with an [`Identity`]: without one a retry would be stored twice.
    Exists,
    /// Nothing: it may exist or not. Only with an [`Identity`].
    Any,
}

impl Expected {
    /// The order that the append's first event takes, if it names one.
    pub fn order(self) -> Option<Order> {
        match self {
            Expected::New => Some(Order::FIRST),
            Expected::At(order) => Some(order),
            Expected::Exists | Expected::Any => None,
        }
    }
}

/// One append: 1 to 1,000 events of one aggregate, all or nothing.
///
/// An append rests only on events that were read or acknowledged. One that rests on an unacknowledged append cannot be
/// guarded by an order: send both as one batch.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct AppendRequest {
    /// The aggregate.
    pub key: Key,
    /// What it is believed to be.
    pub expected: Expected,
    /// The events, in order; at least one.
    pub events: Vec<EventContent>,
    /// What a retry is known by; `None` for an append that is not retried by an id.
    pub identity: Option<Identity>,
}

impl AppendRequest {
    /// An append of events that have values and no headers.
    pub fn of_values(key: Key, expected: Expected, values: impl IntoIterator<Item = Bytes>) -> AppendRequest {
        let events = values.into_iter().map(EventContent::from).collect();
        AppendRequest { key, expected, events, identity: None }
    }

    /// Has the append's first event carry its id.
    pub fn carry_id(&mut self) {
        if let (Some(Identity { id, .. }), Some(first)) = (&self.identity, self.events.first_mut()) {
            let header = Header { name: Bytes::from_static(ID_HEADER), value: Some(id.bytes().clone()) };
            first.headers.insert(0, header);
        }
    }

    /// Whether these events, which an append with the same id stored, are those of this one: as many, with the same values and the same
    /// headers.
    pub fn is_same_as(&self, stored: &[StoredEvent]) -> bool {
        let is_same = |(event, stored): (&EventContent, &StoredEvent)| {
            let value = (!stored.tombstone).then_some(&stored.value);
            event.value.as_ref() == value && event.headers == stored.headers
        };
        self.events.len() == stored.len() && self.events.iter().zip(stored).all(is_same)
    }

    /// From which order on the id is looked for in an aggregate that stands so: the last events, as many as the window has, or back to
    /// where its writer had seen it.
    pub fn looked_for_from(&self, head: Head, window: u64) -> Order {
        let back = |events: u64| Order(head.next.0.saturating_sub(events).max(head.base.0));
        let seen = self.identity.as_ref().and_then(|identity| identity.seen);
        let seen = seen.filter(|_| self.expected.order().is_none());
        seen.map_or(back(window), |seen| seen.min(back(window))).max(back(ID_LOOK_MAX))
    }

    /// That the aggregate has no events.
    pub fn no_such_aggregate(&self) -> AppendError {
        AppendError::NoSuchAggregate { key: self.key.clone(), expected: self.expected.order() }
    }
}

/// What a writer puts into an event.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct EventContent {
    /// Its value; `None` makes it a tombstone, whose record has a null value.
    pub value: Option<Bytes>,
    /// Headers of its record, kept with their order and repetition; at most [`EVENT_HEADERS_MAX`], with names of at most
    /// [`HEADER_NAME_BYTES_MAX`] bytes. Names that begin with `bkes`, and `order`, are reserved: see [`is_reserved_name`].
    pub headers: Vec<Header>,
}

impl EventContent {
    /// Value and headers together, as the limit of a batch counts them.
    pub fn bytes(&self) -> usize {
        self.value.as_ref().map_or(0, Bytes::len) + self.headers.iter().map(Header::bytes).sum::<usize>()
    }

    /// The same as the limit of a record counts them: with what headers take beside their content. The headers of the marker come on
    /// top.
    pub fn framed_bytes(&self) -> u64 {
        self.bytes() as u64 + HEADER_FRAME_BYTES * self.headers.len() as u64
    }

    /// Whether every log can keep these headers, and none of them is BKES's own.
    pub fn check_headers(&self) -> Result<(), AppendError> {
        let (count, count_max) = (self.headers.len(), EVENT_HEADERS_MAX);
        if count > count_max {
            return Err(AppendError::TooManyHeaders { count, count_max });
        }
        for Header { name, .. } in &self.headers {
            let (bytes, bytes_max) = (name.len(), HEADER_NAME_BYTES_MAX);
            if bytes > bytes_max {
                return Err(AppendError::LongHeaderName { bytes, bytes_max });
            }
            if is_reserved_name(name) {
                return Err(AppendError::ReservedHeader { name: String::from_utf8_lossy(name).into_owned() });
            }
        }
        Ok(())
    }
}

impl<T: Into<Bytes>> From<T> for EventContent {
    fn from(value: T) -> EventContent {
        EventContent { value: Some(value.into()), headers: Vec::new() }
    }
}

/// Where an append was stored: it is the truth now, and every later read of this engine shows it.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Appended {
    /// The partition.
    pub partition: Partition,
    /// Where the first event of the append lies.
    pub first_offset: Offset,
    /// Where the last event of the append lies. (For a single event: the event.)
    pub offset: Offset,
    /// The log's timestamp of the last event, in milliseconds since the Unix epoch, where it has one.
    pub timestamp_ms: Option<i64>,
    /// The order of the append's first event.
    pub first: Order,
    /// The order of its last event.
    pub last: Order,
    /// Whether an earlier try of this append, by its id, was the one that was stored.
    pub by_earlier_try: bool,
}

/// The class of an error: what the caller may conclude.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum ErrorClass {
    /// Not stored, and it never will be.
    Rejected,
    /// Not stored; a retry is safe.
    Unavailable,
    /// It may or may not be stored, at most once: read before retrying.
    Unknown,
}

/// What a limit counts.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Unit {
    /// Appends.
    Appends,
    /// Calls.
    Calls,
    /// Records.
    Records,
    /// Bytes.
    Bytes,
    /// Positions.
    Positions,
    /// Consumer groups.
    Groups,
}

impl fmt::Display for Unit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Unit::Appends => "appends",
            Unit::Calls => "calls",
            Unit::Records => "records",
            Unit::Bytes => "bytes",
            Unit::Positions => "positions",
            Unit::Groups => "consumer groups",
        })
    }
}

/// Why the engine does not serve now. Exhaustive on purpose, as the other errors of calls are: whoever tells callers has to consider
/// each.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
pub enum Unready {
    /// What is asked for was not read to its target yet: the key's partition, or for a key that is not known any of them.
    #[error("catching up: {applied} of {} offsets applied", target.map_or("an unknown number of".into(), |target| target.to_string()))]
    CatchingUp {
        /// Offsets applied so far, over the partitions that are waited for.
        applied: u64,
        /// Offsets to apply; not known before the log was asked.
        target: Option<u64>,
    },
    /// Reading falls behind the log.
    #[error("partition {partition} lags {lag_ms} ms behind the log")]
    Lagging {
        /// The partition.
        partition: Partition,
        /// For how long something was known to be unread.
        lag_ms: u64,
    },
    /// The log is known to be down.
    #[error("the log is down: {cause}")]
    LogDown {
        /// What went wrong.
        #[source]
        cause: Cause,
    },
    /// A foreign transaction is open in the key's partition, so nothing after it can be decided.
    #[error(
        "partition {partition} is stalled at {stable} below {high} by an open transaction of another producer"
    )]
    Stalled {
        /// The partition.
        partition: Partition,
        /// The last stable offset.
        stable: Position,
        /// The high watermark.
        high: Position,
    },
    /// The partition cannot be served.
    #[error("partition {partition} is degraded: {detail}")]
    Degraded {
        /// The partition.
        partition: Partition,
        /// Why, and what to do.
        detail: String,
    },
    /// The store cannot be written.
    #[error("the store is unavailable: {cause}")]
    Store {
        /// What went wrong.
        #[source]
        cause: Cause,
    },
    /// The aggregate is not there, or not as far, as far as this instance has read; whether another one has been told otherwise could
    /// not be found out. It is neither yes nor no.
    #[error("what the aggregate is could not be verified: {cause}")]
    Unverified {
        /// What the log did not tell, or what was not applied in time.
        #[source]
        cause: Cause,
    },
    /// A queue is full.
    #[error("overloaded: {queue} is full (it may hold {limit} {unit})")]
    Overloaded {
        /// Which queue.
        queue: &'static str,
        /// Its limit: what it may hold, whatever was asked for.
        limit: u64,
        /// What the limit counts.
        unit: Unit,
    },
    /// The append waited for room, and its time was over: nothing of it is stored.
    #[error("not sent: it waited {waited_ms} ms for room in {queue} (it may hold {limit} {unit})")]
    NoRoom {
        /// How long it waited.
        waited_ms: u64,
        /// What was full.
        queue: &'static str,
        /// Its limit: what it may hold, whatever was asked for.
        limit: u64,
        /// What the limit counts.
        unit: Unit,
    },
    /// The engine is stopping.
    #[error("shutting down")]
    ShuttingDown,
}

/// Why an append did not succeed. See [`AppendError::class`] for what to conclude.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
pub enum AppendError {
    /// The aggregate's next order is another one.
    #[error("order {expected} was expected but the next order of the aggregate is {current}")]
    Conflict {
        /// The order the append was for.
        expected: Order,
        /// The aggregate's next order.
        current: Order,
    },
    /// [`Expected::New`], and the aggregate exists.
    #[error("the aggregate exists already: its next order is {current}")]
    AlreadyExists {
        /// The aggregate's next order.
        current: Order,
    },
    /// [`Expected::At`] or [`Expected::Exists`], and the aggregate has no events.
    #[error("no aggregate with key {key}")]
    NoSuchAggregate {
        /// The key asked for.
        key: Key,
        /// The order the append was for, if it named one.
        expected: Option<Order>,
    },
    /// [`Expected::Exists`] or [`Expected::Any`] without an id.
    #[error(
        "an append to whatever the next order is needs an append id: without one a retry would be stored twice"
    )]
    NeedsId,
    /// Another append has this id: another number of events, other values or other headers.
    #[error(
        "append id {id} was used before, by an append of other content: its first event has order {first}"
    )]
    IdReused {
        /// The id.
        id: AppendId,
        /// Where the other append begins.
        first: Order,
    },
    /// An append with this id is stored at another order: a command that was carried out is not decided anew.
    #[error("append id {id} was used before: the append's first event has order {first}")]
    IdUsed {
        /// The id.
        id: AppendId,
        /// Where that append begins.
        first: Order,
        /// Where its first event lies.
        partition: Partition,
        /// Where it lies in the partition.
        offset: Offset,
    },
    /// The append may have been stored by an earlier try, at an order below those that can be looked at. This try is not stored.
    #[error(
        "outcome unknown: an earlier try with append id {id} may lie below order {from}, from which on it was looked for; read the \
         aggregate, or say how far it was before the first try"
    )]
    IdWindow {
        /// The id.
        id: AppendId,
        /// It lies at no order from this one on.
        from: Order,
    },
    /// No event, or more than a batch may have.
    #[error("an append carries 1 to {count_max} events, not {count}")]
    BadCount {
        /// How many were given.
        count: usize,
        /// The most a batch may have.
        count_max: usize,
    },
    /// A record or the batch is larger than the log takes.
    #[error("{bytes} bytes exceed the limit of {bytes_max}")]
    TooLarge {
        /// Its size with key and headers.
        bytes: u64,
        /// The most that is taken.
        bytes_max: u64,
    },
    /// The key was found in several partitions.
    #[error(
        "the aggregate is split over partitions {}: it can be read but not appended to",
        List(partitions)
    )]
    Split {
        /// Where its events lie.
        partitions: Vec<Partition>,
    },
    /// The head of the partition's log is gone, so that another instance may hold a different history.
    #[error("partition {partition} is cut: the head of its log was removed after BKES had written to it")]
    Cut {
        /// The partition.
        partition: Partition,
    },
    /// [`Expected::New`], and it cannot be told how the topic's writers place keys. Existing keys are served.
    #[error(
        "new keys are refused, since it cannot be told how the topic's writers place them ({evidence}): start the server with \
         --partitioner murmur2, crc32 or fnv1a"
    )]
    PartitionerUnknown {
        /// What the topic's keys say.
        evidence: Evidence,
    },
    /// An event has a header whose name is reserved.
    #[error("header {name:?} is reserved: names that begin with `bkes`, and `order`, belong to BKES")]
    ReservedHeader {
        /// Its name; bytes that are not UTF-8 are replaced.
        name: String,
    },
    /// An event has more headers than every log can keep.
    #[error("an event carries at most {count_max} headers, not {count}")]
    TooManyHeaders {
        /// How many it has.
        count: usize,
        /// The most it may have.
        count_max: usize,
    },
    /// An event has a header whose name is longer than every log can keep.
    #[error("the name of a header has at most {bytes_max} bytes, not {bytes}")]
    LongHeaderName {
        /// How long it is.
        bytes: usize,
        /// The most it may have.
        bytes_max: usize,
    },
    /// [`Expected::New`], and the engine was told to start no new keys.
    #[error("new keys are refused: the server was started with --partitioner existing-only")]
    ExistingOnly,
    /// Not stored; retry later.
    #[error("unavailable: {0}")]
    Unavailable(Unready),
    /// The append failed on its way and is proven not to be stored; retry.
    #[error("not stored: {detail}")]
    NotStored {
        /// What went wrong.
        detail: String,
    },
    /// It may or may not be stored.
    #[error("outcome unknown: {detail}: read the aggregate before retrying")]
    Unknown {
        /// What went wrong.
        detail: String,
    },
}

impl AppendError {
    /// What the caller may conclude.
    pub fn class(&self) -> ErrorClass {
        match self {
            AppendError::Conflict { .. }
            | AppendError::AlreadyExists { .. }
            | AppendError::NoSuchAggregate { .. }
            | AppendError::NeedsId
            | AppendError::IdReused { .. }
            | AppendError::IdUsed { .. }
            | AppendError::BadCount { .. }
            | AppendError::ReservedHeader { .. }
            | AppendError::TooManyHeaders { .. }
            | AppendError::LongHeaderName { .. }
            | AppendError::TooLarge { .. }
            | AppendError::Split { .. }
            | AppendError::Cut { .. }
            | AppendError::PartitionerUnknown { .. }
            | AppendError::ExistingOnly => ErrorClass::Rejected,
            AppendError::Unavailable(_) | AppendError::NotStored { .. } => ErrorClass::Unavailable,
            AppendError::Unknown { .. } | AppendError::IdWindow { .. } => ErrorClass::Unknown,
        }
    }
}

/// Partitions as people read them: `0, 3`.
pub struct List<'a>(pub &'a [Partition]);

impl fmt::Display for List<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, partition) in self.0.iter().enumerate() {
            let comma = if index == 0 { "" } else { ", " };
            write!(f, "{comma}{partition}")?;
        }
        Ok(())
    }
}
