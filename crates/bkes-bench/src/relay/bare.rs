//! Reads answered as the library does it by itself: with its own codec, and nothing of ours between it and the socket. The generated
//! servers of the contracts have our codec, which is part of what is measured.

use super::Relay;
use bkes_grpc::api::bkes_server::{Bkes, BkesServer};
use bkes_grpc::api::{RetrieveReply, RetrieveRequest};
use bkes_wire::v2;
use bkes_wire::v2::event_store_server::{EventStore, EventStoreServer};
use std::convert::Infallible;
use std::task::{Context, Poll};
use tonic::body::Body;
use tonic::codegen::{BoxFuture, Service, http};
use tonic::server::{Grpc, NamedService, ServerStreamingService, UnaryService};
use tonic::{Request, Response, Status};
use tonic_prost::ProstCodec;

/// A contract's server, beside which the relay answers reads.
#[derive(Clone)]
pub struct Bare<S> {
    relay: Relay,
    others: S,
}

impl Bare<BkesServer<Relay>> {
    /// The first contract.
    pub fn first(relay: Relay) -> Self {
        Bare { others: BkesServer::new(relay.clone()), relay }
    }
}

impl Bare<EventStoreServer<Relay>> {
    /// The second contract.
    pub fn second(relay: Relay) -> Self {
        Bare { others: EventStoreServer::new(relay.clone()), relay }
    }
}

impl<S: NamedService> NamedService for Bare<S> {
    const NAME: &'static str = S::NAME;
}

impl<S> Service<http::Request<Body>> for Bare<S>
where
    S: Service<http::Request<Body>, Response = http::Response<Body>, Error = Infallible>,
    S::Future: Send + 'static,
{
    type Response = http::Response<Body>;
    type Error = Infallible;
    type Future = BoxFuture<http::Response<Body>, Infallible>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        self.others.poll_ready(cx)
    }

    fn call(&mut self, request: http::Request<Body>) -> Self::Future {
        let relay = self.relay.clone();
        match request.uri().path().rsplit('/').next() {
            Some("Retrieve") => {
                Box::pin(
                    async move { Ok(Grpc::new(ProstCodec::default()).unary(Reads(relay), request).await) },
                )
            }
            Some("Read") => Box::pin(async move {
                Ok(Grpc::new(ProstCodec::default()).server_streaming(Reads(relay), request).await)
            }),
            _ => Box::pin(self.others.call(request)),
        }
    }
}

struct Reads(Relay);

impl UnaryService<RetrieveRequest> for Reads {
    type Response = RetrieveReply;
    type Future = BoxFuture<Response<RetrieveReply>, Status>;

    fn call(&mut self, request: Request<RetrieveRequest>) -> Self::Future {
        let relay = self.0.clone();
        Box::pin(async move { relay.retrieve(request).await })
    }
}

impl ServerStreamingService<v2::ReadRequest> for Reads {
    type Response = v2::ReadReply;
    type ResponseStream = <Relay as EventStore>::ReadStream;
    type Future = BoxFuture<Response<Self::ResponseStream>, Status>;

    fn call(&mut self, request: Request<v2::ReadRequest>) -> Self::Future {
        let relay = self.0.clone();
        Box::pin(async move { relay.read(request).await })
    }
}
