//! Test doubles: what tests put in the place of a disk, a log and a store, to see what lies above it when that fails.
//!
//! [`disk`] is what a store lies on, [`directory`] what the embedded log does; [`log`] is a topic with all that Kafka can do to
//! us, and [`store`] a store without a disk. Whatever goes wrong is asked for or drawn from a seed, so a run can be repeated; there
//! is no clock and no thread. [`input`] makes random and spoiled bytes for what reads them from outside.
//!
//! The doubles know the contracts and nothing of who uses them: no rule, no engine. Product crates know this one in their tests
//! only.

#![forbid(unsafe_code)]

pub mod directory;
pub mod disk;
pub mod input;
pub mod log;
pub mod store;
