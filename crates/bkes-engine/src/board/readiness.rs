//! Every reason why calls are not served, for reads and for appends apart. [`Board::unready`] names the first that concerns both.

use super::Board;
use crate::fault::Fault;
use bkes_core::append::Unready;
use bkes_core::sequence::NowMs;
use std::sync::atomic::Ordering;

impl Board {
    /// Why local reads are not answered, or older than they may be. What the log or a disk that cannot be written keeps from appends is no
    /// hindrance: what was read is shown.
    pub fn unready_reads(&self, ready_lag_ms: NowMs, now: NowMs) -> Vec<Unready> {
        if self.stopping.load(Ordering::Acquire) {
            return vec![Unready::ShuttingDown];
        }
        if let Some(unready) = self.none_served() {
            return vec![unready];
        }
        let catching_up = self.catching_up_among(|state| !state.is_read_anew);
        catching_up.into_iter().chain(self.lagging(ready_lag_ms, now)).collect()
    }

    /// Why appends are not taken.
    pub fn unready_appends(&self, ready_lag_ms: NowMs, now: NowMs) -> Vec<Unready> {
        let mut reasons = self.unready_reads(ready_lag_ms, now);
        if matches!(reasons[..], [Unready::ShuttingDown]) {
            return reasons;
        }
        reasons.extend(self.log_down().map(|cause| Unready::LogDown { cause }));
        reasons.extend(self.store_down().map(|cause| Unready::Store { cause }));
        reasons.extend(self.all_stalled());
        reasons
    }

    /// Why only a restart helps.
    pub fn needs_restart(&self) -> Option<String> {
        self.fault
            .get()
            .filter(|fault| matches!(fault, Fault::Panicked { .. }))
            .map(|fault| fault.to_string())
    }

    /// Where every partition is stalled no append is taken; where some are, those of other partitions are.
    fn all_stalled(&self) -> Option<Unready> {
        let partitions = self.partitions();
        let all = partitions.iter().all(|board| board.state().seen.is_stalled);
        let seen = partitions.first().filter(|_| all)?.state().seen.clone();
        Some(Unready::Stalled { partition: seen.partition, stable: seen.marks.stable, high: seen.marks.high })
    }
}
