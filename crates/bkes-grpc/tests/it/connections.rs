//! Connections that do not behave, and the stop of the server: no client can hold it, and none is cut without need.

use crate::support::{Server, gate_to, memory_log, ready_engine, soon, start_engine};
use bkes_grpc::{Drained, Gate, ServeOptions};
use bkes_storage::MemoryStore;
use bkes_testkit::log::Faults;
use std::time::Duration;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tonic_health::pb::HealthCheckRequest;
use tonic_health::pb::health_check_response::ServingStatus;
use tonic_health::pb::health_client::HealthClient;

/// With which every HTTP/2 client begins.
const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";

/// An empty SETTINGS frame, and the acknowledgement of the other side's.
const SETTINGS: &[u8] = &[0, 0, 0, 4, 0, 0, 0, 0, 0, 0, 0, 0, 4, 1, 0, 0, 0, 0];

/// A connection that has sent `bytes` and nothing else.
async fn raw(server: &Server, bytes: &[u8]) -> TcpStream {
    let mut stream = soon("it connects", TcpStream::connect(server.address)).await.expect("it connects");
    stream.write_all(bytes).await.expect("written");
    stream
}

/// Waits until the other side closes; what it says before does not matter.
async fn closed(stream: &mut TcpStream) {
    let mut said = Vec::new();
    // A reset is an end too.
    let _ = stream.read_to_end(&mut said).await;
}

/// Waits for a drain time that would show in the test's duration.
fn long_drain() -> ServeOptions {
    ServeOptions { drain: Duration::from_secs(15), ..ServeOptions::default() }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stop_does_not_wait_for_connections_that_do_nothing() {
    let (_engine, gate) = ready_engine(memory_log(), MemoryStore::new()).await;
    let server = Server::start(gate, long_drain()).await;
    let mut idle = server.client().await;
    idle.start("key").await.expect("it starts");
    let mut silent = raw(&server, b"").await;
    let mut half_way = raw(&server, &PREFACE[..10]).await;
    // So that the server has taken them.
    server.client().await.retrieve("key").await.expect("it is there");
    let address = server.address;
    let (drained, took) = server.stop().await;
    assert_eq!(drained, Drained::Whole);
    assert!(took < Duration::from_secs(5), "it took {took:?}");
    for stream in [&mut silent, &mut half_way] {
        soon("it is closed", closed(stream)).await;
    }
    TcpStream::connect(address).await.expect_err("nobody listens any more");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_request_under_way_is_answered_when_the_server_stops() {
    let log = memory_log();
    let (_engine, gate) = ready_engine(log.clone(), MemoryStore::new()).await;
    log.set_faults(Faults { delayed: 1_000, ..Faults::default() });
    let server = Server::start(gate, long_drain()).await;
    let mut client = server.client().await;
    let call = tokio::spawn(async move { client.start("key").await });
    tokio::time::sleep(Duration::from_millis(200)).await;
    let stopping = server.ask_to_stop();
    tokio::time::sleep(Duration::from_millis(200)).await;
    assert!(!stopping.is_finished(), "it waits for the answer");
    soon("it is sent", async {
        while !log.step() {
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
    })
    .await;
    soon("it is answered", call).await.expect("no panic").expect("it is stored");
    assert_eq!(soon("it stops", stopping).await.expect("no panic"), Drained::Whole);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_left_at_the_deadline_is_cut() {
    let log = memory_log();
    let (_engine, gate) = ready_engine(log.clone(), MemoryStore::new()).await;
    log.set_faults(Faults { delayed: 1_000, ..Faults::default() });
    let server =
        Server::start(gate, ServeOptions { drain: Duration::from_millis(300), ..ServeOptions::default() })
            .await;
    let mut client = server.client().await;
    let request = bkes_grpc::api::StartRequest { key: "key".into(), value: "value".into() };
    let call = tokio::spawn(async move { client.0.start(request).await });
    // One that speaks and then does not answer: it is asked whether it has heard that it should go.
    let mut dead = raw(&server, PREFACE).await;
    tokio::time::sleep(Duration::from_millis(200)).await;
    let (drained, took) = server.stop().await;
    assert_eq!(drained, Drained::Cut);
    assert!((300..3_000).contains(&took.as_millis()), "it took {took:?}");
    soon("the connection is closed", call).await.expect("no panic").expect_err("there is no answer");
    soon("it is closed", closed(&mut dead)).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn connections_above_the_maximum_are_closed_and_the_others_go_on() {
    let (_engine, gate) = ready_engine(memory_log(), MemoryStore::new()).await;
    let server = Server::start(gate, ServeOptions { connections_max: 2, ..ServeOptions::default() }).await;
    let mut first = server.client().await;
    first.start("key").await.expect("it starts");
    let silent = raw(&server, b"").await;
    for _ in 0..3 {
        soon("it is closed", closed(&mut raw(&server, b"").await)).await;
    }
    first.add("key", 1).await.expect("the first goes on");
    drop(silent);
    let mut next = soon("its place is free", async {
        loop {
            let mut stream = raw(&server, PREFACE).await;
            let _ = stream.write_all(SETTINGS).await;
            let mut first_byte = [0];
            // The server's own settings come first; one that is closed gets none.
            if matches!(stream.read(&mut first_byte).await, Ok(1)) {
                return stream;
            }
        }
    })
    .await;
    soon("it is closed", async {
        closed(&mut raw(&server, b"").await).await;
    })
    .await;
    next.write_all(SETTINGS).await.expect("it is open");
    first.add("key", 2).await.expect("the first goes on");
}

/// The clock is the test's: it runs ahead whenever nothing else is to be done.
#[tokio::test(start_paused = true)]
async fn a_connection_without_a_client_behind_it_is_closed() {
    let server = Server::start(Gate::new(), ServeOptions::default()).await;
    let dead = [PREFACE, SETTINGS].concat();
    let table: [(&str, &[u8]); 4] = [
        ("it never speaks", b""),
        ("it does not go on", &PREFACE[..23]),
        ("it does not speak HTTP/2", b"GET / HTTP/1.1\r\nhost: localhost\r\n\r\n"),
        ("it does not answer pings", &dead),
    ];
    for (what, bytes) in table {
        let mut stream = TcpStream::connect(server.address).await.expect("it connects");
        stream.write_all(bytes).await.expect("written");
        let bound = Duration::from_secs(3_600);
        let ended = tokio::time::timeout(bound, closed(&mut stream)).await;
        assert!(ended.is_ok(), "{what}: it is closed within {bound:?}");
    }
}

async fn health(client: &mut HealthClient<bkes_grpc::Channel>) -> ServingStatus {
    let request = HealthCheckRequest { service: String::new() };
    client.check(request).await.expect("health is served").into_inner().status()
}

#[tokio::test(flavor = "multi_thread")]
async fn health_says_serving_exactly_while_the_engine_serves_and_watching_holds_no_stop() {
    let log = memory_log();
    let engine = start_engine(log.clone(), MemoryStore::new());
    let gate = Gate::new();
    let server = Server::start(gate.clone(), long_drain()).await;
    let mut client = HealthClient::new(server.channel().await);
    assert_eq!(health(&mut client).await, ServingStatus::NotServing, "no engine yet");
    let request = HealthCheckRequest { service: "tech.gklijs.bkes.api.Bkes".into() };
    let mut watching = client.watch(request).await.expect("it is known").into_inner();
    let mut next = async || {
        let message = soon("a change is told", watching.message()).await.expect("no error");
        message.map(|answer| answer.status())
    };
    assert_eq!(next().await, Some(ServingStatus::NotServing));
    gate.open(engine.handle());
    assert_eq!(next().await, Some(ServingStatus::Serving));
    assert_eq!(health(&mut client).await, ServingStatus::Serving);
    let (drained, took) = server.stop().await;
    assert_eq!(drained, Drained::Whole);
    assert!(took < Duration::from_secs(5), "it took {took:?}");
    assert_eq!(next().await, Some(ServingStatus::NotServing));
    assert_eq!(next().await, None, "the watching ends");

    // An engine that stops is not healthy either.
    let server = Server::start(gate_to(engine.handle()), ServeOptions::default()).await;
    let mut client = HealthClient::new(server.channel().await);
    assert_eq!(health(&mut client).await, ServingStatus::Serving);
    let stopping = tokio::task::spawn_blocking(move || engine.stop(Duration::ZERO));
    soon("it stops", stopping).await.expect("no panic").expect("it closes");
    soon("it is told", async {
        while health(&mut client).await == ServingStatus::Serving {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    })
    .await;
}
