//! The three calls of the contract: a request in, the engine asked, a reply out. Domain outcomes travel inside the reply.

use crate::api::bkes_server::{Bkes, BkesServer};
use crate::api::{
    AddReply, AddRequest, RetrieveReply, RetrieveRequest, StartReply, StartRequest, StoreSuccess,
    StoredRecords, add_reply, retrieve_reply, start_reply,
};
use crate::errors::Failure;
use crate::gate::Gate;
use crate::limits::{
    FOUND_EVENT_BYTES, FOUND_PER_REPLY, RECORD_BYTES_MIN, REPLY_ENVELOPE_BYTES, SMALL_RECORDS, ServeOptions,
    WORKING_REQUEST_BYTES,
};
use crate::peers::Peer;
use crate::requests::Retrieval;
use crate::shares::Hold;
use crate::{answers, requests};
use bkes_core::Order;
use bkes_engine::{AppendRequest, EngineHandle, EventContent, Freshness, Layout, ReadRequest};
use prost::Message;
use std::sync::Arc;
use std::time::Duration;
use tonic::{Extensions, Request, Response, Status};

/// The calls in front of one gate.
pub struct Service {
    gate: Gate,
    options: ServeOptions,
}

impl Service {
    pub fn new(gate: Gate, options: ServeOptions) -> Service {
        Service { gate, options }
    }

    /// What makes the service of each call, with the limits of that moment.
    pub fn for_each_call(self) -> impl Fn() -> BkesServer<Service> + Clone {
        let service = Arc::new(self);
        move || {
            let Service { gate, options } = &*service;
            BkesServer::from_arc(Arc::clone(&service))
                .max_decoding_message_size(gate.request_bytes_max(options.request_bytes_max))
                .max_encoding_message_size(options.reply_bytes_max)
        }
    }

    /// Takes the room of so many bytes. One request that exceeds the whole bound takes all of it.
    fn weigh<'a>(&self, peer: &'a Peer, bytes: usize) -> Result<Hold<'a>, Failure> {
        let bytes_max = self.options.working_bytes_max;
        let bytes = bytes.saturating_add(WORKING_REQUEST_BYTES);
        peer.working_bytes().hold(bytes).ok_or(Failure::TooManyBytes { bytes_max })
    }

    fn enter<'a>(&self, peer: &'a Peer) -> Result<(Hold<'a>, &EngineHandle), Failure> {
        if self.options.standby {
            return Err(Failure::Standby);
        }
        let requests_max = self.options.requests_max;
        let place = peer.working().hold(1).ok_or(Failure::TooManyRequests { requests_max })?;
        Ok((place, self.gate.engine().ok_or(Failure::NotOpen)?))
    }

    /// Appends; what does not fit waits for room until little is left of the caller's time.
    async fn append(
        &self,
        peer: &Peer,
        wait: Duration,
        request: Result<AppendRequest, Failure>,
    ) -> Result<StoreSuccess, Failure> {
        let request = request?;
        let (_place, engine) = self.enter(peer)?;
        let events: usize = request.events.iter().map(EventContent::bytes).sum();
        let _room = self.weigh(peer, request.key.bytes().len() + events)?;
        let appended = engine.append_within(request, wait).await.map_err(Failure::Append)?;
        answers::stored(&appended)
    }

    /// The reply, and how many bytes it takes.
    async fn read(&self, peer: &Peer, request: RetrieveRequest) -> Result<(StoredRecords, usize), Failure> {
        let Retrieval { key, page, include_pending } = requests::retrieve(request)?;
        let (_place, engine) = self.enter(peer)?;
        let limit = self.options.reply_bytes_max;
        let from = page.map_or(Order::FIRST, |page| page.from);
        let whole = page.is_none();
        let events_max = page.map_or(usize::MAX, |page| page.events_max).min(records_max(limit));
        let (freshness, bytes_max) = (Freshness::Local, limit.saturating_mul(FOUND_PER_REPLY));
        let read = ReadRequest { key, from, events_max, bytes_max, whole, include_pending, freshness };
        let found = engine.read(read).await.map_err(Failure::Read)?;
        if let (true, Layout::PartByPart(partitions)) = (whole, &found.layout) {
            return Err(Failure::Split { partitions: partitions.clone() });
        }
        if whole && found.more && found.events.is_empty() {
            let (bytes, bytes_max) = (limit as u64 + 1, limit as u64);
            return Err(Failure::ReplyTooLarge { bytes, bytes_max });
        }
        let weight = found.events.iter().map(|event| event.content_bytes() + FOUND_EVENT_BYTES).sum();
        let _room = self.weigh(peer, weight)?;
        let mut bytes = REPLY_ENVELOPE_BYTES;
        let mut records = Vec::with_capacity(found.events.len());
        let (mut more, mut too_large) = (found.more, None);
        let first = found.events.first().map_or(from, |event| event.order);
        for event in found.events {
            let record = answers::record(event)?;
            bytes += in_reply(record.encoded_len());
            if bytes > limit {
                too_large = Some(bytes);
                more = true;
                break;
            }
            records.push(record);
        }
        if (whole && more) || (records.is_empty() && too_large.is_some()) {
            let bytes = too_large.unwrap_or(bytes) as u64;
            return Err(Failure::ReplyTooLarge { bytes, bytes_max: limit as u64 });
        }
        if !more {
            for (index, content) in found.pending.into_iter().enumerate() {
                let record = answers::pending(content, Order(found.next.0 + index as u64));
                bytes += in_reply(record.encoded_len());
                if bytes > limit && whole {
                    return Err(Failure::ReplyTooLarge { bytes: bytes as u64, bytes_max: limit as u64 });
                }
                if bytes > limit {
                    break;
                }
                records.push(record);
            }
        }
        let start = if found.layout.is_split() { from } else { first };
        let continue_from = more.then(|| start.0 + records.len() as u64);
        let next_order = (!more).then_some(found.next.0);
        let split = found.layout.is_split();
        Ok((StoredRecords { records, more, next_order, continue_from, split }, bytes))
    }
}

/// The connection that a request came on.
fn peer(extensions: &Extensions) -> &Peer {
    extensions.get::<Peer>().expect("every request carries its connection")
}

/// Most records that a reply of so many bytes can hold.
fn records_max(bytes: usize) -> usize {
    SMALL_RECORDS + bytes / RECORD_BYTES_MIN
}

/// What a record of this many bytes takes in a reply.
fn in_reply(bytes: usize) -> usize {
    1 + prost::length_delimiter_len(bytes) + bytes
}

#[tonic::async_trait]
impl Bkes for Service {
    async fn start(&self, request: Request<StartRequest>) -> Result<Response<StartReply>, Status> {
        use start_reply::Reply;
        let (metadata, extensions, message) = request.into_parts();
        let wait = requests::room_wait(&metadata);
        let reply = match self.append(peer(&extensions), wait, requests::start(message)).await {
            Ok(success) => Reply::Success(success),
            Err(failure) => Reply::Error(failure.to_wire()),
        };
        Ok(Response::new(StartReply { reply: Some(reply) }))
    }

    async fn add(&self, request: Request<AddRequest>) -> Result<Response<AddReply>, Status> {
        use add_reply::Reply;
        let (metadata, extensions, message) = request.into_parts();
        let wait = requests::room_wait(&metadata);
        let reply = match self.append(peer(&extensions), wait, requests::add(message)).await {
            Ok(success) => Reply::Success(success),
            Err(failure) => Reply::Error(failure.to_wire()),
        };
        Ok(Response::new(AddReply { reply: Some(reply) }))
    }

    async fn retrieve(&self, request: Request<RetrieveRequest>) -> Result<Response<RetrieveReply>, Status> {
        use retrieve_reply::Reply;
        let (_, extensions, message) = request.into_parts();
        let peer = peer(&extensions);
        let read = self.read(peer, message).await.and_then(|(records, bytes)| {
            let taken = peer.room().take(bytes).ok_or(Failure::UnreadReplies { bytes: bytes as u64 })?;
            Ok((records, taken))
        });
        let (reply, taken) = match read {
            Ok((records, taken)) => (Reply::Success(records), Some(taken)),
            Err(failure) => (Reply::Error(failure.to_wire()), None),
        };
        let mut response = Response::new(RetrieveReply { reply: Some(reply) });
        if let Some(taken) = taken {
            taken.travel_with(&mut response);
        }
        Ok(response)
    }
}
