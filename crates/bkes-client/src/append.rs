//! Appends, one at a time.

use crate::client::Client;
use crate::limits::ANSWER_GRACE;
use crate::span::{EMPTY, traced};
use bkes_api::{Append, AppendFailure, AppendId, Appended, Failure, Reason, append_with_retries};
use bkes_wire::v2::append_reply::Outcome;
use bkes_wire::{BadField, from_wire, status, to_wire, v2};
use tracing::debug_span;

impl Client {
    /// Tries an append once, and says what this try came to. What it says of *rejected* and *unavailable* is said of this try: an earlier
    /// one with the same id, whose outcome is unknown, may be stored all the same.
    pub async fn try_append(&self, append: Append) -> Result<Appended, AppendFailure> {
        let (key_bytes, events) = (append.key.bytes().len(), append.events.len());
        let span = debug_span!("append", key_bytes, events, outcome = EMPTY);
        traced(span, self.send(append)).await
    }

    /// The append of the trait: tries until it is settled, or its time is over.
    pub(crate) async fn append_until_answered(&self, append: Append) -> Result<Appended, AppendFailure> {
        let timeout = append.timeout.unwrap_or(self.options.append_timeout);
        let append = append.within(timeout);
        let try_once = |append| self.try_append(append);
        append_with_retries(append, &self.options.retry, &self.budget, try_once).await
    }

    async fn send(&self, append: Append) -> Result<Appended, AppendFailure> {
        let timeout = append.timeout.unwrap_or(self.options.append_timeout);
        let id = append.append_id().cloned();
        let request = self.request(to_wire::append(append), Some(timeout));
        if timeout.is_zero() {
            let over = Failure::new(Reason::NotSent, "its time was over before it was sent");
            return Err(AppendFailure::NotStored(over));
        }
        let (at, mut wire) = self.instances.current();
        // The library watches over the deadline as well; it begins with the call, not with the connection.
        let called = tokio::time::timeout(timeout.saturating_add(ANSWER_GRACE), wire.append(request)).await;
        let answer = match called {
            Ok(Ok(reply)) => answer(reply.into_inner(), id),
            Ok(Err(told)) => Err(status::append_failure(&told, id)),
            Err(_) => {
                let failure = Failure::new(Reason::AnswerLost, format!("no answer came within {timeout:?}"));
                Err(AppendFailure::Unknown { id, failure })
            }
        };
        if let Err(failure) = &answer {
            self.instances.leave(at, failure.reason());
        }
        answer
    }
}

/// What a reply says. One that makes no sense leaves the append unknown.
fn answer(reply: v2::AppendReply, id: Option<AppendId>) -> Result<Appended, AppendFailure> {
    let unknown = |bad: BadField| AppendFailure::Unknown { id, failure: bad.in_answer() };
    match reply.outcome {
        Some(Outcome::Stored(stored)) => from_wire::appended(stored).map_err(unknown),
        Some(Outcome::Conflict(conflict)) => {
            let conflict = from_wire::conflict(conflict).map_err(unknown)?;
            Err(AppendFailure::Conflict(Box::new(conflict)))
        }
        None => Err(unknown(BadField::new("outcome", "is not set"))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use bkes_api::ErrorClass;

    #[test]
    fn a_reply_that_makes_no_sense_leaves_the_append_unknown() {
        let stored = v2::Stored { partition: -1, ..v2::Stored::default() };
        let nonsense =
            [v2::AppendReply { outcome: None }, v2::AppendReply { outcome: Some(Outcome::Stored(stored)) }];
        let id = AppendId::new("id");
        for reply in nonsense {
            let failure = answer(reply, id.clone()).expect_err("it says nothing");
            assert_eq!(failure.class(), ErrorClass::Unknown);
            assert!(matches!(failure, AppendFailure::Unknown { id: Some(_), .. }));
        }
    }
}
