//! The service with its limit on requests: the largest append passes, or the largest record that the log takes, which is not known before
//! there is an engine. The library fixes the limit with the service, so each call gets one of its own.

use super::service::Service;
use bkes_wire::v2::event_store_server::{EventStoreServer, SERVICE_NAME};
use std::convert::Infallible;
use std::sync::Arc;
use std::task::{Context, Poll};
use tonic::body::Body;
use tonic::codegen::BoxFuture;
use tonic::codegen::http::{Request, Response};
use tonic::server::NamedService;

/// Cheap to clone.
#[derive(Clone)]
pub struct Limited(Arc<Service>);

impl Limited {
    pub fn new(service: Service) -> Limited {
        Limited(Arc::new(service))
    }
}

impl NamedService for Limited {
    const NAME: &'static str = SERVICE_NAME;
}

impl tower::Service<Request<Body>> for Limited {
    type Response = Response<Body>;
    type Error = Infallible;
    type Future = BoxFuture<Response<Body>, Infallible>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: Request<Body>) -> Self::Future {
        // Replies have no limit of their own: pages are cut, and one event is as large as it is.
        let server = EventStoreServer::from_arc(Arc::clone(&self.0))
            .max_decoding_message_size(self.0.request_bytes_max());
        tower::Service::call(&mut { server }, request)
    }
}
