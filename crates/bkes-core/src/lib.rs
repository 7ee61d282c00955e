//! The words and the rules of BKES, and nothing else: no I/O, no clock, no threads, no async.
//!
//! A topic's partition is a sequence of [`Record`]s. [`marker`] says what a record claims about itself, [`accept`] decides
//! from the log alone which records are events of which aggregate at which order, and [`sequence`] decides what the writer
//! of an append may be told and when. Everything here is a function of its arguments: the same inputs give the same
//! history on every instance, which is what the whole system rests on.

#![forbid(unsafe_code)]

pub mod accept;
pub mod append;
pub mod append_id;
mod cause;
mod checkpoint;
pub mod checksum;
mod event;
pub mod evidence;
mod heads;
pub mod limits;
mod log_words;
pub mod machine;
pub mod marker;
mod place;
pub mod sequence;
pub mod topic;
mod words;

pub use accept::{
    AboveNext, AcceptRule, Applied, Decision, IncarnationState, NewerFormat, OpenBatch, VoidReason,
};
pub use cause::Cause;
pub use checkpoint::{Checkpoint, Counters, Fingerprint, Unread};
pub use event::{EventOutline, StoredEvent, content_bytes};
pub use heads::{Count, Head, Heads};
pub use log_words::{Delivery, ReadFailure, Token, Watermarks, record_bytes};
pub use marker::{BatchPlace, Marker, RecordClass, Stamp};
pub use place::Partitioner;
pub use words::{
    Header, Incarnation, Key, LeaderEpoch, Offset, Order, Partition, Position, Record, TimestampMs,
};
