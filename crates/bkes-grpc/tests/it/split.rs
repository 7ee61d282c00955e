//! What clients see of an aggregate that lies in several partitions, those that know nothing of it first of all.

use crate::support::{Client, Server, gate_to, soon};
use bkes_core::{Header, Partition};
use bkes_engine::{Engine, EngineOptions};
use bkes_grpc::ServeOptions;
use bkes_grpc::api::error::{Outcome, Reason, Type};
use bkes_grpc::api::{Error, RetrieveRequest, StoredRecords};
use bkes_storage::MemoryStore;
use bkes_testkit::log::SimulatedLog;
use std::num::NonZeroU32;
use std::sync::Arc;

/// A topic in which the events 0, 2 and 4 of a key lie in partition 2 and the others, 1 and 3, in partition 0.
async fn serve(split_by_order_headers: bool) -> (Engine, Server) {
    let log = SimulatedLog::new("events", NonZeroU32::new(3).expect("three"));
    for order in 0..5 {
        let partition = Partition(if order % 2 == 0 { 2 } else { 0 });
        let header = Header { name: "order".into(), value: Some(order.to_string().into()) };
        let value = Some(format!("event {order}").into());
        log.append_foreign(partition, Some("book".into()), value, vec![header]);
    }
    let options = EngineOptions { split_by_order_headers, ..EngineOptions::default() };
    let engine = Engine::start(Arc::new(log), Arc::new(MemoryStore::new()), options).expect("it starts");
    soon("the engine becomes ready", engine.handle().ready()).await;
    let server = Server::start(gate_to(engine.handle()), ServeOptions::default()).await;
    (engine, server)
}

fn asking(from_order: Option<u64>, limit: Option<u32>) -> RetrieveRequest {
    RetrieveRequest { key: "book".into(), from_order, limit, include_pending: false }
}

fn values(found: &StoredRecords) -> Vec<String> {
    found.records.iter().map(|record| String::from_utf8_lossy(&record.value).into_owned()).collect()
}

/// Every value, page by page.
async fn paged(client: &mut Client, limit: u32) -> Vec<String> {
    let (mut from, mut all) = (0, Vec::new());
    loop {
        let page = client.read(asking(Some(from), Some(limit))).await.expect("pages are readable");
        assert!(page.split);
        all.extend(values(&page));
        match page.continue_from {
            Some(next) => from = next,
            None => return all,
        }
    }
}

#[track_caller]
fn is_split(error: &Error) {
    let said = (error.r#type(), error.outcome(), error.reason());
    assert_eq!(said, (Type::Server, Outcome::Rejected, Reason::Split), "{error:?}");
    assert!(error.error.contains("partitions 0, 2"), "{error:?}");
}

/// A client of the original took the events of the lowest partition for the first ones: they came as success, and it does not know
/// the field that says that they are no order.
#[tokio::test(flavor = "multi_thread")]
async fn a_split_aggregate_is_an_error_to_who_does_not_page_and_comes_part_by_part_to_who_does() {
    let (_engine, server) = serve(false).await;
    let mut client = server.client().await;
    is_split(&client.read(asking(None, None)).await.expect_err("there is no order"));
    for limit in 1..=6 {
        let parts = ["event 1", "event 3", "event 0", "event 2", "event 4"];
        assert_eq!(paged(&mut client, limit).await, parts, "limit {limit}");
    }
    is_split(&client.add("book", 5).await.expect_err("nothing can be appended"));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_split_aggregate_in_the_order_of_its_headers_is_whole_to_everyone() {
    let (_engine, server) = serve(true).await;
    let mut client = server.client().await;
    let in_order = ["event 0", "event 1", "event 2", "event 3", "event 4"];
    let whole = client.read(asking(None, None)).await.expect("it has an order");
    assert_eq!(
        (values(&whole), whole.split, whole.next_order),
        (in_order.map(str::to_owned).to_vec(), true, Some(5))
    );
    assert!(whole.records.iter().map(|record| record.order).eq((0..5).map(Some)), "{whole:?}");
    for limit in 1..=6 {
        assert_eq!(paged(&mut client, limit).await, in_order, "limit {limit}");
    }
    is_split(&client.add("book", 5).await.expect_err("nothing can be appended"));
}
