//! What can happen, and how often it did.

use fastrand::Rng;
use std::fmt;
use std::fs::File;
use std::io::Write;
use std::path::Path;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

/// A kind of fault.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Fault {
    /// An instance is killed and started again.
    InstanceKilled,
    /// An instance is frozen for a while.
    InstancePaused,
    /// An instance is stopped in order and started again.
    InstanceStopped,
    /// A killed instance finds its store gone.
    StoreDeleted,
    /// A killed instance finds bytes of its store changed.
    StoreFlipped,
    /// A killed instance finds its store cut short.
    StoreTruncated,
    /// The disk of an instance is full for a while.
    DiskFull,
    /// A node (with several: the leader) is killed and started again.
    NodeKilled,
    /// A node is frozen for a while.
    NodePaused,
    /// A node is stopped in order and started again.
    NodeStopped,
    /// The followers are frozen for a moment, so that the leader alone has what was written last; then it is killed.
    LeaderLost,
    /// What instances and brokers say to each other comes late.
    BrokerDelayed,
    /// Connections between instances and brokers end.
    BrokerCut,
    /// Connections between instances and brokers end in one direction.
    BrokerHalfClosed,
    /// Connections between instances and brokers stay open and carry nothing.
    BrokerHeld,
    /// What clients and instances say to each other comes late.
    ClientDelayed,
    /// Connections between clients and instances end.
    ClientCut,
    /// Connections between clients and instances end in one direction.
    ClientHalfClosed,
    /// Others write records.
    ForeignWritten,
    /// Others commit a transaction that was open for a while.
    ForeignCommitted,
    /// Others abort one.
    ForeignAborted,
}

impl Fault {
    /// What happens to instances.
    pub const INSTANCES: [Fault; 7] = [
        Fault::InstanceKilled,
        Fault::InstancePaused,
        Fault::InstanceStopped,
        Fault::StoreDeleted,
        Fault::StoreFlipped,
        Fault::StoreTruncated,
        Fault::DiskFull,
    ];
    /// What happens to brokers.
    pub const NODES: [Fault; 3] = [Fault::NodeKilled, Fault::NodePaused, Fault::NodeStopped];
    /// The same where there are others to lead.
    pub const LEADERS: [Fault; 4] =
        [Fault::NodeKilled, Fault::NodePaused, Fault::NodeStopped, Fault::LeaderLost];
    /// What happens to connections.
    pub const CONNECTIONS: [Fault; 7] = [
        Fault::BrokerDelayed,
        Fault::BrokerCut,
        Fault::BrokerHalfClosed,
        Fault::BrokerHeld,
        Fault::ClientDelayed,
        Fault::ClientCut,
        Fault::ClientHalfClosed,
    ];
    /// What others do to the topic.
    pub const FOREIGN: [Fault; 3] = [Fault::ForeignWritten, Fault::ForeignCommitted, Fault::ForeignAborted];

    /// How often it comes in a round of its group. While the followers are frozen nobody reads what is written, so only the first
    /// appends, until two writers take turns, could be acknowledged too early: one such fault may well show nothing, and three
    /// show more.
    fn times_in_a_round(self) -> usize {
        if self == Fault::LeaderLost { 3 } else { 1 }
    }

    /// The groups of a run with so many nodes; one fault of each at a time.
    pub fn groups(nodes: usize) -> [&'static [Fault]; 4] {
        let of_nodes: &[Fault] = if nodes > 1 { &Fault::LEADERS } else { &Fault::NODES };
        [&Fault::INSTANCES, of_nodes, &Fault::CONNECTIONS, &Fault::FOREIGN]
    }
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        in_words(&format!("{self:?}"), f)
    }
}

/// A name as words: "StoreFlipped" is "store flipped".
pub fn in_words(name: &str, f: &mut fmt::Formatter<'_>) -> fmt::Result {
    for (place, letter) in name.chars().enumerate() {
        match letter.is_uppercase() {
            true if place > 0 => write!(f, " {}", letter.to_lowercase())?,
            true => write!(f, "{}", letter.to_lowercase())?,
            false => write!(f, "{letter}")?,
        }
    }
    Ok(())
}

/// The order in which the faults of a group come: every one of them once or more, shuffled, again and again.
pub struct Plan {
    group: &'static [Fault],
    left: Vec<Fault>,
}

impl Plan {
    /// A plan for a group.
    pub fn new(group: &'static [Fault]) -> Plan {
        Plan { group, left: Vec::new() }
    }

    /// The next fault.
    pub fn next(&mut self, random: &mut Rng) -> Fault {
        if self.left.is_empty() {
            let often = |fault: &Fault| std::iter::repeat_n(*fault, fault.times_in_a_round());
            self.left = self.group.iter().flat_map(often).collect();
            random.shuffle(&mut self.left);
        }
        self.left.pop().expect("a group has faults")
    }
}

/// How often each fault happened, a diary of when, and what went wrong that must not.
pub struct Diary {
    began: Instant,
    counts: [AtomicU64; Fault::COUNT],
    findings: Mutex<Vec<String>>,
    file: Mutex<File>,
}

impl Fault {
    const COUNT: usize = Fault::ForeignAborted as usize + 1;
}

impl Diary {
    /// An empty one, written to a file.
    pub fn new(path: &Path) -> std::io::Result<Diary> {
        let counts = std::array::from_fn(|_| AtomicU64::new(0));
        let file = Mutex::new(File::create(path)?);
        Ok(Diary { began: Instant::now(), counts, findings: Mutex::default(), file })
    }

    /// A fault happened.
    pub fn count(&self, fault: Fault) {
        self.counts[fault as usize].fetch_add(1, Ordering::AcqRel);
    }

    /// How often it happened.
    pub fn times(&self, fault: Fault) -> u64 {
        self.counts[fault as usize].load(Ordering::Acquire)
    }

    /// A line for whoever wants to know what happened when.
    pub fn write(&self, what: impl fmt::Display) {
        let at: Duration = self.began.elapsed();
        let mut file = self.file.lock().unwrap_or_else(PoisonError::into_inner);
        // The diary is for people; a run does not fail because it cannot be written.
        let _ = writeln!(file, "{:>9.3}  {what}", at.as_secs_f64());
    }

    /// Something that must not happen, happened.
    pub fn found(&self, what: impl fmt::Display) {
        let what = what.to_string();
        self.write(format_args!("FOUND {what}"));
        self.findings.lock().unwrap_or_else(PoisonError::into_inner).push(what);
    }

    /// Everything that must not happen and did.
    pub fn take_findings(&self) -> Vec<String> {
        std::mem::take(&mut self.findings.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_plan_has_every_fault_of_its_group_in_each_round() {
        let (mut plan, mut random) = (Plan::new(&Fault::INSTANCES), Rng::with_seed(7));
        for _ in 0..3 {
            let mut round: Vec<Fault> = Fault::INSTANCES.iter().map(|_| plan.next(&mut random)).collect();
            round.sort_by_key(|fault| *fault as usize);
            assert_eq!(round, Fault::INSTANCES);
        }
        let (mut leaders, lost) = (Plan::new(&Fault::LEADERS), Fault::LeaderLost);
        for _ in 0..3 {
            let mut round: Vec<Fault> = (0..6).map(|_| leaders.next(&mut random)).collect();
            round.sort_by_key(|fault| *fault as usize);
            assert_eq!((&round[..3], &round[3..]), (&Fault::NODES[..], &[lost; 3][..]));
        }
        let mut other = Plan::new(&Fault::INSTANCES);
        let order = |seed| {
            let mut random = Rng::with_seed(seed);
            (0..14).map(|_| Plan::next(&mut Plan::new(&Fault::NODES), &mut random)).collect::<Vec<_>>()
        };
        assert_eq!(order(3), order(3), "the seed decides");
        other.next(&mut random);
        assert_eq!(Fault::StoreFlipped.to_string(), "store flipped");
    }

    #[test]
    fn a_diary_counts_faults_and_keeps_findings() {
        let folder = tempfile::tempdir().expect("a folder");
        let diary = Diary::new(&folder.path().join("diary")).expect("a file");
        diary.count(Fault::DiskFull);
        diary.found("a thing");
        assert_eq!((diary.times(Fault::DiskFull), diary.times(Fault::ClientCut)), (1, 0));
        assert_eq!(diary.take_findings(), ["a thing"]);
        let text = std::fs::read_to_string(folder.path().join("diary")).expect("it is there");
        assert!(text.contains("FOUND a thing"), "{text}");
    }
}
