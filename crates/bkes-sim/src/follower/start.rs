//! Whom one follows, and where one begins: drawn, positions in the middle of a batch among them.

use super::Around;
use bkes_api::{FollowFrom, Positions};
use bkes_check::{Followed, FollowedFrom};
use bkes_core::marker::{RecordClass, classify};
use bkes_core::{Key, Partition, Position, Record};
use bkes_log::Log;
use bytes::Bytes;
use fastrand::Rng;

/// Where a stream begins, in the words of the engine and in those of the checker.
pub struct Start {
    /// What the engine is told.
    pub from: FollowFrom,
    /// What the checker is told.
    pub begins: FollowedFrom,
}

impl Start {
    /// At these positions.
    pub fn at(positions: Positions) -> Start {
        let begins = FollowedFrom::Positions(positions.of.clone());
        Start { from: FollowFrom::Positions(positions), begins }
    }
}

/// Whom to follow.
pub fn followed(keys: &[Key], random: &mut Rng) -> Followed {
    let key = keys[random.usize(..keys.len())].clone();
    match random.u32(..8) {
        0..4 => Followed::All,
        // Every key begins so, or one.
        4 => Followed::Prefix(Bytes::from_static(b"k")),
        5 => Followed::Prefix(key.bytes().clone()),
        6 => Followed::Key(key),
        // The first one is always there.
        _ => Followed::Partitions(vec![Partition(0)]),
    }
}

/// The same, in the engine's words.
pub fn asked(followed: &Followed) -> bkes_api::Followed {
    match followed {
        Followed::All => bkes_api::Followed::All,
        Followed::Prefix(prefix) => bkes_api::Followed::Prefix(prefix.clone()),
        Followed::Partitions(partitions) => bkes_api::Followed::Partitions(partitions.clone()),
        Followed::Key(key) => bkes_api::Followed::Key(key.clone()),
    }
}

/// Where one begins that was told nothing.
pub fn draw(around: Around<'_>, random: &mut Rng) -> Start {
    let (how, start) = match random.u32(..8) {
        0..3 => {
            let begins = FollowedFrom::Positions(Vec::new());
            ("from the beginning", Start { from: FollowFrom::Beginning, begins })
        }
        3 | 4 => ("from now on", Start { from: FollowFrom::Now, begins: FollowedFrom::Now }),
        _ => ("from positions", Start::at(positions(around, random))),
    };
    around.recorder.followed(how);
    start
}

/// Positions in some partitions, each at a record that the log holds, or after it.
fn positions(around: Around<'_>, random: &mut Rng) -> Positions {
    let mut of = Vec::new();
    for partition in (0..around.log.partitions()).map(Partition) {
        let records = around.log.records(partition);
        let Ok(marks) = around.log.watermarks(partition) else { continue };
        if random.u32(..4) == 0 {
            continue;
        }
        let members: Vec<&Record> = records.iter().filter(|record| is_followed(record)).collect();
        let position = match &members[..] {
            [_, ..] if random.bool() => {
                around.recorder.followed("from within a batch");
                members[random.usize(..members.len())].offset.next()
            }
            _ => match records.get(random.usize(..=records.len())) {
                Some(record) => Position(record.offset.0),
                None => marks.stable,
            },
        };
        of.push((partition, position));
    }
    Positions { topic: None, of }
}

/// Whether a record is a member of a batch that others come after.
fn is_followed(record: &Record) -> bool {
    match classify(record) {
        RecordClass::Marked(marker) => marker.stamp.i() < marker.stamp.count(),
        _ => false,
    }
}
