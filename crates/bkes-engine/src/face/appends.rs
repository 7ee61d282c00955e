//! Appends: one at a time, bounded by their caller's time.

use super::failures::{Tried, failure, not_sent, of_append};
use crate::handle::EngineHandle;
use crate::limits::ROOM_RESERVE;
use crate::withdrawal::Withdrawal;
use bkes_api::{Append, AppendFailure, Appended, Expected, Order, Reason};
use bkes_core::TimestampMs;
use bkes_core::append::{self, AppendError, AppendRequest};
use std::sync::Arc;
use std::time::Duration;
use tokio::runtime::Handle;

/// How long an append may wait for room whose caller gives it this time: most of it, since what is sent then has to be stored and answered
/// too.
pub fn room_wait(timeout: Duration) -> Duration {
    timeout - timeout / ROOM_RESERVE
}

impl EngineHandle {
    /// An append; a conflict brings along what was asked for.
    pub(super) async fn append_one(&self, append: Append) -> Result<Appended, AppendFailure> {
        let (key, missing_max) = (append.key.clone(), append.missing_max);
        match self.append_timed(append).await {
            Err(AppendFailure::Conflict(conflict)) if missing_max > 0 => {
                Err(AppendFailure::Conflict(Box::pin(self.with_missing(key, missing_max, conflict)).await))
            }
            answer => answer,
        }
    }

    /// An append that is taken back when its time is over, unless it was begun; a conflict brings nothing along.
    ///
    /// The time is measured where there is a runtime to measure it. Elsewhere it bounds how long the append waits for room, and no
    /// more.
    pub(super) async fn append_timed(&self, append: Append) -> Result<Appended, AppendFailure> {
        let Append { key, expected, events, identity, missing_max: _, timeout } = append;
        if timeout == Some(Duration::ZERO) {
            return Err(AppendFailure::NotStored(not_sent(
                &"its time was over when it came, and it was not sent",
            )));
        }
        // No aggregate that exists has this for its next order.
        let expected = if expected == Expected::At(Order::FIRST) { Expected::New } else { expected };
        let wait = timeout.map_or(Duration::MAX, room_wait);
        let tried = Tried {
            id: identity.as_ref().map(|identity| identity.id.clone()),
            timeout: timeout.filter(|_| wait <= self.context().options.room_wait),
        };
        let measured = timeout.filter(|_| Handle::try_current().is_ok());
        let withdrawal: Option<Arc<Withdrawal>> = measured.map(|_| Arc::default());
        let request = AppendRequest { key, expected, events, identity };
        let appending = self.append_or_withdraw(request, wait, withdrawal.clone());
        tokio::pin!(appending);
        let answer = match measured.zip(withdrawal) {
            None => appending.as_mut().await,
            Some((timeout, withdrawal)) => match tokio::time::timeout(timeout, appending.as_mut()).await {
                Ok(answer) => answer,
                Err(_) => return Err(over(timeout, &withdrawal, tried)),
            },
        };
        match answer {
            Ok(appended) => Ok(self.stored(&appended)),
            Err(error) => Err(of_append(error, &tried)),
        }
    }

    fn stored(&self, appended: &append::Appended) -> Appended {
        let &append::Appended { partition, first_offset, offset, timestamp_ms, first, last, by_earlier_try } =
            appended;
        Appended {
            topic: self.context().topic_id.clone(),
            partition,
            first_offset,
            last_offset: offset,
            timestamp: timestamp_ms.map(TimestampMs),
            first,
            last,
            by_earlier_try,
        }
    }
}

/// What the writer of an append is told whose time is over.
fn over(timeout: Duration, withdrawal: &Withdrawal, Tried { id, .. }: Tried) -> AppendFailure {
    let waited_ms = timeout.as_millis();
    if withdrawal.withdraw() {
        let why = format!("it was not sent within {waited_ms} ms, and will not be");
        return AppendFailure::NotStored(not_sent(&why));
    }
    let error =
        AppendError::Unknown { detail: format!("it was sent, and not decided within {waited_ms} ms") };
    let failure = failure(Reason::OutcomeUnknown, &error, "it is stored once or not at all");
    AppendFailure::Unknown { id, failure }
}
