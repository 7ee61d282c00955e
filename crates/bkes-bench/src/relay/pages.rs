//! The echo of the second contract: a read is answered by a stream of one message that was made beforehand. Nothing else is served.

use super::Relay;
use crate::parts::reads::EVENTS;
use crate::sides::{VALUE_BYTES, read_key, read_keys};
use bkes_wire::v2;
use bkes_wire::v2::event_store_server::EventStore;
use bytes::Bytes;
use std::collections::HashMap;
use tokio_stream::{Empty, Once};
use tonic::{Request, Response, Status, Streaming};

/// The message that the server gives to a read of each key.
pub fn all() -> HashMap<Bytes, v2::ReadReply> {
    let of_size =
        |events| (0..read_keys(events)).map(move |number| (read_key(events, number).into(), page(events)));
    EVENTS.into_iter().flat_map(of_size).collect()
}

fn page(events: usize) -> v2::ReadReply {
    let event = |n: usize| v2::Event {
        order: n as u64,
        partition: 1,
        offset: 1_000 + n as i64,
        timestamp_ms: Some(1_700_000_000_000),
        value: Some(vec![b'x'; VALUE_BYTES].into()),
        foreign: true,
        ..v2::Event::default()
    };
    let end =
        v2::ReadEnd { exists: true, next_order: events as u64, complete: true, ..v2::ReadEnd::default() };
    v2::ReadReply { events: (0..events).map(event).collect(), end: Some(end) }
}

type Answer<T> = Result<Response<T>, Status>;

fn unserved<T>() -> Answer<T> {
    Err(Status::unimplemented("the relay answers reads only"))
}

#[tonic::async_trait]
impl EventStore for Relay {
    type AppendStreamStream = Empty<Result<v2::AppendStreamReply, Status>>;
    type ReadStream = Once<Result<v2::ReadReply, Status>>;
    type ReadManyStream = Empty<Result<v2::ReadManyReply, Status>>;
    type FollowStream = Empty<Result<v2::FollowReply, Status>>;

    async fn read(&self, request: Request<v2::ReadRequest>) -> Answer<Self::ReadStream> {
        let page = self.pages.get(&request.into_inner().key).cloned();
        let page = page.ok_or_else(|| Status::not_found("no such key"))?;
        Ok(Response::new(tokio_stream::once(Ok(page))))
    }

    async fn append(&self, _: Request<v2::AppendRequest>) -> Answer<v2::AppendReply> {
        unserved()
    }

    async fn append_stream(
        &self,
        _: Request<Streaming<v2::AppendStreamRequest>>,
    ) -> Answer<Self::AppendStreamStream> {
        unserved()
    }

    async fn read_many(&self, _: Request<v2::ReadManyRequest>) -> Answer<Self::ReadManyStream> {
        unserved()
    }

    async fn head(&self, _: Request<v2::HeadRequest>) -> Answer<v2::HeadReply> {
        unserved()
    }

    async fn list_keys(&self, _: Request<v2::ListKeysRequest>) -> Answer<v2::ListKeysReply> {
        unserved()
    }

    async fn follow(&self, _: Request<v2::FollowRequest>) -> Answer<Self::FollowStream> {
        unserved()
    }

    async fn wait_for(&self, _: Request<v2::WaitForRequest>) -> Answer<v2::WaitForReply> {
        unserved()
    }

    async fn status(&self, _: Request<v2::StatusRequest>) -> Answer<v2::StatusReply> {
        unserved()
    }
}
