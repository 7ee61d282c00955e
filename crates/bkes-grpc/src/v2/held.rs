//! What a call holds of its connection's share for as long as it lives, where it lives longer than its handler.

use crate::peers::Peer;
use crate::shares::Share;

/// A place among the requests that are worked on, or among the streams that are open.
pub struct Place {
    peer: Peer,
    share: fn(&Peer) -> &Share,
}

impl Place {
    /// One among the requests, if there is one.
    pub fn of_request(peer: &Peer) -> Option<Place> {
        Place::take(peer, Peer::working)
    }

    /// One among the streams, if there is one.
    pub fn of_stream(peer: &Peer) -> Option<Place> {
        Place::take(peer, Peer::streams)
    }

    fn take(peer: &Peer, share: fn(&Peer) -> &Share) -> Option<Place> {
        share(peer).take(1).map(|_| Place { peer: peer.clone(), share })
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
