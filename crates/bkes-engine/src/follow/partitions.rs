//! Following partitions: all there are, or some.
//!
//! What comes next of each is taken from its ring as long as that has it, and read from the log otherwise.

use super::lane::{Lane, Lanes};
use super::outbox::Outbox;
use super::past::{Past, Progress};
use crate::context::Context;
use crate::feed::{Fed, Period, TakeLimits, Taken};
use crate::limits::{FOLLOW_GROUP_BYTES, FOLLOW_GROUP_EVENTS};
use bkes_api::Failure;
use bkes_core::machine::{Accepted, Records};
use bkes_core::{Order, Partition, Position, StoredEvent};
use bytes::Bytes;

/// Partitions that are followed, from a position in each.
pub struct Partitions {
    period: Period,
    /// Of the keys whose events are shown.
    prefix: Bytes,
    lanes: Lanes,
    past: Past,
    /// How many partitions the topic had; `None` if those that come are not followed.
    count: Option<usize>,
    turn: usize,
}

impl Partitions {
    pub fn new(period: Period, prefix: Bytes, lanes: Lanes, past: Past, count: Option<usize>) -> Partitions {
        Partitions { period, prefix, lanes, past, count, turn: 0 }
    }

    /// How far all are shown.
    pub fn positions(&self) -> Vec<(Partition, Position)> {
        self.lanes.positions()
    }

    /// Whether the store or the log has to be read.
    pub fn is_past(&self) -> bool {
        self.past.is_showing() || self.lanes.past().next().is_some()
    }

    /// Shows what is there next.
    pub fn step(&mut self, context: &Context, outbox: &mut Outbox) -> Result<Progress, Failure> {
        self.take_in_new(context);
        for lane in self.lanes.begun() {
            lane.decided(context)?;
        }
        let was_showing = self.past.is_showing();
        if was_showing {
            self.past.show(context, &mut self.lanes, outbox)?;
        }
        let (mut is_all, mut progress) = (true, if was_showing { Progress::Some } else { Progress::None });
        // Each partition is the first in its turn, so that a busy one leaves room to the others.
        self.turn = self.turn.wrapping_add(1);
        for lane in self.lanes.begun_from(self.turn) {
            let was_live = lane.is_live;
            // Of one that is judged and not shown the position says less than was read.
            if was_live || !was_showing {
                is_all &= take(lane, self.period, &self.prefix, outbox, &mut progress);
            }
            if was_live && !lane.is_live {
                outbox.fall_behind();
            }
        }
        if !was_showing && self.is_past() {
            match self.past.read(context, &self.lanes)? {
                Progress::None => {}
                read => progress = read,
            }
        }
        if !self.is_past() {
            self.past.rest();
            if is_all && !was_showing {
                outbox.catch_up();
            }
        }
        Ok(progress)
    }

    /// Partitions that the topic has got since are followed from their beginning, once they are served.
    fn take_in_new(&mut self, context: &Context) {
        if let Some(count) = &mut self.count {
            for board in context.board.partitions().iter().skip(*count) {
                self.lanes.add(Lane::of_new(board.clone()));
                *count += 1;
            }
        }
        for lane in self.lanes.not_begun() {
            // It is tried again when something was applied.
            let _ = lane.begin(context);
        }
    }
}

/// Shows what the ring of a partition has next. Says whether that is all there is.
fn take(
    lane: &mut Lane,
    period: Period,
    prefix: &[u8],
    outbox: &mut Outbox,
    progress: &mut Progress,
) -> bool {
    let limits = TakeLimits { appends_max: FOLLOW_GROUP_EVENTS, bytes_max: FOLLOW_GROUP_BYTES };
    let Some(fold) = lane.fold else { return false };
    while !outbox.is_full() {
        match lane.board.ring.take((period, fold), lane.position, limits) {
            Taken::Appends { appends, to, is_all } => {
                lane.is_live = true;
                if to > lane.position {
                    *progress = Progress::Some;
                }
                for fed in appends.iter().filter(|fed| fed.accepted.key.as_ref().starts_with(prefix)) {
                    outbox.show(&fed.accepted.key, events(fed));
                }
                lane.position = to;
                if is_all {
                    return true;
                }
            }
            Taken::NotBegun | Taken::Passed => {
                lane.is_live = false;
                return false;
            }
        }
    }
    *progress = Progress::Some;
    false
}

/// The events of an append.
fn events(fed: &Fed) -> Vec<StoredEvent> {
    let Accepted { records, stamp, .. } = &fed.accepted;
    let first = fed.accepted.first();
    let records = match records {
        Records::One(record) => std::slice::from_ref(record),
        Records::Batch(records) => records,
    };
    let of = |(index, record): (u32, &bkes_core::Record)| {
        let stamp = stamp.map(|stamp| stamp.of_member(index + 1));
        StoredEvent::of(record.clone(), Order(first.0 + u64::from(index)), stamp)
    };
    (0..).zip(records).map(of).collect()
}
