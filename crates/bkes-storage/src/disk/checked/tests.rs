//! Against plain bytes, across the edges of groups, and against flipped bits.

use super::*;
use crate::disk::{Disk, SimulatedDisk, Unsynced};
use fastrand::Rng;

fn open(disk: &SimulatedDisk) -> Checked {
    let (file, kind) = Checked::new(disk.open().expect("it opens")).expect("it is read");
    assert_eq!(kind, Kind::Checked);
    file
}

/// A place near the edge of a group as often as anywhere else, in whole blocks or not.
fn some_range(random: &mut Rng, length: u64) -> (u64, usize) {
    let edge = GROUP * BLOCK_BYTES * random.u64(0..3);
    let near = |random: &mut Rng| (edge + random.u64(..4 * BLOCK_BYTES)).saturating_sub(2 * BLOCK_BYTES);
    let from = if random.bool() { near(random) } else { random.u64(..length) };
    let from = from.min(length - 1);
    let most = (length - from).min(3 * BLOCK_BYTES);
    let (from, size) = (from, random.u64(1..=most));
    if random.bool() {
        return (from, size as usize);
    }
    let from = from / BLOCK_BYTES * BLOCK_BYTES;
    (from, (size.div_ceil(BLOCK_BYTES) * BLOCK_BYTES).min(length - from) as usize)
}

#[test]
fn a_checked_file_holds_what_a_plain_one_holds_and_keeps_what_was_synced() {
    for seed in 0..4 {
        let random = &mut Rng::with_seed(seed);
        let disk = SimulatedDisk::new();
        let mut file = open(&disk);
        let (mut plain, mut synced): (Vec<u8>, Vec<u8>) = Default::default();
        for step in 0..600 {
            let at = format!("seed {seed}, step {step}");
            match random.u8(..20) {
                0 | 1 => {
                    let blocks = random.u64(GROUP - 2..2 * GROUP + 3);
                    file.set_length(blocks * BLOCK_BYTES).expect("there is room");
                    plain.resize(blocks as usize * BLOCK, 0);
                }
                2 => {
                    file.sync().expect("it syncs");
                    synced.clone_from(&plain);
                }
                3 => {
                    // Both what was not synced is lost, and what was synced is still what it was.
                    disk.crash(Unsynced::Lost);
                    file = open(&disk);
                    plain.clone_from(&synced);
                }
                4..10 if !plain.is_empty() => {
                    let (from, size) = some_range(random, plain.len() as u64);
                    let data: Vec<u8> = (0..size).map(|_| random.u8(..)).collect();
                    file.write(from, &data).expect("it is written");
                    plain[from as usize..from as usize + size].copy_from_slice(&data);
                }
                _ if !plain.is_empty() => {
                    let (from, size) = some_range(random, plain.len() as u64);
                    let mut out = vec![1; size];
                    file.read(from, &mut out).unwrap_or_else(|error| panic!("{at}: {error}"));
                    assert!(out == plain[from as usize..from as usize + size], "{at}: {from}, {size}");
                }
                _ => {}
            }
            assert_eq!(file.length().expect("it has one"), plain.len() as u64, "{at}");
        }
    }
}

/// The story: a bit was flipped in a page that names free pages. redb met it in the middle of a commit and panicked, and panicked
/// again while that unwound, which ended the process; nothing of ours stands in between. (Found by simulation.)
#[test]
fn no_flipped_bit_is_read() {
    let random = &mut Rng::with_seed(5);
    let disk = SimulatedDisk::new();
    let file = open(&disk);
    let blocks = GROUP + 3;
    file.set_length(blocks * BLOCK_BYTES).expect("there is room");
    let data: Vec<u8> = (0..BLOCK).map(|_| random.u8(..)).collect();
    (0..blocks).for_each(|block| file.write(block * BLOCK_BYTES, &data).expect("it is written"));
    file.sync().expect("it syncs");
    for _ in 0..2_000 {
        let block = random.u64(1..blocks);
        // In the block, or in its sum.
        let (byte, is_sum) = match random.bool() {
            true => (place(block) + random.u64(..BLOCK_BYTES), false),
            false => (place(block / GROUP * GROUP) - BLOCK_BYTES + block % GROUP * 4 + random.u64(..4), true),
        };
        let bit = byte * 8 + random.u64(..8);
        disk.flip_bit(bit);
        let mut out = vec![0; BLOCK];
        let read = open(&disk).read(block * BLOCK_BYTES, &mut out);
        let kind = read.expect_err("it is noticed").kind();
        assert_eq!(kind, io::ErrorKind::InvalidData, "block {block}, in the sum: {is_sum}");
        disk.flip_bit(bit);
        open(&disk).read(block * BLOCK_BYTES, &mut out).expect("it is whole again");
    }
}

#[test]
fn files_of_another_kind_are_told() {
    for (head, expected) in [(&b"redb"[..], Kind::Bare), (b"text", Kind::Other), (&KIND[..], Kind::Checked)] {
        let disk = SimulatedDisk::new();
        let file = disk.open().expect("it opens");
        file.set_length(BLOCK_BYTES).expect("there is room");
        file.write(0, head).expect("it is written");
        assert_eq!(Checked::new(file).expect("it is read").1, expected);
    }
}
