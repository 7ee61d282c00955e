//! Loops by the second contract: appends on one stream, reads in pages, and heads.

use crate::load::{Achieved, Chain, Kind, Mix, closed_loop, warm};
use crate::sides::{OVERLOADED_REST, VALUE_BYTES, channels, read_key};
use anyhow::{Context, bail};
use bkes_api::{Append, AppendFailure, EventStore, Key, Order, Reason, TaggedAnswer, TaggedAppend};
use bkes_client::Client;
use bkes_grpc::Channel;
use bkes_wire::v2;
use bkes_wire::v2::event_store_client::EventStoreClient;
use bytes::Bytes;
use std::sync::Arc;
use std::sync::atomic::AtomicU64;
use std::time::{Duration, Instant};
use tokio::sync::mpsc;
use tokio_stream::StreamExt;
use tokio_stream::wrappers::ReceiverStream;

/// One of the appends that are in flight: when it is answered, the next one of its chain is made.
struct Lane {
    chain: Chain,
    sent: Instant,
    append: Append,
}

impl Lane {
    fn new(mut chain: Chain, value: &Bytes) -> anyhow::Result<Lane> {
        let append = next(&mut chain, value)?;
        Ok(Lane { chain, sent: Instant::now(), append })
    }

    fn tagged(&self, tag: u64, stands_alone: bool) -> TaggedAppend {
        TaggedAppend { tag, append: self.append.clone(), stands_alone }
    }
}

fn next(chain: &mut Chain, value: &Bytes) -> anyhow::Result<Append> {
    let (key, order) = chain.next(1);
    Ok(Append::at(Key::new(key).context("a key")?, Order(order)).event(value.clone()))
}

/// Appends on one stream, so many in flight at all times.
pub async fn stream_loop(address: &str, in_flight: usize, span: Duration) -> anyhow::Result<Mix> {
    let (keys, name) = (Arc::new(AtomicU64::new(0)), format!("{:08x}", fastrand::u32(..)));
    let value = Bytes::from(vec![b'x'; VALUE_BYTES]);
    let client = Client::connect(&format!("http://{address}"))?;
    // Each lane has one append under way, so that there is always room.
    let (feed, appends) = mpsc::channel(in_flight);
    let mut answers = client.append_stream(Box::pin(ReceiverStream::new(appends))).await?;
    let from = Instant::now() + warm(span);
    let until = from + span;
    let mut lanes = Vec::with_capacity(in_flight);
    for tag in 0..in_flight {
        let lane = Lane::new(Chain::new(&name, &keys), &value)?;
        feed.send(lane.tagged(tag as u64, false)).await?;
        lanes.push(lane);
    }
    let (mut feed, mut times, mut left) = (Some(feed), Vec::new(), in_flight);
    let (mut answered, mut refused) = (0, 0);
    while let Some(TaggedAnswer { tag, answer }) = answers.next().await {
        let lane = usize::try_from(tag).ok().and_then(|tag| lanes.get_mut(tag)).context("a tag of ours")?;
        let sender = feed.as_ref().context("an answer after all of them")?;
        match answer {
            Ok(_) => {}
            Err(AppendFailure::NotStored(failure)) if failure.reason == Reason::Overloaded => {
                refused += 1;
                let (again, sender) = (lane.tagged(tag, true), sender.clone());
                tokio::spawn(async move {
                    tokio::time::sleep(OVERLOADED_REST).await;
                    // Where nobody takes it the loop has failed already.
                    let _ = sender.send(again).await;
                });
                continue;
            }
            Err(failure) => return Err(failure.into()),
        }
        answered += 1;
        if lane.sent >= from && lane.sent < until {
            times.push(lane.sent.elapsed().as_secs_f32());
        }
        lane.sent = Instant::now();
        if lane.sent < until {
            lane.append = next(&mut lane.chain, &value)?;
            sender.try_send(lane.tagged(tag, false)).context("room for one of each lane")?;
        } else {
            left -= 1;
            if left == 0 {
                feed = None;
            }
        }
    }
    anyhow::ensure!(left == 0, "the stream ended before {left} answers");
    Ok(Mix { appends: Achieved::of(times, span), answered, refused, ..Mix::default() })
}

/// A loop of reads of aggregates of so many events.
pub async fn pages_loop(address: &str, callers: usize, span: Duration, events: usize) -> anyhow::Result<Mix> {
    let channels = channels(address, callers).await?;
    let mut turn = 0;
    closed_loop(callers, span, || {
        turn += 1;
        let client = EventStoreClient::new(channels[turn % channels.len()].clone());
        let mut number = turn as u64 * 7;
        move || {
            number += 1;
            let (client, key) = (client.clone(), read_key(events, number));
            async move { read_to_end(client, key, events as u64).await.map(|()| (Kind::Read, 0)) }
        }
    })
    .await
}

/// Reads an aggregate to its end; anything but so many events is an error.
pub async fn read_to_end(
    mut client: EventStoreClient<Channel>,
    key: String,
    events: u64,
) -> anyhow::Result<()> {
    let request = v2::ReadRequest { key: key.into(), ..v2::ReadRequest::default() };
    let mut pages = client.read(request).await?.into_inner();
    let (mut found, mut has_end) = (0, false);
    while let Some(v2::ReadReply { events, end }) = pages.message().await? {
        found += events.len() as u64;
        has_end |= end.is_some();
    }
    anyhow::ensure!(found == events && has_end, "{found} events of {events}");
    Ok(())
}

/// A loop of the question where aggregates of one event stand.
pub async fn head_loop(address: &str, callers: usize, span: Duration) -> anyhow::Result<Mix> {
    let channels = channels(address, callers).await?;
    let mut turn = 0;
    closed_loop(callers, span, || {
        turn += 1;
        let client = EventStoreClient::new(channels[turn % channels.len()].clone());
        let mut number = turn as u64 * 7;
        move || {
            number += 1;
            let (mut client, key) = (client.clone(), read_key(1, number));
            async move {
                let request = v2::HeadRequest { key: key.into(), freshness: None };
                match client.head(request).await?.into_inner() {
                    v2::HeadReply { exists: true, next_order: 1, .. } => Ok((Kind::Read, 0)),
                    other => bail!("one event was expected: {other:?}"),
                }
            }
        }
    })
    .await
}
