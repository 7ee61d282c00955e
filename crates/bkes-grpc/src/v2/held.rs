//! What a call holds of its connection's share for as long as it lives, where it lives longer than its handler.

use crate::limits::QUESTION_SMALL_BYTES;
use crate::peers::Peer;
use crate::shares::Share;

/// A place among the requests that are worked on, or among the streams that are open, and room for what is asked for if that is not small.
pub struct Place {
    peer: Peer,
    share: fn(&Peer) -> &Share,
    _asked: Option<Bytes>,
}

/// Why there is no place.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Full {
    /// There are as many calls of this kind as may be.
    Calls,
    /// Requests hold as many bytes as they may.
    Bytes,
}

impl Place {
    /// One among the requests, for one of so many bytes.
    pub fn of_request(peer: &Peer, bytes: usize) -> Result<Place, Full> {
        Place::take(peer, Peer::working, bytes)
    }

    /// One among the streams, for a request of so many bytes.
    pub fn of_stream(peer: &Peer, bytes: usize) -> Result<Place, Full> {
        Place::take(peer, Peer::streams, bytes)
    }

    fn take(peer: &Peer, share: fn(&Peer) -> &Share, bytes: usize) -> Result<Place, Full> {
        let asked = match bytes <= QUESTION_SMALL_BYTES {
            true => None,
            false => Some(Bytes::take(peer, bytes).ok_or(Full::Bytes)?),
        };
        share(peer).take(1).ok_or(Full::Calls)?;
        Ok(Place { peer: peer.clone(), share, _asked: asked })
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        (self.share)(&self.peer).give(1);
    }
}

/// Room among the bytes that are worked on.
pub struct Bytes {
    peer: Peer,
    taken: usize,
}

impl Bytes {
    /// Takes so much, if there is so much. What exceeds the whole bound takes all of it.
    pub fn take(peer: &Peer, bytes: usize) -> Option<Bytes> {
        peer.working_bytes().take(bytes).map(|taken| Bytes { peer: peer.clone(), taken })
    }

    /// How much was taken.
    pub fn taken(&self) -> usize {
        self.taken
    }
}

impl Drop for Bytes {
    fn drop(&mut self) {
        self.peer.working_bytes().give(self.taken);
    }
}
