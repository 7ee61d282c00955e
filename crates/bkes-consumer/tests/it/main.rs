//! The consumer against a slow model of the rule, and on logs that something happens to.

#![forbid(unsafe_code)]

mod model;
mod topic;

mod log_changes;
mod speed;
mod what_is_told;
