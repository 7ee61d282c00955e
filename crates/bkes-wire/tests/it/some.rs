//! Random words of bkes-api, with a liking for the edges of what the wire can say.

use bkes_api::{
    Append, AppendFailure, AppendId, Appended, AsOf, BatchPlace, Build, Conflict, Counters, Detail,
    Direction, Event, EventContent, Expected, Failure, Follow, FollowFrom, FollowItem, Followed,
    FollowedEvent, Freshness, Head, Identity, KEYS_BYTES_MAX, Key, KeyList, KeyedPage, KeysRequest, Layout,
    ListedKey, Offset, Order, Origin, Page, PageEnd, Partition, PartitionState, PartitionStatus, Position,
    Positions, Read, ReadMany, Reason, Status, TaggedAppend, TimestampMs, TopicId,
};
use bkes_testkit::input::{edge, some_bytes, some_headers};
use bkes_wire::limits::RETRY_AFTER_MAX;
use bytes::Bytes;
use fastrand::Rng;
use std::time::Duration;

pub fn key(random: &mut Rng) -> Key {
    Key::new([&b"k"[..], &some_bytes(random)].concat()).expect("it has bytes")
}

pub fn append_id(random: &mut Rng) -> AppendId {
    let length = random.usize(1..=64);
    AppendId::new((0..length).map(|_| random.u8(..)).collect::<Bytes>()).expect("1 to 64 bytes")
}

fn offset(random: &mut Rng) -> Offset {
    Offset(edge(random) >> 1)
}

fn position(random: &mut Rng) -> Position {
    Position(edge(random) >> 1)
}

fn partition(random: &mut Rng) -> Partition {
    Partition(random.u32(..) >> random.u32(1..32))
}

fn maybe<T>(random: &mut Rng, some: impl Fn(&mut Rng) -> T) -> Option<T> {
    random.bool().then(|| some(random))
}

fn several<T>(random: &mut Rng, some: impl Fn(&mut Rng) -> T) -> Vec<T> {
    (0..random.usize(..4)).map(|_| some(random)).collect()
}

fn text(random: &mut Rng) -> String {
    several(random, |random| random.char(..)).into_iter().collect()
}

fn timestamp(random: &mut Rng) -> TimestampMs {
    TimestampMs(random.i64(..) >> random.u32(..64))
}

pub fn append(random: &mut Rng) -> Append {
    let expected = match random.u8(..4) {
        0 => Expected::New,
        1 => Expected::At(Order(edge(random).max(1))),
        2 => Expected::Exists,
        _ => Expected::Any,
    };
    let identity = maybe(random, |random| {
        let seen = maybe(random, |random| Order(edge(random)));
        Identity { id: append_id(random), is_first: random.bool(), seen }
    });
    let event =
        |random: &mut Rng| EventContent { value: maybe(random, some_bytes), headers: some_headers(random) };
    let (key, events, missing_max) = (key(random), several(random, event), random.usize(..=1_000));
    Append { key, expected, events, identity, missing_max, timeout: None }
}

pub fn tagged_append(random: &mut Rng) -> TaggedAppend {
    let timeout = maybe(random, |random| Duration::from_millis(u64::from(random.u32(1..))));
    let append = Append { timeout, ..append(random) };
    TaggedAppend { tag: edge(random), append, stands_alone: random.bool() }
}

pub fn appended(random: &mut Rng) -> Appended {
    let first = edge(random) >> 1;
    Appended {
        topic: TopicId::new(&text(random)),
        partition: partition(random),
        first_offset: offset(random),
        last_offset: offset(random),
        timestamp: maybe(random, timestamp),
        first: Order(first),
        last: Order(first + random.u64(..1_000)),
        by_earlier_try: random.bool(),
    }
}

pub fn event(random: &mut Rng) -> Event {
    let batch = maybe(random, |random| {
        let count = random.u32(2..=1_000);
        BatchPlace { i: random.u32(1..=count), count }
    });
    let origin = match random.bool() {
        true => Origin::Foreign,
        false => Origin::Bkes { batch, append_id: maybe(random, append_id) },
    };
    Event {
        order: Order(edge(random)),
        partition: partition(random),
        offset: offset(random),
        timestamp: maybe(random, timestamp),
        value: maybe(random, some_bytes),
        headers: some_headers(random),
        origin,
    }
}

pub fn conflict(random: &mut Rng) -> Conflict {
    let expected = if random.bool() { Expected::New } else { Expected::At(Order(edge(random).max(1))) };
    Conflict { expected, current: Order(edge(random)), missing: several(random, event), more: random.bool() }
}

pub fn failure(random: &mut Rng) -> Failure {
    let reason = random.choice(Reason::ALL).copied().expect("there are some");
    let detail = match reason {
        Reason::InvalidRequest | Reason::EmptyKey => Some(Detail::Field("field".into())),
        Reason::TooLarge => Some(Detail::Size { bytes: edge(random), bytes_max: edge(random) }),
        Reason::AppendIdWindow => Some(Detail::LookedFrom(Order(edge(random)))),
        _ => None,
    };
    // What is longer is cut: a test of statuses has that.
    let rest_ms_max = RETRY_AFTER_MAX.as_millis() as u64;
    let retry_after = maybe(random, |random| Duration::from_millis(random.u64(..=rest_ms_max)));
    Failure { reason, message: text(random), retry_after, detail }
}

/// A failure as a store may have it: its reason fits what it says of the append.
pub fn append_failure(random: &mut Rng, id: Option<AppendId>) -> AppendFailure {
    let first = Order(edge(random));
    match (random.u8(..5), id) {
        (0, _) => {
            let conflict = conflict(random);
            let more = conflict.current > conflict.expected.order().unwrap_or(Order::FIRST);
            AppendFailure::Conflict(Box::new(Conflict { missing: Vec::new(), more, ..conflict }))
        }
        (1, Some(id)) => {
            AppendFailure::IdUsed { id, first, partition: partition(random), offset: offset(random) }
        }
        (2, Some(id)) => AppendFailure::IdReused { id, first },
        (_, id) => loop {
            let failure = failure(random);
            match failure.class() {
                bkes_api::ErrorClass::Unknown => return AppendFailure::Unknown { id, failure },
                _ if is_an_appends_own(failure.reason) => {}
                _ => return AppendFailure::NotStored(failure),
            }
        },
    }
}

fn is_an_appends_own(reason: Reason) -> bool {
    matches!(reason, Reason::Conflict | Reason::AlreadyExists | Reason::AppendIdUsed | Reason::AppendIdReused)
}

fn layout(random: &mut Rng) -> Layout {
    let mut partitions = several(random, partition);
    partitions.push(partition(random));
    match random.u8(..3) {
        0 => Layout::OnePartition,
        1 => Layout::PartByPart(partitions),
        _ => Layout::ByOrderHeaders(partitions),
    }
}

pub fn page(random: &mut Rng) -> Page {
    let end = maybe(random, |random| PageEnd {
        first: Order(edge(random)),
        next: Order(edge(random)),
        exists: random.bool(),
        is_complete: random.bool(),
        layout: layout(random),
    });
    Page { events: several(random, event), end }
}

pub fn keyed_page(random: &mut Rng, keys: &[Key]) -> (u32, KeyedPage) {
    let index = random.usize(..keys.len());
    (index as u32, KeyedPage { key: keys[index].clone(), page: page(random) })
}

pub fn keys(random: &mut Rng) -> Vec<Key> {
    (0..random.usize(1..10)).map(|_| key(random)).collect()
}

pub fn head(random: &mut Rng) -> Option<Head> {
    maybe(random, |random| Head {
        first: Order(edge(random)),
        next: Order(edge(random)),
        partition: partition(random),
        offset: offset(random),
        timestamp: maybe(random, timestamp),
        layout: layout(random),
    })
}

pub fn positions(random: &mut Rng) -> Positions {
    let topic = maybe(random, |random| TopicId::new(&format!("t{}", text(random))));
    let mut of = several(random, |random| (partition(random), position(random)));
    of.sort_unstable();
    of.dedup_by_key(|(partition, _)| *partition);
    Positions { topic, of }
}

pub fn freshness(random: &mut Rng) -> Freshness {
    match random.u8(..3) {
        0 => Freshness::Local,
        1 => Freshness::Latest,
        _ => Freshness::AtLeast(positions(random)),
    }
}

fn limit(random: &mut Rng) -> u64 {
    edge(random).max(1)
}

pub fn read(random: &mut Rng) -> Read {
    let part_by_part = random.bool();
    let as_of = match random.u8(..3) {
        _ if part_by_part => None,
        0 => None,
        1 => Some(AsOf::Offset(offset(random))),
        _ => Some(AsOf::Time(timestamp(random))),
    };
    let backwards = random.bool() && !part_by_part;
    Read {
        key: key(random),
        direction: if backwards { Direction::Backwards } else { Direction::Forwards },
        from: maybe(random, |random| Order(edge(random))),
        to: maybe(random, |random| Order(edge(random))),
        limit: limit(random),
        as_of,
        freshness: freshness(random),
        with_headers: random.bool(),
        part_by_part,
    }
}

pub fn read_many(random: &mut Rng) -> ReadMany {
    ReadMany {
        keys: keys(random),
        from: Order(edge(random)),
        limit: limit(random),
        freshness: freshness(random),
        with_headers: random.bool(),
    }
}

pub fn keys_request(random: &mut Rng) -> KeysRequest {
    KeysRequest {
        prefix: some_bytes(random),
        after: maybe(random, key),
        keys_max: random.usize(1..=10_000),
        bytes_max: KEYS_BYTES_MAX,
        freshness: freshness(random),
    }
}

pub fn key_list(random: &mut Rng) -> KeyList {
    let listed = |random: &mut Rng| ListedKey {
        key: key(random),
        next: Order(edge(random)),
        partitions: several(random, partition),
    };
    KeyList { keys: several(random, listed), more: random.bool() }
}

pub fn follow(random: &mut Rng) -> Follow {
    let followed = match random.u8(..4) {
        0 => Followed::All,
        1 => Followed::Prefix(some_bytes(random)),
        2 => Followed::Partitions(several(random, partition)),
        _ => Followed::Key(key(random)),
    };
    let from = match random.u8(..3) {
        0 => FollowFrom::Now,
        1 => FollowFrom::Beginning,
        _ => FollowFrom::Positions(positions(random)),
    };
    Follow { followed, from, with_headers: random.bool() }
}

pub fn follow_item(random: &mut Rng) -> FollowItem {
    match random.u8(..4) {
        0 => {
            let followed = |random: &mut Rng| FollowedEvent { key: key(random), event: event(random) };
            FollowItem::Events(several(random, followed))
        }
        1 => FollowItem::CaughtUp,
        2 => FollowItem::FellBehind,
        _ => FollowItem::Positions(positions(random)),
    }
}

pub fn status(random: &mut Rng) -> Status {
    let partition = |random: &mut Rng| PartitionStatus {
        partition: partition(random),
        state: match random.u8(..5) {
            0 => PartitionState::CatchingUp,
            1 => PartitionState::Ready,
            2 => PartitionState::Stalled,
            3 => PartitionState::Cut,
            _ => PartitionState::Degraded { reason: text(random) },
        },
        applied: position(random),
        stored: position(random),
        target: position(random),
        high: position(random),
        lag: edge(random),
        counters: Counters {
            events: edge(random),
            void: edge(random),
            foreign: edge(random),
            forwarded: edge(random),
            split: edge(random),
            skipped: edge(random),
        },
    };
    Status {
        build: Build { name: text(random), version: text(random) },
        cluster: text(random),
        topic: text(random),
        topic_id: TopicId::new(&text(random)),
        unready: maybe(random, failure),
        partitions: several(random, partition),
        keys: edge(random),
        store_bytes: edge(random),
        appended: edge(random),
        conflicts: edge(random),
        unknown: edge(random),
    }
}
