//! Serving on a listener, and stopping within a deadline whatever the connections do.
//!
//! Clients that are idle are told to go and go; one that never finished its handshake, or does not answer, would hold a plain
//! graceful stop for ever: after the drain time we no longer wait for it.

use crate::api::DESCRIPTOR;
use crate::api::bkes_server::BkesServer;
use crate::gate::Gate;
use crate::limits::{
    CONNECTION_WINDOW_BYTES, HEADERS_BYTES_MAX, HEALTH_INTERVAL, KEEPALIVE_INTERVAL, KEEPALIVE_TIMEOUT,
    STREAM_WINDOW_BYTES, STREAMS_MAX, ServeOptions,
};
use crate::service::Service;
use std::sync::Arc;
use tokio::net::TcpListener;
use tokio::sync::Notify;
use tonic::transport::Server;
use tonic::transport::server::TcpIncoming;
use tonic_health::server::HealthReporter;

/// How serving ended.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Drained {
    /// Every request and connection ended by itself.
    Whole,
    /// The drain time was over before.
    Cut,
}

/// Serves the contract, health and reflection on `listener` until `shutdown` resolves and the connections are drained.
pub async fn run(
    listener: TcpListener,
    gate: Gate,
    options: ServeOptions,
    shutdown: impl Future<Output = ()>,
) -> Result<Drained, tonic::transport::Error> {
    let (reporter, health) = tonic_health::server::health_reporter();
    let watching = tokio::spawn(report_health(gate.clone(), reporter));
    let reflection = tonic_reflection::server::Builder::configure()
        .register_encoded_file_descriptor_set(DESCRIPTOR)
        .register_encoded_file_descriptor_set(tonic_health::pb::FILE_DESCRIPTOR_SET)
        .build_v1()
        .expect("the committed descriptor is whole: a test reads it");
    let service = BkesServer::new(Service::new(gate, options.clone()))
        .max_decoding_message_size(options.request_bytes_max)
        .max_encoding_message_size(options.reply_bytes_max);
    let stop = Arc::new(Notify::new());
    let stopped = Arc::clone(&stop);
    let serving = Server::builder()
        .initial_stream_window_size(STREAM_WINDOW_BYTES)
        .initial_connection_window_size(CONNECTION_WINDOW_BYTES)
        .max_concurrent_streams(STREAMS_MAX)
        .http2_max_header_list_size(HEADERS_BYTES_MAX)
        .http2_keepalive_interval(Some(KEEPALIVE_INTERVAL))
        .http2_keepalive_timeout(Some(KEEPALIVE_TIMEOUT))
        .add_service(health)
        .add_service(reflection)
        .add_service(service)
        .serve_with_incoming_shutdown(TcpIncoming::from(listener).with_nodelay(Some(true)), async move {
            stopped.notified().await;
        });
    tokio::pin!(serving);
    let ended = tokio::select! {
        ended = &mut serving => ended.map(|()| Drained::Whole),
        () = shutdown => {
            watching.abort();
            stop.notify_one();
            match tokio::time::timeout(options.drain, serving).await {
                Ok(ended) => ended.map(|()| Drained::Whole),
                Err(_) => Ok(Drained::Cut),
            }
        }
    };
    watching.abort();
    ended
}

/// Keeps the health service at what the engine says, for the server as a whole and for the service by name.
async fn report_health(gate: Gate, reporter: HealthReporter) {
    use tonic_health::ServingStatus;
    let mut said = None;
    loop {
        let status = if gate.is_ready() { ServingStatus::Serving } else { ServingStatus::NotServing };
        if said != Some(status) {
            said = Some(status);
            reporter.set_service_status("", status).await;
            reporter.set_service_status("tech.gklijs.bkes.api.Bkes", status).await;
        }
        tokio::time::sleep(HEALTH_INTERVAL).await;
    }
}
