//! Asking a running server whether it is ready, for containers.

use std::time::Duration;
use tonic::transport::{Channel, Endpoint};
use tonic_health::pb::HealthCheckRequest;
use tonic_health::pb::health_check_response::ServingStatus;
use tonic_health::pb::health_client::HealthClient;

/// Why a server did not say that it is ready.
#[derive(Debug, thiserror::Error)]
pub enum HealthError {
    /// It cannot be reached.
    #[error("{address} does not answer: {source}")]
    Unreachable {
        /// Who was asked.
        address: String,
        /// What went wrong.
        source: tonic::transport::Error,
    },
    /// It answered with a status.
    #[error("{address} refused: {status}")]
    Refused {
        /// Who was asked.
        address: String,
        /// What it said.
        status: Box<tonic::Status>,
    },
    /// It is up, and not ready.
    #[error("{address} is not ready")]
    NotReady {
        /// Who was asked.
        address: String,
    },
}

/// Asks the health service at `address` (host:port) once, for at most five seconds.
pub async fn check_health(address: &str) -> Result<(), HealthError> {
    let unreachable = |source| HealthError::Unreachable { address: address.to_owned(), source };
    let endpoint = Endpoint::from_shared(format!("http://{address}")).map_err(unreachable)?;
    let endpoint = endpoint.connect_timeout(Duration::from_secs(5)).timeout(Duration::from_secs(5));
    let channel: Channel = endpoint.connect().await.map_err(unreachable)?;
    let request = HealthCheckRequest { service: String::new() };
    let answer = HealthClient::new(channel)
        .check(request)
        .await
        .map_err(|status| HealthError::Refused { address: address.to_owned(), status: Box::new(status) })?;
    if answer.into_inner().status() == ServingStatus::Serving {
        return Ok(());
    }
    Err(HealthError::NotReady { address: address.to_owned() })
}
