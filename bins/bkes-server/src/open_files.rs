//! How many files and connections the process may have open, and what of that clients may take.
//!
//! The system allows a process a number of descriptors, below a hard limit that it may raise itself to. Clients must not take the last
//! one: without a descriptor the store cannot be reopened, and Kafka not be reached.

use crate::exit::{Ended, Reason};
use crate::settings::Settings;
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use std::num::NonZeroUsize;

/// What the process has open beside connections and Kafka: three standard streams, the listener, the runtime's epoll and wake-ups, a
/// pipe for signals, the files of the store and of the embedded log with their locks and directories: 20 when it was counted. The admin
/// port has a listener and 32 connections. The rest is for files that are open for a moment: a damaged store that is set aside, name
/// resolution, one connection too many.
const OWN: usize = 64;

/// Handles of librdkafka beside those of owners: two that are asked questions.
const HANDLES: usize = 2;

/// Handles of each owner: a reader, an appender, and one that takes its place when it fails.
const HANDLES_OF_AN_OWNER: usize = 3;

/// Descriptors that a handle has for each broker: a socket, and a pipe of two ends that wakes the thread of the broker.
const FILES_OF_A_BROKER: usize = 3;

/// Brokers that room is left for: a cluster of 16, beside those of `KAFKA_BROKERS`, which are brokers of their own to librdkafka, and
/// two that it makes for itself. How many there are is known only when connections to them are open.
const BROKERS: usize = 16 + 2;

/// The fewest connections worth serving: a client, a health check, somebody who looks what is wrong.
const CONNECTIONS_MIN: usize = 8;

/// Raises the limit of open files as far as the system lets it, and says how many connections there may be.
pub fn connections(settings: &Settings) -> Result<NonZeroUsize, Ended> {
    let wanted = settings.max_connections;
    let Some(limit) = raised() else { return Ok(wanted) };
    let reserved = reserved(settings);
    match within(limit, reserved, wanted) {
        Some(connections) if connections == wanted => Ok(wanted),
        Some(connections) => {
            tracing::warn!(
                "the system allows this process {limit} open files (ulimit -n), and {reserved} are kept for itself: at most \
                 {connections} connections are served instead of {wanted} (--max-connections). Raise the limit to {} to serve all",
                wanted.get().saturating_add(reserved)
            );
            Ok(connections)
        }
        None => Err(Ended::new(
            Reason::Unexpected,
            format!(
                "the system allows this process {limit} open files (ulimit -n), and it needs {reserved} for itself and \
                 {CONNECTIONS_MIN} for connections: raise the limit to {} at least",
                reserved + CONNECTIONS_MIN
            ),
        )),
    }
}

/// The limit after it was raised; `None` where there is none.
fn raised() -> Option<usize> {
    let before = getrlimit(Resource::Nofile);
    let raised = Rlimit { current: before.maximum, maximum: before.maximum };
    let limit = match setrlimit(Resource::Nofile, raised) {
        Ok(()) => before.maximum,
        Err(error) => {
            tracing::warn!("the limit of open files could not be raised: {error}");
            before.current
        }
    };
    limit.map(|limit| usize::try_from(limit).unwrap_or(usize::MAX))
}

/// What is not for connections.
fn reserved(settings: &Settings) -> usize {
    let Some(brokers) = &settings.kafka_brokers else { return OWN };
    let handles = HANDLES + HANDLES_OF_AN_OWNER * settings.max_consumer_threads.get();
    OWN + handles * FILES_OF_A_BROKER * (BROKERS + brokers.split(',').count())
}

/// How many of the wanted connections fit; `None` when it is not worth it.
fn within(limit: usize, reserved: usize, wanted: NonZeroUsize) -> Option<NonZeroUsize> {
    let left = limit.saturating_sub(reserved);
    if left < CONNECTIONS_MIN.min(wanted.get()) {
        return None;
    }
    NonZeroUsize::new(left.min(wanted.get()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn connections_get_what_is_left_and_nothing_when_that_is_too_little() {
        let number = |n: usize| NonZeroUsize::new(n).expect("not zero");
        for (limit, reserved, wanted, expected) in [
            (20_000, 64, 10_000, Some(10_000)),
            (10_064, 64, 10_000, Some(10_000)),
            (1_024, 64, 10_000, Some(960)),
            (72, 64, 10_000, Some(8)),
            (71, 64, 10_000, None),
            (65, 64, 1, Some(1)),
            (64, 64, 1, None),
            (10, 64, 10_000, None),
        ] {
            let found = within(limit, reserved, number(wanted)).map(NonZeroUsize::get);
            assert_eq!(found, expected, "{limit} {reserved} {wanted}");
        }
    }
}
