//! The conversions, tested from outside with random words: one binary, a module a subject.

mod round_trips;
mod some;
mod spoiled;
