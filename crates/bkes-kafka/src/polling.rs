//! The thread that polls handles which no owner polls at all times: those that questions are asked by, and the callbacks of readers.
//!
//! Nobody else would: a question waits for its answer in a queue of its own, and an owner leaves its reader alone while the store has no
//! room. What librdkafka says of such a handle would pile up, and its tokens (OAUTHBEARER) would not be renewed: after the next
//! break of its connection it could not log in again. The thread sleeps until the queue of one of them wakes it.

use crate::lock::lock;
use crate::native::Client;
use bkes_log::{Waker, wake_pair};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, Weak};
use std::thread::JoinHandle;

/// Runs the thread; dropping it ends the thread.
pub(crate) struct PollingThread {
    polled: Polled,
    thread: Option<JoinHandle<()>>,
}

/// The handles that are polled; cheap to clone.
#[derive(Clone)]
pub(crate) struct Polled {
    shared: Arc<Shared>,
    waker: Waker,
}

#[derive(Default)]
struct Shared {
    clients: Mutex<Vec<Weak<Client>>>,
    /// Not used any more, and destroyed here: that may take a moment, which no owner has.
    retired: Mutex<Vec<Client>>,
    ends: AtomicBool,
}

impl PollingThread {
    /// Polls nothing yet.
    pub fn start() -> std::io::Result<PollingThread> {
        let (waker, mut waiter) = wake_pair();
        let polled = Polled { shared: Arc::default(), waker };
        let shared = Arc::clone(&polled.shared);
        let run = move || {
            while !shared.ends.load(Ordering::Acquire) {
                let retired = std::mem::take(&mut *lock(&shared.retired));
                drop(retired);
                // Not under the lock: a callback may take its time, and whoever makes a handle does not wait for it.
                let clients: Vec<Arc<Client>> = {
                    let mut clients = lock(&shared.clients);
                    clients.retain(|client| client.strong_count() > 0);
                    clients.iter().filter_map(Weak::upgrade).collect()
                };
                clients.iter().for_each(|client| client.poll());
                drop(clients);
                waiter.wait(None);
            }
        };
        let thread = std::thread::Builder::new().name("bkes-kafka-poll".into()).spawn(run)?;
        Ok(PollingThread { polled, thread: Some(thread) })
    }

    pub fn polled(&self) -> &Polled {
        &self.polled
    }
}

impl Drop for PollingThread {
    fn drop(&mut self) {
        self.polled.shared.ends.store(true, Ordering::Release);
        self.polled.waker.wake();
        if let Some(thread) = self.thread.take() {
            // It has nothing to say; if it panicked, that was told where it happened.
            let _ = thread.join();
        }
    }
}

impl Polled {
    /// What has a handle polled.
    pub fn waker(&self) -> Waker {
        self.waker.clone()
    }

    /// Polls a handle from now on, whenever [`waker`](Self::waker) is called, until nobody else has it.
    pub fn add(&self, client: &Arc<Client>) {
        lock(&self.shared.clients).push(Arc::downgrade(client));
        self.waker.wake();
    }

    /// Destroys a handle.
    pub fn retire(&self, client: Client) {
        lock(&self.shared.retired).push(client);
        self.waker.wake();
    }
}
