//! The parts of the measurements, each a comparison or a few of one kind.

pub mod baseline;
pub mod batches;
pub mod engine;
pub mod file;
pub mod grpc;
pub mod hot;
pub mod long;
pub mod mixed;
pub mod reads;
pub mod reads2;
pub mod rebuild;
pub mod stream;
