//! What a run is: everything is drawn from its seed, and can be taken away again to find the smallest run that still fails.

use crate::faults::{Fault, Faults};
use fastrand::Rng;
use std::fmt;
use std::str::FromStr;

/// The largest record that the log takes.
pub const RECORD_BYTES_MAX: u64 = 2_000;

/// What is demanded of a run beside the promises.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Mode {
    /// Anything may happen until the end; what was said and shown must be true.
    Safety,
    /// Faults stop: within a bounded time every instance is ready, and an append to every key succeeds.
    Liveness,
}

/// What may happen to the topic. All promises hold for the first two.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Topic {
    /// Nothing: it stays as it is.
    Stays,
    /// It gets more partitions, and foreign writers place as they like: keys may be split.
    Splits,
    /// Failovers lose the ends of partitions.
    Loses,
    /// Retention removes the heads of partitions.
    Forgets,
    /// It is deleted and made again.
    Returns,
}

/// What the store lies on.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum StoreKind {
    /// The store in memory.
    Memory,
    /// The store of production, on a simulated disk.
    Redb,
}

/// One run.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Plan {
    /// Decides everything that is not said here.
    pub seed: u64,
    /// What is demanded.
    pub mode: Mode,
    /// What may happen to the topic.
    pub topic: Topic,
    /// What the stores lie on.
    pub store: StoreKind,
    /// Processes on the topic.
    pub instances: u32,
    /// Callers.
    pub clients: u32,
    /// Aggregates.
    pub keys: u32,
    /// Partitions at the beginning.
    pub partitions: u32,
    /// Owner threads of each instance.
    pub owners: usize,
    /// Calls of all callers together.
    pub calls: u32,
    /// Followers.
    pub followers: u32,
    /// Whether somebody waits for positions.
    pub waits: bool,
    /// The faults that may happen.
    pub faults: Faults,
    /// How likely something unusual is, in 1,000 steps.
    pub fault_rate: u32,
    /// One instance, and nothing that leaves an append in doubt: there must be no void record.
    pub calm: bool,
}

/// What may happen in a calm run.
const CALM: &[Fault] = &[
    Fault::Delayed,
    Fault::Gap,
    Fault::ReportHeld,
    Fault::QuestionFails,
    Fault::Interleaved,
    Fault::Empty,
    Fault::Control,
    Fault::QueueFull,
    Fault::OverlayFull,
    Fault::BadRequest,
];

impl Plan {
    /// The run of a seed.
    pub fn of(seed: u64) -> Plan {
        let mut random = Rng::with_seed(seed);
        let mode = if random.bool() { Mode::Liveness } else { Mode::Safety };
        let topic = match random.u32(..100) {
            0..70 => Topic::Stays,
            70..82 => Topic::Splits,
            82..90 => Topic::Loses,
            90..95 => Topic::Forgets,
            _ => Topic::Returns,
        };
        let store = if random.u32(..8) == 0 { StoreKind::Redb } else { StoreKind::Memory };
        let few = random.u32(..4) == 0;
        let mut faults = Faults::NONE;
        // Some runs have few kinds of faults, some many: each kind hides others.
        let share = random.u32(20..90);
        for fault in Fault::ALL.iter().copied().filter(|fault| fits(*fault, topic)) {
            let always = matches!(fault, Fault::Grown | Fault::Truncated | Fault::Cut | Fault::Recreated);
            if always || random.u32(..100) < share {
                faults = faults.with(fault);
            }
        }
        Plan {
            seed,
            mode,
            topic,
            store,
            instances: if few { 1 } else { random.u32(1..=4) },
            clients: random.u32(1..=6),
            keys: random.u32(1..=5),
            partitions: random.u32(1..=3),
            owners: random.usize(1..=3),
            calls: random.u32(20..=120),
            followers: followers(seed),
            waits: seed % 3 == 2,
            faults,
            fault_rate: [5, 15, 40][random.usize(..3)],
            calm: false,
        }
        .calmed(random.u32(..16) == 0)
    }

    fn calmed(self, calm: bool) -> Plan {
        if !calm {
            return self;
        }
        let faults = CALM.iter().fold(Faults::NONE, |faults, fault| faults.with(*fault));
        let store = StoreKind::Memory;
        Plan { topic: Topic::Stays, instances: 1, faults, store, calm, fault_rate: 15, ..self }
    }

    /// How many of 100 appends have an id. Most runs have none: what happens to either kind takes the place of what happens to the other.
    pub fn ids_percent(&self) -> u32 {
        if self.seed.is_multiple_of(3) { 50 } else { 0 }
    }

    /// Whether a fault may happen.
    pub fn may(&self, fault: Fault) -> bool {
        self.faults.has(fault)
    }
}

/// Every third run has followers, as every third has ids and in every third somebody waits. It is not drawn, so that nothing else of a
/// seed changes.
fn followers(seed: u64) -> u32 {
    if seed % 3 == 1 { 1 + (seed / 3 % 3) as u32 } else { 0 }
}

impl fmt::Display for Mode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Mode::Safety => "safety",
            Mode::Liveness => "liveness",
        })
    }
}

impl FromStr for Mode {
    type Err = String;

    fn from_str(text: &str) -> Result<Mode, String> {
        [Mode::Safety, Mode::Liveness]
            .into_iter()
            .find(|mode| mode.to_string() == text)
            .ok_or_else(|| "safety or liveness".into())
    }
}

fn fits(fault: Fault, topic: Topic) -> bool {
    match fault {
        Fault::Grown | Fault::Misplaced => topic == Topic::Splits,
        Fault::Truncated => topic == Topic::Loses,
        Fault::Cut => topic == Topic::Forgets,
        Fault::Recreated => topic == Topic::Returns,
        _ => true,
    }
}
