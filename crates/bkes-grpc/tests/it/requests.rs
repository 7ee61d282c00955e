//! What becomes of requests when something is wrong: too many of them, too large, a slow log, a panic, no engine yet.

use crate::support::{Client, Server, memory_log, ready_engine, soon};
use bkes_core::{Key, Order, Partition};
use bkes_grpc::api::error::{Outcome, Reason, Type};
use bkes_grpc::api::{Error, RetrieveRequest, StartRequest};
use bkes_grpc::{Gate, ServeOptions};
use bkes_storage::{
    Durability, EventOutline, Head, Heads, KeyPage, KeyRange, Loaded, MemoryStore, OutlinePart, ReadPart,
    Store, StoreBatch, StoreError, StoreIdentity, StoreStats, StoredEvent,
};
use bkes_testkit::log::{Faults, SimulatedLog};
use std::time::Duration;
use tokio::task::JoinHandle;
use tonic::Code;

/// From here on every record is on its way until the log is stepped.
fn hold(log: &SimulatedLog) {
    log.set_faults(Faults { delayed: 1_000, ..Faults::default() });
}

fn says(error: &Error) -> (Type, Outcome, Reason) {
    (error.r#type(), error.outcome(), error.reason())
}

/// Steps the log until `call` is answered.
async fn answered<T>(log: &SimulatedLog, call: JoinHandle<T>) -> T {
    soon("the call is answered", async {
        while !call.is_finished() {
            log.step();
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
        call.await.expect("it does not panic")
    })
    .await
}

fn spawn_start(
    client: &Client,
    key: &'static str,
) -> JoinHandle<Result<bkes_grpc::api::StoreSuccess, Error>> {
    let mut client = client.clone();
    tokio::spawn(async move { client.start(key).await })
}

#[tokio::test(flavor = "multi_thread")]
async fn one_request_too_many_is_answered_as_overloaded_in_its_reply() {
    let log = memory_log();
    let (_engine, gate) = ready_engine(log.clone(), MemoryStore::new()).await;
    hold(&log);
    let server = Server::start(gate, ServeOptions { requests_max: 1, ..ServeOptions::default() }).await;
    let mut client = server.client().await;

    let first = spawn_start(&client, "first");
    soon("the place is taken", async {
        while log.on_the_way() < 1 {
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
    })
    .await;
    let refused = client.retrieve("nothing").await.expect_err("a read is refused");
    assert_eq!(says(&refused), (Type::Server, Outcome::Unavailable, Reason::Overloaded));
    let refused = client.start("second").await.expect_err("an append is refused too");
    assert_eq!(says(&refused), (Type::Server, Outcome::Unavailable, Reason::Overloaded));

    answered(&log, first).await.expect("the one that was let in is stored");
    let second = client.retrieve("second").await.expect_err("there is room again");
    assert_eq!(second.reason(), Reason::NoSuchAggregate, "a refused append stores nothing");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_message_above_the_limit_is_refused_and_the_connection_goes_on() {
    let log = memory_log();
    log.set_record_bytes_max(1_000);
    let (_engine, gate) = ready_engine(log, MemoryStore::new()).await;
    let server =
        Server::start(gate, ServeOptions { request_bytes_max: 1_000, ..ServeOptions::default() }).await;
    let mut client = server.client().await;
    for bytes in [1024 * 1024 + 1_000, 8 * 1024 * 1024] {
        let request = StartRequest { key: "key".into(), value: vec![7; bytes].into() };
        let refused = soon("it is refused", client.0.start(request)).await.expect_err("it is too large");
        assert_eq!(refused.code(), Code::ResourceExhausted, "{refused:?}");
    }
    client.start("key").await.expect("nothing was stored, and the connection goes on");
}

fn sized(key: &str, bytes: usize) -> StartRequest {
    StartRequest { key: key.to_owned().into(), value: vec![7; bytes].into() }
}

fn outcome(reply: bkes_grpc::api::StartReply) -> Result<bkes_grpc::api::StoreSuccess, Box<Error>> {
    match reply.reply.expect("a reply") {
        bkes_grpc::api::start_reply::Reply::Success(stored) => Ok(stored),
        bkes_grpc::api::start_reply::Reply::Error(error) => Err(Box::new(error)),
    }
}

/// The story: requests were limited to 4 MiB, so that a topic that takes 10 MB could not be written to through gRPC.
#[tokio::test(flavor = "multi_thread")]
async fn the_limit_of_a_request_follows_what_the_log_takes() {
    let log = memory_log();
    let (_engine, gate) = ready_engine(log.clone(), MemoryStore::new()).await;
    let server = Server::start(gate, ServeOptions::default()).await;
    let mut client = server.client().await;
    let large = 10_000_000;
    let refused = client.0.start(sized("a", large)).await.expect_err("the log takes 1 MiB");
    assert_eq!(refused.code(), Code::ResourceExhausted);
    log.set_record_bytes_max(large as u64 + 1_000);
    let stored = client.0.start(sized("a", large)).await.expect("it is read").into_inner();
    outcome(stored).expect("it is stored");
    let refused = client.0.start(sized("b", large + 500_000)).await.expect("it is read").into_inner();
    let refused = outcome(refused).expect_err("the log does not take it");
    assert_eq!(says(&refused), (Type::User, Outcome::Rejected, Reason::TooLarge));
    assert_eq!(refused.limit_bytes, Some(large as u64 + 1_000));
    let refused = client.0.start(sized("b", large + 2_000_000)).await.expect_err("there is a limit still");
    assert_eq!(refused.code(), Code::ResourceExhausted);
}

/// The story: requests worked on were bounded by their number alone; 4,096 of the largest would have been gigabytes.
#[tokio::test(flavor = "multi_thread")]
async fn requests_that_hold_too_many_bytes_together_are_answered_as_overloaded() {
    let log = memory_log();
    let (_engine, gate) = ready_engine(log.clone(), MemoryStore::new()).await;
    hold(&log);
    let options = ServeOptions { working_bytes_max: 1_000_000, ..ServeOptions::default() };
    let server = Server::start(gate, options).await;
    let client = server.client().await;
    let start = |key: &'static str, bytes: usize| {
        let mut client = client.clone();
        tokio::spawn(async move {
            outcome(client.0.start(sized(key, bytes)).await.expect("answered").into_inner())
        })
    };
    let first = start("first", 600_000);
    soon("it is on its way", async {
        while log.on_the_way() == 0 {
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
    })
    .await;
    let refused = start("second", 600_000).await.expect("no panic").expect_err("there is no room");
    assert_eq!(says(&refused), (Type::Server, Outcome::Unavailable, Reason::Overloaded));
    let mut other = server.client().await;
    let small = tokio::spawn(async move {
        outcome(other.0.start(sized("small", 1_000)).await.expect("answered").into_inner())
    });
    soon("a small one of another connection has room", async {
        while log.on_the_way() < 2 {
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
    })
    .await;
    answered(&log, first).await.expect("it is stored");
    answered(&log, small).await.expect("it is stored");
    // Larger than the whole bound, and let in when nothing else is there.
    answered(&log, start("second", 1_020_000)).await.expect("there is room again");
    let mut reader = client.clone();
    assert_eq!(reader.retrieve("second").await.expect("it is read").records.len(), 1);
    let held = start("held", 10_000);
    soon("it is on its way", async {
        while log.on_the_way() == 0 {
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
    })
    .await;
    let refused = reader.retrieve("second").await.expect_err("what a read finds counts as well");
    assert_eq!(says(&refused), (Type::Server, Outcome::Unavailable, Reason::Overloaded));
    answered(&log, held).await.expect("it is stored");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_pending_event_is_shown_to_who_asks_for_it_and_to_nobody_else() {
    let log = memory_log();
    let (_engine, gate) = ready_engine(log.clone(), MemoryStore::new()).await;
    let server = Server::start(gate, ServeOptions::default()).await;
    let mut client = server.client().await;
    client.start("key").await.expect("it starts");
    hold(&log);
    let mut other = client.clone();
    let adding = tokio::spawn(async move { other.add("key", 1).await });

    let asking = RetrieveRequest { key: "key".into(), include_pending: true, ..RetrieveRequest::default() };
    let found = soon("the add is under way", async {
        loop {
            let found = client.read(asking.clone()).await.expect("it is there");
            if found.records.len() > 1 {
                return found;
            }
        }
    })
    .await;
    let pending = &found.records[1];
    assert_eq!((pending.partition, pending.offset, pending.timestamp), (-1, -1, -1), "{pending:?}");
    assert_eq!((pending.pending, pending.order), (true, Some(1)));
    assert_eq!(found.next_order, Some(1), "it is no ground to add on");
    assert_eq!(client.retrieve("key").await.expect("it is there").records.len(), 1, "who does not ask");
    let one = RetrieveRequest { limit: Some(1), ..asking.clone() };
    let whole = client.read(one).await.expect("it is there");
    assert_eq!((whole.records.len(), whole.more), (2, false), "a pending event does not count");

    answered(&log, adding).await.expect("it is stored");
    let found = client.read(asking).await.expect("it is there");
    assert!(found.records.iter().all(|record| !record.pending), "{found:?}");
}

/// A store that panics when it is asked for one key, and when it is to read the events of another, of which there are a million.
struct Mined(MemoryStore);

const MINE: &[u8] = b"mine";

const MILLION: &[u8] = b"million";

impl Store for Mined {
    fn load(&self) -> Result<Loaded, StoreError> {
        self.0.load()
    }

    fn set_identity(&self, identity: &StoreIdentity) -> Result<(), StoreError> {
        self.0.set_identity(identity)
    }

    fn heads(&self, keys: &[Key], out: &mut Vec<Heads>) -> Result<(), StoreError> {
        assert!(keys.iter().all(|key| key.as_ref() != MINE), "on purpose");
        if keys.iter().any(|key| key.as_ref() == MILLION) {
            let (partition, base, next) = (Partition(0), Order(0), Order(1_000_000));
            out.push(Heads::One(Head { partition, base, next }));
            return Ok(());
        }
        self.0.heads(keys, out)
    }

    fn keys(&self, range: KeyRange<'_>) -> Result<KeyPage, StoreError> {
        self.0.keys(range)
    }

    fn read(&self, part: ReadPart<'_>, out: &mut Vec<StoredEvent>) -> Result<(), StoreError> {
        assert!(part.key.as_ref() != MILLION, "on purpose");
        self.0.read(part, out)
    }

    fn outlines(&self, part: OutlinePart<'_>, out: &mut Vec<EventOutline>) -> Result<(), StoreError> {
        self.0.outlines(part, out)
    }

    fn commit(&self, batch: &StoreBatch, durability: Durability) -> Result<(), StoreError> {
        self.0.commit(batch, durability)
    }

    fn reopen(&self) -> Result<Loaded, StoreError> {
        self.0.reopen()
    }

    fn drop_partition(&self, partition: Partition) -> Result<(), StoreError> {
        self.0.drop_partition(partition)
    }

    fn sweep(&self) -> Result<bool, StoreError> {
        self.0.sweep()
    }

    fn reset(&self) -> Result<(), StoreError> {
        self.0.reset()
    }

    fn close(&self) -> Result<(), StoreError> {
        self.0.close()
    }

    fn stats(&self) -> StoreStats {
        self.0.stats()
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_panic_in_a_request_is_answered_internal_and_the_connection_goes_on() {
    let (_engine, gate) = ready_engine(memory_log(), Mined(MemoryStore::new())).await;
    let server = Server::start(gate, ServeOptions { requests_max: 1, ..ServeOptions::default() }).await;
    let mut client = server.client().await;
    // More often than there are places: each gives its own back.
    for _ in 0..5 {
        let request = RetrieveRequest { key: MINE.into(), ..RetrieveRequest::default() };
        let failed = soon("it is answered", client.0.retrieve(request)).await.expect_err("it panics");
        assert_eq!(failed.code(), Code::Internal, "{failed:?}");
    }
    client.start("key").await.expect("the next call works");
    assert_eq!(client.retrieve("key").await.expect("it is there").records.len(), 1);
}

/// The story: an unpaged read of a million tiny events took 200 MB before it was refused.
#[tokio::test(flavor = "multi_thread")]
async fn a_read_of_more_events_than_a_reply_can_hold_is_refused_before_it_is_made() {
    let (_engine, gate) = ready_engine(memory_log(), Mined(MemoryStore::new())).await;
    let server = Server::start(gate, ServeOptions::default()).await;
    let mut client = server.client().await;
    let request = RetrieveRequest { key: MILLION.into(), ..RetrieveRequest::default() };
    let refused = client.read(request.clone()).await.expect_err("it cannot fit");
    assert_eq!(says(&refused), (Type::User, Outcome::Rejected, Reason::ReplyTooLarge));
    let limit = ServeOptions::default().reply_bytes_max as u64;
    assert_eq!((refused.size_bytes, refused.limit_bytes), (Some(limit + 1), Some(limit)));
    let page = RetrieveRequest { limit: Some(10), ..request };
    let failed = client.0.retrieve(page).await.expect_err("it is read, which panics");
    assert_eq!(failed.code(), Code::Internal);
}

#[tokio::test(flavor = "multi_thread")]
async fn before_there_is_an_engine_calls_are_answered_unavailable() {
    let server = Server::start(Gate::new(), ServeOptions::default()).await;
    let mut client = server.client().await;
    let answers = [
        client.start("key").await.expect_err("there is no engine"),
        client.add("key", 1).await.expect_err("there is no engine"),
        client.retrieve("key").await.expect_err("there is no engine"),
    ];
    for error in answers {
        assert_eq!(says(&error), (Type::Server, Outcome::Unavailable, Reason::CatchingUp));
    }
}
