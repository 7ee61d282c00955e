//! Why a call has no answer: for programs by class and reason, for people in words.

use bkes_core::Order;
use bkes_core::append::ErrorClass;
use std::fmt;
use std::time::Duration;

/// Why a call has no answer.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
#[error("{message}")]
pub struct Failure {
    /// The cause, for programs.
    pub reason: Reason,
    /// What went wrong and what to do, for people. Do not parse it.
    pub message: String,
    /// How long to rest before another try, if the store said so.
    pub retry_after: Option<Duration>,
    /// What the message is about, for programs, if the reason has such a thing.
    pub detail: Option<Detail>,
}

/// What a failure is about, for programs.
#[derive(Clone, PartialEq, Eq, Debug)]
#[non_exhaustive]
pub enum Detail {
    /// With [`Reason::InvalidRequest`]: the field that makes no sense, `events[3].headers` say.
    Field(String),
    /// With [`Reason::TooLarge`]: how large it is, and how large it may be.
    Size {
        /// What it has.
        bytes: u64,
        /// What it may have.
        bytes_max: u64,
    },
    /// With [`Reason::AppendIdWindow`]: the id was looked for from this order on.
    LookedFrom(Order),
}

impl Failure {
    /// A failure without detail, and without advice on when to try again.
    pub fn new(reason: Reason, message: impl Into<String>) -> Failure {
        Failure { reason, message: message.into(), retry_after: None, detail: None }
    }

    /// With advice on when to try again.
    #[must_use]
    pub fn after(self, rest: Duration) -> Failure {
        Failure { retry_after: Some(rest), ..self }
    }

    /// With what it is about.
    #[must_use]
    pub fn about(self, detail: Detail) -> Failure {
        Failure { detail: Some(detail), ..self }
    }

    /// What the caller may conclude.
    pub fn class(&self) -> ErrorClass {
        self.reason.class()
    }
}

macro_rules! reasons {
    ($($(#[$doc:meta])* $name:ident $text:literal $class:ident),* $(,)?) => {
        /// The cause of a failure, for programs. New ones may come: go by the [`class`](Reason::class) of one you do not know.
        #[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
        #[non_exhaustive]
        pub enum Reason {
            $($(#[$doc])* $name),*
        }

        impl Reason {
            /// All there are.
            pub const ALL: &[Reason] = &[$(Reason::$name),*];

            /// What may be concluded.
            pub fn class(self) -> ErrorClass {
                match self {
                    $(Reason::$name => ErrorClass::$class),*
                }
            }

            /// Its name on the wire.
            pub fn name(self) -> &'static str {
                match self {
                    $(Reason::$name => $text),*
                }
            }

            /// The reason of this name.
            pub fn of_name(name: &str) -> Option<Reason> {
                Reason::ALL.iter().copied().find(|reason| reason.name() == name)
            }
        }
    };
}

reasons! {
    /// The key has no bytes.
    EmptyKey "EMPTY_KEY" Rejected,
    /// A field has a value that makes no sense; the message names it.
    InvalidRequest "INVALID_REQUEST" Rejected,
    /// Key, value, headers and what BKES adds exceed what the topic takes, or the events what one append may have.
    TooLarge "TOO_LARGE" Rejected,
    /// There is no such aggregate.
    NoSuchAggregate "NO_SUCH_AGGREGATE" Rejected,
    /// Another append was faster, or the caller is ahead of what is stored.
    Conflict "CONFLICT" Rejected,
    /// The aggregate exists, and was to begin.
    AlreadyExists "ALREADY_EXISTS" Rejected,
    /// An append with this id is stored at another order.
    AppendIdUsed "APPEND_ID_USED" Rejected,
    /// An append of other content has this id.
    AppendIdReused "APPEND_ID_REUSED" Rejected,
    /// The append of the same key before it in the stream was not stored.
    PredecessorFailed "PREDECESSOR_FAILED" Rejected,
    /// A position lies above what the log holds, or below what it still has.
    OutOfRange "OUT_OF_RANGE" Rejected,
    /// Positions are of another topic than this one.
    ForeignPositions "FOREIGN_POSITIONS" Rejected,
    /// The consumer group has committed nothing in this topic.
    NoSuchGroup "NO_SUCH_GROUP" Rejected,
    /// The key was found in several partitions.
    Split "SPLIT" Rejected,
    /// The head of the partition was removed from the topic.
    Cut "CUT" Rejected,
    /// It cannot be told how the topic's other writers place keys, and the key is new.
    PartitionerUnknown "PARTITIONER_UNKNOWN" Rejected,
    /// The instance serves existing keys only, and the key is new.
    ExistingOnly "EXISTING_ONLY" Rejected,
    /// The implementation does not know the call.
    Unsupported "UNSUPPORTED" Rejected,
    /// Who calls is not known.
    Unauthenticated "UNAUTHENTICATED" Rejected,
    /// Who calls may not do that.
    PermissionDenied "PERMISSION_DENIED" Rejected,

    /// The instance has not read the topic to its end yet.
    CatchingUp "CATCHING_UP" Unavailable,
    /// The instance falls behind the topic.
    Lagging "LAGGING" Unavailable,
    /// The log cannot be reached.
    LogDown "LOG_DOWN" Unavailable,
    /// A transaction of another producer is open in the partition.
    Stalled "STALLED" Unavailable,
    /// The partition cannot be served.
    Degraded "DEGRADED" Unavailable,
    /// The local store cannot be written or read.
    StoreUnavailable "STORE_UNAVAILABLE" Unavailable,
    /// Too much at once.
    Overloaded "OVERLOADED" Unavailable,
    /// The instance stops.
    ShuttingDown "SHUTTING_DOWN" Unavailable,
    /// The append did not get into the topic, and that is proven.
    NotStored "NOT_STORED" Unavailable,
    /// A standby instance.
    Standby "STANDBY" Unavailable,
    /// Whether another instance knows better could not be found out.
    Unverified "UNVERIFIED" Unavailable,
    /// The time was over before the append was sent.
    NotSent "NOT_SENT" Unavailable,
    /// What was waited for did not come in time.
    DeadlineExceeded "DEADLINE_EXCEEDED" Unavailable,
    /// The reader did not take what was sent, for too long.
    ReaderTooSlow "READER_TOO_SLOW" Unavailable,
    /// The server cannot be reached, or the connection was lost. Of an append: before it was sent.
    Unreachable "UNREACHABLE" Unavailable,

    /// The log gave no answer in time.
    OutcomeUnknown "OUTCOME_UNKNOWN" Unknown,
    /// An earlier try may lie below what is looked at for an id.
    AppendIdWindow "APPEND_ID_WINDOW" Unknown,
    /// The answer was lost on its way: the connection ended, or a proxy answered.
    AnswerLost "ANSWER_LOST" Unknown,
    /// A fault in the server.
    Internal "INTERNAL" Unknown,
}

impl fmt::Display for Reason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}
