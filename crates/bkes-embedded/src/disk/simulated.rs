//! A disk in memory that fails on demand, and remembers what a power cut would have left at every moment.
//!
//! Nothing happens by itself: each fault is asked for, at the n-th call of its kind, and a seed decides what a cut keeps, so a
//! run can be repeated byte for byte. Of what was not synced a power cut keeps any part: each write in sectors, each in any
//! order, each change of a length and each change of a name.

use super::{Claim, Disk, DiskFile};
use fastrand::Rng;
use std::collections::BTreeMap;
use std::io::{self, ErrorKind};
use std::os::unix::fs::FileExt;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};

/// What a disk can be asked to do.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub enum Operation {
    Claim,
    Open,
    Create,
    Rename,
    SyncNames,
    Length,
    Read,
    Write,
    SetLength,
    Sync,
}

impl Operation {
    pub const ALL: [Operation; 10] = [
        Operation::Claim,
        Operation::Open,
        Operation::Create,
        Operation::Rename,
        Operation::SyncNames,
        Operation::Length,
        Operation::Read,
        Operation::Write,
        Operation::SetLength,
        Operation::Sync,
    ];

    /// Whether a power cut just before it can differ from one just after it.
    fn is_change(self) -> bool {
        !matches!(self, Operation::Claim | Operation::Open | Operation::Length | Operation::Read)
    }
}

/// How a call goes wrong.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Fault {
    /// An error, and no effect. A sync that fails forgets some of what it should have written, as Linux does.
    Error(ErrorKind),
    /// A write or read of so many bytes, at most: no error.
    Short(usize),
    /// An error of a change that had its effect.
    ErrorAfter(ErrorKind),
}

/// What waits for a sync.
#[derive(Clone, Debug)]
enum Change {
    Write {
        offset: usize,
        data: Vec<u8>,
    },
    /// At least so long.
    Extend(usize),
    SetLength(usize),
}

impl Change {
    fn apply(&self, bytes: &mut Vec<u8>) {
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
struct Content {
    visible: Vec<u8>,
    lasting: Vec<u8>,
    unsynced: Vec<Change>,
}

#[derive(Clone, Debug)]
enum NameChange {
    Create(String, usize),
    Rename(String, String),
}

type Names = BTreeMap<String, usize>;

impl NameChange {
    fn apply(&self, names: &mut Names) {
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
    files: Vec<Content>,
    visible: Names,
    lasting: Names,
    unsynced: Vec<NameChange>,
}

/// What a power cut keeps of what was not synced.
pub enum Keeps<'a> {
    /// Nothing.
    Nothing,
    /// Everything, as when only the process dies and the system writes it later.
    Everything,
    /// Of each write the sectors of so many bytes whose turn's bit is set; lengths and names in turn too.
    Bits { sector: usize, bits: u64 },
    /// Any part of it.
    Any { sector: usize, random: &'a mut Rng },
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

    /// The disk after a power cut.
    pub fn cut(&self, mut keeps: Keeps<'_>) -> SimulatedDisk {
        let mut after = self.clone();
        for change in std::mem::take(&mut after.unsynced) {
            if keeps.next() {
                change.apply(&mut after.lasting);
            }
        }
        after.visible = after.lasting.clone();
        for file in &mut after.files {
            for change in std::mem::take(&mut file.unsynced) {
                match &change {
                    Change::Write { offset, data } => {
                        // The length may be there without the bytes, which are zeros then.
                        if keeps.next() {
                            Change::Extend(offset + data.len()).apply(&mut file.lasting);
                        }
                        for part in sectors(*offset, data, keeps.sector()) {
                            if keeps.next() {
                                part.apply(&mut file.lasting);
                            }
                        }
                    }
                    Change::Extend(_) | Change::SetLength(_) => {
                        if keeps.next() {
                            change.apply(&mut file.lasting);
                        }
                    }
                }
            }
            file.visible = file.lasting.clone();
        }
        SimulatedDisk::with(after)
    }

    /// The disk after the process died and the machine did not: what was not synced is still on its way.
    pub fn restart(&self) -> SimulatedDisk {
        SimulatedDisk::with(self.clone())
    }
}

#[derive(Debug, Default)]
struct State {
    platter: Platter,
    calls: BTreeMap<Operation, u64>,
    changes: usize,
    /// What was on the disk before each change, if it is remembered.
    moments: Option<Vec<Platter>>,
    faults: Vec<(Operation, u64, Fault)>,
    /// Decides what a failed sync forgets.
    random: Rng,
    claimed: Weak<()>,
}

impl State {
    /// Counts a call; how it goes wrong, if it does.
    fn begin(&mut self, operation: Operation) -> io::Result<Option<Fault>> {
        let calls = self.calls.entry(operation).or_default();
        let nth = *calls;
        *calls += 1;
        let fault = self.faults.iter().position(|(of, at, _)| (*of, *at) == (operation, nth));
        let fault = fault.map(|at| self.faults.swap_remove(at).2);
        if operation.is_change() {
            self.changes += 1;
            let platter = &self.platter;
            if let Some(moments) = &mut self.moments {
                moments.push(platter.clone());
            }
        }
        match fault {
            Some(Fault::Error(kind)) if operation != Operation::Sync => Err(kind.into()),
            fault => Ok(fault),
        }
    }
}

/// A disk without a directory; clones are handles of the same one.
#[derive(Clone, Debug, Default)]
pub struct SimulatedDisk(Arc<Mutex<State>>);

impl SimulatedDisk {
    fn with(platter: Platter) -> SimulatedDisk {
        SimulatedDisk(Arc::new(Mutex::new(State { platter, random: Rng::with_seed(0), ..State::default() })))
    }

    /// An empty disk without faults.
    pub fn new() -> SimulatedDisk {
        SimulatedDisk::with(Platter::default())
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// From now on what is on the disk is remembered before each change.
    pub fn remember(&self) {
        self.state().moments.get_or_insert_default();
    }

    /// What was remembered, and what is there now as the last.
    pub fn moments(&self) -> Vec<Platter> {
        let state = self.state();
        let mut moments = state.moments.clone().unwrap_or_default();
        moments.push(state.platter.clone());
        moments
    }

    /// Changes begun since they are remembered: what was there before the next one will be the moment of this number.
    pub fn remembered(&self) -> usize {
        self.state().moments.as_ref().map_or(0, Vec::len)
    }

    /// What is there now.
    pub fn platter(&self) -> Platter {
        self.state().platter.clone()
    }

    /// How often each operation was asked for.
    pub fn calls(&self, operation: Operation) -> u64 {
        self.state().calls.get(&operation).copied().unwrap_or(0)
    }

    /// The n-th call of this kind, counted from the first ever, and `more` behind it go wrong.
    pub fn fail(&self, operation: Operation, (nth, more): (u64, u64), fault: Fault) {
        let mut state = self.state();
        state.faults.extend((nth..=nth + more).map(|nth| (operation, nth, fault)));
    }

    /// Forgets the faults that did not happen yet.
    pub fn heal(&self) {
        self.state().faults.clear();
    }

    /// What a file holds, as a process sees it.
    pub fn bytes(&self, name: &str) -> Option<Vec<u8>> {
        let state = self.state();
        state.platter.visible.get(name).map(|file| state.platter.files[*file].visible.clone())
    }

    /// From now on this seed decides what a failed sync forgets.
    pub fn forget_with(&self, seed: u64) {
        self.state().random = Rng::with_seed(seed);
    }

    /// Puts other bytes into a file below those who have it open.
    pub fn overwrite(&self, name: &str, bytes: &[u8]) {
        let mut state = self.state();
        let file = state.platter.visible[name];
        let Content { visible, lasting, .. } = &mut state.platter.files[file];
        for content in [visible, lasting] {
            content.clear();
            content.extend_from_slice(bytes);
        }
    }

    /// Puts a file of these bytes in the place of what has the name, lastingly.
    pub fn put(&self, name: &str, bytes: &[u8]) {
        let mut state = self.state();
        let Platter { files, visible, lasting, .. } = &mut state.platter;
        files.push(Content { visible: bytes.to_vec(), lasting: bytes.to_vec(), unsynced: Vec::new() });
        for names in [visible, lasting] {
            names.insert(name.to_owned(), files.len() - 1);
        }
    }
}

impl Disk for SimulatedDisk {
    fn claim(&self) -> io::Result<Claim> {
        let mut state = self.state();
        state.begin(Operation::Claim)?;
        if state.claimed.strong_count() > 0 {
            return Err(ErrorKind::WouldBlock.into());
        }
        let claim = Arc::new(());
        state.claimed = Arc::downgrade(&claim);
        Ok(Box::new(claim))
    }

    fn open(&self, name: &str) -> io::Result<Option<Box<dyn DiskFile>>> {
        let mut state = self.state();
        state.begin(Operation::Open)?;
        let file = state.platter.visible.get(name).copied();
        Ok(file.map(|file| Box::new(SimulatedFile { disk: self.clone(), file }) as Box<dyn DiskFile>))
    }

    fn create(&self, name: &str) -> io::Result<Box<dyn DiskFile>> {
        let mut state = self.state();
        state.begin(Operation::Create)?;
        let Platter { files, visible, unsynced, .. } = &mut state.platter;
        if let Some(file) = visible.get(name).copied() {
            // The file stays the same one and is emptied.
            let change = Change::SetLength(0);
            change.apply(&mut files[file].visible);
            files[file].unsynced.push(change);
            return Ok(Box::new(SimulatedFile { disk: self.clone(), file }));
        }
        files.push(Content::default());
        let file = files.len() - 1;
        let change = NameChange::Create(name.to_owned(), file);
        change.apply(visible);
        unsynced.push(change);
        Ok(Box::new(SimulatedFile { disk: self.clone(), file }))
    }

    fn rename(&self, from: &str, to: &str) -> io::Result<()> {
        let mut state = self.state();
        let fault = state.begin(Operation::Rename)?;
        let change = NameChange::Rename(from.to_owned(), to.to_owned());
        let Platter { visible, unsynced, .. } = &mut state.platter;
        change.apply(visible);
        unsynced.push(change);
        error_after(fault)
    }

    fn sync_names(&self) -> io::Result<()> {
        let mut state = self.state();
        state.begin(Operation::SyncNames)?;
        let Platter { lasting, unsynced, .. } = &mut state.platter;
        unsynced.drain(..).for_each(|change| change.apply(lasting));
        Ok(())
    }

    fn path(&self, name: &str) -> PathBuf {
        PathBuf::from("simulated").join(name)
    }
}

fn error_after(fault: Option<Fault>) -> io::Result<()> {
    match fault {
        Some(Fault::ErrorAfter(kind)) => Err(kind.into()),
        _ => Ok(()),
    }
}

#[derive(Debug)]
struct SimulatedFile {
    disk: SimulatedDisk,
    file: usize,
}

impl SimulatedFile {
    fn change(
        &self,
        operation: Operation,
        change: impl FnOnce(Option<Fault>) -> Change,
    ) -> io::Result<Change> {
        let mut state = self.disk.state();
        let fault = state.begin(operation)?;
        let change = change(fault);
        let content = &mut state.platter.files[self.file];
        change.apply(&mut content.visible);
        content.unsynced.push(change.clone());
        error_after(fault).map(|()| change)
    }

    /// What a failed sync was to write is on disk, still waits, or is forgotten: then only the length is kept.
    fn fail_sync(&self, state: &mut State, kind: ErrorKind) -> io::Error {
        let State { platter, random, .. } = state;
        let Content { lasting, unsynced, .. } = &mut platter.files[self.file];
        for change in std::mem::take(unsynced) {
            // What comes later may be on disk only if nothing before it waits: a file that was cut does not get its bytes back.
            match (random.u8(..3), &change) {
                (0, _) if unsynced.is_empty() => change.apply(lasting),
                (1, Change::Write { offset, data }) => unsynced.push(Change::Extend(offset + data.len())),
                _ => unsynced.push(change),
            }
        }
        kind.into()
    }
}

impl FileExt for SimulatedFile {
    fn read_at(&self, out: &mut [u8], offset: u64) -> io::Result<usize> {
        let mut state = self.disk.state();
        let fault = state.begin(Operation::Read)?;
        let bytes = &state.platter.files[self.file].visible;
        let rest = bytes.get(offset as usize..).unwrap_or_default();
        let most = if let Some(Fault::Short(most)) = fault { most } else { usize::MAX };
        let length = out.len().min(rest.len()).min(most);
        out[..length].copy_from_slice(&rest[..length]);
        Ok(length)
    }

    fn write_at(&self, data: &[u8], offset: u64) -> io::Result<usize> {
        let written = self.change(Operation::Write, |fault| {
            let most = if let Some(Fault::Short(most)) = fault { most } else { usize::MAX };
            Change::Write { offset: offset as usize, data: data[..data.len().min(most)].to_vec() }
        })?;
        let Change::Write { data, .. } = written else { return Ok(0) };
        Ok(data.len())
    }
}

impl DiskFile for SimulatedFile {
    fn length(&self) -> io::Result<u64> {
        let mut state = self.disk.state();
        state.begin(Operation::Length)?;
        Ok(state.platter.files[self.file].visible.len() as u64)
    }

    fn set_length(&self, length: u64) -> io::Result<()> {
        self.change(Operation::SetLength, |_| Change::SetLength(length as usize)).map(drop)
    }

    fn sync_data(&self) -> io::Result<()> {
        let mut state = self.disk.state();
        let fault = state.begin(Operation::Sync)?;
        if let Some(Fault::Error(kind)) = fault {
            return Err(self.fail_sync(&mut state, kind));
        }
        let Content { lasting, unsynced, .. } = &mut state.platter.files[self.file];
        unsynced.drain(..).for_each(|change| change.apply(lasting));
        error_after(fault)
    }

    fn sync_all(&self) -> io::Result<()> {
        self.sync_data()
    }
}
