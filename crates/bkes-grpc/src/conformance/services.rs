//! The standard services beside the event store, and what is no service.

use super::{LARGE_MESSAGE_BYTES, Suite};
use crate::api::bkes_client::BkesClient;
use crate::api::{AddRequest, StartRequest};
use std::time::Instant;
use tonic::Code;
use tonic_health::pb::HealthCheckRequest;
use tonic_health::pb::health_check_response::ServingStatus;
use tonic_health::pb::health_client::HealthClient;

const SERVICE: &str = "tech.gklijs.bkes.api.Bkes";

const STORE: &str = "bkes.v2.EventStore";

pub async fn check(suite: &Suite) {
    a_ready_engine_is_healthy(suite).await;
    v1::the_contract_can_be_asked_for(suite).await;
    v1alpha::the_contract_can_be_asked_for(suite).await;
    a_message_above_the_limit_ends_the_request_only(suite).await;
}

async fn a_ready_engine_is_healthy(suite: &Suite) {
    let mut client = HealthClient::new(suite.channel.clone());
    let until = Instant::now() + super::PATIENCE;
    for service in ["", SERVICE] {
        let request = HealthCheckRequest { service: service.into() };
        while client.check(request.clone()).await.expect("it is known").get_ref().status()
            != ServingStatus::Serving
        {
            assert!(Instant::now() < until, "a ready engine is healthy ({service:?})");
            tokio::time::sleep(crate::limits::HEALTH_INTERVAL).await;
        }
    }
    let unknown = client.check(HealthCheckRequest { service: "unknown".into() }).await;
    assert_eq!(unknown.expect_err("nobody has that name").code(), Code::NotFound);
}

/// Asks for the contract in one version of the reflection service: their messages are the same, by other names.
macro_rules! reflection {
    ($version:ident) => {
        mod $version {
            use super::{SERVICE, STORE, Suite};
            use tonic_reflection::pb::$version::server_reflection_client::ServerReflectionClient;
            use tonic_reflection::pb::$version::server_reflection_request::MessageRequest;
            use tonic_reflection::pb::$version::server_reflection_response::MessageResponse;
            use tonic_reflection::pb::$version::{ServerReflectionRequest, ServiceResponse};

            pub async fn the_contract_can_be_asked_for(suite: &Suite) {
                let mut client = ServerReflectionClient::new(suite.channel.clone());
                let mut ask = async |request| {
                    let message_request = Some(request);
                    let request = ServerReflectionRequest { host: String::new(), message_request };
                    let mut answers = client
                        .server_reflection_info(super::One(Some(request)))
                        .await
                        .expect("reflection is served")
                        .into_inner();
                    answers.message().await.expect("it answers").and_then(|answer| answer.message_response)
                };
                let services = match ask(MessageRequest::ListServices(String::new())).await {
                    Some(MessageResponse::ListServicesResponse(list)) => list.service,
                    other => panic!("services are listed: {other:?}"),
                };
                for name in [SERVICE, STORE, "grpc.health.v1.Health"] {
                    let service = ServiceResponse { name: name.into() };
                    assert!(services.contains(&service), "{name} is listed: {services:?}");
                }
                for contract in [SERVICE, STORE] {
                    match ask(MessageRequest::FileContainingSymbol(contract.into())).await {
                        Some(MessageResponse::FileDescriptorResponse(files)) => {
                            assert!(
                                !files.file_descriptor_proto.is_empty(),
                                "{contract} comes with its file"
                            );
                        }
                        other => panic!("{contract} is described: {other:?}"),
                    }
                }
            }
        }
    };
}

reflection!(v1);
reflection!(v1alpha);

/// A stream of one request.
struct One<T>(Option<T>);

impl<T: Unpin> tonic::codegen::tokio_stream::Stream for One<T> {
    type Item = T;

    fn poll_next(
        mut self: std::pin::Pin<&mut Self>,
        _: &mut std::task::Context<'_>,
    ) -> std::task::Poll<Option<T>> {
        std::task::Poll::Ready(self.0.take())
    }
}

async fn a_message_above_the_limit_ends_the_request_only(suite: &Suite) {
    let mut client = BkesClient::new(suite.channel.clone());
    let key = suite.key("message");
    let value = vec![0; LARGE_MESSAGE_BYTES + 1].into();
    let refused = client.start(StartRequest { key: key.clone(), value }).await.expect_err("it is too large");
    assert_eq!(refused.code(), Code::ResourceExhausted, "{refused:?}");
    let request = AddRequest { key, value: "value".into(), order: 1 };
    client.add(request).await.expect("the connection goes on");
}
