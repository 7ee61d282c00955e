//! How a run ends: the exit codes, and the one error that carries them to `main`.

use bkes_api::{Failure, Reason};
use bkes_core::append::ErrorClass;
use std::fmt::Display;
use std::io;
use std::path::Path;
use std::time::Duration;

/// What `--help` says of the exit codes.
pub const EXIT_CODES: &str = "Exit codes:
  0  done
  1  rejected for another cause than those below; it will be again unless something changes; of verify and
     doctor, something was found
  2  wrong usage
  3  conflict: the aggregate is not where it was expected; of an import, events differ
  4  not found: no such aggregate, or no such consumer group
  5  unavailable: nothing was done, and it may be tried again; of status, not ready
  6  the outcome of an append is unknown: it is stored once or not at all
  7  what is to be read or written cannot be, or what is read is not what it should be";

/// Why a run has no success.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Code {
    Rejected = 1,
    Usage = 2,
    Conflict = 3,
    NotFound = 4,
    Unavailable = 5,
    Unknown = 6,
    InputOutput = 7,
}

/// An end before the end.
#[derive(PartialEq, Eq, Debug)]
pub enum Ended {
    /// Who reads standard output has read enough: nothing is wrong.
    OutputClosed,
    /// With words for people.
    With {
        /// The exit code.
        code: Code,
        /// What is wrong.
        message: String,
        /// What to do, a line each.
        advice: Vec<String>,
    },
}

impl Ended {
    /// An end with a message and no advice.
    pub fn new(code: Code, message: impl Display) -> Ended {
        Ended::With { code, message: message.to_string(), advice: Vec::new() }
    }

    /// Wrong usage that only shows once the arguments are looked at together.
    pub fn usage(message: impl Display) -> Ended {
        Ended::new(Code::Usage, message)
    }

    /// With another line of advice.
    #[must_use]
    pub fn advise(mut self, line: impl Display) -> Ended {
        if let Ended::With { advice, .. } = &mut self {
            advice.push(line.to_string());
        }
        self
    }

    /// Standard output cannot be written.
    pub fn output(error: io::Error) -> Ended {
        if error.kind() == io::ErrorKind::BrokenPipe {
            return Ended::OutputClosed;
        }
        Ended::new(Code::InputOutput, format_args!("standard output cannot be written: {error}"))
    }

    /// A file cannot be used.
    pub fn file(path: &Path, error: io::Error) -> Ended {
        Ended::new(Code::InputOutput, format_args!("{}: {error}", path.display()))
    }

    /// Of an append that names its failure so.
    pub fn of_append(failure: &Failure) -> Ended {
        let code = match failure.class() {
            ErrorClass::Rejected => rejected(failure.reason),
            ErrorClass::Unavailable => Code::Unavailable,
            ErrorClass::Unknown => Code::Unknown,
        };
        Ended::new(code, described(failure)).advise_rest(failure.retry_after)
    }

    fn advise_rest(self, rest: Option<Duration>) -> Ended {
        match rest {
            Some(rest) => self.advise(format_args!("It may go better in {} ms.", rest.as_millis())),
            None => self,
        }
    }
}

/// Of a call that changes nothing: where its outcome is unknown, it is as if it had not been made.
impl From<Failure> for Ended {
    fn from(failure: Failure) -> Ended {
        let code = match failure.class() {
            ErrorClass::Rejected => rejected(failure.reason),
            ErrorClass::Unavailable | ErrorClass::Unknown => Code::Unavailable,
        };
        Ended::new(code, described(&failure)).advise_rest(failure.retry_after)
    }
}

/// A failure with the name that programs know it by.
pub fn described(failure: &Failure) -> String {
    format!("{} ({})", failure.message, failure.reason)
}

fn rejected(reason: Reason) -> Code {
    match reason {
        Reason::Conflict | Reason::AlreadyExists => Code::Conflict,
        Reason::NoSuchAggregate | Reason::NoSuchGroup => Code::NotFound,
        _ => Code::Rejected,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn code(ended: Ended) -> Option<Code> {
        match ended {
            Ended::OutputClosed => None,
            Ended::With { code, .. } => Some(code),
        }
    }

    #[test]
    fn every_reason_has_the_code_of_its_class() {
        for reason in Reason::ALL {
            let failure = Failure::new(*reason, "x");
            let of_append = code(Ended::of_append(&failure)).expect("it has a code");
            let of_read = code(Ended::from(failure)).expect("it has a code");
            match reason.class() {
                ErrorClass::Rejected => {
                    let codes = [Code::Rejected, Code::Conflict, Code::NotFound];
                    assert!(codes.contains(&of_append) && of_read == of_append, "{reason}");
                }
                ErrorClass::Unavailable => {
                    assert_eq!((of_append, of_read), (Code::Unavailable, Code::Unavailable), "{reason}");
                }
                ErrorClass::Unknown => {
                    assert_eq!((of_append, of_read), (Code::Unknown, Code::Unavailable), "{reason}");
                }
            }
        }
        for (reason, expected) in [
            (Reason::Conflict, Code::Conflict),
            (Reason::AlreadyExists, Code::Conflict),
            (Reason::NoSuchAggregate, Code::NotFound),
            (Reason::NoSuchGroup, Code::NotFound),
            (Reason::AppendIdUsed, Code::Rejected),
        ] {
            assert_eq!(code(Ended::of_append(&Failure::new(reason, "x"))), Some(expected), "{reason}");
        }
    }

    #[test]
    fn a_closed_pipe_is_no_error_and_every_other_fault_of_the_output_is() {
        assert_eq!(Ended::output(io::ErrorKind::BrokenPipe.into()), Ended::OutputClosed);
        assert_eq!(code(Ended::output(io::ErrorKind::StorageFull.into())), Some(Code::InputOutput));
    }

    #[test]
    fn help_names_every_code() {
        let codes = [
            Code::Rejected,
            Code::Usage,
            Code::Conflict,
            Code::NotFound,
            Code::Unavailable,
            Code::Unknown,
            Code::InputOutput,
        ];
        for code in codes {
            assert!(EXIT_CODES.contains(&format!("\n  {}  ", code as u8)), "{code:?}");
        }
    }
}
