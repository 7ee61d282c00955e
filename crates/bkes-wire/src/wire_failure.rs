//! A failure as both carriers have it, a status and a message of a stream: code, reason, words, numbers, and when to try again.

use crate::hex;
use crate::limits::{FIELD_BYTES_MAX, MESSAGE_COST_MAX};
use bkes_api::{
    AppendFailure, AppendId, Conflict, Detail, ErrorClass, Expected, Failure, Offset, Order, Partition,
    Reason,
};
use std::collections::HashMap;
use std::time::Duration;
use tonic::Code;

/// What goes over the wire of a failure.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct WireFailure {
    pub code: Code,
    pub reason: String,
    pub message: String,
    pub metadata: HashMap<String, String>,
    pub retry_after: Option<Duration>,
}

/// The gRPC code of a reason, by the table at the head of the contract.
pub fn code(reason: Reason) -> Code {
    match reason {
        Reason::EmptyKey | Reason::InvalidRequest | Reason::TooLarge => Code::InvalidArgument,
        Reason::Conflict | Reason::PredecessorFailed => Code::Aborted,
        Reason::AlreadyExists | Reason::AppendIdUsed | Reason::AppendIdReused => Code::AlreadyExists,
        Reason::NoSuchAggregate | Reason::NoSuchGroup => Code::NotFound,
        Reason::OutOfRange => Code::OutOfRange,
        Reason::Unauthenticated => Code::Unauthenticated,
        Reason::PermissionDenied => Code::PermissionDenied,
        Reason::Unsupported => Code::Unimplemented,
        Reason::Overloaded | Reason::ReaderTooSlow => Code::ResourceExhausted,
        Reason::NotSent | Reason::DeadlineExceeded => Code::DeadlineExceeded,
        Reason::Internal => Code::Internal,
        other => match other.class() {
            ErrorClass::Rejected => Code::FailedPrecondition,
            ErrorClass::Unavailable => Code::Unavailable,
            ErrorClass::Unknown => Code::Unknown,
        },
    }
}

/// What is concluded of a reason that this program does not know, by the code that came with it.
fn reason_of(code: Code) -> Reason {
    match code {
        Code::InvalidArgument => Reason::InvalidRequest,
        Code::OutOfRange => Reason::OutOfRange,
        Code::Unauthenticated => Reason::Unauthenticated,
        Code::PermissionDenied => Reason::PermissionDenied,
        // Refused, for a cause that has no name here.
        Code::Aborted
        | Code::AlreadyExists
        | Code::NotFound
        | Code::FailedPrecondition
        | Code::Unimplemented => Reason::Unsupported,
        Code::Unavailable => Reason::Unreachable,
        Code::ResourceExhausted => Reason::Overloaded,
        Code::DeadlineExceeded => Reason::DeadlineExceeded,
        Code::Unknown => Reason::OutcomeUnknown,
        Code::Ok | Code::Cancelled | Code::Internal | Code::DataLoss => Reason::Internal,
    }
}

impl WireFailure {
    fn new(reason: Reason, message: &str) -> WireFailure {
        WireFailure {
            code: code(reason),
            reason: reason.name().to_owned(),
            message: cut(message).to_owned(),
            metadata: HashMap::new(),
            retry_after: None,
        }
    }

    fn with(mut self, name: &str, value: impl ToString) -> WireFailure {
        self.metadata.insert(name.to_owned(), value.to_string());
        self
    }

    fn number<T>(&self, name: &str, newtype: fn(u64) -> T) -> Option<T> {
        self.metadata.get(name)?.parse().ok().map(newtype)
    }

    /// The failure of any call but an append.
    pub fn failure(self) -> Failure {
        let known = Reason::of_name(&self.reason);
        let reason = known.unwrap_or_else(|| reason_of(self.code));
        let detail = match reason {
            Reason::InvalidRequest | Reason::EmptyKey => {
                self.metadata.get("field").cloned().map(Detail::Field)
            }
            Reason::TooLarge => {
                let sizes = self.number("size_bytes", |n| n).zip(self.number("limit_bytes", |n| n));
                sizes.map(|(bytes, bytes_max)| Detail::Size { bytes, bytes_max })
            }
            Reason::AppendIdWindow => self.number("from_order", Order).map(Detail::LookedFrom),
            _ => None,
        };
        let WireFailure { message, retry_after, .. } = self;
        let message = if known.is_some() { message } else { format!("{message} ({})", self.reason) };
        Failure { reason, message, retry_after, detail }
    }

    /// The failure of an append that has this id.
    pub fn append_failure(self, id: Option<AppendId>) -> AppendFailure {
        let whole = match Reason::of_name(&self.reason) {
            Some(Reason::Conflict | Reason::AlreadyExists) => self.conflict(),
            Some(Reason::AppendIdUsed) => self.id_used(id.clone()),
            Some(Reason::AppendIdReused) => self.id_reused(id.clone()),
            _ => None,
        };
        whole.unwrap_or_else(|| {
            let failure = self.failure();
            match failure.class() {
                ErrorClass::Unknown => AppendFailure::Unknown { id, failure },
                ErrorClass::Rejected | ErrorClass::Unavailable => AppendFailure::NotStored(failure),
            }
        })
    }

    fn conflict(&self) -> Option<AppendFailure> {
        let current = self.number("current_order", Order)?;
        let expected = match Reason::of_name(&self.reason)? {
            Reason::AlreadyExists => Expected::New,
            _ => Expected::At(self.number("expected_order", Order)?),
        };
        let more = current > expected.order().unwrap_or(Order::FIRST);
        Some(AppendFailure::Conflict(Box::new(Conflict { expected, current, missing: Vec::new(), more })))
    }

    fn id_used(&self, id: Option<AppendId>) -> Option<AppendFailure> {
        Some(AppendFailure::IdUsed {
            id: id.or_else(|| self.append_id())?,
            first: self.number("first_order", Order)?,
            partition: Partition(self.metadata.get("partition")?.parse().ok()?),
            offset: self.number("offset", Offset)?,
        })
    }

    fn id_reused(&self, id: Option<AppendId>) -> Option<AppendFailure> {
        let first = self.number("first_order", Order)?;
        Some(AppendFailure::IdReused { id: id.or_else(|| self.append_id())?, first })
    }

    fn append_id(&self) -> Option<AppendId> {
        AppendId::new(hex::decode(self.metadata.get("append_id")?)?)
    }
}

impl From<&Failure> for WireFailure {
    fn from(failure: &Failure) -> WireFailure {
        let Failure { reason, message, retry_after, detail } = failure;
        let told = WireFailure { retry_after: *retry_after, ..WireFailure::new(*reason, message) };
        match detail {
            Some(Detail::Field(field)) => told.with("field", at_most(field, FIELD_BYTES_MAX)),
            Some(Detail::Size { bytes, bytes_max }) => {
                told.with("size_bytes", bytes).with("limit_bytes", bytes_max)
            }
            Some(Detail::LookedFrom(order)) => told.with("from_order", order),
            _ => told,
        }
    }
}

impl From<&AppendFailure> for WireFailure {
    fn from(failure: &AppendFailure) -> WireFailure {
        let told = WireFailure::new(failure.reason(), &failure.to_string());
        match failure {
            AppendFailure::Conflict(conflict) => {
                let expected = conflict.expected.order().unwrap_or(Order::FIRST);
                let told = if conflict.expected == Expected::New {
                    told
                } else {
                    told.with("expected_order", expected)
                };
                told.with("current_order", conflict.current)
            }
            AppendFailure::IdUsed { id, first, partition, offset } => told
                .with("append_id", hex::encode(id.bytes()))
                .with("first_order", first)
                .with("partition", partition)
                .with("offset", offset),
            AppendFailure::IdReused { id, first } => {
                told.with("append_id", hex::encode(id.bytes())).with("first_order", first)
            }
            AppendFailure::NotStored(failure) => WireFailure::from(failure),
            AppendFailure::Unknown { id, failure } => {
                let told = unknown(failure);
                match id {
                    Some(id) => told.with("append_id", hex::encode(id.bytes())),
                    None => told,
                }
            }
        }
    }
}

/// Of an append whose outcome is unknown, whatever its last try ended with: that reason may say that nothing was stored, of that try.
fn unknown(failure: &Failure) -> WireFailure {
    let told = WireFailure::from(failure);
    if failure.class() == ErrorClass::Unknown {
        return told;
    }
    let reason = Reason::OutcomeUnknown;
    WireFailure { code: code(reason), reason: reason.name().to_owned(), ..told }
}

/// As much of a message as a status has room for, and whole characters.
pub fn cut(message: &str) -> &str {
    let mut cost_thirds = 0;
    for (at, character) in message.char_indices() {
        let encoded: usize = match character {
            '"' | '#' | '%' | '<' | '>' | '`' | '?' | '{' | '}' => 3,
            character if character.is_ascii_graphic() => 1,
            character => 3 * character.len_utf8(),
        };
        cost_thirds += 3 * encoded + 4 * character.len_utf8();
        if cost_thirds > 3 * MESSAGE_COST_MAX {
            return &message[..at];
        }
    }
    message
}

/// The beginning of a text that has so many bytes at most, in whole characters.
pub fn at_most(text: &str, bytes_max: usize) -> &str {
    let mut end = text.len().min(bytes_max);
    while !text.is_char_boundary(end) {
        end -= 1;
    }
    &text[..end]
}
