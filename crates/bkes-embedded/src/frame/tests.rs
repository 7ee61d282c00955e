//! Frames from a file that may hold anything: a record or `Broken`, never a panic; and what was written comes back.
//!
//! `BKES_CASES` sets the number of cases; a failure names the seed of its case.

use super::*;
use bkes_testkit::input::{cases, some_bytes, some_headers, spoil};
use fastrand::Rng;

/// Cases of each test, unless `BKES_CASES` says otherwise.
pub const CASES: u64 = 50_000;

pub fn some_record(random: &mut Rng, partitions: u32) -> NewRecord {
    NewRecord {
        partition: Partition(random.u32(..partitions)),
        key: random.bool().then(|| some_bytes(random)),
        value: random.bool().then(|| some_bytes(random)),
        headers: some_headers(random),
    }
}

/// Gives a frame the length and the checksum of what it holds now, so that what lies after them is tried as well.
fn reseal(frame: &mut [u8]) {
    let length = (frame.len() - HEAD_BYTES) as u32;
    frame[..4].copy_from_slice(&length.to_le_bytes());
    let crc = checksum(length, &frame[HEAD_BYTES..]);
    frame[4..HEAD_BYTES].copy_from_slice(&crc.to_le_bytes());
}

#[test]
fn any_bytes_are_a_frame_that_was_written_or_broken() {
    let (mut whole, mut broken, mut resealed) = (0u64, 0u64, 0u64);
    for seed in 0..cases(CASES) {
        let random = &mut Rng::with_seed(seed);
        let record = some_record(random, u32::MAX);
        let (offset, timestamp) = (Offset(random.u64(..)), TimestampMs(random.i64(..)));
        let mut frame = Vec::new();
        put(&mut frame, &record, offset, timestamp);
        assert!(fits(&record));
        assert_eq!(bytes_of(&record), frame.len() as u64, "seed {seed}");
        let written = frame.clone();
        for _ in 0..random.usize(..4) {
            spoil(random, &mut frame);
        }
        let seals = random.bool() && frame.len() >= HEAD_BYTES && frame != written;
        if seals {
            reseal(&mut frame);
        }
        let _ = length(&frame);
        match check(&frame) {
            Ok(end) => {
                let frame = Bytes::from(frame).slice(..end);
                let read = get(&frame);
                if frame == written {
                    let NewRecord { partition, key, value, headers } = record;
                    let timestamp = Some(timestamp);
                    let expected = Record { partition, offset, timestamp, key, value, headers };
                    assert_eq!(read, Ok(expected), "seed {seed}");
                    assert_eq!(place(&frame), (partition, offset), "seed {seed}");
                    whole += 1;
                } else {
                    assert!(seals, "seed {seed}: other bytes pass for a frame");
                    resealed += 1;
                }
            }
            Err(_) => {
                assert!(!frame.starts_with(&written), "seed {seed}: a good frame is not read");
                broken += 1;
            }
        }
    }
    println!("{whole} whole, {broken} broken, {resealed} under a seal of their own");
    assert!([whole, broken, resealed].into_iter().all(|count| count > cases(CASES) / 50));
}
