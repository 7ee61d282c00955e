//! An event as both sides have it: what is compared of it, and sums over many.
//!
//! The sum over an aggregate is that of its events, each hashed with a secret that is drawn for the audit. So it does not matter in which
//! order events come, and nobody can make up others that come to the same.

use crate::finding::Field;
use bkes_api::{Event, Origin};
use bkes_core::append_id::AppendId;
use bkes_core::marker::{ID_HEADER, unmarked_order};
use bkes_core::{BatchPlace, Header, Offset, Order, Partition, StoredEvent, TimestampMs};
use std::hash::{BuildHasher, Hasher, RandomState};

/// What is compared of an event, beside its order.
pub struct EventView<'a> {
    pub partition: Partition,
    pub offset: Offset,
    pub timestamp: Option<TimestampMs>,
    pub value: Option<&'a [u8]>,
    /// Without those of the marker, and without the one at `id_header`.
    headers: &'a [Header],
    id_header: Option<usize>,
    pub is_foreign: bool,
    pub batch: Option<BatchPlace>,
    pub append_id: Option<&'a [u8]>,
    /// The order that its `order` header names. What is shown says so of itself, where its orders are those of headers.
    header_order: Option<Order>,
}

impl<'a> EventView<'a> {
    /// Of what an instance shows.
    pub fn of_shown(event: &'a Event) -> EventView<'a> {
        let (is_foreign, batch, append_id) = match &event.origin {
            Origin::Foreign => (true, None, None),
            Origin::Bkes { batch, append_id } => {
                (false, *batch, append_id.as_ref().map(|id| &id.bytes()[..]))
            }
        };
        EventView {
            partition: event.partition,
            offset: event.offset,
            timestamp: event.timestamp,
            value: event.value.as_deref(),
            headers: &event.headers,
            id_header: None,
            is_foreign,
            batch,
            append_id,
            header_order: Some(event.order),
        }
    }

    /// Of a record of the topic that is an event.
    pub fn of_topic(event: &'a StoredEvent) -> EventView<'a> {
        let append_id = event.append_id().filter(|id| AppendId::new((*id).clone()).is_some());
        let id_header = event.headers.iter().position(|header| header.name == ID_HEADER);
        EventView {
            partition: event.partition,
            offset: event.offset,
            timestamp: event.timestamp,
            value: (!event.tombstone).then_some(&event.value),
            headers: &event.headers,
            id_header: append_id.and(id_header),
            is_foreign: event.stamp.is_none(),
            batch: event.stamp.and_then(|stamp| stamp.place),
            append_id: append_id.map(|id| &id[..]),
            // A record of BKES was accepted at the order that its header named.
            header_order: match event.stamp {
                Some(_) => Some(event.order),
                None => unmarked_order(&event.headers),
            },
        }
    }

    fn headers(&self) -> impl Iterator<Item = &'a Header> {
        let left_out = self.id_header;
        let headers = self.headers.iter().enumerate();
        headers.filter(move |(index, _)| Some(*index) != left_out).map(|(_, header)| header)
    }

    /// What differs.
    pub fn differences(&self, shown: &EventView<'_>) -> Vec<Field> {
        let table = [
            (Field::Partition, self.partition != shown.partition),
            (Field::Offset, self.offset != shown.offset),
            (Field::Timestamp, self.timestamp != shown.timestamp),
            (Field::Value, self.value != shown.value),
            (Field::Headers, !self.headers().eq(shown.headers())),
            (Field::Writer, self.is_foreign != shown.is_foreign),
            (Field::Batch, self.batch != shown.batch),
            (Field::AppendId, self.append_id != shown.append_id),
        ];
        table.into_iter().filter(|(_, differs)| *differs).map(|(field, _)| field).collect()
    }
}

/// Hashes events.
#[derive(Default)]
pub struct EventHasher {
    contents: RandomState,
    orders: RandomState,
}

impl EventHasher {
    /// Of all that is compared.
    pub fn content(&self, event: &EventView<'_>) -> u64 {
        let mut hasher = self.contents.build_hasher();
        let mut part = |bytes: Option<&[u8]>| {
            hasher.write_u64(bytes.map_or(u64::MAX, |bytes| bytes.len() as u64));
            hasher.write(bytes.unwrap_or_default());
        };
        part(event.value);
        part(event.append_id);
        for header in event.headers() {
            part(Some(&header.name));
            part(header.value.as_deref());
        }
        hasher.write_u64(event.headers().count() as u64);
        hasher.write_u64(u64::from(event.partition.0) << 1 | u64::from(event.is_foreign));
        hasher.write_u64(event.offset.0);
        let BatchPlace { i, count } = event.batch.unwrap_or(BatchPlace { i: 0, count: 0 });
        hasher.write_u64(u64::from(i) << 32 | u64::from(count));
        hasher.write_u8(u8::from(event.timestamp.is_some()));
        hasher.write_i64(event.timestamp.map_or(0, |timestamp| timestamp.0));
        hasher.finish()
    }

    /// Of an event's order: where it lies is what tells it from others.
    pub fn order(&self, event: &EventView<'_>, order: Order) -> u64 {
        let mut hasher = self.orders.build_hasher();
        hasher.write_u32(event.partition.0);
        hasher.write_u64(event.offset.0);
        hasher.write_u64(order.0);
        hasher.finish()
    }
}

/// What is kept of an aggregate's events in one partition.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Tally {
    /// The order that its next event takes.
    pub next: u64,
    /// How many there are. The uppermost bit says whether the instance has shown the aggregate.
    events: u64,
    contents: u64,
    orders: u64,
    header_orders: u64,
}

/// Which orders of events are compared.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Orders {
    /// Those in their partition.
    InPartition,
    /// Those that their `order` headers name.
    OfHeaders,
}

const SHOWN: u64 = 1 << 63;

impl Tally {
    /// Takes an event in.
    pub fn add(&mut self, hasher: &EventHasher, event: &EventView<'_>, order: Order) {
        self.next = order.0.wrapping_add(1);
        self.events += 1;
        self.contents = self.contents.wrapping_add(hasher.content(event));
        let of_order = hasher.order(event, order);
        self.orders = self.orders.wrapping_add(of_order);
        let of_header = match event.header_order {
            Some(named) if named == order => of_order,
            Some(named) => hasher.order(event, named),
            // No event that is shown comes to this.
            None => 1,
        };
        self.header_orders = self.header_orders.wrapping_add(of_header);
    }

    pub fn events(&self) -> u64 {
        self.events & !SHOWN
    }

    pub fn is_shown(&self) -> bool {
        self.events & SHOWN != 0
    }

    pub fn shown(self) -> Tally {
        Tally { events: self.events | SHOWN, ..self }
    }

    /// Whether both are of the same events, at the same orders.
    pub fn is_same_as(&self, other: &Tally, orders: Orders) -> bool {
        let is_in_order = match orders {
            Orders::InPartition => self.orders == other.orders,
            Orders::OfHeaders => self.header_orders == other.header_orders,
        };
        (self.events(), self.contents) == (other.events(), other.contents) && is_in_order
    }
}
