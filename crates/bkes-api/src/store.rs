//! The trait.

use crate::append::{Append, AppendFailure, Appended, TaggedAnswer, TaggedAppend};
use crate::failure::Failure;
use crate::follow::{Follow, FollowItem};
use crate::keys::{KeyList, KeysRequest};
use crate::positions::Freshness;
use crate::read::{Head, KeyedPage, Page, Read, ReadMany};
use crate::status::Status;
use crate::wait::WaitFor;
use async_trait::async_trait;
use bkes_core::Key;
use std::pin::Pin;
use tokio_stream::Stream;

/// A stream behind a pointer. Dropping it ends what makes it.
pub type BoxStream<T> = Pin<Box<dyn Stream<Item = T> + Send>>;

/// An event store. Cheap to share: `Arc<dyn EventStore>`.
///
/// Dropping a call's future gives up its answer: an append may be stored all the same.
#[async_trait]
pub trait EventStore: Send + Sync + 'static {
    /// Appends 1 to 1,000 events to one aggregate, all or nothing, and waits until the log has decided.
    async fn append(&self, append: Append) -> Result<Appended, AppendFailure>;

    /// Whether [`append`](EventStore::append) tries again by itself, until it is settled or its time is over: then its callers need not.
    fn tries_again(&self) -> bool {
        false
    }

    /// Appends in the order they come, many at a time, and answers each by its tag, in the order they end. An append of a key waits
    /// for the one before it of the same key, and fails with [`Reason::PredecessorFailed`](crate::Reason) if that one was not
    /// stored, unless it [stands alone](TaggedAppend::stands_alone). When the answers are dropped, what was not sent is withdrawn.
    ///
    /// The stream of answers ends when the appends have ended and all are answered. It is backpressure for who appends: while answers
    /// are not taken, a bounded number of appends is.
    async fn append_stream(
        &self,
        appends: BoxStream<TaggedAppend>,
    ) -> Result<BoxStream<TaggedAnswer>, Failure>;

    /// Reads one aggregate in pages; the last one has an [`end`](Page::end). That there is no such aggregate is an answer, not an
    /// error. A stream that breaks off is an error as its last item.
    async fn read(&self, read: Read) -> Result<BoxStream<Result<Page, Failure>>, Failure>;

    /// Reads several aggregates, one after the other, in the order asked for.
    async fn read_many(&self, read: ReadMany) -> Result<BoxStream<Result<KeyedPage, Failure>>, Failure>;

    /// Where an aggregate stands, without its events; `None` if it has none.
    async fn head(&self, key: Key, freshness: Freshness) -> Result<Option<Head>, Failure>;

    /// Lists aggregates by their keys, in the order of their bytes.
    async fn keys(&self, request: KeysRequest) -> Result<KeyList, Failure>;

    /// Shows events of many aggregates as they are decided. A stream that ends says before how to go on.
    async fn follow(&self, follow: Follow) -> Result<BoxStream<Result<FollowItem, Failure>>, Failure>;

    /// Returns when everything below these positions is applied, and a consumer group has committed past them if one is named.
    async fn wait_for(&self, wait: WaitFor) -> Result<(), Failure>;

    /// What it is, and how it is.
    async fn status(&self) -> Result<Status, Failure>;
}
