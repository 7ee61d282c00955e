//! The calls of the second contract.

use super::append_stream::{Answers, leave_out_missing};
use super::call::Call;
use super::follow::FollowFeed;
use super::handover::Messages;
use super::held::{Full, Place};
use super::pump::{Patience, pump};
use super::reads::{ReadFeed, ReadManyFeed};
use super::weight::{self, of_question};
use crate::gate::Gate;
use crate::limits::{
    OVERLOADED_REST, READ_STOP_PATIENCE, STARTING_REST, ServeOptions, WAIT_ANSWER_PART, WAIT_ANSWER_TIME,
    WAIT_MAX,
};
use crate::peers::Peer;
use crate::requests::caller_timeout;
use bkes_api::{AppendFailure, EventStore as Store, Failure, Reason};
use bkes_wire::limits::APPEND_MESSAGE_BYTES_MAX;
use bkes_wire::v2::event_store_server::{EventStore, EventStoreServer};
use bkes_wire::{BadField, from_wire, status, to_wire, v2};
use prost::Message;
use std::sync::Arc;
use std::time::Duration;
use tonic::{Request, Response, Status, Streaming};

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

    /// A place among the requests for one of so many bytes, and the store.
    fn enter(&self, peer: &Peer, bytes: usize) -> Result<(Place, &Arc<dyn Store>), Failure> {
        self.enter_as(Place::of_request(peer, bytes))
    }

    /// A place among the streams for a request of so many bytes, and the store.
    fn open(&self, peer: &Peer, bytes: usize) -> Result<(Place, &Arc<dyn Store>), Failure> {
        self.enter_as(Place::of_stream(peer, bytes))
    }

    fn enter_as(&self, place: Result<Place, Full>) -> Result<(Place, &Arc<dyn Store>), Failure> {
        if self.options.standby {
            return Err(standby());
        }
        let place = place.map_err(|full| match full {
            Full::Calls => {
                let why = format!("{} calls of this kind are open already", self.options.requests_max);
                Failure::new(Reason::Overloaded, why).after(OVERLOADED_REST)
            }
            Full::Bytes => self.no_room(),
        })?;
        Ok((place, self.store()?))
    }

    fn no_room(&self) -> Failure {
        let why = format!(
            "requests may hold {} bytes while they are worked on, and this one does not fit beside others",
            self.options.working_bytes_max
        );
        Failure::new(Reason::Overloaded, why).after(OVERLOADED_REST)
    }

    async fn stored(
        &self,
        call: &Call,
        message: v2::AppendRequest,
    ) -> Result<v2::AppendReply, AppendFailure> {
        let not_stored = AppendFailure::NotStored;
        let (bytes, missing_asked) = (weight::of_append(&message), message.missing_events_max > 0);
        let (_place, store) = self.enter(&call.peer, 0).map_err(not_stored)?;
        let _room = call.peer.working_bytes().hold(bytes).ok_or_else(|| not_stored(self.no_room()))?;
        let append = from_wire::append(message, call.time).map_err(|bad| not_stored(bad.in_request()))?;
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
    .after(STARTING_REST)
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
        let (call, message) = Call::of(request);
        let mut reply = self.stored(&call, message).await.map_err(|failure| status::of_append(&failure))?;
        // A conflict is an answer that must not be lost for want of room: what it brings along can be read.
        let taken = call.peer.room().take(reply.encoded_len());
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
        let (Call { peer, time }, messages) = Call::of(request);
        let (place, store) = self.open(&peer, 0).map_err(failed)?;
        let (intake, unanswered) = Answers::begin(messages, &peer, time);
        let answers = store.append_stream(Box::pin(intake)).await.map_err(failed)?;
        let patience = self.options.reader_patience;
        Ok(Response::new(Answers::new(unanswered, answers, peer, place, patience)))
    }

    async fn read(&self, request: Request<v2::ReadRequest>) -> Result<Response<Self::ReadStream>, Status> {
        let (call, message) = Call::of(request);
        let bytes = of_question(&message, 0, weight::positions(message.freshness.as_ref()));
        let (place, store) = self.open(&call.peer, bytes).map_err(failed)?;
        let read = from_wire::read(message).map_err(refused)?;
        let pages = call.until_stop(READ_STOP_PATIENCE, store.read(read)).await.map_err(failed)?;
        let patience = self.patience(READ_STOP_PATIENCE);
        Ok(Response::new(pump(pages, ReadFeed::default(), call.peer, place, patience)))
    }

    async fn read_many(
        &self,
        request: Request<v2::ReadManyRequest>,
    ) -> Result<Response<Self::ReadManyStream>, Status> {
        let (call, message) = Call::of(request);
        let bytes = of_question(&message, message.keys.len(), weight::positions(message.freshness.as_ref()));
        let (place, store) = self.open(&call.peer, bytes).map_err(failed)?;
        let read = from_wire::read_many(message).map_err(refused)?;
        let feed = ReadManyFeed::new(read.keys.clone());
        let pages = call.until_stop(READ_STOP_PATIENCE, store.read_many(read)).await.map_err(failed)?;
        Ok(Response::new(pump(pages, feed, call.peer, place, self.patience(READ_STOP_PATIENCE))))
    }

    async fn head(&self, request: Request<v2::HeadRequest>) -> Result<Response<v2::HeadReply>, Status> {
        let (call, message) = Call::of(request);
        let bytes = of_question(&message, 0, weight::positions(message.freshness.as_ref()));
        let (_place, store) = self.enter(&call.peer, bytes).map_err(failed)?;
        let (key, freshness) = from_wire::head_request(message).map_err(refused)?;
        let head = call.until_stop(READ_STOP_PATIENCE, store.head(key, freshness)).await.map_err(failed)?;
        Ok(Response::new(to_wire::head(head).map_err(misfit)?))
    }

    async fn list_keys(
        &self,
        request: Request<v2::ListKeysRequest>,
    ) -> Result<Response<v2::ListKeysReply>, Status> {
        let (call, message) = Call::of(request);
        let bytes = of_question(&message, 0, weight::positions(message.freshness.as_ref()));
        let (_place, store) = self.enter(&call.peer, bytes).map_err(failed)?;
        let keys = from_wire::keys_request(message).map_err(refused)?;
        let list = call.until_stop(READ_STOP_PATIENCE, store.keys(keys)).await.map_err(failed)?;
        self.reply(&call.peer, to_wire::key_list(list).map_err(misfit)?)
    }

    async fn follow(
        &self,
        request: Request<v2::FollowRequest>,
    ) -> Result<Response<Self::FollowStream>, Status> {
        let (call, message) = Call::of(request);
        let bytes = of_question(&message, 0, weight::followed_from(&message));
        let (place, store) = self.open(&call.peer, bytes).map_err(failed)?;
        let follow = from_wire::follow(message).map_err(refused)?;
        let feed = FollowFeed::new(&follow.from);
        let items = call.until_stop(Duration::ZERO, store.follow(follow)).await.map_err(failed)?;
        Ok(Response::new(pump(items, feed, call.peer, place, self.patience(Duration::ZERO))))
    }

    async fn wait_for(
        &self,
        request: Request<v2::WaitForRequest>,
    ) -> Result<Response<v2::WaitForReply>, Status> {
        let caller = caller_timeout(request.metadata());
        let (call, message) = Call::of(request);
        let bytes = of_question(&message, 0, message.positions.as_ref());
        let (_place, store) = self.enter(&call.peer, bytes).map_err(failed)?;
        // Some of the caller's time is left for the answer.
        let longest = caller.map_or(WAIT_MAX, bkes_engine::room_wait).min(WAIT_MAX);
        let wait = from_wire::wait_for(message, longest).map_err(refused)?;
        // The store knows what it was that did not come, so it has longer to say that than to wait.
        let answering =
            caller.map_or(WAIT_ANSWER_TIME, |caller| (caller / WAIT_ANSWER_PART).min(WAIT_ANSWER_TIME));
        let call = Call { time: Some(longest + answering), ..call };
        call.until_stop(Duration::ZERO, store.wait_for(wait)).await.map_err(failed)?;
        Ok(Response::new(v2::WaitForReply {}))
    }

    async fn status(&self, request: Request<v2::StatusRequest>) -> Result<Response<v2::StatusReply>, Status> {
        let (call, _) = Call::of(request);
        // A standby tells of itself too.
        let mut status = self.store().map_err(failed)?.status().await.map_err(failed)?;
        if self.options.standby {
            status.unready.get_or_insert_with(standby);
        }
        self.reply(&call.peer, to_wire::status(status).map_err(misfit)?)
    }
}
