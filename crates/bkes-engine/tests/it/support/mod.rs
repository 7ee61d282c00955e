//! An engine in its parts on any log and store, stepped by hand: no thread, no clock, no waiting.

pub mod face;
pub mod flawed;
pub mod follows;
pub mod scene;
pub mod watched;

use bkes_core::sequence::NowMs;
use bkes_core::{Incarnation, Key, Order};
use bkes_engine::assembly::{
    AskerPart, MonitorPart, OwnerPart, Parts, Step, Surroundings, VerifierPart, WriterPart, assemble,
};
use bkes_engine::{
    AppendError, AppendRequest, Appended, EngineHandle, EngineOptions, Events, Expected, ReadError,
    ReadRequest,
};
use bkes_log::Log;
use bkes_storage::Store;
use bytes::Bytes;
use std::pin::Pin;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::task::{Context, Poll, Waker};

/// Names of producer handles: no two of a test run are the same.
static NAMES: AtomicU64 = AtomicU64::new(1);

/// One engine and the time it lives in. Dropping it is a kill: nothing is finished, nothing is closed.
pub struct Bench {
    pub handle: EngineHandle,
    /// Shared, so that one of them can get on while something else is in the middle of its work.
    pub owners: Vec<Arc<Mutex<OwnerPart>>>,
    pub writer: WriterPart,
    pub monitor: MonitorPart,
    pub verifier: Mutex<VerifierPart>,
    pub askers: Vec<AskerPart>,
    now: Arc<AtomicU64>,
}

pub type Reading = Pin<Box<dyn Future<Output = Result<Events, ReadError>>>>;

pub type Answer = Pin<Box<dyn Future<Output = Result<Appended, AppendError>>>>;

impl Bench {
    pub fn on(log: impl Log, store: Arc<dyn Store>) -> Bench {
        Bench::with(log, store, EngineOptions::default())
    }

    pub fn with(log: impl Log, store: Arc<dyn Store>, options: EngineOptions) -> Bench {
        Bench::drawing(log, store, options, || Incarnation(NAMES.fetch_add(1, Ordering::Relaxed)))
    }

    /// One whose producer handles get these names.
    pub fn naming(
        log: impl Log,
        store: Arc<dyn Store>,
        draw: impl Fn() -> Incarnation + Send + Sync + 'static,
    ) -> Bench {
        Bench::drawing(log, store, EngineOptions::default(), draw)
    }

    fn drawing(
        log: impl Log,
        store: Arc<dyn Store>,
        options: EngineOptions,
        draw: impl Fn() -> Incarnation + Send + Sync + 'static,
    ) -> Bench {
        let now = Arc::new(AtomicU64::new(1));
        let time = Arc::clone(&now);
        let clock = Arc::new(move || time.load(Ordering::Relaxed));
        let surroundings = Surroundings { clock, draw: Arc::new(draw) };
        let parts = assemble(Arc::new(log), store, options, surroundings).expect("the engine is assembled");
        let Parts { handle, owners, writer, monitor, verifier, askers } = parts;
        let owners = owners.into_iter().map(|owner| Arc::new(Mutex::new(owner))).collect();
        Bench { handle, owners, writer, monitor, verifier: Mutex::new(verifier), askers, now }
    }

    /// One that has caught up.
    pub fn ready(log: impl Log, store: Arc<dyn Store>) -> Bench {
        let mut bench = Bench::on(log, store);
        bench.run_until("it is ready", |bench| bench.handle.is_ready());
        bench
    }

    pub fn now(&self) -> NowMs {
        self.now.load(Ordering::Relaxed)
    }

    /// The clock jumps, and nobody did anything meanwhile.
    pub fn jump(&mut self, ms: u64) {
        self.now.fetch_add(ms, Ordering::Relaxed);
    }

    /// Steps one owner until it has nothing to do.
    pub fn step_owner(&self, index: usize) {
        while_busy(&self.owners[index], self.now());
    }

    pub fn step_owners(&mut self) {
        let now = self.now();
        while self.owners.iter().any(|owner| owner.lock().expect("no panic").step(now) == Step::Busy) {}
    }

    pub fn step_writer(&mut self) {
        let now = self.now();
        while self.writer.step(now) == Step::Busy {}
    }

    pub fn step_verifier(&self) {
        while self.verifier.lock().expect("no panic").step(self.now()) == Step::Busy {}
    }

    pub fn step_askers(&mut self) {
        while self.askers.iter_mut().any(|asker| asker.step() == Step::Busy) {}
    }

    pub fn step_monitor(&mut self) {
        self.monitor.step();
    }

    /// Steps everything for this long.
    pub fn run(&mut self, duration_ms: u64) {
        for _ in 0..duration_ms {
            self.jump(1);
            self.step_owners();
            self.step_writer();
            self.step_verifier();
            self.step_askers();
            if self.now().is_multiple_of(100) || self.monitor.take_wake() {
                self.step_monitor();
            }
        }
    }

    /// Steps everything until something is so; a minute of the engine's own time is enough for all that may be waited for.
    pub fn run_until(&mut self, what: &str, mut is_so: impl FnMut(&mut Bench) -> bool) {
        for _ in 0..60_000 {
            if is_so(self) {
                return;
            }
            self.run(1);
        }
        panic!("{what}: not within a minute; {:?}", self.handle.status());
    }

    pub fn append(&self, name: &str, expected: Expected, values: &[&str]) -> Answer {
        let key = Key::new(name.to_owned()).expect("not empty");
        let values = values.iter().map(|value| Bytes::copy_from_slice(value.as_bytes()));
        let request = AppendRequest::of_values(key, expected, values);
        let handle = self.handle.clone();
        let mut answer: Answer = Box::pin(async move { handle.append(request).await });
        assert!(
            poll(&mut answer).is_none_or(|answer| panic!("answered before anything was stepped: {answer:?}"))
        );
        answer
    }

    /// Begins an aggregate, or adds at an order; runs until it is answered.
    pub fn put(&mut self, name: &str, order: u64, value: &str) -> Result<Appended, AppendError> {
        let expected = if order == 0 { Expected::New } else { Expected::At(Order(order)) };
        let answer = self.append(name, expected, &[value]);
        self.answer(answer)
    }

    /// Runs until an append is answered.
    pub fn answer(&mut self, mut answer: Answer) -> Result<Appended, AppendError> {
        let mut found = None;
        self.run_until("it is answered", |_| {
            found = poll(&mut answer);
            found.is_some()
        });
        found.expect("just found")
    }

    /// What a read of everything is answered. It waits for nobody but the verifier, and owners that apply what that asks for.
    pub fn read(&self, name: &str) -> Result<Events, ReadError> {
        let mut read = self.begin_read(name);
        if let Some(answer) = poll(&mut read) {
            return answer;
        }
        self.step_verifier();
        self.owners.iter().for_each(|owner| while_busy(owner, self.now()));
        poll(&mut read).expect("everything it waits for is done")
    }

    /// A read of everything.
    pub fn begin_read(&self, name: &str) -> Reading {
        let key = Key::new(name.to_owned()).expect("not empty");
        let handle = self.handle.clone();
        Box::pin(async move { handle.read(ReadRequest::all(key)).await })
    }

    /// How many events a read shows.
    pub fn count(&self, name: &str) -> Result<usize, ReadError> {
        self.read(name).map(|read| read.events.len())
    }

    /// The values of an aggregate, none of one that does not exist.
    pub fn values(&self, name: &str) -> Vec<String> {
        match self.read(name) {
            Ok(read) => {
                read.events.iter().map(|event| String::from_utf8_lossy(&event.value).into_owned()).collect()
            }
            Err(ReadError::NoSuchAggregate { .. }) => Vec::new(),
            Err(error) => panic!("{name} cannot be read: {error}"),
        }
    }
}

/// Steps an owner until it has nothing to do.
pub fn while_busy(owner: &Mutex<OwnerPart>, now: NowMs) {
    while owner.lock().expect("no panic").step(now) == Step::Busy {}
}

pub fn poll<F: Future + Unpin>(future: &mut F) -> Option<F::Output> {
    match Pin::new(future).poll(&mut Context::from_waker(Waker::noop())) {
        Poll::Ready(output) => Some(output),
        Poll::Pending => None,
    }
}
