//! The instances of a topic: one is called, until it is better to call the next one.

use bkes_api::Reason;
use bkes_wire::v2::event_store_client::EventStoreClient;
use std::sync::atomic::{AtomicUsize, Ordering};
use tonic::transport::Channel;

/// The calls to one instance.
pub(crate) type Wire = EventStoreClient<Channel>;

/// All that may be called; at least one.
#[derive(Debug)]
pub(crate) struct Instances {
    wires: Vec<Wire>,
    current: AtomicUsize,
}

impl Instances {
    pub fn new(wires: Vec<Wire>) -> Instances {
        Instances { wires, current: AtomicUsize::new(0) }
    }

    /// The one that is called now, and which one that is.
    pub fn current(&self) -> (usize, Wire) {
        let at = self.current.load(Ordering::Relaxed);
        (at, self.wires[at].clone())
    }

    /// An instance failed so: calls that come later go to the next one, if this says something of the instance. Those that fail at the
    /// same time go on together.
    pub fn leave(&self, at: usize, reason: Reason) {
        if is_of_the_instance(reason) {
            let next = (at + 1) % self.wires.len();
            // Whoever came before has turned already.
            let _ = self.current.compare_exchange(at, next, Ordering::Relaxed, Ordering::Relaxed);
        }
    }
}

/// Whether another instance may do better.
fn is_of_the_instance(reason: Reason) -> bool {
    matches!(
        reason,
        Reason::Unreachable
            | Reason::AnswerLost
            | Reason::ShuttingDown
            | Reason::Standby
            | Reason::CatchingUp
            | Reason::Lagging
            | Reason::Degraded
            | Reason::StoreUnavailable
            | Reason::LogDown
            | Reason::Unverified
            | Reason::Internal
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use tonic::transport::Endpoint;

    #[tokio::test]
    async fn calls_turn_from_an_instance_that_does_not_serve_and_from_no_other() {
        let wire = || EventStoreClient::new(Endpoint::from_static("http://localhost:1").connect_lazy());
        let instances = Instances::new((0..3).map(|_| wire()).collect());
        let at = |instances: &Instances| instances.current().0;
        instances.leave(0, Reason::Conflict);
        instances.leave(0, Reason::Overloaded);
        assert_eq!(at(&instances), 0);
        instances.leave(0, Reason::Unreachable);
        // The second of two that failed together does not turn once more.
        instances.leave(0, Reason::AnswerLost);
        assert_eq!(at(&instances), 1);
        instances.leave(1, Reason::ShuttingDown);
        instances.leave(2, Reason::Standby);
        assert_eq!(at(&instances), 0);
    }
}
