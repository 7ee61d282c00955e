//! Where threads meet: what happens when one part of the engine gets on while another is in the middle of a look-up.

use crate::support::scene::Scene;
use crate::support::{poll, while_busy};
use bkes_core::{Partition, Partitioner};
use bkes_engine::{AppendError, Expected, ReadError, Unready};
use bkes_testkit::log::SimulatedLog as MemoryLog;
use std::num::NonZeroU32;
use std::sync::Arc;

fn log(partitions: u32) -> MemoryLog {
    MemoryLog::new("topic", NonZeroU32::new(partitions).expect("not zero"))
}

/// A read copied the overlay of a key before its events were read from the log, and asked whether everything had been read
/// after they were: it was told "no aggregate" of a key that had been acknowledged before the restart.
#[test]
fn a_key_is_not_denied_while_the_log_is_just_being_read() {
    let log = log(1);
    let mut bench = Scene::on(log, 1);
    bench.foreign(0, "a", "one");
    bench.run(10);
    assert_eq!(bench.count("a"), Ok(1));
    let bench = Scene::on(bench.log.clone(), 1);
    let (owner, now) = (Arc::clone(&bench.owners[0]), bench.now());
    bench.store.let_in(move || while_busy(&owner, now));
    let caught = bench.count("a");
    assert!(matches!(caught, Err(ReadError::Unavailable(Unready::CatchingUp { .. }))), "{caught:?}");
    assert_eq!(bench.count("a"), Ok(1), "the owner had read it meanwhile");
}

/// The same with the events of a key that came in two portions: a read showed the first one only.
#[test]
fn a_read_does_not_show_half_of_what_the_log_held_at_start() {
    let first = Scene::on(log(1), 1);
    (0..3_000).for_each(|_| first.foreign(0, "a", "one"));
    let bench = Scene::on(first.log.clone(), 1);
    let (owner, now) = (Arc::clone(&bench.owners[0]), bench.now());
    owner.lock().expect("no panic").step(now);
    let owner = Arc::clone(&bench.owners[0]);
    bench.store.let_in(move || while_busy(&owner, now));
    // It said 0 of 0.
    let caught = Unready::CatchingUp { applied: 3_000, target: Some(3_000) };
    assert_eq!(bench.count("a"), Err(ReadError::Unavailable(caught)));
}

/// An owner looked a key up, found nothing, and asked whether everything had been read after another owner had just read
/// the partition in which the key lives: it began the key anew, and split it.
#[test]
fn a_key_of_another_owners_partition_is_not_begun_anew() {
    let log = log(2);
    let placed =
        |name: &String| Partitioner::Murmur2.place(name.as_bytes(), NonZeroU32::new(2).expect("two"));
    let name =
        (0..).map(|n| format!("key-{n}")).find(|name| placed(name) == Partition(0)).expect("there is one");
    let first = Scene::on(log, 2);
    // Where no partitioner puts it.
    first.foreign(1, &name, "one");
    let bench = Scene::on(first.log.clone(), 2);
    bench.step_owner(0);
    let mut answer = bench.append_one(&name, Expected::New);
    assert!(poll(&mut answer).is_none());
    let (other, now) = (Arc::clone(&bench.owners[1]), bench.now());
    bench.store.let_in(move || while_busy(&other, now));
    bench.step_owner(0);
    bench.step_owner(1);
    let refused = poll(&mut answer).expect("it is answered at once");
    let unavailable = matches!(refused, Err(AppendError::Unavailable(Unready::CatchingUp { .. })));
    assert!(unavailable, "{name}: {refused:?}");
    assert_eq!(bench.log.records(Partition(0)).len(), 0, "the key was begun a second time");
}
