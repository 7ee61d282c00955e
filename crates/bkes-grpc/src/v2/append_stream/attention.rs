//! Whether a connection takes what there is for it.
//!
//! A connection that asked and was told that there is nothing may be waiting for us, or for its client: it does not ask again before what
//! it has was sent. So what counts is the time since it was woken for something, or given something, without asking since.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Wake, Waker};
use std::time::Duration;
use tokio::time::Instant;

/// The state of one stream; as a [`Waker`] it wakes the connection, and begins to count.
pub struct Attention(Mutex<State>);

struct State {
    /// Since when there has been something, and nobody asked.
    idle_since: Option<Instant>,
    /// The connection's.
    connection: Option<Waker>,
    /// Whether what it was given holds room.
    holds_room: bool,
}

impl Attention {
    /// A connection that has not asked yet.
    pub fn new() -> Arc<Attention> {
        Arc::new(Attention(Mutex::new(State {
            idle_since: Some(Instant::now()),
            connection: None,
            holds_room: false,
        })))
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The connection asks. What wakes it is to use this.
    pub fn asks(self: &Arc<Attention>, connection: &Waker) -> Waker {
        let mut state = self.lock();
        state.idle_since = None;
        if !state.connection.as_ref().is_some_and(|known| known.will_wake(connection)) {
            state.connection = Some(connection.clone());
        }
        Waker::from(Arc::clone(self))
    }

    /// It was given something, and holds room for what it was given last or does not.
    pub fn is_given(&self, holds_room: bool) {
        let mut state = self.lock();
        (state.idle_since, state.holds_room) = (Some(Instant::now()), holds_room);
    }

    /// Whether it holds room for what it was given last.
    pub fn holds_room(&self) -> bool {
        self.lock().holds_room
    }

    /// Whether it has not asked for so long though there was something.
    pub fn is_lost(&self, patience: Duration) -> bool {
        self.lock().idle_since.is_some_and(|since| since.elapsed() >= patience)
    }
}

impl Wake for Attention {
    fn wake(self: Arc<Attention>) {
        self.wake_by_ref();
    }

    fn wake_by_ref(self: &Arc<Attention>) {
        let connection = {
            let mut state = self.lock();
            state.idle_since.get_or_insert_with(Instant::now);
            state.connection.clone()
        };
        if let Some(connection) = connection {
            connection.wake();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn it_is_lost_when_it_does_not_ask_for_what_it_was_woken_for_or_after_it_was_given_something() {
        let attention = Attention::new();
        let (patience, later) =
            (Duration::from_secs(30), async || tokio::time::sleep(Duration::from_secs(40)).await);
        later().await;
        assert!(attention.is_lost(patience), "it never asked");
        let waker = attention.asks(Waker::noop());
        later().await;
        assert!(!attention.is_lost(patience), "there was nothing");
        waker.wake_by_ref();
        assert!(!attention.is_lost(patience), "it has its time");
        later().await;
        waker.wake();
        assert!(attention.is_lost(patience), "from the first time it was woken");
        attention.asks(Waker::noop());
        attention.is_given(true);
        assert!(attention.holds_room());
        later().await;
        assert!(attention.is_lost(patience));
    }
}
