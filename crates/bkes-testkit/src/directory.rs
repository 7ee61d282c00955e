//! A directory in memory that fails on demand, and remembers what a power cut would have left at every moment.
//!
//! Nothing happens by itself: each fault is asked for, at the n-th call of its kind, and a seed decides what a cut keeps, so a
//! run can be repeated byte for byte. Of what was not synced a power cut keeps any part: each write in sectors, each in any
//! order, each change of a length and each change of a name.
//!
//! It has the methods of the disk of bkes-embedded, in words of the standard library, and does not know that crate: its unit
//! tests are the only ones who use it, and make it a disk of theirs.

mod platter;

pub use platter::{Keeps, Platter};

use fastrand::Rng;
use platter::{Change, Content, NameChange};
use std::any::Any;
use std::collections::BTreeMap;
use std::io::{self, ErrorKind};
use std::ops::RangeInclusive;
use std::os::unix::fs::FileExt;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};

/// What a directory and its files can be asked to do.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub enum Operation {
    /// Taking the directory.
    Claim,
    /// Opening a file.
    Open,
    /// Making a file.
    Create,
    /// Giving a file another name.
    Rename,
    /// Making names durable.
    SyncNames,
    /// Asking for the length of a file.
    Length,
    /// Reading a range.
    Read,
    /// Writing a range.
    Write,
    /// Making a file longer or shorter.
    SetLength,
    /// Making a file durable.
    Sync,
}

impl Operation {
    /// All of them.
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

/// The directory; clones are handles of the same one.
#[derive(Clone, Debug, Default)]
pub struct SimulatedDirectory(Arc<Mutex<State>>);

impl Platter {
    /// The directory after a power cut.
    pub fn cut(&self, keeps: Keeps<'_>) -> SimulatedDirectory {
        SimulatedDirectory::with(self.after_cut(keeps))
    }

    /// The directory after the process died and the machine did not: what was not synced is still on its way.
    pub fn restart(&self) -> SimulatedDirectory {
        SimulatedDirectory::with(self.clone())
    }
}

impl SimulatedDirectory {
    fn with(platter: Platter) -> SimulatedDirectory {
        SimulatedDirectory(Arc::new(Mutex::new(State {
            platter,
            random: Rng::with_seed(0),
            ..State::default()
        })))
    }

    /// An empty disk without faults.
    pub fn new() -> SimulatedDirectory {
        SimulatedDirectory::with(Platter::default())
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

    /// These calls of this kind, counted from the first ever, go wrong.
    pub fn fail(&self, operation: Operation, calls: RangeInclusive<u64>, fault: Fault) {
        self.state().faults.extend(calls.map(|nth| (operation, nth, fault)));
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
        let Content { visible, durable, .. } = &mut state.platter.files[file];
        for content in [visible, durable] {
            content.clear();
            content.extend_from_slice(bytes);
        }
    }

    /// Puts a file of these bytes in the place of what has the name, durably.
    pub fn put(&self, name: &str, bytes: &[u8]) {
        let mut state = self.state();
        let Platter { files, visible, durable, .. } = &mut state.platter;
        files.push(Content { visible: bytes.to_vec(), durable: bytes.to_vec(), unsynced: Vec::new() });
        for names in [visible, durable] {
            names.insert(name.to_owned(), files.len() - 1);
        }
    }
}

/// What the disk of bkes-embedded asks for.
impl SimulatedDirectory {
    /// Takes the directory for one log alone, until what is returned is dropped; `WouldBlock` when another one has it.
    pub fn claim(&self) -> io::Result<Box<dyn Any + Send + Sync>> {
        let mut state = self.state();
        state.begin(Operation::Claim)?;
        if state.claimed.strong_count() > 0 {
            return Err(ErrorKind::WouldBlock.into());
        }
        let claim = Arc::new(());
        state.claimed = Arc::downgrade(&claim);
        Ok(Box::new(claim))
    }

    /// Opens a file; `None` when there is none of this name.
    pub fn open(&self, name: &str) -> io::Result<Option<SimulatedFile>> {
        let mut state = self.state();
        state.begin(Operation::Open)?;
        let file = state.platter.visible.get(name).copied();
        Ok(file.map(|file| SimulatedFile { directory: self.clone(), file }))
    }

    /// Makes a file, empty, in the place of one that has the name.
    pub fn create(&self, name: &str) -> io::Result<SimulatedFile> {
        let mut state = self.state();
        state.begin(Operation::Create)?;
        let Platter { files, visible, unsynced, .. } = &mut state.platter;
        if let Some(file) = visible.get(name).copied() {
            // The file stays the same one and is emptied.
            let change = Change::SetLength(0);
            change.apply(&mut files[file].visible);
            files[file].unsynced.push(change);
            return Ok(SimulatedFile { directory: self.clone(), file });
        }
        files.push(Content::default());
        let file = files.len() - 1;
        let change = NameChange::Create(name.to_owned(), file);
        change.apply(visible);
        unsynced.push(change);
        Ok(SimulatedFile { directory: self.clone(), file })
    }

    /// Gives a file another name, in the place of the file that had it.
    pub fn rename(&self, from: &str, to: &str) -> io::Result<()> {
        let mut state = self.state();
        let fault = state.begin(Operation::Rename)?;
        let change = NameChange::Rename(from.to_owned(), to.to_owned());
        let Platter { visible, unsynced, .. } = &mut state.platter;
        change.apply(visible);
        unsynced.push(change);
        error_after(fault)
    }

    /// Makes the names durable.
    pub fn sync_names(&self) -> io::Result<()> {
        let mut state = self.state();
        state.begin(Operation::SyncNames)?;
        let Platter { durable, unsynced, .. } = &mut state.platter;
        unsynced.drain(..).for_each(|change| change.apply(durable));
        Ok(())
    }

    /// The path of a name.
    pub fn path(&self, name: &str) -> PathBuf {
        PathBuf::from("simulated").join(name)
    }
}

fn error_after(fault: Option<Fault>) -> io::Result<()> {
    match fault {
        Some(Fault::ErrorAfter(kind)) => Err(kind.into()),
        _ => Ok(()),
    }
}

/// An open file of a [`SimulatedDirectory`]. It reads and writes as [`FileExt`] says.
#[derive(Debug)]
pub struct SimulatedFile {
    directory: SimulatedDirectory,
    file: usize,
}

impl SimulatedFile {
    fn change(
        &self,
        operation: Operation,
        change: impl FnOnce(Option<Fault>) -> Change,
    ) -> io::Result<Change> {
        let mut state = self.directory.state();
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
        let Content { durable, unsynced, .. } = &mut platter.files[self.file];
        for change in std::mem::take(unsynced) {
            // What comes later may be on disk only if nothing before it waits: a file that was cut does not get its bytes back.
            match (random.u8(..3), &change) {
                (0, _) if unsynced.is_empty() => change.apply(durable),
                (1, Change::Write { offset, data }) => unsynced.push(Change::Extend(offset + data.len())),
                _ => unsynced.push(change),
            }
        }
        kind.into()
    }
}

impl FileExt for SimulatedFile {
    fn read_at(&self, out: &mut [u8], offset: u64) -> io::Result<usize> {
        let mut state = self.directory.state();
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

/// What the files of bkes-embedded are asked for besides.
impl SimulatedFile {
    /// Its length in bytes.
    pub fn length(&self) -> io::Result<u64> {
        let mut state = self.directory.state();
        state.begin(Operation::Length)?;
        Ok(state.platter.files[self.file].visible.len() as u64)
    }

    /// Makes it this long.
    pub fn set_length(&self, length: u64) -> io::Result<()> {
        self.change(Operation::SetLength, |_| Change::SetLength(length as usize)).map(drop)
    }

    /// Makes durable what was written.
    pub fn sync_data(&self) -> io::Result<()> {
        let mut state = self.directory.state();
        let fault = state.begin(Operation::Sync)?;
        if let Some(Fault::Error(kind)) = fault {
            return Err(self.fail_sync(&mut state, kind));
        }
        let Content { durable, unsynced, .. } = &mut state.platter.files[self.file];
        unsynced.drain(..).for_each(|change| change.apply(durable));
        error_after(fault)
    }
}
