//! Answers, as clients take them.

use super::nouns::{header, key, layout, offset, partition, partitions, positions};
use crate::bad_field::fit;
use crate::{BadField, status as statuses, v2};
use bkes_api::{
    AppendFailure, AppendId, Appended, BatchPlace, Build, Conflict, Counters, Event, Expected, FollowItem,
    FollowedEvent, Head, Key, KeyList, KeyedPage, ListedKey, Order, Origin, Page, PageEnd, PartitionState,
    PartitionStatus, Position, Status, TaggedAnswer, TimestampMs, TopicId,
};

/// Where an append is stored.
pub fn appended(message: v2::Stored) -> Result<Appended, BadField> {
    let v2::Stored {
        first_order,
        last_order,
        partition: number,
        first_offset,
        last_offset,
        timestamp_ms,
        by_earlier_try,
        topic_id,
    } = message;
    if last_order < first_order || last_order == u64::MAX {
        return Err(BadField::new("last_order", format!("is {last_order} where the first is {first_order}")));
    }
    Ok(Appended {
        topic: TopicId::new(&topic_id),
        partition: partition(number)?,
        first_offset: offset("first_offset", first_offset)?,
        last_offset: offset("last_offset", last_offset)?,
        timestamp: timestamp_ms.map(TimestampMs),
        first: Order(first_order),
        last: Order(last_order),
        by_earlier_try,
    })
}

/// Where an aggregate is that was not where a writer believed.
pub fn conflict(message: v2::Conflict) -> Result<Conflict, BadField> {
    let v2::Conflict { expected_order, current_order, missing_events, more } = message;
    let expected = if expected_order == 0 { Expected::New } else { Expected::At(Order(expected_order)) };
    let missing = events("missing_events", missing_events)?;
    Ok(Conflict { expected, current: Order(current_order), missing, more })
}

/// The answer to an append of a stream that has this id. One that makes no sense leaves it unknown.
pub fn tagged_answer(message: v2::TaggedAnswer, id: Option<AppendId>) -> TaggedAnswer {
    use v2::tagged_answer::Outcome;
    let v2::TaggedAnswer { tag, outcome } = message;
    let bad = |bad: BadField, id| Err(AppendFailure::Unknown { id, failure: bad.in_answer() });
    let answer = match outcome {
        Some(Outcome::Stored(stored)) => appended(stored).or_else(|field| bad(field, id)),
        Some(Outcome::Conflict(told)) => match conflict(told) {
            Ok(conflict) => Err(AppendFailure::Conflict(Box::new(conflict))),
            Err(field) => bad(field, id),
        },
        Some(Outcome::Failure(failure)) => Err(statuses::append_from_message(failure, id)),
        None => bad(BadField::new("outcome", "is not set"), id),
    };
    TaggedAnswer { tag, answer }
}

/// An event.
pub fn event(message: v2::Event) -> Result<Event, BadField> {
    let v2::Event {
        order,
        partition: number,
        offset: at,
        timestamp_ms,
        value,
        headers,
        foreign,
        batch_index,
        batch_count,
        append_id,
    } = message;
    let batch = match (batch_index, batch_count) {
        (0, 0) => None,
        (i, count) if (1..=count).contains(&i) => Some(BatchPlace { i, count }),
        (i, count) => return Err(BadField::new("batch_index", format!("is {i} of {count}"))),
    };
    let append_id = match (append_id.is_empty(), AppendId::new(append_id)) {
        (false, None) => return Err(BadField::new("append_id", "has more than 64 bytes")),
        (_, id) => id,
    };
    Ok(Event {
        order: Order(order),
        partition: partition(number)?,
        offset: offset("offset", at)?,
        timestamp: timestamp_ms.map(TimestampMs),
        value,
        headers: headers.into_iter().map(header).collect(),
        origin: if foreign { Origin::Foreign } else { Origin::Bkes { batch, append_id } },
    })
}

fn events(field: &str, messages: Vec<v2::Event>) -> Result<Vec<Event>, BadField> {
    let turned =
        |(index, message)| event(message).map_err(|bad| bad.within(format_args!("{field}[{index}]")));
    messages.into_iter().enumerate().map(turned).collect()
}

/// A page of an aggregate.
pub fn page(message: v2::ReadReply) -> Result<Page, BadField> {
    let v2::ReadReply { events: messages, end } = message;
    Ok(Page { events: events("events", messages)?, end: end.map(page_end).transpose()? })
}

fn page_end(message: v2::ReadEnd) -> Result<PageEnd, BadField> {
    let v2::ReadEnd { exists, next_order, complete, split_over, by_order_headers, first_order } = message;
    let layout = layout(split_over, by_order_headers).map_err(|bad| bad.within("end"))?;
    let (first, next) = (Order(first_order), Order(next_order));
    Ok(PageEnd { first, next, exists, is_complete: complete, layout })
}

/// A page of one of the aggregates that were asked for by these keys.
pub fn read_many_page(message: v2::ReadManyReply, keys: &[Key]) -> Result<KeyedPage, BadField> {
    let v2::ReadManyReply { index, events, end } = message;
    let key = usize::try_from(index).ok().and_then(|index| keys.get(index));
    let key = key.ok_or_else(|| BadField::new("index", format!("is {index} of {} keys", keys.len())))?;
    Ok(KeyedPage { key: key.clone(), page: page(v2::ReadReply { events, end })? })
}

/// Where an aggregate stands.
pub fn head(message: v2::HeadReply) -> Result<Option<Head>, BadField> {
    let v2::HeadReply {
        exists,
        next_order,
        partition: number,
        offset: at,
        timestamp_ms,
        split_over,
        by_order_headers,
        first_order,
    } = message;
    if !exists {
        return Ok(None);
    }
    Ok(Some(Head {
        first: Order(first_order),
        next: Order(next_order),
        partition: partition(number)?,
        offset: offset("offset", at)?,
        timestamp: timestamp_ms.map(TimestampMs),
        layout: layout(split_over, by_order_headers)?,
    }))
}

/// A page of keys.
pub fn key_list(message: v2::ListKeysReply) -> Result<KeyList, BadField> {
    let v2::ListKeysReply { keys, more } = message;
    let listed = |(index, message): (usize, v2::ListedKey)| {
        let v2::ListedKey { key: bytes, next_order, partitions: numbers } = message;
        let turned = key(bytes).and_then(|key| Ok((key, partitions("partitions", numbers)?)));
        let (key, partitions) = turned.map_err(|bad| bad.within(format_args!("keys[{index}]")))?;
        Ok(ListedKey { key, next: Order(next_order), partitions })
    };
    Ok(KeyList { keys: keys.into_iter().enumerate().map(listed).collect::<Result<_, BadField>>()?, more })
}

/// What comes of following; `None` for what only a newer server says.
pub fn follow_item(message: v2::FollowReply) -> Result<Option<FollowItem>, BadField> {
    use v2::follow_reply::Item;
    Ok(Some(match message.item {
        Some(Item::Events(v2::FollowedEvents { events })) => {
            let turned = |(index, message): (usize, v2::FollowedEvent)| {
                let v2::FollowedEvent { key: bytes, event: message } = message;
                let message = message.ok_or_else(|| BadField::new("event", "is not set"));
                let turned = message.and_then(|message| Ok((key(bytes)?, event(message)?)));
                let (key, event) = turned.map_err(|bad| bad.within(format_args!("events[{index}]")))?;
                Ok(FollowedEvent { key, event })
            };
            FollowItem::Events(events.into_iter().enumerate().map(turned).collect::<Result<_, BadField>>()?)
        }
        Some(Item::CaughtUp(true)) => FollowItem::CaughtUp,
        Some(Item::FellBehind(true)) => FollowItem::FellBehind,
        Some(Item::Positions(at)) => FollowItem::Positions(positions(at)?),
        Some(Item::CaughtUp(false) | Item::FellBehind(false)) | None => return Ok(None),
    }))
}

/// What an instance is, and how it is.
pub fn status(message: v2::StatusReply) -> Result<Status, BadField> {
    let unknown = || bkes_api::Failure::new(bkes_api::Reason::CatchingUp, "the server does not say why");
    let unready = match (message.ready, message.unready) {
        (true, _) => None,
        (false, Some(failure)) => Some(statuses::from_message(failure)),
        (false, None) => Some(unknown()),
    };
    let partition = |(index, message)| {
        partition_status(message).map_err(|bad| bad.within(format_args!("partitions[{index}]")))
    };
    Ok(Status {
        build: Build { name: message.program, version: message.version },
        cluster: message.cluster,
        topic: message.topic,
        topic_id: TopicId::new(&message.topic_id),
        unready,
        partitions: message.partitions.into_iter().enumerate().map(partition).collect::<Result<_, _>>()?,
        keys: message.keys,
        store_bytes: message.store_bytes,
        appended: message.appended,
        conflicts: message.conflicts,
        unknown: message.unknown,
    })
}

fn partition_status(message: v2::PartitionStatus) -> Result<PartitionStatus, BadField> {
    use v2::partition_status::State;
    let position = |field: &str, offset: i64| fit(field, offset).map(Position);
    let state = match State::try_from(message.state) {
        Ok(State::CatchingUp) => PartitionState::CatchingUp,
        Ok(State::Ready) => PartitionState::Ready,
        Ok(State::Stalled) => PartitionState::Stalled,
        Ok(State::Cut) => PartitionState::Cut,
        Ok(State::Degraded) => PartitionState::Degraded { reason: message.reason },
        Ok(State::Unspecified) | Err(_) => {
            let reason = format!("a newer server calls it state {}: {}", message.state, message.reason);
            PartitionState::Degraded { reason }
        }
    };
    Ok(PartitionStatus {
        partition: partition(message.partition)?,
        state,
        applied: position("applied", message.applied)?,
        stored: position("stored", message.stored)?,
        target: position("target", message.target)?,
        high: position("high_watermark", message.high_watermark)?,
        lag: message.lag,
        counters: Counters {
            events: message.events,
            void: message.void,
            foreign: message.foreign,
            forwarded: message.forwarded,
            split: message.split,
            skipped: message.skipped,
        },
    })
}
