//! A consumer for a thread that has nothing else to do.

use crate::consumer::{Checkpoint, Consumer, ConsumerOptions};
use crate::item::{ConsumeError, Item};
use crate::limits::POLL_EVENTS;
use bkes_log::{Log, Waiter, wake_pair};
use std::time::{Duration, Instant};

/// A [`Consumer`] and the waiter of its thread. An async caller runs it on a thread of its own and sends on what it gives.
pub struct BlockingConsumer {
    consumer: Consumer,
    waiter: Waiter,
}

impl BlockingConsumer {
    /// As [`Consumer::open`].
    pub fn open(log: &dyn Log, options: &ConsumerOptions) -> Result<BlockingConsumer, ConsumeError> {
        let (waker, waiter) = wake_pair();
        Ok(BlockingConsumer { consumer: Consumer::open(log, waker, options)?, waiter })
    }

    /// As [`Consumer::resume`].
    pub fn resume(log: &dyn Log, checkpoint: Checkpoint) -> Result<BlockingConsumer, ConsumeError> {
        let (waker, waiter) = wake_pair();
        Ok(BlockingConsumer { consumer: Consumer::resume(log, waker, checkpoint)?, waiter })
    }

    /// Adds what comes next to `out`: as soon as there is something, and nothing if that takes longer than `wait`.
    pub fn next(&mut self, wait: Duration, out: &mut Vec<Item>) {
        let (until, before) = (Instant::now().checked_add(wait), out.len());
        loop {
            let taken = self.consumer.poll(POLL_EVENTS, out);
            if out.len() > before {
                return;
            }
            let left = until.map(|until| until.saturating_duration_since(Instant::now()));
            if left == Some(Duration::ZERO) {
                return;
            }
            if taken == 0 {
                self.waiter.wait(left);
            }
        }
    }

    /// The consumer.
    pub fn consumer(&mut self) -> &mut Consumer {
        &mut self.consumer
    }
}
