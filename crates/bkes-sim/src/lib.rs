//! The engine, simulated: the code of production on a log, a disk, a clock and a network that a seed decides.
//!
//! One seed is one run: it decides the schedule, the faults and the load. There are no threads and there is no real time, so
//! a seed gives the same run byte for byte. Processes are engines in parts (`bkes_engine::assembly`), stepped one part after the
//! other; where a part calls the store or the log, another may come in between, as threads do.
//!
//! A run ends when every caller had its answers. Then faults stop, everything comes to rest, and [`bkes_check`] judges what
//! was called, what the log holds, and what every instance, a resumed one and a rebuilt one hold.
//!
//! This crate stands beside the product, which does not know it. It knows how faults feel to an engine, and nothing of the
//! rules that the engine follows.

#![forbid(unsafe_code)]

mod faults;
mod lock;
mod plan;
mod recorder;
mod stage;

mod client;
mod follower;
mod instance;
mod link;
mod machine;
mod named;
mod topic;
mod waiter;

mod audience;
mod ending;
mod excuse;
mod shrink;
mod world;

pub use faults::{Coverage, Fault, Faults};
pub use follower::FOLLOWING;
pub use plan::{Mode, Plan, StoreKind, Topic};
pub use recorder::{ANSWERS, TRIES};
pub use shrink::shrink;
pub use waiter::WAITING;
pub use world::run;

use bkes_check::{History, InstanceId, Violation};
use bkes_core::Key;
use std::fmt;

/// What came of a run.
pub struct Run {
    /// What is wrong; nothing when all is well.
    pub findings: Vec<Finding>,
    /// What happened, counted.
    pub coverage: Coverage,
    /// What happened, to be read; empty unless asked for.
    pub tape: Vec<String>,
    /// What the checker was given.
    pub history: History,
}

/// Something that must not be.
#[derive(Clone, PartialEq, Eq, Debug)]
#[allow(missing_docs, reason = "each variant is documented, and its fields say what they are")]
pub enum Finding {
    /// One of the promises is broken.
    Broken(Violation),
    /// The engine panicked.
    Panicked(String),
    /// Faults are over and an instance does not become ready.
    NotReady { instance: InstanceId, detail: String },
    /// Faults are over, and a follower is not shown everything.
    FollowsNot { detail: String },
    /// Faults are over and a call is not answered.
    NoAnswer { instance: InstanceId },
    /// Faults are over and an append that should succeed does not, or one to a split key does.
    AppendFails { call: usize, key: Key, told: &'static str },
    /// A refusal named a next order that the log never reached.
    NextOrderInvented { call: usize, key: Key, current: u64, records: usize },
    /// A key that had events in another partition before the process was started was begun in this one.
    BegunTwice { call: usize, key: Key, partition: bkes_core::Partition },
    /// An instance says that the log lost something, and it did not.
    LossInvented { instance: InstanceId, reason: String },
    /// One instance alone wrote records that are not events, though nothing came between them.
    VoidRecords { void: u64 },
}

impl fmt::Display for Finding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Finding::Broken(violation) => violation.fmt(f),
            Finding::Panicked(said) => write!(f, "the engine panicked: {said}"),
            Finding::NotReady { instance, detail } => write!(f, "{instance} is not ready: {detail}"),
            Finding::FollowsNot { detail } => f.write_str(detail),
            Finding::NoAnswer { instance } => write!(f, "{instance} does not answer"),
            Finding::AppendFails { call, key, told } => {
                write!(f, "call {call}: the answer to an append to {key} is wrong: {told}")
            }
            Finding::NextOrderInvented { call, key, current, records } => {
                write!(
                    f,
                    "call {call}: {key} was said to be at {current}, the log has {records} records of it"
                )
            }
            Finding::BegunTwice { call, key, partition } => {
                write!(f, "call {call}: {key} lives in another partition and was begun in {partition}")
            }
            Finding::LossInvented { instance, reason } => {
                write!(f, "{instance} invents a loss: {reason}")
            }
            Finding::VoidRecords { void } => {
                write!(f, "{void} records of one instance alone are void, and nothing came between them")
            }
        }
    }
}
