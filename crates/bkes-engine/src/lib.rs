//! The engine: an ordinary topic served as an event store, as a library.
//!
//! This page becomes the guide; the API is [`Engine`], [`EngineHandle`] and the plain data they speak.

#![forbid(unsafe_code)]

mod api;
mod board;
mod handle;
mod limits;
mod monitor;
mod overlay;
mod owner;
mod read;
mod start;
mod writer;

pub use api::{
    AppendError, AppendRequest, Appended, ErrorClass, Events, Expected, PartitionState, PartitionStatus,
    ReadError, ReadRequest, Status, Unready,
};
pub use handle::{Engine, EngineHandle, EngineOptions, StartError};
