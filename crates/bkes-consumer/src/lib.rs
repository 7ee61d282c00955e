//! A topic read through the accept rule, for consumers written in Rust (docs/consumers.md).
//!
//! Not every record of a topic is an event: a marked record whose order was taken is *void*. Which ones are is a function of the log
//! alone, so a consumer that runs the rule from the log's beginning sees the events that every instance sees, at the same orders, without
//! asking any.
//!
//! ```text
//!   LogReader ──records──► Consumer ──record, next order of its key──► Fold (the rule) ──Decided──► Consumer ──► Item
//!                            └── counts of keys (KeyTable) ◄────────────events────────────┘
//! ```
//!
//! [`Fold`] is pure and of one partition: whoever reads a topic by other means runs it alone. [`Consumer`] gives it a log and counts
//! the keys. [`BlockingConsumer`] is one for a thread of its own.
//!
//! This crate does not know any engine, store or wire.

#![forbid(unsafe_code)]

mod limits;

mod decided;
mod fold;
mod key_table;

mod blocking;
mod consumer;
mod item;

pub use blocking::BlockingConsumer;
pub use consumer::{Checkpoint, Consumer, ConsumerOptions};
pub use decided::{Decided, Decision, Events, VoidRecord, Writer};
pub use fold::{Fold, Undecided};
pub use item::{ConsumeError, Item, Stop};
pub use key_table::{KeyHash, KeyHasher, KeyTable, TableFull};
pub use limits::{COUNTS_BYTES_MAX, POLL_EVENTS};
