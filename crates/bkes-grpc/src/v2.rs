//! The second contract: any event store, as a service.
//!
//! A request becomes the store's words in bkes-wire, and so does the way back. What stands here is what the wire needs beyond that: room
//! for what is worked on and for what is not taken, deadlines, and the end of streams.

mod append_stream;
mod call;
mod follow;
mod handover;
mod held;
mod pump;
mod reads;
mod service;
mod statuses;
mod weight;

pub use service::Service;
pub use statuses::with_its_status;

/// How the paths of its calls begin.
pub const PATH: &str = "/bkes.v2.EventStore/";
