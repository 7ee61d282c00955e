//! The standard health service, kept at what the engine says, and asking a running server for it, for containers.

use crate::api::bkes_server::SERVICE_NAME;
use crate::gate::Gate;
use crate::limits::HEALTH_INTERVAL;
use bkes_wire::v2::event_store_server::SERVICE_NAME as STORE_NAME;
use std::convert::Infallible;
use std::time::Duration;
use tonic::transport::{Channel, Endpoint};
use tonic_health::ServingStatus as Status;
use tonic_health::pb::HealthCheckRequest;
use tonic_health::pb::health_check_response::ServingStatus;
use tonic_health::pb::health_client::HealthClient;
use tonic_health::server::HealthReporter;

/// What health speaks of.
#[derive(Clone)]
pub struct Watched {
    pub gate: Gate,
    /// A standby is well when its store is current, but its calls are not served.
    pub standby: bool,
}

/// A reporter that tells the truth from its first moment. (A new one of the library says that all is well.)
pub async fn reporter(watched: &Watched) -> HealthReporter {
    let reporter = HealthReporter::new();
    say(&reporter, watched, Ready::of(watched)).await;
    reporter
}

/// Keeps a reporter at what the engine says, for ever.
pub async fn follow(watched: &Watched, reporter: &HealthReporter) -> Infallible {
    let mut said = None;
    loop {
        let ready = Ready::of(watched);
        if said != Some(ready) {
            said = Some(ready);
            say(reporter, watched, ready).await;
        }
        tokio::time::sleep(HEALTH_INTERVAL).await;
    }
}

/// The server stops: whoever watches is told, and the watching ends, so that its connection can close.
pub async fn stop(watched: &Watched, mut reporter: HealthReporter) {
    say(&reporter, watched, Ready::default()).await;
    for service in ["", SERVICE_NAME, STORE_NAME] {
        reporter.clear_service_status(service).await;
    }
}

/// What can be served.
#[derive(Clone, Copy, PartialEq, Eq, Default)]
struct Ready {
    engine: bool,
    store: bool,
}

impl Ready {
    fn of(watched: &Watched) -> Ready {
        Ready { engine: watched.gate.is_ready(), store: watched.gate.is_store_ready() }
    }
}

/// For the server as a whole, and for each service by name.
async fn say(reporter: &HealthReporter, watched: &Watched, ready: Ready) {
    let status = |serving| if serving { Status::Serving } else { Status::NotServing };
    reporter.set_service_status("", status(ready.engine || ready.store)).await;
    reporter.set_service_status(SERVICE_NAME, status(ready.engine && !watched.standby)).await;
    reporter.set_service_status(STORE_NAME, status(ready.store && !watched.standby)).await;
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
        let watched = Watched { gate: Gate::new(), standby: false };
        let service = HealthService::from_health_reporter(reporter(&watched).await);
        for name in ["", SERVICE_NAME, STORE_NAME] {
            let request = HealthCheckRequest { service: name.into() };
            let answer = service.check(tonic::Request::new(request)).await.expect("it is known");
            assert_eq!(answer.into_inner().status(), ServingStatus::NotServing, "{name:?}");
        }
    }

    #[tokio::test]
    async fn a_standby_that_is_current_is_well_and_its_service_is_not_serving() {
        for (standby, of_service) in [(false, ServingStatus::Serving), (true, ServingStatus::NotServing)] {
            let watched = Watched { gate: Gate::new(), standby };
            let reporter = reporter(&watched).await;
            say(&reporter, &watched, Ready { engine: true, store: true }).await;
            let service = HealthService::from_health_reporter(reporter);
            let statuses =
                [("", ServingStatus::Serving), (SERVICE_NAME, of_service), (STORE_NAME, of_service)];
            for (name, status) in statuses {
                let request = HealthCheckRequest { service: name.into() };
                let answer = service.check(tonic::Request::new(request)).await.expect("it is known");
                assert_eq!(answer.into_inner().status(), status, "standby {standby}, {name:?}");
            }
        }
    }
}
