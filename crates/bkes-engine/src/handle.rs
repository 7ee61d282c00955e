//! The engine's face.

use crate::api::{AggregateHead, Events, LastEvent, ReadError, ReadRequest, Status};
use crate::content::{check_content, check_size};
use crate::context::Context;
use crate::limits::{
    READ_BYTES_ASSUMED, READ_EVENT_BYTES, READ_INLINE_EVENTS, READING_BYTES_MAX, SPLIT_READS_MAX,
};
use crate::list::list_weight;
use crate::owner_inbox::{
    Admitted, Command, Found, OwnerInbox, Pending, Place, Refusal, Ticket, Unverified, owner_of,
    refuse_command,
};
use crate::read::{Located, View};
use crate::withdrawal::Withdrawal;
use bkes_api::{Freshness, KEYS_BYTES_MAX, KEYS_MAX, KeyList, KeysRequest};
use bkes_core::append::{AppendError, AppendRequest, Appended, Unit, Unready};
use bkes_core::append_id::{ID_LOOK_MAX, Identity};
use bkes_core::machine::{Append, Load, Scope};
use bkes_core::sequence::NowMs;
use bkes_core::{Cause, Key, StoredEvent};
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;
use tokio::runtime::Handle;
use tokio::sync::{Semaphore, SemaphorePermit, oneshot};

/// The way into a running engine: cheap to clone, from any task.
#[derive(Clone)]
pub struct EngineHandle(Arc<Inner>);

struct Inner {
    context: Context,
    clock: Clock,
    admitted: Arc<Admitted>,
    /// One permit for each long read of a split aggregate that may be put in order now.
    split_reads: Semaphore,
    /// Room for reads off the executor while they are made, in [`READING_UNIT_BYTES`].
    reading: Arc<Semaphore>,
}

/// Where a read begins.
#[derive(Clone, Copy, PartialEq, Eq)]
enum ReadFrom {
    /// Where the request says.
    Asked,
    /// At the last event there is.
    Last,
}

pub(crate) type Clock = Arc<dyn Fn() -> NowMs + Send + Sync>;

/// What room for reads is counted in.
const READING_UNIT_BYTES: usize = 1024;

/// What a read of so many events may hold at most, by what is known before it is made.
pub(crate) fn read_weight(events: u64, bytes_max: usize) -> usize {
    let bytes = if bytes_max == usize::MAX { READ_BYTES_ASSUMED } else { bytes_max };
    usize::try_from(events).unwrap_or(usize::MAX).saturating_mul(READ_EVENT_BYTES).saturating_add(bytes)
}

impl EngineHandle {
    pub(crate) fn new(context: Context, clock: Clock) -> EngineHandle {
        EngineHandle(Arc::new(Inner {
            context,
            clock,
            admitted: Arc::default(),
            reading: Arc::new(Semaphore::new(READING_BYTES_MAX / READING_UNIT_BYTES)),
            split_reads: Semaphore::new(SPLIT_READS_MAX),
        }))
    }

    pub(crate) fn context(&self) -> &Context {
        &self.0.context
    }

    pub(crate) fn clock(&self) -> Clock {
        Arc::clone(&self.0.clock)
    }

    pub(crate) fn now(&self) -> NowMs {
        (self.0.clock)()
    }

    /// Appends and waits until the log has decided. Dropping the future before the append was sent withdraws it; a sent one
    /// runs to its end.
    ///
    /// What does not fit now waits for room, in the order of arrival, for [`room_wait`](crate::EngineOptions::room_wait) at most; an append whose time is over before it
    /// was sent is never sent.
    ///
    /// That there is no such aggregate, or that the order asked for is above the next one, is said only of what the log holds: what
    /// another instance may have been told meanwhile is read first. An append that is refused for what was read before that is tried
    /// once more.
    pub async fn append(&self, request: AppendRequest) -> Result<Appended, AppendError> {
        self.append_within(request, Duration::MAX).await
    }

    /// The same, for a caller that gives its append no more than this to wait for room.
    pub async fn append_within(
        &self,
        request: AppendRequest,
        wait: Duration,
    ) -> Result<Appended, AppendError> {
        self.append_or_withdraw(request, wait, None).await
    }

    /// The same, for a caller that may take it back.
    pub(crate) async fn append_or_withdraw(
        &self,
        mut request: AppendRequest,
        wait: Duration,
        withdrawal: Option<Arc<Withdrawal>>,
    ) -> Result<Appended, AppendError> {
        check_content(&request)?;
        request.carry_id();
        let bytes = check_size(&request, self.record_bytes_max())?;
        let place = self.admit(bytes)?;
        let since = (self.0.clock)();
        let wait_ms = wait.min(self.0.context.options.room_wait).as_millis();
        let until = since.saturating_add(NowMs::try_from(wait_ms).unwrap_or(NowMs::MAX));
        if request.identity.is_some() {
            Box::pin(self.warm(&request)).await;
        }
        let mut asking =
            Asking { request, place, since, until, is_verified: false, withdrawal: withdrawal.clone() };
        loop {
            match self.push(asking).await {
                Ok(appended) => return Ok(appended),
                Err(Refusal::Final(error)) => return Err(error),
                Err(Refusal::Found(found)) => return Box::pin(self.compare(*found)).await,
                Err(Refusal::Unverified(unverified)) => {
                    let Unverified { request, place, scope } = *unverified;
                    withdrawal.iter().for_each(|withdrawal| withdrawal.came_back());
                    self.verify(scope).await.map_err(AppendError::Unavailable)?;
                    // What is verified is not given back for that again.
                    asking = Asking {
                        request,
                        place,
                        since,
                        until,
                        is_verified: true,
                        withdrawal: withdrawal.clone(),
                    };
                }
            }
        }
    }

    /// Whether the append that was found by its id is the one that was asked for, by its content. What is stored does not change, so
    /// this needs no owner.
    async fn compare(&self, Found { request, place, first }: Found) -> Result<Appended, AppendError> {
        let Some(Identity { id, .. }) = &request.identity else { unreachable!("it was found by its id") };
        let reused = AppendError::IdReused { id: id.clone(), first: first.order };
        let count = first.stamp.map_or(1, |stamp| stamp.count() as usize);
        if count != request.events.len() {
            return Err(reused);
        }
        let stored = ReadRequest {
            from: first.order,
            events_max: count,
            // What is larger is another one.
            bytes_max: usize::try_from(place.bytes()).unwrap_or(usize::MAX),
            ..ReadRequest::all(request.key.clone())
        };
        let Events { events, .. } = self.read(stored).await.map_err(|error| self.unread(error))?;
        let is_first =
            |event: &StoredEvent| (event.partition, event.offset) == (first.partition, first.offset);
        let (true, Some(last)) = (events.first().is_some_and(is_first), events.last()) else {
            // A fold began anew meanwhile, or the key was found in another partition too.
            return Err(AppendError::Unavailable(self.0.context.board.still_catching_up()));
        };
        if !request.is_same_as(&events) {
            return Err(reused);
        }
        Ok(Appended {
            partition: last.partition,
            first_offset: first.offset,
            offset: last.offset,
            timestamp_ms: last.timestamp.map(|timestamp| timestamp.0),
            first: first.order,
            last: last.order,
            by_earlier_try: true,
        })
    }

    /// An append is unavailable where what was stored of it cannot be read.
    fn unread(&self, error: ReadError) -> AppendError {
        AppendError::Unavailable(match error {
            ReadError::Unavailable(unready) => unready,
            ReadError::Store { cause } => Unready::Store { cause },
            ReadError::Damaged { detail, .. } => Unready::Store { cause: detail.into() },
            _ => self.0.context.board.still_catching_up(),
        })
    }

    /// Has the store read what will be looked at for an id, where its disk has readers wait: the owner finds it in memory then, and
    /// holds up nobody else. No more than a hint: where there is no room for it, it is left out.
    async fn warm(&self, request: &AppendRequest) {
        let (true, Ok(runtime)) = (self.0.context.store.reads_may_block(), Handle::try_current()) else {
            return;
        };
        let units = (ID_LOOK_MAX as usize * READ_EVENT_BYTES / READING_UNIT_BYTES) as u32;
        let Ok(room) = Arc::clone(&self.0.reading).try_acquire_many_owned(units) else { return };
        let (handle, identity) = (self.clone(), request.identity.clone());
        let asked =
            AppendRequest { identity, ..AppendRequest::of_values(request.key.clone(), request.expected, []) };
        let warming = runtime.spawn_blocking(move || {
            let _room = room;
            handle.view().warm(&asked)
        });
        // Should it fail, the owner meets the same.
        let _ = warming.await;
    }

    /// A place among the appends for one of so many bytes, kept to the end of it. One that is larger than all is let in alone.
    fn admit(&self, bytes: u64) -> Result<Place, AppendError> {
        let Inner { context, admitted, .. } = &*self.0;
        if context.board.stopping.load(Ordering::Acquire) {
            return Err(AppendError::Unavailable(Unready::ShuttingDown));
        }
        let (appends_max, bytes_max) = (context.options.appends_max, context.options.append_bytes_max as u64);
        let (place, before) = Place::take(admitted, bytes);
        let (limit, unit) = if before.appends >= appends_max {
            (appends_max as u64, Unit::Appends)
        } else if before.bytes > 0 && before.bytes + bytes > bytes_max {
            (bytes_max, Unit::Bytes)
        } else {
            return Ok(place);
        };
        Err(AppendError::Unavailable(Unready::Overloaded { queue: "the append queue", limit, unit }))
    }

    /// Gives an append to its owner and waits for the answer.
    async fn push(&self, asking: Asking) -> Result<Appended, Refusal> {
        let context = &self.0.context;
        let Asking { request, place, since, until, is_verified, withdrawal } = asking;
        let guess = context.board.topic().guess(&request.key);
        let owner = owner_of(guess, &context.owners);
        let (to, answer) = oneshot::channel();
        let load = Load::of(&request);
        let ticket = Ticket { to, place, guess, since, until, withdrawal };
        let append =
            Box::new(Append { request, load, is_verified, resent: 0, overtaken: 0, looked_at: None, ticket });
        if let Err(command) = context.owners[owner].send(Command::Append(append)) {
            refuse_command(command, context.board.why_ended());
        }
        let mut awaited = Awaited { answer, owners: &context.owners, is_over: false };
        let answer = (&mut awaited.answer).await;
        awaited.is_over = true;
        answer.unwrap_or_else(|_| {
            let detail = "the engine stopped before the append was decided".into();
            Err(Refusal::Final(AppendError::Unknown { detail }))
        })
    }

    /// Has everything in `scope` applied that the log holds now: after that, what is not there was not there when this began.
    pub(crate) async fn verify(&self, scope: Scope) -> Result<(), Unready> {
        let Inner { context, clock, .. } = &*self.0;
        if let Some(cause) = context.board.log_down() {
            return Err(Unready::Unverified { cause });
        }
        let answer = context.verifier.ask(scope, clock())?;
        answer.await.unwrap_or_else(|_| Err(context.board.why_ended()))
    }

    /// Reads events. That there is no such aggregate is said only after a look at the log that began after the call: another instance
    /// may have begun it. Short reads run on the spot; long ones, and all while the store's disk has readers wait, off the executor.
    pub async fn read(&self, request: ReadRequest) -> Result<Events, ReadError> {
        self.read_from(request, ReadFrom::Asked).await
    }

    async fn read_from(&self, mut request: ReadRequest, from: ReadFrom) -> Result<Events, ReadError> {
        let key = request.key.clone();
        // Before the aggregate is located: whatever took the place of one of these is among its events then.
        let pending = if request.include_pending { self.pending(&request).await } else { Vec::new() };
        let located = if request.freshness == Freshness::Local {
            self.locate(key, false).await?
        } else {
            Box::pin(self.locate_fresh(key, &request.freshness)).await?
        };
        if from == ReadFrom::Last {
            request.from = located.last();
        }
        let pending = located.pending(pending);
        let in_order = located.is_split() && self.0.context.options.split_by_order_headers;
        let there = located.events_from(request.from);
        // Of a split one the answer says more than that there are more.
        if request.whole && !located.is_split() && there > request.events_max as u64 {
            return Ok(located.more());
        }
        // To put a split aggregate in order all of it is looked at.
        let wanted = there.min(request.events_max as u64);
        let wanted = if in_order { located.events() } else { wanted };
        let _turn = if in_order { self.split_turn(wanted).await } else { None };
        let weight = read_weight(wanted, request.bytes_max);
        let events =
            self.look(self.is_short(wanted), weight, move |view| view.read(&request, located)).await?;
        let pending = if events.more { Vec::new() } else { pending };
        Ok(Events { pending, ..events })
    }

    /// Whether a look at so many events is made on the spot.
    pub(crate) fn is_short(&self, events: u64) -> bool {
        events <= READ_INLINE_EVENTS && !self.0.context.store.reads_may_block()
    }

    /// Waits for the turn to put a split aggregate of so many events in order, if that takes one.
    pub(crate) async fn split_turn(&self, events: u64) -> Option<SemaphorePermit<'_>> {
        let turn = (events > READ_INLINE_EVENTS).then(|| self.0.split_reads.acquire());
        // It is never closed.
        turn?.await.ok()
    }

    /// Finds an aggregate. That there is none is said after a look at the log that began after this call, unless that was verified
    /// before.
    pub(crate) async fn locate(&self, key: Key, is_verified: bool) -> Result<Located, ReadError> {
        let at_once = !self.0.context.store.reads_may_block();
        match self.look(at_once, 0, move |view| view.locate(&key)).await {
            Err(ReadError::NoSuchAggregate { key }) if !is_verified => {
                self.verify(Scope::All).await.map_err(ReadError::Unavailable)?;
                self.look(at_once, 0, move |view| view.locate(&key)).await
            }
            located => located,
        }
    }

    /// Finds an aggregate, as fresh as it is wanted.
    async fn locate_fresh(&self, key: Key, freshness: &Freshness) -> Result<Located, ReadError> {
        let fresh = self.fresh(freshness, Some(&key)).await?;
        let located = self.locate(key, *freshness == Freshness::Latest).await;
        self.check_fresh(&fresh)?;
        located
    }

    /// Where an aggregate stands: a read of its last event without the event.
    pub async fn head(&self, key: Key, freshness: Freshness) -> Result<AggregateHead, ReadError> {
        let from_end = ReadRequest { events_max: 1, bytes_max: 1, freshness, ..ReadRequest::all(key) };
        let Events { events, first, next, layout, .. } = self.read_from(from_end, ReadFrom::Last).await?;
        let last = events.first().expect("an aggregate that is there has events");
        let last = LastEvent { partition: last.partition, offset: last.offset, timestamp: last.timestamp };
        Ok(AggregateHead { first, next, last, layout })
    }

    /// Lists aggregates by their keys. In a [local](Freshness::Local) list one that another instance was told of a moment ago may be
    /// missing. Unavailable until all partitions were read, since a list must not leave out any of theirs.
    pub async fn keys(&self, request: KeysRequest) -> Result<KeyList, ReadError> {
        let keys_max = request.keys_max.clamp(1, KEYS_MAX);
        let bytes_max = request.bytes_max.min(KEYS_BYTES_MAX);
        let request = KeysRequest { keys_max, bytes_max, ..request };
        let fresh = self.fresh(&request.freshness, None).await?;
        let list = self.look(false, list_weight(&request), move |view| view.list(&request)).await;
        self.check_fresh(&fresh)?;
        list
    }

    /// Looks into the store at once, or on a thread that may wait, if the caller has a runtime that keeps such threads. There it
    /// begins when there is room for what it may hold.
    pub(crate) async fn look<T: Send + 'static>(
        &self,
        at_once: bool,
        weight: usize,
        look: impl FnOnce(View<'_>) -> Result<T, ReadError> + Send + 'static,
    ) -> Result<T, ReadError> {
        let runtime = if at_once { None } else { Handle::try_current().ok() };
        let Some(runtime) = runtime else {
            return self.watch(look(self.view()));
        };
        let handle = self.clone();
        let units = (weight.min(READING_BYTES_MAX) / READING_UNIT_BYTES) as u32;
        let room = Arc::clone(&self.0.reading).acquire_many_owned(units).await;
        let looking = runtime.spawn_blocking(move || {
            // Kept here, since a caller that goes away does not end the read.
            let _room = room.expect("it is never closed");
            look(handle.view())
        });
        let failed = |error: tokio::task::JoinError| ReadError::Store { cause: Cause::of(error) };
        self.watch(looking.await.map_err(failed).and_then(|found| found))
    }

    /// The status as of now; cheap enough to ask every second.
    pub fn status(&self) -> Status {
        let Inner { context, clock, .. } = &*self.0;
        let board = &context.board;
        let ready_lag_ms = context.options.ready_lag.as_millis() as u64;
        let now = clock();
        let partitions = board.status(ready_lag_ms, now);
        let stats = context.store.stats();
        Status {
            unready: board.unready(ready_lag_ms, now),
            partitions,
            unknown: board.ended.unknown.load(Ordering::Relaxed),
            conflicts: board.ended.conflicts.load(Ordering::Relaxed),
            appended: board.ended.appended.load(Ordering::Relaxed),
            keys: stats.keys,
            store_bytes: stats.file_bytes,
        }
    }

    /// Whether appends and reads are served: caught up once, and lagging less than [`ready_lag`](crate::EngineOptions::ready_lag) now.
    pub fn is_ready(&self) -> bool {
        let Inner { context, clock, .. } = &*self.0;
        context.board.unready(context.options.ready_lag.as_millis() as u64, clock()).is_none()
    }

    /// Waits until [`is_ready`](Self::is_ready).
    pub async fn ready(&self) {
        while !self.is_ready() {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    }

    /// The largest record the log takes, in bytes: key, value and what is added to them. As far as is known now: where the log's limit is
    /// changed, it is another one some seconds later.
    pub fn record_bytes_max(&self) -> u64 {
        self.0.context.log.record_bytes_max()
    }

    /// The largest event, in bytes, that is worth being taken in: a larger one has no answer but that it is too large.
    pub fn topic_bytes_max(&self) -> u64 {
        self.0.context.log.topic_bytes_max()
    }

    fn view(&self) -> View<'_> {
        let context = &self.0.context;
        View {
            board: &context.board,
            overlay: &context.overlay,
            store: &*context.store,
            split_by_order_headers: context.options.split_by_order_headers,
        }
    }

    async fn pending(&self, request: &ReadRequest) -> Vec<Pending> {
        let mut pending = Vec::new();
        for owner in self.0.context.owners.iter() {
            let (reply, answer) = oneshot::channel();
            // An ended owner drops the question, which is an answer.
            let _ = owner.send(Command::Pending { key: request.key.clone(), reply });
            pending.extend(answer.await.unwrap_or_default());
        }
        pending
    }

    /// Damage that a read met has the store rebuilt, and a failure has it opened anew.
    fn watch<T>(&self, read: Result<T, ReadError>) -> Result<T, ReadError> {
        match &read {
            Err(ReadError::Damaged { detail, epoch }) => {
                self.0.context.writer.damaged(*epoch, detail.clone());
            }
            Err(ReadError::Store { cause }) => self.0.context.writer.unreadable(cause.clone()),
            _ => {}
        }
        read
    }
}

/// An append on its way to its owner.
struct Asking {
    request: AppendRequest,
    place: Place,
    since: NowMs,
    until: NowMs,
    is_verified: bool,
    withdrawal: Option<Arc<Withdrawal>>,
}

/// An answer that is waited for. Whoever goes away before it is there withdraws what was not sent.
struct Awaited<'a> {
    answer: oneshot::Receiver<Result<Appended, Refusal>>,
    owners: &'a [OwnerInbox],
    is_over: bool,
}

impl Drop for Awaited<'_> {
    fn drop(&mut self) {
        if !self.is_over {
            self.answer.close();
            // It may have been handed on to another owner.
            self.owners.iter().for_each(OwnerInbox::withdraw);
        }
    }
}
