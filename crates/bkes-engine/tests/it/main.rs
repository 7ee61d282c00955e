//! The engine, tested from outside: one binary, a module a subject.

mod above_next;
mod callers;
mod content;
mod crashes;
mod dropping;
mod embedded;
mod engine;
mod full_disk;
mod gathering;
mod held_back;
mod lines;
mod listing;
mod log_faults;
mod lost_end;
mod meetings;
mod new_beginnings;
mod parts;
mod pending;
mod placing;
mod refusals;
mod room;
mod split;
mod stopping;
mod support;
mod turns_of_a_key;
mod weighed;
