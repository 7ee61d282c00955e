//! A topic that is written to while it is audited, and an instance that keeps up with it.

use crate::shelf::{Held, Shelf};
use crate::topic::Topic;
use bkes_audit::{Finding, Instance, Options, audit};
use bkes_testkit::input::cases;
use std::sync::Arc;
use tokio::runtime::Runtime;

#[test]
fn what_is_written_meanwhile_is_not_judged_and_disturbs_nothing() {
    let runtime = Runtime::new().expect("threads");
    let (mut newer, mut undecided) = (0, 0);
    for seed in 0..cases(80) {
        let mut topic = Topic::new(2, 3 + seed % 20, seed);
        topic.write(80);
        let ends = [topic.end(0), topic.end(1)];
        let log = topic.log.clone();
        let shelf = Shelf::of(move || Arc::new(Held::of(&log)));
        let instance = Instance { store: &*shelf, runtime: runtime.handle() };
        let log = topic.log.clone();
        let memory_bytes_max = if seed % 2 == 0 { 16 * 1024 } else { 1 << 20 };
        let options = Options { memory_bytes_max, ..Options::default() };
        let report =
            audit(&log, Some(instance), &options, &mut |_| topic.write(10)).expect("both can be read");
        let compared = report.compared.expect("it was compared");
        assert_eq!(compared.findings.kept, [], "seed {seed}");
        assert!(compared.findings.is_empty());
        assert_eq!([report.partitions[0].end, report.partitions[1].end], ends);
        assert_eq!(compared.events, report.partitions.iter().map(|partition| partition.events).sum::<u64>());
        newer += compared.newer;
        undecided += report.partitions.iter().map(|partition| partition.undecided).sum::<u64>();
    }
    assert!(newer > 0 && undecided > 0, "batches were open at the end, and events came later");
}

#[test]
fn a_lie_about_what_was_there_is_found_in_a_topic_that_grows() {
    let runtime = Runtime::new().expect("threads");
    for seed in 0..cases(20) {
        let mut topic = Topic::new(2, 6, seed);
        topic.write(80);
        let log = topic.log.clone();
        let shelf = Shelf::of(move || {
            let mut held = Held::of(&log);
            let first = held.events.values_mut().next().expect("there is one");
            first[0].timestamp = None;
            Arc::new(held)
        });
        let instance = Instance { store: &*shelf, runtime: runtime.handle() };
        let log = topic.log.clone();
        let report = audit(&log, Some(instance), &Options::default(), &mut |_| topic.write(5));
        let findings = report.expect("both can be read").compared.expect("it was compared").findings;
        let is_told =
            |finding: &Finding| matches!(finding, Finding::Differs { .. } | Finding::SplitDiffers { .. });
        assert!(findings.kept.iter().any(is_told), "seed {seed}: {findings:?}");
    }
}
