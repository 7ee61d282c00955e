//! Against plain bytes, across the edges of groups, and against flipped bits.

use super::*;
use bkes_testkit::disk::{SimulatedDisk, Unsynced};
use fastrand::Rng;
use std::sync::Arc;
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::time::Duration;

fn open(disk: &SimulatedDisk) -> Checked {
    open_with(disk, SUMS_MAX)
}

/// With room for the sums of so many groups.
fn open_with(disk: &SimulatedDisk, sums_max: usize) -> Checked {
    let (file, kind) = Checked::new(Box::new(disk.open().expect("it opens"))).expect("it is read");
    assert_eq!(kind, Kind::Checked);
    Checked { sums_max, ..file }
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
    for seed in 0..8 {
        let random = &mut Rng::with_seed(seed);
        let disk = SimulatedDisk::new();
        // Sums that are read again and again, and sums that are read once.
        let sums_max = [1, 2, SUMS_MAX][seed as usize % 3];
        let mut file = open_with(&disk, sums_max);
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
                    file = open_with(&disk, sums_max);
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
        assert_eq!(Checked::new(Box::new(file)).expect("it is read").1, expected);
    }
}

/// The story: the sums of every group that was ever touched stayed in memory, 1 MiB for each GiB of the file.
#[test]
fn no_more_sums_are_kept_than_there_may_be() {
    const MAX: usize = 3;
    const GROUPS: u64 = 9;
    let disk = SimulatedDisk::new();
    let file = open_with(&disk, MAX);
    file.set_length(GROUPS * GROUP * BLOCK_BYTES).expect("there is room");
    let data = |group: u64, round: u8| vec![group as u8 * 16 + round; BLOCK];
    for round in 1..4 {
        for group in 0..GROUPS {
            let at = (group * GROUP + u64::from(round)) * BLOCK_BYTES;
            file.write(at, &data(group, round)).expect("it is written");
            assert!(file.sums().groups.len() <= MAX, "after a write");
        }
        for group in (0..GROUPS).rev() {
            let mut out = vec![0; BLOCK];
            let at = (group * GROUP + u64::from(round)) * BLOCK_BYTES;
            file.read(at, &mut out).expect("it is what was written");
            assert!(out == data(group, round), "group {group}");
            assert!(file.sums().groups.len() <= MAX, "after a read");
        }
    }
    file.sync().expect("it syncs");
    disk.crash(Unsynced::Lost);
    let file = open_with(&disk, MAX);
    for (group, round) in (0..GROUPS).flat_map(|group| (1..4).map(move |round| (group, round))) {
        let mut out = vec![0; BLOCK];
        let at = (group * GROUP + u64::from(round)) * BLOCK_BYTES;
        file.read(at, &mut out).expect("it was synced");
        assert!(out == data(group, round), "group {group}");
    }
}

/// A file in which the reads of one block wait until they are let go.
#[derive(Debug)]
struct Slow {
    file: Box<dyn DiskFile>,
    at: u64,
    reached: SyncSender<()>,
    go: Mutex<Receiver<()>>,
}

impl DiskFile for Slow {
    fn length(&self) -> io::Result<u64> {
        self.file.length()
    }

    fn read(&self, offset: u64, out: &mut [u8]) -> io::Result<()> {
        if offset == self.at {
            let _ = self.reached.send(());
            let _ = self.go.lock().expect("no panic").recv();
        }
        self.file.read(offset, out)
    }

    fn set_length(&self, length: u64) -> io::Result<()> {
        self.file.set_length(length)
    }

    fn write(&self, offset: u64, data: &[u8]) -> io::Result<()> {
        self.file.write(offset, data)
    }

    fn sync(&self) -> io::Result<()> {
        self.file.sync()
    }
}

/// The story: one lock was held while the disk gave the sums of a group, and all reads of all other groups waited for it.
#[test]
fn a_slow_read_of_sums_holds_up_neither_reads_nor_writes_of_other_groups() {
    let disk = SimulatedDisk::new();
    let file = open(&disk);
    file.set_length(2 * GROUP * BLOCK_BYTES).expect("there is room");
    let data = vec![7; BLOCK];
    [1, GROUP + 1].iter().for_each(|block| file.write(block * BLOCK_BYTES, &data).expect("it is written"));
    file.sync().expect("it syncs");
    let ((reached, is_reached), (release, go)) = (sync_channel(8), sync_channel(8));
    let at = (GROUP + 1) * BLOCK_BYTES;
    let slow = Slow { file: Box::new(disk.open().expect("it opens")), at, reached, go: Mutex::new(go) };
    let (file, _) = Checked::new(Box::new(slow)).expect("it is read");
    let file = Arc::new(file);
    let read = |block: u64| {
        let (file, (done, is_done)) = (Arc::clone(&file), sync_channel(1));
        std::thread::spawn(move || {
            let mut out = vec![0; BLOCK];
            let read = file.read(block * BLOCK_BYTES, &mut out).map(|()| out);
            let _ = done.send(read.map_err(|error| error.to_string()));
        });
        is_done
    };
    let waits = read(GROUP + 1);
    is_reached.recv().expect("it waits for the sums of the second group");
    let patience = Duration::from_secs(20);
    let goes_on = read(1).recv_timeout(patience).expect("it waits for nobody");
    assert_eq!(goes_on.as_ref(), Ok(&data));
    file.write(2 * BLOCK_BYTES, &data).expect("it is written");
    file.sync().expect("it syncs");
    release.send(()).expect("it is awaited");
    assert_eq!(waits.recv_timeout(patience).expect("it was let go").as_ref(), Ok(&data));
}
