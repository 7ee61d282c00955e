//! Everything that can go wrong, in the wire's words: one match, without a wildcard.

use crate::api::{Error, error::Outcome, error::Reason, error::Type};
use bkes_core::{Order, Partition};
use bkes_engine::{AppendError, ReadError, Unready};

/// Why a request has no success to report.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Failure {
    /// The key has no bytes.
    EmptyKey,
    /// A field makes no sense.
    Invalid { field: &'static str, why: &'static str },
    /// The reply would exceed the limit.
    ReplyTooLarge { bytes: u64, bytes_max: u64 },
    /// A number does not fit the contract's field.
    NotRepresentable { what: &'static str, number: u64 },
    /// Too many requests at once.
    TooManyRequests { requests_max: usize },
    /// The requests worked on hold too many bytes.
    TooManyBytes { bytes_max: usize },
    /// Too much was answered that is not taken yet.
    UnreadReplies { bytes: u64 },
    /// The aggregate lies in several partitions, and everything of it was asked for, in order.
    Split { partitions: Vec<Partition> },
    /// There is no engine yet.
    NotOpen,
    /// The instance serves no calls.
    Standby,
    /// The engine's answer to an append.
    Append(AppendError),
    /// The engine's answer to a read.
    Read(ReadError),
}

struct Words {
    class: Type,
    outcome: Outcome,
    reason: Reason,
    cause: &'static str,
}

const fn words(class: Type, outcome: Outcome, reason: Reason, cause: &'static str) -> Words {
    Words { class, outcome, reason, cause }
}

fn user(reason: Reason, cause: &'static str) -> Words {
    words(Type::User, Outcome::Rejected, reason, cause)
}

fn conflict(reason: Reason, cause: &'static str) -> Words {
    words(Type::Concurrency, Outcome::Rejected, reason, cause)
}

fn refused(reason: Reason, cause: &'static str) -> Words {
    words(Type::Server, Outcome::Rejected, reason, cause)
}

fn unavailable(reason: Reason, cause: &'static str) -> Words {
    words(Type::Server, Outcome::Unavailable, reason, cause)
}

fn append_words(error: &AppendError) -> Words {
    match error {
        AppendError::Conflict { .. } => conflict(Reason::Conflict, "read the aggregate and decide again"),
        AppendError::AlreadyExists { .. } => {
            conflict(Reason::AlreadyExists, "read the aggregate and decide again")
        }
        AppendError::NoSuchAggregate { .. } => user(Reason::NoSuchAggregate, "start the aggregate first"),
        // The first contract has no ids, and so none of these.
        AppendError::NeedsId => user(Reason::InvalidRequest, "give the append an id"),
        AppendError::IdReused { .. } | AppendError::IdUsed { .. } => {
            user(Reason::InvalidRequest, "give each append an id of its own")
        }
        AppendError::BadCount { .. } => user(Reason::InvalidRequest, "change the number of events"),
        AppendError::ReservedHeader { .. } => user(Reason::InvalidRequest, "give the header another name"),
        AppendError::TooManyHeaders { .. } => user(Reason::InvalidRequest, "give the event fewer headers"),
        AppendError::LongHeaderName { .. } => user(Reason::InvalidRequest, "give the header a shorter name"),
        AppendError::TooLarge { .. } => {
            user(Reason::TooLarge, "make it smaller, or raise the topic's max.message.bytes")
        }
        AppendError::Split { .. } => refused(Reason::Split, "writers placed the key differently"),
        AppendError::Cut { .. } => refused(Reason::Cut, "retention removed the head of the topic"),
        AppendError::PartitionerUnknown { .. } => refused(
            Reason::PartitionerUnknown,
            "start the server with --partitioner as the topic's other writers place keys; existing keys are served",
        ),
        AppendError::ExistingOnly => {
            refused(Reason::ExistingOnly, "start it on another instance; existing keys are served")
        }
        AppendError::Unavailable(unready) => not_now(unready),
        AppendError::NotStored { .. } => {
            unavailable(Reason::NotStored, "it is proven not to be stored: try again")
        }
        AppendError::Unknown { .. } | AppendError::IdWindow { .. } => words(
            Type::Server,
            Outcome::Unknown,
            Reason::OutcomeUnknown,
            "it is stored once or not at all: read the aggregate before trying again",
        ),
    }
}

fn read_words(error: &ReadError) -> Words {
    match error {
        ReadError::NoSuchAggregate { .. } => {
            user(Reason::NoSuchAggregate, "there are no events with this key")
        }
        ReadError::Split { .. } => refused(
            Reason::Split,
            "a server without --split-by-order-headers shows it partition by partition",
        ),
        // The first contract has no positions, and so none of these.
        ReadError::Positions(_) => user(Reason::InvalidRequest, "read without positions"),
        ReadError::Unavailable(unready) => not_now(unready),
        ReadError::Damaged { .. } => unavailable(Reason::StoreUnavailable, "the store is rebuilt: try again"),
        ReadError::Store { .. } => unavailable(Reason::StoreUnavailable, "try again"),
    }
}

impl Failure {
    /// The error as it goes over the wire.
    pub fn to_wire(&self) -> Error {
        let Words { class, outcome, reason, cause } = self.words();
        let (expected, current) = self.orders();
        let (size_bytes, limit_bytes) = self.sizes();
        Error {
            r#type: class.into(),
            error: self.to_string(),
            cause: cause.into(),
            reason: reason.into(),
            outcome: outcome.into(),
            expected_order: expected.map(|order| order.0),
            current_order: current.map(|order| order.0),
            limit_bytes,
            size_bytes,
        }
    }

    fn words(&self) -> Words {
        match self {
            Failure::EmptyKey => user(Reason::EmptyKey, "give the aggregate a key of at least one byte"),
            Failure::Invalid { .. } => user(Reason::InvalidRequest, "change the field"),
            Failure::ReplyTooLarge { .. } => user(
                Reason::ReplyTooLarge,
                "read it in parts with from_order and limit, or raise the limit on both sides",
            ),
            Failure::NotRepresentable { .. } => words(
                Type::Server,
                Outcome::Unknown,
                Reason::NotRepresentable,
                "use a later version of the contract",
            ),
            Failure::TooManyRequests { .. } | Failure::TooManyBytes { .. } => {
                unavailable(Reason::Overloaded, "wait, then try again")
            }
            Failure::UnreadReplies { .. } => {
                unavailable(Reason::Overloaded, "read the replies that wait for you, then try again")
            }
            Failure::NotOpen => unavailable(Reason::CatchingUp, "the server is starting: try again"),
            Failure::Split { .. } => refused(
                Reason::Split,
                "read it partition by partition, with from_order and limit; or have a server show it in the order of its headers \
                 (--split-by-order-headers)",
            ),
            Failure::Standby => unavailable(Reason::Standby, "ask an instance that serves"),
            Failure::Append(error) => append_words(error),
            Failure::Read(error) => read_words(error),
        }
    }

    fn orders(&self) -> (Option<Order>, Option<Order>) {
        match self {
            Failure::Append(AppendError::Conflict { expected, current }) => (Some(*expected), Some(*current)),
            Failure::Append(AppendError::AlreadyExists { current }) => (Some(Order::FIRST), Some(*current)),
            // No current order: it would be 0, and an Add at 0 is never right.
            Failure::Append(AppendError::NoSuchAggregate { expected, .. }) => (*expected, None),
            _ => (None, None),
        }
    }

    fn sizes(&self) -> (Option<u64>, Option<u64>) {
        match self {
            Failure::ReplyTooLarge { bytes, bytes_max }
            | Failure::Append(AppendError::TooLarge { bytes, bytes_max }) => (Some(*bytes), Some(*bytes_max)),
            _ => (None, None),
        }
    }
}

fn not_now(unready: &Unready) -> Words {
    match unready {
        Unready::CatchingUp { .. } => {
            unavailable(Reason::CatchingUp, "the topic is still being read: try again")
        }
        Unready::Lagging { .. } => {
            unavailable(Reason::Lagging, "reading falls behind: try again, or another instance")
        }
        Unready::LogDown { .. } => unavailable(Reason::LogDown, "appends go on when the log is back"),
        Unready::Stalled { .. } => unavailable(Reason::Stalled, "it goes on when the transaction ends"),
        Unready::Degraded { .. } => unavailable(Reason::Degraded, "see the server's log for what to do"),
        Unready::Store { .. } => {
            unavailable(Reason::StoreUnavailable, "it recovers when there is space: try again")
        }
        Unready::Unverified { .. } => {
            unavailable(Reason::Unverified, "another instance may know better: try again, or there")
        }
        Unready::Overloaded { .. } => unavailable(Reason::Overloaded, "wait, then try again"),
        Unready::NoRoom { .. } => {
            unavailable(Reason::Overloaded, "it was not sent: wait, then try again, with a later deadline")
        }
        Unready::ShuttingDown => unavailable(Reason::ShuttingDown, "try again, or another instance"),
    }
}

impl std::fmt::Display for Failure {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Failure::EmptyKey => f.write_str("the key is empty"),
            Failure::Invalid { field, why } => write!(f, "{field} {why}"),
            Failure::ReplyTooLarge { bytes, bytes_max } => {
                write!(f, "a reply of at least {bytes} bytes exceeds the limit of {bytes_max}")
            }
            Failure::NotRepresentable { what, number } => {
                write!(f, "{what} {number} does not fit this contract")
            }
            Failure::TooManyRequests { requests_max } => {
                write!(f, "{requests_max} requests are being worked on already")
            }
            Failure::TooManyBytes { bytes_max } => {
                write!(
                    f,
                    "requests may hold {bytes_max} bytes while they are worked on, and this one does not fit beside others"
                )
            }
            Failure::UnreadReplies { bytes } => {
                write!(f, "too many replies are not taken yet to make one of {bytes} bytes")
            }
            Failure::Split { partitions } => {
                let named: Vec<String> = partitions.iter().map(ToString::to_string).collect();
                let named = named.join(", ");
                write!(
                    f,
                    "the aggregate is split over partitions {named}: its events have no order over all of them"
                )
            }
            Failure::NotOpen => f.write_str("the server is starting"),
            Failure::Standby => {
                f.write_str("this instance is a standby: it keeps its store current and serves no calls")
            }
            Failure::Append(error) => error.fmt(f),
            Failure::Read(error) => error.fmt(f),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use bkes_core::Key;
    use bkes_core::evidence::Evidence;

    fn wire(error: AppendError) -> (Type, Reason, Outcome) {
        let wire = Failure::Append(error).to_wire();
        (wire.r#type(), wire.reason(), wire.outcome())
    }

    /// The original typed an order mismatch as a mistake of the caller, so that nobody could tell the two apart.
    #[test]
    fn every_order_mismatch_is_concurrency_and_names_both_orders() {
        let (expected, current) = (Order(3), Order(5));
        let mismatch = Failure::Append(AppendError::Conflict { expected, current }).to_wire();
        assert_eq!((mismatch.r#type(), mismatch.reason()), (Type::Concurrency, Reason::Conflict));
        assert_eq!((mismatch.expected_order, mismatch.current_order), (Some(3), Some(5)));
        let exists = wire(AppendError::AlreadyExists { current });
        assert_eq!(exists, (Type::Concurrency, Reason::AlreadyExists, Outcome::Rejected));
    }

    #[test]
    fn the_outcome_of_each_class_is_told_apart() {
        let key = Key::new("key").expect("not empty");
        let unknown = wire(AppendError::NoSuchAggregate { key, expected: Some(Order(1)) });
        assert_eq!(unknown, (Type::User, Reason::NoSuchAggregate, Outcome::Rejected));
        let cut = wire(AppendError::Cut { partition: Partition(0) });
        assert_eq!(cut, (Type::Server, Reason::Cut, Outcome::Rejected));
        let evidence = Evidence { keys: 4, foreign: 4, fits: [2, 2, 1], partitions: 2 };
        let unplaced = wire(AppendError::PartitionerUnknown { evidence });
        assert_eq!(unplaced, (Type::Server, Reason::PartitionerUnknown, Outcome::Rejected));
        let existing_only = wire(AppendError::ExistingOnly);
        assert_eq!(existing_only, (Type::Server, Reason::ExistingOnly, Outcome::Rejected));
        let bad_headers = [
            AppendError::ReservedHeader { name: "order".into() },
            AppendError::TooManyHeaders { count: 1_001, count_max: 1_000 },
            AppendError::LongHeaderName { bytes: 65_536, bytes_max: 65_535 },
        ];
        for error in bad_headers {
            assert_eq!(wire(error), (Type::User, Reason::InvalidRequest, Outcome::Rejected));
        }
        let stopping = wire(AppendError::Unavailable(Unready::ShuttingDown));
        assert_eq!(stopping, (Type::Server, Reason::ShuttingDown, Outcome::Unavailable));
        let lost = wire(AppendError::Unknown { detail: String::new() });
        assert_eq!(lost, (Type::Server, Reason::OutcomeUnknown, Outcome::Unknown));
    }
}
