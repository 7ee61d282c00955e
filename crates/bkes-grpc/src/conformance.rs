//! What the interface must show in front of every engine, as tests that any engine runs: see [`check`].
//!
//! Everything goes through real connections to real servers on the loopback address. Keys are made up anew for each run, so
//! that the suite can run on a log that is in use.

mod appends;
mod old_client;
mod reads;
mod services;

use crate::api::bkes_client::BkesClient;
use crate::api::error::{Outcome, Reason, Type};
use crate::api::{
    AddRequest, Error, RetrieveRequest, StartRequest, StoreSuccess, StoredRecords, add_reply, retrieve_reply,
    start_reply,
};
use crate::{Drained, Gate, ServeOptions, run};
use bkes_engine::EngineHandle;
use bytes::Bytes;
use std::net::SocketAddr;
use std::time::{Duration, SystemTime, UNIX_EPOCH};
use tokio::net::TcpListener;
use tokio::sync::oneshot;
use tokio::task::JoinHandle;
use tonic::transport::{Channel, Endpoint};

/// The reply limit of the server that the suite reads large aggregates from.
const SMALL_REPLY_BYTES: usize = 64 * 1024;

/// Room for values above any log's limit.
const LARGE_MESSAGE_BYTES: usize = 16 * 1024 * 1024;

/// How long the suite waits for something that must come.
const PATIENCE: Duration = Duration::from_secs(60);

/// Runs the whole suite on an engine that is ready or becomes so, and takes values of at least 100,000 and less than 15 MiB.
/// Panics with a readable message at the first thing that does not hold.
pub async fn check(engine: EngineHandle) {
    tokio::time::timeout(PATIENCE, engine.ready()).await.expect("the engine becomes ready");
    let usual = ServeOptions {
        reply_bytes_max: LARGE_MESSAGE_BYTES,
        request_bytes_max: LARGE_MESSAGE_BYTES,
        ..ServeOptions::default()
    };
    let small = ServeOptions { reply_bytes_max: SMALL_REPLY_BYTES, ..usual.clone() };
    let usual = Server::start(open_to(engine.clone()), usual).await;
    let small = Server::start(open_to(engine), small).await;
    let suite = Suite {
        channel: usual.channel().await,
        small: small.channel().await,
        run: SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |now| now.as_nanos()),
    };
    appends::check(&suite).await;
    reads::check(&suite).await;
    old_client::check(&suite).await;
    services::check(&suite).await;
    drop(suite);
    for server in [usual, small] {
        assert_eq!(server.stop().await, Drained::Whole);
    }
}

fn open_to(engine: EngineHandle) -> Gate {
    let gate = Gate::new();
    gate.open(engine);
    gate
}

/// What the checks share.
struct Suite {
    channel: Channel,
    /// A channel to a server whose replies are small.
    small: Channel,
    run: u128,
}

impl Suite {
    fn client(&self) -> Client {
        Client::new(self.channel.clone())
    }

    fn small_client(&self) -> Client {
        Client::new(self.small.clone())
    }

    /// A key that nobody else uses.
    fn key(&self, name: &str) -> Bytes {
        format!("{name}-{}", self.run).into()
    }
}

/// A server of its own on a free port.
struct Server {
    address: SocketAddr,
    stop: oneshot::Sender<()>,
    serving: JoinHandle<Drained>,
}

impl Server {
    async fn start(gate: Gate, options: ServeOptions) -> Server {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
        let address = listener.local_addr().expect("an address");
        let (stop, stopped) = oneshot::channel::<()>();
        let serving = tokio::spawn(async move {
            let stopped = async { drop(stopped.await) };
            run(listener, gate, options, stopped).await.expect("serving does not fail")
        });
        Server { address, stop, serving }
    }

    async fn channel(&self) -> Channel {
        let endpoint = Endpoint::from_shared(format!("http://{}", self.address)).expect("an address");
        endpoint.connect().await.expect("the server listens")
    }

    async fn stop(self) -> Drained {
        drop(self.stop);
        self.serving.await.expect("serving does not panic")
    }
}

/// A client that knows what a reply is made of.
#[derive(Clone)]
struct Client(BkesClient<Channel>);

impl Client {
    fn new(channel: Channel) -> Client {
        Client(BkesClient::new(channel).max_decoding_message_size(LARGE_MESSAGE_BYTES))
    }

    async fn start(&mut self, key: &Bytes, value: impl Into<Bytes>) -> Result<StoreSuccess, Error> {
        let request = StartRequest { key: key.clone(), value: value.into() };
        match self.0.start(request).await.expect("it is answered").into_inner().reply.expect("a reply") {
            start_reply::Reply::Success(stored) => Ok(stored),
            start_reply::Reply::Error(error) => Err(error),
        }
    }

    async fn add(&mut self, key: &Bytes, order: u32, value: impl Into<Bytes>) -> Result<StoreSuccess, Error> {
        let request = AddRequest { key: key.clone(), value: value.into(), order };
        match self.0.add(request).await.expect("it is answered").into_inner().reply.expect("a reply") {
            add_reply::Reply::Success(stored) => Ok(stored),
            add_reply::Reply::Error(error) => Err(error),
        }
    }

    async fn retrieve(&mut self, request: RetrieveRequest) -> Result<StoredRecords, Error> {
        match self.0.retrieve(request).await.expect("it is answered").into_inner().reply.expect("a reply") {
            retrieve_reply::Reply::Success(records) => Ok(records),
            retrieve_reply::Reply::Error(error) => Err(error),
        }
    }

    async fn all(&mut self, key: &Bytes) -> Result<StoredRecords, Error> {
        self.retrieve(RetrieveRequest { key: key.clone(), ..RetrieveRequest::default() }).await
    }

    /// The values of an aggregate that is there.
    async fn values(&mut self, key: &Bytes) -> Vec<Bytes> {
        let records = self.all(key).await.expect("the aggregate is there").records;
        records.into_iter().map(|record| record.value).collect()
    }
}

/// That an error says what is expected of it in every field a program looks at.
#[track_caller]
fn says(error: &Error, r#type: Type, outcome: Outcome, reason: Reason) {
    assert_eq!((error.r#type(), error.outcome(), error.reason()), (r#type, outcome, reason), "{error:?}");
    assert!(!error.error.is_empty(), "an error has words for people: {error:?}");
}
