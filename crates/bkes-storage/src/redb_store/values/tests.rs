//! Values in the file: written in parts, found as wholes.

use super::adding::BUFFER_BYTES;
use super::*;
use crate::disk::Directory;
use bkes_core::Order;
use bkes_testkit::disk::SimulatedDisk;
use fastrand::Rng;

fn value(random: &mut Rng) -> Vec<u8> {
    let near = random.usize(1..4) * BUFFER_BYTES / 2;
    let length = match random.u8(..4) {
        0 => LARGE_BYTES + random.usize(..3 * BLOCK),
        // Where a buffer ends, or a block before.
        1 => near - random.usize(..3),
        2 => near + BLOCK - random.usize(..BLOCK + 3),
        _ => 100_000,
    };
    let (mut bytes, first) = (vec![random.u8(..); length], random.u64(..).to_le_bytes());
    bytes[..8].copy_from_slice(&first);
    bytes[length - 8..].copy_from_slice(&first);
    bytes
}

/// Commits that last, commits that do not, and a file that is opened again in between.
fn check(disk: &dyn Disk, seed: u64) {
    let mut random = Rng::with_seed(seed);
    let open = |end| Values::open(disk, &FileUse::default(), end).expect("it is opened");
    let (mut values, mut end, mut known) = (open(0), 0, Vec::new());
    for _ in 0..12 {
        let (mut adding, mut end_then, mut new) = (Adding::new(&values), end, Vec::new());
        for _ in 0..random.usize(..9) {
            let slot = Slot { stream: seed, order: Order((known.len() + new.len()) as u64) };
            let value = value(&mut random);
            let large = adding.add(slot, &value, &mut end_then).expect("there is room");
            new.push((slot, large, value));
        }
        match random.u8(..4) {
            // The transaction fails before or after they are written: what was there stays as it was.
            0 => drop(adding),
            1 => adding.finish().expect("there is room"),
            _ => {
                adding.finish().expect("there is room");
                known.append(&mut new);
                end = end_then;
            }
        }
        if random.u8(..4) == 0 {
            drop(values);
            values = open(end);
        }
        for (slot, large, value) in &known {
            assert!(values.get(*slot, *large).expect("it is there") == value[..], "seed {seed}: {large:?}");
        }
    }
}

#[test]
fn values_of_any_length_are_found_as_they_came_in_whatever_parts_they_are_written() {
    for seed in 0..6 {
        let directory = tempfile::tempdir().expect("a directory");
        check(&Directory(directory.path().to_owned()), seed);
        check(&SimulatedDisk::new(), seed);
    }
}

/// A buffer that was used before holds what it held then.
#[test]
fn what_fills_a_block_is_zeros() {
    let disk = SimulatedDisk::new();
    let values = Values::open(&disk, &FileUse::default(), 0).expect("it is opened");
    let mut end = 0;
    for length in [LARGE_BYTES + 2 * BLOCK, LARGE_BYTES + 1] {
        let mut adding = Adding::new(&values);
        let slot = Slot { stream: 1, order: Order(0) };
        adding.add(slot, &vec![7; length], &mut end).expect("there is room");
        adding.finish().expect("there is room");
    }
    let file = disk.open_values().expect("it is there");
    assert_eq!(file.length().expect("it is known"), (2 * LARGE_BYTES + 3 * BLOCK) as u64);
    let mut rest = [1; BLOCK - 1];
    file.read(end, &mut rest).expect("it is there");
    assert_eq!(rest, [0; BLOCK - 1]);
}
