//! Requests, as servers take them.

use super::nouns::{freshness, header, key, offset, partitions, positions};
use crate::bad_field::NOT_TRUE;
use crate::limits::READ_MANY_KEYS_MAX;
use crate::{BadField, v2};
use bkes_api::{
    Append, AppendId, AsOf, Direction, EventContent, Expected, Follow, FollowFrom, Followed, Freshness,
    Identity, KEYS_BYTES_MAX, KEYS_MAX, Key, KeysRequest, MISSING_MAX, Order, Positions, Read, ReadMany,
    TimestampMs, WaitFor,
};
use bkes_core::limits::BATCH_EVENTS_MAX;
use std::time::Duration;

/// An append whose caller waits so long. It may be one that no store takes: see [`check_append`].
pub fn append(message: v2::AppendRequest, timeout: Option<Duration>) -> Result<Append, BadField> {
    let v2::AppendRequest { key: bytes, expected, events, append_id, missing_events_max } = message;
    Ok(Append {
        key: key(bytes)?,
        expected: self::expected(expected)?,
        events: events.into_iter().map(event).collect(),
        identity: append_id.map(identity).transpose()?,
        missing_max: usize::try_from(missing_events_max).unwrap_or(usize::MAX).min(MISSING_MAX),
        timeout,
    })
}

/// What every store refuses of an append, with the field's name, which a store does not know.
pub fn check_append(append: &Append) -> Result<(), BadField> {
    let count = append.events.len();
    if count == 0 || count > BATCH_EVENTS_MAX as usize {
        return Err(BadField::new("events", format!("must be 1 to {BATCH_EVENTS_MAX}, and are {count}")));
    }
    if append.identity.is_none() && append.expected.order().is_none() {
        return Err(BadField::new("append_id", "must be set where no order is expected"));
    }
    for (index, event) in append.events.iter().enumerate() {
        let named =
            |error| BadField::new(format!("events[{index}].headers"), format!("cannot be taken: {error}"));
        event.check_headers().map_err(named)?;
    }
    Ok(())
}

fn expected(message: Option<v2::append_request::Expected>) -> Result<Expected, BadField> {
    use v2::append_request::Expected as Wire;
    match message {
        Some(Wire::NextOrder(0) | Wire::NoAggregate(true)) => Ok(Expected::New),
        Some(Wire::NextOrder(order)) => Ok(Expected::At(Order(order))),
        Some(Wire::Exists(true)) => Ok(Expected::Exists),
        Some(Wire::Any(true)) => Ok(Expected::Any),
        Some(Wire::NoAggregate(false)) => Err(BadField::new("no_aggregate", NOT_TRUE)),
        Some(Wire::Exists(false)) => Err(BadField::new("exists", NOT_TRUE)),
        Some(Wire::Any(false)) => Err(BadField::new("any", NOT_TRUE)),
        None => Err(BadField::new("expected", "must be set: what the aggregate is believed to be")),
    }
}

fn event(message: v2::NewEvent) -> EventContent {
    let v2::NewEvent { value, headers } = message;
    EventContent { value, headers: headers.into_iter().map(header).collect() }
}

fn identity(message: v2::AppendId) -> Result<Identity, BadField> {
    let v2::AppendId { id, first, seen } = message;
    let id = AppendId::new(id).ok_or_else(|| BadField::new("append_id.id", "must have 1 to 64 bytes"))?;
    Ok(Identity { id, is_first: first, seen: seen.map(Order) })
}

/// A read of one aggregate.
pub fn read(message: v2::ReadRequest) -> Result<Read, BadField> {
    let v2::ReadRequest {
        key: bytes,
        backwards,
        from_order,
        to_order,
        limit,
        as_of,
        freshness: fresh,
        without_headers,
        part_by_part,
    } = message;
    if part_by_part && (backwards || as_of.is_some()) {
        return Err(BadField::new("part_by_part", "goes forwards only, and as of now"));
    }
    Ok(Read {
        key: key(bytes)?,
        direction: if backwards { Direction::Backwards } else { Direction::Forwards },
        from: from_order.map(Order),
        to: to_order.map(Order),
        limit: self::limit(limit)?,
        as_of: as_of.map(self::as_of).transpose()?,
        freshness: freshness(fresh)?,
        with_headers: !without_headers,
        part_by_part,
    })
}

fn limit(limit: Option<u64>) -> Result<u64, BadField> {
    match limit {
        Some(0) => Err(BadField::new("limit", "must be at least 1")),
        limit => Ok(limit.unwrap_or(u64::MAX)),
    }
}

fn as_of(message: v2::read_request::AsOf) -> Result<AsOf, BadField> {
    use v2::read_request::AsOf as Wire;
    match message {
        Wire::AsOfOffset(at) => offset("as_of_offset", at).map(AsOf::Offset),
        Wire::AsOfTimestampMs(ms) => Ok(AsOf::Time(TimestampMs(ms))),
    }
}

/// A read of several aggregates.
pub fn read_many(message: v2::ReadManyRequest) -> Result<ReadMany, BadField> {
    let v2::ReadManyRequest { keys, from_order, limit, freshness: fresh, without_headers } = message;
    let count = keys.len();
    if count == 0 || count > READ_MANY_KEYS_MAX {
        return Err(BadField::new("keys", format!("must be 1 to {READ_MANY_KEYS_MAX}, and are {count}")));
    }
    let key =
        |(index, bytes)| Key::new(bytes).ok_or_else(|| BadField::new(format!("keys[{index}]"), "is empty"));
    Ok(ReadMany {
        keys: keys.into_iter().enumerate().map(key).collect::<Result<_, _>>()?,
        from: Order(from_order),
        limit: self::limit(limit)?,
        freshness: freshness(fresh)?,
        with_headers: !without_headers,
    })
}

/// Which aggregate's head is asked for.
pub fn head_request(message: v2::HeadRequest) -> Result<(Key, Freshness), BadField> {
    let v2::HeadRequest { key: bytes, freshness: fresh } = message;
    Ok((key(bytes)?, freshness(fresh)?))
}

/// A page of keys.
pub fn keys_request(message: v2::ListKeysRequest) -> Result<KeysRequest, BadField> {
    let v2::ListKeysRequest { prefix, after, limit, freshness: fresh } = message;
    let keys_max = match usize::try_from(limit).unwrap_or(usize::MAX) {
        0 => KEYS_MAX,
        limit => limit.min(KEYS_MAX),
    };
    let freshness = freshness(fresh)?;
    Ok(KeysRequest { prefix, after: Key::new(after), keys_max, bytes_max: KEYS_BYTES_MAX, freshness })
}

/// What to follow.
pub fn follow(message: v2::FollowRequest) -> Result<Follow, BadField> {
    use v2::follow_request::{Followed as WireFollowed, From as WireFrom};
    let v2::FollowRequest { followed, from, without_headers } = message;
    let followed = match followed {
        None => Followed::All,
        Some(WireFollowed::Prefix(prefix)) => Followed::Prefix(prefix),
        Some(WireFollowed::Key(bytes)) => Followed::Key(key(bytes)?),
        Some(WireFollowed::Partitions(v2::PartitionSet { partitions: numbers })) => {
            let turned = partitions("partitions", numbers);
            Followed::Partitions(turned.map_err(|bad| bad.within("partitions"))?)
        }
    };
    let from = match from {
        None => FollowFrom::Now,
        Some(WireFrom::Beginning(true)) => FollowFrom::Beginning,
        Some(WireFrom::Beginning(false)) => return Err(BadField::new("beginning", NOT_TRUE)),
        Some(WireFrom::Positions(at)) => {
            FollowFrom::Positions(positions(at).map_err(|bad| bad.within("positions"))?)
        }
    };
    Ok(Follow { followed, from, with_headers: !without_headers })
}

/// What to wait for, and how long.
pub fn wait_for(message: v2::WaitForRequest, longest: Duration) -> Result<WaitFor, BadField> {
    let v2::WaitForRequest { positions: at, group, timeout_ms } = message;
    let positions = match at {
        None => Positions::default(),
        Some(at) => positions(at).map_err(|bad| bad.within("positions"))?,
    };
    let timeout =
        timeout_ms.map_or(longest, |timeout_ms| Duration::from_millis(timeout_ms.into()).min(longest));
    Ok(WaitFor { positions, group: (!group.is_empty()).then_some(group), timeout })
}
