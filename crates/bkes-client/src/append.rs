//! Appends, one at a time.

use crate::client::Client;
use crate::limits::ANSWER_GRACE;
use crate::span::{EMPTY, traced};
use bkes_api::{Append, AppendFailure, AppendId, Appended, Failure, Order, Reason, append_with_retries};
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
        let sent = Sent::of(&append);
        let request = self.request(to_wire::append(append), Some(timeout));
        if timeout.is_zero() {
            let over = Failure::new(Reason::NotSent, "its time was over before it was sent");
            return Err(AppendFailure::NotStored(over));
        }
        let (at, mut wire) = self.instances.current();
        // The library's clock for the deadline begins when there is a connection.
        let called = tokio::time::timeout(timeout.saturating_add(ANSWER_GRACE), wire.append(request)).await;
        let mut is_timed_out = false;
        let answer = match called {
            Ok(Ok(reply)) => answer(reply.into_inner(), sent),
            Ok(Err(told)) => {
                is_timed_out = status::is_timed_out(&told);
                Err(status::append_failure(&told, sent.id))
            }
            Err(_) => {
                is_timed_out = true;
                let failure = Failure::new(Reason::AnswerLost, format!("no answer came within {timeout:?}"));
                Err(AppendFailure::Unknown { id: sent.id, failure })
            }
        };
        // That the caller waits no longer says nothing of the instance.
        if let Err(failure) = &answer
            && !is_timed_out
        {
            self.instances.leave(at, failure.reason());
        }
        answer
    }
}

/// What a server was asked to store, as far as its answer can be held against it.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) struct Sent {
    pub id: Option<AppendId>,
    /// How many events it has.
    events: u64,
    /// The order that its first event was to take, if it names one.
    first: Option<Order>,
}

impl Sent {
    pub fn of(append: &Append) -> Sent {
        let (id, events) = (append.append_id().cloned(), append.events.len() as u64);
        Sent { id, events, first: append.expected.order() }
    }

    /// An answer to it. That something else is stored makes no sense, and leaves the append unknown.
    pub fn check(self, answer: Result<Appended, AppendFailure>) -> Result<Appended, AppendFailure> {
        let Appended { first, last, .. } = answer.as_ref().map_err(Clone::clone)?;
        let is_its_own = last.0.checked_sub(first.0) == self.events.checked_sub(1);
        if is_its_own && self.first.is_none_or(|named| named == *first) {
            return answer;
        }
        let asked = self.first.map_or_else(String::new, |first| format!(" from order {first} on"));
        let why = format!("says {first} to {last}, where {} events were to be stored{asked}", self.events);
        Err(AppendFailure::Unknown { id: self.id, failure: BadField::new("stored", why).in_answer() })
    }
}

/// What a reply says. One that makes no sense leaves the append unknown.
fn answer(reply: v2::AppendReply, sent: Sent) -> Result<Appended, AppendFailure> {
    let id = sent.id.clone();
    let unknown = |bad: BadField| AppendFailure::Unknown { id, failure: bad.in_answer() };
    match reply.outcome {
        Some(Outcome::Stored(stored)) => sent.check(from_wire::appended(stored).map_err(unknown)),
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
    use bkes_api::{ErrorClass, Expected, Key};

    fn stored(first_order: u64, last_order: u64) -> v2::AppendReply {
        let stored = v2::Stored { first_order, last_order, ..v2::Stored::default() };
        v2::AppendReply { outcome: Some(Outcome::Stored(stored)) }
    }

    fn append(expected: Expected) -> Append {
        let key = Key::new("k").expect("it has bytes");
        Append::new(key, expected).events(["a", "b"]).id(AppendId::new("id").expect("it has bytes"))
    }

    #[test]
    fn a_reply_that_makes_no_sense_leaves_the_append_unknown() {
        let nowhere = v2::Stored { partition: -1, last_order: 1, ..v2::Stored::default() };
        let nonsense = [
            (Expected::Any, v2::AppendReply { outcome: None }),
            (Expected::Any, v2::AppendReply { outcome: Some(Outcome::Stored(nowhere)) }),
            // One event too few, one too many, and elsewhere.
            (Expected::Any, stored(4, 4)),
            (Expected::Any, stored(4, 6)),
            (Expected::At(Order(5)), stored(4, 5)),
            (Expected::New, stored(1, 2)),
        ];
        for (expected, reply) in nonsense {
            let failure = answer(reply, Sent::of(&append(expected))).expect_err("it says nothing");
            assert_eq!((failure.class(), failure.reason()), (ErrorClass::Unknown, Reason::Internal));
            assert!(matches!(failure, AppendFailure::Unknown { id: Some(_), .. }));
        }
        for (expected, reply) in [
            (Expected::Any, stored(4, 5)),
            (Expected::At(Order(5)), stored(5, 6)),
            (Expected::New, stored(0, 1)),
        ] {
            assert!(answer(reply, Sent::of(&append(expected))).is_ok());
        }
    }
}
