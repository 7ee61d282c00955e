//! What is sent at once and what is gathered, by the clock: an engine stepped by hand, on a log whose leaders can be away.

use crate::support::flawed::FlawedLog;
use crate::support::{Answer, Bench};
use bkes_core::{Partition, Partitioner};
use bkes_engine::{EngineOptions, Expected};
use bkes_storage::MemoryStore;
use std::num::NonZeroU32;
use std::sync::Arc;

const AWAY: Partition = Partition(0);
const SERVED: Partition = Partition(1);

/// As much as the memory log has under way together.
const UNDER_WAY_MAX: usize = 2;

struct Scene {
    log: FlawedLog,
    bench: Bench,
    appends: Vec<Answer>,
}

impl Scene {
    /// An engine that has caught up, on a log one of whose partitions has lost its leader since.
    fn new() -> Scene {
        let log = FlawedLog::new(2);
        let options = EngineOptions { partitioner: Some(Partitioner::Murmur2), ..EngineOptions::default() };
        let mut bench = Bench::with(log.clone(), Arc::new(MemoryStore::new()), options);
        bench.run_until("it is ready", |bench| bench.handle.is_ready());
        log.flaws().leaderless.insert(AWAY);
        Scene { log, bench, appends: Vec::new() }
    }

    fn pass_a_millisecond(&mut self) {
        self.bench.jump(1);
        self.bench.step_owners();
    }

    /// Asks for so many appends, each of a new key that hashes to this partition.
    fn append(&mut self, partition: Partition, count: usize) {
        let partitions = NonZeroU32::new(2).expect("two");
        for _ in 0..count {
            let append = self.appends.len();
            let mut names = (0..).map(|n| format!("{append}-{n}"));
            let name = names
                .find(|name| Partitioner::Murmur2.place(name.as_bytes(), partitions) == partition)
                .expect("one of many");
            self.appends.push(self.bench.append(&name, Expected::New, &["value"]));
        }
    }

    fn records(&self, partition: Partition) -> usize {
        self.log.log.records(partition).len()
    }
}

#[test]
fn a_small_group_waits_a_moment_behind_other_partitions_and_no_longer() {
    let mut scene = Scene::new();
    scene.append(AWAY, UNDER_WAY_MAX);
    scene.bench.step_owners();
    scene.append(SERVED, 1);
    scene.bench.step_owners();
    assert_eq!(scene.records(SERVED), 0, "as much is on the way elsewhere");
    scene.pass_a_millisecond();
    assert_eq!(scene.records(SERVED), 0);
    scene.append(SERVED, 1);
    scene.pass_a_millisecond();
    assert_eq!(scene.records(SERVED), 2, "a partition that does not answer costs others two milliseconds");
}

#[test]
fn a_small_group_is_sent_as_soon_as_the_others_were_reported() {
    let mut scene = Scene::new();
    scene.append(AWAY, UNDER_WAY_MAX);
    scene.bench.step_owners();
    scene.append(SERVED, 1);
    scene.bench.step_owners();
    assert_eq!(scene.records(SERVED), 0);
    scene.log.flaws().leaderless.clear();
    scene.bench.step_owners();
    assert_eq!((scene.records(AWAY), scene.records(SERVED)), (UNDER_WAY_MAX, 1), "no time has passed");
}

#[test]
fn neither_a_large_group_nor_one_behind_little_waits_for_other_partitions() {
    let mut scene = Scene::new();
    scene.append(AWAY, UNDER_WAY_MAX - 1);
    scene.bench.step_owners();
    scene.append(SERVED, 1);
    scene.bench.step_owners();
    assert_eq!(scene.records(SERVED), 1, "there was room on the way");
    scene.append(AWAY, 1);
    scene.bench.step_owners();
    scene.append(SERVED, 4);
    scene.bench.step_owners();
    assert_eq!(scene.records(SERVED), 5, "four are worth a request");
}
