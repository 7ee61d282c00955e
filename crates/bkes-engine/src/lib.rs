//! The engine: an ordinary topic served as an event store, as a library.
//!
//! ```text
//!   append ──► owner ──► log            one owner thread for a group of partitions: it numbers and sends appends,
//!     ▲          │ ▲      │             applies every record in offset order, and answers when the log has decided
//!     │ answer   │ └──────┘ reports, records
//!     └──────────┤
//!                ▼
//!   read ──► overlay ──► store writer ──► store      applied events are seen at once and committed in the background
//! ```
//!
//! # For Rust services
//!
//! [`Engine::start`] takes a log (Kafka, the embedded log, or one in memory) and a store, checks that they belong together
//! and catches up in the background; [`EngineHandle`] is cloned to whoever calls. `examples/embedded_engine.rs` is a whole
//! program. The rules a caller lives by:
//!
//! * [`EngineHandle::append`] returns when the log has *accepted* the events: they are at the order asked for, on every
//!   instance, for good, and every later [`EngineHandle::read`] here shows them. An error says by its
//!   [`class`](AppendError::class) what may be concluded: *rejected* (never stored), *unavailable* (not stored, retry), or
//!   *unknown* (stored at most once: read before retrying).
//! * An append rests only on events that were read or acknowledged. What rests on an unacknowledged append goes into one
//!   batch with it: [`AppendRequest::events`] takes several, all or nothing.
//! * Until [`EngineHandle::is_ready`] nothing can be said about keys that were not met yet, and calls answer
//!   [`Unready::CatchingUp`].
//! * [`EngineHandle`] is a [`bkes_api::EventStore`] too: what is written against that trait runs on an engine in its own process
//!   or on a server.
//! * [`Engine::stop`] refuses what is new, awaits what was sent, and leaves the store as a clean point to resume from.
//!
//! The engine never names Kafka or redb. Time, random names and threads are at the rim (`engine`): owner, writer and monitor
//! are state machines with a `step`, driven by threads here and by a simulator in tests. Services do not need [`assembly`].

#![forbid(unsafe_code)]

mod api;
mod at_least;
mod engine;
mod face;
mod handle;
mod options;
mod readiness;
mod wait_for;

pub mod assembly;
mod threads;

mod group_asker;
mod monitor;
mod owner;
mod start;
mod verifier;
mod writer;

mod content;
mod follow;
mod freshness;
mod frozen;
mod list;
mod owner_inbox;
mod placing;
mod read;
mod split;
mod topic_growth;
mod verifier_inbox;
mod writer_inbox;

mod board;
mod context;
mod epoch;
mod fault;
mod feed;
mod in_flight;
mod limits;
mod lock;
mod no_order;
mod overlay;
mod position_waits;
mod positions_error;
mod waits;
mod withdrawal;

pub use api::{AggregateHead, Events, LastEvent, ReadError, ReadRequest, Status};
pub use engine::Engine;
pub use epoch::Epoch;
pub use face::room_wait;
pub use handle::EngineHandle;
pub use no_order::NoOrder;
pub use options::{EngineOptions, StartError};
pub use positions_error::PositionsError;
pub use readiness::Readiness;

// Words of bkes-api and bkes-core that the face speaks.
pub use bkes_api::{
    Failure, Freshness, KEYS_BYTES_MAX, KEYS_MAX, KeyList, KeysRequest, Layout, ListedKey, PartitionState,
    PartitionStatus, Positions, Reason, TopicId, WaitFor,
};
pub use bkes_core::append::{
    AppendError, AppendRequest, Appended, ErrorClass, EventContent, Expected, Unit, Unready,
};
pub use bkes_core::{Cause, Counters, Header, StoredEvent};
