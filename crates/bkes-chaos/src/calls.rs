//! Calls to instances, and the record of every one of them.

use crate::instance::{Instance, Kind};
use crate::limits::ANSWER_MAX;
use crate::worker;
use anyhow::Context;
use bkes_check::{
    AppendCall, AppendOutcome, Call, ClientId, Event, Expecting, Fresh, InstanceId, Operation, Premise,
    ReadCall, ReadOutcome, View,
};
use bkes_core::{Key, Offset, Order, Partition};
use bkes_grpc::Channel;
use bkes_grpc::api::bkes_client::BkesClient;
use bkes_grpc::api::error::{Outcome, Reason};
use bkes_grpc::api::{
    AddRequest, Error, Record, RetrieveRequest, StartRequest, StoreSuccess, add_reply, retrieve_reply,
    start_reply,
};
use bytes::Bytes;
use std::net::SocketAddr;
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};
use tokio::io::{AsyncBufReadExt, AsyncWriteExt, BufReader};
use tokio::net::TcpStream;
use tonic::{Code, Status};

/// A way to an instance; made anew when an answer does not come.
pub enum Line {
    /// Over gRPC.
    Grpc(SocketAddr, Option<BkesClient<Channel>>),
    /// By lines.
    Worker(SocketAddr, Option<BufReader<TcpStream>>),
}

impl Line {
    /// A way to this instance, through the proxy before it.
    pub fn to(instance: &Instance) -> Line {
        match instance.start.kind {
            Kind::Server => Line::Grpc(instance.proxy.address(), None),
            Kind::Worker => Line::Worker(instance.proxy.address(), None),
        }
    }

    /// Appends; more than one value only where there are batches.
    pub async fn append(&mut self, key: &Key, expected: Expecting, values: &[Bytes]) -> AppendOutcome {
        let asked = self.try_append(key, expected, values);
        let outcome = tokio::time::timeout(ANSWER_MAX, asked).await;
        outcome.ok().and_then(Result::ok).unwrap_or_else(|| {
            self.hang_up();
            AppendOutcome::Unanswered
        })
    }

    /// Reads accepted events.
    pub async fn read(&mut self, key: &Key, from: Order, limit: Option<u64>) -> ReadOutcome {
        let asked = self.try_read(key, from, limit);
        let outcome = tokio::time::timeout(ANSWER_MAX, asked).await;
        outcome.ok().and_then(Result::ok).unwrap_or_else(|| {
            self.hang_up();
            ReadOutcome::Unanswered
        })
    }

    fn hang_up(&mut self) {
        match self {
            Line::Grpc(_, client) => *client = None,
            Line::Worker(_, stream) => *stream = None,
        }
    }

    async fn try_append(
        &mut self,
        key: &Key,
        expected: Expecting,
        values: &[Bytes],
    ) -> anyhow::Result<AppendOutcome> {
        if let Line::Worker(..) = self {
            return worker::append_reply(&self.ask(&worker::append_line(key, expected, values)?).await?);
        }
        let client = self.client()?;
        let [value] = values else { anyhow::bail!("the v1 contract has no batches") };
        let (key, value) = (key.bytes().clone(), value.clone());
        let answer = match expected {
            Expecting::New => {
                client.start(StartRequest { key, value }).await.map(|reply| match reply.into_inner().reply {
                    Some(start_reply::Reply::Success(success)) => stored(&success),
                    Some(start_reply::Reply::Error(error)) => refused(&error),
                    None => AppendOutcome::Unanswered,
                })
            }
            Expecting::At(order) => {
                let order = u32::try_from(order.0).context("orders of a test are small")?;
                let reply = client.add(AddRequest { key, value, order }).await;
                reply.map(|reply| match reply.into_inner().reply {
                    Some(add_reply::Reply::Success(success)) => stored(&success),
                    Some(add_reply::Reply::Error(error)) => refused(&error),
                    None => AppendOutcome::Unanswered,
                })
            }
            Expecting::Exists | Expecting::Any => {
                anyhow::bail!("the v1 contract has every append name its order")
            }
        };
        match answer {
            Ok(outcome) => Ok(outcome),
            Err(status) if is_refusal(&status) => Ok(AppendOutcome::Unavailable),
            Err(status) => Err(status.into()),
        }
    }

    async fn try_read(&mut self, key: &Key, from: Order, limit: Option<u64>) -> anyhow::Result<ReadOutcome> {
        if let Line::Worker(..) = self {
            return worker::read_reply(&self.ask(&worker::read_line(key, from, limit)).await?);
        }
        let client = self.client()?;
        let paged = from > Order::FIRST || limit.is_some();
        let request = RetrieveRequest {
            key: key.bytes().clone(),
            from_order: paged.then_some(from.0),
            limit: limit.and_then(|limit| u32::try_from(limit).ok()),
            include_pending: false,
        };
        let reply = match client.retrieve(request).await {
            Ok(reply) => reply.into_inner().reply.context("a reply says something")?,
            Err(status) if is_refusal(&status) => return Ok(ReadOutcome::Unavailable),
            Err(status) => return Err(status.into()),
        };
        Ok(match reply {
            retrieve_reply::Reply::Success(found) => {
                let events = found.records.into_iter().map(event).collect::<anyhow::Result<_>>()?;
                ReadOutcome::Events { events, more: found.more }
            }
            retrieve_reply::Reply::Error(error) if error.reason() == Reason::NoSuchAggregate => {
                ReadOutcome::NoSuchAggregate
            }
            retrieve_reply::Reply::Error(_) => ReadOutcome::Unavailable,
        })
    }

    fn client(&mut self) -> anyhow::Result<&mut BkesClient<Channel>> {
        let Line::Grpc(address, client) = self else { anyhow::bail!("not over gRPC") };
        if client.is_none() {
            let channel = Channel::from_shared(format!("http://{address}"))?.connect_timeout(ANSWER_MAX / 2);
            *client = Some(BkesClient::new(channel.connect_lazy()));
        }
        client.as_mut().context("it was just made")
    }

    async fn ask(&mut self, line: &str) -> anyhow::Result<String> {
        let Line::Worker(address, stream) = self else { anyhow::bail!("not by lines") };
        if stream.is_none() {
            *stream = Some(BufReader::new(TcpStream::connect(*address).await?));
        }
        let stream = stream.as_mut().context("it was just made")?;
        stream.get_mut().write_all(line.as_bytes()).await?;
        let mut reply = String::new();
        let read = stream.read_line(&mut reply).await?;
        anyhow::ensure!(read > 0 && reply.ends_with('\n'), "the connection ended");
        Ok(reply)
    }
}

/// Whether a status says that the request was not looked at.
fn is_refusal(status: &Status) -> bool {
    matches!(status.code(), Code::ResourceExhausted | Code::Unimplemented)
}

fn stored(success: &StoreSuccess) -> AppendOutcome {
    // Numbers that make no sense are kept as such: the checker finds them in no log.
    AppendOutcome::Acknowledged {
        partition: Partition(u32::try_from(success.partition).unwrap_or(u32::MAX)),
        offset: Offset(u64::try_from(success.offset).unwrap_or(u64::MAX)),
        first: Order(success.order.unwrap_or(u64::MAX)),
    }
}

fn refused(error: &Error) -> AppendOutcome {
    match error.outcome() {
        Outcome::Rejected if error.reason() == Reason::NoSuchAggregate => {
            AppendOutcome::Rejected { current: Some(Order::FIRST) }
        }
        Outcome::Rejected => AppendOutcome::Rejected { current: error.current_order.map(Order) },
        Outcome::Unavailable => AppendOutcome::Unavailable,
        Outcome::Unknown | Outcome::Unspecified => AppendOutcome::Unknown,
    }
}

fn event(record: Record) -> anyhow::Result<Event> {
    Ok(Event {
        order: Order(record.order.context("an order")?),
        partition: Partition(u32::try_from(record.partition)?),
        offset: Offset(u64::try_from(record.offset)?),
        timestamp_ms: (record.timestamp != -1).then_some(record.timestamp),
        value: record.value,
        tombstone: record.tombstone,
    })
}

/// Every call so far, and the clock that they are timed by.
pub struct Recorder {
    began: Instant,
    calls: Mutex<Vec<Call>>,
}

impl Default for Recorder {
    fn default() -> Self {
        Recorder { began: Instant::now(), calls: Mutex::default() }
    }
}

/// Who calls, whom, and over which connection.
pub struct Caller<'a> {
    pub client: ClientId,
    pub instance: InstanceId,
    pub line: &'a mut Line,
}

impl Recorder {
    /// Since the run began.
    pub fn elapsed(&self) -> Duration {
        self.began.elapsed()
    }

    /// The same as the number that calls are timed by.
    pub fn now(&self) -> u64 {
        u64::try_from(self.elapsed().as_nanos()).unwrap_or(u64::MAX)
    }

    /// Makes a call and keeps it.
    pub async fn append(
        &self,
        caller: Caller<'_>,
        key: &Key,
        premise: Premise,
        values: Vec<Bytes>,
    ) -> AppendOutcome {
        let Caller { client, instance, line } = caller;
        let expected = match premise.count {
            0 => Expecting::New,
            count => Expecting::At(Order(count)),
        };
        let begin = self.now();
        let outcome = line.append(key, expected, &values).await;
        let end = (outcome != AppendOutcome::Unanswered).then(|| self.now());
        let operation = Operation::Append(AppendCall { expected, values, premise, identity: None, outcome });
        self.keep(Call { client, instance, key: key.clone(), begin, end, operation });
        outcome
    }

    /// Makes a call and keeps it.
    pub async fn read(&self, caller: Caller<'_>, key: &Key, from: Order, limit: Option<u64>) -> ReadOutcome {
        let Caller { client, instance, line } = caller;
        let begin = self.now();
        let outcome = line.read(key, from, limit).await;
        let end = (outcome != ReadOutcome::Unanswered).then(|| self.now());
        let operation = Operation::Read(ReadCall {
            from,
            limit,
            view: View::Now,
            fresh: Fresh::Local,
            outcome: outcome.clone(),
        });
        self.keep(Call { client, instance, key: key.clone(), begin, end, operation });
        outcome
    }

    /// Keeps a call that was made elsewhere.
    pub fn keep(&self, call: Call) {
        self.calls.lock().unwrap_or_else(PoisonError::into_inner).push(call);
    }

    /// All calls; the record is empty afterwards.
    pub fn take(&self) -> Vec<Call> {
        std::mem::take(&mut self.calls.lock().unwrap_or_else(PoisonError::into_inner))
    }
}
