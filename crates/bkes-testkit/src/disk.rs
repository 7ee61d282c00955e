//! A disk in memory that fails on demand, for what lies above the store's disk.
//!
//! Nothing happens by itself: each fault is asked for, at the n-th operation from now, and a seed decides what a torn crash
//! keeps; so a run can be repeated byte for byte. Handles of a crashed machine do nothing any more, however long they live.
//!
//! Disk and files have the methods of [`bkes_storage::disk::Disk`] and [`DiskFile`](bkes_storage::disk::DiskFile) as methods of
//! their own, in words of the standard library. The traits are implemented by [`impl_disk!`](crate::impl_disk): here for the
//! crate, and in the crate for its unit tests, which are compiled with another copy of the traits than this crate knows.

mod seam;

use fastrand::Rng;
use std::any::Any;
use std::collections::BTreeSet;
use std::io::{self, ErrorKind};
use std::ops::Range;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::time::Duration;

/// What space is counted in, and what a torn write is cut at.
const BLOCK_BYTES: u64 = 4096;
const SECTOR_BYTES: usize = 512;

/// What a file can be asked to do.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Operation {
    /// Reading a range.
    Read,
    /// Writing a range.
    Write,
    /// Making the file longer or shorter.
    SetLength,
    /// Making everything durable.
    Sync,
}

/// How often each operation was asked for, those that failed included.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Operations {
    /// Reads.
    pub reads: u64,
    /// Writes.
    pub writes: u64,
    /// Changes of the length.
    pub set_lengths: u64,
    /// Syncs.
    pub syncs: u64,
}

impl Operations {
    /// Everything but reads: the moments at which a crash can make a difference.
    pub fn changes(&self) -> u64 {
        self.writes + self.set_lengths + self.syncs
    }

    fn count_of(&mut self, operation: Operation) -> &mut u64 {
        match operation {
            Operation::Read => &mut self.reads,
            Operation::Write => &mut self.writes,
            Operation::SetLength => &mut self.set_lengths,
            Operation::Sync => &mut self.syncs,
        }
    }
}

/// What a crash does to changes that were not synced.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Unsynced {
    /// All are lost.
    Lost,
    /// All happened to reach the disk: a killed process on a machine that lives on.
    Kept,
    /// Some reached the disk and some did not, in no order, and a write may have reached it in part.
    Torn {
        /// Decides which.
        seed: u64,
    },
}

#[derive(Debug)]
enum Change {
    Write { offset: u64, data: Vec<u8> },
    SetLength(u64),
}

impl Change {
    fn apply(&self, bytes: &mut Vec<u8>) {
        match self {
            Change::Write { offset, data } => {
                let end = *offset as usize + data.len();
                if bytes.len() < end {
                    bytes.resize(end, 0);
                }
                bytes[*offset as usize..end].copy_from_slice(data);
            }
            Change::SetLength(length) => bytes.resize(*length as usize, 0),
        }
    }
}

#[derive(Debug, Default)]
struct Content {
    visible: Vec<u8>,
    durable: Vec<u8>,
    unsynced: Vec<Change>,
    /// Blocks that take space. A file that was only made longer takes none.
    blocks: BTreeSet<u64>,
}

impl Content {
    fn change(&mut self, change: Change) {
        change.apply(&mut self.visible);
        self.unsynced.push(change);
    }

    fn crash(&mut self, unsynced: Unsynced) {
        let mut random = match unsynced {
            Unsynced::Torn { seed } => Rng::with_seed(seed),
            Unsynced::Lost | Unsynced::Kept => Rng::with_seed(0),
        };
        for change in self.unsynced.drain(..) {
            match (unsynced, change) {
                (Unsynced::Lost, _) => {}
                (Unsynced::Kept, change) => change.apply(&mut self.durable),
                (Unsynced::Torn { .. }, Change::Write { offset, mut data }) => match random.u8(..4) {
                    0 => {}
                    1 => {
                        let sectors = random.usize(..=data.len() / SECTOR_BYTES);
                        data.truncate(sectors * SECTOR_BYTES);
                        Change::Write { offset, data }.apply(&mut self.durable);
                    }
                    _ => Change::Write { offset, data }.apply(&mut self.durable),
                },
                (Unsynced::Torn { .. }, change @ Change::SetLength(_)) => {
                    if random.bool() {
                        change.apply(&mut self.durable);
                    }
                }
            }
        }
        self.visible.clone_from(&self.durable);
        let blocks = (self.visible.len() as u64).div_ceil(BLOCK_BYTES);
        self.blocks.retain(|block| *block < blocks);
    }
}

#[derive(Debug)]
struct Fault {
    operation: Operation,
    at: u64,
    kind: ErrorKind,
}

#[derive(Debug, Default)]
struct State {
    file: Option<Arc<Mutex<Content>>>,
    values: Option<Arc<Mutex<Content>>>,
    set_aside: Vec<Vec<u8>>,
    space_bytes: Option<u64>,
    read_time: Duration,
    operations: Operations,
    faults: Vec<Fault>,
    /// The change at which the machine crashes, before it has an effect.
    crash_at: Option<(u64, Unsynced)>,
    /// How often the machine crashed; handles of an earlier life are dead.
    crashes: u64,
    claimed: Weak<()>,
}

impl State {
    /// Those that are there, the one of tables first.
    fn files(&self) -> impl Iterator<Item = &Arc<Mutex<Content>>> {
        self.file.iter().chain(&self.values)
    }

    fn crash(&mut self, unsynced: Unsynced) {
        self.files().for_each(|file| locked(file).crash(unsynced));
        self.crash_at = None;
        self.crashes += 1;
        self.claimed = Weak::new();
    }

    /// Counts an operation, and says whether it fails.
    fn begin(&mut self, life: u64, operation: Operation) -> io::Result<()> {
        if life != self.crashes {
            return Err(io::Error::other("the machine of this handle crashed"));
        }
        if operation != Operation::Read
            && let Some((at, unsynced)) = self.crash_at
            && self.operations.changes() == at
        {
            self.crash(unsynced);
            return Err(io::Error::other("the machine crashes"));
        }
        let count = self.operations.count_of(operation);
        let at = *count;
        *count += 1;
        match self.faults.iter().position(|fault| fault.operation == operation && fault.at == at) {
            Some(fault) => Err(self.faults.swap_remove(fault).kind.into()),
            None => Ok(()),
        }
    }
}

/// A panic elsewhere leaves the content whole: every change is one assignment.
fn locked<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// The disk; clones are handles of the same one.
#[derive(Clone, Debug, Default)]
pub struct SimulatedDisk(Arc<Mutex<State>>);

impl SimulatedDisk {
    /// An empty disk without faults.
    pub fn new() -> SimulatedDisk {
        SimulatedDisk::default()
    }

    /// From now on this many bytes can be in use, in blocks of 4 KiB; `None` is no limit. Writes to blocks that are in use
    /// already go on when it is full, as on file systems that write in place.
    pub fn set_space(&self, bytes: Option<u64>) {
        locked(&self.0).space_bytes = bytes;
    }

    /// From now on a read takes so long.
    pub fn set_read_time(&self, time: Duration) {
        locked(&self.0).read_time = time;
    }

    /// One of the files, as it is until the next crash.
    fn opened(&self, file: fn(&mut State) -> &mut Option<Arc<Mutex<Content>>>) -> SimulatedFile {
        let mut state = locked(&self.0);
        let life = state.crashes;
        let content = Arc::clone(file(&mut state).get_or_insert_default());
        drop(state);
        SimulatedFile { disk: self.clone(), content, life }
    }

    /// Bytes in use.
    pub fn used_bytes(&self) -> u64 {
        let state = locked(&self.0);
        state.files().map(|file| locked(file).blocks.len() as u64 * BLOCK_BYTES).sum()
    }

    /// The n-th operation of this kind from now on fails once, without effect; 0 is the next.
    pub fn fail(&self, operation: Operation, nth: u64, kind: ErrorKind) {
        let mut state = locked(&self.0);
        let at = *state.operations.count_of(operation) + nth;
        state.faults.push(Fault { operation, at, kind });
    }

    /// Forgets the faults that did not happen yet, a crash included.
    pub fn heal(&self) {
        let mut state = locked(&self.0);
        state.faults.clear();
        state.crash_at = None;
        state.space_bytes = None;
    }

    /// What was asked for so far.
    pub fn operations(&self) -> Operations {
        locked(&self.0).operations
    }

    /// The machine crashes now: handles die, and the file is what a restart finds.
    pub fn crash(&self, unsynced: Unsynced) {
        locked(&self.0).crash(unsynced);
    }

    /// The machine crashes at the n-th change from now on, before it has an effect; 0 is the next.
    pub fn crash_at(&self, nth: u64, unsynced: Unsynced) {
        let mut state = locked(&self.0);
        state.crash_at = Some((state.operations.changes() + nth, unsynced));
    }

    /// How often the machine crashed.
    pub fn crashes(&self) -> u64 {
        locked(&self.0).crashes
    }

    /// Turns one bit around, durably: of the file of tables, or after its end of the file of values; nothing happens after both.
    pub fn flip_bit(&self, bit: u64) {
        let state = locked(&self.0);
        let (mut byte, mask) = ((bit / 8) as usize, 1 << (bit % 8));
        for file in state.files() {
            let Content { visible, durable, .. } = &mut *locked(file);
            let length = visible.len();
            if byte < length {
                for bytes in [visible, durable] {
                    if let Some(byte) = bytes.get_mut(byte) {
                        *byte ^= mask;
                    }
                }
                return;
            }
            byte -= length;
        }
    }

    /// The files that were set aside, the oldest first.
    pub fn set_aside_files(&self) -> Vec<Vec<u8>> {
        locked(&self.0).set_aside.clone()
    }
}

/// What the traits ask for.
impl SimulatedDisk {
    /// Takes the disk for one store alone, until what is returned is dropped or the machine crashes; `WouldBlock` if another one has it.
    pub fn claim(&self) -> io::Result<Box<dyn Any + Send + Sync>> {
        let mut state = locked(&self.0);
        if state.claimed.strong_count() > 0 {
            return Err(ErrorKind::WouldBlock.into());
        }
        let claim = Arc::new(());
        state.claimed = Arc::downgrade(&claim);
        Ok(Box::new(claim))
    }

    /// Opens the file of tables.
    pub fn open(&self) -> io::Result<SimulatedFile> {
        Ok(self.opened(|state| &mut state.file))
    }

    /// Opens the file of large values.
    pub fn open_values(&self) -> io::Result<SimulatedFile> {
        Ok(self.opened(|state| &mut state.values))
    }

    /// Whether so many bytes more fit.
    pub fn try_room(&self, bytes: u64) -> io::Result<()> {
        let used = self.used_bytes();
        match locked(&self.0).space_bytes {
            Some(space) if used + bytes > space => Err(ErrorKind::StorageFull.into()),
            _ => Ok(()),
        }
    }

    /// Moves both files away.
    pub fn set_aside(&self) -> io::Result<PathBuf> {
        let mut state = locked(&self.0);
        let file = state.file.take().ok_or(ErrorKind::NotFound)?;
        state.values = None;
        let bytes = locked(&file).visible.clone();
        state.set_aside.push(bytes);
        Ok(PathBuf::from(format!("simulated/store.redb.damaged-{}", state.set_aside.len())))
    }

    /// Deletes both files.
    pub fn remove(&self) -> io::Result<()> {
        let mut state = locked(&self.0);
        state.values = None;
        state.file.take().map(drop).ok_or(ErrorKind::NotFound.into())
    }

    /// How long the files are together.
    pub fn file_bytes(&self) -> u64 {
        let state = locked(&self.0);
        state.files().map(|file| locked(file).visible.len() as u64).sum()
    }

    /// The name of the file of tables.
    pub fn path(&self) -> PathBuf {
        "simulated/store.redb".into()
    }
}

/// An open file of a [`SimulatedDisk`].
#[derive(Debug)]
pub struct SimulatedFile {
    disk: SimulatedDisk,
    /// A file that was removed or set aside lives on for those who have it open.
    content: Arc<Mutex<Content>>,
    life: u64,
}

impl SimulatedFile {
    /// Both locks are held while it is done, so that a crash comes before or after it.
    fn begin(&self, operation: Operation) -> io::Result<(MutexGuard<'_, State>, MutexGuard<'_, Content>)> {
        let mut state = locked(&self.disk.0);
        state.begin(self.life, operation)?;
        Ok((state, locked(&self.content)))
    }
}

/// What the traits ask for.
impl SimulatedFile {
    /// Its length in bytes.
    pub fn length(&self) -> io::Result<u64> {
        Ok(locked(&self.content).visible.len() as u64)
    }

    /// Fills `out` from this place on.
    pub fn read(&self, offset: u64, out: &mut [u8]) -> io::Result<()> {
        let time = {
            let (state, content) = self.begin(Operation::Read)?;
            let start = offset as usize;
            let bytes = content.visible.get(start..start + out.len()).ok_or(ErrorKind::UnexpectedEof)?;
            out.copy_from_slice(bytes);
            state.read_time
        };
        if !time.is_zero() {
            std::thread::sleep(time);
        }
        Ok(())
    }

    /// Makes it this long.
    pub fn set_length(&self, length: u64) -> io::Result<()> {
        let (_state, mut content) = self.begin(Operation::SetLength)?;
        content.blocks.retain(|block| *block < length.div_ceil(BLOCK_BYTES));
        content.change(Change::SetLength(length));
        Ok(())
    }

    /// Writes all of `data` from this place on.
    pub fn write(&self, offset: u64, data: &[u8]) -> io::Result<()> {
        let (state, mut content) = self.begin(Operation::Write)?;
        let blocks = offset / BLOCK_BYTES..(offset + data.len() as u64).div_ceil(BLOCK_BYTES);
        let new: Vec<u64> = blocks.filter(|block| !content.blocks.contains(block)).collect();
        let others = state.files().filter(|file| !Arc::ptr_eq(file, &self.content));
        let others: usize = others.map(|file| locked(file).blocks.len()).sum();
        let used = (content.blocks.len() + new.len() + others) as u64 * BLOCK_BYTES;
        if !new.is_empty() && state.space_bytes.is_some_and(|space| used > space) {
            return Err(ErrorKind::StorageFull.into());
        }
        content.blocks.extend(new);
        content.change(Change::Write { offset, data: data.to_vec() });
        Ok(())
    }

    /// Makes everything written durable.
    pub fn sync(&self) -> io::Result<()> {
        let (_state, mut content) = self.begin(Operation::Sync)?;
        let Content { durable, unsynced, .. } = &mut *content;
        for change in unsynced.drain(..) {
            change.apply(durable);
        }
        Ok(())
    }

    /// Gives the room of these bytes back.
    pub fn discard(&self, range: Range<u64>) -> io::Result<()> {
        let (_state, mut content) = self.begin(Operation::Write)?;
        let whole = range.start.div_ceil(BLOCK_BYTES)..range.end / BLOCK_BYTES;
        content.blocks.retain(|block| !whole.contains(block));
        let end = range.end.min(content.visible.len() as u64);
        let zeros = vec![0; end.saturating_sub(range.start) as usize];
        content.change(Change::Write { offset: range.start.min(end), data: zeros });
        Ok(())
    }
}
