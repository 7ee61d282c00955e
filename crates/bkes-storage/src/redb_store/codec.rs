//! The bytes of the store's rows: variable-length integers, and a checksum wherever a row carries content.
//!
//! Decoding trusts nothing: whatever the file holds, the answer is a value or `Garbled`, never a panic.

mod contents;
mod cursor;
mod event;
mod meta;
mod parts;
mod progress;

pub use contents::Contents;
pub use cursor::Cursor;
pub use event::{Content, Copying, Links, event_bytes_max, get_back, get_event, get_large, put_event};
pub use meta::{get_dropped, get_grouping, get_identity, put_dropped, put_grouping, put_identity};
pub use parts::{get_parts, put_parts, seal_parts, unseal_parts};
pub use progress::{get_checkpoint, get_incarnation, put_checkpoint, put_incarnation};

#[cfg(test)]
mod tests;
