//! The admin port as its callers meet it: over real connections, with an engine in memory whose log and store fail on demand.

use bkes_admin::{Instance, router, run};
use bkes_engine::{Engine, EngineOptions};
use bkes_testkit::log::SimulatedLog;
use bkes_testkit::store::SimulatedStore;
use std::net::SocketAddr;
use std::num::NonZeroU32;
use std::sync::Arc;
use std::time::{Duration, Instant};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::oneshot;

struct Port {
    address: SocketAddr,
    stop: oneshot::Sender<()>,
    served: tokio::task::JoinHandle<()>,
}

async fn serve(instance: Instance) -> Port {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let address = listener.local_addr().expect("it is bound");
    let (stop, stopped) = oneshot::channel::<()>();
    let served = tokio::spawn(run(listener, router(instance), async { drop(stopped.await) }));
    Port { address, stop, served }
}

impl Port {
    /// The status and body of an answer.
    async fn get(&self, path: &str) -> (u16, serde_json::Value) {
        let mut stream = TcpStream::connect(self.address).await.expect("it listens");
        let request = format!("GET {path} HTTP/1.1\r\nhost: a\r\nconnection: close\r\n\r\n");
        stream.write_all(request.as_bytes()).await.expect("it reads");
        let mut answer = String::new();
        stream.read_to_string(&mut answer).await.expect("it answers");
        let status = answer.split(' ').nth(1).and_then(|status| status.parse().ok()).expect("a status line");
        let body = answer.split_once("\r\n\r\n").expect("an end of the headers").1;
        (status, serde_json::from_str(body).unwrap_or_default())
    }

    /// Asks until the answer is as wanted.
    async fn until(&self, path: &str, status: u16, code: &str) {
        let until = Instant::now() + Duration::from_secs(30);
        loop {
            let answer = self.get(path).await;
            let codes: Vec<_> = answer.1["reasons"]
                .as_array()
                .into_iter()
                .flatten()
                .map(|reason| reason["code"].clone())
                .collect();
            if answer.0 == status
                && (codes.iter().any(|it| it == code) || (code.is_empty() && codes.is_empty()))
            {
                return;
            }
            assert!(Instant::now() < until, "{path} is not {status} {code:?} but {answer:?}");
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    }
}

fn partitions(count: u32) -> NonZeroU32 {
    NonZeroU32::new(count).expect("some")
}

/// An engine on a log that goes on by itself, which its owner calls `pump`.
fn engine(log: &SimulatedLog, store: Arc<SimulatedStore>) -> Engine {
    let options = EngineOptions { ready_lag: Duration::from_millis(200), ..EngineOptions::default() };
    Engine::start(Arc::new(log.clone()), store, options).expect("it starts")
}

#[tokio::test]
async fn an_instance_without_an_engine_lives_and_says_that_it_starts() {
    let port = serve(Instance::starting()).await;
    let (status, body) = port.get("/livez").await;
    assert_eq!((status, &body["alive"]), (200, &true.into()), "{body}");
    for path in ["/readyz", "/readyz/reads", "/readyz/appends"] {
        port.until(path, 503, "starting").await;
    }
}

#[tokio::test]
async fn what_is_down_hinders_what_needs_it_and_nothing_else() {
    let log = SimulatedLog::new("events", partitions(2));
    let store = Arc::new(SimulatedStore::new());
    let engine = engine(&log, Arc::clone(&store));
    let instance = Instance::starting();
    instance.open(engine.handle());
    let port = serve(instance.clone()).await;
    for path in ["/readyz", "/readyz/reads", "/readyz/appends"] {
        port.until(path, 200, "").await;
    }
    log.go_down("on purpose");
    port.until("/readyz/appends", 503, "log_down").await;
    port.until("/readyz", 503, "log_down").await;
    port.until("/readyz/reads", 200, "").await;
    port.until("/livez", 200, "").await;
    log.come_up();
    port.until("/readyz", 200, "").await;
    let (_, body) = port.get("/readyz").await;
    assert_eq!(body["partitions"]["count"], 2, "{body}");
    instance.stopping();
    for path in ["/readyz", "/readyz/reads", "/readyz/appends"] {
        port.until(path, 503, "shutting_down").await;
    }
    let _ = port.stop.send(());
    port.served.await.expect("it ends");
    drop(instance);
    tokio::task::spawn_blocking(move || engine.stop(Duration::from_secs(5)))
        .await
        .expect("no panic")
        .expect("it stops");
}

#[tokio::test]
async fn a_topic_whose_every_partition_is_stalled_takes_no_appends() {
    let log = SimulatedLog::new("events", partitions(1));
    let engine = engine(&log, Arc::new(SimulatedStore::new()));
    let instance = Instance::starting();
    instance.open(engine.handle());
    let port = serve(instance).await;
    port.until("/readyz", 200, "").await;
    let open = log.begin();
    log.append_in(open, bkes_core::Partition(0), "key".into(), "value".into());
    port.until("/readyz/appends", 503, "stalled").await;
    port.until("/readyz/reads", 200, "").await;
    log.end(open, true);
    port.until("/readyz/appends", 200, "").await;
}

#[tokio::test]
async fn a_standby_that_is_current_is_ready_and_serves_no_calls() {
    let log = SimulatedLog::new("events", partitions(1));
    let engine = engine(&log, Arc::new(SimulatedStore::new()));
    let instance = Instance::starting_standby();
    instance.open(engine.handle());
    let port = serve(instance).await;
    port.until("/readyz", 200, "").await;
    port.until("/readyz/reads", 503, "standby").await;
    port.until("/readyz/appends", 503, "standby").await;
}

/// Connections that ask for nothing held all places, and a probe waited behind them until the orchestrator killed the server.
#[tokio::test]
async fn connections_beyond_the_limit_are_closed_at_once_and_the_others_end_with_the_server() {
    let port = serve(Instance::starting()).await;
    let mut idle = Vec::new();
    for _ in 0..32 {
        idle.push(TcpStream::connect(port.address).await.expect("it listens"));
    }
    let mut one_more = TcpStream::connect(port.address).await.expect("the system takes it");
    let mut nothing = Vec::new();
    let closed = tokio::time::timeout(Duration::from_secs(20), one_more.read_to_end(&mut nothing)).await;
    let _ = closed.expect("it is closed, not kept waiting");
    assert!(nothing.is_empty(), "{nothing:?}");
    drop(idle.pop());
    let until = Instant::now() + Duration::from_secs(20);
    let mut again = loop {
        let mut stream = TcpStream::connect(port.address).await.expect("it listens");
        let _ = stream.write_all(b"GET /livez HTTP/1.1\r\nhost: a\r\n\r\n").await;
        let mut answer = [0; 12];
        match stream.read_exact(&mut answer).await {
            Ok(_) if &answer == b"HTTP/1.1 200" => break stream,
            _ => assert!(Instant::now() < until, "the place of one that ended is free"),
        }
        tokio::time::sleep(Duration::from_millis(10)).await;
    };
    let began = Instant::now();
    let _ = port.stop.send(());
    port.served.await.expect("it ends");
    assert!(began.elapsed() < Duration::from_secs(10), "{:?}", began.elapsed());
    let _ = again.read_to_end(&mut nothing).await;
}

#[tokio::test]
async fn headers_that_are_too_large_are_refused() {
    let port = serve(Instance::starting()).await;
    let mut stream = TcpStream::connect(port.address).await.expect("it listens");
    let request = format!("GET /livez HTTP/1.1\r\nhost: a\r\nx: {}\r\n\r\n", "y".repeat(200 * 1024));
    // It may be refused before all of it is there.
    let _ = stream.write_all(request.as_bytes()).await;
    let mut answer = [0; 12];
    stream.read_exact(&mut answer).await.expect("it answers");
    assert_eq!(&answer, b"HTTP/1.1 431");
}

#[tokio::test]
async fn nothing_but_asking_is_possible() {
    let port = serve(Instance::starting()).await;
    for (request, status) in [("POST /readyz", "405"), ("DELETE /livez", "405"), ("GET /nothing", "404")] {
        let mut stream = TcpStream::connect(port.address).await.expect("it listens");
        let request = format!("{request} HTTP/1.1\r\nhost: a\r\ncontent-length: 0\r\n\r\n");
        stream.write_all(request.as_bytes()).await.expect("it reads");
        let mut answer = [0; 12];
        stream.read_exact(&mut answer).await.expect("it answers");
        assert_eq!(answer, format!("HTTP/1.1 {status}").as_bytes(), "{request}");
    }
}
