//! The log contract over one durable local file, for running without Kafka.
//!
//! All partitions share one append-only file, so that one `fdatasync` makes a whole group of appends durable: a writer thread
//! takes what has gathered, writes it with one call, syncs, and only then acknowledges and shows it to readers. What was
//! acknowledged survives a kill and a power cut.
//!
//! The file is the truth, so nothing is repaired by guessing. A group is written only after everything before it was synced,
//! and its header says so: what a power cut left of the last one was never acknowledged and is cut off on opening; damage
//! anywhere else refuses to open and names the place. `docs/formats.md` has the bytes.
//!
//! This crate does not know what an event is; it must never lose or invent a record.

#![forbid(unsafe_code)]

mod limits;

mod disk;
mod frame;
mod group;
mod header;

mod index;
mod walk;

mod file;
mod queue;
mod shared;

mod appender;
mod reader;
mod writer;

mod log;

pub use file::OpenError;
pub use log::{EmbeddedLog, EmbeddedOptions};
pub use walk::Proof;

#[cfg(test)]
mod tests;
