//! What the parts of an engine share.

use crate::board::Board;
use crate::feed::Feed;
use crate::in_flight::InFlight;
use crate::options::EngineOptions;
use crate::overlay::Overlay;
use crate::owner_inbox::OwnerInbox;
use crate::position_waits::PositionWaits;
use crate::verifier_inbox::VerifierInbox;
use crate::waits::Awaited;
use crate::writer_inbox::WriterInbox;
use bkes_api::TopicId;
use bkes_core::Incarnation;
use bkes_log::{Log, LogIdentity, Waker};
use bkes_storage::Store;
use std::sync::Arc;

/// Shared by owners, writer, monitor, verifier and callers; cheap to clone.
#[derive(Clone)]
pub struct Context {
    pub log: Arc<dyn Log>,
    pub store: Arc<dyn Store>,
    pub board: Arc<Board>,
    pub overlay: Arc<Overlay>,
    pub in_flight: Arc<InFlight>,
    /// Those who wait for something to be applied.
    pub awaited: Arc<Awaited>,
    /// Those who wait for positions.
    pub positions: Arc<PositionWaits>,
    /// Those who follow the log.
    pub feed: Arc<Feed>,
    pub writer: WriterInbox,
    pub options: EngineOptions,
    pub topic: LogIdentity,
    /// The topic's own id, as answers have it.
    pub topic_id: TopicId,
    /// Every owner's inbox, as [`owner_of`](crate::owner_inbox::owner_of) numbers them.
    pub owners: Arc<Vec<OwnerInbox>>,
    /// Draws the name of a new producer handle.
    pub draw: Arc<dyn Fn() -> Incarnation + Send + Sync>,
    /// Asks the monitor to look now.
    pub look: Waker,
    /// Has groups asked what they have committed.
    pub askers: Arc<Vec<Waker>>,
    /// Has refusals verified.
    pub verifier: VerifierInbox,
}
