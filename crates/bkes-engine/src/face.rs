//! The engine as an [`EventStore`]: the words of bkes-api, and what they ask for said in the engine's own.
//!
//! Nothing is decided here. Appends go through [`EngineHandle::append_within`], one by one or as a stream of them;
//! reads are made page by page of what is frozen when they begin.

mod appends;
mod chains;
mod failures;
mod missing;
mod pages;
mod range;
mod reads;
mod stream;

pub use appends::room_wait;
pub(crate) use failures::{in_field, of_unready};

use self::failures::of_read;
use crate::api;
use crate::handle::EngineHandle;
use async_trait::async_trait;
use bkes_api::{
    Append, AppendFailure, Appended, BoxStream, Build, EventStore, Failure, Follow, FollowItem, Freshness,
    Head, Key, KeyList, KeyedPage, KeysRequest, Page, Read, ReadMany, Status, TaggedAnswer, TaggedAppend,
    WaitFor,
};

#[async_trait]
impl EventStore for EngineHandle {
    async fn append(&self, append: Append) -> Result<Appended, AppendFailure> {
        self.append_one(append).await
    }

    async fn append_stream(
        &self,
        appends: BoxStream<TaggedAppend>,
    ) -> Result<BoxStream<TaggedAnswer>, Failure> {
        Ok(self.append_all(appends))
    }

    async fn read(&self, read: Read) -> Result<BoxStream<Result<Page, Failure>>, Failure> {
        self.read_pages(read).await
    }

    async fn read_many(&self, read: ReadMany) -> Result<BoxStream<Result<KeyedPage, Failure>>, Failure> {
        self.read_pages_of_many(read).await
    }

    async fn head(&self, key: Key, freshness: Freshness) -> Result<Option<Head>, Failure> {
        match EngineHandle::head(self, key, freshness).await {
            Ok(api::AggregateHead { first, next, last, layout }) => {
                let api::LastEvent { partition, offset, timestamp } = last;
                Ok(Some(Head { first, next, partition, offset, timestamp, layout }))
            }
            Err(api::ReadError::NoSuchAggregate { .. }) => Ok(None),
            Err(error) => Err(of_read(error)),
        }
    }

    async fn keys(&self, request: KeysRequest) -> Result<KeyList, Failure> {
        EngineHandle::keys(self, request).await.map_err(of_read)
    }

    async fn follow(&self, follow: Follow) -> Result<BoxStream<Result<FollowItem, Failure>>, Failure> {
        EngineHandle::follow(self, follow).await
    }

    async fn wait_for(&self, wait: WaitFor) -> Result<(), Failure> {
        EngineHandle::wait_for(self, wait).await
    }

    async fn status(&self) -> Result<Status, Failure> {
        let api::Status { unready, partitions, unknown, conflicts, appended, keys, store_bytes } =
            EngineHandle::status(self);
        let topic = &self.context().topic;
        Ok(Status {
            build: Build { name: env!("CARGO_PKG_NAME").into(), version: env!("CARGO_PKG_VERSION").into() },
            cluster: topic.cluster.clone(),
            topic: topic.topic.clone(),
            topic_id: self.context().topic_id.clone(),
            unready: unready.map(|unready| of_unready(&unready)),
            partitions,
            keys,
            store_bytes,
            appended,
            conflicts,
            unknown,
        })
    }
}
