//! Following as a stream: it is driven when it is polled, and by nobody else. What may wait for the disk runs off the executor, if there is
//! one.

use super::follower::{Follower, Step};
use crate::handle::Clock;
use bkes_api::{Failure, FollowItem, Reason};
use bkes_log::Waiter;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;
use tokio::runtime::Handle;
use tokio::task::JoinHandle;
use tokio::time::Sleep;
use tokio_stream::Stream;

/// Steps in one poll that give no item: some hundred events each.
const STEPS_MAX: usize = 16;

/// Where the one who follows is.
enum State {
    Here(Box<Follower>),
    /// Off the executor, in the middle of a step.
    Off(JoinHandle<(Box<Follower>, Step)>),
    Ended,
}

/// Items for one who follows.
pub struct FollowStream {
    state: State,
    /// Woken by owners, by the reader of the log, and at the stop.
    waiter: Waiter,
    clock: Clock,
    timer: Option<Pin<Box<Sleep>>>,
}

impl FollowStream {
    pub fn new(follower: Follower, waiter: Waiter, clock: Clock) -> FollowStream {
        FollowStream { state: State::Here(Box::new(follower)), waiter, clock, timer: None }
    }

    /// What to do with a follower that has made a step; whether it rests.
    fn rests(&mut self, step: Step, cx: &mut Context<'_>) -> bool {
        let Step::Idle(until) = step else { return false };
        // A wake that came while the step was made off the executor found this task waiting for the step, and is still there.
        self.waiter.wake_task(cx.waker());
        if self.waiter.take() {
            return false;
        }
        // Without a runtime there are no timers: whoever polls without one polls again by himself.
        self.timer = until.filter(|_| Handle::try_current().is_ok()).map(|until| {
            let rest_ms = until.saturating_sub((self.clock)()).max(1);
            Box::pin(tokio::time::sleep(Duration::from_millis(rest_ms)))
        });
        self.timer.as_mut().is_none_or(|timer| timer.as_mut().poll(cx).is_pending())
    }
}

impl Drop for FollowStream {
    /// Letting a reader of the log go may take as long as its threads take to end.
    fn drop(&mut self) {
        if let State::Here(follower) = std::mem::replace(&mut self.state, State::Ended)
            && let Ok(runtime) = Handle::try_current()
        {
            drop(runtime.spawn_blocking(move || drop(follower)));
        }
    }
}

impl Stream for FollowStream {
    type Item = Result<FollowItem, Failure>;

    fn poll_next(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        let this = &mut *self;
        let mut steps = 0;
        loop {
            let step = match std::mem::replace(&mut this.state, State::Ended) {
                State::Ended => return Poll::Ready(None),
                State::Off(mut working) => match Pin::new(&mut working).poll(cx) {
                    Poll::Pending => {
                        this.state = State::Off(working);
                        return Poll::Pending;
                    }
                    Poll::Ready(Ok((follower, step))) => {
                        this.state = State::Here(follower);
                        step
                    }
                    Poll::Ready(Err(error)) => {
                        let failure = Failure::new(Reason::Internal, format!("following failed: {error}"));
                        return Poll::Ready(Some(Err(failure)));
                    }
                },
                State::Here(mut follower) => {
                    if let Some(item) = follower.next() {
                        this.state = State::Here(follower);
                        return Poll::Ready(Some(item));
                    }
                    if follower.has_ended() {
                        return Poll::Ready(None);
                    }
                    // In this order: what comes after the wakes are taken wakes the task.
                    this.waiter.wake_task(cx.waker());
                    this.waiter.take();
                    let now = (this.clock)();
                    match Handle::try_current().ok().filter(|_| follower.may_wait()) {
                        Some(runtime) => {
                            let working = runtime.spawn_blocking(move || {
                                let step = follower.step(now);
                                (follower, step)
                            });
                            this.state = State::Off(working);
                            continue;
                        }
                        None => {
                            let step = follower.step(now);
                            this.state = State::Here(follower);
                            step
                        }
                    }
                }
            };
            if this.rests(step, cx) {
                return Poll::Pending;
            }
            steps += 1;
            if steps >= STEPS_MAX {
                // Others have their turn.
                cx.waker().wake_by_ref();
                return Poll::Pending;
            }
        }
    }
}
