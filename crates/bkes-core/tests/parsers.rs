//! Headers from outside: whatever they hold, the marker's grammar gives an answer, and only what BKES would have written counts.
//!
//! `BKES_CASES` sets the number of cases; a failure names the seed of its case.

use bkes_core::checksum::{PartsSum, PayloadSum};
use bkes_core::limits::ORDER_MAX;
use bkes_core::marker::{BKES_HEADER, ORDER_HEADER, classify};
use bkes_core::{
    BatchPlace, Header, Incarnation, Marker, Offset, Order, Partition, Position, Record, RecordClass, Stamp,
};
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
    Marker { stamp, order: Order(edge(random).min(ORDER_MAX)), base: Position(edge(random)) }
}

fn plain(random: &mut Rng) -> Record {
    let mut part = || {
        let length = random.usize(..40);
        (random.u8(..8) > 0).then(|| (0..length).map(|_| random.u8(..)).collect::<Bytes>())
    };
    let (key, value) = (part(), part());
    Record { partition: Partition(0), offset: Offset(0), timestamp: None, key, value, headers: Vec::new() }
}

fn payload(record: &Record) -> PayloadSum {
    PayloadSum::of(record.key.as_deref(), record.value.as_deref())
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

/// Headers of a marker that fits, mutated or not; one whose text was mutated may have a sum that fits the mutation.
fn headers(random: &mut Rng, record: &Record) -> Vec<Header> {
    let [order, bkes] = marker(random).headers(payload(record));
    let mut headers = Vec::new();
    for _ in 0..random.usize(1..3) {
        for header in [&order, &bkes] {
            if random.u8(..6) == 0 {
                continue;
            }
            let value = header.value.as_deref().unwrap_or_default();
            let value = match random.u8(..12) {
                0 => None,
                1 => Some((0..random.usize(..40)).map(|_| random.u8(..)).collect()),
                2..5 => Some(mutate(random, value)),
                _ => Some(value.to_vec()),
            };
            let name = if random.u8(..12) == 0 { mutate(random, &header.name) } else { header.name.to_vec() };
            headers.push(Header { name: name.into(), value: value.map(Bytes::from) });
        }
    }
    if random.bool() {
        sum_anew(record, &mut headers, random.u8(..10) == 0);
    }
    headers
}

/// Gives the last `bkes` the sum that fits it, as one of a newer format if wished.
fn sum_anew(record: &Record, headers: &mut [Header], newer: bool) {
    let order = only(headers, ORDER_HEADER).map(Bytes::copy_from_slice);
    let Some(bkes) = headers.iter_mut().rev().find(|header| header.name == BKES_HEADER) else { return };
    let Some(value) = bkes.value.as_deref() else { return };
    let Some(end) = value.iter().rposition(|byte| *byte == b';') else { return };
    let mut value = value[..=end].to_vec();
    if newer {
        value[0] = b'2';
    }
    let mut sum = PartsSum::after(payload(record));
    sum.part(order.as_deref());
    sum.part(Some(&value));
    value.extend_from_slice(format!("{:08x}", sum.finish()).as_bytes());
    bkes.value = Some(value.into());
}

/// The value of the one header of a name, if there is just one.
fn only<'a>(headers: &'a [Header], name: &[u8]) -> Option<&'a [u8]> {
    let mut found = headers.iter().filter(|header| header.name == name);
    let one = found.next()?;
    found.next().is_none().then_some(one.value.as_deref()?)
}

#[test]
fn any_headers_are_classified_and_what_is_read_is_what_would_be_written() {
    let (mut marked, mut forwarded, mut foreign, mut newer) = (0u64, 0u64, 0u64, 0u64);
    for seed in 0..cases() {
        let random = &mut Rng::with_seed(seed);
        let mut record = plain(random);
        record.headers = headers(random, &record);
        let (order, bkes) = (only(&record.headers, ORDER_HEADER), only(&record.headers, BKES_HEADER));
        let has_ours = record.headers.iter().any(|header| header.name == BKES_HEADER);
        match classify(&record) {
            RecordClass::Marked(marker) => {
                let written = marker.headers(payload(&record));
                assert_eq!(written[0].value.as_deref(), order, "seed {seed}");
                assert_eq!(written[1].value.as_deref(), bkes, "seed {seed}");
                marked += 1;
            }
            RecordClass::Forwarded => {
                assert!(has_ours, "seed {seed}");
                forwarded += 1;
            }
            RecordClass::Newer { format } => {
                assert!(format > 1 && bkes.is_some_and(|b| b.starts_with(format!("{format};").as_bytes())));
                newer += 1;
            }
            RecordClass::Foreign => {
                assert!(!has_ours, "seed {seed}");
                foreign += 1;
            }
        }
    }
    let all = cases();
    println!("{all} cases: {marked} marked, {forwarded} forwarded, {foreign} foreign, {newer} newer");
    assert!([marked, forwarded, foreign].into_iter().all(|count| count > all / 20) && newer > all / 100);
}

/// A marker fits the record it was written for, and no other: a bit that flips in key, value, order or text is noticed.
#[test]
fn every_marker_reads_back_as_itself_and_on_no_other_record() {
    for seed in 0..cases() {
        let random = &mut Rng::with_seed(seed);
        let (mut record, marker) = (plain(random), marker(random));
        record.headers = marker.headers(payload(&record)).into();
        assert_eq!(classify(&record), RecordClass::Marked(marker), "seed {seed}");
        let parts = [record.key.take(), record.value.take()];
        let mut other = Record { key: parts[0].clone(), value: parts[1].clone(), ..record };
        let flip = |bytes: &mut Option<Bytes>, random: &mut Rng| {
            let mut changed = bytes.as_deref().unwrap_or_default().to_vec();
            match changed.len() {
                0 => *bytes = if bytes.is_some() { None } else { Some(Bytes::new()) },
                length => {
                    changed[random.usize(..length)] ^= 1 << random.u8(..8);
                    *bytes = Some(changed.into());
                }
            }
        };
        match random.u8(..4) {
            0 => flip(&mut other.key, random),
            1 => flip(&mut other.value, random),
            2 => flip(&mut other.headers[0].value, random),
            _ => flip(&mut other.headers[1].value, random),
        }
        assert_eq!(classify(&other), RecordClass::Forwarded, "seed {seed}");
    }
}
