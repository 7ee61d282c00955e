//! A call: the connection that it came on, and how long its caller waits.
//!
//! The library ends a call when its caller's time is over, with a status that says nothing. So every call ends a little before that, with
//! a status of ours; and it ends when the server stops, whatever it waits for.

use crate::inbound::HasUnread;
use crate::limits::{ANSWER_RESERVE_MAX, ANSWER_RESERVE_PART, STARTING_REST};
use crate::peers::Peer;
use crate::phase::{Phase, reaches};
use crate::requests::caller_timeout;
use bkes_api::{Failure, Reason};
use std::time::Duration;
use tonic::Request;

/// A call.
pub struct Call {
    /// Its connection.
    pub peer: Peer,
    /// How long its caller waits for the answer, less what the answer takes; `None` if it did not say.
    pub time: Option<Duration>,
}

impl Call {
    /// The call, and what is asked for.
    pub fn of<T>(request: Request<T>) -> (Call, T) {
        let (metadata, extensions, message) = request.into_parts();
        let peer = extensions.get::<Peer>().expect("every request carries its connection").clone();
        let time = caller_timeout(&metadata).map(before_its_end);
        (Call { peer, time }, message)
    }

    /// An answer, unless the caller's time is over before, or the server has been stopping for so long.
    pub async fn until_stop<T>(
        &self,
        patience: Duration,
        answer: impl Future<Output = Result<T, Failure>>,
    ) -> Result<T, Failure> {
        let over = async {
            match self.time {
                Some(time) => tokio::time::sleep(time).await,
                None => std::future::pending().await,
            }
        };
        tokio::select! {
            biased;
            answer = answer => answer,
            () = stopped_for(&self.peer, patience) => {
                Err(Failure::new(Reason::ShuttingDown, "the server stops").after(STARTING_REST))
            }
            () = over => Err(Failure::new(Reason::DeadlineExceeded, "the answer did not come in time")),
        }
    }
}

/// Resolves when the server has been stopping for so long.
pub async fn stopped_for(peer: &Peer, patience: Duration) {
    reaches(peer.phase().clone(), Phase::Stopping).await;
    tokio::time::sleep(patience).await;
}

/// The time of a caller, but for what is left for the answer.
fn before_its_end(timeout: Duration) -> Duration {
    timeout - (timeout / ANSWER_RESERVE_PART).min(ANSWER_RESERVE_MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_answer_has_an_eighth_of_its_callers_time_and_a_tenth_of_a_second_at_most() {
        let of_ms = |timeout_ms| before_its_end(Duration::from_millis(timeout_ms)).as_millis();
        assert_eq!((of_ms(0), of_ms(80), of_ms(800), of_ms(10_000)), (0, 70, 700, 9_900));
    }
}
