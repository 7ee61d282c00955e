//! Clients that send nonsense, do not read, go away, or come in great number: each is its own problem and nobody else's.

use crate::support::{PATIENCE, Server, memory_log, ready_engine, soon};
use bkes_grpc::api::error::{Outcome, Reason};
use bkes_grpc::api::{RetrieveReply, RetrieveRequest, StartRequest, retrieve_reply};
use bkes_grpc::{Channel, Drained, ServeOptions};
use bkes_storage::MemoryStore;
use bkes_testkit::log::Faults;
use bytes::{Buf, BufMut};
use std::time::Duration;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tonic::codec::{Codec, DecodeBuf, Decoder, EncodeBuf, Encoder};
use tonic::{Code, Request, Status};

const SERVICE: &str = "/tech.gklijs.bkes.api.Bkes";

/// Bytes as they are, in both directions.
#[derive(Default)]
struct Raw;

impl Codec for Raw {
    type Encode = Vec<u8>;
    type Decode = Vec<u8>;
    type Encoder = Raw;
    type Decoder = Raw;

    fn encoder(&mut self) -> Raw {
        Raw
    }

    fn decoder(&mut self) -> Raw {
        Raw
    }
}

impl Encoder for Raw {
    type Item = Vec<u8>;
    type Error = Status;

    fn encode(&mut self, item: Vec<u8>, to: &mut EncodeBuf<'_>) -> Result<(), Status> {
        to.put_slice(&item);
        Ok(())
    }
}

impl Decoder for Raw {
    type Item = Vec<u8>;
    type Error = Status;

    fn decode(&mut self, from: &mut DecodeBuf<'_>) -> Result<Option<Vec<u8>>, Status> {
        let mut bytes = vec![0; from.remaining()];
        from.copy_to_slice(&mut bytes);
        Ok(Some(bytes))
    }
}

/// Sends these bytes as the message of a call.
async fn send(channel: &Channel, method: &str, bytes: &[u8]) -> Result<Vec<u8>, Status> {
    let mut grpc = tonic::client::Grpc::new(channel.clone());
    grpc.ready().await.expect("it is connected");
    let path = format!("{SERVICE}/{method}").parse().expect("a path");
    let answer = soon("it is answered", grpc.unary(Request::new(bytes.to_vec()), path, Raw)).await?;
    Ok(answer.into_inner())
}

#[tokio::test(flavor = "multi_thread")]
async fn bytes_that_are_no_message_are_refused_and_the_connection_goes_on() {
    let (_engine, gate) = ready_engine(memory_log(), MemoryStore::new()).await;
    let server = Server::start(gate, ServeOptions::default()).await;
    let channel = server.channel().await;
    let mut client = server.client().await;
    client.start("key").await.expect("it starts");
    let nonsense: [(&str, &[u8]); 7] = [
        ("no tag", &[0xff; 64]),
        ("a field that is cut off", &[0x0a, 0x7f, 1]),
        ("a key that is a number", &[0x08, 0x01]),
        ("a length of 2^64 - 1", &[0x0a, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0x01]),
        ("the field number 0", &[0x02, 0x00]),
        ("the end of a group that never began", &[0x0c]),
        ("a number that does not end", &[0x18, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff]),
    ];
    for (what, bytes) in nonsense {
        for method in ["Start", "Add", "Retrieve"] {
            let refused = send(&channel, method, bytes).await.expect_err(what);
            assert_eq!(refused.code(), Code::Internal, "{what}: {refused:?}");
        }
    }
    let unknown = send(&channel, "Forget", &[]).await.expect_err("there is no such call");
    assert_eq!(unknown.code(), Code::Unimplemented, "{unknown:?}");
    let unknown_field = [0x0a, 3, b'k', b'e', b'y', 0xfa, 0x01, 1, 7];
    send(&channel, "Retrieve", &unknown_field).await.expect("a field of a newer client is skipped");
    assert_eq!(client.retrieve("key").await.expect("it is there").records.len(), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn bytes_that_are_no_http_end_their_connection_and_no_other() {
    let (_engine, gate) = ready_engine(memory_log(), MemoryStore::new()).await;
    let server = Server::start(gate, ServeOptions::default()).await;
    let mut client = server.client().await;
    client.start("key").await.expect("it starts");
    let preface = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";
    let frames: [(&str, Vec<u8>); 4] = [
        (
            "another protocol",
            b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03 and forty bytes more of a handshake".to_vec(),
        ),
        ("a frame larger than allowed", [preface, &[0xff, 0xff, 0xff, 0, 0, 0, 0, 0, 1, 1][..]].concat()),
        ("data of a stream that is not open", [preface, &[0, 0, 1, 0, 0, 0, 0, 0, 9, 7][..]].concat()),
        ("garbage", [&preface[..], &[0x5a; 4_096][..]].concat()),
    ];
    for (what, bytes) in frames {
        let mut stream = TcpStream::connect(server.address).await.expect("it connects");
        stream.write_all(&bytes).await.expect("written");
        let mut said = Vec::new();
        // A reset is an end too.
        let ended = tokio::time::timeout(PATIENCE, stream.read_to_end(&mut said)).await;
        assert!(ended.is_ok(), "{what}: the connection ends");
        assert_eq!(client.retrieve("key").await.expect("it is there").records.len(), 1, "after {what}");
    }
}

/// A call of which only the head of the reply is read.
async fn unread(channel: &Channel, key: &'static str) -> tonic::Streaming<RetrieveReply> {
    let mut grpc = tonic::client::Grpc::new(channel.clone());
    grpc.ready().await.expect("it is connected");
    let request = RetrieveRequest { key: key.into(), ..RetrieveRequest::default() };
    let path = format!("{SERVICE}/Retrieve").parse().expect("a path");
    let codec = tonic_prost::ProstCodec::<RetrieveRequest, RetrieveReply>::default();
    let begun = soon("it begins", grpc.server_streaming(Request::new(request), path, codec)).await;
    begun.expect("it begins").into_inner()
}

/// The story: a request was over when its reply was made, and nothing counted the replies that clients did not read. One client
/// with the 1,024 streams that a connection may have made the server hold 4 GiB.
#[tokio::test(flavor = "multi_thread")]
async fn replies_that_are_not_read_are_bounded_for_each_connection_and_for_all() {
    let (_engine, gate) = ready_engine(memory_log(), MemoryStore::new()).await;
    let options = ServeOptions {
        connection_replies_bytes_max: 20 * 1024 * 1024,
        replies_bytes_max: 30 * 1024 * 1024,
        ..ServeOptions::default()
    };
    let server = Server::start(gate, options).await;
    let mut client = server.client().await;
    let request = StartRequest { key: "large".into(), value: vec![7; 1_000_000].into() };
    client.0.start(request).await.expect("it is stored");
    client.start("small").await.expect("it starts");
    let is_refused = |reply: Option<retrieve_reply::Reply>| match reply.expect("a reply") {
        retrieve_reply::Reply::Success(_) => false,
        retrieve_reply::Reply::Error(error) => {
            assert_eq!((error.reason(), error.outcome()), (Reason::Overloaded, Outcome::Unavailable));
            true
        }
    };
    let mut held = Vec::new();
    for (bounded_by, count) in [("its own bound", 20), ("the bound of all", 10)] {
        let slow = server.channel().await;
        let mut begun = Vec::new();
        for _ in 0..40 {
            begun.push(unread(&slow, "large").await);
        }
        // A refusal is small: it needs no room, but it waits in the connection's window after the rest.
        held.push((bounded_by, count, slow, begun));
    }
    assert!(client.retrieve("small").await.is_ok(), "small replies need no room");
    for (bounded_by, count, _slow, begun) in held {
        // All at once: what is left of the connection's window may go to any of them.
        let reading = begun.into_iter().map(|mut reply| {
            tokio::spawn(async move { soon("it comes", reply.message()).await.expect("it is whole") })
        });
        let mut whole = 0;
        for reply in reading.collect::<Vec<_>>() {
            let reply = reply.await.expect("no panic").expect("a message");
            whole += usize::from(!is_refused(reply.reply));
        }
        // Those that went into the client's own buffers were taken.
        assert!((count..count + 8).contains(&whole), "{whole} replies, {bounded_by}");
    }
    assert!(client.retrieve("large").await.is_ok(), "there is room again");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_client_that_does_not_read_its_replies_holds_up_nobody_and_no_stop() {
    let (_engine, gate) = ready_engine(memory_log(), MemoryStore::new()).await;
    let drain = Duration::from_millis(300);
    let server = Server::start(gate, ServeOptions { drain, ..ServeOptions::default() }).await;
    let mut client = server.client().await;
    let value = vec![7; 1_000_000];
    let request = StartRequest { key: "large".into(), value: value.into() };
    client.0.start(request).await.expect("it is stored");
    client.start("key").await.expect("it starts");
    let slow = server.channel().await;
    let mut begun = Vec::new();
    for _ in 0..50 {
        // Answered as far as the head; of the bodies only the first few fit into the window that nobody empties.
        begun.push(unread(&slow, "large").await);
    }
    for order in 1..100 {
        client.add("key", order).await.expect("others are answered");
    }
    assert_eq!(client.retrieve("key").await.expect("it is there").records.len(), 100);
    let (drained, _) = server.stop().await;
    assert_eq!(drained, Drained::Cut);
    let broken = soon("it is cut", begun[49].message()).await;
    assert!(broken.is_err(), "half a reply is never taken for a reply");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_client_that_is_gone_in_mid_append_leaves_its_event_and_a_free_key() {
    let log = memory_log();
    let (_engine, gate) = ready_engine(log.clone(), MemoryStore::new()).await;
    let server = Server::start(gate, ServeOptions { requests_max: 2, ..ServeOptions::default() }).await;
    let mut client = server.client().await;
    client.start("key").await.expect("it starts");
    for order in 1..10 {
        log.set_faults(Faults { delayed: 1_000, ..Faults::default() });
        let mut gone = server.client().await;
        let call = tokio::spawn(async move { gone.add("key", order).await });
        let asking =
            RetrieveRequest { key: "key".into(), include_pending: true, ..RetrieveRequest::default() };
        soon("it is sent", async {
            while !client.read(asking.clone()).await.expect("it is there").records.iter().any(|r| r.pending) {
                tokio::task::yield_now().await;
            }
        })
        .await;
        call.abort();
        assert!(call.await.expect_err("it is gone").is_cancelled());
        log.set_faults(Faults::default());
        assert!(log.step(), "it was sent");
        soon("it is an event", async {
            while client.retrieve("key").await.expect("it is there").records.len() as u32 <= order {
                tokio::task::yield_now().await;
            }
        })
        .await;
    }
    client.add("key", 10).await.expect("the key is free, and so is every place of those that went away");
}

#[tokio::test(flavor = "multi_thread")]
async fn hundreds_of_idle_connections_leave_the_others_their_answers() {
    let (_engine, gate) = ready_engine(memory_log(), MemoryStore::new()).await;
    let server = Server::start(gate, ServeOptions::default()).await;
    let mut idle = Vec::new();
    for n in 0..300 {
        let mut client = server.client().await;
        client.start(&format!("key-{n}")).await.expect("it starts");
        idle.push(client);
    }
    let mut client = server.client().await;
    client.start("key").await.expect("it starts");
    for order in 1..50 {
        client.add("key", order).await.expect("it is answered");
    }
    for (n, client) in idle.iter_mut().enumerate() {
        assert_eq!(client.retrieve(&format!("key-{n}")).await.expect("it is there").records.len(), 1);
    }
    let (drained, _) = server.stop().await;
    assert_eq!(drained, Drained::Whole, "idle connections hold up no stop");
}
