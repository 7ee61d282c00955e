//! The wire contracts of BKES, and the way between the second one's messages and the words of bkes-api.
//!
//! [`v1`] and [`v2`] are generated from `proto/`: messages, clients, servers and descriptor sets. Whoever speaks the second contract, on
//! either side, turns messages with [`from_wire`] and [`to_wire`]: one function a noun, each checked. No number wraps around, and what a
//! peer should not have sent is an error that names the field, never a panic. [`status`] is the one place where failures become statuses
//! and statuses failures.
//!
//! [`codec`] bounds what a message may become in memory before it is decoded. This crate knows no connections, no calls, and no store.

#![forbid(unsafe_code)]

/// The first contract, `proto/api.proto`: its messages, client and server. The file is their documentation.
#[allow(missing_docs, clippy::all, clippy::too_many_lines)]
pub mod v1 {
    include!("generated/tech.gklijs.bkes.api.rs");

    /// The contract as a descriptor set, which server reflection shows.
    pub const DESCRIPTOR: &[u8] = include_bytes!("generated/tech.gklijs.bkes.api.bin");
}

/// The second contract, `proto/bkes/v2/event_store.proto`: its messages, client and server. The file is their documentation.
#[allow(missing_docs, clippy::all, clippy::too_many_lines)]
pub mod v2 {
    include!("generated/bkes.v2.rs");

    /// The contract as a descriptor set, which server reflection shows.
    pub const DESCRIPTOR: &[u8] = include_bytes!("generated/bkes.v2.bin");
}

pub mod codec;
pub mod from_wire;
pub mod limits;
pub mod status;
pub mod to_wire;

mod bad_field;
mod hex;
mod wire_failure;

pub use bad_field::BadField;
