//! The gRPC interface of BKES: both wire contracts, on one port. The first (`proto/api.proto`) stands in front of an engine, the second
//! (`proto/bkes/v2/event_store.proto`) in front of any event store.
//!
//! Of the first, a request becomes the engine's words in `requests`, the engine's answer becomes the wire's words in `answers`, and
//! everything that can go wrong becomes an [`api::Error`] in one match in `errors`. Of the second, bkes-wire does all that, and `v2`
//! is the calls. No rule of the event store lives here. Sizes, counts and times are bounded; the bounds stand in `limits`.
//!
//! [`run`] serves on a listener until it is told to stop. A [`Gate`] stands between it and the engine, so that the port can
//! be open, and say "not ready", before there is an engine. Standard health checks and server reflection are served beside
//! the event store.
//!
//! What every engine behind this interface must show is written as tests in [`conformance`], through real connections.
//!
//! This crate does not know logs, stores, or where its settings come from.

#![forbid(unsafe_code)]

mod limits;

mod answers;
mod errors;
mod requests;

mod dynamic_limits;
mod gate;
mod service;
mod v2;

mod accept;
mod admission;
mod connections;
mod gathering;
mod health;
mod inbound;
mod peers;
mod phase;
mod reply_budget;
mod shares;

pub mod conformance;

/// The first contract: its messages, client and server.
pub use bkes_wire::v1 as api;
pub use connections::{Drained, run};
pub use gate::Gate;
pub use health::{HealthError, check_health};
pub use limits::ServeOptions;
/// What the generated clients speak through.
pub use tonic::transport::Channel;
