//! Serving a router on a listener: HTTP/1.1, a few connections, and none that holds its place without end.
//!
//! One connection too many is closed as soon as it is made: a probe in a queue would hang until its timeout.

use crate::limits::{ACCEPT_REST, BUFFER_BYTES_MAX, CONNECTIONS_MAX, DRAIN, HEADERS_MAX, HEADERS_WAIT};
use crate::patience::Patience;
use axum::{Extension, Router};
use hyper::server::conn::http1;
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::service::TowerToHyperService;
use std::convert::Infallible;
use std::net::SocketAddr;
use std::pin::pin;
use std::sync::Arc;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpListener;
use tokio::sync::{OwnedSemaphorePermit, Semaphore, watch};
use tokio::task::JoinSet;
use tokio::time::timeout;

/// Who is at the other end of a connection; an extension of each of its requests.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Peer(pub SocketAddr);

/// Serves `router` on `listener` until `shutdown` resolves. Answers that are being written then have half a second to end; after that
/// nothing of this is left.
pub async fn run(listener: TcpListener, router: Router, shutdown: impl Future<Output = ()>) {
    let (stop, stopping) = watch::channel(false);
    let mut connections = JoinSet::new();
    tokio::select! {
        never = accept(&listener, &router, &stopping, &mut connections) => match never {},
        () = shutdown => {}
    }
    drop((listener, router));
    stop.send_replace(true);
    let ended = async { while connections.join_next().await.is_some() {} };
    if timeout(DRAIN, ended).await.is_err() {
        connections.shutdown().await;
    }
}

async fn accept(
    listener: &TcpListener,
    router: &Router,
    stopping: &watch::Receiver<bool>,
    connections: &mut JoinSet<()>,
) -> Infallible {
    let places = Arc::new(Semaphore::new(CONNECTIONS_MAX));
    let mut was_full = false;
    loop {
        // Those that ended are let go here, so that the set is no larger than the most there were at once.
        while connections.try_join_next().is_some() {}
        let (stream, peer) = match listener.accept().await {
            Ok(accepted) => accepted,
            Err(error) => {
                tracing::warn!("a connection to the admin port could not be accepted: {error}");
                tokio::time::sleep(ACCEPT_REST).await;
                continue;
            }
        };
        let Ok(place) = Arc::clone(&places).try_acquire_owned() else {
            if !was_full {
                tracing::warn!("the admin port has {CONNECTIONS_MAX} connections: new ones are closed");
            }
            was_full = true;
            continue;
        };
        was_full = false;
        // Without it a small answer may wait for the client's acknowledgement of the one before; no more than that is lost.
        let _ = stream.set_nodelay(true);
        let router = router.clone().layer(Extension(Peer(peer)));
        connections.spawn(connection(stream, router, stopping.clone(), place));
    }
}

/// Serves one connection to its end; told to stop it ends after the answer that it is at.
async fn connection(
    stream: impl AsyncRead + AsyncWrite + Unpin + Send + 'static,
    router: Router,
    mut stopping: watch::Receiver<bool>,
    _place: OwnedSemaphorePermit,
) {
    let service = TowerToHyperService::new(router);
    let served = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(HEADERS_WAIT)
        .max_buf_size(BUFFER_BYTES_MAX)
        .max_headers(HEADERS_MAX)
        .serve_connection(TokioIo::new(Patience::new(stream)), service);
    let mut served = pin!(served);
    let ended = tokio::select! {
        ended = served.as_mut() => ended,
        () = async { drop(stopping.wait_for(|stopping| *stopping).await) } => {
            served.as_mut().graceful_shutdown();
            served.await
        }
    };
    if let Err(error) = ended {
        tracing::debug!("a connection to the admin port ended: {error}");
    }
}
