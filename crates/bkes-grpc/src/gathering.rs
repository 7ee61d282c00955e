//! A connection's writes, gathered: what is written while a thread of the runtime works off what is ready leaves in one piece.
//!
//! The library behind us gives every reply of some size to the socket by itself, and that costs more than most requests do: the
//! system carries the bytes to the other side at once, and wakes whoever waits there. So writes are copied, and leave when
//! the thread has run every task that was ready and is about to look for more; or when they have become many. Requests that
//! came together are answered together then, and a lone reply waits for one look of the runtime at its sockets, which takes
//! about a microsecond. Nothing ever waits for a time to pass.

use crate::limits::{GATHERED_BYTES_KEPT, GATHERED_BYTES_MAX};
use std::io::{self, IoSlice};
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Context, Poll, Wake, Waker, ready};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

/// A stream whose flush is put off until the thread's turn is over. Its user must read, write, flush or shut down whenever its task
/// is woken, as every HTTP/2 connection does: what is due leaves then.
pub struct Gathering<S> {
    stream: S,
    gathered: Vec<u8>,
    /// How much of it has left.
    left: usize,
    /// The turn at whose end it leaves.
    turn: Option<Arc<Turn>>,
}

/// What a thread of the runtime does before it looks for I/O again.
struct Turn {
    is_over: AtomicBool,
    task: Waker,
}

impl Wake for Turn {
    fn wake(self: Arc<Self>) {
        self.is_over.store(true, Ordering::Release);
        self.task.wake_by_ref();
    }
}

impl<S: AsyncRead + AsyncWrite + Unpin> Gathering<S> {
    pub fn new(stream: S) -> Gathering<S> {
        Gathering { stream, gathered: Vec::new(), left: 0, turn: None }
    }

    /// Lets everything leave.
    fn leave(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        while self.left < self.gathered.len() {
            let written = ready!(Pin::new(&mut self.stream).poll_write(cx, &self.gathered[self.left..]))?;
            if written == 0 {
                return Poll::Ready(Err(io::ErrorKind::WriteZero.into()));
            }
            self.left += written;
        }
        self.gathered.clear();
        self.gathered.shrink_to(GATHERED_BYTES_KEPT);
        self.left = 0;
        self.turn = None;
        Poll::Ready(Ok(()))
    }

    fn is_due(&self) -> bool {
        self.turn.as_ref().is_some_and(|turn| turn.is_over.load(Ordering::Acquire))
    }

    /// Makes room for so many bytes; says whether there can be.
    fn make_room(&mut self, cx: &mut Context<'_>, bytes: usize) -> Poll<io::Result<bool>> {
        if self.gathered.len() + bytes > GATHERED_BYTES_MAX {
            ready!(self.leave(cx))?;
        }
        Poll::Ready(Ok(bytes <= GATHERED_BYTES_MAX))
    }
}

impl<S: AsyncRead + AsyncWrite + Unpin> AsyncRead for Gathering<S> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        if self.is_due()
            && let Poll::Ready(Err(error)) = self.leave(cx)
        {
            return Poll::Ready(Err(error));
        }
        Pin::new(&mut self.stream).poll_read(cx, buf)
    }
}

impl<S: AsyncRead + AsyncWrite + Unpin> AsyncWrite for Gathering<S> {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        if !ready!(self.make_room(cx, buf.len()))? {
            return Pin::new(&mut self.stream).poll_write(cx, buf);
        }
        self.gathered.extend_from_slice(buf);
        Poll::Ready(Ok(buf.len()))
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let bytes = bufs.iter().map(|buf| buf.len()).sum();
        if !ready!(self.make_room(cx, bytes))? {
            return Pin::new(&mut self.stream).poll_write_vectored(cx, bufs);
        }
        // Where much comes, more follows: room that grew with it would be copied each time.
        let room = if bytes > GATHERED_BYTES_KEPT { GATHERED_BYTES_MAX - self.gathered.len() } else { bytes };
        self.gathered.reserve(room);
        bufs.iter().for_each(|buf| self.gathered.extend_from_slice(buf));
        Poll::Ready(Ok(bytes))
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        if self.gathered.is_empty() {
            return Pin::new(&mut self.stream).poll_flush(cx);
        }
        if self.is_due() {
            return self.leave(cx);
        }
        if self.turn.is_none() {
            let turn = Arc::new(Turn { is_over: AtomicBool::new(false), task: cx.waker().clone() });
            self.turn = Some(Arc::clone(&turn));
            // The runtime notes the waker when this is polled, and wakes it at the end of the thread's turn.
            let _ = pin!(tokio::task::yield_now()).poll(&mut Context::from_waker(&Waker::from(turn)));
        }
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        ready!(self.leave(cx))?;
        Pin::new(&mut self.stream).poll_shutdown(cx)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::VecDeque;
    use std::future::poll_fn;
    use std::sync::Mutex;

    /// What the other side was given, a piece for each write; takes so many bytes at once as it is told, one number for each
    /// write, and is not ready where that is 0. Without a number it takes everything.
    #[derive(Clone, Default)]
    struct Far {
        pieces: Arc<Mutex<Vec<Vec<u8>>>>,
        takes: Arc<Mutex<VecDeque<usize>>>,
    }

    impl Far {
        fn pieces(&self) -> Vec<Vec<u8>> {
            self.pieces.lock().expect("no panic").clone()
        }
    }

    impl AsyncRead for Far {
        fn poll_read(self: Pin<&mut Self>, _: &mut Context<'_>, _: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
            Poll::Pending
        }
    }

    impl AsyncWrite for Far {
        fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
            let takes = self.takes.lock().expect("no panic").pop_front().unwrap_or(usize::MAX).min(buf.len());
            if takes == 0 {
                cx.waker().wake_by_ref();
                return Poll::Pending;
            }
            self.pieces.lock().expect("no panic").push(buf[..takes].to_vec());
            Poll::Ready(Ok(takes))
        }

        fn poll_write_vectored(
            self: Pin<&mut Self>,
            cx: &mut Context<'_>,
            bufs: &[IoSlice<'_>],
        ) -> Poll<io::Result<usize>> {
            self.poll_write(cx, &bufs.iter().flat_map(|buf| buf.iter().copied()).collect::<Vec<u8>>())
        }

        fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
            Poll::Ready(Ok(()))
        }

        fn poll_shutdown(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
            self.pieces.lock().expect("no panic").push(b"shut down".to_vec());
            Poll::Ready(Ok(()))
        }
    }

    /// Writes and flushes all of `bytes`, as an HTTP/2 connection does: a head and a body in one call, what is left again.
    fn poll_send(stream: &mut Gathering<Far>, cx: &mut Context<'_>, bytes: &mut &[u8]) -> Poll<()> {
        while !bytes.is_empty() {
            let (head, body) = bytes.split_at(bytes.len() / 10);
            let parts = [IoSlice::new(head), IoSlice::new(body)];
            let written = ready!(Pin::new(&mut *stream).poll_write_vectored(cx, &parts)).expect("it works");
            *bytes = &bytes[written..];
        }
        Pin::new(stream).poll_flush(cx).map(|flushed| flushed.expect("it works"))
    }

    async fn send(stream: &mut Gathering<Far>, mut bytes: &[u8]) {
        poll_fn(|cx| poll_send(stream, cx, &mut bytes)).await;
    }

    /// Waits for what is to be read, like a connection that has nothing to say, until `is_enough`.
    async fn wait_until(stream: &mut Gathering<Far>, is_enough: impl Fn() -> bool) {
        poll_fn(|cx| {
            let mut room = [0; 8];
            let read = Pin::new(&mut *stream).poll_read(cx, &mut ReadBuf::new(&mut room));
            assert!(read.is_pending(), "there is nothing to read");
            if is_enough() { Poll::Ready(()) } else { Poll::Pending }
        })
        .await;
    }

    #[tokio::test]
    async fn what_one_turn_of_a_thread_writes_leaves_in_one_piece_without_further_doing() {
        let far = Far::default();
        let mut stream = Gathering::new(far.clone());
        for _ in 0..3 {
            far.pieces.lock().expect("no panic").clear();
            for part in [&b"one"[..], b"two", b"three"] {
                send(&mut stream, part).await;
                assert_eq!(far.pieces(), Vec::<Vec<u8>>::new(), "the turn is not over");
            }
            wait_until(&mut stream, || !far.pieces().is_empty()).await;
            assert_eq!(far.pieces(), [b"onetwothree"]);
        }
    }

    #[tokio::test]
    async fn more_than_fits_does_not_wait_for_the_end_of_the_turn() {
        let far = Far::default();
        let mut stream = Gathering::new(far.clone());
        send(&mut stream, b"little").await;
        let much = vec![7; GATHERED_BYTES_MAX];
        send(&mut stream, &much).await;
        assert_eq!(far.pieces(), [b"little"]);
        let more = vec![8; GATHERED_BYTES_MAX + 1];
        send(&mut stream, &more).await;
        assert_eq!(far.pieces().concat(), [b"little", &much[..], &more].concat());
    }

    #[tokio::test]
    async fn a_far_side_that_takes_little_gets_everything_in_order_and_holds_up_whoever_writes() {
        let mut random = fastrand::Rng::with_seed(5);
        for _ in 0..300 {
            let far = Far::default();
            let takes = |random: &mut fastrand::Rng| {
                if random.bool() { 0 } else { random.usize(1..40_000) }
            };
            far.takes.lock().expect("no panic").extend((0..60).map(|_| takes(&mut random)));
            let mut stream = Gathering::new(far.clone());
            let mut sent = Vec::new();
            for _ in 0..random.usize(1..30) {
                let part = vec![random.u8(..); random.usize(1..20_000)];
                send(&mut stream, &part).await;
                sent.extend_from_slice(&part);
                assert!(stream.gathered.len() - stream.left <= GATHERED_BYTES_MAX);
                if random.bool() {
                    tokio::task::yield_now().await;
                }
            }
            wait_until(&mut stream, || far.pieces().concat().len() == sent.len()).await;
            assert!(far.pieces().concat() == sent, "the same bytes in the same order");
            assert!(stream.gathered.capacity() <= GATHERED_BYTES_KEPT.max(stream.gathered.len()));
        }
    }

    #[tokio::test]
    async fn a_shutdown_lets_everything_leave_first() {
        let far = Far::default();
        far.takes.lock().expect("no panic").extend([0, 2]);
        let mut stream = Gathering::new(far.clone());
        send(&mut stream, b"last").await;
        poll_fn(|cx| Pin::new(&mut stream).poll_shutdown(cx)).await.expect("it works");
        assert_eq!(far.pieces(), [&b"la"[..], b"st", b"shut down"]);
    }
}
