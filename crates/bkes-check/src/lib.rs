//! Whether a history keeps what BKES promises.
//!
//! A run, simulated or real, leaves a [`History`]: every call with its begin, its end and its answer; the records that the
//! log holds at the end; and the content of every instance, of a resumed one and of one rebuilt from nothing. [`check`] says
//! what in it breaks one of the promises of [`Promise`], with the evidence.
//!
//! Every event of a checked load carries a value that no other has: by it the event is traced from the call to the log, to
//! every content, into every read and to every follower. The tries of an append with an id carry the same values.
//!
//! This crate stands beside the product. It knows the words of bkes-core and not its rules, so that what the rule gets wrong
//! does not look right here. It is a function of its argument: no clock, no I/O, no randomness.

#![forbid(unsafe_code)]

mod history;
mod text;
mod violation;

mod appends;
mod contents;
mod follows;
mod ids;
mod index;
mod reads;
mod refusals;
mod views;
mod waits;

pub use history::{
    AppendCall, AppendOutcome, Call, CallId, ClientId, Content, ContentOf, Event, Excuses, Expecting,
    FollowStream, Followed, FollowedFrom, FollowedItem, Follower, Fresh, History, InstanceId, LogRecord,
    Operation, Premise, ReadCall, ReadOutcome, Truncation, TryOf, View, WaitCall, WaitOutcome,
};
pub use violation::{Promise, StreamOf, Violation};

/// Everything in `history` that breaks a promise; nothing when it keeps all of them.
pub fn check(history: &History) -> Vec<Violation> {
    let mut found = Vec::new();
    let index = index::Index::new(history, &mut found);
    appends::check(&index, &mut found);
    ids::check(&index, &mut found);
    reads::check(&index, &mut found);
    waits::check(&index, &mut found);
    refusals::check(&index, &mut found);
    contents::check(&index, &mut found);
    follows::check(&index, &mut found);
    found
}
