//! The gRPC server, tested from outside: one binary, a module a subject.

mod admission;
mod clients;
mod conformance;
mod connections;
mod defects_of_the_original;
mod requests;
mod split;
mod support;
mod v2;
