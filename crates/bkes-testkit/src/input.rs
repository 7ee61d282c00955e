//! Input for what reads bytes from outside: random, with a liking for the edges, and spoiled.

use bkes_core::Header;
use bytes::Bytes;
use fastrand::Rng;

/// How many cases a test tries: `BKES_CASES`, or so many.
///
/// # Panics
///
/// If `BKES_CASES` is no number.
pub fn cases(otherwise: u64) -> u64 {
    std::env::var("BKES_CASES").map_or(otherwise, |cases| cases.parse().expect("BKES_CASES is a number"))
}

/// A number near one end of the range, or of any length.
pub fn edge(random: &mut Rng) -> u64 {
    match random.u8(..4) {
        0 => random.u64(..3),
        1 => u64::MAX - random.u64(..3),
        _ => random.u64(..) >> random.u32(..64),
    }
}

/// Less than twenty bytes, or none.
pub fn some_bytes(random: &mut Rng) -> Bytes {
    (0..random.usize(..20)).map(|_| random.u8(..)).collect()
}

/// Two headers at most, with a value or null.
pub fn some_headers(random: &mut Rng) -> Vec<Header> {
    let header = |random: &mut Rng| {
        let value = random.bool().then(|| some_bytes(random));
        Header { name: some_bytes(random), value }
    };
    (0..random.usize(..3)).map(|_| header(random)).collect()
}

/// Changes bytes in one place: cuts them off there, puts one in or takes one out, sets one to an edge, or turns a bit around.
pub fn spoil(random: &mut Rng, bytes: &mut Vec<u8>) {
    let at = random.usize(..=bytes.len());
    match random.u8(..5) {
        0 => bytes.truncate(at),
        1 => bytes.insert(at, random.u8(..)),
        2 if at < bytes.len() => drop(bytes.remove(at)),
        3 if at < bytes.len() => bytes[at] = [0, 1, 0x7f, 0x80, 0xff][random.usize(..5)],
        _ if at < bytes.len() => bytes[at] ^= 1 << random.u8(..8),
        _ => {}
    }
}
