//! The calls of the second contract.

use super::append_stream::{Answers, leave_out_missing};
use super::follow::FollowFeed;
use super::handover::Messages;
use super::held::Place;
use super::pump::{Patience, pump};
use super::reads::{ReadFeed, ReadManyFeed};
use super::weight::weight;
use crate::gate::Gate;
use crate::inbound::HasUnread;
use crate::limits::{OVERLOADED_REST, READ_STOP_PATIENCE, STARTING_REST, ServeOptions, WAIT_MAX};
use crate::peers::Peer;
use crate::phase::{Phase, reaches};
use crate::requests::caller_timeout;
use bkes_api::{AppendFailure, EventStore as Store, Failure, Reason};
use bkes_wire::limits::APPEND_MESSAGE_BYTES_MAX;
use bkes_wire::v2::event_store_server::{EventStore, EventStoreServer};
use bkes_wire::{BadField, from_wire, status, to_wire, v2};
use prost::Message;
use std::sync::Arc;
use std::time::Duration;
use tonic::{Extensions, Request, Response, Status, Streaming};

/// The calls in front of one gate.
pub struct Service {
    gate: Gate,
    options: ServeOptions,
}

impl Service {
    pub fn new(gate: Gate, options: ServeOptions) -> Service {
        Service { gate, options }
    }

    /// What makes the service of each call, with the limit of that moment: the largest append passes. Replies have no limit of their own:
    /// pages are cut, and one event is as large as it is.
    pub fn for_each_call(self) -> impl Fn() -> EventStoreServer<Service> + Clone {
        let service = Arc::new(self);
        move || {
            let least = service.options.request_bytes_max.max(APPEND_MESSAGE_BYTES_MAX);
            EventStoreServer::from_arc(Arc::clone(&service))
                .max_decoding_message_size(service.gate.request_bytes_max(least))
        }
    }

    fn store(&self) -> Result<&Arc<dyn Store>, Failure> {
        let starting = || Failure::new(Reason::CatchingUp, "the server is starting").after(STARTING_REST);
        self.gate.store().ok_or_else(starting)
    }

    /// A place among the requests, and the store.
    fn enter(&self, peer: &Peer) -> Result<(Place, &Arc<dyn Store>), Failure> {
        self.enter_as(Place::of_request(peer))
    }

    /// A place among the streams, and the store.
    fn open(&self, peer: &Peer) -> Result<(Place, &Arc<dyn Store>), Failure> {
        self.enter_as(Place::of_stream(peer))
    }

    fn enter_as(&self, place: Option<Place>) -> Result<(Place, &Arc<dyn Store>), Failure> {
        if self.options.standby {
            return Err(standby());
        }
        let overloaded = || {
            let why = format!("{} calls of this kind are open already", self.options.requests_max);
            Failure::new(Reason::Overloaded, why).after(OVERLOADED_REST)
        };
        Ok((place.ok_or_else(overloaded)?, self.store()?))
    }

    async fn stored(
        &self,
        peer: &Peer,
        timeout: Option<Duration>,
        message: v2::AppendRequest,
    ) -> Result<v2::AppendReply, AppendFailure> {
        let not_stored = AppendFailure::NotStored;
        let (bytes, missing_asked) = (weight(&message), message.missing_events_max > 0);
        let (_place, store) = self.enter(peer).map_err(not_stored)?;
        let _room = peer.working_bytes().hold(bytes).ok_or_else(|| {
            let why = format!(
                "requests may hold {} bytes while they are worked on, and this one does not fit beside others",
                self.options.working_bytes_max
            );
            not_stored(Failure::new(Reason::Overloaded, why).after(OVERLOADED_REST))
        })?;
        let append = from_wire::append(message, timeout).map_err(|bad| not_stored(bad.in_request()))?;
        from_wire::check_append(&append).map_err(|bad| not_stored(bad.in_request()))?;
        let id = append.append_id().cloned();
        match store.append(append).await {
            Ok(appended) => to_wire::appended(&appended)
                .map_err(|bad| AppendFailure::Unknown { id, failure: bad.in_answer() }),
            Err(failure) => to_wire::failed(failure, missing_asked),
        }
    }

    /// Answers with a reply that takes room until it is taken.
    fn reply<M: Message>(&self, peer: &Peer, reply: M) -> Result<Response<M>, Status> {
        let bytes = reply.encoded_len();
        let taken = peer.room().take(bytes).ok_or_else(|| {
            let why = format!("too many replies are not taken yet to make one of {bytes} bytes");
            status::of(&Failure::new(Reason::Overloaded, why).after(OVERLOADED_REST))
        })?;
        let mut response = Response::new(reply);
        taken.travel_with(&mut response);
        Ok(response)
    }

    fn patience(&self, stop: Duration) -> Patience {
        Patience { reader: self.options.reader_patience, stop }
    }
}

fn standby() -> Failure {
    Failure::new(
        Reason::Standby,
        "this instance is a standby: it keeps its store current and serves no calls",
    )
}

/// The connection that a request came on.
fn peer(extensions: &Extensions) -> Peer {
    extensions.get::<Peer>().expect("every request carries its connection").clone()
}

fn refused(bad: BadField) -> Status {
    status::of(&bad.in_request())
}

fn failed(failure: Failure) -> Status {
    status::of(&failure)
}

fn misfit(bad: BadField) -> Status {
    status::of(&bad.in_answer())
}

#[tonic::async_trait]
impl EventStore for Service {
    type AppendStreamStream = Answers;
    type ReadStream = Messages<v2::ReadReply>;
    type ReadManyStream = Messages<v2::ReadManyReply>;
    type FollowStream = Messages<v2::FollowReply>;

    async fn append(&self, request: Request<v2::AppendRequest>) -> Result<Response<v2::AppendReply>, Status> {
        let (metadata, extensions, message) = request.into_parts();
        let peer = peer(&extensions);
        let stored = self.stored(&peer, caller_timeout(&metadata), message).await;
        let mut reply = stored.map_err(|failure| status::of_append(&failure))?;
        // A conflict is an answer that must not be lost for want of room: what it brings along can be read.
        let taken = peer.room().take(reply.encoded_len());
        if let (None, Some(v2::append_reply::Outcome::Conflict(conflict))) = (&taken, &mut reply.outcome) {
            leave_out_missing(conflict);
        }
        let mut response = Response::new(reply);
        if let Some(taken) = taken {
            taken.travel_with(&mut response);
        }
        Ok(response)
    }

    async fn append_stream(
        &self,
        request: Request<Streaming<v2::AppendStreamRequest>>,
    ) -> Result<Response<Answers>, Status> {
        let (metadata, extensions, messages) = request.into_parts();
        let peer = peer(&extensions);
        let (place, store) = self.open(&peer).map_err(failed)?;
        let (intake, unanswered) = Answers::begin(messages, &peer, caller_timeout(&metadata));
        let answers = store.append_stream(Box::pin(intake)).await.map_err(failed)?;
        let patience = self.options.reader_patience;
        Ok(Response::new(Answers::new(unanswered, answers, peer, place, patience)))
    }

    async fn read(&self, request: Request<v2::ReadRequest>) -> Result<Response<Self::ReadStream>, Status> {
        let (_, extensions, message) = request.into_parts();
        let peer = peer(&extensions);
        let (place, store) = self.open(&peer).map_err(failed)?;
        let read = from_wire::read(message).map_err(refused)?;
        let pages = store.read(read).await.map_err(failed)?;
        let patience = self.patience(READ_STOP_PATIENCE);
        Ok(Response::new(pump(pages, ReadFeed::default(), peer, place, patience)))
    }

    async fn read_many(
        &self,
        request: Request<v2::ReadManyRequest>,
    ) -> Result<Response<Self::ReadManyStream>, Status> {
        let (_, extensions, message) = request.into_parts();
        let peer = peer(&extensions);
        let (place, store) = self.open(&peer).map_err(failed)?;
        let read = from_wire::read_many(message).map_err(refused)?;
        let feed = ReadManyFeed::new(read.keys.clone());
        let pages = store.read_many(read).await.map_err(failed)?;
        Ok(Response::new(pump(pages, feed, peer, place, self.patience(READ_STOP_PATIENCE))))
    }

    async fn head(&self, request: Request<v2::HeadRequest>) -> Result<Response<v2::HeadReply>, Status> {
        let (_, extensions, message) = request.into_parts();
        let peer = peer(&extensions);
        let (_place, store) = self.enter(&peer).map_err(failed)?;
        let (key, freshness) = from_wire::head_request(message).map_err(refused)?;
        let head = store.head(key, freshness).await.map_err(failed)?;
        Ok(Response::new(to_wire::head(head).map_err(misfit)?))
    }

    async fn list_keys(
        &self,
        request: Request<v2::ListKeysRequest>,
    ) -> Result<Response<v2::ListKeysReply>, Status> {
        let (_, extensions, message) = request.into_parts();
        let peer = peer(&extensions);
        let (_place, store) = self.enter(&peer).map_err(failed)?;
        let keys = from_wire::keys_request(message).map_err(refused)?;
        let list = store.keys(keys).await.map_err(failed)?;
        self.reply(&peer, to_wire::key_list(list).map_err(misfit)?)
    }

    async fn follow(
        &self,
        request: Request<v2::FollowRequest>,
    ) -> Result<Response<Self::FollowStream>, Status> {
        let (_, extensions, message) = request.into_parts();
        let peer = peer(&extensions);
        let (place, store) = self.open(&peer).map_err(failed)?;
        let follow = from_wire::follow(message).map_err(refused)?;
        let feed = FollowFeed::new(&follow.from);
        let items = store.follow(follow).await.map_err(failed)?;
        Ok(Response::new(pump(items, feed, peer, place, self.patience(Duration::ZERO))))
    }

    async fn wait_for(
        &self,
        request: Request<v2::WaitForRequest>,
    ) -> Result<Response<v2::WaitForReply>, Status> {
        let (metadata, extensions, message) = request.into_parts();
        let peer = peer(&extensions);
        let (_place, store) = self.enter(&peer).map_err(failed)?;
        // Some of the caller's time is left for the answer.
        let caller = caller_timeout(&metadata).map_or(WAIT_MAX, bkes_engine::room_wait);
        let longest = caller.min(WAIT_MAX);
        let wait = from_wire::wait_for(message, longest).map_err(refused)?;
        tokio::select! {
            waited = tokio::time::timeout(longest, store.wait_for(wait)) => {
                let late = || Failure::new(Reason::DeadlineExceeded, "what was waited for did not come in time");
                waited.unwrap_or_else(|_| Err(late())).map_err(failed)?;
                Ok(Response::new(v2::WaitForReply {}))
            }
            () = reaches(peer.phase().clone(), Phase::Stopping) => {
                Err(failed(Failure::new(Reason::ShuttingDown, "the server stops").after(STARTING_REST)))
            }
        }
    }

    async fn status(&self, request: Request<v2::StatusRequest>) -> Result<Response<v2::StatusReply>, Status> {
        let (_, extensions, _) = request.into_parts();
        // A standby tells of itself too.
        let mut status = self.store().map_err(failed)?.status().await.map_err(failed)?;
        if self.options.standby {
            status.unready.get_or_insert_with(standby);
        }
        self.reply(&peer(&extensions), to_wire::status(status).map_err(misfit)?)
    }
}
