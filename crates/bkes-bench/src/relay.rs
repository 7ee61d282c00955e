//! The references of the interface: a handler that produces the record, awaits its delivery and replies, and one that only
//! replies. Same contract, same library, nothing else.

use crate::raw::Awaited;
use bkes_core::Partitioner;
use bkes_grpc::api::bkes_server::{Bkes, BkesServer};
use bkes_grpc::api::{
    AddReply, AddRequest, Record, RetrieveReply, RetrieveRequest, StartReply, StartRequest, StoreSuccess,
    StoredRecords, add_reply, retrieve_reply, start_reply,
};
use std::num::NonZeroU32;
use std::sync::Arc;
use tokio::net::TcpListener;
use tonic::{Request, Response, Status};

/// The handler.
#[derive(Clone)]
pub struct Relay {
    producer: Arc<Awaited>,
    topic: Arc<str>,
    partitions: NonZeroU32,
    echo: Arc<RetrieveReply>,
}

impl Relay {
    /// A relay to a topic, which echoes `records` records of `value_bytes` bytes to every read.
    pub fn new(
        brokers: &str,
        topic: &str,
        partitions: u32,
        records: usize,
        value_bytes: usize,
    ) -> anyhow::Result<Relay> {
        let record = |n: usize| Record {
            value: vec![b'x'; value_bytes].into(),
            offset: n as i64,
            timestamp: 1_700_000_000_000,
            order: Some(n as u64),
            ..Record::default()
        };
        let records = (0..records).map(record).collect();
        let found = StoredRecords { records, ..StoredRecords::default() };
        let echo = RetrieveReply { reply: Some(retrieve_reply::Reply::Success(found)) };
        let partitions = NonZeroU32::new(partitions).unwrap_or(NonZeroU32::MIN);
        Ok(Relay {
            producer: Arc::new(Awaited::new(brokers)?),
            topic: topic.into(),
            partitions,
            echo: Arc::new(echo),
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

    async fn retrieve(&self, _: Request<RetrieveRequest>) -> Result<Response<RetrieveReply>, Status> {
        Ok(Response::new(RetrieveReply::clone(&self.echo)))
    }
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
        .add_service(BkesServer::new(relay))
        .serve_with_incoming(incoming)
        .await?;
    Ok(())
}
