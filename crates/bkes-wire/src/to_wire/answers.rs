//! Answers, as servers make them. A number that does not fit the wire is an error of the server's.

use super::nouns::{header, layout, partition, partitions, positions};
use crate::bad_field::fit;
use crate::{BadField, status as statuses, v2};
use bkes_api::{
    AppendFailure, Appended, Conflict, Event, Expected, FollowItem, FollowedEvent, Head, KeyList, ListedKey,
    Order, Origin, Page, PageEnd, PartitionState, PartitionStatus, Status, TaggedAnswer,
};

/// Where an append is stored.
pub fn stored(appended: &Appended) -> Result<v2::Stored, BadField> {
    Ok(v2::Stored {
        first_order: appended.first.0,
        last_order: appended.last.0,
        partition: partition(appended.partition)?,
        first_offset: fit("first_offset", appended.first_offset.0)?,
        last_offset: fit("last_offset", appended.last_offset.0)?,
        timestamp_ms: appended.timestamp.map(|time| time.0),
        by_earlier_try: appended.by_earlier_try,
        topic_id: appended.topic.as_str().to_owned(),
    })
}

/// The reply to an append that is stored.
pub fn appended(appended: &Appended) -> Result<v2::AppendReply, BadField> {
    use v2::append_reply::Outcome;
    Ok(v2::AppendReply { outcome: Some(Outcome::Stored(stored(appended)?)) })
}

/// Where an aggregate is that was not where a writer believed.
pub fn conflict(conflict: Conflict) -> Result<v2::Conflict, BadField> {
    let Conflict { expected, current, missing, more } = conflict;
    Ok(v2::Conflict {
        expected_order: expected.order().unwrap_or(Order::FIRST).0,
        current_order: current.0,
        missing_events: missing.into_iter().map(event).collect::<Result<_, _>>()?,
        more,
    })
}

/// Whether a conflict goes as one: to who asked for what is missing. [`Expected::At`] the first order is left to a status, which can
/// tell it from an aggregate that was to begin.
fn is_told(conflict: &Conflict, missing_asked: bool) -> bool {
    missing_asked && conflict.expected != Expected::At(Order::FIRST)
}

/// The reply to an append that failed: a conflict for who asked for the events that are missing. Everything else is a status.
pub fn failed(failure: AppendFailure, missing_asked: bool) -> Result<v2::AppendReply, AppendFailure> {
    use v2::append_reply::Outcome;
    match failure {
        AppendFailure::Conflict(told) if is_told(&told, missing_asked) => match conflict((*told).clone()) {
            Ok(conflict) => Ok(v2::AppendReply { outcome: Some(Outcome::Conflict(conflict)) }),
            Err(_) => Err(AppendFailure::Conflict(told)),
        },
        failure => Err(failure),
    }
}

/// The answer to an append of a stream.
pub fn tagged_answer(tagged: TaggedAnswer, missing_asked: bool) -> v2::TaggedAnswer {
    use v2::tagged_answer::Outcome;
    let TaggedAnswer { tag, answer } = tagged;
    let failure = |failure: &AppendFailure| Outcome::Failure(statuses::append_to_message(failure));
    let outcome = match answer {
        Ok(appended) => match stored(&appended) {
            Ok(stored) => Outcome::Stored(stored),
            Err(bad) => failure(&AppendFailure::Unknown { id: None, failure: bad.in_answer() }),
        },
        Err(error) => match failed(error, missing_asked) {
            Ok(v2::AppendReply { outcome: Some(v2::append_reply::Outcome::Conflict(conflict)) }) => {
                Outcome::Conflict(conflict)
            }
            Ok(_) => unreachable!("a failed append is a conflict or a failure"),
            Err(error) => failure(&error),
        },
    };
    v2::TaggedAnswer { tag, outcome: Some(outcome) }
}

/// An event.
pub fn event(event: Event) -> Result<v2::Event, BadField> {
    let Event { order, partition: of, offset, timestamp, value, headers, origin } = event;
    let (foreign, batch, append_id) = match origin {
        Origin::Foreign => (true, None, None),
        Origin::Bkes { batch, append_id } => (false, batch, append_id),
    };
    Ok(v2::Event {
        order: order.0,
        partition: partition(of)?,
        offset: fit("offset", offset.0)?,
        timestamp_ms: timestamp.map(|time| time.0),
        value,
        headers: headers.into_iter().map(header).collect(),
        foreign,
        batch_index: batch.map_or(0, |place| place.i),
        batch_count: batch.map_or(0, |place| place.count),
        append_id: append_id.map(|id| id.bytes().clone()).unwrap_or_default(),
    })
}

/// A page of an aggregate.
pub fn page(page: Page) -> Result<v2::ReadReply, BadField> {
    let Page { events, end } = page;
    let events = events.into_iter().map(event).collect::<Result<_, _>>()?;
    Ok(v2::ReadReply { events, end: end.map(page_end).transpose()? })
}

fn page_end(end: PageEnd) -> Result<v2::ReadEnd, BadField> {
    let PageEnd { first, next, exists, is_complete, layout: lies } = end;
    let (split_over, by_order_headers) = layout(&lies)?;
    let (first_order, next_order, complete) = (first.0, next.0, is_complete);
    Ok(v2::ReadEnd { exists, next_order, complete, split_over, by_order_headers, first_order })
}

/// Where an aggregate stands.
pub fn head(head: Option<Head>) -> Result<v2::HeadReply, BadField> {
    let Some(Head { first, next, partition: of, offset, timestamp, layout: lies }) = head else {
        return Ok(v2::HeadReply::default());
    };
    let (split_over, by_order_headers) = layout(&lies)?;
    Ok(v2::HeadReply {
        exists: true,
        next_order: next.0,
        partition: partition(of)?,
        offset: fit("offset", offset.0)?,
        timestamp_ms: timestamp.map(|time| time.0),
        split_over,
        by_order_headers,
        first_order: first.0,
    })
}

/// A page of keys.
pub fn key_list(list: KeyList) -> Result<v2::ListKeysReply, BadField> {
    let KeyList { keys, more } = list;
    let listed = |ListedKey { key, next, partitions: over }: ListedKey| {
        let partitions = partitions(&over)?;
        Ok(v2::ListedKey { key: key.bytes().clone(), next_order: next.0, partitions })
    };
    Ok(v2::ListKeysReply { keys: keys.into_iter().map(listed).collect::<Result<_, BadField>>()?, more })
}

/// What comes of following.
pub fn follow_item(item: FollowItem) -> Result<v2::FollowReply, BadField> {
    use v2::follow_reply::Item;
    let item = match item {
        FollowItem::Events(events) => {
            let followed = |FollowedEvent { key, event: of }: FollowedEvent| {
                Ok(v2::FollowedEvent { key: key.bytes().clone(), event: Some(event(of)?) })
            };
            let events = events.into_iter().map(followed).collect::<Result<_, BadField>>()?;
            Item::Events(v2::FollowedEvents { events })
        }
        FollowItem::CaughtUp => Item::CaughtUp(true),
        FollowItem::FellBehind => Item::FellBehind(true),
        FollowItem::Positions(at) => Item::Positions(positions(&at)?),
    };
    Ok(v2::FollowReply { item: Some(item) })
}

/// What an instance is, and how it is.
pub fn status(status: Status) -> Result<v2::StatusReply, BadField> {
    Ok(v2::StatusReply {
        program: status.build.name,
        version: status.build.version,
        cluster: status.cluster,
        topic: status.topic,
        topic_id: status.topic_id.as_str().to_owned(),
        ready: status.unready.is_none(),
        unready: status.unready.as_ref().map(statuses::to_message),
        partitions: status.partitions.into_iter().map(partition_status).collect::<Result<_, _>>()?,
        keys: status.keys,
        store_bytes: status.store_bytes,
        appended: status.appended,
        conflicts: status.conflicts,
        unknown: status.unknown,
    })
}

fn partition_status(status: PartitionStatus) -> Result<v2::PartitionStatus, BadField> {
    use v2::partition_status::State;
    let (state, reason) = match status.state {
        PartitionState::CatchingUp => (State::CatchingUp, String::new()),
        PartitionState::Ready => (State::Ready, String::new()),
        PartitionState::Stalled => (State::Stalled, String::new()),
        PartitionState::Cut => (State::Cut, String::new()),
        PartitionState::Degraded { reason } => (State::Degraded, reason),
    };
    Ok(v2::PartitionStatus {
        partition: partition(status.partition)?,
        state: state.into(),
        reason,
        applied: fit("applied", status.applied.0)?,
        stored: fit("stored", status.stored.0)?,
        target: fit("target", status.target.0)?,
        high_watermark: fit("high_watermark", status.high.0)?,
        lag: status.lag,
        events: status.counters.events,
        void: status.counters.void,
        foreign: status.counters.foreign,
        forwarded: status.counters.forwarded,
        split: status.counters.split,
        skipped: status.counters.skipped,
    })
}
