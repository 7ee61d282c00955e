//! What a call holds of its connection's share for as long as it lives, where it lives longer than its handler.

use crate::peers::Peer;

/// A place among the requests that are worked on.
pub struct Place(Peer);

impl Place {
    /// Takes one, if there is one.
    pub fn take(peer: &Peer) -> Option<Place> {
        peer.working().take(1).map(|_| Place(peer.clone()))
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        self.0.working().give(1);
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
