//! The event store as its callers see it.
//!
//! [`EventStore`] is one trait with two implementations: the engine inside your own process, and a client of a server. A service
//! is written against the trait and switches between them by one line.
//!
//! The rules a caller lives by:
//!
//! * An append that was answered with success is at its place on every instance, for good.
//! * An error's [`class`](Failure::class) says what may be concluded: *rejected* (not stored, and it never will be), *unavailable*
//!   (not stored, a retry is safe), or *unknown* (stored at most once). An append that carries an [`AppendId`] may be repeated
//!   after any of them, by [`Append::again`], which says that an earlier try may be stored: it is stored once.
//! * An append rests only on events that were read or acknowledged. What rests on an unacknowledged append goes into one batch
//!   with it.

#![forbid(unsafe_code)]

pub mod conformance;
mod store;

mod aggregate;
mod cache;
mod decide;
mod retry;

mod append;
mod event;
mod failure;
mod follow;
mod keys;
mod positions;
mod read;
mod status;
mod wait;

#[cfg(feature = "json")]
pub use aggregate::Json;
pub use aggregate::{Aggregate, Aggregates, Change, Codec};
pub use append::{
    Append, AppendFailure, Appended, Conflict, MISSING_BYTES_MAX, MISSING_MAX, TaggedAnswer, TaggedAppend,
    draw_append_id,
};
pub use decide::{BoxError, DecideError, DecideOptions, Decided, Known, Outcome, State, catch_up, decide};
pub use event::{Event, Origin};
pub use failure::{Detail, Failure, Reason};
pub use follow::{Follow, FollowFrom, FollowItem, Followed, FollowedEvent};
pub use keys::{KEYS_BYTES_MAX, KEYS_MAX, KeyList, KeysRequest, ListedKey};
pub use positions::{Freshness, Positions, TopicId};
pub use read::{AsOf, Direction, Head, KeyedPage, Layout, Page, PageEnd, Read, ReadMany};
pub use retry::{Pacer, RetryBudget, RetryPolicy, Tries, Verdict, append_with_retries};
pub use status::{Build, PartitionState, PartitionStatus, Status};
pub use store::{BoxStream, EventStore};
pub use wait::WaitFor;

// Words of bkes-core that the face speaks.
pub use bkes_core::append::{ErrorClass, EventContent, Expected};
pub use bkes_core::append_id::{AppendId, Identity};
pub use bkes_core::{BatchPlace, Counters, Header, Key, Offset, Order, Partition, Position, TimestampMs};
