//! What is on a disk or on its way there, and what a power cut leaves of it.

use fastrand::Rng;
use std::collections::BTreeMap;

/// What waits for a sync.
#[derive(Clone, Debug)]
pub(super) enum Change {
    Write {
        offset: usize,
        data: Vec<u8>,
    },
    /// At least so long.
    Extend(usize),
    SetLength(usize),
}

impl Change {
    pub(super) fn apply(&self, bytes: &mut Vec<u8>) {
        match self {
            Change::Write { offset, data } => {
                let end = offset + data.len();
                bytes.resize(bytes.len().max(end), 0);
                bytes[*offset..end].copy_from_slice(data);
            }
            Change::Extend(end) => bytes.resize(bytes.len().max(*end), 0),
            Change::SetLength(length) => bytes.resize(*length, 0),
        }
    }
}

#[derive(Clone, Debug, Default)]
pub(super) struct Content {
    pub(super) visible: Vec<u8>,
    pub(super) durable: Vec<u8>,
    pub(super) unsynced: Vec<Change>,
}

#[derive(Clone, Debug)]
pub(super) enum NameChange {
    Create(String, usize),
    Rename(String, String),
}

pub(super) type Names = BTreeMap<String, usize>;

impl NameChange {
    pub(super) fn apply(&self, names: &mut Names) {
        match self {
            NameChange::Create(name, file) => drop(names.insert(name.clone(), *file)),
            NameChange::Rename(from, to) => {
                if let Some(file) = names.remove(from) {
                    names.insert(to.clone(), file);
                }
            }
        }
    }
}

/// Everything that is on the disk, or on its way there.
#[derive(Clone, Debug, Default)]
pub struct Platter {
    pub(super) files: Vec<Content>,
    pub(super) visible: Names,
    pub(super) durable: Names,
    pub(super) unsynced: Vec<NameChange>,
}

/// What a power cut keeps of what was not synced.
pub enum Keeps<'a> {
    /// Nothing.
    Nothing,
    /// Everything, as when only the process dies and the system writes it later.
    Everything,
    /// Of each write the sectors of so many bytes whose turn's bit is set; lengths and names in turn too.
    Bits {
        /// The size of a sector, in bytes.
        sector: usize,
        /// The lowest decides first.
        bits: u64,
    },
    /// Any part of it.
    Any {
        /// The size of a sector, in bytes.
        sector: usize,
        /// Decides.
        random: &'a mut Rng,
    },
}

impl Keeps<'_> {
    fn sector(&self) -> usize {
        match self {
            Keeps::Nothing | Keeps::Everything => usize::MAX,
            Keeps::Bits { sector, .. } | Keeps::Any { sector, .. } => *sector,
        }
    }

    fn next(&mut self) -> bool {
        match self {
            Keeps::Nothing => false,
            Keeps::Everything => true,
            Keeps::Bits { bits, .. } => {
                let kept = *bits & 1 == 1;
                *bits >>= 1;
                kept
            }
            Keeps::Any { random, .. } => random.bool(),
        }
    }
}

/// The parts of a write that reach the disk each for itself.
fn sectors(offset: usize, data: &[u8], sector: usize) -> impl Iterator<Item = Change> {
    let mut at = 0;
    std::iter::from_fn(move || {
        let rest = data.get(at..).filter(|rest| !rest.is_empty())?;
        let length = if sector == usize::MAX { rest.len() } else { sector - (offset + at) % sector };
        let part = &rest[..length.min(rest.len())];
        let change = Change::Write { offset: offset + at, data: part.to_vec() };
        at += part.len();
        Some(change)
    })
}

impl Platter {
    /// How many decisions a power cut makes, in sectors of this size.
    pub fn decisions(&self, sector: usize) -> u32 {
        let of = |change: &Change| match change {
            Change::Write { offset, data } => 1 + sectors(*offset, data, sector).count(),
            Change::Extend(_) | Change::SetLength(_) => 1,
        };
        let changes: usize = self.files.iter().flat_map(|file| &file.unsynced).map(of).sum();
        (changes + self.unsynced.len()) as u32
    }

    /// What is there after a power cut.
    pub(super) fn after_cut(&self, mut keeps: Keeps<'_>) -> Platter {
        let mut after = self.clone();
        for change in std::mem::take(&mut after.unsynced) {
            if keeps.next() {
                change.apply(&mut after.durable);
            }
        }
        after.visible = after.durable.clone();
        for file in &mut after.files {
            for change in std::mem::take(&mut file.unsynced) {
                match &change {
                    Change::Write { offset, data } => {
                        // The length may be there without the bytes, which are zeros then.
                        if keeps.next() {
                            Change::Extend(offset + data.len()).apply(&mut file.durable);
                        }
                        for part in sectors(*offset, data, keeps.sector()) {
                            if keeps.next() {
                                part.apply(&mut file.durable);
                            }
                        }
                    }
                    Change::Extend(_) | Change::SetLength(_) => {
                        if keeps.next() {
                            change.apply(&mut file.durable);
                        }
                    }
                }
            }
            file.visible = file.durable.clone();
        }
        after
    }
}
