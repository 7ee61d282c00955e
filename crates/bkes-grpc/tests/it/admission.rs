//! Clients that open calls and do not go on with them: silent, dripping, or taking them back. What they began holds up nobody.

use crate::support::raw::{Call, REFLECTION, Raw, START, prefix, start_message};
use crate::support::{Server, memory_log, ready_engine, soon};
use bkes_grpc::api::StartRequest;
use bkes_grpc::{Drained, Gate, ServeOptions};
use bkes_storage::MemoryStore;
use bytes::Bytes;
use std::net::SocketAddr;
use std::time::{Duration, Instant};
use tonic::Code;

/// Clients in a crowd, and the streams that a connection may have open.
const CLIENTS: usize = 12;
const STREAMS: usize = 1_024;

/// Everything that another client may want works: small and large appends, reads, health.
async fn others_are_served(server: &Server, round: usize) {
    let mut client = server.client().await;
    let (small, large) = (format!("small-{round}"), format!("large-{round}"));
    client.start(&small).await.expect("a small append is stored");
    for order in 1..20 {
        client.add(&small, order).await.expect("a small append is stored");
    }
    assert_eq!(client.retrieve(&small).await.expect("it is there").records.len(), 20);
    let request = StartRequest { key: large.clone().into(), value: vec![7; 1_000_000].into() };
    client.0.start(request).await.expect("a large append is taken");
    assert_eq!(client.retrieve(&large).await.expect("it is stored").records.len(), 1);
}

/// The story: a request counted as let in from its headers on. Eight clients that opened every stream they might, and sent nothing
/// more, locked everyone out.
#[tokio::test(flavor = "multi_thread")]
async fn a_dozen_clients_that_say_nothing_or_drip_leave_others_their_answers() {
    let (_engine, gate) = ready_engine(memory_log(), MemoryStore::new()).await;
    let server = Server::start(gate, ServeOptions::default()).await;
    let mut held: Vec<(Raw, Vec<Call>)> = Vec::new();
    for n in 0..CLIENTS {
        let mut client = Raw::connect(server.address).await;
        let mut calls = Vec::new();
        for _ in 0..STREAMS {
            let Ok(Ok(mut call)) = tokio::time::timeout(Duration::from_secs(1), client.begin(START)).await
            else {
                break;
            };
            if n % 2 == 1 {
                call.push(prefix(4_000_000)).expect("it is open");
                call.push(vec![0]).expect("it is open");
            }
            calls.push(call);
        }
        held.push((client, calls));
    }
    others_are_served(&server, 0).await;
    drop(held);
}

/// One client's bursts of calls that it takes back at once. Says how often its connection was closed for that.
async fn take_back(address: SocketAddr, n: usize, bursts: usize) -> usize {
    let (mut client, mut closed) = (Raw::connect(address).await, 0);
    for burst in 0..bursts {
        let mut calls = Vec::new();
        for m in 0..500 {
            let Ok(mut call) = client.begin(START).await else {
                closed += 1;
                client = Raw::connect(address).await;
                break;
            };
            let message = start_message(&format!("burst-{n}-{burst}-{m}"), b"value");
            // On a connection that is being closed it fails, which the next one notices.
            drop(call.body.send_data(message.into(), true));
            calls.push(call);
        }
        if n.is_multiple_of(2) {
            tokio::task::yield_now().await;
        }
        calls.into_iter().for_each(Call::cancel);
    }
    closed
}

/// The story: ten clients that take their calls back in bursts; another one's calls failed.
#[tokio::test(flavor = "multi_thread")]
async fn calls_that_are_taken_back_in_bursts_make_nobody_elses_fail() {
    let (_engine, gate) = ready_engine(memory_log(), MemoryStore::new()).await;
    let server = Server::start(gate, ServeOptions::default()).await;
    let mut client = server.client().await;
    let bursts: Vec<_> = (0..10).map(|n| tokio::spawn(take_back(server.address, n, 20))).collect();
    let mut calls = 0;
    while !bursts.iter().all(tokio::task::JoinHandle::is_finished) {
        client.start(&format!("mine-{calls}")).await.expect("it is stored");
        calls += 1;
    }
    let mut closed = 0;
    for burst in bursts {
        closed += burst.await.expect("no panic");
    }
    println!(
        "{calls} calls of another client were answered; {closed} connections were closed for their bursts"
    );
    assert!(calls > 0, "it was called meanwhile");
}

/// Callers of one connection are each other's neighbours: one that takes back many calls at once must not end the others'.
#[tokio::test(flavor = "multi_thread")]
async fn calls_that_are_taken_back_in_a_burst_do_not_end_their_connection() {
    let (_engine, gate) = ready_engine(memory_log(), MemoryStore::new()).await;
    let server = Server::start(gate, ServeOptions::default()).await;
    let mut client = Raw::connect(server.address).await;
    let kept = client.begin(START).await.expect("it is open");
    for _ in 0..1_000 {
        client.begin(START).await.expect("it is open").cancel();
    }
    let mut kept = kept;
    kept.body.send_data(start_message("key", b"value").into(), true).expect("it is open");
    assert_eq!(soon("it is answered", kept.code()).await, None);
    let mut reader = server.client().await;
    assert_eq!(reader.retrieve("key").await.expect("it is stored").records.len(), 1);
}

/// How a call ends that sends these chunks, each so long after the one before it, and then nothing for an hour.
async fn ending(server: &Server, chunks: &[Vec<u8>], pause: Duration) -> Option<Code> {
    let mut client = Raw::connect(server.address).await;
    let mut call = client.begin(START).await.expect("it is open");
    let (first, rest) = chunks.split_first().map_or((&[][..], &[][..]), |(first, rest)| (&first[..], rest));
    if !first.is_empty() {
        call.push(first.to_vec()).expect("it is open");
    }
    let (mut body, answer) = call.split();
    let rest = rest.to_vec();
    let sending = tokio::spawn(async move {
        for chunk in rest {
            tokio::time::sleep(pause).await;
            if body.send_data(chunk.into(), false).is_err() {
                break;
            }
        }
        tokio::time::sleep(Duration::from_secs(3_600)).await;
        drop(body);
    });
    let code = tokio::time::timeout(Duration::from_secs(1_800), answer.code()).await.expect("it ends");
    sending.abort();
    code
}

/// The clock is the test's: it runs ahead whenever nothing else is to be done.
#[tokio::test(start_paused = true)]
async fn a_call_whose_message_does_not_come_on_is_ended_and_its_connection_goes_on() {
    let server = Server::start(Gate::new(), ServeOptions::default()).await;
    let whole = start_message("key", b"value");
    let drip: Vec<Vec<u8>> = [prefix(4_000_000)].into_iter().chain((0..600).map(|_| vec![7])).collect();
    let table: [(&str, Vec<Vec<u8>>); 5] = [
        ("nothing comes", vec![]),
        ("a part of the head", vec![vec![0, 0]]),
        ("half a message", vec![whole[..8].to_vec()]),
        ("a message and no end", vec![whole]),
        ("a byte now and then", drip),
    ];
    for (what, chunks) in table {
        let code = ending(&server, &chunks, Duration::from_secs(1)).await;
        assert_eq!(code, Some(Code::DeadlineExceeded), "{what}");
    }
}

/// A slow client is served: what comes on is waited for, however long it takes in all.
#[tokio::test(start_paused = true)]
async fn a_message_that_comes_slowly_and_steadily_is_taken() {
    let server = Server::start(Gate::new(), ServeOptions::default()).await;
    let message = start_message("key", &vec![7; 400_000]);
    let mut client = Raw::connect(server.address).await;
    let (mut body, answer) = client.begin(START).await.expect("it is open").split();
    let sending = tokio::spawn(async move {
        let mut chunks = message.chunks(20_000).peekable();
        while let Some(chunk) = chunks.next() {
            tokio::time::sleep(Duration::from_secs(9)).await;
            body.send_data(chunk.to_vec().into(), chunks.peek().is_none()).expect("it is open");
        }
    });
    assert_eq!(answer.code().await, None, "it is answered, in its reply");
    sending.await.expect("all was sent");
}

/// The story: a second message on a call that takes one was read, and another one, for as long as they came.
#[tokio::test(flavor = "multi_thread")]
async fn a_second_message_where_one_is_taken_ends_the_call() {
    let (_engine, gate) = ready_engine(memory_log(), MemoryStore::new()).await;
    let server = Server::start(gate, ServeOptions::default()).await;
    let mut client = Raw::connect(server.address).await;
    let mut call = client.begin(START).await.expect("it is open");
    call.push([start_message("one", b"value"), start_message("two", b"value")].concat()).expect("it is open");
    assert_eq!(soon("it ends", call.code()).await, Some(Code::Internal));
    let mut reader = server.client().await;
    for key in ["one", "two"] {
        assert!(reader.retrieve(key).await.is_err(), "{key} is not stored");
    }
}

/// The HTTP/2 library closes a connection on which too many small frames wait, by a measure that goes with the windows: as many
/// calls as a connection may have open must be within it.
#[tokio::test(flavor = "multi_thread")]
async fn small_calls_on_every_stream_at_once_are_answered_on_wide_and_narrow_connections() {
    let (_engine, gate) = ready_engine(memory_log(), MemoryStore::new()).await;
    let server = Server::start(gate, ServeOptions::default()).await;
    let wide = Raw::connect(server.address).await;
    let mut others = Vec::new();
    for _ in 0..128 {
        others.push(Raw::connect(server.address).await);
    }
    let narrow = others.pop().expect("the last one");
    for (what, mut client, streams) in [("wide", wide, 1_024), ("narrow", narrow, 100)] {
        let mut calls = Vec::new();
        for n in 0..streams {
            let mut call = client.begin(START).await.expect("it is open");
            let message = start_message(&format!("{what}-{n}"), b"");
            call.body.send_data(message.into(), true).expect("it is open");
            calls.push(call);
        }
        for call in calls {
            assert_eq!(soon("it is answered", call.code()).await, None, "{what}: in its reply");
        }
        assert_eq!(client.streams_max(), streams, "{what}");
    }
}

/// What one message too many is told, and that all room comes back.
#[tokio::test(flavor = "multi_thread")]
async fn messages_that_are_waited_for_have_a_bound_and_a_connection_its_share_of_it() {
    let (_engine, gate) = ready_engine(memory_log(), MemoryStore::new()).await;
    let options = ServeOptions { unread_bytes_max: 1_000_000, ..ServeOptions::default() };
    let server = Server::start(gate, options).await;
    for round in 0..3 {
        let mut greedy = Raw::connect(server.address).await;
        let begin = async |client: &mut Raw| {
            let mut call = client.begin(START).await.expect("it is open");
            // It may have been refused already: a body that is waited for takes room before any of it is there.
            let _ = call.push(prefix(200_000));
            call
        };
        let held = begin(&mut greedy).await;
        let mut other = Raw::connect(server.address).await;
        // Refused as soon as the first one was seen: it holds more than a quarter of what is left.
        let refused = soon("it is refused", async {
            loop {
                let call = begin(&mut greedy).await;
                let code = tokio::time::timeout(Duration::from_millis(100), call.code()).await;
                if let Ok(code) = code {
                    return code;
                }
            }
        });
        assert_eq!(refused.await, Some(Code::ResourceExhausted));
        let mut call = begin(&mut other).await;
        let message = start_message(&format!("key-{round}"), &[7; 200_000][..200_000 - 11]);
        assert_eq!(message[..5], prefix(200_000), "as it was said");
        call.body.send_data(message[5..].to_vec().into(), true).expect("it is open");
        assert_eq!(soon("it is answered", call.code()).await, None, "another connection has its share");
        drop(held);
    }
}

/// Calls whose message never came held up every stop for the whole drain time: 10 s by default.
#[tokio::test(flavor = "multi_thread")]
async fn a_stop_does_not_wait_for_messages_that_do_not_come() {
    let (_engine, gate) = ready_engine(memory_log(), MemoryStore::new()).await;
    let drain = Duration::from_secs(15);
    let server = Server::start(gate, ServeOptions { drain, ..ServeOptions::default() }).await;
    let mut client = Raw::connect(server.address).await;
    let silent = client.begin(START).await.expect("it is open");
    let mut half_way = client.begin(START).await.expect("it is open");
    half_way.push(prefix(4_000)).expect("it is open");
    let mut streamed = client.begin(REFLECTION).await.expect("it is open");
    streamed.push(vec![0, 0]).expect("it is open");
    let mut slow = client.begin(START).await.expect("it is open");
    let message = start_message("slow", b"value");
    slow.push(message[..7].to_vec()).expect("it is open");
    // So that all of them are waited for.
    server.client().await.start("other").await.expect("it is stored");
    tokio::time::sleep(Duration::from_millis(200)).await;
    let began = Instant::now();
    let stopping = server.ask_to_stop();
    tokio::time::sleep(Duration::from_millis(50)).await;
    slow.push(message[7..].to_vec()).expect("it is open");
    let (mut end, answer) = slow.split();
    end.send_data(Bytes::new(), true).expect("it is open");
    assert_eq!(soon("it is answered", answer.code()).await, None, "what comes in time is served");
    for call in [silent, half_way] {
        assert_eq!(soon("it is refused", call.code()).await, Some(Code::Unavailable));
    }
    // Whatever the library behind us says of it.
    soon("it ends", streamed.code()).await;
    assert_eq!(soon("it stops", stopping).await.expect("no panic"), Drained::Whole);
    assert!(began.elapsed() < Duration::from_secs(8), "it took {:?}", began.elapsed());
}
