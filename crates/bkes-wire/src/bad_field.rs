//! A field that cannot be turned into our words, or a number of ours that does not fit the wire.

use bkes_api::{Detail, Failure, Reason};
use std::fmt;

/// What is wrong with a message.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct BadField {
    /// Where it is, as a path of the message's names: `freshness.at_least.positions[2].offset`.
    pub field: String,
    /// What is wrong with it, as the end of a sentence that begins with its name.
    pub why: String,
}

impl BadField {
    /// A field by its name.
    pub fn new(field: impl Into<String>, why: impl Into<String>) -> BadField {
        BadField { field: field.into(), why: why.into() }
    }

    /// The same, seen from the message that has it in its field `outer`.
    #[must_use]
    pub fn within(self, outer: impl fmt::Display) -> BadField {
        BadField { field: format!("{outer}.{}", self.field), why: self.why }
    }

    /// Of a request: it is refused, and will be again.
    pub fn in_request(self) -> Failure {
        let reason =
            if self.field == "key" && self.why == EMPTY { Reason::EmptyKey } else { Reason::InvalidRequest };
        Failure::new(reason, self.to_string()).about(Detail::Field(self.field))
    }

    /// Of an answer: a fault of whoever gave it, which says nothing of what was asked for.
    pub fn in_answer(self) -> Failure {
        Failure::new(Reason::Internal, format!("the answer makes no sense: {self}"))
    }
}

/// What is wrong with a key that has no bytes.
pub(crate) const EMPTY: &str = "is empty";

/// What is wrong with a oneof's `true` that is `false`.
pub(crate) const NOT_TRUE: &str = "must be true when it is set";

impl fmt::Display for BadField {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}", self.field, self.why)
    }
}

impl std::error::Error for BadField {}

/// A number in the type that the other side has for it.
pub(crate) fn fit<From, To>(field: &str, number: From) -> Result<To, BadField>
where
    From: Copy + fmt::Display,
    To: TryFrom<From>,
{
    To::try_from(number).map_err(|_| BadField::new(field, format!("is {number}, which does not fit")))
}
