//! The second contract in the checker's words: what `bkes-client` answers, turned.

use crate::instance::{Instance, Kind};
use crate::limits::{ANSWER_MAX, APPEND_MAX};
use bkes_api::{
    AppendFailure, Appended, AsOf, Direction, EventStore, Failure, Freshness, Positions, Read, Reason,
    RetryPolicy, TopicId,
};
use bkes_check::{AppendOutcome, Event, Fresh, ReadCall, ReadOutcome, View};
use bkes_client::{Client, ClientOptions};
use bkes_core::append::ErrorClass;
use bkes_core::{Key, Order, TimestampMs};
use std::time::Duration;
use tokio_stream::StreamExt;

/// Whether an instance speaks the second contract.
pub fn speaks(instance: &Instance) -> bool {
    instance.start.kind == Kind::Server
}

/// A client of one instance that tries everything once.
pub fn once(instance: &Instance) -> anyhow::Result<Client> {
    connect(&[instance], RetryPolicy::never())
}

/// A client of all these instances that tries again by itself.
pub fn again(instances: &[&Instance]) -> anyhow::Result<Client> {
    connect(instances, RetryPolicy::default())
}

fn connect(instances: &[&Instance], retry: RetryPolicy) -> anyhow::Result<Client> {
    let addresses: Vec<String> =
        instances.iter().map(|instance| format!("http://{}", instance.proxy.address())).collect();
    let addresses: Vec<&str> = addresses.iter().map(String::as_str).collect();
    let options = ClientOptions {
        connect_timeout: ANSWER_MAX / 2,
        append_timeout: APPEND_MAX,
        read_timeout: ANSWER_MAX,
        keepalive_interval: Duration::from_secs(2),
        keepalive_timeout: Duration::from_secs(2),
        retry,
        ..ClientOptions::default()
    };
    Ok(Client::connect_to(&addresses, options)?)
}

/// What one try came to.
pub fn outcome_of_try(answer: &Result<Appended, AppendFailure>) -> AppendOutcome {
    match answer {
        Err(AppendFailure::Unknown { failure, .. }) if failure.reason == Reason::AppendIdWindow => {
            AppendOutcome::IdWindow
        }
        other => outcome(other),
    }
}

/// What an append came to with all its tries: one that was refused for its window may have been sent before.
pub fn outcome(answer: &Result<Appended, AppendFailure>) -> AppendOutcome {
    let failure = match answer {
        Ok(appended) => {
            let Appended { partition, last_offset: offset, first, .. } = *appended;
            return AppendOutcome::Acknowledged { partition, offset, first };
        }
        Err(failure) => failure,
    };
    match failure {
        AppendFailure::Conflict(conflict) => AppendOutcome::Rejected { current: Some(conflict.current) },
        AppendFailure::IdUsed { first, partition, offset, .. } => {
            AppendOutcome::IdUsed { first: *first, partition: *partition, offset: *offset }
        }
        AppendFailure::IdReused { first, .. } => AppendOutcome::IdReused { first: *first },
        AppendFailure::NotStored(failure) => match (failure.reason, failure.class()) {
            (Reason::NoSuchAggregate, _) => AppendOutcome::Rejected { current: Some(Order::FIRST) },
            (_, ErrorClass::Rejected) => AppendOutcome::Rejected { current: None },
            (_, ErrorClass::Unavailable) => AppendOutcome::Unavailable,
            (_, ErrorClass::Unknown) => AppendOutcome::Unknown,
        },
        AppendFailure::Unknown { failure, .. } if failure.reason == Reason::AnswerLost => {
            AppendOutcome::Unanswered
        }
        AppendFailure::Unknown { .. } => AppendOutcome::Unknown,
    }
}

/// Reads all pages: a read as the checker knows it, without its answer, is asked for.
pub async fn read(store: &Client, key: &Key, topic: Option<&TopicId>, call: &ReadCall) -> ReadOutcome {
    let asked = tokio::time::timeout(ANSWER_MAX * 2, pages(store, request(key, topic, call)));
    match asked.await {
        Ok(Ok(outcome)) => outcome,
        Ok(Err(failure)) => refusal(&failure),
        Err(_) => ReadOutcome::Unanswered,
    }
}

fn request(key: &Key, topic: Option<&TopicId>, call: &ReadCall) -> Read {
    let freshness = match &call.fresh {
        Fresh::Local => Freshness::Local,
        Fresh::AtLeast(of) => Freshness::AtLeast(Positions { topic: topic.cloned(), of: of.clone() }),
        Fresh::Latest => Freshness::Latest,
    };
    let (direction, as_of) = match call.view {
        View::Now => (Direction::Forwards, None),
        View::Backwards => (Direction::Backwards, None),
        View::AsOfOffset(_, offset) => (Direction::Forwards, Some(AsOf::Offset(offset))),
        View::AsOfTime(ms) => (Direction::Forwards, Some(AsOf::Time(TimestampMs(ms)))),
    };
    let from = (call.view == View::Now).then_some(call.from);
    Read {
        direction,
        from,
        limit: call.limit.unwrap_or(u64::MAX),
        as_of,
        freshness,
        ..Read::all(key.clone())
    }
}

async fn pages(store: &Client, read: Read) -> Result<ReadOutcome, Failure> {
    let mut pages = store.read(read).await?;
    let mut events = Vec::new();
    while let Some(page) = pages.next().await {
        let page = page?;
        events.extend(page.events.iter().map(event));
        if let Some(end) = page.end {
            return Ok(match end.exists {
                true => ReadOutcome::Events { events, more: !end.is_complete },
                false => ReadOutcome::NoSuchAggregate,
            });
        }
    }
    Ok(ReadOutcome::Unanswered)
}

/// Why a read has no answer.
pub fn refusal(failure: &Failure) -> ReadOutcome {
    match failure.reason {
        Reason::OutOfRange => ReadOutcome::OutOfRange,
        _ => ReadOutcome::Unavailable,
    }
}

/// An event as the checker knows it.
pub fn event(event: &bkes_api::Event) -> Event {
    Event {
        order: event.order,
        partition: event.partition,
        offset: event.offset,
        timestamp_ms: event.timestamp.map(|timestamp| timestamp.0),
        value: event.value.clone().unwrap_or_default(),
        tombstone: event.value.is_none(),
    }
}
