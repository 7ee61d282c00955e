//! The log contract over Apache Kafka, by librdkafka.
//!
//! [`KafkaLog`] is one topic. Its readers are consumers that read committed records only, with explicit positions, and commit
//! nothing; its appenders are idempotent producers that wait for all replicas. Both are polled by their owner's thread, which
//! librdkafka wakes by the event callback of their queue: nothing sleeps or polls by an interval. What no owner polls at all times,
//! a thread of [`KafkaLog`]'s own does.
//!
//! All calls of librdkafka's C interface are in `native`; the facts they rest on are in librdkafka's documentation of each call.
//! This crate does not know what an event is.

#![deny(unsafe_code)]

mod appender;
mod client_error;
mod clock;
mod groups;
mod lock;
mod log;
mod native;
mod options;
mod polling;
mod properties;
mod property_sources;
mod reader;
mod rights;
mod shortage;
mod topic;
mod topic_settings;

pub use client_error::ClientError;
pub use log::{ConnectError, KafkaLog};
pub use native::with_batch_threads;
pub use options::KafkaOptions;
pub use properties::{
    Properties, PropertyError, canonical as canonical_property, known_properties, known_property, resolve,
    shown_value, similar_property,
};
pub use property_sources::PropertySources;
pub use rights::TopicRights;
pub use topic::{Finding, Severity, TopicReport};

/// What the linker of a program must be told on Linux (`cargo::rustc-link-arg` in its build script), so that a record that fails its
/// checksum stops its partition and not the process: librdkafka 2.12 has an assertion in the way.
pub const LINK_ARGUMENT: &str = "-Wl,--wrap=rd_slice_narrow_copy_relative";

/// The version of librdkafka.
pub fn librdkafka_version() -> String {
    native::version()
}

/// The SASL mechanisms that this build has.
pub fn sasl_mechanisms() -> Vec<&'static str> {
    native::sasl_mechanisms()
}
