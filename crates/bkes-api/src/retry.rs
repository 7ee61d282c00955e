//! Trying an append again: when it is safe, and what all tries together come to.
//!
//! *Rejected* and *unavailable* speak of one try. Once a try ended unknown, the append may be stored, or may still come to be: a try
//! that is on its way can be accepted after a later one was refused. From then on only success ends it, or a proof that no try of
//! it can ever be accepted: its order was taken by another append. Everything else is unknown, and the id goes with it, so that the
//! caller can go on, with [`Append::again`]. The tries that it makes then begin as those of an append that may be stored: what is
//! unavailable is unknown.
//!
//! [`Tries`] is a pure machine: outcomes go in, what to do comes out. [`append_with_retries`] drives one, at the pace of a [`Pacer`].

use crate::append::{Append, AppendFailure, Appended};
use crate::failure::{Failure, Reason};
use bkes_core::append::ErrorClass;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;
use tokio::time::Instant;

/// How often and how long an append is tried.
#[derive(Clone, Debug)]
pub struct RetryPolicy {
    /// Most tries, the first one included; at least 1. It is time and [budget](RetryBudget) that end them as a rule.
    pub tries_max: u32,
    /// The pause after the first try. Each later one is twice as long, of a random part between half and all of it.
    pub pause_first: Duration,
    /// The longest pause, unless the store asked for a longer one.
    pub pause_max: Duration,
    /// The time for all tries, for appends that bring [none](Append::timeout) of their own. A year at most.
    pub time: Duration,
}

/// Tries by default: more than there is time for. Pauses from 20 ms to 2 s, each between half and all of that, let 15 to 37 of them go
/// into 30 s, so that a store which takes its time to start again is waited for.
const TRIES_MAX: u32 = 64;

/// No call and no pause is longer: what is added to a moment has to be a moment.
const TIME_MAX: Duration = Duration::from_secs(365 * 24 * 3600);

impl Default for RetryPolicy {
    fn default() -> RetryPolicy {
        RetryPolicy {
            tries_max: TRIES_MAX,
            pause_first: Duration::from_millis(20),
            pause_max: Duration::from_secs(2),
            time: Duration::from_secs(30),
        }
    }
}

impl RetryPolicy {
    /// One try, and no other.
    pub fn never() -> RetryPolicy {
        RetryPolicy { tries_max: 1, ..RetryPolicy::default() }
    }

    /// The pause after so many tries; `random` is any number.
    fn pause(&self, tries: u32, random: u64, asked_for: Option<Duration>) -> Duration {
        let doubled = self.pause_first.saturating_mul(1 << tries.saturating_sub(1).min(20));
        let longest = doubled.min(self.pause_max);
        let part = longest / 2 + (longest / 2).mul_f64((random % 1_024) as f64 / 1_024.0);
        part.max(asked_for.unwrap_or_default()).min(TIME_MAX)
    }
}

/// Bounds the retries of many appends together, so that a store in trouble is not drowned in them: each retry takes a token, and each
/// success gives a tenth of one back.
#[derive(Debug)]
pub struct RetryBudget {
    tenths: AtomicU32,
}

/// Tokens of a full budget: so many retries may be under way while nothing succeeds.
const BUDGET_TOKENS: u32 = 100;

impl Default for RetryBudget {
    fn default() -> RetryBudget {
        RetryBudget { tenths: AtomicU32::new(BUDGET_TOKENS * 10) }
    }
}

impl RetryBudget {
    /// Takes the token of a retry; says whether there was one.
    fn take(&self) -> bool {
        let less = |tenths: u32| tenths.checked_sub(10);
        self.tenths.fetch_update(Ordering::Relaxed, Ordering::Relaxed, less).is_ok()
    }

    /// Something succeeded.
    fn give_back(&self) {
        let more = |tenths: u32| (tenths < BUDGET_TOKENS * 10).then_some(tenths + 1);
        // A full one stays as it is.
        let _ = self.tenths.fetch_update(Ordering::Relaxed, Ordering::Relaxed, more);
    }
}

/// The tries of one append.
#[derive(Clone, Debug)]
pub struct Tries {
    append: Append,
    /// The failure of the last try after which it may be stored, if there was one.
    may_be_stored: Option<Failure>,
}

/// What to do after a try.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Verdict {
    /// The append has ended.
    Ended(Result<Appended, AppendFailure>),
    /// Another try may settle it. If there is to be none, it has ended so.
    Again(AppendFailure),
}

impl Tries {
    /// No try yet.
    pub fn new(append: Append) -> Tries {
        Tries { append, may_be_stored: None }
    }

    /// The append as its next try goes out.
    pub fn next(&self) -> Append {
        let mut append = self.append.clone();
        if let Some(identity) = &mut append.identity {
            identity.is_first &= self.may_be_stored.is_none();
        }
        append
    }

    /// Takes the outcome of a try.
    pub fn judge(&mut self, outcome: Result<Appended, AppendFailure>) -> Verdict {
        let failure = match outcome {
            Ok(appended) => return Verdict::Ended(Ok(appended)),
            Err(failure) => failure,
        };
        match failure.class() {
            ErrorClass::Unknown => self.judge_unknown(failure),
            // A try that is proven not to be stored may be made again; those before it are as unknown as they were.
            ErrorClass::Unavailable => Verdict::Again(self.told_unavailable(failure)),
            ErrorClass::Rejected if self.proves_end(&failure) => Verdict::Ended(Err(failure)),
            ErrorClass::Rejected => Verdict::Ended(Err(self.told(failure))),
        }
    }

    fn judge_unknown(&mut self, failure: AppendFailure) -> Verdict {
        let AppendFailure::Unknown { failure, .. } = failure else {
            // Of this class there is no other.
            return Verdict::Ended(Err(failure));
        };
        let reason = failure.reason;
        self.may_be_stored = Some(failure.clone());
        let unknown = AppendFailure::Unknown { id: self.append.append_id().cloned(), failure };
        // Without an id a try that was stored is not known for one. What lies below the window stays there.
        match self.append.identity {
            Some(_) if reason != Reason::AppendIdWindow => Verdict::Again(unknown),
            _ => Verdict::Ended(Err(unknown)),
        }
    }

    /// Whether a rejection says of all tries that they are not stored and never will be. With a try that may be on its way, that takes
    /// a proof that its order is taken by another append, and the store looks for the append's id before it says so.
    fn proves_end(&self, failure: &AppendFailure) -> bool {
        if self.may_be_stored.is_none() {
            return true;
        }
        match failure {
            AppendFailure::Conflict(conflict) => {
                let expected = self.append.expected.order();
                expected.is_some_and(|expected| conflict.current > expected)
            }
            // The event at its order begins another append.
            AppendFailure::IdReused { first, .. } => self.append.expected.order() == Some(*first),
            AppendFailure::IdUsed { .. } | AppendFailure::NotStored(_) | AppendFailure::Unknown { .. } => {
                false
            }
        }
    }

    /// What a caller is told who hears of this failure as the last one.
    fn told(&self, failure: AppendFailure) -> AppendFailure {
        let Some(unknown) = &self.may_be_stored else { return failure };
        let message = format!("{}; a later try was answered: {failure}", unknown.message);
        // When to come again is said by the store that was asked last.
        let failure = Failure { message, retry_after: failure.retry_after(), ..unknown.clone() };
        AppendFailure::Unknown { id: self.append.append_id().cloned(), failure }
    }

    /// The same of a try that is proven not to be stored. Where the caller had tried before, that says nothing of the append.
    fn told_unavailable(&self, failure: AppendFailure) -> AppendFailure {
        let Some(identity) = self.append.identity.as_ref().filter(|identity| !identity.is_first) else {
            return self.told(failure);
        };
        if self.may_be_stored.is_some() {
            return self.told(failure);
        }
        let message = format!("an earlier try may be stored; this one is not: {failure}");
        let retry_after = failure.retry_after();
        let failure = Failure { retry_after, ..Failure::new(Reason::OutcomeUnknown, message) };
        AppendFailure::Unknown { id: Some(identity.id.clone()), failure }
    }
}

/// When further tries of a call are made: after pauses that grow, while there is time, and a token of the budget.
pub struct Pacer<'a> {
    policy: &'a RetryPolicy,
    budget: &'a RetryBudget,
    /// All the time there is, and when it is over.
    time: Duration,
    until: Instant,
    made: u32,
    /// Draws the random part of a pause.
    random: fn() -> u64,
}

impl<'a> Pacer<'a> {
    /// For a call that begins now and has so much time, a year at most.
    pub fn new(policy: &'a RetryPolicy, budget: &'a RetryBudget, time: Duration) -> Pacer<'a> {
        let time = time.min(TIME_MAX);
        Pacer { policy, budget, time, until: Instant::now() + time, made: 0, random: jitter }
    }

    /// The time that a try which begins now has: all of it for the first.
    pub fn left(&self) -> Duration {
        if self.made == 0 { self.time } else { self.until.saturating_duration_since(Instant::now()) }
    }

    /// A try succeeded.
    pub fn succeeded(&self) {
        self.budget.give_back();
    }

    /// A try failed: rests, and says whether another is to be made.
    pub async fn again(&mut self, asked_for: Option<Duration>) -> bool {
        self.made += 1;
        let pause = self.policy.pause(self.made, (self.random)(), asked_for);
        let is_last = self.made >= self.policy.tries_max || Instant::now() + pause >= self.until;
        if is_last || !self.budget.take() {
            return false;
        }
        tokio::time::sleep(pause).await;
        true
    }
}

fn jitter() -> u64 {
    getrandom::u64().unwrap_or_default()
}

/// Appends, and tries again while that is safe and there is time. What comes out is what all tries come to.
pub async fn append_with_retries<F>(
    append: Append,
    policy: &RetryPolicy,
    budget: &RetryBudget,
    try_once: impl FnMut(Append) -> F,
) -> Result<Appended, AppendFailure>
where
    F: Future<Output = Result<Appended, AppendFailure>>,
{
    let time = append.timeout.unwrap_or(policy.time);
    append_paced(append, Pacer::new(policy, budget, time), try_once).await
}

async fn append_paced<F>(
    append: Append,
    mut pacer: Pacer<'_>,
    mut try_once: impl FnMut(Append) -> F,
) -> Result<Appended, AppendFailure>
where
    F: Future<Output = Result<Appended, AppendFailure>>,
{
    let mut tries = Tries::new(append);
    loop {
        let outcome = try_once(tries.next().within(pacer.left())).await;
        match tries.judge(outcome) {
            Verdict::Ended(ended) => {
                if ended.is_ok() {
                    pacer.succeeded();
                }
                return ended;
            }
            Verdict::Again(failure) => {
                if !pacer.again(failure.retry_after()).await {
                    return Err(failure);
                }
            }
        }
    }
}

#[cfg(test)]
mod tests;
