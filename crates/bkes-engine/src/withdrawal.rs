//! Withdrawal: an append whose time is over is taken back if it was not begun, and whoever takes it back knows which of the two it is.
//!
//! Caller and owner agree by one word: the owner begins an append only if it was not withdrawn, and the caller withdraws it only if it
//! was not begun. So what was withdrawn is never sent. What was begun may be refused without being sent, and counts as sent all the same.

use std::sync::atomic::{AtomicU8, Ordering};

const WAITING: u8 = 0;
const BEGUN: u8 = 1;
const WITHDRAWN: u8 = 2;

/// What the caller and the owner of one append share.
#[derive(Debug, Default)]
pub struct Withdrawal(AtomicU8);

impl Withdrawal {
    /// The owner begins the append; false if it was withdrawn. One that was begun may be begun again.
    pub fn begin(&self) -> bool {
        self.change(BEGUN) != WITHDRAWN
    }

    /// The caller takes the append back; false if it was begun.
    pub fn withdraw(&self) -> bool {
        self.change(WITHDRAWN) != BEGUN
    }

    /// The append came back from its owner, and nothing of it was sent.
    pub fn came_back(&self) {
        self.0.store(WAITING, Ordering::Release);
    }

    /// Changes it if it waits; gives what it was.
    fn change(&self, to: u8) -> u8 {
        match self.0.compare_exchange(WAITING, to, Ordering::AcqRel, Ordering::Acquire) {
            Ok(was) | Err(was) => was,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::Barrier;

    #[test]
    fn what_was_withdrawn_is_never_begun_and_what_was_begun_is_not_withdrawn() {
        let withdrawal = Withdrawal::default();
        assert!(withdrawal.begin() && withdrawal.begin() && !withdrawal.withdraw());
        withdrawal.came_back();
        assert!(withdrawal.withdraw() && !withdrawal.begin() && withdrawal.withdraw());
    }

    #[test]
    fn of_two_threads_one_has_it() {
        for _ in 0..1_000 {
            let (withdrawal, barrier) = (Withdrawal::default(), Barrier::new(2));
            let meet = |act: fn(&Withdrawal) -> bool| {
                barrier.wait();
                act(&withdrawal)
            };
            let (begun, withdrawn) = std::thread::scope(|scope| {
                let owner = scope.spawn(|| meet(Withdrawal::begin));
                let withdrawn = meet(Withdrawal::withdraw);
                (owner.join().expect("no panic"), withdrawn)
            });
            assert_ne!(begun, withdrawn);
        }
    }
}
