//! A server as a process before a crowd: idle connections, callers on one key, replies that nobody reads, calls that do not go on.
//! What it takes of memory is printed, and judged where it has a bound. The crowds are small here; `BKES_TEST_CROWD=10000` makes them as large as the limits, for which client and
//! server need that many file descriptors each.

use crate::support::{Client, Server, command};
use bkes_grpc::api::bkes_client::BkesClient;
use bkes_grpc::api::error::{Outcome, Reason};
use bkes_grpc::api::{AddRequest, RetrieveRequest, StartRequest, add_reply};
use bkes_grpc::{Channel, ServeOptions, check_health};
use bytes::Bytes;
use h2::SendStream;
use h2::client::{ResponseFuture, SendRequest};
use std::time::Duration;
use tempfile::TempDir;
use tokio::net::TcpStream;

fn crowd() -> usize {
    std::env::var("BKES_TEST_CROWD").ok().and_then(|text| text.parse().ok()).unwrap_or(300)
}

async fn serve() -> (TempDir, Server, Client) {
    let data = TempDir::new().expect("a directory");
    let server = Server::start(command(data.path()));
    let mut client = server.client().await;
    client.ready().await;
    println!("ready: {}", server.memory());
    (data, server, client)
}

async fn channel(server: &Server) -> Channel {
    let endpoint = Channel::from_shared(format!("http://{}", server.address)).expect("an address");
    endpoint.connect().await.expect("it connects")
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_crowd_of_idle_connections_leaves_the_others_their_answers() {
    let (_data, server, mut client) = serve().await;
    client.start("key", "0").await.expect("it is new");
    let mut idle = Vec::new();
    // One is the client's own.
    for _ in 1..crowd() {
        let mut one = server.client().await;
        assert_eq!(one.values("key").await, ["0"]);
        idle.push(one);
    }
    println!("{} idle connections: {}", idle.len(), server.memory());
    for order in 1..20 {
        client.add("key", order, &order.to_string()).await.expect("it is answered");
    }
    for one in &mut idle {
        assert_eq!(one.values("key").await.len(), 20);
    }
    let (status, took) = server.terminate().await;
    assert!(status.success(), "{status}");
    println!("stopped in {took:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_crowd_of_callers_at_one_order_has_one_winner() {
    let (_data, server, mut client) = serve().await;
    client.start("key", "0").await.expect("it is new");
    let mut channels = Vec::new();
    for _ in 0..16 {
        channels.push(channel(&server).await);
    }
    let calls: Vec<_> = (0..crowd())
        .map(|n| {
            let mut one = BkesClient::new(channels[n % channels.len()].clone());
            let request = AddRequest { key: "key".into(), value: n.to_string().into(), order: 1 };
            tokio::spawn(async move { one.add(request).await.map(|reply| reply.into_inner().reply) })
        })
        .collect();
    let (mut accepted, mut conflicts, mut overloaded) = (0, 0, 0);
    for call in calls {
        match call.await.expect("no panic") {
            Ok(Some(add_reply::Reply::Success(_))) => accepted += 1,
            Ok(Some(add_reply::Reply::Error(error))) if error.reason() == Reason::Conflict => conflicts += 1,
            Ok(Some(add_reply::Reply::Error(error))) => {
                assert_eq!((error.reason(), error.outcome()), (Reason::Overloaded, Outcome::Unavailable));
                overloaded += 1;
            }
            Ok(None) => panic!("an empty reply"),
            Err(status) => {
                assert_eq!(format!("{:?}", status.code()), "ResourceExhausted", "{status:?}");
                overloaded += 1;
            }
        }
    }
    println!("{accepted} accepted, {conflicts} conflicts, {overloaded} overloaded: {}", server.memory());
    assert_eq!(accepted, 1);
    assert_eq!(accepted + conflicts + overloaded, crowd());
    assert_eq!(client.values("key").await.len(), 2);
    client.add("key", 2, "after").await.expect("the key is free");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_crowd_of_replies_that_nobody_reads_is_held_within_bounds() {
    let (_data, server, mut client) = serve().await;
    for order in 0..4 {
        let value = "x".repeat(1_000_000);
        match order {
            0 => client.start("large", &value).await.expect("it is new"),
            order => client.add("large", order, &value).await.expect("its order is next"),
        };
    }
    let slow = channel(&server).await;
    let mut unread = Vec::new();
    for _ in 0..crowd() {
        let mut one = BkesClient::new(slow.clone());
        let request = RetrieveRequest { key: "large".into(), ..RetrieveRequest::default() };
        let mut call = Box::pin(async move { one.retrieve(request).await });
        // Long enough to be sent. From then on nobody asks it for the reply.
        if tokio::time::timeout(Duration::from_millis(3), &mut call).await.is_err() {
            unread.push(call);
        }
    }
    println!("{} replies of 4 MB that nobody reads: {}", unread.len(), server.memory());
    let request = StartRequest { key: "other".into(), value: "0".into() };
    client.0.start(request).await.expect("others are answered");
    assert_eq!(client.values("other").await, ["0"]);
}

/// A call that has begun: what it is answered, and its body.
type Begun = (ResponseFuture, SendStream<Bytes>);

/// Opens every call that a connection may have, and sends the head of a message of 4 MB and `bytes` of it; with 0 not even that.
async fn begin_all(server: &Server, bytes: usize) -> (SendRequest<Bytes>, Vec<Begun>) {
    let stream = TcpStream::connect(&server.address).await.expect("it connects");
    let (send, connection) = h2::client::handshake(stream).await.expect("it speaks HTTP/2");
    tokio::spawn(connection);
    let mut begun = Vec::new();
    for _ in 0..1_024 {
        // Fewer fit once some are refused: a client that is told so begins them again.
        let ready = tokio::time::timeout(Duration::from_secs(1), send.clone().ready()).await;
        let Ok(Ok(mut ready)) = ready else { break };
        let request = http::Request::post("http://localhost/tech.gklijs.bkes.api.Bkes/Start")
            .header("content-type", "application/grpc")
            .body(())
            .expect("a request");
        let (answer, mut body) = ready.send_request(request, false).expect("it is open");
        if bytes > 0 {
            let head = [&[0], &4_000_000u32.to_be_bytes()[..]].concat();
            // A call that was refused meanwhile takes nothing.
            drop(body.send_data([head, vec![7; bytes]].concat().into(), false));
        }
        begun.push((answer, body));
    }
    (send, begun)
}

/// The story: a request counted from its headers on, and nothing weighed what was read of it. Eight clients that opened every stream
/// they might and sent nothing more locked everyone out, while health said SERVING.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_crowd_of_calls_that_do_not_go_on_leaves_the_others_their_answers_within_its_bound_of_memory() {
    let (_data, server, mut client) = serve().await;
    client.start("key", "0").await.expect("it is new");
    // Health follows the engine in steps: it may say so a moment after the first answer.
    while check_health(&server.address).await.is_err() {
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    let before = server.memory_max();
    let mut held = Vec::new();
    for n in 0..12 {
        held.push(begin_all(&server, if n % 2 == 0 { 0 } else { 100_000 }).await);
        client.add("key", n + 1, "value").await.expect("the next one in turn");
        let mut new = server.client().await;
        new.start(&format!("large-{n}"), &"x".repeat(900_000)).await.expect("a large append is taken");
        check_health(&server.address).await.expect("it is serving, and says so");
    }
    let calls: usize = held.iter().map(|(_, begun)| begun.len()).sum();
    println!("{} clients with {calls} calls that do not go on: {}", held.len(), server.memory());
    let bound = ServeOptions::default().unread_bytes_max as u64;
    let took = server.memory_max() - before;
    assert!(took < bound, "{took} bytes more than without them");
    assert_eq!(client.values("key").await.len(), 13);
    let (status, took) = server.terminate().await;
    assert!(status.success(), "{status}");
    println!("stopped in {took:?}");
}
