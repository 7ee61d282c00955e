//! The span of a call: how it ended, in one word, and nothing of what it carries.

use bkes_api::{AppendFailure, Failure};
use tracing::{Instrument, Span, field};

/// The outcome in the span of a call that has not ended.
pub const EMPTY: field::Empty = field::Empty;

/// How a call ended, for its span.
pub trait Outcome {
    /// In one word.
    fn name(&self) -> &'static str;
}

impl<T> Outcome for Result<T, Failure> {
    fn name(&self) -> &'static str {
        self.as_ref().map_or_else(|failure| failure.reason.name(), |_| "OK")
    }
}

impl<T> Outcome for Result<T, AppendFailure> {
    fn name(&self) -> &'static str {
        self.as_ref().map_or_else(|failure| failure.reason().name(), |_| "OK")
    }
}

/// Runs a call in its span, which hears how it ended.
pub async fn traced<O: Outcome>(span: Span, call: impl Future<Output = O>) -> O {
    let ended = call.instrument(span.clone()).await;
    span.record("outcome", ended.name());
    ended
}
