//! Requests, as clients make them.

use super::nouns::{freshness, header, partitions, positions};
use crate::bad_field::fit;
use crate::{BadField, v2};
use bkes_api::{
    Append, AsOf, Direction, EventContent, Expected, Follow, FollowFrom, Followed, Freshness, Identity, Key,
    KeysRequest, Read, ReadMany, TaggedAppend, WaitFor,
};
use std::time::Duration;

/// An append. Its timeout is the call's, and goes with it.
pub fn append(append: Append) -> v2::AppendRequest {
    use v2::append_request::Expected as Wire;
    let Append { key, expected, events, identity, missing_max, timeout: _ } = append;
    let expected = match expected {
        Expected::New => Wire::NoAggregate(true),
        Expected::At(order) => Wire::NextOrder(order.0),
        Expected::Exists => Wire::Exists(true),
        Expected::Any => Wire::Any(true),
    };
    v2::AppendRequest {
        key: key.bytes().clone(),
        expected: Some(expected),
        events: events.into_iter().map(event).collect(),
        append_id: identity.map(|identity| {
            let Identity { id, is_first, seen } = identity;
            v2::AppendId { id: id.bytes().clone(), first: is_first, seen: seen.map(|order| order.0) }
        }),
        missing_events_max: u32::try_from(missing_max).unwrap_or(u32::MAX),
    }
}

fn event(event: EventContent) -> v2::NewEvent {
    let EventContent { value, headers } = event;
    v2::NewEvent { value, headers: headers.into_iter().map(header).collect() }
}

/// An append of a stream.
pub fn tagged_append(tagged: TaggedAppend) -> v2::TaggedAppend {
    let TaggedAppend { tag, append, stands_alone } = tagged;
    let timeout_ms = append.timeout.map_or(0, timeout_ms);
    v2::TaggedAppend { tag, append: Some(self::append(append)), timeout_ms, stands_alone }
}

/// A timeout in milliseconds, which is never none: that would be no timeout.
fn timeout_ms(timeout: Duration) -> u32 {
    u32::try_from(timeout.as_millis()).unwrap_or(u32::MAX).max(1)
}

/// A read of one aggregate.
pub fn read(read: Read) -> Result<v2::ReadRequest, BadField> {
    use v2::read_request::AsOf as Wire;
    let as_of = match read.as_of {
        None => None,
        Some(AsOf::Offset(offset)) => Some(Wire::AsOfOffset(fit("as_of_offset", offset.0)?)),
        Some(AsOf::Time(time)) => Some(Wire::AsOfTimestampMs(time.0)),
    };
    Ok(v2::ReadRequest {
        key: read.key.bytes().clone(),
        backwards: read.direction == Direction::Backwards,
        from_order: read.from.map(|order| order.0),
        to_order: read.to.map(|order| order.0),
        limit: limit(read.limit),
        as_of,
        freshness: freshness(&read.freshness)?,
        without_headers: !read.with_headers,
        part_by_part: read.part_by_part,
    })
}

fn limit(limit: u64) -> Option<u64> {
    (limit != u64::MAX).then_some(limit)
}

/// A read of several aggregates.
pub fn read_many(read: &ReadMany) -> Result<v2::ReadManyRequest, BadField> {
    Ok(v2::ReadManyRequest {
        keys: read.keys.iter().map(|key| key.bytes().clone()).collect(),
        from_order: read.from.0,
        limit: limit(read.limit),
        freshness: freshness(&read.freshness)?,
        without_headers: !read.with_headers,
    })
}

/// The question where an aggregate stands.
pub fn head_request(key: &Key, fresh: &Freshness) -> Result<v2::HeadRequest, BadField> {
    Ok(v2::HeadRequest { key: key.bytes().clone(), freshness: freshness(fresh)? })
}

/// A page of keys. The wire has no bound on their bytes below its own: who asks cuts the page.
pub fn keys_request(request: &KeysRequest) -> Result<v2::ListKeysRequest, BadField> {
    let KeysRequest { prefix, after, keys_max, bytes_max: _, freshness: fresh } = request;
    Ok(v2::ListKeysRequest {
        prefix: prefix.clone(),
        after: after.as_ref().map(|key| key.bytes().clone()).unwrap_or_default(),
        limit: u32::try_from(*keys_max).unwrap_or(u32::MAX).max(1),
        freshness: freshness(fresh)?,
    })
}

/// What to follow.
pub fn follow(follow: &Follow) -> Result<v2::FollowRequest, BadField> {
    use v2::follow_request::{Followed as WireFollowed, From as WireFrom};
    let followed = match &follow.followed {
        Followed::All => None,
        Followed::Prefix(prefix) => Some(WireFollowed::Prefix(prefix.clone())),
        Followed::Key(key) => Some(WireFollowed::Key(key.bytes().clone())),
        Followed::Partitions(of) => {
            Some(WireFollowed::Partitions(v2::PartitionSet { partitions: partitions(of)? }))
        }
    };
    let from = match &follow.from {
        FollowFrom::Now => None,
        FollowFrom::Beginning => Some(WireFrom::Beginning(true)),
        FollowFrom::Positions(at) => {
            Some(WireFrom::Positions(positions(at).map_err(|bad| bad.within("positions"))?))
        }
    };
    Ok(v2::FollowRequest { followed, from, without_headers: !follow.with_headers })
}

/// What to wait for. How long is the call's timeout, and goes with it.
pub fn wait_for(wait: &WaitFor) -> Result<v2::WaitForRequest, BadField> {
    let positions = positions(&wait.positions).map_err(|bad| bad.within("positions"))?;
    let group = wait.group.clone().unwrap_or_default();
    let timeout_ms = Some(u32::try_from(wait.timeout.as_millis()).unwrap_or(u32::MAX));
    Ok(v2::WaitForRequest { positions: Some(positions), group, timeout_ms })
}
