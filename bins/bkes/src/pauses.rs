//! How long to rest before another try.

use crate::limits::{PAUSE_FIRST, PAUSE_MAX};
use std::time::Duration;

/// How long to rest after so many tries: as long as the store says, if it says so, but no longer than is ever rested.
pub fn pause(tries: u32, rest: Option<Duration>) -> Duration {
    let usual = PAUSE_FIRST.saturating_mul(1 << tries.saturating_sub(1).min(16));
    rest.map_or(usual, |rest| rest.max(PAUSE_FIRST)).min(PAUSE_MAX)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::limits::TRIES_MAX;

    #[test]
    fn pauses_grow_to_their_limit_and_follow_the_store() {
        let pauses: Vec<_> = (1..TRIES_MAX).map(|tries| pause(tries, None).as_millis()).collect();
        assert_eq!(pauses, [200, 400, 800, 1_600, 3_200, 5_000, 5_000]);
        assert_eq!(pause(1, Some(Duration::from_secs(2))), Duration::from_secs(2));
        assert_eq!(pause(1, Some(Duration::from_secs(60))), PAUSE_MAX);
        assert_eq!(pause(9, Some(Duration::ZERO)), PAUSE_FIRST);
    }
}
