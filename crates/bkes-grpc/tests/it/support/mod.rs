//! An engine and an interface of a test's own, with its hands on the log and on the end.

pub mod raw;
pub mod scripted;
pub mod shelf;

use bkes_engine::{Engine, EngineHandle, EngineOptions};
use bkes_grpc::api::bkes_client::BkesClient;
use bkes_grpc::api::{
    AddRequest, Error, RetrieveRequest, StartRequest, StoreSuccess, StoredRecords, add_reply, retrieve_reply,
    start_reply,
};
use bkes_grpc::{Channel, Drained, Gate, ServeOptions, run};
use bkes_log::Log;
use bkes_storage::Store;
use bkes_testkit::log::SimulatedLog;
use std::net::SocketAddr;
use std::num::NonZeroU32;
use std::sync::Arc;
use std::time::{Duration, Instant};
use tokio::net::TcpListener;
use tokio::sync::oneshot;
use tokio::task::JoinHandle;

/// Far above what anything here takes, far below what a hang takes.
pub const PATIENCE: Duration = Duration::from_secs(20);

/// What must come, comes in time.
pub async fn soon<T>(what: &str, future: impl Future<Output = T>) -> T {
    tokio::time::timeout(PATIENCE, future).await.unwrap_or_else(|_| panic!("{what}: not within {PATIENCE:?}"))
}

pub fn memory_log() -> SimulatedLog {
    SimulatedLog::new("events", NonZeroU32::MIN)
}

pub fn start_engine(log: impl Log, store: impl Store) -> Engine {
    Engine::start(Arc::new(log), Arc::new(store), EngineOptions::default()).expect("the engine starts")
}

pub async fn ready_engine(log: impl Log, store: impl Store) -> (Engine, Gate) {
    let engine = start_engine(log, store);
    soon("the engine becomes ready", engine.handle().ready()).await;
    let gate = gate_to(engine.handle());
    (engine, gate)
}

pub fn gate_to(engine: EngineHandle) -> Gate {
    let gate = Gate::new();
    gate.open(engine);
    gate
}

pub struct Server {
    pub address: SocketAddr,
    stop: oneshot::Sender<()>,
    serving: JoinHandle<Drained>,
}

impl Server {
    pub async fn start(gate: Gate, options: ServeOptions) -> Server {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
        let address = listener.local_addr().expect("an address");
        let (stop, stopped) = oneshot::channel::<()>();
        let serving = tokio::spawn(async move {
            let stopped = async { drop(stopped.await) };
            run(listener, gate, options, stopped).await.expect("serving does not fail")
        });
        Server { address, stop, serving }
    }

    pub async fn channel(&self) -> Channel {
        let endpoint = Channel::from_shared(format!("http://{}", self.address)).expect("an address");
        soon("it connects", endpoint.connect()).await.expect("it connects")
    }

    pub async fn client(&self) -> Client {
        Client(BkesClient::new(self.channel().await))
    }

    /// Asks it to stop; the end is awaited with what is returned.
    pub fn ask_to_stop(self) -> JoinHandle<Drained> {
        drop(self.stop);
        self.serving
    }

    pub async fn stop(self) -> (Drained, Duration) {
        let began = Instant::now();
        let drained = soon("it stops", self.ask_to_stop()).await.expect("it does not panic");
        (drained, began.elapsed())
    }
}

#[derive(Clone)]
pub struct Client(pub BkesClient<Channel>);

impl Client {
    pub async fn start(&mut self, key: &str) -> Result<StoreSuccess, Error> {
        let request = StartRequest { key: key.to_owned().into(), value: "value".into() };
        match self.0.start(request).await.expect("answered").into_inner().reply.expect("a reply") {
            start_reply::Reply::Success(stored) => Ok(stored),
            start_reply::Reply::Error(error) => Err(error),
        }
    }

    pub async fn add(&mut self, key: &str, order: u32) -> Result<StoreSuccess, Error> {
        let request = AddRequest { key: key.to_owned().into(), value: "value".into(), order };
        match self.0.add(request).await.expect("answered").into_inner().reply.expect("a reply") {
            add_reply::Reply::Success(stored) => Ok(stored),
            add_reply::Reply::Error(error) => Err(error),
        }
    }

    pub async fn retrieve(&mut self, key: &str) -> Result<StoredRecords, Error> {
        self.read(RetrieveRequest { key: key.to_owned().into(), ..RetrieveRequest::default() }).await
    }

    pub async fn read(&mut self, request: RetrieveRequest) -> Result<StoredRecords, Error> {
        match self.0.retrieve(request).await.expect("answered").into_inner().reply.expect("a reply") {
            retrieve_reply::Reply::Success(found) => Ok(found),
            retrieve_reply::Reply::Error(error) => Err(error),
        }
    }
}
