//! Bodies that come in pieces, on a clock of the test's.

use super::*;
use crate::shares::Pool;
use http_body::Body as _;
use std::collections::VecDeque;
use std::sync::Arc;
use std::task::Waker;
use tonic::Code;

/// A body that gives these chunks, `None` for a moment without one, and then either ends or gives nothing more.
struct Script {
    chunks: VecDeque<Option<Vec<u8>>>,
    ends: bool,
}

impl http_body::Body for Script {
    type Data = Bytes;
    type Error = Status;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        _: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Status>>> {
        match self.chunks.pop_front() {
            Some(Some(chunk)) => Poll::Ready(Some(Ok(Frame::data(chunk.into())))),
            Some(None) => Poll::Pending,
            None if self.ends => Poll::Ready(None),
            None => Poll::Pending,
        }
    }
}

#[derive(Clone)]
struct Connection {
    share: Arc<Share>,
    phase: watch::Receiver<Phase>,
    server: Arc<watch::Sender<Phase>>,
}

impl HasUnread for Connection {
    fn unread(&self) -> &Share {
        &self.share
    }

    fn phase(&self) -> &watch::Receiver<Phase> {
        &self.phase
    }
}

fn inbound(
    chunks: impl IntoIterator<Item = Option<Vec<u8>>>,
    ends: bool,
    connection: &Connection,
    messages: Messages,
) -> Inbound<Connection> {
    let script = Script { chunks: chunks.into_iter().collect(), ends };
    Inbound::new(Body::new(script), connection.clone(), messages)
}

/// A connection of its own.
fn connection(pool: &Pool) -> Connection {
    let (server, phase) = watch::channel(Phase::Serving);
    Connection { share: Arc::new(pool.share()), phase, server: Arc::new(server) }
}

fn head(bytes: u32) -> Vec<u8> {
    [&[0], &bytes.to_be_bytes()[..]].concat()
}

/// Polls once: whether something came, and what it was worth.
fn poll(body: &mut Inbound<Connection>) -> Poll<Result<(), Code>> {
    let mut cx = Context::from_waker(Waker::noop());
    Pin::new(body).poll_frame(&mut cx).map(|frame| match frame {
        Some(Err(status)) => Err(status.code()),
        _ => Ok(()),
    })
}

const COME: Poll<Result<(), Code>> = Poll::Ready(Ok(()));

#[tokio::test(start_paused = true)]
async fn what_is_there_at_once_takes_no_room_and_what_is_waited_for_takes_what_it_declares() {
    let pool = Pool::new(10_000_000, 1);
    let own = connection(&pool);
    let mut whole = inbound([Some([head(3), vec![1, 2, 3]].concat())], true, &own, Messages::One);
    assert_eq!(poll(&mut whole), COME);
    assert_eq!(whole.taken, 0);
    // The length is split over two chunks; it counts before the rest of the message is there.
    let chunks = [None, Some(head(1_000_000)[..3].to_vec()), Some(head(1_000_000)[3..].to_vec()), None];
    let mut begun = inbound(chunks, false, &own, Messages::One);
    assert_eq!((poll(&mut begun), begun.taken), (Poll::Pending, WAITING_STREAM_BYTES));
    assert_eq!((poll(&mut begun), begun.taken), (COME, WAITING_STREAM_BYTES));
    assert_eq!((poll(&mut begun), begun.taken), (COME, WAITING_STREAM_BYTES + 1_000_000));
    assert_eq!((poll(&mut begun), begun.taken), (Poll::Pending, WAITING_STREAM_BYTES + 1_000_000));
    drop(begun);
    assert_eq!(connection(&pool).share.take(10_000_000), Some(10_000_000), "all came back");
}

#[tokio::test(start_paused = true)]
async fn a_length_for_which_there_is_no_room_is_refused_before_it_is_handed_on() {
    let pool = Pool::new(1_000_000, 1);
    let (own, other) = (connection(&pool), connection(&pool));
    assert_eq!(other.share.take(300_000), Some(300_000));
    let mut refused = inbound([Some(head(900_000))], false, &own, Messages::One);
    assert_eq!(poll(&mut refused), Poll::Ready(Err(Code::ResourceExhausted)));
    drop(refused);
    other.share.give(300_000);
    let mut larger_than_all = inbound([None, Some(head(9_000_000)), None], false, &own, Messages::One);
    assert_eq!(poll(&mut larger_than_all), Poll::Pending);
    assert_eq!(poll(&mut larger_than_all), COME, "nothing else is there");
    assert_eq!((poll(&mut larger_than_all), larger_than_all.taken), (Poll::Pending, 1_000_000));
}

#[tokio::test(start_paused = true)]
async fn a_stream_of_messages_may_rest_between_them_and_not_within_one() {
    let pool = Pool::new(1_000_000, 1);
    let own = connection(&pool);
    let message = [head(100_000), vec![7; 100_000]].concat();
    let (first, second) = (Some(message), Some(head(5)));
    let mut many = inbound([None, first, None, None, second, None, None], false, &own, Messages::Many);
    let hour = std::time::Duration::from_secs(3_600);
    assert_eq!(poll(&mut many), Poll::Pending);
    tokio::time::advance(hour).await;
    assert_eq!(poll(&mut many), COME);
    for _ in 0..2 {
        assert_eq!(poll(&mut many), Poll::Pending, "between two messages");
        tokio::time::advance(hour).await;
    }
    assert_eq!(poll(&mut many), COME);
    assert_eq!((poll(&mut many), many.taken), (Poll::Pending, WAITING_STREAM_BYTES + 5));
    tokio::time::advance(READ_PATIENCE).await;
    assert_eq!(poll(&mut many), Poll::Ready(Err(Code::DeadlineExceeded)));
}

#[tokio::test(start_paused = true)]
async fn a_server_that_stops_waits_a_moment_for_a_message_and_not_for_what_is_there() {
    let pool = Pool::new(1_000_000, 1);
    let own = connection(&pool);
    let chunks = [None, None, Some(head(5)), None, None];
    let mut body = inbound(chunks, false, &own, Messages::One);
    assert_eq!(poll(&mut body), Poll::Pending);
    own.server.send_replace(Phase::Stopping);
    assert_eq!(poll(&mut body), Poll::Pending);
    tokio::time::advance(STOP_PATIENCE).await;
    assert_eq!(poll(&mut body), COME, "what came is taken");
    assert_eq!(poll(&mut body), Poll::Ready(Err(Code::Unavailable)));
    let mut later = inbound([Some([head(1), vec![1]].concat())], true, &own, Messages::One);
    assert_eq!((poll(&mut later), poll(&mut later)), (COME, COME));
}

/// The same bytes in any pieces are the same messages.
#[test]
fn pieces_of_any_size_are_understood_alike() {
    for seed in 0..2_000 {
        let random = &mut fastrand::Rng::with_seed(seed);
        let lengths: Vec<usize> = (0..random.usize(1..5)).map(|_| random.usize(..40)).collect();
        let mut bytes: Vec<u8> = Vec::new();
        lengths.iter().for_each(|length| bytes.extend([head(*length as u32), vec![9; *length]].concat()));
        let mut chunks = Vec::new();
        while !bytes.is_empty() {
            let rest = bytes.split_off(random.usize(1..=bytes.len()));
            chunks.push(Some(std::mem::replace(&mut bytes, rest)));
        }
        let count = chunks.len();
        let pool = Pool::new(1_000_000, 1);
        let mut many = inbound(chunks, true, &connection(&pool), Messages::Many);
        for _ in 0..count {
            assert_eq!(poll(&mut many), COME, "seed {seed}");
        }
        assert!(matches!(many.at, At::Message { left: 0, .. }), "seed {seed}: {lengths:?}");
        assert_eq!(poll(&mut many), COME);
        assert_eq!(many.taken, 0, "seed {seed}");
    }
}
