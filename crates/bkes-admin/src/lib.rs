//! The admin port: what an operator and an orchestrator ask of a running server, over HTTP/1.1.
//!
//! [`router`] makes the routes of an [`Instance`], which is there before its engine is; [`run`] serves any router on a listener, with
//! bounded connections, headers, bodies and times, until the server stops. Who has more to serve (metrics, a console) merges routes into
//! the router before it is run; who has to know callers puts a layer around it: [`Peer`] is among the extensions of each request.
//!
//! | route | answer |
//! |---|---|
//! | `/livez` | 200 while the process does its work, 503 when only a restart helps |
//! | `/readyz` | what the gRPC health service says of the server as a whole |
//! | `/readyz/reads` | whether reads are answered, and are current within the lag that is allowed |
//! | `/readyz/appends` | whether appends are taken too |
//!
//! Answers are JSON and name every reason. This crate knows the engine's status and nothing of gRPC, logs or stores.

#![forbid(unsafe_code)]

mod limits;

mod instance;
mod probes;
mod reasons;

mod patience;
mod serve;

pub use instance::Instance;
pub use probes::router;
pub use serve::{Peer, run};
