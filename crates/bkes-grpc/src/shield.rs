//! What stands around every request: a bound on how many are let in, panics kept to the request, and one status put right.
//!
//! A request counts as let in from its headers on, while its message is still being read: the service behind counts only
//! those that it works on, which answers the ones too many in their replies. Between the two bounds lies the room for that.

use crate::api::bkes_server::SERVICE_NAME;
use crate::replies::bound_to_body;
use std::future::poll_fn;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::task::{Context, Poll};
use tokio::sync::Semaphore;
use tonic::body::Body;
use tonic::codegen::http::{Request, Response};
use tonic::{Code, Status};
use tower::{Layer, Service};

/// Puts a [`Shield`] around the services of a server.
#[derive(Clone)]
pub struct ShieldLayer(Arc<Semaphore>);

impl ShieldLayer {
    /// Lets in this many requests of the event store at once. Health checks are always let in: an instance with too much
    /// work must not look dead.
    pub fn new(requests_max: usize) -> ShieldLayer {
        ShieldLayer(Arc::new(Semaphore::new(requests_max.min(Semaphore::MAX_PERMITS))))
    }
}

impl<S> Layer<S> for ShieldLayer {
    type Service = Shield<S>;

    fn layer(&self, inner: S) -> Shield<S> {
        Shield { inner, places: Arc::clone(&self.0) }
    }
}

/// The services of a server, shielded.
#[derive(Clone)]
pub struct Shield<S> {
    inner: S,
    places: Arc<Semaphore>,
}

impl<S> Service<Request<Body>> for Shield<S>
where
    S: Service<Request<Body>, Response = Response<Body>>,
    S::Future: Send + 'static,
{
    type Response = Response<Body>;
    type Error = S::Error;
    type Future = Pin<Box<dyn Future<Output = Result<Response<Body>, S::Error>> + Send>>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), S::Error>> {
        self.inner.poll_ready(cx)
    }

    fn call(&mut self, request: Request<Body>) -> Self::Future {
        let counts = request.uri().path().split('/').nth(1) == Some(SERVICE_NAME);
        let place = counts.then(|| Arc::clone(&self.places).try_acquire_owned());
        if let Some(Err(_)) = place {
            let refused = Status::resource_exhausted("too many requests at once: nothing was stored");
            return Box::pin(async move { Ok(refused.into_http()) });
        }
        let answer = self.inner.call(request);
        Box::pin(async move {
            let _place = place;
            shielded(answer).await.map(with_the_contracts_status).map(bound_to_body)
        })
    }
}

/// Drives an answer to its end. A panic ends the request, not the process; whether it had stored anything is not known.
async fn shielded<E>(answer: impl Future<Output = Result<Response<Body>, E>>) -> Result<Response<Body>, E> {
    let mut answer = pin!(answer);
    poll_fn(|cx| {
        // What a panic left half done is dropped with the answer: no state is shared but the engine's, which has locks.
        catch_unwind(AssertUnwindSafe(|| answer.as_mut().poll(cx))).unwrap_or_else(|_| {
            tracing::error!("a request panicked and is answered INTERNAL");
            let status = Status::internal("the request panicked: an append may or may not be stored");
            Poll::Ready(Ok(status.into_http()))
        })
    })
    .await
}

/// The library refuses a message above the limit as OUT_OF_RANGE. The contract, and every other gRPC server, calls it
/// RESOURCE_EXHAUSTED.
fn with_the_contracts_status(response: Response<Body>) -> Response<Body> {
    match Status::from_header_map(response.headers()) {
        Some(status) if status.code() == Code::OutOfRange => {
            Status::resource_exhausted(status.message()).into_http()
        }
        _ => response,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::convert::Infallible;

    fn code(response: &Response<Body>) -> Option<Code> {
        Status::from_header_map(response.headers()).map(|status| status.code())
    }

    fn request(path: &str) -> Request<Body> {
        Request::builder().uri(path).body(Body::default()).expect("a request")
    }

    #[tokio::test]
    async fn a_panic_ends_the_request_and_nothing_else() {
        for wait in [false, true] {
            let answer = async move {
                if wait {
                    tokio::task::yield_now().await;
                }
                assert!(std::hint::black_box(false), "on purpose");
                Ok::<_, Infallible>(Response::new(Body::default()))
            };
            let response = shielded(answer).await.expect("answered");
            assert_eq!(code(&response), Some(Code::Internal));
        }
    }

    #[test]
    fn requests_above_the_bound_are_refused_before_their_message_is_read() {
        let never = tower::service_fn(|_: Request<Body>| std::future::pending::<Result<_, Infallible>>());
        let mut shield = ShieldLayer::new(2).layer(never);
        let (append, health) = ("/tech.gklijs.bkes.api.Bkes/Add", "/grpc.health.v1.Health/Check");
        let held = [append, append, health].map(|path| shield.call(request(path)));
        let refused = at_first(shield.call(request(append))).expect("it does not wait").expect("answered");
        assert_eq!(code(&refused), Some(Code::ResourceExhausted));
        drop(held);
        assert!(at_first(shield.call(request(append))).is_none(), "there is room again");
    }

    /// What a future says at its first poll.
    fn at_first<T>(future: impl Future<Output = T>) -> Option<T> {
        let mut future = pin!(future);
        match future.as_mut().poll(&mut Context::from_waker(std::task::Waker::noop())) {
            Poll::Ready(value) => Some(value),
            Poll::Pending => None,
        }
    }
}
