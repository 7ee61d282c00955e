//! Those who wait until enough is applied for a refusal to be true.

use crate::board::PartitionBoard;
use crate::lock::lock;
use bkes_core::append::Unready;
use bkes_core::sequence::NowMs;
use bkes_core::{Cause, Position};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use tokio::sync::oneshot;

/// Whether everything is applied that had to be.
pub type Verified = Result<(), Unready>;

/// Somebody who waits for a refusal to be verified.
pub struct Caller {
    pub deadline: NowMs,
    pub to: oneshot::Sender<Verified>,
}

/// Those whose question was answered, and who wait until that much is applied.
#[derive(Default)]
pub struct Awaited {
    waits: Mutex<Vec<Wait>>,
    /// How many there are: read by owners whenever they have applied something, without the lock.
    count: AtomicUsize,
}

pub struct Wait {
    pub ends: Vec<(Arc<PartitionBoard>, Position)>,
    pub callers: Vec<Caller>,
}

impl Wait {
    /// What it comes to, if that is known.
    pub fn judge(&self) -> Option<Verified> {
        let degraded = |(board, _): &(Arc<PartitionBoard>, Position)| board.state().seen.degraded();
        match self.ends.iter().find_map(degraded) {
            Some(unready) => Some(Err(unready)),
            None => self.missing().is_none().then_some(Ok(())),
        }
    }

    /// A partition that is not applied far enough.
    fn missing(&self) -> Option<&(Arc<PartitionBoard>, Position)> {
        self.ends.iter().find(|(board, end)| board.state().seen.applied < *end)
    }

    /// Callers whose time is over, and what they are told.
    fn expire(&mut self, now: NowMs) -> Option<(Vec<Caller>, Verified)> {
        let expired: Vec<Caller> = self.callers.extract_if(.., |caller| caller.is_over(now)).collect();
        if expired.is_empty() {
            return None;
        }
        let cause = match self.missing() {
            Some((board, end)) => {
                let (partition, applied) = (board.partition, board.state().seen.applied);
                let words = format!(
                    "partition {partition} is applied up to {applied}, and the log holds more up to {end}"
                );
                Cause::from(words)
            }
            None => "it took too long".into(),
        };
        Some((expired, Err(Unready::Unverified { cause })))
    }
}

impl Caller {
    fn is_over(&self, now: NowMs) -> bool {
        now >= self.deadline || self.to.is_closed()
    }
}

impl Awaited {
    /// Answers those for whom enough is applied. Called by owners when they have applied something: next to nothing while nobody waits.
    ///
    /// None is overlooked: whoever enters a wait calls this after that, and owners call it after they have published what they applied.
    /// The lock of a partition's state orders the two.
    pub fn settle(&self) {
        if self.count.load(Ordering::Relaxed) > 0 {
            self.settle_those_there();
        }
    }

    #[cold]
    fn settle_those_there(&self) {
        let mut judged = Vec::new();
        let mut waits = lock(&self.waits);
        waits.retain_mut(|wait| {
            let verified = wait.judge();
            let is_left = verified.is_none();
            judged.extend(verified.map(|verified| (std::mem::take(&mut wait.callers), verified)));
            is_left
        });
        self.count.store(waits.len(), Ordering::Relaxed);
        drop(waits);
        judged.into_iter().for_each(|(callers, verified)| answer(callers, &verified));
    }

    pub fn enter(&self, wait: Wait) {
        let mut waits = lock(&self.waits);
        waits.push(wait);
        self.count.store(waits.len(), Ordering::Relaxed);
    }

    pub fn expire(&self, now: NowMs) {
        let mut expired = Vec::new();
        let mut waits = lock(&self.waits);
        waits.retain_mut(|wait| {
            expired.extend(wait.expire(now));
            !wait.callers.is_empty()
        });
        self.count.store(waits.len(), Ordering::Relaxed);
        drop(waits);
        expired.into_iter().for_each(|(callers, verified)| answer(callers, &verified));
    }

    /// When the time of the first is over.
    pub fn deadline(&self) -> Option<NowMs> {
        let waits = lock(&self.waits);
        waits.iter().flat_map(|wait| &wait.callers).map(|caller| caller.deadline).min()
    }

    pub fn clear(&self) {
        let waits = std::mem::take(&mut *lock(&self.waits));
        self.count.store(0, Ordering::Relaxed);
        drop(waits);
    }
}

impl std::fmt::Debug for Awaited {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{} waits", self.count.load(Ordering::Relaxed))
    }
}

/// Tells all of them.
pub fn answer(callers: Vec<Caller>, verified: &Verified) {
    for caller in callers {
        // Whoever went away is not told.
        let _ = caller.to.send(verified.clone());
    }
}
