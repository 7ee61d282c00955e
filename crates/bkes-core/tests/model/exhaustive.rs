//! Small worlds, enumerated: every order of everything that may happen in them, and the verdict after each step.
//!
//! A scenario says what may happen and how often. What may happen is finite, so that all states can be visited; a state that
//! was met before is not followed again. Each visited state is brought to its end (what is on the wire arrives, everyone
//! reads to the end) and judged. The number of states is asserted, so that the enumeration cannot become empty unnoticed.

use crate::story;
use crate::verdict::broken_promise;
use crate::world::{Bug, Manner, Step, World};
use std::collections::HashSet;
use std::hash::{DefaultHasher, Hash, Hasher};
use std::time::Instant;

/// What may happen, and how often each.
#[derive(Clone, Copy)]
struct Scenario {
    instances: usize,
    keys: usize,
    /// What happens first, in this order.
    opening: &'static [Step],
    /// Each happens once or never, at any time.
    once: &'static [Step],
    /// Ways a report may arrive; without any, none does.
    manners: &'static [Manner],
    doubled: u8,
    dropped: u8,
    timed_out: u8,
    /// Whether a copy may reach the log before one that was sent earlier.
    reordered: bool,
    /// Records that the reader meets in one step.
    records_max: usize,
}

const QUIET: Scenario = Scenario {
    instances: 1,
    keys: 1,
    opening: &[],
    once: &[],
    manners: &[],
    doubled: 0,
    dropped: 0,
    timed_out: 0,
    reordered: true,
    records_max: 1,
};

/// A state on the way: the world, and what may still happen in it.
#[derive(Clone)]
struct State {
    world: World,
    once: u32,
    doubled: u8,
    dropped: u8,
    timed_out: u8,
}

impl State {
    fn new(scenario: &Scenario, bug: Option<Bug>) -> State {
        let mut world = World::new(scenario.instances, scenario.keys, bug);
        world.is_lossy = scenario.once.iter().any(|step| matches!(step, Step::LoseEnd { .. }));
        world.stop_the_clock();
        scenario.opening.iter().for_each(|step| world.take(*step));
        let Scenario { doubled, dropped, timed_out, .. } = *scenario;
        State { world, once: (1 << scenario.once.len()) - 1, doubled, dropped, timed_out }
    }

    fn digest(&self) -> u64 {
        let mut hasher = DefaultHasher::new();
        (self.once, self.doubled, self.dropped, self.timed_out).hash(&mut hasher);
        self.world.digest(&mut hasher);
        hasher.finish()
    }

    /// Every state one step on.
    fn successors(&self, scenario: &Scenario, mut visit: impl FnMut(State)) {
        let mut step = |step: Step, pay: &dyn Fn(&mut State)| {
            let mut next = self.clone();
            pay(&mut next);
            next.world.take(step);
            visit(next);
        };
        for (index, once) in scenario.once.iter().enumerate() {
            if self.once & (1 << index) != 0 {
                step(*once, &|next| next.once &= !(1 << index));
            }
        }
        let copies = self.world.wire.len();
        for copy in 0..if scenario.reordered { copies } else { copies.min(1) } {
            step(Step::Deliver { copy, again: false }, &|_| {});
            if self.doubled > 0 {
                step(Step::Deliver { copy, again: true }, &|next| next.doubled -= 1);
            }
            if self.dropped > 0 {
                step(Step::Drop { copy, known: true }, &|next| next.dropped -= 1);
                step(Step::Drop { copy, known: false }, &|next| next.dropped -= 1);
            }
            if self.timed_out > 0 {
                step(Step::TimeOut { copy }, &|next| next.timed_out -= 1);
            }
        }
        for at in 0..scenario.instances {
            for report in 0..self.world.instances[at].reports.len() {
                for manner in scenario.manners {
                    step(Step::Report { at, report, manner: *manner }, &|_| {});
                }
            }
            if self.world.is_behind(at) {
                step(Step::Apply { at, records_max: scenario.records_max }, &|_| {});
            }
            if self.world.must_rebuild(at) {
                step(Step::Rebuild { at }, &|_| {});
            }
            if self.world.has_asked(at) {
                step(Step::Learn { at }, &|_| {});
            }
        }
    }

    /// The promise that is broken if nothing more happens.
    fn verdict(&self, digest: u64) -> Option<(String, World)> {
        let mut world = self.world.clone();
        if world.violation.is_none() {
            world.finish();
        }
        let cut = (digest % (world.log.records.len() as u64 + 1)) as usize;
        let violation = world.violation.clone().or_else(|| broken_promise(&world, cut))?;
        Some((violation, world))
    }
}

/// More than this take too long.
const STATES_MAX: u64 = 60_000;

#[derive(Default, Debug)]
struct Visited {
    states: u64,
    /// Steps that led to a state that was met before.
    met_again: u64,
    /// States in which nothing more can happen.
    ends: u64,
}

/// Visits every state, or ends at the first broken promise.
fn enumerate(scenario: &Scenario, bug: Option<Bug>) -> Result<Visited, Box<(String, World)>> {
    let first = State::new(scenario, bug);
    let mut met = HashSet::from([first.digest()]);
    let (mut visited, mut open) = (Visited::default(), vec![first]);
    while let Some(state) = open.pop() {
        visited.states += 1;
        assert!(visited.states < STATES_MAX, "the world is not small");
        if let Some(broken) = state.verdict(state.digest()) {
            return Err(Box::new(broken));
        }
        let mut is_end = true;
        state.successors(scenario, |next| {
            is_end = false;
            if met.insert(next.digest()) {
                open.push(next);
            } else {
                visited.met_again += 1;
            }
        });
        visited.ends += u64::from(is_end);
    }
    Ok(visited)
}

/// Every promise holds in every state, and there are at least as many states as there were when this was written.
#[track_caller]
fn holds(scenario: &Scenario, states_min: u64) {
    let began = Instant::now();
    match enumerate(scenario, None) {
        Ok(visited) => {
            println!("{visited:?} in {:?}", began.elapsed());
            assert!(visited.states >= states_min, "only {} of {states_min} states", visited.states);
        }
        Err(broken) => panic!("{}\n{}", broken.0, story(&broken.1)),
    }
}

#[track_caller]
fn catches(scenario: &Scenario, bug: Bug) {
    match enumerate(scenario, Some(bug)) {
        Ok(visited) => panic!("{bug:?} was not caught in {visited:?}"),
        Err(broken) => println!("{bug:?} after {} steps: {}", broken.1.steps.len(), broken.0),
    }
}

const READ_A: Step = Step::Read { at: 0, key: 0 };
const READ_B: Step = Step::Read { at: 0, key: 1 };

const fn append(at: usize, view: usize, count: u32) -> Step {
    Step::Append { at, view, count, taken: count }
}

/// One writer, a single on one key and a batch on another, both in flight at once; every fate of delivery.
const TWO_KEYS: Scenario = Scenario {
    keys: 2,
    opening: &[READ_A, READ_B, append(0, 0, 1), append(0, 1, 2)],
    manners: &[Manner::Fast, Manner::AsUnknown],
    doubled: 1,
    timed_out: 1,
    ..QUIET
};

/// The same, with losses, and a reader at any time.
const TWO_KEYS_LOST: Scenario =
    Scenario { once: &[READ_A], manners: &[Manner::Plain], doubled: 0, timed_out: 0, dropped: 2, ..TWO_KEYS };

/// Two writers at one order of one key, one of them with a batch, and a reader of either.
const RACE: Scenario = Scenario {
    instances: 2,
    opening: &[READ_A, Step::Read { at: 1, key: 0 }, append(0, 0, 1), append(1, 1, 2)],
    once: &[READ_A, Step::Read { at: 1, key: 0 }],
    manners: &[Manner::Fast, Manner::Plain],
    dropped: 1,
    ..QUIET
};

/// Two writers on two keys crosswise, everything in flight at once.
const CROSSWISE: Scenario = Scenario {
    instances: 2,
    keys: 2,
    opening: &[READ_A, READ_B, append(0, 0, 1), append(0, 1, 1), append(1, 1, 1), append(1, 0, 1)],
    manners: &[Manner::Plain],
    ..QUIET
};

/// A queue: others wait for the first, whose outcome becomes unknown, while somebody else takes its order.
const QUEUE: Scenario = Scenario {
    opening: &[READ_A, append(0, 0, 1)],
    once: &[
        Step::Foreign { key: 0 },
        READ_A,
        append(0, 0, 1),
        append(0, 1, 1),
        Step::Wait { ms: 20_000 },
        Step::Tick { at: 0 },
    ],
    manners: &[Manner::Plain],
    timed_out: 1,
    ..QUIET
};

/// A batch, and a writer that ends in the middle of it and starts again, from its store or from nothing; copies come late.
const CRASH: Scenario = Scenario {
    instances: 2,
    opening: &[READ_A, append(0, 0, 2)],
    once: &[
        Step::Store { at: 0 },
        Step::Restart { at: 0, orderly: false, resumed: true },
        Step::Restart { at: 0, orderly: true, resumed: false },
        append(1, 0, 1),
    ],
    manners: &[Manner::Plain],
    reordered: false,
    ..QUIET
};

/// Somebody writes without BKES while a batch and a single are on their way, and offsets without records lie between.
const FOREIGN: Scenario = Scenario {
    keys: 2,
    opening: &[READ_A, READ_B, append(0, 0, 2), append(0, 1, 1)],
    once: &[Step::Foreign { key: 0 }, Step::Hole { offsets: 2 }],
    manners: &[Manner::Fast],
    ..QUIET
};

/// Copies of members of two batches of one writer, in any order.
const DOUBLED_MEMBERS: Scenario =
    Scenario { keys: 2, opening: &[READ_A, READ_B, append(0, 0, 2), append(0, 1, 2)], doubled: 1, ..QUIET };

/// An appender that takes only a part of a batch, and a new producer handle after it.
const PARTLY_TAKEN: Scenario = Scenario {
    keys: 2,
    opening: &[READ_A, READ_B],
    once: &[Step::Append { at: 0, view: 0, count: 2, taken: 1 }, Step::Renew { at: 0 }, append(0, 1, 1)],
    manners: &[Manner::Plain, Manner::AsUnknown],
    doubled: 1,
    ..QUIET
};

/// Unknown outcomes, and what the high watermark says of them.
const WATERMARK: Scenario = Scenario {
    keys: 2,
    opening: &[READ_A, READ_B, append(0, 0, 1), append(0, 1, 1)],
    once: &[Step::Ask { at: 0 }, Step::Tick { at: 0 }],
    manners: &[Manner::WithoutOffset, Manner::AsUnknown],
    dropped: 1,
    timed_out: 1,
    ..QUIET
};

/// A batch of which the second member is lost, a writer that goes on, and a long silence: copies of what is void come after it.
const LATE: Scenario = Scenario {
    keys: 2,
    opening: &[READ_A, READ_B, append(0, 0, 1), append(0, 1, 1)],
    once: &[Step::Hole { offsets: 1_000_000 }, READ_A, Step::Append { at: 0, view: 2, count: 1, taken: 1 }],
    manners: &[Manner::Plain],
    doubled: 1,
    ..QUIET
};

/// Somebody forwards records with their headers while a batch and a single are on their way.
const FORWARDED: Scenario = Scenario {
    keys: 2,
    opening: &[READ_A, READ_B, append(0, 0, 2), append(0, 1, 1)],
    once: &[Step::Forward { record: 0, key: 0 }, Step::Forward { record: 1, key: 1 }],
    manners: &[Manner::Fast],
    ..QUIET
};

/// Two writers on one key: what one shows rests on a record that the other has not read, so that an append of it waits there after that
/// record's.
const BEHIND: Scenario = Scenario {
    instances: 2,
    opening: &[
        READ_A,
        append(0, 0, 1),
        Step::Deliver { copy: 0, again: false },
        Step::Apply { at: 1, records_max: 1 },
        Step::Read { at: 1, key: 0 },
        append(0, 1, 2),
    ],
    once: &[READ_A, Step::Read { at: 1, key: 0 }, Step::Foreign { key: 0 }],
    manners: &[Manner::Fast, Manner::Plain],
    records_max: 2,
    ..QUIET
};

/// A log that loses its end after a batch that may have been applied unread, and somebody who writes there then.
const LOST_END: Scenario = Scenario {
    opening: &[
        READ_A,
        append(0, 0, 2),
        Step::Deliver { copy: 0, again: false },
        Step::Deliver { copy: 0, again: false },
    ],
    once: &[
        Step::LoseEnd { records: 1 },
        Step::Foreign { key: 0 },
        READ_A,
        append(0, 1, 1),
        Step::Ask { at: 0 },
    ],
    manners: &[Manner::Fast],
    reordered: false,
    ..QUIET
};

/// The same where the process ends, and is resumed at what was stored.
const LOST_CRASH: Scenario = Scenario {
    opening: &[READ_A, append(0, 0, 1), Step::Deliver { copy: 0, again: false }],
    once: &[
        Step::LoseEnd { records: 1 },
        Step::Foreign { key: 0 },
        Step::Foreign { key: 0 },
        Step::Ask { at: 0 },
        Step::Store { at: 0 },
        Step::Restart { at: 0, orderly: false, resumed: true },
    ],
    manners: &[Manner::Fast],
    ..QUIET
};

/// The same with another writer, who may rest on what the first has missed, or on what is lost.
const MISSED: Scenario = Scenario {
    instances: 2,
    opening: &[
        Step::Foreign { key: 0 },
        Step::Apply { at: 0, records_max: 1 },
        Step::Apply { at: 1, records_max: 1 },
        Step::Read { at: 1, key: 0 },
        append(1, 0, 1),
        Step::Store { at: 0 },
    ],
    once: &[
        Step::LoseEnd { records: 1 },
        Step::Foreign { key: 0 },
        Step::Restart { at: 0, orderly: false, resumed: true },
        Step::Ask { at: 0 },
    ],
    manners: &[Manner::Fast],
    ..QUIET
};

#[test]
fn every_turn_of_one_that_waits_behind_what_it_rests_on_keeps_the_promises() {
    holds(&BEHIND, 26_263);
}

#[test]
fn every_loss_of_the_logs_end_is_noticed_and_excuses_nothing_else() {
    holds(&LOST_END, 39_937);
}

#[test]
fn every_loss_of_the_logs_end_around_a_crash_is_noticed_and_excuses_nothing_else() {
    holds(&LOST_CRASH, 14_056);
}

#[test]
fn every_loss_of_the_logs_end_under_another_writer_is_noticed_and_excuses_nothing_else() {
    holds(&MISSED, 19_023);
}

#[test]
fn every_copy_after_a_long_silence_keeps_the_promises() {
    holds(&LATE, 21_123);
}

#[test]
fn every_place_of_a_forwarded_record_keeps_the_promises() {
    holds(&FORWARDED, 12_145);
}

#[test]
fn every_fate_of_a_single_and_a_batch_in_flight_at_once_keeps_the_promises() {
    holds(&TWO_KEYS, 28_735);
}

#[test]
fn every_loss_of_a_single_and_a_batch_in_flight_at_once_keeps_the_promises() {
    holds(&TWO_KEYS_LOST, 2_664);
}

#[test]
fn every_race_of_two_writers_on_one_key_keeps_the_promises() {
    holds(&RACE, 34_475);
}

#[test]
fn every_order_of_two_writers_on_two_keys_keeps_the_promises() {
    holds(&CROSSWISE, 13_137);
}

#[test]
fn every_turn_of_a_queue_whose_first_is_unknown_keeps_the_promises() {
    holds(&QUEUE, 12_507);
}

#[test]
fn every_crash_in_a_batch_keeps_the_promises() {
    holds(&CRASH, 6_956);
}

#[test]
fn every_place_of_a_foreign_record_keeps_the_promises() {
    holds(&FOREIGN, 16_231);
}

#[test]
fn every_order_of_doubled_members_keeps_the_promises() {
    holds(&DOUBLED_MEMBERS, 3_425);
}

#[test]
fn every_end_of_a_batch_that_was_partly_taken_keeps_the_promises() {
    holds(&PARTLY_TAKEN, 2_651);
}

#[test]
fn every_answer_of_a_watermark_keeps_the_promises() {
    holds(&WATERMARK, 6_296);
}

#[test]
fn every_planted_bug_is_caught_in_a_small_world() {
    catches(&RACE, Bug::AnswersOnAcknowledgement);
    catches(&TWO_KEYS_LOST, Bug::ShowsPending);
    catches(&CROSSWISE, Bug::JudgesTwice);
    catches(&WATERMARK, Bug::TakesHighForNotStored);
    catches(&QUEUE, Bug::ChecksStaleCount);
    catches(&RACE, Bug::AcceptsFirstMember);
    catches(&CRASH, Bug::ForgetsOpenBatch);
    catches(&LATE, Bug::IgnoresBase);
    catches(&FORWARDED, Bug::BelievesForwarded);
    catches(&RACE, Bug::AnswersBeforeShowing);
    catches(&BEHIND, Bug::ForgetsTheStep);
    catches(&PARTLY_TAKEN, Bug::SendsTheRest);
    catches(&LOST_END, Bug::DoesNotCompare);
}
