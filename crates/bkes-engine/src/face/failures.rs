//! Everything that can go wrong in the words of bkes-api: one match for each family of errors, without a wildcard.

use crate::api::ReadError;
use crate::limits::{RETRY_LATER, RETRY_SOON};
use bkes_api::{AppendFailure, AppendId, Conflict, Detail, Expected, Failure, Order, Reason};
use bkes_core::append::{AppendError, Unready};
use std::fmt;
use std::time::Duration;

/// What the failure of an append tells of it.
///
/// Its expectation is in the error where it matters.
#[derive(Clone, Debug)]
pub struct Tried {
    pub id: Option<AppendId>,
    /// How long its caller gave it, if that is what bounded its wait for room.
    pub timeout: Option<Duration>,
}

/// What the writer of an append is told that has no success. A conflict has no missing events yet.
pub fn of_append(error: AppendError, tried: &Tried) -> AppendFailure {
    let rejected = |reason, advice: &str| AppendFailure::NotStored(failure(reason, &error, advice));
    let invalid = |field, advice| AppendFailure::NotStored(in_field(field, format!("{error}: {advice}")));
    match error {
        AppendError::Conflict { expected, current } => conflict(Expected::At(expected), current),
        AppendError::AlreadyExists { current } => conflict(Expected::New, current),
        AppendError::NoSuchAggregate { expected: Some(expected), .. } => {
            conflict(Expected::At(expected), Order::FIRST)
        }
        AppendError::NoSuchAggregate { expected: None, .. } => {
            rejected(Reason::NoSuchAggregate, "begin the aggregate first")
        }
        AppendError::IdReused { id, first } => AppendFailure::IdReused { id, first },
        AppendError::IdUsed { id, first, partition, offset } => {
            AppendFailure::IdUsed { id, first, partition, offset }
        }
        AppendError::NeedsId => invalid("append_id", "give the append an id"),
        AppendError::BadCount { .. } => invalid("events", "change the number of events"),
        AppendError::ReservedHeader { .. } => invalid("events.headers", "give the header another name"),
        AppendError::TooManyHeaders { .. } => invalid("events.headers", "give the event fewer headers"),
        AppendError::LongHeaderName { .. } => invalid("events.headers", "give the header a shorter name"),
        AppendError::TooLarge { .. } => {
            rejected(Reason::TooLarge, "make it smaller, or raise the topic's max.message.bytes")
        }
        AppendError::Split { .. } => rejected(Reason::Split, "writers placed the key differently"),
        AppendError::Cut { .. } => rejected(Reason::Cut, "retention removed the head of the topic"),
        AppendError::PartitionerUnknown { .. } => {
            rejected(Reason::PartitionerUnknown, "existing keys are served")
        }
        AppendError::ExistingOnly => {
            rejected(Reason::ExistingOnly, "begin it on another instance; existing keys are served")
        }
        AppendError::Unavailable(unready) => AppendFailure::NotStored(match tried.timeout {
            Some(_) if matches!(unready, Unready::NoRoom { .. }) => not_sent(&unready),
            _ => of_unready(&unready),
        }),
        AppendError::NotStored { .. } => {
            let failure = failure(Reason::NotStored, &error, "that is proven: try again");
            AppendFailure::NotStored(failure.after(RETRY_SOON))
        }
        AppendError::Unknown { .. } => AppendFailure::Unknown {
            id: tried.id.clone(),
            failure: failure(Reason::OutcomeUnknown, &error, "it is stored once or not at all"),
        },
        AppendError::IdWindow { ref id, .. } => AppendFailure::Unknown {
            id: Some(id.clone()),
            failure: failure(Reason::AppendIdWindow, &error, "this try is not stored"),
        },
    }
}

/// What the writer of an append is told whose time was over before it was sent.
pub fn not_sent(why: &dyn fmt::Display) -> Failure {
    failure(Reason::NotSent, why, "try again, with more time")
}

/// Why a read has no answer.
pub fn of_read(error: ReadError) -> Failure {
    match error {
        ReadError::NoSuchAggregate { .. } => {
            failure(Reason::NoSuchAggregate, &error, "there are no events with this key")
        }
        ReadError::Split { .. } => failure(
            Reason::Split,
            &error,
            "an engine that goes by no headers shows it partition by partition",
        ),
        ReadError::Unavailable(unready) => of_unready(&unready),
        ReadError::Positions(error) => error.into(),
        ReadError::Damaged { .. } => {
            failure(Reason::StoreUnavailable, &error, "try again when it is rebuilt").after(RETRY_LATER)
        }
        ReadError::Store { .. } => failure(Reason::StoreUnavailable, &error, "try again").after(RETRY_LATER),
    }
}

/// Why nothing is served now.
pub fn of_unready(unready: &Unready) -> Failure {
    let soon = |reason, advice| failure(reason, unready, advice).after(RETRY_SOON);
    let later = |reason, advice| failure(reason, unready, advice).after(RETRY_LATER);
    match unready {
        Unready::CatchingUp { .. } => later(Reason::CatchingUp, "the topic is still being read: try again"),
        Unready::Lagging { .. } => {
            later(Reason::Lagging, "reading falls behind: try again, or another instance")
        }
        Unready::LogDown { .. } => later(Reason::LogDown, "appends go on when the log is back"),
        Unready::Stalled { .. } => later(Reason::Stalled, "it goes on when the transaction ends"),
        Unready::Degraded { .. } => later(Reason::Degraded, "see the log of the program for what to do"),
        Unready::Store { .. } => {
            later(Reason::StoreUnavailable, "it recovers when there is space: try again")
        }
        Unready::Unverified { .. } => {
            later(Reason::Unverified, "another instance may know better: try again, or there")
        }
        Unready::Overloaded { .. } | Unready::NoRoom { .. } => {
            soon(Reason::Overloaded, "wait, then try again")
        }
        Unready::ShuttingDown => later(Reason::ShuttingDown, "try again, or another instance"),
    }
}

fn conflict(expected: Expected, current: Order) -> AppendFailure {
    let more = expected.order().is_some_and(|expected| expected < current);
    AppendFailure::Conflict(Box::new(Conflict { expected, current, missing: Vec::new(), more }))
}

/// A field of a request that makes no sense.
pub(crate) fn in_field(field: &str, why: impl fmt::Display) -> Failure {
    Failure::new(Reason::InvalidRequest, format!("{field}: {why}")).about(Detail::Field(field.to_owned()))
}

/// What went wrong, and what to do.
pub fn failure(reason: Reason, error: &dyn fmt::Display, advice: &str) -> Failure {
    Failure::new(reason, format!("{error}: {advice}"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use bkes_api::ErrorClass;
    use bkes_core::append::Unit;
    use bkes_core::evidence::Evidence;
    use bkes_core::{Key, Offset, Partition, Position};

    fn tried(timeout: Option<Duration>) -> Tried {
        Tried { id: AppendId::new("id"), timeout }
    }

    fn key() -> Key {
        Key::new("key").expect("not empty")
    }

    fn unready() -> Vec<Unready> {
        let (queue, limit, unit, waited_ms) = ("a queue", 1, Unit::Appends, 1);
        let (partition, stable, high) = (Partition(0), Position(0), Position(1));
        vec![
            Unready::CatchingUp { applied: 0, target: None },
            Unready::Lagging { partition, lag_ms: 1 },
            Unready::LogDown { cause: "away".into() },
            Unready::Stalled { partition, stable, high },
            Unready::Degraded { partition, detail: "why".into() },
            Unready::Store { cause: "full".into() },
            Unready::Unverified { cause: "away".into() },
            Unready::Overloaded { queue, limit, unit },
            Unready::NoRoom { waited_ms, queue, limit, unit },
            Unready::ShuttingDown,
        ]
    }

    fn errors() -> Vec<AppendError> {
        let (id, first, current) = (AppendId::new("id").expect("short"), Order(1), Order(5));
        let evidence = Evidence { keys: 4, foreign: 4, fits: [2, 2, 1], partitions: 2 };
        let (partition, offset) = (Partition(0), Offset(7));
        let mut errors = vec![
            AppendError::Conflict { expected: Order(3), current },
            AppendError::AlreadyExists { current },
            AppendError::NoSuchAggregate { key: key(), expected: Some(Order(3)) },
            AppendError::NoSuchAggregate { key: key(), expected: None },
            AppendError::NeedsId,
            AppendError::IdReused { id: id.clone(), first },
            AppendError::IdUsed { id: id.clone(), first, partition, offset },
            AppendError::IdWindow { id, from: Order(9) },
            AppendError::BadCount { count: 0, count_max: 1_000 },
            AppendError::TooLarge { bytes: 2, bytes_max: 1 },
            AppendError::Split { partitions: vec![partition] },
            AppendError::Cut { partition },
            AppendError::PartitionerUnknown { evidence },
            AppendError::ReservedHeader { name: "order".into() },
            AppendError::TooManyHeaders { count: 2, count_max: 1 },
            AppendError::LongHeaderName { bytes: 2, bytes_max: 1 },
            AppendError::ExistingOnly,
            AppendError::NotStored { detail: "why".into() },
            AppendError::Unknown { detail: "why".into() },
        ];
        errors.extend(unready().into_iter().map(AppendError::Unavailable));
        errors
    }

    /// What may be concluded is what the engine says, whatever the words are.
    #[test]
    fn the_class_of_an_append_error_survives() {
        for timeout in [None, Some(Duration::ZERO)] {
            for error in errors() {
                let failure = of_append(error.clone(), &tried(timeout));
                assert_eq!(failure.class(), error.class(), "{error}");
                assert_eq!(failure.reason().class(), error.class(), "{error}");
            }
        }
    }

    #[test]
    fn what_makes_no_sense_names_its_field() {
        for error in errors() {
            let told = of_append(error.clone(), &tried(None));
            let is_named = matches!(
                &told,
                AppendFailure::NotStored(Failure { detail: Some(Detail::Field(field)), message, .. })
                    if message.starts_with(field)
            );
            assert_eq!(is_named, told.reason() == Reason::InvalidRequest, "{told:?}");
        }
    }

    #[test]
    fn an_order_of_an_aggregate_that_does_not_exist_is_a_conflict_at_the_first_order() {
        let error = AppendError::NoSuchAggregate { key: key(), expected: Some(Order(3)) };
        let AppendFailure::Conflict(conflict) = of_append(error, &tried(None)) else { panic!("a conflict") };
        let expected = Expected::At(Order(3));
        let missing = Vec::new();
        assert_eq!(*conflict, Conflict { expected, current: Order::FIRST, missing, more: false });
        let error = AppendError::NoSuchAggregate { key: key(), expected: None };
        assert_eq!(of_append(error, &tried(None)).reason(), Reason::NoSuchAggregate);
    }

    #[test]
    fn who_named_a_time_hears_that_it_was_not_sent_and_who_did_not_of_overload() {
        let no_room = || {
            let (queue, limit, unit, waited_ms) = ("a queue", 1, Unit::Appends, 1);
            AppendError::Unavailable(Unready::NoRoom { waited_ms, queue, limit, unit })
        };
        assert_eq!(of_append(no_room(), &tried(Some(Duration::ZERO))).reason(), Reason::NotSent);
        assert_eq!(of_append(no_room(), &tried(None)).reason(), Reason::Overloaded);
    }

    #[test]
    fn what_passes_by_itself_says_when_to_try_again() {
        for unready in unready() {
            let failure = of_unready(&unready);
            assert_eq!(failure.class(), ErrorClass::Unavailable, "{unready}");
            assert!(failure.retry_after.is_some_and(|rest| rest > Duration::ZERO), "{unready}");
            assert!(failure.message.contains(&unready.to_string()), "{failure}");
        }
    }

    #[test]
    fn an_unknown_outcome_names_the_id_that_it_may_be_tried_again_by() {
        let unknown = of_append(AppendError::Unknown { detail: "why".into() }, &tried(None));
        assert!(matches!(unknown, AppendFailure::Unknown { id: Some(_), .. }), "{unknown:?}");
    }
}
