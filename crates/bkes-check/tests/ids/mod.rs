//! Appends with ids: what is right passes, each check catches what it is for, and what the promise leaves out is excused.

use crate::forge::{Forge, Tried, bytes, key};
use crate::{append, stored};
use bkes_check::{AppendOutcome, Call, Expecting, History, Operation, Premise, Truncation, Violation, check};
use bkes_core::{Offset, Order, Partition};

const UNKNOWN: AppendOutcome = AppendOutcome::Unknown;

fn at(order: u64) -> Expecting {
    Expecting::At(Order(order))
}

/// Tries and what they may be told. Calls by their number:
///
/// ```text
///  0 append: "0"                    4 y again: found            8 z at 1: conflict
///  1 x at 1: unanswered, stored     5 y again: found            9 z again: unknown, not stored
///  2 x again (i1): found            6 x anew at 4: id used     10 w: not found, and not sent
///  3 y to any: unavailable          7 y anew: id reused        11 v to existing: unknown, not stored
/// ```
fn right() -> History {
    let mut forge = Forge::default();
    forge.acknowledged(0, 0, "a", &["0"]);
    let x = Tried { instance: 0, name: "a", id: "x", expected: at(1), seen: 1, values: &["1"] };
    forge.tried(x, AppendOutcome::Unanswered);
    let of_x = forge.store(0, "a", &["1"]);
    forge.tried(Tried { instance: 1, ..x }, of_x);
    let y = Tried { id: "y", expected: Expecting::Any, values: &["2", "3"], ..x };
    forge.tried(y, AppendOutcome::Unavailable);
    let of_y = forge.store(0, "a", &["2", "3"]);
    forge.tried(y, of_y);
    forge.tried(Tried { instance: 1, ..y }, of_y);
    let AppendOutcome::Acknowledged { partition, offset, first } = of_x else { panic!("it is stored") };
    let anew = Tried { expected: at(4), seen: 4, values: &["6"], ..x };
    forge.tried(anew, AppendOutcome::IdUsed { first, partition, offset });
    forge.tried(Tried { values: &["7"], ..y }, AppendOutcome::IdReused { first: Order(2) });
    let z = Tried { id: "z", values: &["8"], ..x };
    forge.tried(z, AppendOutcome::Rejected { current: Some(Order(4)) });
    forge.tried(z, UNKNOWN);
    forge.tried(Tried { id: "w", values: &["10"], ..y }, AppendOutcome::IdWindow);
    forge.tried(Tried { id: "v", expected: Expecting::Exists, values: &["11"], ..y }, UNKNOWN);
    forge.finish()
}

type Is = fn(&Violation) -> bool;

fn catches(what: &str, is: Is, breaks: impl FnOnce(&mut History)) {
    let mut history = right();
    breaks(&mut history);
    let found = check(&history);
    let texts: Vec<String> = found.iter().map(Violation::to_string).collect();
    assert!(found.iter().any(is), "{what}: {texts:#?}");
}

fn passes(what: &str, history: &History) {
    let found: Vec<String> = check(history).iter().map(Violation::to_string).collect();
    assert!(found.is_empty(), "{what}: {found:#?}");
}

#[test]
fn tries_of_one_append_that_is_stored_once_break_no_promise() {
    passes("right", &right());
}

#[test]
fn tries_that_cannot_be_told_apart_are_caught() {
    let differ: Is = |violation| matches!(violation, Violation::TriesDiffer { .. });
    catches("another order", differ, |history| append(history, 9).expected = at(2));
    catches("another premise", differ, |history| append(history, 5).premise = Premise::NOTHING);
    let shared: Is = |violation| matches!(violation, Violation::ValueNotUnique { .. });
    catches("a value under two ids", shared, |history| {
        append(history, 5).identity.as_mut().expect("it has one").id = bytes("other");
    });
    catches("a value with and without an id", shared, |history| append(history, 5).identity = None);
    catches("a value of two decisions", shared, |history| append(history, 7).values = vec![bytes("2")]);
}

#[test]
fn a_success_that_names_another_place_is_caught() {
    catches(
        "two places",
        |violation| matches!(violation, Violation::AcknowledgedInTwoPlaces { .. }),
        |history| {
            let AppendOutcome::Acknowledged { offset, .. } = &mut append(history, 5).outcome else {
                panic!("it is a success")
            };
            offset.0 += 1;
        },
    );
    catches(
        "found, and nowhere",
        |violation| matches!(violation, Violation::AcknowledgedLost { .. }),
        |history| {
            let outcome = append(history, 2).outcome;
            append(history, 9).outcome = outcome;
        },
    );
    catches(
        "one order to two appends",
        |violation| matches!(violation, Violation::AcknowledgedTwice { .. }),
        |history| {
            let outcome = append(history, 2).outcome;
            append(history, 11).outcome = outcome;
        },
    );
}

#[test]
fn an_append_that_is_stored_by_two_tries_is_caught() {
    let twice: Is = |violation| matches!(violation, Violation::StoredTwice { .. });
    catches("an exact one", twice, |history| stored(history, "a", "1"));
    catches("one to any order", twice, |history| {
        stored(history, "a", "2");
        stored(history, "a", "3");
    });
    let two: Is = |violation| matches!(violation, Violation::IdStoredTwice { .. });
    catches("two decisions that name their orders", two, |history| stored(history, "a", "6"));
    catches("two decisions that name none", two, |history| stored(history, "a", "7"));
}

#[test]
fn what_was_refused_for_good_and_is_stored_is_caught() {
    let refused: Is = |violation| matches!(violation, Violation::RefusedStored { .. });
    catches("all tries were refused", refused, |history| {
        append(history, 4).outcome = AppendOutcome::Unavailable;
        append(history, 5).outcome = AppendOutcome::Rejected { current: None };
    });
    catches("one was told a conflict", refused, |history| {
        append(history, 2).outcome = AppendOutcome::Rejected { current: Some(Order(2)) };
    });
    catches("none was sent", refused, |history| stored(history, "a", "10"));
    catches("another one has its id", refused, |history| stored(history, "a", "7"));
}

#[test]
fn an_id_that_is_said_to_be_taken_and_is_not_is_caught() {
    let not_taken: Is = |violation| matches!(violation, Violation::IdNotTaken { .. });
    let used = |first, offset| {
        move |history: &mut History| {
            let partition = Partition(0);
            append(history, 6).outcome = AppendOutcome::IdUsed { first: Order(first), partition, offset };
        }
    };
    let offset = right().contents[0].keys[&key("a")][2].offset;
    catches("used by an append of another id", not_taken, used(2, offset));
    catches("used where nothing is", not_taken, used(9, Offset(99)));
    catches("used at another offset", not_taken, used(1, offset));
    let reused = |call, first| {
        move |history: &mut History| {
            append(history, call).outcome = AppendOutcome::IdReused { first: Order(first) };
        }
    };
    catches("reused by an append without an id", not_taken, reused(7, 0));
    catches("reused in the middle of an append", not_taken, reused(7, 3));
    catches("of the same content", not_taken, reused(5, 2));
}

#[test]
fn the_premise_of_an_append_without_an_order_is_checked() {
    let broken: Is = |violation| matches!(violation, Violation::PremiseBroken { .. });
    let seen = |values: &'static [&'static str]| {
        move |history: &mut History| {
            for call in 3..=5 {
                append(history, call).premise = Premise::of(values.iter().map(|value| value.as_bytes()));
            }
        }
    };
    catches("it had seen something else", broken, seen(&["x"]));
    catches("it is stored before what it had seen", broken, seen(&["0", "1", "2"]));
    let mut forge = Forge::default();
    let first =
        Tried { instance: 0, name: "a", id: "x", expected: Expecting::Exists, seen: 0, values: &["0"] };
    forge.tried(first, UNKNOWN);
    forge.store(0, "a", &["0"]);
    assert!(check(&forge.finish()).iter().any(broken), "nothing existed");
}

/// Two decisions under one id, with so many events between them.
fn apart(expected: Expecting, between: u64) -> History {
    let mut forge = Forge::default();
    let one = Tried { instance: 0, name: "a", id: "x", expected, seen: 0, values: &["one"] };
    let is_exact = expected.order().is_some();
    forge.tried(one, UNKNOWN);
    forge.store(0, "a", &["one"]);
    for number in 0..between {
        forge.acknowledged(0, 0, "a", &[&format!("between {number}")]);
    }
    let seen = between + 1;
    let expected = if is_exact { at(seen) } else { expected };
    forge.tried(Tried { expected, seen: seen as usize, values: &["other"], ..one }, UNKNOWN);
    forge.store(0, "a", &["other"]);
    forge.finish()
}

fn last(history: &mut History) -> &mut Call {
    history.calls.last_mut().expect("there are calls")
}

#[test]
fn two_decisions_are_excused_out_of_sight_only() {
    let two = |history: &History| {
        let found = check(history);
        assert!(!found.is_empty(), "it is caught");
        assert!(found.iter().all(|violation| matches!(violation, Violation::IdStoredTwice { .. })));
    };
    two(&apart(Expecting::New, 127));
    passes("the window does not reach as far", &apart(Expecting::New, 128));
    two(&apart(Expecting::Any, 300));
    let overtaken = |between, seen| {
        let mut history = apart(Expecting::Any, between);
        let Operation::Append(append) = &mut last(&mut history).operation else { panic!("it is an append") };
        let identity = append.identity.as_mut().expect("it has one");
        (identity.is_first, identity.seen) = (true, seen);
        history
    };
    passes("a first try that was overtaken by more than the window", &overtaken(128, None));
    two(&overtaken(127, None));
    two(&overtaken(128, Some(Order(0))));
}

#[test]
fn what_came_in_the_stead_of_a_lost_end_is_excused_and_nothing_else() {
    let lost = |from: u64, until: u64| {
        let mut history = apart(Expecting::Any, 3);
        let partition = Partition(0);
        let offset = history.contents[0].keys[&key("a")][0].offset;
        let from = Offset(offset.0 + from);
        history.excuses.truncations.push(Truncation { partition, from, at: 0, until });
        history
    };
    passes("sent before all knew of the loss", &lost(0, u64::MAX));
    assert!(!check(&lost(1, u64::MAX)).is_empty(), "the first one lies below what was lost");
    let begin = last(&mut lost(0, 0)).begin;
    assert!(!check(&lost(0, begin - 1)).is_empty(), "the second one was sent when all knew");
}

#[test]
fn a_value_that_was_lost_and_is_back_at_its_place_counts_as_lost() {
    let mut forge = Forge::default();
    let x = Tried { instance: 0, name: "a", id: "x", expected: Expecting::New, seen: 0, values: &["1"] };
    let told = forge.store(0, "a", &["1"]);
    forge.tried(x, told);
    forge.read(0, "b", 0, None);
    forge.tried(x, told);
    let mut history = forge.finish();
    // Between the two tries the log had lost it, and the instance showed that.
    history.calls[1].key = key("a");
    assert!(!check(&history).is_empty(), "nothing was lost");
    let from = history.contents[0].keys[&key("a")][0].offset;
    let (partition, at) = (Partition(0), history.calls[1].begin);
    history.excuses.truncations.push(Truncation { partition, from, at, until: u64::MAX });
    passes("it was lost", &history);
}
