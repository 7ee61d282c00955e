//! The contract of a partitioned log: what BKES needs of a topic, and nothing more.
//!
//! ```text
//!              low            stable        high
//!               |               |             |
//!   (removed)   | 3  4  .  6  7 | 8  9  .  .  |  (not written yet)
//!               |               |             |
//!               readable records, offsets with gaps; at `stable` the first undecided one of an open transaction
//! ```
//!
//! A [`Log`] answers questions about the topic and hands out two halves: a [`LogReader`] and a [`LogAppender`]. Each half
//! belongs to one owner thread, never blocks, and wakes that thread through the [`Waker`] it was made with. What must hold
//! of every implementation is written as tests in [`conformance`]; [`MemoryLog`] is the plainest one.
//!
//! This crate does not know Kafka, files, or what an event is.

#![forbid(unsafe_code)]

pub mod conformance;
mod contract;
mod memory;
mod waker;

pub use contract::{
    AppenderState, Delivery, Log, LogAppender, LogError, LogIdentity, LogReader, NewRecord, QueueBound,
    ReadEvent, ReadFailure, Report, SendError, Token, Watermarks,
};
pub use memory::MemoryLog;
pub use waker::{Waiter, Waker, wake_pair};
