//! Taking connections: up to a limit, each only as long as it speaks HTTP/2, and none beyond the stop of the server.
//!
//! The library behind us serves whatever stream we hand it and cannot end one that never began to speak: it waits for the
//! client's first bytes without a limit, also when it was told to stop. So every connection is a [`Connection`]: a stream that
//! fails when its time is over, which ends it in the library too.
//!
//! This file does not know what is served.

use crate::gathering::Gathering;
use crate::inbound::HasUnread;
use crate::limits::{ACCEPT_REST, PREFACE_BYTES, PREFACE_WAIT, WIDE_CONNECTIONS};
use crate::peers::{Peer, Peers};
use crate::phase::{Phase, reaches};
use std::convert::Infallible;
use std::io::{self, IoSlice};
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{OwnedSemaphorePermit, Semaphore, TryAcquireError, mpsc};
use tonic::transport::server::Connected;

/// Where connections go: the first ones to a server that gives them wide windows, those above to one with narrow windows.
pub struct Taken {
    pub wide: mpsc::Sender<Connection>,
    pub narrow: mpsc::Sender<Connection>,
}

/// Takes connections for ever and hands them to `taken`. The listener closes when this is dropped.
///
/// One too many is closed, and does not wait in the system's queue for another to end. Connections of gRPC live for hours, so that
/// waiting has no end that could be told; a client in the queue counts as connected, and its calls, health checks too, would hang
/// until their deadlines. A connection that is closed is UNAVAILABLE at once: clients go to another address, or come again
/// after a pause that grows.
pub async fn accept(listener: TcpListener, connections_max: usize, peers: Peers, taken: Taken) -> Infallible {
    let places = Arc::new(Semaphore::new(connections_max.min(Semaphore::MAX_PERMITS)));
    let wide_places = Arc::new(Semaphore::new(WIDE_CONNECTIONS));
    let mut was_full = false;
    loop {
        let stream = match listener.accept().await {
            Ok((stream, _)) => stream,
            Err(error) => {
                // Out of file descriptors, as a rule: asking again at once would only burn the processor.
                tracing::warn!("a connection could not be accepted: {error}");
                tokio::time::sleep(ACCEPT_REST).await;
                continue;
            }
        };
        let place = match Arc::clone(&places).try_acquire_owned() {
            Ok(place) => place,
            Err(TryAcquireError::NoPermits | TryAcquireError::Closed) => {
                // Once for each time it fills up: a flood of connections must not become a flood of messages.
                if !was_full {
                    tracing::warn!("there are {connections_max} connections: new ones are closed");
                }
                was_full = true;
                continue;
            }
        };
        was_full = false;
        if let Err(error) = stream.set_nodelay(true) {
            tracing::debug!("a connection ended before it was served: {error}");
            continue;
        }
        let wide = Arc::clone(&wide_places).try_acquire_owned().ok();
        let to = if wide.is_some() { &taken.wide } else { &taken.narrow };
        let places = Places { _one: place, _wide: wide };
        if to.send(Connection::new(stream, peers.connection(), places)).await.is_err() {
            // Nobody serves any more: whoever runs this is about to drop it.
            std::future::pending::<()>().await;
        }
    }
}

type Waiting = Pin<Box<dyn Future<Output = ()> + Send>>;

/// A connection's stream that fails when the connection has to end.
pub struct Connection {
    stream: Gathering<TcpStream>,
    /// What the client has still to send before it counts as one; from then on HTTP/2 pings watch over it.
    preface_bytes_left: usize,
    /// Resolves when a client without a preface is waited for no longer; `None` once it is there.
    patience: Option<Waiting>,
    cut: Waiting,
    is_over: bool,
    peer: Peer,
    _places: Places,
}

/// What a connection occupies for as long as it lives.
struct Places {
    _one: OwnedSemaphorePermit,
    _wide: Option<OwnedSemaphorePermit>,
}

impl Connection {
    fn new(stream: TcpStream, peer: Peer, places: Places) -> Connection {
        let phase = peer.phase().clone();
        let stopping = reaches(phase, Phase::Stopping);
        let patience = async move {
            // Early or late, the answer is the same: no longer.
            let _ = tokio::time::timeout(PREFACE_WAIT, stopping).await;
        };
        Connection {
            stream: Gathering::new(stream),
            preface_bytes_left: PREFACE_BYTES,
            patience: Some(Box::pin(patience)),
            cut: Box::pin(peer.clone().until_cut()),
            is_over: false,
            peer,
            _places: places,
        }
    }

    /// Fails when the connection's time is over, and sees to it that the task is woken when that happens.
    fn go_on(&mut self, cx: &mut Context<'_>) -> io::Result<()> {
        if !self.is_over {
            let impatient =
                self.patience.as_mut().is_some_and(|patience| patience.as_mut().poll(cx).is_ready());
            self.is_over = impatient || self.cut.as_mut().poll(cx).is_ready();
        }
        if self.is_over { Err(io::ErrorKind::ConnectionAborted.into()) } else { Ok(()) }
    }
}

impl AsyncRead for Connection {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        self.go_on(cx)?;
        let before = buf.filled().len();
        ready!(Pin::new(&mut self.stream).poll_read(cx, buf))?;
        if self.patience.is_some() {
            let came = buf.filled().len() - before;
            self.preface_bytes_left = self.preface_bytes_left.saturating_sub(came);
            if self.preface_bytes_left == 0 {
                self.patience = None;
            }
        }
        Poll::Ready(Ok(()))
    }
}

impl AsyncWrite for Connection {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        self.go_on(cx)?;
        Pin::new(&mut self.stream).poll_write(cx, buf)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        self.go_on(cx)?;
        Pin::new(&mut self.stream).poll_write_vectored(cx, bufs)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(cx)
    }
}

impl Connected for Connection {
    type ConnectInfo = Peer;

    fn connect_info(&self) -> Peer {
        self.peer.clone()
    }
}
