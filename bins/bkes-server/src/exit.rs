//! Exit codes, and the one error that carries them to `main`.

use std::fmt;
use std::process::ExitCode;

/// Why the server ends, as its exit code says it.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Reason {
    Unexpected = 1,
    Usage = 2,
    Log = 3,
    Data = 4,
    Address = 5,
    NotReady = 6,
}

/// An end with a reason and words for people.
#[derive(Debug)]
pub struct Ended {
    reason: Reason,
    message: String,
}

impl Ended {
    pub fn new(reason: Reason, message: impl fmt::Display) -> Ended {
        Ended { reason, message: message.to_string() }
    }

    pub fn code(&self) -> ExitCode {
        ExitCode::from(self.reason as u8)
    }
}

impl fmt::Display for Ended {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message)
    }
}
