//! Headers from outside: whatever they hold, the marker's grammar gives an answer, and only what BKES would have written counts.
//!
//! `BKES_CASES` sets the number of cases; a failure names the seed of its case.

use bkes_core::marker::{BKES_HEADER, ORDER_HEADER, classify};
use bkes_core::{BatchPlace, Header, Incarnation, Marker, Order, RecordClass, Stamp};
use bytes::Bytes;
use fastrand::Rng;

fn cases() -> u64 {
    std::env::var("BKES_CASES").map_or(50_000, |cases| cases.parse().expect("BKES_CASES is a number"))
}

fn edge(random: &mut Rng) -> u64 {
    match random.u8(..4) {
        0 => random.u64(..5),
        1 => u64::MAX - random.u64(..3),
        _ => random.u64(..) >> random.u32(..64),
    }
}

fn marker(random: &mut Rng) -> Marker {
    let count = random.u32(2..=1_000);
    let place = random.bool().then(|| BatchPlace { i: random.u32(1..=count), count });
    let stamp = Stamp { incarnation: Incarnation(random.u64(..)), number: edge(random), place };
    Marker { stamp, order: Order(edge(random).min(u64::MAX - 1)) }
}

/// Bytes that come near the grammar, or not at all.
fn mutate(random: &mut Rng, bytes: &[u8]) -> Vec<u8> {
    const NEAR: &[u8] = b"0123456789abcdefABCDEF;/+- 1\x00\xff";
    let mut bytes = bytes.to_vec();
    for _ in 0..random.usize(..3) {
        let at = random.usize(..=bytes.len());
        let byte = if random.bool() { NEAR[random.usize(..NEAR.len())] } else { random.u8(..) };
        match random.u8(..5) {
            0 => bytes.insert(at, byte),
            1 if at < bytes.len() => drop(bytes.remove(at)),
            2 => bytes.truncate(at),
            3 => bytes.extend_from_within(at..),
            _ if at < bytes.len() => bytes[at] = byte,
            _ => {}
        }
    }
    bytes
}

fn headers(random: &mut Rng) -> Vec<Header> {
    let [order, bkes] = marker(random).headers();
    let mut headers = Vec::new();
    for _ in 0..random.usize(1..4) {
        for header in [&order, &bkes] {
            if random.u8(..8) == 0 {
                continue;
            }
            let value = header.value.as_deref().unwrap_or_default();
            let value = match random.u8(..8) {
                0 => None,
                1 => Some((0..random.usize(..40)).map(|_| random.u8(..)).collect()),
                2..5 => Some(mutate(random, value)),
                _ => Some(value.to_vec()),
            };
            let name = if random.u8(..10) == 0 { mutate(random, &header.name) } else { header.name.to_vec() };
            headers.push(Header { name: name.into(), value: value.map(Bytes::from) });
        }
    }
    headers
}

fn last<'a>(headers: &'a [Header], name: &[u8]) -> Option<&'a [u8]> {
    headers.iter().rev().find(|header| header.name == name)?.value.as_deref()
}

#[test]
fn any_headers_are_classified_and_what_is_read_is_what_would_be_written() {
    let (mut marked, mut broken, mut foreign, mut newer) = (0u64, 0u64, 0u64, 0u64);
    for seed in 0..cases() {
        let headers = headers(&mut Rng::with_seed(seed));
        let (order, bkes) = (last(&headers, ORDER_HEADER), last(&headers, BKES_HEADER));
        let is_ours = bkes.is_some_and(|bkes| bkes.starts_with(b"1;"));
        match classify(&headers) {
            RecordClass::Marked(marker) => {
                let written = marker.headers();
                assert_eq!(written[0].value.as_deref(), order, "seed {seed}");
                assert_eq!(written[1].value.as_deref(), bkes, "seed {seed}");
                marked += 1;
            }
            RecordClass::Broken(Some(stamp)) => {
                let [_, written] = Marker { stamp, order: Order::FIRST }.headers();
                assert_eq!(written.value.as_deref(), bkes, "seed {seed}");
                let order = order.and_then(|order| std::str::from_utf8(order).ok()?.parse::<u64>().ok());
                let written = order.map(|order| Order(order).to_string().into_bytes());
                let fits = order.is_some_and(|order| order < u64::MAX)
                    && written.as_deref() == last(&headers, ORDER_HEADER);
                assert!(!fits, "seed {seed}: the order is good");
                broken += 1;
            }
            RecordClass::Broken(None) => {
                assert!(is_ours, "seed {seed}");
                broken += 1;
            }
            RecordClass::Newer { format } => {
                assert!(format > 1 && bkes.is_some_and(|b| b.starts_with(format!("{format};").as_bytes())));
                newer += 1;
            }
            RecordClass::Foreign => {
                assert!(!is_ours, "seed {seed}: a record of ours must never become an event unjudged");
                foreign += 1;
            }
        }
    }
    let all = cases();
    println!("{all} cases: {marked} marked, {broken} broken, {foreign} foreign, {newer} newer");
    assert!([marked, broken, foreign].into_iter().all(|count| count > all / 20) && newer > all / 10_000);
}

#[test]
fn every_marker_reads_back_as_itself() {
    for seed in 0..cases() {
        let marker = marker(&mut Rng::with_seed(seed));
        assert_eq!(classify(&marker.headers()), RecordClass::Marked(marker), "seed {seed}");
    }
}
