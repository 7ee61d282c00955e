//! Serving on a listener, and stopping within a deadline whatever the connections do.
//!
//! The stop has two steps. First every connection is told to go: it takes no new requests and closes after its last answer,
//! an idle one or one that never spoke at once. Whatever is left after the drain time is cut.

use crate::accept::{Taken, accept};
use crate::admission::AdmissionLayer;
use crate::api::DESCRIPTOR;
use crate::dynamic_limits::DynamicLimits;
use crate::gate::Gate;
use crate::health::{self, Watched};
use crate::limits::{
    CUT_WAIT, HEADERS_BYTES_MAX, KEEPALIVE_INTERVAL, KEEPALIVE_TIMEOUT, NARROW, ServeOptions, WIDE, Windows,
};
use crate::peers::Peers;
use crate::phase::{Phase, reaches};
use crate::service::Service;
use crate::v2;
use std::pin::pin;
use tokio::net::TcpListener;
use tokio::sync::{mpsc, watch};
use tokio::time::timeout;
use tokio_stream::StreamExt;
use tokio_stream::wrappers::ReceiverStream;
use tonic::transport::Server;
use tonic::transport::server::Router;
use tonic_health::server::{HealthReporter, HealthService};
use tower::layer::util::{Identity, Stack};

/// How serving ended.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Drained {
    /// Every request and connection ended by itself.
    Whole,
    /// The drain time was over before, and what was left was cut.
    Cut,
}

/// Serves the contract, health and reflection on `listener` until `shutdown` resolves and the connections are drained, which
/// takes [`ServeOptions::drain`] at most.
pub async fn run(
    listener: TcpListener,
    gate: Gate,
    options: ServeOptions,
    shutdown: impl Future<Output = ()>,
) -> Result<Drained, tonic::transport::Error> {
    let watched = Watched { gate: gate.clone(), standby: options.standby };
    let reporter = health::reporter(&watched).await;
    let (phase, phases) = watch::channel(Phase::Serving);
    let serve = |windows: &Windows| {
        let (to, taken) = mpsc::channel(1);
        let incoming = ReceiverStream::new(taken).map(Ok::<_, std::io::Error>);
        let stopping = reaches(phases.clone(), Phase::Stopping);
        let router = router(gate.clone(), reporter.clone(), &options, windows);
        (to, router.serve_with_incoming_shutdown(incoming, stopping))
    };
    let ((wide, serving_wide), (narrow, serving_narrow)) = (serve(&WIDE), serve(&NARROW));
    let taken = Taken { wide, narrow };
    let peers = Peers::new(&options, phases.clone());
    let mut serving = pin!(async { tokio::try_join!(serving_wide, serving_narrow).map(|((), ())| ()) });
    tokio::select! {
        ended = serving.as_mut() => return ended.map(|()| Drained::Whole),
        never = accept(listener, options.connections_max, peers, taken) => match never {},
        never = health::follow(&watched, &reporter) => match never {},
        () = shutdown => {}
    }
    phase.send_replace(Phase::Stopping);
    health::stop(&watched, reporter).await;
    if let Ok(ended) = timeout(options.drain, serving.as_mut()).await {
        return ended.map(|()| Drained::Whole);
    }
    phase.send_replace(Phase::Cut);
    // Their streams fail now, so this takes no time; a defect there must not hold the process either.
    match timeout(CUT_WAIT, serving).await {
        Ok(ended) => ended.map(|()| Drained::Cut),
        Err(_) => Ok(Drained::Cut),
    }
}

/// Every service there is, with the limits of a connection.
fn router(
    gate: Gate,
    reporter: HealthReporter,
    options: &ServeOptions,
    windows: &Windows,
) -> Router<Stack<AdmissionLayer, Identity>> {
    let reflection = || {
        tonic_reflection::server::Builder::configure()
            .register_encoded_file_descriptor_set(DESCRIPTOR)
            .register_encoded_file_descriptor_set(bkes_wire::v2::DESCRIPTOR)
            .register_encoded_file_descriptor_set(tonic_health::pb::FILE_DESCRIPTOR_SET)
    };
    let whole = "the committed descriptor is whole: a test reads it";
    // Tools of some years ago ask for v1alpha alone.
    let (v1, v1alpha) = (reflection().build_v1().expect(whole), reflection().build_v1alpha().expect(whole));
    let health =
        tonic_health::pb::health_server::HealthServer::new(HealthService::from_health_reporter(reporter));
    let event_store = DynamicLimits::new(v2::Service::new(gate.clone(), options.clone()).for_each_call());
    let bkes = DynamicLimits::new(Service::new(gate, options.clone()).for_each_call());
    Server::builder()
        .initial_stream_window_size(windows.stream_bytes)
        .initial_connection_window_size(windows.connection_bytes)
        .max_concurrent_streams(windows.streams_max)
        .http2_max_pending_accept_reset_streams(Some(windows.taken_back_max()))
        .http2_max_header_list_size(HEADERS_BYTES_MAX)
        .http2_keepalive_interval(Some(KEEPALIVE_INTERVAL))
        .http2_keepalive_timeout(Some(KEEPALIVE_TIMEOUT))
        .layer(AdmissionLayer)
        .add_service(health)
        .add_service(v1)
        .add_service(v1alpha)
        .add_service(bkes)
        .add_service(event_store)
}
