//! Batches whose last member was not seen yet: how one grows, and how all of a partition are bounded together.
//!
//! A batch alone has limits; a hundred thousand half ones would fill memory and checkpoints all the same. So their number and
//! their bytes have limits that are part of the rule: above one, the batch that began first is void. What they come to is
//! a function of the log alone: a batch expires at the very record that lies too far from its first member.

use super::{IncarnationState, OpenBatch};
use crate::limits::{
    BATCH_BYTES_MAX, BATCH_SPAN_OFFSETS, OPEN_BATCHES_MAX, OPEN_BYTES_MAX, OPEN_MEMBER_BYTES, ORDER_MAX,
};
use crate::marker::{Stamp, is_reserved};
use crate::{Header, Incarnation, Key, Offset, Order, Record};
use std::collections::BTreeMap;

/// The open batches of a partition, by the offset of their first member.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) struct OpenBatches {
    by_first: BTreeMap<Offset, Open>,
    /// What all of them weigh.
    bytes: u64,
    pub(super) batches_max: usize,
    pub(super) bytes_max: u64,
}

#[derive(Clone, PartialEq, Eq, Debug)]
struct Open {
    incarnation: Incarnation,
    bytes: u64,
}

impl OpenBatches {
    /// Those of incarnations as a checkpoint has them.
    pub(super) fn of<'a>(
        states: impl Iterator<Item = (&'a Incarnation, &'a IncarnationState)>,
    ) -> OpenBatches {
        let by_first = BTreeMap::new();
        let mut all =
            OpenBatches { by_first, bytes: 0, batches_max: OPEN_BATCHES_MAX, bytes_max: OPEN_BYTES_MAX };
        for (incarnation, batch) in states.filter_map(|(name, state)| Some((name, state.open.as_ref()?))) {
            batch
                .members
                .iter()
                .for_each(|member| all.add(batch.first_offset(), *incarnation, weight(member)));
        }
        all
    }

    /// Whose batch began first.
    pub(super) fn oldest(&self) -> Option<Incarnation> {
        self.by_first.first_key_value().map(|(_, open)| open.incarnation)
    }

    /// Whose batch began too far below this offset to go on, if there is one.
    pub(super) fn expired(&self, offset: Offset) -> Option<Incarnation> {
        let (first, open) = self.by_first.first_key_value()?;
        is_too_far(*first, offset).then_some(open.incarnation)
    }

    /// Whether there are more than may be.
    pub(super) fn too_many(&self) -> bool {
        self.by_first.len() > self.batches_max || self.bytes > self.bytes_max
    }

    /// A batch that began at this offset got a member.
    fn add(&mut self, first: Offset, incarnation: Incarnation, bytes: u64) {
        self.bytes += bytes;
        self.by_first.entry(first).or_insert(Open { incarnation, bytes: 0 }).bytes += bytes;
    }

    fn remove(&mut self, first: Offset) {
        self.bytes -= self.by_first.remove(&first).map_or(0, |open| open.bytes);
    }

    /// Closes the batch of an incarnation, if one is open.
    pub(super) fn close(&mut self, state: &mut IncarnationState) -> Option<OpenBatch> {
        let batch = state.open.take()?;
        self.remove(batch.first_offset());
        Some(batch)
    }
}

fn is_too_far(first: Offset, offset: Offset) -> bool {
    offset.0.saturating_sub(first.0) >= BATCH_SPAN_OFFSETS
}

/// What a member of an open batch counts for: all of it that is kept, but for the headers of the marker, which may be left out.
fn weight(member: &Record) -> u64 {
    let headers = member.headers.iter().filter(|header| !is_reserved(header));
    (member.payload_bytes() + headers.map(Header::bytes).sum::<usize>()) as u64 + OPEN_MEMBER_BYTES
}

/// What a member did to its batch.
pub(super) enum Joined {
    Waits,
    Whole(OpenBatch),
    Broken { members: u64 },
}

/// A member of a batch, read from the log.
pub(super) struct Member {
    pub stamp: Stamp,
    pub order: Order,
    pub key: Key,
    pub record: Record,
}

impl IncarnationState {
    /// Adds a member to the batch of its number, or breaks the batch.
    pub(super) fn join(&mut self, member: Member, all: &mut OpenBatches) -> Joined {
        let Member { stamp, order, key, record } = member;
        let (bytes, weight) = (record.payload_bytes(), weight(&record));
        let (mut batch, fits) = match self.open.take() {
            Some(batch) => {
                let fits = batch.expects(stamp, order, &key);
                (batch, fits)
            }
            None => {
                let last = order.plus(u64::from(stamp.count()) - 1);
                let fits = stamp.i() == 1 && last.is_some_and(|last| last.0 <= ORDER_MAX);
                (OpenBatch { key, first: order, count: stamp.count(), bytes: 0, members: Vec::new() }, fits)
            }
        };
        batch.bytes += bytes;
        batch.members.push(record);
        if !fits || batch.bytes > BATCH_BYTES_MAX {
            all.remove(batch.first_offset());
            return Joined::Broken { members: batch.members.len() as u64 };
        }
        if batch.members.len() as u32 == batch.count {
            all.remove(batch.first_offset());
            return Joined::Whole(batch);
        }
        all.add(batch.first_offset(), stamp.incarnation, weight);
        self.open = Some(batch);
        Joined::Waits
    }
}

impl OpenBatch {
    /// Whether it began too far below this offset to go on.
    pub(super) fn spans_too_far(&self, offset: Offset) -> bool {
        is_too_far(self.first_offset(), offset)
    }

    fn first_offset(&self) -> Offset {
        self.members.first().expect("an open batch has a member").offset
    }

    fn expects(&self, stamp: Stamp, order: Order, key: &Key) -> bool {
        let seen = self.members.len() as u32;
        stamp.i() == seen + 1
            && stamp.count() == self.count
            && Some(order) == self.first.plus(u64::from(seen))
            && *key == self.key
    }
}
