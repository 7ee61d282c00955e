//! The contract as it was first published: a client that knows nothing but its fields is understood and understands.
//!
//! The messages are written down here once more, by hand, so that no change of `proto/` can change both sides at once.

use super::Suite;
use bytes::Bytes;
use prost::Message;
use std::fmt::Debug;
use tonic::codegen::http::uri::PathAndQuery;
use tonic::{Request, client::Grpc};
use tonic_prost::ProstCodec;

/// `StartRequest` and `RetrieveRequest` have the first fields of an `AddRequest`.
#[derive(Clone, PartialEq, Message)]
struct OldRequest {
    #[prost(bytes = "bytes", tag = "1")]
    key: Bytes,
    #[prost(bytes = "bytes", tag = "2")]
    value: Bytes,
    #[prost(uint32, tag = "3")]
    order: u32,
}

#[derive(Clone, PartialEq, Message)]
struct OldStored {
    #[prost(int32, tag = "2")]
    partition: i32,
    #[prost(int64, tag = "3")]
    offset: i64,
    #[prost(int64, tag = "4")]
    timestamp: i64,
}

#[derive(Clone, PartialEq, Message)]
struct OldRecord {
    #[prost(bytes = "bytes", tag = "1")]
    value: Bytes,
    #[prost(int32, tag = "2")]
    partition: i32,
    #[prost(int64, tag = "3")]
    offset: i64,
    #[prost(int64, tag = "4")]
    timestamp: i64,
}

#[derive(Clone, PartialEq, Message)]
struct OldRecords {
    #[prost(message, repeated, tag = "1")]
    records: Vec<OldRecord>,
}

#[derive(Clone, PartialEq, Message)]
struct OldError {
    #[prost(int32, tag = "1")]
    r#type: i32,
    #[prost(string, tag = "2")]
    error: String,
    #[prost(string, tag = "3")]
    cause: String,
}

/// A oneof of two messages looks like this on the wire.
#[derive(Clone, PartialEq, Message)]
struct OldReply<Success: Message + Default + Debug> {
    #[prost(message, optional, tag = "1")]
    success: Option<Success>,
    #[prost(message, optional, tag = "2")]
    error: Option<OldError>,
}

const USER: i32 = 0;
const CONCURRENCY: i32 = 1;

pub async fn check(suite: &Suite) {
    a_request_has_the_bytes_it_always_had();
    a_client_of_the_first_contract_works_unchanged(suite).await;
}

fn a_request_has_the_bytes_it_always_had() {
    let request = OldRequest { key: "k".into(), value: "vw".into(), order: 300 };
    let bytes = [0x0a, 1, b'k', 0x12, 2, b'v', b'w', 0x18, 0xac, 0x02];
    assert_eq!(request.encode_to_vec(), bytes);
}

async fn call<Success>(suite: &Suite, name: &str, request: OldRequest) -> Result<Success, OldError>
where
    Success: Message + Default + Debug + Clone + PartialEq + 'static,
{
    let mut grpc = Grpc::new(suite.channel.clone());
    grpc.ready().await.expect("the server is there");
    let path = format!("/tech.gklijs.bkes.api.Bkes/{name}");
    let path = PathAndQuery::try_from(path).expect("a path");
    let codec = ProstCodec::<OldRequest, OldReply<Success>>::default();
    let reply = grpc.unary(Request::new(request), path, codec).await.expect("answered").into_inner();
    match (reply.success, reply.error) {
        (Some(success), None) => Ok(success),
        (None, Some(error)) => Err(error),
        both => panic!("exactly one is set: {both:?}"),
    }
}

async fn a_client_of_the_first_contract_works_unchanged(suite: &Suite) {
    let key = suite.key("old");
    let request = |value: &'static str, order| OldRequest { key: key.clone(), value: value.into(), order };
    let only_key = request("", 0);

    let unknown = call::<OldRecords>(suite, "Retrieve", only_key.clone()).await.expect_err("not there yet");
    assert_eq!(unknown.r#type, USER, "{unknown:?}");
    let first = call::<OldStored>(suite, "Start", request("zero", 0)).await.expect("it starts");
    let second = call::<OldStored>(suite, "Add", request("one", 1)).await.expect("it is added");
    let refusals = [
        call::<OldStored>(suite, "Add", request("stale", 1)).await.expect_err("the order is taken"),
        call::<OldStored>(suite, "Start", request("again", 0)).await.expect_err("it exists"),
    ];
    for refused in refusals {
        assert_eq!(refused.r#type, CONCURRENCY, "{refused:?}");
        assert!(!refused.error.is_empty(), "it has words for people: {refused:?}");
    }
    let found = call::<OldRecords>(suite, "Retrieve", only_key).await.expect("it is there");
    let record = |value: &'static str, stored: OldStored| {
        let OldStored { partition, offset, timestamp } = stored;
        OldRecord { value: value.into(), partition, offset, timestamp }
    };
    assert_eq!(found.records, [record("zero", first), record("one", second)]);
}
