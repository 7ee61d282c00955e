//! The audit of topics that many writers wrote, and of instances that lie in every way we could think of.

#![forbid(unsafe_code)]

#[path = "../../../bkes-consumer/tests/it/topic.rs"]
mod topic;

mod shelf;

mod bounds;
mod counts;
mod frames;
mod growing;
mod lies;
mod logs;
