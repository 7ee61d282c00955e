//! A TCP proxy on loopback that can be told to delay, cut and half-close what goes through it.

use std::net::SocketAddr;
use std::time::Duration;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::tcp::{OwnedReadHalf, OwnedWriteHalf};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;

/// What the proxy does to connections, from the moment it is told.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Trouble {
    /// Everything goes through.
    None,
    /// Everything goes through, each piece this much later.
    Delay(Duration),
    /// Connections end, and new ones are ended at once.
    Cut,
    /// On the connections there are, one direction ends; the other goes on. New connections are whole.
    HalfClose(Direction),
    /// Connections stay open and nothing goes through.
    Hold,
}

/// A direction through the proxy.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Direction {
    /// From whoever connected.
    In,
    /// To whoever connected.
    Out,
}

/// A running proxy. It ends with the runtime.
pub struct Proxy {
    trouble: watch::Sender<Trouble>,
    address: SocketAddr,
}

impl Proxy {
    /// Listens on a port of loopback (0 takes a free one) and passes on to another.
    pub async fn start(port: u16, target: u16) -> anyhow::Result<Proxy> {
        let listener = TcpListener::bind(("127.0.0.1", port)).await?;
        let (trouble, told) = watch::channel(Trouble::None);
        let address = listener.local_addr()?;
        tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                tokio::spawn(pass(stream, target, told.clone()));
            }
        });
        Ok(Proxy { trouble, address })
    }

    /// Where it listens.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Makes trouble, or ends it.
    pub fn set(&self, trouble: Trouble) {
        self.trouble.send_replace(trouble);
    }
}

async fn pass(stream: TcpStream, target: u16, told: watch::Receiver<Trouble>) {
    if *told.borrow() == Trouble::Cut {
        return;
    }
    let Ok(other) = TcpStream::connect(("127.0.0.1", target)).await else { return };
    // A proxy must not add waiting of its own.
    if stream.set_nodelay(true).and(other.set_nodelay(true)).is_err() {
        return;
    }
    let ((from, to), (other_from, other_to)) = (stream.into_split(), other.into_split());
    let inward = tokio::spawn(pump(from, other_to, Direction::In, told.clone()));
    let outward = tokio::spawn(pump(other_from, to, Direction::Out, told));
    // A connection that fails ends; there is nobody to tell.
    let _ = tokio::join!(inward, outward);
}

/// Passes on in one direction until it ends, is cut or half-closed.
async fn pump(
    mut from: OwnedReadHalf,
    mut to: OwnedWriteHalf,
    direction: Direction,
    mut told: watch::Receiver<Trouble>,
) -> std::io::Result<()> {
    told.mark_unchanged();
    let mut buffer = vec![0; 64 * 1024];
    loop {
        let read = tokio::select! {
            changed = told.changed() => {
                let trouble = *told.borrow_and_update();
                match trouble {
                    Trouble::Cut => return Ok(()),
                    Trouble::HalfClose(which) if which == direction => return to.shutdown().await,
                    _ if changed.is_err() => return Ok(()),
                    _ => continue,
                }
            }
            read = from.read(&mut buffer) => read?,
        };
        if read == 0 {
            return to.shutdown().await;
        }
        let trouble = *told.borrow();
        match trouble {
            Trouble::Delay(delay) => tokio::time::sleep(delay).await,
            Trouble::Hold => {
                // Nothing is lost: it goes on when the hold ends, or ends with a cut.
                let ended = told.wait_for(|trouble| *trouble != Trouble::Hold).await.map(|trouble| *trouble);
                if !ended.is_ok_and(|trouble| trouble != Trouble::Cut) {
                    return Ok(());
                }
            }
            Trouble::None | Trouble::Cut | Trouble::HalfClose(_) => {}
        }
        to.write_all(&buffer[..read]).await?;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A server that sends back what it gets, and a proxy before it.
    async fn echo() -> Proxy {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
        let port = listener.local_addr().expect("it is bound").port();
        tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                let (mut from, mut to) = stream.into_split();
                tokio::spawn(async move {
                    let copied = tokio::io::copy(&mut from, &mut to).await;
                    copied.and(to.shutdown().await)
                });
            }
        });
        Proxy::start(0, port).await.expect("a free port")
    }

    async fn ask(stream: &mut TcpStream) -> Option<u8> {
        stream.write_all(b"x").await.ok()?;
        let answer = tokio::time::timeout(Duration::from_millis(500), stream.read_u8()).await;
        answer.ok()?.ok()
    }

    #[tokio::test]
    async fn bytes_go_through_both_ways_and_troubles_do_what_they_say() {
        let proxy = echo().await;
        let connect = || TcpStream::connect(proxy.address());
        let mut first = connect().await.expect("it listens");
        assert_eq!(ask(&mut first).await, Some(b'x'));

        proxy.set(Trouble::Delay(Duration::from_millis(60)));
        let began = std::time::Instant::now();
        assert_eq!(ask(&mut first).await, Some(b'x'));
        assert!(began.elapsed() >= Duration::from_millis(120), "{:?}", began.elapsed());

        proxy.set(Trouble::Hold);
        assert_eq!(ask(&mut first).await, None);
        proxy.set(Trouble::None);
        assert_eq!(first.read_u8().await.ok(), Some(b'x'));

        proxy.set(Trouble::HalfClose(Direction::In));
        assert_eq!(first.read(&mut [0]).await.ok(), Some(0), "the server saw the end and ended too");
        let mut second = connect().await.expect("it listens");
        assert_eq!(ask(&mut second).await, Some(b'x'), "new connections are whole");

        proxy.set(Trouble::Cut);
        assert_eq!(ask(&mut second).await, None);
        let mut third = connect().await.expect("it listens");
        assert_eq!(ask(&mut third).await, None, "new connections end at once");
        proxy.set(Trouble::None);
        let mut fourth = connect().await.expect("it listens");
        assert_eq!(ask(&mut fourth).await, Some(b'x'));
    }
}
