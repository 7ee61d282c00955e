//! What stands around every request: its message watched over, panics kept to the request, and one status put right.

use crate::inbound::{Inbound, Messages};
use crate::peers::Peer;
use crate::reply_budget::bound_to_body;
use crate::v2;
use std::future::poll_fn;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::pin::{Pin, pin};
use std::task::{Context, Poll};
use tonic::body::Body;
use tonic::codegen::http::{Request, Response};
use tonic::{Code, Status};
use tower::{Layer, Service};

/// Calls whose paths begin so send any number of messages; all others send one.
const STREAMED: [&str; 2] = ["/grpc.reflection.", "/bkes.v2.EventStore/AppendStream"];

/// Puts [`Admission`] around the services of a server.
#[derive(Clone)]
pub struct AdmissionLayer;

impl<S> Layer<S> for AdmissionLayer {
    type Service = Admission<S>;

    fn layer(&self, inner: S) -> Admission<S> {
        Admission(inner)
    }
}

/// The services of a server, with what stands around each request.
#[derive(Clone)]
pub struct Admission<S>(S);

impl<S> Service<Request<Body>> for Admission<S>
where
    S: Service<Request<Body>, Response = Response<Body>>,
    S::Future: Send + 'static,
{
    type Response = Response<Body>;
    type Error = S::Error;
    type Future = Pin<Box<dyn Future<Output = Result<Response<Body>, S::Error>> + Send>>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), S::Error>> {
        self.0.poll_ready(cx)
    }

    fn call(&mut self, request: Request<Body>) -> Self::Future {
        let path = request.uri().path();
        let is_streamed = STREAMED.iter().any(|streamed| path.starts_with(streamed));
        let put_right =
            if path.starts_with(v2::PATH) { v2::with_its_status } else { with_the_contracts_status };
        let messages = if is_streamed { Messages::Many } else { Messages::One };
        let peer = request.extensions().get::<Peer>().cloned().expect("every request carries its connection");
        let answer = self.0.call(request.map(|body| Body::new(Inbound::new(body, peer, messages))));
        Box::pin(async move { without_panic(answer).await.map(put_right).map(bound_to_body) })
    }
}

/// Drives an answer to its end. A panic ends the request, not the process; whether it had stored anything is not known.
async fn without_panic<E>(
    answer: impl Future<Output = Result<Response<Body>, E>>,
) -> Result<Response<Body>, E> {
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
            let response = without_panic(answer).await.expect("answered");
            assert_eq!(code(&response), Some(Code::Internal));
        }
    }
}
