//! A wait of any length, made of calls that are no longer than a server waits.

use bkes_api::{Failure, Reason};
use std::time::Duration;
use tokio::time::Instant;

/// Calls until one of them ends otherwise than by its time, or the whole time is over. That the time of a call was over says nothing
/// against the server, so it is no failed try; one that says so long before it was is not asked for ever.
pub async fn in_slices<F>(
    timeout: Duration,
    slice_max: Duration,
    call: impl Fn(Duration) -> F,
) -> Result<(), Failure>
where
    F: Future<Output = Result<(), Failure>>,
{
    let began = Instant::now();
    loop {
        let left = timeout.saturating_sub(began.elapsed());
        let (slice, slice_began) = (left.min(slice_max), Instant::now());
        match call(slice).await {
            Err(failure)
                if failure.reason == Reason::DeadlineExceeded
                    && slice < left
                    && slice_began.elapsed() >= slice / 2 => {}
            outcome => return outcome,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::cell::RefCell;

    const SLICE: Duration = Duration::from_secs(60);

    fn over() -> Result<(), Failure> {
        Err(Failure::new(Reason::DeadlineExceeded, "over"))
    }

    /// The story: a server waits a minute at most, each minute was taken for a failed try, and a wait of ten was given up after four.
    #[tokio::test(start_paused = true)]
    async fn a_long_wait_goes_on_for_as_long_as_its_caller_says() {
        let began = Instant::now();
        let slices = RefCell::new(Vec::new());
        let outcome = in_slices(Duration::from_secs(570), SLICE, async |slice| {
            slices.borrow_mut().push(slice.as_secs());
            tokio::time::sleep(slice).await;
            over()
        });
        assert_eq!(outcome.await, over());
        assert_eq!(*slices.borrow(), [60, 60, 60, 60, 60, 60, 60, 60, 60, 30]);
        assert_eq!(began.elapsed().as_secs(), 570);
    }

    #[tokio::test(start_paused = true)]
    async fn a_wait_ends_when_it_is_seen_and_with_every_other_failure() {
        for (reason, is_over) in [(None, 3), (Some(Reason::LogDown), 2)] {
            let began = Instant::now();
            let outcome = in_slices(Duration::MAX, SLICE, async |slice| {
                tokio::time::sleep(slice).await;
                match reason {
                    _ if began.elapsed() < SLICE * is_over => over(),
                    None => Ok(()),
                    Some(reason) => Err(Failure::new(reason, "down")),
                }
            });
            assert_eq!(outcome.await.map_err(|failure| failure.reason), reason.map_or(Ok(()), Err));
            assert_eq!(began.elapsed(), SLICE * is_over);
        }
    }

    #[tokio::test(start_paused = true)]
    async fn a_server_that_says_at_once_that_the_time_is_over_is_not_asked_for_ever() {
        assert_eq!(in_slices(Duration::from_secs(600), SLICE, async |_| over()).await, over());
    }
}
