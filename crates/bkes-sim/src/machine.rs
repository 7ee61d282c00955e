//! The machine of an instance: what is left of its store when the process is gone, and what its disk does to it.

use crate::faults::Fault;
use crate::lock::locked;
use crate::plan::StoreKind;
use crate::stage::Stage;
use bkes_core::{Key, Partition};
use bkes_storage::{
    Durability, EventOutline, Heads, KeyPage, KeyRange, Loaded, OutlinePart, ReadPart, RedbStore, Store,
    StoreBatch, StoreError, StoreIdentity, StoreStats, StoredEvent,
};
use bkes_testkit::disk::{Operation, SimulatedDisk, Unsynced};
use bkes_testkit::store::SimulatedStore;
use fastrand::Rng;
use std::io::{self, ErrorKind};
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::sync::{Arc, Mutex};

/// Memory for the pages of a store on a simulated disk.
const CACHE_BYTES: usize = 1024 * 1024;

/// What survives a process.
pub enum Machine {
    /// A store in memory, which knows what was durable.
    Memory(Arc<SimulatedStore>),
    /// A disk.
    Disk(SimulatedDisk),
}

impl Machine {
    /// A machine without data.
    pub fn new(kind: StoreKind) -> Machine {
        match kind {
            StoreKind::Memory => Machine::Memory(Arc::new(SimulatedStore::new())),
            StoreKind::Redb => Machine::Disk(SimulatedDisk::new()),
        }
    }

    /// The process that used it is gone, without having closed its store.
    pub fn crash(&self, random: &mut Rng) {
        match self {
            Machine::Memory(store) => store.crash(),
            Machine::Disk(disk) => disk.crash(match random.u32(..3) {
                0 => Unsynced::Lost,
                1 => Unsynced::Kept,
                _ => Unsynced::Torn { seed: random.u64(..) },
            }),
        }
    }

    /// The process that used it ends, and the system keeps what it wrote; whatever it still holds is dead.
    pub fn abandon(&self) {
        match self {
            Machine::Memory(_) => {}
            Machine::Disk(disk) => disk.crash(Unsynced::Kept),
        }
    }

    /// Opens the store for a new process.
    pub fn open(&self) -> Result<Arc<dyn Store>, String> {
        match self {
            Machine::Memory(store) => {
                store.crash();
                Ok(Arc::clone(store) as Arc<dyn Store>)
            }
            Machine::Disk(disk) => {
                self.abandon();
                let opened = RedbStore::open_on(Arc::new(disk.clone()), CACHE_BYTES);
                opened
                    .map(|opened| Arc::new(opened.store) as Arc<dyn Store>)
                    .map_err(|error| error.to_string())
            }
        }
    }

    /// Writing fails from now on, once or for a while.
    pub fn fail_writes(&self, random: &mut Rng) {
        match self {
            Machine::Memory(store) => store.fail_writes(Some("an I/O error")),
            Machine::Disk(disk) => {
                let operation = if random.bool() { Operation::Sync } else { Operation::Write };
                disk.fail(operation, random.u64(..3), ErrorKind::Other);
            }
        }
    }

    /// No byte more fits on the disk.
    pub fn fill(&self) {
        match self {
            Machine::Memory(store) => store.fail_writes(Some("no space left on device")),
            Machine::Disk(disk) => disk.set_space(Some(disk.used_bytes())),
        }
    }

    /// Stored bytes change.
    pub fn damage(&self, random: &mut Rng) {
        match self {
            Machine::Memory(store) => store.damage("a bit is not what it was"),
            Machine::Disk(disk) => disk.flip_bit(random.u64(..disk.file_bytes().max(1) * 8)),
        }
    }

    /// The disk works again.
    pub fn heal(&self) {
        match self {
            Machine::Memory(store) => store.fail_writes(None),
            Machine::Disk(disk) => disk.heal(),
        }
    }
}

/// The store as a process has it: other parts come in between, look-ups fail, and the process may be killed in a write.
pub struct MachineStore {
    inner: Arc<dyn Store>,
    stage: Arc<Stage>,
    random: Mutex<Rng>,
    /// How likely a look-up fails, in 1,000.
    pub read_fails: AtomicU32,
    /// How likely a reader cannot get events, in 1,000.
    pub show_fails: AtomicU32,
    /// The next commit is the last thing the process does; whether before or after it takes effect.
    pub kill_in_write: AtomicBool,
    /// Something was committed and is not durable.
    pub unsynced: AtomicBool,
    /// Writing failed, or damage was met: it will be opened anew, or emptied.
    pub is_broken: AtomicBool,
}

impl MachineStore {
    /// The store of a process.
    pub fn new(inner: Arc<dyn Store>, stage: Arc<Stage>, random: Rng) -> MachineStore {
        MachineStore {
            inner,
            stage,
            random: Mutex::new(random),
            read_fails: AtomicU32::new(0),
            show_fails: AtomicU32::new(0),
            kill_in_write: AtomicBool::new(false),
            unsynced: AtomicBool::new(false),
            is_broken: AtomicBool::new(false),
        }
    }

    fn is_dead(&self) -> bool {
        self.stage.dead.load(Ordering::Relaxed)
    }

    /// Reading works again.
    pub fn heal(&self) {
        self.read_fails.store(0, Ordering::Relaxed);
        self.show_fails.store(0, Ordering::Relaxed);
    }

    /// Has the store looked into, unless that fails; others come before and after.
    fn look(
        &self,
        (rate, fault): (&AtomicU32, Fault),
        look: impl FnOnce(&dyn Store) -> Result<(), StoreError>,
    ) -> Result<(), StoreError> {
        self.stage.interlude();
        self.readable(rate, fault)?;
        let found = look(&*self.inner);
        if matches!(found, Err(StoreError::Damaged { .. })) {
            self.is_broken.store(true, Ordering::Relaxed);
        }
        self.stage.interlude();
        found
    }

    fn readable(&self, rate: &AtomicU32, fault: Fault) -> Result<(), StoreError> {
        let rate = rate.load(Ordering::Relaxed);
        if self.is_dead() || (rate > 0 && locked(&self.random).u32(..1_000) < rate) {
            self.stage.recorder.fault(fault);
            return Err(StoreError::ReadFailed { source: io::Error::other("an I/O error") });
        }
        Ok(())
    }

    fn writable(&self) -> Result<(), StoreError> {
        if self.is_dead() {
            return Err(StoreError::WriteFailed { source: io::Error::other("the process is gone") });
        }
        Ok(())
    }
}

impl Store for MachineStore {
    fn load(&self) -> Result<Loaded, StoreError> {
        self.inner.load()
    }

    fn set_identity(&self, identity: &StoreIdentity) -> Result<(), StoreError> {
        self.writable()?;
        self.inner.set_identity(identity)
    }

    fn heads(&self, keys: &[Key], out: &mut Vec<Heads>) -> Result<(), StoreError> {
        self.look((&self.read_fails, Fault::ReadFails), |store| store.heads(keys, out))
    }

    fn keys(&self, range: KeyRange<'_>) -> Result<KeyPage, StoreError> {
        self.inner.keys(range)
    }

    fn read(&self, part: ReadPart<'_>, out: &mut Vec<StoredEvent>) -> Result<(), StoreError> {
        self.look((&self.show_fails, Fault::ShowFails), |store| store.read(part, out))
    }

    fn outlines(&self, part: OutlinePart<'_>, out: &mut Vec<EventOutline>) -> Result<(), StoreError> {
        self.look((&self.show_fails, Fault::ShowFails), |store| store.outlines(part, out))
    }

    fn commit(&self, batch: &StoreBatch, durability: Durability) -> Result<(), StoreError> {
        self.stage.interlude();
        self.writable()?;
        let kill = self.kill_in_write.swap(false, Ordering::Relaxed);
        if kill && locked(&self.random).bool() {
            self.stage.dead.store(true, Ordering::Relaxed);
            return self.writable();
        }
        let committed = self.inner.commit(batch, durability);
        self.is_broken.store(committed.is_err(), Ordering::Relaxed);
        if committed.is_ok() {
            self.unsynced.store(durability == Durability::Eventual && !batch.is_empty(), Ordering::Relaxed);
        }
        if kill {
            self.stage.dead.store(true, Ordering::Relaxed);
            return self.writable();
        }
        self.stage.interlude();
        committed
    }

    fn reopen(&self) -> Result<Loaded, StoreError> {
        self.writable()?;
        let reopened = self.inner.reopen();
        self.is_broken.store(reopened.is_err(), Ordering::Relaxed);
        reopened
    }

    fn drop_partition(&self, partition: Partition) -> Result<(), StoreError> {
        self.stage.interlude();
        self.writable()?;
        let dropped = self.inner.drop_partition(partition);
        if self.kill_in_write.swap(false, Ordering::Relaxed) {
            self.stage.dead.store(true, Ordering::Relaxed);
            return self.writable();
        }
        self.stage.interlude();
        dropped
    }

    fn sweep(&self) -> Result<bool, StoreError> {
        self.stage.interlude();
        self.writable()?;
        self.inner.sweep()
    }

    fn reset(&self) -> Result<(), StoreError> {
        self.writable()?;
        self.is_broken.store(false, Ordering::Relaxed);
        self.inner.reset()
    }

    fn close(&self) -> Result<(), StoreError> {
        self.writable()?;
        self.inner.close()
    }

    fn stats(&self) -> StoreStats {
        self.inner.stats()
    }
}
