//! The verbs, one file each. A verb gets its arguments, the store and the console, and knows neither processes nor servers.

pub mod append;
pub mod bench;
pub mod completions;
pub mod context;
#[cfg(feature = "kafka")]
pub mod doctor;
pub mod export;
pub mod follow;
pub mod head;
pub mod import;
pub mod keys;
pub mod man;
pub mod read;
pub mod status;
#[cfg(feature = "kafka")]
pub mod verify;
pub mod wait;
