//! Failures as gRPC statuses, and statuses as failures: the one map between them, both ways.
//!
//! Ours carry a `google.rpc.ErrorInfo` of the domain `bkes`. Whatever carries none is from a proxy or a transport, and knows nothing of what
//! became of an append. The table stands at the head of `proto/bkes/v2/event_store.proto`.

use crate::limits::{FIELD_BYTES_MAX, RETRY_AFTER_MAX};
use crate::v2;
use crate::wire_failure::{WireFailure, at_most, cut};
use bkes_api::{AppendFailure, AppendId, Failure, Reason};
use std::time::Duration;
use tonic::{Code, ConnectError, Status, TimeoutExpired};
use tonic_types::{ErrorDetails, StatusExt};

/// The domain of our reasons.
const DOMAIN: &str = "bkes";

/// The metadata in which whoever cannot read an encoding says what it can read.
const ACCEPTED_ENCODINGS: &str = "grpc-accept-encoding";

/// The status that a call ends with.
pub fn of(failure: &Failure) -> Status {
    to_status(WireFailure::from(failure))
}

/// The status that an append ends with.
pub fn of_append(failure: &AppendFailure) -> Status {
    to_status(WireFailure::from(failure))
}

/// The failure of a call that ended with this status, appends aside.
pub fn failure(status: &Status) -> Failure {
    match from_status(status) {
        Some(told) => told.failure(),
        None if is_unknown_call(status) => Failure::new(Reason::Unsupported, status.message()),
        None => Failure::new(Reason::Unreachable, in_words(status)),
    }
}

/// The failure of an append with this id that ended with this status.
pub fn append_failure(status: &Status, id: Option<AppendId>) -> AppendFailure {
    match from_status(status) {
        Some(told) => told.append_failure(id),
        None if is_unknown_call(status) => {
            AppendFailure::NotStored(Failure::new(Reason::Unsupported, status.message()))
        }
        None if is_unsent(status) => {
            AppendFailure::NotStored(Failure::new(Reason::Unreachable, in_words(status)))
        }
        None => AppendFailure::Unknown { id, failure: Failure::new(Reason::AnswerLost, in_words(status)) },
    }
}

/// Whether a status was made by the event store, and not by anything on the way.
pub fn is_ours(status: &Status) -> bool {
    from_status(status).is_some()
}

/// Whether the server, or a proxy that routes by name, has no such call. An answer that is compressed in a way that we do not know is
/// given this code by our own library, which says beside it what we do know: the call was made.
fn is_unknown_call(status: &Status) -> bool {
    status.code() == Code::Unimplemented && !status.metadata().contains_key(ACCEPTED_ENCODINGS)
}

/// Whether there was no connection to send anything on. No peer can claim that: the source is local.
fn is_unsent(status: &Status) -> bool {
    comes_from::<ConnectError>(status)
}

/// Whether the caller's own clock ended the call. That says nothing of the server.
pub fn is_timed_out(status: &Status) -> bool {
    comes_from::<TimeoutExpired>(status)
}

fn comes_from<E: std::error::Error + 'static>(status: &Status) -> bool {
    let mut source = std::error::Error::source(status);
    while let Some(error) = source {
        if error.is::<E>() {
            return true;
        }
        source = error.source();
    }
    false
}

/// A status of somebody else, for people.
fn in_words(status: &Status) -> String {
    format!("{:?}: {}", status.code(), status.message())
}

/// The failure as a message of a stream.
pub fn to_message(failure: &Failure) -> v2::Failure {
    to_wire(WireFailure::from(failure))
}

/// The append's failure as a message of a stream.
pub fn append_to_message(failure: &AppendFailure) -> v2::Failure {
    to_wire(WireFailure::from(failure))
}

/// The failure that came in a message.
pub fn from_message(message: v2::Failure) -> Failure {
    from_wire(message).failure()
}

/// The failure of an append with this id that came in a message.
pub fn append_from_message(message: v2::Failure, id: Option<AppendId>) -> AppendFailure {
    from_wire(message).append_failure(id)
}

fn to_wire(told: WireFailure) -> v2::Failure {
    let WireFailure { code, reason, message, metadata, retry_after } = told;
    let retry_after_ms = retry_after.map(|rest| u32::try_from(rest.as_millis()).unwrap_or(u32::MAX));
    v2::Failure { code: code.into(), reason, message, metadata, retry_after_ms }
}

fn from_wire(message: v2::Failure) -> WireFailure {
    let v2::Failure { code, reason, message, metadata, retry_after_ms } = message;
    let retry_after = retry_after_ms.map(|ms| Duration::from_millis(ms.into()).min(RETRY_AFTER_MAX));
    WireFailure { code: Code::from_i32(code), reason, message, metadata, retry_after }
}

fn to_status(told: WireFailure) -> Status {
    let WireFailure { code, reason, message, metadata, retry_after } = told;
    let mut details = ErrorDetails::new();
    if let Some(field) = metadata.get("field").filter(|_| code == Code::InvalidArgument) {
        // It says in its own words what the message says.
        let why = message.strip_prefix(field.as_str()).unwrap_or(&message).trim_start();
        details.add_bad_request_violation(field.as_str(), at_most(why, FIELD_BYTES_MAX));
    }
    if retry_after.is_some() {
        details.set_retry_info(retry_after);
    }
    details.set_error_info(reason, DOMAIN, metadata);
    Status::with_error_details(code, cut(&message), details)
}

fn from_status(status: &Status) -> Option<WireFailure> {
    if status.details().is_empty() {
        return None;
    }
    // Details that cannot be read are not ours.
    let details = status.check_error_details().ok()?;
    let info = details.error_info().filter(|info| info.domain == DOMAIN)?;
    Some(WireFailure {
        code: status.code(),
        reason: info.reason.clone(),
        message: status.message().to_owned(),
        metadata: info.metadata.clone(),
        retry_after: details
            .retry_info()
            .and_then(|info| info.retry_delay)
            .map(|rest| rest.min(RETRY_AFTER_MAX)),
    })
}

#[cfg(test)]
mod tests;
