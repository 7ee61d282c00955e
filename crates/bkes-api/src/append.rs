//! Appends: what is asked for, where it was stored, and why it was not.

use crate::event::Event;
use crate::failure::{Failure, Reason};
use crate::positions::{Positions, TopicId};
use bkes_core::append::{ErrorClass, EventContent, Expected};
use bkes_core::append_id::{AppendId, Identity};
use bkes_core::{Header, Key, Offset, Order, Partition, TimestampMs};
use bytes::Bytes;
use std::fmt;
use std::time::Duration;

/// Most events that a conflict brings along.
pub const MISSING_MAX: usize = 1_000;

/// Most bytes of values and headers that a conflict brings along, each header with 64 bytes beside its own. Of a larger event it says that
/// there is more.
pub const MISSING_BYTES_MAX: usize = 1024 * 1024;

/// One append: 1 to 1,000 events of one aggregate, all or nothing.
///
/// ```
/// # use bkes_api::{Append, Key, Order, AppendId};
/// let account = Key::new("account-7").expect("a key has bytes");
/// let opened = Append::start(account.clone()).event("opened");
/// let moved = Append::at(account.clone(), Order(1)).event("deposited 5").event("withdrew 2");
/// let noted = Append::any(account, AppendId::new("command-81").expect("1 to 64 bytes")).event("seen");
/// ```
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Append {
    /// The aggregate.
    pub key: Key,
    /// What it is believed to be.
    pub expected: Expected,
    /// The events, in order; at least one.
    pub events: Vec<EventContent>,
    /// What a retry is known by. [`Expected::Exists`] and [`Expected::Any`] need one.
    pub identity: Option<Identity>,
    /// Most events that a conflict brings along, from the expected order on: [`MISSING_MAX`] at most, and none for 0.
    pub missing_max: usize,
    /// How long its caller waits for an answer. An append whose time is over before it was sent is never sent.
    pub timeout: Option<Duration>,
}

impl Append {
    /// An append without events yet.
    pub fn new(key: Key, expected: Expected) -> Append {
        let (events, identity) = (Vec::new(), None);
        Append { key, expected, events, identity, missing_max: 0, timeout: None }
    }

    /// Begins an aggregate that does not exist yet.
    pub fn start(key: Key) -> Append {
        Append::new(key, Expected::New)
    }

    /// Goes on at the next order of an aggregate, which is the number of events that were read of it.
    pub fn at(key: Key, next: Order) -> Append {
        Append::new(key, if next == Order::FIRST { Expected::New } else { Expected::At(next) })
    }

    /// Goes on with an aggregate that exists, wherever it stands.
    pub fn existing(key: Key, id: AppendId) -> Append {
        Append::new(key, Expected::Exists).id(id)
    }

    /// Goes on with an aggregate, or begins it.
    pub fn any(key: Key, id: AppendId) -> Append {
        Append::new(key, Expected::Any).id(id)
    }

    /// With another event: a value, or an [`EventContent`] with headers.
    #[must_use]
    pub fn event(mut self, event: impl Into<EventContent>) -> Append {
        self.events.push(event.into());
        self
    }

    /// With these events after those it has.
    #[must_use]
    pub fn events(mut self, events: impl IntoIterator<Item = impl Into<EventContent>>) -> Append {
        self.events.extend(events.into_iter().map(Into::into));
        self
    }

    /// With another header on the last event. One without an event gets no header: add the event first.
    #[must_use]
    pub fn header(mut self, name: impl Into<Bytes>, value: impl Into<Bytes>) -> Append {
        if let Some(event) = self.events.last_mut() {
            event.headers.push(Header { name: name.into(), value: Some(value.into()) });
        }
        self
    }

    /// As the first try of an append with this id. Whoever repeats it says so, by [`again`](Append::again).
    #[must_use]
    pub fn id(mut self, id: AppendId) -> Append {
        self.identity = Some(Identity { id, is_first: true, seen: None });
        self
    }

    /// As another try of it: an earlier one may be stored, because its answer was not known, or its caller does not know whether it
    /// made one. Without an id it stays as it is.
    ///
    /// A first try that takes any order is sent when it is not found among the aggregate's last events. So an append that is repeated as
    /// it was would be stored twice once enough others came in between. Of one that says that it is repeated, that is unknown, with
    /// [`Reason::AppendIdWindow`].
    ///
    /// ```
    /// # use bkes_api::{Append, AppendFailure, Appended, EventStore, Reason};
    /// # use std::time::Duration;
    /// /// Appends, until it is known what became of it or that cannot be known any more.
    /// async fn settle(store: &dyn EventStore, mut append: Append) -> Result<Appended, AppendFailure> {
    ///     loop {
    ///         match store.append(append.clone()).await {
    ///             Err(AppendFailure::Unknown { id: Some(_), failure }) if failure.reason != Reason::AppendIdWindow => {
    ///                 tokio::time::sleep(failure.retry_after.unwrap_or(Duration::from_secs(1))).await;
    ///                 append = append.again();
    ///             }
    ///             ended => return ended,
    ///         }
    ///     }
    /// }
    /// ```
    #[must_use]
    pub fn again(mut self) -> Append {
        if let Some(identity) = &mut self.identity {
            identity.is_first = false;
        }
        self
    }

    /// A conflict brings along the events from the expected order on, as many as one may.
    #[must_use]
    pub fn with_missing(mut self) -> Append {
        self.missing_max = MISSING_MAX;
        self
    }

    /// Its caller waits no longer than this.
    #[must_use]
    pub fn within(mut self, timeout: Duration) -> Append {
        self.timeout = Some(timeout);
        self
    }

    /// Its id, if it has one.
    pub fn append_id(&self) -> Option<&AppendId> {
        self.identity.as_ref().map(|identity| &identity.id)
    }
}

/// A new append id: 32 hex digits, drawn at random.
pub fn draw_append_id() -> AppendId {
    let mut bytes = [0; 16];
    getrandom::fill(&mut bytes).expect("the system has a random source");
    let text = format!("{:032x}", u128::from_be_bytes(bytes));
    AppendId::new(text).expect("it has 32 bytes")
}

/// Where an append was stored: the truth from now on, on every instance.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Appended {
    /// The topic.
    pub topic: TopicId,
    /// The partition.
    pub partition: Partition,
    /// Where its first event lies.
    pub first_offset: Offset,
    /// Where its last event lies.
    pub last_offset: Offset,
    /// The log's timestamp of the last event, where it has one.
    pub timestamp: Option<TimestampMs>,
    /// The order of its first event.
    pub first: Order,
    /// The order of its last event.
    pub last: Order,
    /// Whether an earlier try of this append, by its id, was the one that was stored.
    pub by_earlier_try: bool,
}

impl Appended {
    /// The order that the aggregate's next event takes.
    pub fn next(&self) -> Order {
        Order(self.last.0 + 1)
    }

    /// The position from which on it is seen: for reads that are [at least](crate::Freshness::AtLeast) as fresh, for waiting and following.
    pub fn position(&self) -> Positions {
        Positions { topic: Some(self.topic.clone()), of: vec![(self.partition, self.last_offset.next())] }
    }
}

/// The aggregate is not where its writer believed. Nothing is stored.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Conflict {
    /// What was believed: [`Expected::New`] or [`Expected::At`].
    pub expected: Expected,
    /// The order that its next event takes; the first if there is none.
    pub current: Order,
    /// The events from the expected order on, if they were asked for and could be read.
    pub missing: Vec<Event>,
    /// Whether there are more than these, up to `current`. Without this, what was read before and `missing` are all up to `current`.
    pub more: bool,
}

impl fmt::Display for Conflict {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let current = self.current;
        match self.expected {
            Expected::New => write!(f, "the aggregate exists already: its next order is {current}"),
            expected => {
                let expected = expected.order().unwrap_or(Order::FIRST);
                write!(f, "order {expected} was expected but the next order of the aggregate is {current}")
            }
        }
    }
}

/// Why an append has no success. See [`class`](AppendFailure::class) for what to conclude.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
pub enum AppendFailure {
    /// The aggregate is not where the writer believed.
    #[error("{0}")]
    Conflict(Box<Conflict>),
    /// An append with this id is stored at another order: a command that was carried out is not decided anew. Not stored again.
    #[error("append id {id} was used before: that append's first event has order {first}")]
    IdUsed {
        /// The id.
        id: AppendId,
        /// Where that append begins.
        first: Order,
        /// Its partition.
        partition: Partition,
        /// Where its first event lies.
        offset: Offset,
    },
    /// Another append has this id: another number of events, other values or other headers. Not stored.
    #[error(
        "append id {id} was used before, by an append of other content: its first event has order {first}"
    )]
    IdReused {
        /// The id.
        id: AppendId,
        /// Where that append begins.
        first: Order,
    },
    /// Not stored, for another cause, rejected or unavailable.
    #[error("{0}")]
    NotStored(Failure),
    /// It may or may not be stored, at most once.
    #[error("{failure}")]
    Unknown {
        /// Its id, by which it may be tried again, if it has one.
        id: Option<AppendId>,
        /// What went wrong.
        failure: Failure,
    },
}

impl AppendFailure {
    /// What the caller may conclude of this try.
    pub fn class(&self) -> ErrorClass {
        match self {
            AppendFailure::Conflict(_) | AppendFailure::IdUsed { .. } | AppendFailure::IdReused { .. } => {
                ErrorClass::Rejected
            }
            AppendFailure::NotStored(failure) => failure.class(),
            AppendFailure::Unknown { .. } => ErrorClass::Unknown,
        }
    }

    /// The cause, for programs.
    pub fn reason(&self) -> Reason {
        match self {
            AppendFailure::Conflict(conflict) => match conflict.expected {
                Expected::New => Reason::AlreadyExists,
                _ => Reason::Conflict,
            },
            AppendFailure::IdUsed { .. } => Reason::AppendIdUsed,
            AppendFailure::IdReused { .. } => Reason::AppendIdReused,
            AppendFailure::NotStored(failure) | AppendFailure::Unknown { failure, .. } => failure.reason,
        }
    }

    /// How long to rest before another try, if the store said so.
    pub fn retry_after(&self) -> Option<Duration> {
        match self {
            AppendFailure::NotStored(failure) | AppendFailure::Unknown { failure, .. } => failure.retry_after,
            _ => None,
        }
    }
}

/// An append in a stream of them.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct TaggedAppend {
    /// What its answer is known by; the caller's choice.
    pub tag: u64,
    /// The append.
    pub append: Append,
    /// Whether it may be stored though the one of its key before it in the stream was not. It waits for it all the same.
    pub stands_alone: bool,
}

/// The answer to an append of a stream.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct TaggedAnswer {
    /// The tag of the append.
    pub tag: u64,
    /// What became of it.
    pub answer: Result<Appended, AppendFailure>,
}
