//! What programs other than BKES do to a topic: produce by their own rules, in transactions, commit what they
//! have read, and administer it.
//!
//! For tests, fault runs and benchmarks only; no crate of the product knows it. It stands on the `rdkafka` crate and shares no
//! code with bkes-kafka, so that what one of them gets wrong does not look right to the other.

#![deny(unsafe_code)]

mod cluster;
mod group;
mod producer;
mod rights;

pub use cluster::Cluster;
pub use producer::{ForeignRecord, Producer};
pub use rdkafka::error::KafkaError;
pub use rights::{Right, RightsError};
