//! Files that hold anything: opened with every group that was written before the first damage, or refused, never a panic.

use super::*;
use crate::frame;
use crate::frame::tests::{CASES, some_record};
use crate::group::GroupHeader;
use bkes_core::{Offset, TimestampMs};
use bkes_testkit::directory::SimulatedDirectory;
use bkes_testkit::input::cases;
use fastrand::Rng;

const PARTITIONS: NonZeroU32 = NonZeroU32::new(3).expect("three");

fn head() -> Vec<u8> {
    FileHeader::draw("topic", PARTITIONS).and_then(|header| header.to_bytes()).expect("a header")
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
fn any_bytes_are_the_header_that_was_written_or_none() {
    let (good, mut refused) = (head(), 0u64);
    for seed in 0..cases(CASES) {
        let random = &mut Rng::with_seed(seed);
        let mut bytes = good.clone();
        if random.u8(..4) == 0 {
            bytes = (0..random.usize(..80)).map(|_| random.u8(..)).collect();
        } else {
            spoil(random, &mut bytes, 0);
        }
        match FileHeader::get(&bytes) {
            Some((header, end)) => {
                assert!(bytes.starts_with(&good) && end == good.len() as u64, "seed {seed}: {header:?}");
            }
            None => refused += 1,
        }
    }
    assert!(refused > cases(CASES) / 2, "{refused} refused");
}

#[test]
fn a_spoiled_file_opens_with_what_lies_before_the_damage_or_is_refused() {
    let head = head();
    let (header, _) = FileHeader::get(&head).expect("a header");
    let (mut cut, mut refused) = (0u64, 0u64);
    let cases = cases(CASES) / 5;
    for seed in 0..cases {
        let random = &mut Rng::with_seed(seed);
        let (mut good, mut ends, mut next) = (head.clone(), vec![head.len()], [0; 3]);
        for _ in 0..random.usize(..6) {
            let (mut frames, records) = (Vec::new(), random.usize(..4));
            for _ in 0..records {
                let record = some_record(random, 3);
                let offset = &mut next[record.partition.0 as usize];
                frame::put(&mut frames, &record, Offset(*offset), TimestampMs(1));
                *offset += 1;
            }
            good.extend(GroupHeader::of(good.len() as u64, &frames, records).to_bytes(header.mark));
            good.extend(frames);
            ends.push(good.len());
        }
        let mut bad = good.clone();
        spoil(random, &mut bad, head.len());
        let same = good.iter().zip(&bad).take_while(|(a, b)| a == b).count();
        let disk = SimulatedDirectory::new();
        disk.put(FILE, &bad);
        match open(&disk, "topic", PARTITIONS) {
            Ok(opened) => {
                let whole = *ends.iter().rev().find(|end| **end <= same).expect("the head is whole");
                assert_eq!(opened.end as usize, whole, "seed {seed}");
                let left = disk.bytes(FILE).expect("it is there");
                assert_eq!(left, good[..whole], "seed {seed}: exactly the groups before the damage");
                cut += u64::from(whole < bad.len());
            }
            Err(OpenError::Damaged { position, .. }) => {
                let whole = ends.iter().any(|end| *end as u64 == position);
                assert!(whole && position <= same as u64, "seed {seed}: {position}, same to {same}");
                assert_eq!(disk.bytes(FILE), Some(bad), "seed {seed}: a refused log is left as it is");
                refused += 1;
            }
            Err(error) => panic!("seed {seed}: {error}"),
        }
    }
    println!("{cases} files: {cut} cut, {refused} refused");
    assert!(cut > cases / 10 && refused > cases / 10, "{cut} cut, {refused} refused");
}
