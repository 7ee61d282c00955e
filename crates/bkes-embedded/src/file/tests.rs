//! Files that hold anything: opened with every record that was written before the first damage, or refused, never a panic.

use super::*;
use crate::frame::tests::{cases, some_record};
use bkes_core::TimestampMs;
use fastrand::Rng;
use std::os::unix::fs::FileExt;
use tempfile::TempDir;

fn head() -> Vec<u8> {
    let directory = TempDir::new().expect("a directory");
    drop(open(directory.path(), "topic", NonZeroU32::new(3).expect("three")).expect("a new file"));
    fs::read(directory.path().join(FILE)).expect("the head")
}

fn spoil(random: &mut Rng, bytes: &mut Vec<u8>, from: usize) {
    for _ in 0..random.usize(1..4) {
        let at = random.usize(from..=bytes.len().max(from));
        match random.u8(..4) {
            0 => bytes.truncate(at),
            1 if at <= bytes.len() => bytes.insert(at, random.u8(..)),
            2 if at < bytes.len() => drop(bytes.remove(at)),
            _ if at < bytes.len() => bytes[at] ^= 1 << random.u8(..8),
            _ => {}
        }
    }
}

#[test]
fn any_bytes_are_the_head_that_was_written_or_none() {
    let (good, mut refused) = (head(), 0u64);
    for seed in 0..cases() {
        let random = &mut Rng::with_seed(seed);
        let mut bytes = good.clone();
        if random.u8(..4) == 0 {
            bytes = (0..random.usize(..80)).map(|_| random.u8(..)).collect();
        } else {
            spoil(random, &mut bytes, 0);
        }
        match get_head(&bytes) {
            Some((head, end)) => {
                assert!(bytes.starts_with(&good) && end == good.len() as u64, "seed {seed}: {head:?}");
            }
            None => refused += 1,
        }
    }
    assert!(refused > cases() / 2, "{refused} refused");
}

/// Opening makes files lasting, which takes long: a five-hundredth of the cases.
#[test]
fn a_spoiled_file_opens_with_what_lies_before_the_damage_or_is_refused() {
    let head = head();
    let (mut cut, mut refused) = (0u64, 0u64);
    let cases = cases() / 500;
    let directory = TempDir::new().expect("a directory");
    for seed in 0..cases {
        let random = &mut Rng::with_seed(seed);
        let (mut good, mut ends, mut next) = (head.clone(), vec![head.len()], [0; 3]);
        for _ in 0..random.usize(..12) {
            let record = some_record(random, 3);
            let offset = &mut next[record.partition.0 as usize];
            frame::put(&mut good, &record, Offset(*offset), TimestampMs(1));
            *offset += 1;
            ends.push(good.len());
        }
        let mut bad = good.clone();
        spoil(random, &mut bad, head.len());
        let same = good.iter().zip(&bad).take_while(|(a, b)| a == b).count();
        fs::write(directory.path().join(FILE), &bad).expect("the file is written");
        match open(directory.path(), "topic", NonZeroU32::new(3).expect("three")) {
            Ok(opened) => {
                let end = opened.end as usize;
                let mut left = vec![0; end];
                opened.file.read_exact_at(&mut left, 0).expect("it is read");
                let whole = *ends.iter().rev().find(|end| **end <= same).expect("the head is whole");
                assert_eq!(left, good[..whole], "seed {seed}: exactly the records before the damage");
                assert_eq!(opened.file.metadata().expect("its length").len(), end as u64, "seed {seed}");
                cut += u64::from(end < bad.len());
            }
            Err(OpenError::Damaged { position, .. }) => {
                let whole = ends.iter().any(|end| *end as u64 == position);
                assert!(
                    whole && position <= same as u64,
                    "seed {seed}: damage at {position}, same to {same}"
                );
                refused += 1;
            }
            Err(error) => panic!("seed {seed}: {error}"),
        }
    }
    println!("{cases} files: {cut} cut, {refused} refused");
    assert!(cut > cases / 10 && refused > cases / 10, "{cut} cut, {refused} refused");
}
