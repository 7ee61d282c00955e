//! What tries come to: tables, a model in which they arrive late, and the pauses between them.

use super::*;
use crate::append::Conflict;
use crate::positions::TopicId;
use bkes_core::append::Expected;
use bkes_core::append_id::AppendId;
use bkes_core::{Key, Offset, Order, Partition};
use std::cell::{Cell, RefCell};

fn key() -> Key {
    Key::new("k").expect("not empty")
}

fn id() -> AppendId {
    AppendId::new("an-id").expect("not empty")
}

fn append(expected: Expected) -> Append {
    Append::new(key(), expected).event("v").id(id())
}

fn stored() -> Appended {
    Appended {
        topic: TopicId::new("t"),
        partition: Partition(0),
        first_offset: Offset(7),
        last_offset: Offset(7),
        timestamp: None,
        first: Order(5),
        last: Order(5),
        by_earlier_try: false,
    }
}

fn unknown() -> AppendFailure {
    AppendFailure::Unknown { id: Some(id()), failure: Failure::new(Reason::AnswerLost, "lost") }
}

fn not_stored(reason: Reason) -> AppendFailure {
    AppendFailure::NotStored(Failure::new(reason, "not now"))
}

fn conflict(expected: Expected, current: u64) -> AppendFailure {
    let (missing, more) = (Vec::new(), false);
    AppendFailure::Conflict(Box::new(Conflict { expected, current: Order(current), missing, more }))
}

fn used(first: u64) -> AppendFailure {
    AppendFailure::IdUsed { id: id(), first: Order(first), partition: Partition(0), offset: Offset(1) }
}

fn reused(first: u64) -> AppendFailure {
    AppendFailure::IdReused { id: id(), first: Order(first) }
}

/// What the tries come to after these outcomes, and whether another try may settle it.
fn judged(append: Append, outcomes: &[AppendFailure]) -> (AppendFailure, bool) {
    let mut tries = Tries::new(append);
    let mut last = None;
    for outcome in outcomes {
        last = Some(match tries.judge(Err(outcome.clone())) {
            Verdict::Ended(ended) => (ended.expect_err("no outcome is a success"), false),
            Verdict::Again(failure) => (failure, true),
        });
    }
    last.expect("there are outcomes")
}

const AT_5: Expected = Expected::At(Order(5));

#[test]
fn one_try_is_told_as_it_ended() {
    for failure in [
        conflict(AT_5, 9),
        conflict(AT_5, 2),
        used(3),
        reused(5),
        not_stored(Reason::TooLarge),
        not_stored(Reason::Split),
    ] {
        assert_eq!(judged(append(AT_5), std::slice::from_ref(&failure)), (failure, false));
    }
    for failure in [not_stored(Reason::Overloaded), not_stored(Reason::NotSent), unknown()] {
        assert_eq!(judged(append(AT_5), std::slice::from_ref(&failure)), (failure, true));
    }
}

#[test]
fn after_an_unknown_try_only_a_taken_order_ends_it_as_not_stored() {
    let proofs = [conflict(AT_5, 6), conflict(AT_5, 900), reused(5)];
    for proof in proofs {
        assert_eq!(judged(append(AT_5), &[unknown(), proof.clone()]), (proof, false));
    }
    let already = conflict(Expected::New, 1);
    assert_eq!(judged(append(Expected::New), &[unknown(), already.clone()]), (already, false));
    // None of these says that the try before will not be accepted yet.
    for no_proof in [
        conflict(AT_5, 5),
        conflict(AT_5, 2),
        used(3),
        reused(3),
        not_stored(Reason::Split),
        not_stored(Reason::TooLarge),
    ] {
        let (told, again) = judged(append(AT_5), &[unknown(), no_proof.clone()]);
        assert_eq!((told.class(), again), (ErrorClass::Unknown, false), "{no_proof:?}");
        assert!(matches!(told, AppendFailure::Unknown { id: Some(of), .. } if of == id()));
    }
    let none = not_stored(Reason::NoSuchAggregate);
    for expected in [Expected::Exists, Expected::Any] {
        for outcome in [none.clone(), used(5), reused(5)] {
            let (told, again) = judged(append(expected), &[unknown(), outcome]);
            assert_eq!((told.class(), again), (ErrorClass::Unknown, false));
        }
    }
}

#[test]
fn unavailable_after_unknown_stays_unknown_and_is_tried_again() {
    let outcomes = [unknown(), not_stored(Reason::Overloaded)];
    let (told, again) = judged(append(AT_5), &outcomes);
    assert_eq!((told.class(), again), (ErrorClass::Unknown, true));
    assert_eq!(told.reason(), Reason::AnswerLost);
    assert!(told.to_string().contains("a later try was answered: not now"), "{told}");
    // Whoever asks for a rest gets it, however it is told.
    let busy = Failure::new(Reason::Overloaded, "busy").after(Duration::from_secs(3));
    let (told, _) = judged(append(AT_5), &[unknown(), AppendFailure::NotStored(busy)]);
    assert_eq!(told.retry_after(), Some(Duration::from_secs(3)));
}

#[test]
fn an_unknown_append_without_an_id_is_not_tried_again() {
    let without = Append { identity: None, ..append(AT_5) };
    let (told, again) = judged(without.clone(), &[unknown()]);
    assert_eq!((told.class(), again), (ErrorClass::Unknown, false));
    assert!(matches!(told, AppendFailure::Unknown { id: None, .. }));
    // What is proven not to be stored may be, id or none.
    assert!(judged(without, &[not_stored(Reason::NotStored)]).1);
}

/// An append was told unknown and repeated by its caller. The try was unavailable, and its caller was told that the append was not stored.
#[test]
fn what_is_unavailable_of_a_repeated_append_is_unknown() {
    for expected in [AT_5, Expected::Any] {
        let busy = Failure::new(Reason::Overloaded, "busy").after(Duration::from_secs(3));
        let (told, again) = judged(append(expected).again(), &[AppendFailure::NotStored(busy)]);
        assert_eq!(
            (told.class(), told.reason().class(), again),
            (ErrorClass::Unknown, ErrorClass::Unknown, true)
        );
        assert_eq!(told.retry_after(), Some(Duration::from_secs(3)));
        assert!(
            told.to_string().contains("an earlier try may be stored") && told.to_string().contains("busy"),
            "{told}"
        );
    }
    // What was looked for before it was refused is refused.
    for refusal in [conflict(AT_5, 9), used(3), not_stored(Reason::TooLarge)] {
        assert_eq!(judged(append(AT_5).again(), std::slice::from_ref(&refusal)), (refusal, false));
    }
}

#[test]
fn what_lies_below_the_window_is_not_looked_for_again() {
    let failure = Failure::new(Reason::AppendIdWindow, "below");
    let below = AppendFailure::Unknown { id: Some(id()), failure };
    assert_eq!(judged(append(Expected::Any), std::slice::from_ref(&below)), (below, false));
}

#[test]
fn a_try_is_the_first_until_one_may_be_stored() {
    let mut tries = Tries::new(append(AT_5));
    let is_first = |tries: &Tries| tries.next().identity.expect("it has an id").is_first;
    assert!(is_first(&tries));
    tries.judge(Err(not_stored(Reason::Overloaded)));
    assert!(is_first(&tries));
    tries.judge(Err(unknown()));
    assert!(!is_first(&tries));
    tries.judge(Err(not_stored(Reason::Overloaded)));
    assert!(!is_first(&tries));
    // Of one that its caller had tried before, no try is.
    assert!(!is_first(&Tries::new(append(AT_5).again())));
}

/// A store of one aggregate in which tries are held up on their way: each arrives when it likes, and is accepted if its order is free.
struct Model {
    /// Whose append took each order.
    taken: Vec<bool>,
    on_their_way: u32,
}

const MINE_AT: usize = 3;

impl Model {
    fn arrive(&mut self) {
        if self.on_their_way > 0 && self.taken.len() == MINE_AT {
            self.taken.push(true);
        }
        self.on_their_way = self.on_their_way.saturating_sub(1);
    }

    /// A try that looks for the append first, as the store does before any refusal.
    fn try_at(&mut self, random: &mut Random) -> Result<Appended, AppendFailure> {
        match random.below(6) {
            0 => {
                self.on_their_way += 1;
                Err(unknown())
            }
            1 => Err(not_stored(Reason::Overloaded)),
            2 => Err(not_stored(Reason::TooLarge)),
            _ if self.taken.get(MINE_AT) == Some(&true) => Ok(stored()),
            _ if self.taken.len() == MINE_AT => {
                self.taken.push(true);
                if random.below(3) == 0 { Err(unknown()) } else { Ok(stored()) }
            }
            _ => Err(conflict(Expected::At(Order(MINE_AT as u64)), self.taken.len() as u64)),
        }
    }
}

/// A small generator, so that each run is known by its seed.
struct Random(u64);

impl Random {
    fn below(&mut self, bound: u64) -> u64 {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (self.0 >> 33) % bound
    }
}

#[test]
fn what_all_tries_come_to_is_true_however_late_they_arrive() {
    let (mut refused, mut succeeded, mut unknowns) = (0, 0, 0);
    for seed in 0..20_000 {
        let mut random = Random(seed);
        let mut model = Model { taken: vec![false; random.below(5) as usize], on_their_way: 0 };
        let mut tries = Tries::new(append(Expected::At(Order(MINE_AT as u64))));
        let mut told = None;
        for _ in 0..6 {
            while random.below(2) == 0 {
                if random.below(2) == 0 { model.arrive() } else { model.taken.push(false) }
            }
            match tries.judge(model.try_at(&mut random)) {
                Verdict::Ended(ended) => {
                    told = Some(ended);
                    break;
                }
                Verdict::Again(failure) => told = Some(Err(failure)),
            }
        }
        // Everything arrives at last, and others go on.
        for _ in 0..8 {
            model.arrive();
            if model.taken.len() < MINE_AT {
                model.taken.push(false);
            }
        }
        let is_stored = model.taken.get(MINE_AT) == Some(&true);
        match told.expect("it was tried") {
            Ok(_) => {
                succeeded += 1;
                assert!(is_stored, "seed {seed}");
            }
            Err(failure) if failure.class() == ErrorClass::Unknown => unknowns += 1,
            Err(failure) => {
                refused += 1;
                assert!(!is_stored, "seed {seed}: {failure:?}");
            }
        }
    }
    assert!(refused > 1_000 && succeeded > 1_000 && unknowns > 100, "{refused} {succeeded} {unknowns}");
}

/// Tries that end so, one after the other; says when each was made.
async fn run(
    policy: &RetryPolicy,
    budget: &RetryBudget,
    outcomes: Vec<Result<Appended, AppendFailure>>,
) -> (Result<Appended, AppendFailure>, Vec<Duration>) {
    let (begun, made) = (Instant::now(), RefCell::new(Vec::new()));
    let next = Cell::new(0);
    let pacer = Pacer { random: || 1_023, ..Pacer::new(policy, budget, policy.time) };
    let ended = append_paced(append(AT_5), pacer, |_| {
        made.borrow_mut().push(begun.elapsed());
        let outcome = outcomes[next.get()].clone();
        next.set(next.get() + 1);
        async move { outcome }
    });
    (ended.await, made.take())
}

#[tokio::test(start_paused = true)]
async fn pauses_double_up_to_their_bound_and_the_tries_end() {
    let policy = RetryPolicy {
        tries_max: 5,
        pause_first: Duration::from_millis(100),
        pause_max: Duration::from_millis(300),
        time: Duration::from_secs(60),
    };
    let outcomes = vec![Err(not_stored(Reason::Overloaded)); 5];
    let (ended, made) = run(&policy, &RetryBudget::default(), outcomes).await;
    assert_eq!(ended, Err(not_stored(Reason::Overloaded)));
    let ms: Vec<u128> = made.iter().map(Duration::as_millis).collect();
    let pauses: Vec<u128> = ms.windows(2).map(|pair| pair[1] - pair[0]).collect();
    assert!(pauses.iter().zip([100, 200, 300, 300]).all(|(pause, of)| pause.abs_diff(of) <= 3), "{pauses:?}");
}

#[tokio::test(start_paused = true)]
async fn a_store_that_asks_for_a_longer_pause_gets_it_and_time_is_a_bound() {
    let failure =
        Failure { retry_after: Some(Duration::from_secs(7)), ..Failure::new(Reason::LogDown, "down") };
    let outcomes = vec![Err(AppendFailure::NotStored(failure)); 9];
    let policy = RetryPolicy { time: Duration::from_secs(20), ..RetryPolicy::default() };
    let (ended, made) = run(&policy, &RetryBudget::default(), outcomes).await;
    assert_eq!(ended.expect_err("it is down").reason(), Reason::LogDown);
    assert_eq!(made.len(), 3, "at 0, 7 and 14 s; the next would be after its time: {made:?}");
}

#[tokio::test(start_paused = true)]
async fn an_unknown_outcome_is_settled_by_a_later_try() {
    let outcomes = vec![Err(unknown()), Err(not_stored(Reason::CatchingUp)), Ok(stored())];
    let (ended, made) = run(&RetryPolicy::default(), &RetryBudget::default(), outcomes).await;
    assert_eq!((ended, made.len()), (Ok(stored()), 3));
}

#[tokio::test(start_paused = true)]
async fn a_budget_that_is_used_up_ends_retries_and_successes_fill_it() {
    let budget = RetryBudget::default();
    while budget.take() {}
    let outcomes = || vec![Err(not_stored(Reason::Overloaded)), Ok(stored())];
    let (ended, made) = run(&RetryPolicy::default(), &budget, outcomes()).await;
    assert_eq!((ended.is_err(), made.len()), (true, 1));
    for _ in 0..10 {
        assert!(run(&RetryPolicy::default(), &budget, vec![Ok(stored())]).await.0.is_ok());
    }
    let (ended, made) = run(&RetryPolicy::default(), &budget, outcomes()).await;
    assert_eq!((ended.is_ok(), made.len()), (true, 2));
}

/// A server that was started again was back after five seconds. Eight tries had ended after two and a half, though there was time for 30 s.
#[tokio::test(start_paused = true)]
async fn a_store_that_is_away_for_a_while_is_waited_for_as_long_as_there_is_time() {
    for (away, lost) in [(5, not_stored(Reason::Unreachable)), (20, unknown())] {
        let (policy, budget, begun) = (RetryPolicy::default(), RetryBudget::default(), Instant::now());
        let is_away = || begun.elapsed() < Duration::from_secs(away);
        let try_once = async |_| if is_away() { Err(lost.clone()) } else { Ok(stored()) };
        let ended = append_with_retries(append(AT_5), &policy, &budget, try_once);
        assert_eq!(ended.await, Ok(stored()), "{away}");
    }
}

/// Moments that no clock has ended the program.
#[tokio::test(start_paused = true)]
async fn times_and_pauses_without_end_are_bounded() {
    let all = Duration::MAX;
    let policy = RetryPolicy { pause_first: all, pause_max: all, time: all, ..RetryPolicy::default() };
    let without_end = Failure::new(Reason::LogDown, "down").after(all);
    for outcome in [not_stored(Reason::LogDown), AppendFailure::NotStored(without_end)] {
        let tried = Cell::new(0);
        let try_once = async |_| {
            tried.set(tried.get() + 1);
            Err(outcome.clone())
        };
        let ended =
            append_with_retries(append(AT_5).within(all), &policy, &RetryBudget::default(), try_once).await;
        assert_eq!(ended.expect_err("it is down").reason(), Reason::LogDown);
        assert!(tried.get() <= 3, "a pause may be as long as all the time");
    }
}
