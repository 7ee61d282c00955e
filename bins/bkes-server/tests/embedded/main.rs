//! The server as a process on its embedded log: one binary, a module a subject.

mod crowds;
mod faults;
mod process;
mod secrets;
mod server;
#[path = "../support/mod.rs"]
mod support;
