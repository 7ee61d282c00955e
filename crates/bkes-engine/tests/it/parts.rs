//! An engine in its parts, stepped by hand: no thread, no clock, and the same result every time.

use crate::support::poll;
use crate::support::scene::Scene;
use bkes_core::{Order, Partition, Position};
use bkes_engine::assembly::{Step, begin_stop, end_writer};
use bkes_engine::{AppendError, Expected, Unready};
use bkes_testkit::log::Faults;

#[test]
fn an_engine_is_driven_by_hand_without_threads() {
    let mut bench = Scene::new(Faults { delayed: 1_000, ..Faults::default() });
    bench.run(10);
    let mut answer = bench.append_one("a", Expected::New);
    assert!(poll(&mut answer).is_none(), "nothing was stepped yet");
    bench.run(10);
    assert!(poll(&mut answer).is_none(), "the record is on its way");
    assert!(bench.log.step());
    bench.run(10);
    assert_eq!(poll(&mut answer).expect("decided").expect("accepted").first, Order(0));
    assert_eq!(bench.count("a"), Ok(1));
}

/// While the log did not answer, a writer that had to rebuild the store slept, asked again, and looked at nothing else: a
/// server told to stop in such a moment never did.
#[test]
fn a_stop_ends_while_a_rebuild_waits_for_the_log() {
    let mut bench = Scene::new(Faults::default());
    bench.run(10);
    let mut answer = bench.append_one("a", Expected::New);
    poll(&mut answer);
    bench.run(10);
    poll(&mut answer).expect("decided").expect("accepted");
    bench.log.truncate(Partition(0), Position(0));
    bench.step_owner(0);
    bench.monitor.step();
    bench.step_owner(0);
    bench.log.go_down("gone");
    bench.run(10);
    let mut refused = bench.append_one("b", Expected::New);
    poll(&mut refused);
    bench.run(10);
    let refused = poll(&mut refused);
    let degraded = |error: &AppendError| matches!(error, AppendError::Unavailable(Unready::Degraded { .. }));
    assert!(refused.is_some_and(|answer| answer.is_err_and(|error| degraded(&error))));
    begin_stop(&bench.handle, bench.now());
    bench.run(10);
    end_writer(&bench.handle);
    let now = bench.now();
    assert!((0..100).any(|_| bench.writer.step(now) == Step::Stopped), "the writer ends");
}
