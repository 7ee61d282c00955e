//! A bound that connections share, so that none of them takes all of it.
//!
//! One rule, without queues or lists: *who holds more than a part of what is free takes no more.* With the part 1, a connection that is alone
//! has half of the bound, and `k` that take all they may have 1 / (k + 1) each while what they take comes back: as much is
//! free. Where it does not come back, each takes a part of what the ones before it have left: with the part 1/4 a fifth of it, and
//! after a dozen 7 % are free. This file does not know what is counted.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

/// What all connections have together.
#[derive(Clone)]
pub struct Pool(Arc<Whole>);

struct Whole {
    free: AtomicUsize,
    total: usize,
    part: usize,
}

impl Pool {
    /// A pool of so much. Who holds more than a `part`-th of what is free takes no more.
    pub fn new(total: usize, part: usize) -> Pool {
        let total = total.max(1);
        Pool(Arc::new(Whole { free: AtomicUsize::new(total), total, part }))
    }

    /// The share of a new connection.
    pub fn share(&self) -> Share {
        Share { whole: Arc::clone(&self.0), held: AtomicUsize::new(0) }
    }
}

/// A connection's share of a [`Pool`].
pub struct Share {
    whole: Arc<Whole>,
    held: AtomicUsize,
}

impl Share {
    /// Takes so much, if the rule allows it; says what was taken. More than there is in all counts as all.
    pub fn take(&self, wanted: usize) -> Option<usize> {
        let wanted = wanted.min(self.whole.total);
        // Added first: of two that take at once, one sees the other's.
        let held = self.held.fetch_add(wanted, Ordering::AcqRel);
        let is_allowed = |free: usize| wanted <= free && held <= free / self.whole.part;
        let allowed = |free: usize| is_allowed(free).then(|| free - wanted);
        match self.whole.free.fetch_update(Ordering::AcqRel, Ordering::Acquire, allowed) {
            Ok(_) => Some(wanted),
            Err(_) => {
                self.held.fetch_sub(wanted, Ordering::AcqRel);
                None
            }
        }
    }

    /// What there is in all, for all connections.
    pub fn total(&self) -> usize {
        self.whole.total
    }

    /// Gives back what was taken.
    pub fn give(&self, taken: usize) {
        self.held.fetch_sub(taken, Ordering::AcqRel);
        self.whole.free.fetch_add(taken, Ordering::AcqRel);
    }

    /// Takes so much until the answer is dropped.
    pub fn hold(&self, wanted: usize) -> Option<Hold<'_>> {
        self.take(wanted).map(|taken| Hold { share: self, taken })
    }
}

/// What was taken of a share; dropping gives it back.
pub struct Hold<'a> {
    share: &'a Share,
    taken: usize,
}

impl Drop for Hold<'_> {
    fn drop(&mut self) {
        self.share.give(self.taken);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// How much each of so many connections gets when all take one by one, in turns, until none gets any more.
    fn greedy(total: usize, part: usize, connections: usize) -> (Vec<usize>, Pool) {
        let pool = Pool::new(total, part);
        let shares: Vec<Share> = (0..connections).map(|_| pool.share()).collect();
        let mut held = vec![0; connections];
        loop {
            let before = held.clone();
            for (share, held) in shares.iter().zip(&mut held) {
                *held += share.take(1).unwrap_or(0);
            }
            if held == before {
                return (held, pool);
            }
        }
    }

    #[test]
    fn whoever_takes_all_it_may_leaves_something_for_the_next() {
        for (total, connections, each) in
            [(1, 1, 1), (3, 1, 2), (4_096, 1, 2_048), (4_096, 12, 315), (300, 99, 3)]
        {
            let (held, pool) = greedy(total, 1, connections);
            assert!(held.iter().all(|held| held.abs_diff(each) <= 1), "{connections} of {total}: {held:?}");
            assert!(total == 1 || pool.share().take(1).is_some(), "{connections} of {total}");
        }
    }

    #[test]
    fn a_dozen_that_come_one_after_another_and_give_nothing_back_leave_something_too() {
        let pool = Pool::new(100_000, 4);
        let greedy: Vec<Share> = (0..12).map(|_| pool.share()).collect();
        let taken = greedy.iter().map(|share| std::iter::from_fn(|| share.take(10)).sum::<usize>());
        let taken: Vec<usize> = taken.collect();
        assert!((19_900..=20_100).contains(&taken[0]), "{taken:?}");
        assert!(pool.share().take(6_500).is_some(), "{taken:?}");
    }

    #[test]
    fn one_that_is_larger_than_all_is_let_in_when_nothing_else_is_there() {
        let pool = Pool::new(10, 1);
        let (one, other) = (pool.share(), pool.share());
        let all = one.take(1_000);
        assert_eq!((all, other.take(1)), (Some(10), None));
        one.give(10);
        let held = other.hold(1).expect("there is room again");
        assert_eq!(one.take(10), None);
        drop(held);
        assert_eq!(one.take(10), Some(10));
    }

    #[test]
    fn what_threads_take_and_give_back_is_there_again() {
        let pool = Pool::new(100, 1);
        std::thread::scope(|scope| {
            for n in 1..=4 {
                let share = pool.share();
                scope.spawn(move || {
                    let got = (0..20_000).filter(|_| share.hold(n * 7).is_some()).count();
                    assert!(got > 0);
                });
            }
        });
        assert_eq!(pool.share().take(100), Some(100));
    }
}
