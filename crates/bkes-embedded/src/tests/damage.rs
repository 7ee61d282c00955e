//! What a power cut does not explain is named, and nothing is changed; what it does explain is no damage.

use super::*;
use crate::file::FILE;
use crate::group::{self, GroupHeader, HEADER_BYTES};
use crate::limits::{GROUP_BYTES_MAX, SCAN_BYTES};
use crate::walk::Proof;
use bytes::Bytes;

/// A log of these groups, as its bytes; where each group begins, and the end.
fn log_of(groups: &[Vec<NewRecord>]) -> (Vec<u8>, Vec<usize>) {
    let disk = SimulatedDirectory::new();
    let mut rig = Rig::open(&disk).expect("a new log opens");
    let mut begins = vec![rig.shared.start as usize];
    for group in groups {
        if group.is_empty() {
            rig.writer.seal();
        } else {
            rig.stored(group);
        }
        begins.push(rig.shared.published().end as usize);
    }
    (disk.bytes(FILE).expect("it is there"), begins)
}

fn open(bytes: &[u8]) -> (SimulatedDirectory, Result<Rig, OpenError>) {
    let disk = SimulatedDirectory::new();
    disk.put(FILE, bytes);
    let rig = Rig::open(&disk);
    (disk, rig)
}

/// The log is refused, the place named, and the file as it was.
fn refusal(bytes: &[u8]) -> (u64, Proof) {
    let (disk, refused) = open(bytes);
    assert!(disk.bytes(FILE).expect("it is there") == bytes, "a refused log is left as it is");
    match refused {
        Err(OpenError::Damaged { position, proof, .. }) => (position, proof),
        Err(error) => panic!("{error}"),
        Ok(rig) => panic!("it opens, with {:?}", rig.read()),
    }
}

fn some_groups(random: &mut Rng, count: usize) -> Vec<Vec<NewRecord>> {
    (0..count).map(|_| some_group(random)).collect()
}

/// After a power cut a hole in the last group, which nobody was told of, was followed by a whole record of the same group. It
/// was taken for damage, and the operator told to restore a copy, though nothing was lost.
#[test]
fn a_hole_before_whole_records_of_the_last_group_is_what_a_power_cut_leaves() {
    let random = &mut Rng::with_seed(1);
    let groups = [some_group(random), (0..12).map(|_| some_record(random, 3)).collect()];
    let (good, begins) = log_of(&groups);
    for from in begins[1]..good.len() {
        for to in [from + 1, from + 16, from + 64] {
            let mut bytes = good.clone();
            let to = to.min(good.len());
            if bytes[from..to].iter().all(|byte| *byte == 0) {
                continue;
            }
            bytes[from..to].fill(0);
            let (disk, rig) = open(&bytes);
            let rig = rig.unwrap_or_else(|error| panic!("a hole from {from} to {to}: {error}"));
            assert_eq!(rig.read(), Ok(as_read(&groups[..1])), "a hole from {from} to {to}");
            assert_eq!(disk.bytes(FILE).expect("it is there").len(), begins[1], "the rest is cut off");
        }
    }
}

#[test]
fn a_flipped_bit_before_a_later_group_is_named_and_nothing_is_changed() {
    let random = &mut Rng::with_seed(2);
    let groups = [some_group(random), some_group(random), some_group(random), vec![]];
    let (good, begins) = log_of(&groups);
    let seal = begins[3];
    for bit in 0..good.len() * 8 {
        let mut bytes = good.clone();
        bytes[bit / 8] ^= 1 << (bit % 8);
        let at = bit / 8;
        if at < begins[0] {
            let (disk, refused) = open(&bytes);
            assert!(refused.is_err(), "byte {at} of the header");
            assert_eq!(disk.bytes(FILE), Some(bytes));
        } else if at < seal {
            let group = begins.partition_point(|begin| *begin <= at) - 1;
            let (position, proof) = refusal(&bytes);
            assert_eq!(position, begins[group] as u64, "byte {at}");
            match proof {
                Proof::LaterGroup { position } | Proof::BytesBehind { position } => {
                    assert_eq!(position, begins[group + 1] as u64, "byte {at}");
                }
                proof => panic!("byte {at}: {proof}"),
            }
        } else {
            // A seal has no record that could be lost.
            assert_eq!(open(&bytes).1.expect("it opens").read(), Ok(as_read(&groups)), "byte {at}");
        }
    }
}

/// The last group is not told from one that was torn, as long as nothing was written after it.
#[test]
fn a_flipped_bit_in_the_last_group_is_found_once_it_is_sealed() {
    let random = &mut Rng::with_seed(3);
    let mut groups = some_groups(random, 2);
    let (good, begins) = log_of(&groups);
    groups.push(vec![]);
    let (sealed, _) = log_of(&groups);
    assert_eq!(sealed.len(), good.len() + HEADER_BYTES);
    for at in begins[1]..good.len() {
        let mut bytes = good.clone();
        bytes[at] ^= 1;
        assert_eq!(open(&bytes).1.expect("it opens").read(), Ok(as_read(&groups[..1])));
        let mut bytes = sealed.clone();
        bytes[at] ^= 1;
        assert_eq!(refusal(&bytes).0, begins[1] as u64);
    }
}

/// A group after it was only begun when the one before was synced, although the power failed before its header was whole.
#[test]
fn a_flipped_bit_before_a_torn_group_is_damage() {
    let (good, begins) = log_of(&some_groups(&mut Rng::with_seed(9), 3));
    for at in begins[1] + HEADER_BYTES..begins[2] {
        for torn in [1, HEADER_BYTES - 1, HEADER_BYTES, good.len() - begins[2]] {
            let mut bytes = good[..begins[2] + torn].to_vec();
            bytes[at] ^= 2;
            bytes[begins[2]..].fill(0);
            let proof = Proof::BytesBehind { position: begins[2] as u64 };
            assert_eq!(refusal(&bytes), (begins[1] as u64, proof), "byte {at}, {torn} bytes behind");
        }
    }
}

#[test]
fn bytes_that_came_between_or_went_are_damage() {
    let random = &mut Rng::with_seed(4);
    let groups = some_groups(random, 4);
    let (good, begins) = log_of(&groups);
    for at in begins[0]..begins[3] {
        let (mut more, mut less) = (good.clone(), good.clone());
        more.insert(at, random.u8(..));
        less.remove(at);
        for bytes in [more, less] {
            let (position, _) = refusal(&bytes);
            let same = good.iter().zip(&bytes).take_while(|(a, b)| a == b).count();
            let group = begins.iter().rev().find(|begin| **begin <= same).expect("the head is whole");
            assert_eq!(position, *group as u64, "byte {at}");
        }
    }
    // Whole groups that are gone, come twice, or change places.
    let of = |group: usize| &good[begins[group]..begins[group + 1]];
    let head = &good[..begins[0]];
    for order in [vec![0, 2, 3], vec![1, 2, 3], vec![0, 0, 1], vec![0, 2, 1, 3], vec![0, 1, 2, 3, 3], vec![3]]
    {
        let mut bytes = head.to_vec();
        order.iter().for_each(|group| bytes.extend_from_slice(of(*group)));
        let (position, _) = refusal(&bytes);
        let same = order.iter().enumerate().take_while(|(at, group)| at == *group).count();
        assert_eq!(position, begins[same] as u64, "{order:?}");
    }
}

#[test]
fn a_whole_group_that_does_not_belong_there_is_damage() {
    let random = &mut Rng::with_seed(5);
    let (good, begins) = log_of(&some_groups(random, 1));
    let (header, _) = crate::header::FileHeader::get(&good).expect("a header");
    let group = |frames: &[u8], records| {
        let header = GroupHeader::of(begins[1] as u64, frames, records).to_bytes(header.mark);
        [&good, &header[..], frames].concat()
    };
    let frame = |partition: u32, offset: u64| {
        let record = NewRecord { partition: Partition(partition), ..some_record(&mut Rng::with_seed(1), 1) };
        let mut out = Vec::new();
        crate::frame::put(&mut out, &record, bkes_core::Offset(offset), bkes_core::TimestampMs(1));
        out
    };
    let wrong = [
        // An offset that leaves a gap, a partition that is not there, other counts, bytes that are no frame.
        group(&frame(0, 1_000), 1),
        group(&frame(3, 0), 1),
        group(&frame(0, 1_000)[1..], 1),
        group(&[], 1),
        group(b"no frame", 1),
    ];
    for bytes in wrong {
        assert_eq!(refusal(&bytes), (begins[1] as u64, Proof::Misplaced));
    }
}

/// Who stores a copy of the log's own file as an event does not make a torn write look like damage; nor does one who stores
/// headers of a mark that he guessed.
#[test]
fn an_event_that_holds_headers_of_groups_is_not_taken_for_them() {
    let random = &mut Rng::with_seed(6);
    let mut groups = some_groups(random, 3);
    let disk = SimulatedDirectory::new();
    let mut rig = Rig::open(&disk).expect("a new log opens");
    groups.iter().for_each(|group| rig.stored(group));
    let mut value = disk.bytes(FILE).expect("it is there");
    value.extend(GroupHeader::of(1 << 40, b"later", 1).to_bytes(*b"guessed!"));
    let copy = NewRecord { value: Some(Bytes::from(value)), ..some_record(random, 3) };
    let before = rig.shared.published().end as usize;
    groups.push(vec![copy, some_record(random, 3)]);
    rig.stored(&groups[3]);
    let good = disk.bytes(FILE).expect("it is there");
    for at in before..good.len() {
        let mut bytes = good.clone();
        bytes[at] ^= 0x80;
        assert_eq!(open(&bytes).1.expect("it opens").read(), Ok(as_read(&groups[..3])), "byte {at}");
    }
}

#[test]
fn more_than_one_group_can_have_is_damage_and_one_group_is_not() {
    let (good, begins) = log_of(&some_groups(&mut Rng::with_seed(7), 1));
    let most = good.len() + GROUP_BYTES_MAX as usize;
    let mut bytes = good.clone();
    bytes.resize(most, 0);
    let (disk, rig) = open(&bytes);
    drop(rig.expect("it opens"));
    assert_eq!(disk.bytes(FILE).expect("it is there"), good);
    bytes.push(0);
    let proof = Proof::TooManyBytes { bytes: GROUP_BYTES_MAX + 1 };
    assert_eq!(refusal(&bytes), (begins[1] as u64, proof));
}

/// A file is read in parts, and a header may lie across two of them.
#[test]
fn a_later_group_is_found_across_the_parts_that_are_read() {
    let (good, begins) = log_of(&some_groups(&mut Rng::with_seed(8), 1));
    let (header, _) = crate::header::FileHeader::get(&good).expect("a header");
    for shift in 0..=2 * HEADER_BYTES {
        let mut bytes = good.clone();
        let at = begins[1] + SCAN_BYTES - 2 * HEADER_BYTES + shift;
        bytes.resize(at, 0xee);
        bytes.extend(GroupHeader::of(at as u64, &[], 0).to_bytes(header.mark));
        bytes.extend([0; 10]);
        assert_eq!(refusal(&bytes).1, Proof::LaterGroup { position: at as u64 });
        assert!(group::get(&bytes[at..], header.mark).is_some());
    }
}

/// Groups that are larger than what is read at a time, and many small ones.
#[test]
fn a_long_log_is_walked_whole() {
    let disk = SimulatedDirectory::new();
    let mut rig = Rig::open(&disk).expect("a new log opens");
    let mut groups = Vec::new();
    for size in [10, SCAN_BYTES - 150, 3 * SCAN_BYTES, 70, 1_000_000, 1] {
        for _ in 0..10_000_000 / (size + 100_000) {
            let value = Some(Bytes::from(vec![size as u8; size]));
            let record =
                |partition| NewRecord { partition, key: None, value: value.clone(), headers: Vec::new() };
            groups.push(vec![record(Partition(0)), record(Partition(2))]);
            rig.stored(groups.last().expect("it was pushed"));
        }
    }
    assert!(rig.read() == Ok(as_read(&groups)), "it reads while it is open");
    drop(rig);
    assert!(
        Rig::open(&disk).expect("it opens").read() == Ok(as_read(&groups)),
        "and when it is opened again"
    );
}
