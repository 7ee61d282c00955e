//! The bounds of what is sent: the overlay with what is on its way to it, and the log's send queue.

use crate::context::Context;
use bkes_core::append::{Unit, Unready};
use bkes_core::machine::Load;
use bkes_log::{LogAppender, QueueBound};

/// The bound that a load would pass if it were sent now, beside what is under way (sent or to be sent, and not reported on) and what is
/// queued (to be sent, and not handed over).
pub fn bound_of(
    context: &Context,
    appender: Option<&dyn LogAppender>,
    load: Load,
    (under_way, queued): (Load, Load),
) -> Option<Bound> {
    let applied = context.overlay.bytes() as u64;
    let limit = context.options.overlay_bytes_max as u64;
    let all = under_way.and(load);
    if applied > limit || (under_way.bytes > 0 && applied + all.memory_bytes() > limit) {
        return Some(Bound { queue: "the overlay of uncommitted events", limit, unit: Unit::Bytes });
    }
    // What does not fit into an empty queue is refused when it is to be sent.
    if queued.records == 0 && under_way.records == 0 {
        return None;
    }
    let all = queued.and(load);
    let full = appender?.has_room(all.records, all.log_bytes()).err()?;
    Some(Bound::of_queue(full))
}

/// A queue that is full, and what it may hold.
pub struct Bound {
    pub queue: &'static str,
    pub limit: u64,
    pub unit: Unit,
}

impl Bound {
    pub fn of_queue(bound: QueueBound) -> Bound {
        let (limit, unit) = match bound {
            QueueBound::Records { records_max } => (records_max, Unit::Records),
            QueueBound::Bytes { bytes_max } => (bytes_max, Unit::Bytes),
        };
        Bound { queue: "the send queue", limit, unit }
    }

    /// What an append is told that cannot wait.
    pub fn overloaded(self) -> Unready {
        let Bound { queue, limit, unit } = self;
        Unready::Overloaded { queue, limit, unit }
    }
}
