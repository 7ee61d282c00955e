//! The event store's service with a limit on requests that follows the log's, which is not known before there is an engine. The
//! library fixes the limit with the service, so each call gets one of its own.

use crate::api::bkes_server::{BkesServer, SERVICE_NAME};
use crate::service::Service;
use std::convert::Infallible;
use std::sync::Arc;
use std::task::{Context, Poll};
use tonic::body::Body;
use tonic::codegen::BoxFuture;
use tonic::codegen::http::{Request, Response};
use tonic::server::NamedService;

/// Cheap to clone.
#[derive(Clone)]
pub struct DynamicLimits {
    service: Arc<Service>,
    reply_bytes_max: usize,
}

impl DynamicLimits {
    pub fn new(service: Service, reply_bytes_max: usize) -> DynamicLimits {
        DynamicLimits { service: Arc::new(service), reply_bytes_max }
    }
}

impl NamedService for DynamicLimits {
    const NAME: &'static str = SERVICE_NAME;
}

impl tower::Service<Request<Body>> for DynamicLimits {
    type Response = Response<Body>;
    type Error = Infallible;
    type Future = BoxFuture<Response<Body>, Infallible>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: Request<Body>) -> Self::Future {
        let server = BkesServer::from_arc(Arc::clone(&self.service))
            .max_decoding_message_size(self.service.request_bytes_max())
            .max_encoding_message_size(self.reply_bytes_max);
        tower::Service::call(&mut { server }, request)
    }
}
