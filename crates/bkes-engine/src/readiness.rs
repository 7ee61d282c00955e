//! What an engine is ready for, with every reason: for operators, who want to know all of them and which calls they hinder.

use crate::handle::EngineHandle;
use bkes_core::append::Unready;

/// Why calls are not answered, or not with what is current. Nothing is said of single partitions that are not served while others are:
/// the [status](EngineHandle::status) does that.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Readiness {
    /// Why the engine as a whole is not ready: what [`is_ready`](EngineHandle::is_ready) goes by.
    pub whole: Option<Unready>,
    /// Why local reads are not answered, or are older than the lag that is allowed.
    pub reads: Vec<Unready>,
    /// Why appends are not taken. What hinders reads hinders appends.
    pub appends: Vec<Unready>,
}

impl EngineHandle {
    /// What it is ready for.
    pub fn readiness(&self) -> Readiness {
        let board = &self.context().board;
        let (ready_lag_ms, now) = (self.context().options.ready_lag.as_millis() as u64, self.now());
        Readiness {
            whole: board.unready(ready_lag_ms, now),
            reads: board.unready_reads(ready_lag_ms, now),
            appends: board.unready_appends(ready_lag_ms, now),
        }
    }

    /// Why only a restart of the process helps, if that is so: one of the engine's threads is gone.
    pub fn needs_restart(&self) -> Option<String> {
        self.context().board.needs_restart()
    }
}
