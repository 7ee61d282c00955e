//! Services with a limit on requests that follows the log's, which is not known before there is an engine. The library fixes the limit with
//! the service, so each call gets one of its own.

use std::convert::Infallible;
use std::task::{Context, Poll};
use tonic::body::Body;
use tonic::codegen::http::{Request, Response};
use tonic::server::NamedService;
use tower::Service;

/// What makes the service of each call. Cheap to clone.
#[derive(Clone)]
pub struct DynamicLimits<F>(F);

impl<F> DynamicLimits<F> {
    pub fn new(of_now: F) -> DynamicLimits<F> {
        DynamicLimits(of_now)
    }
}

impl<F, S> NamedService for DynamicLimits<F>
where
    F: Fn() -> S,
    S: NamedService,
{
    const NAME: &'static str = S::NAME;
}

impl<F, S> Service<Request<Body>> for DynamicLimits<F>
where
    F: Fn() -> S,
    S: Service<Request<Body>, Response = Response<Body>, Error = Infallible>,
{
    type Response = S::Response;
    type Error = S::Error;
    type Future = S::Future;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        // The library's services are always ready.
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: Request<Body>) -> Self::Future {
        (self.0)().call(request)
    }
}
