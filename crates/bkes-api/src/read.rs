//! Reads of aggregates.

use crate::event::Event;
use crate::positions::Freshness;
use bkes_core::{Key, Offset, Order, Partition, TimestampMs};

/// Which way events are read.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub enum Direction {
    /// From low orders to high ones.
    #[default]
    Forwards,
    /// From high orders to low ones.
    Backwards,
}

/// The moment that a read shows an aggregate at.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum AsOf {
    /// Everything that was decided with the record at this offset of the aggregate's partition: the events whose append lies at it or
    /// below it as a whole. An offset that the log does not hold yet is refused as out of range.
    Offset(Offset),
    /// The longest beginning of the aggregate before its first event that is later than this; whole appends only. Events without a
    /// timestamp are not later.
    Time(TimestampMs),
}

/// Which events of an aggregate to read.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Read {
    /// The aggregate.
    pub key: Key,
    /// Which way.
    pub direction: Direction,
    /// The first event wanted; from the first one forwards and from the last one backwards if it is left out. From beyond the last one
    /// nothing is read forwards, and from the last one on backwards.
    pub from: Option<Order>,
    /// The last event wanted, in the direction of the read.
    pub to: Option<Order>,
    /// Most events wanted.
    pub limit: u64,
    /// The moment it is shown at; now if it is left out.
    pub as_of: Option<AsOf>,
    /// What the answer takes in.
    pub freshness: Freshness,
    /// Whether events come with their headers.
    pub with_headers: bool,
    /// Whether a split aggregate is read partition by partition, lowest first, instead of being refused: that is no order. Forwards and as
    /// of now only; `from` and `to` are indexes over all partitions then.
    pub part_by_part: bool,
}

impl Read {
    /// All of an aggregate, with headers.
    pub fn all(key: Key) -> Read {
        Read {
            key,
            direction: Direction::Forwards,
            from: None,
            to: None,
            limit: u64::MAX,
            as_of: None,
            freshness: Freshness::Local,
            with_headers: true,
            part_by_part: false,
        }
    }

    /// What comes from this order on.
    pub fn after(key: Key, next: Order) -> Read {
        Read { from: Some(next), ..Read::all(key) }
    }

    /// Its last events, the last one first.
    pub fn last(key: Key, limit: u64) -> Read {
        Read { direction: Direction::Backwards, limit, ..Read::all(key) }
    }
}

/// Events of an aggregate that follow each other: at most 1 MiB of values and headers, each header with 64 bytes
/// beside its own, one larger event aside.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Page {
    /// The events, in the direction of the read.
    pub events: Vec<Event>,
    /// In the last page, and in no other: where the aggregate stands.
    pub end: Option<PageEnd>,
}

/// Where an aggregate stood when it was read.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct PageEnd {
    /// The order of its first event that is there. Those below are gone: the head of the log was removed.
    pub first: Order,
    /// The order that its next event takes, at the moment it is shown at; the first if there is no such aggregate.
    pub next: Order,
    /// Whether it has events at that moment.
    pub exists: bool,
    /// Whether the read came to the end of the aggregate, in its direction: nothing was left out for `to` or `limit`.
    pub is_complete: bool,
    /// How its events lie in the log.
    pub layout: Layout,
}

/// How the events of an aggregate lie in the log.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub enum Layout {
    /// In one partition, as they should.
    #[default]
    OnePartition,
    /// In these, and shown partition by partition, lowest first. That is no order: events of different partitions have none.
    PartByPart(Vec<Partition>),
    /// In these, and shown in the one order that their `order` headers give.
    ByOrderHeaders(Vec<Partition>),
}

impl Layout {
    /// Whether the events lie in several partitions.
    pub fn is_split(&self) -> bool {
        !matches!(self, Layout::OnePartition)
    }
}

/// Which aggregates to read, one after the other.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct ReadMany {
    /// Their keys, at most 1,000.
    pub keys: Vec<Key>,
    /// From which order on each.
    pub from: Order,
    /// Most events of each.
    pub limit: u64,
    /// What the answer takes in.
    pub freshness: Freshness,
    /// Whether events come with their headers.
    pub with_headers: bool,
}

/// A page of one of several aggregates.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct KeyedPage {
    /// The aggregate.
    pub key: Key,
    /// Its events; its last page has an end.
    pub page: Page,
}

/// Where an aggregate stands.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Head {
    /// The order of its first event that is there. Those below are gone: the head of the log was removed.
    pub first: Order,
    /// The order that its next event takes.
    pub next: Order,
    /// The partition of its last event. Of a split aggregate: the last of the order that reads show it in.
    pub partition: Partition,
    /// Where its last event lies.
    pub offset: Offset,
    /// The log's timestamp of its last event.
    pub timestamp: Option<TimestampMs>,
    /// How its events lie in the log.
    pub layout: Layout,
}
