//! The references of the interface: a handler that produces the record, awaits its delivery and replies, and one that only
//! replies. Same contracts, same library, nothing else.

mod bare;
mod pages;

use self::bare::Bare;
use crate::parts::reads::EVENTS;
use crate::raw::Awaited;
use crate::sides::{PARTITIONS, VALUE_BYTES};
use bkes_core::Partitioner;
use bkes_grpc::api::bkes_server::Bkes;
use bkes_grpc::api::{
    AddReply, AddRequest, Record, RetrieveReply, RetrieveRequest, StartReply, StartRequest, StoreSuccess,
    StoredRecords, add_reply, retrieve_reply, start_reply,
};
use bkes_wire::v2;
use bytes::Bytes;
use std::collections::HashMap;
use std::num::NonZeroU32;
use std::sync::Arc;
use tokio::net::TcpListener;
use tonic::{Request, Response, Status};

/// Windows, streams and headers of a connection, as crates/bkes-grpc/src/limits.rs has them.
const STREAM_WINDOW_BYTES: u32 = 1024 * 1024;
const CONNECTION_WINDOW_BYTES: u32 = 2 * 1024 * 1024;
const STREAMS_MAX: u32 = 1_024;
const HEADERS_BYTES_MAX: u32 = 16 * 1024;

/// The handler.
#[derive(Clone)]
pub struct Relay {
    producer: Arc<Awaited>,
    topic: Arc<str>,
    partitions: NonZeroU32,
    /// A reply for each number of events that is asked for.
    echoes: Arc<HashMap<usize, RetrieveReply>>,
    /// The messages of the second contract: for each key its own, so that they take as much memory as the server's aggregates do.
    pages: Arc<HashMap<Bytes, v2::ReadReply>>,
}

impl Relay {
    /// A relay to a topic.
    pub fn new(brokers: &str, topic: &str) -> anyhow::Result<Relay> {
        let echoes = EVENTS.into_iter().map(|events| (events, echo(events))).collect();
        Ok(Relay {
            producer: Arc::new(Awaited::new(brokers)?),
            topic: topic.into(),
            partitions: NonZeroU32::new(PARTITIONS).unwrap_or(NonZeroU32::MIN),
            echoes: Arc::new(echoes),
            pages: Arc::new(pages::all()),
        })
    }

    async fn store(&self, key: &[u8], value: &[u8], order: u64) -> Result<StoreSuccess, Status> {
        let partition = Partitioner::Murmur2.place(key, self.partitions).0 as i32;
        let sent = self.producer.send(&self.topic, partition, key, value).await;
        let (partition, offset, timestamp) = sent.map_err(|error| Status::internal(error.to_string()))?;
        Ok(StoreSuccess { partition, offset, timestamp, order: Some(order) })
    }
}

#[tonic::async_trait]
impl Bkes for Relay {
    async fn start(&self, request: Request<StartRequest>) -> Result<Response<StartReply>, Status> {
        let request = request.into_inner();
        let stored = self.store(&request.key, &request.value, 0).await?;
        Ok(Response::new(StartReply { reply: Some(start_reply::Reply::Success(stored)) }))
    }

    async fn add(&self, request: Request<AddRequest>) -> Result<Response<AddReply>, Status> {
        let request = request.into_inner();
        let stored = self.store(&request.key, &request.value, request.order.into()).await?;
        Ok(Response::new(AddReply { reply: Some(add_reply::Reply::Success(stored)) }))
    }

    async fn retrieve(&self, request: Request<RetrieveRequest>) -> Result<Response<RetrieveReply>, Status> {
        let echo = events_of(&request.into_inner().key).and_then(|events| self.echoes.get(&events));
        echo.cloned().map(Response::new).ok_or_else(|| Status::not_found("no such key"))
    }
}

/// How many events a key says that it has: read-EVENTS-NUMBER.
fn events_of(key: &[u8]) -> Option<usize> {
    std::str::from_utf8(key).ok()?.split('-').nth(1)?.parse().ok()
}

/// The reply that the server gives to a read of so many events.
fn echo(events: usize) -> RetrieveReply {
    let record = |n: usize| Record {
        value: vec![b'x'; VALUE_BYTES].into(),
        partition: 1,
        offset: 1_000 + n as i64,
        timestamp: 1_700_000_000_000,
        order: Some(n as u64),
        ..Record::default()
    };
    let records = (0..events).map(record).collect();
    let found = StoredRecords { records, next_order: Some(events as u64), ..StoredRecords::default() };
    RetrieveReply { reply: Some(retrieve_reply::Reply::Success(found)) }
}

/// Serves a relay until the process ends, and says where: the work of a process of its own.
pub async fn serve(relay: Relay) -> anyhow::Result<()> {
    let listener = TcpListener::bind("127.0.0.1:0").await?;
    eprintln!("serving on {}", listener.local_addr()?);
    eprintln!("ready: to relay");
    let incoming =
        tokio_stream::StreamExt::map(tokio_stream::wrappers::TcpListenerStream::new(listener), |stream| {
            stream.and_then(|stream| stream.set_nodelay(true).map(|()| stream))
        });
    tonic::transport::Server::builder()
        .initial_stream_window_size(STREAM_WINDOW_BYTES)
        .initial_connection_window_size(CONNECTION_WINDOW_BYTES)
        .max_concurrent_streams(STREAMS_MAX)
        .http2_max_header_list_size(HEADERS_BYTES_MAX)
        .add_service(Bare::first(relay.clone()))
        .add_service(Bare::second(relay))
        .serve_with_incoming(incoming)
        .await?;
    Ok(())
}
