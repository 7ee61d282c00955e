//! The standard health service, kept at what the engine says, and asking a running server for it, for containers.

use crate::api::bkes_server::SERVICE_NAME;
use crate::gate::Gate;
use crate::limits::HEALTH_INTERVAL;
use std::convert::Infallible;
use std::time::Duration;
use tonic::transport::{Channel, Endpoint};
use tonic_health::ServingStatus as Status;
use tonic_health::pb::HealthCheckRequest;
use tonic_health::pb::health_check_response::ServingStatus;
use tonic_health::pb::health_client::HealthClient;
use tonic_health::server::HealthReporter;

/// A reporter that tells the truth from its first moment. (A new one of the library says that all is well.)
pub async fn reporter(gate: &Gate) -> HealthReporter {
    let reporter = HealthReporter::new();
    say(&reporter, gate.is_ready()).await;
    reporter
}

/// Keeps a reporter at what the engine says, for ever.
pub async fn follow(gate: &Gate, reporter: &HealthReporter) -> Infallible {
    let mut said = None;
    loop {
        let ready = gate.is_ready();
        if said != Some(ready) {
            said = Some(ready);
            say(reporter, ready).await;
        }
        tokio::time::sleep(HEALTH_INTERVAL).await;
    }
}

/// The server stops: whoever watches is told, and the watching ends, so that its connection can close.
pub async fn stop(mut reporter: HealthReporter) {
    say(&reporter, false).await;
    for service in ["", SERVICE_NAME] {
        reporter.clear_service_status(service).await;
    }
}

/// For the server as a whole, and for the service by name.
async fn say(reporter: &HealthReporter, ready: bool) {
    let status = if ready { Status::Serving } else { Status::NotServing };
    for service in ["", SERVICE_NAME] {
        reporter.set_service_status(service, status).await;
    }
}

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

#[cfg(test)]
mod tests {
    use super::*;
    use tonic_health::pb::health_server::Health;
    use tonic_health::server::HealthService;

    /// The library's reporter began with SERVING, and a probe that was quick got to hear it from a server without an engine.
    #[tokio::test]
    async fn the_first_thing_said_is_true() {
        let service = HealthService::from_health_reporter(reporter(&Gate::new()).await);
        for name in ["", SERVICE_NAME] {
            let request = HealthCheckRequest { service: name.into() };
            let answer = service.check(tonic::Request::new(request)).await.expect("it is known");
            assert_eq!(answer.into_inner().status(), ServingStatus::NotServing, "{name:?}");
        }
    }
}
