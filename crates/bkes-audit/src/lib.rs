//! The audit of a topic, and of an event store that says what is in it: what is behind `bkes verify`.
//!
//! [`audit`] reads the topic itself, runs the accept rule over it, and says what it holds: events, void records, foreign and
//! forwarded ones, split aggregates, gaps, a head that was removed. Given an instance, it compares every event with what that shows. An
//! auditor need not trust the instance: the two share the pure rule, and nothing else.
//!
//! ```text
//!   pass 1..n:  topic ──rule──► table: of each aggregate of one part of all keys a sum over its events
//!               instance ─────► list of all, each aggregate of the part read ──► the same sum?
//!   at last:    topic ──rule──► aggregates that differ, event by event ◄── windows of the instance
//! ```
//!
//! Memory is bounded: keys are known by their hash, events by a sum, and where the table is full a half of the keys is left for a later
//! pass. The end is fixed when the audit begins; what is written meanwhile is not judged. What an instance shows at or above the end
//! must be at an offset that the log has by now; its content it might make up: run the audit again.
//!
//! Compared are the list of all aggregates, whole reads forwards, their ends, and heads: of the first thousand aggregates each, and of the
//! others one in 32, chosen by a secret. Reads backwards, as of an offset or a time, and follows are not.

#![forbid(unsafe_code)]

mod limits;

mod finding;
mod options;
mod report;

mod audit;
mod compare;
mod detail;
mod event_view;
mod instance;
mod shown;
mod tally_pass;
mod topic;

pub use audit::audit;
pub use finding::{Field, Finding, Findings, Place};
pub use limits::{FINDINGS_MAX, MEMORY_BYTES_MAX, SUSPECTS_MAX};
pub use options::{AuditError, Instance, Options, Progress};
pub use report::{Compared, PartitionReport, Report, VoidCounts};
