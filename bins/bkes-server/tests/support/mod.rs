//! A server in a process of its own, and a client for it.

#![allow(dead_code)]

pub mod damage;
#[cfg(feature = "integration")]
pub mod kafka;
pub mod load;

use bkes_grpc::Channel;
use bkes_grpc::api::bkes_client::BkesClient;
use bkes_grpc::api::{
    AddRequest, Error, Record, RetrieveRequest, StartRequest, StoreSuccess, add_reply, error::Outcome,
    error::Reason, retrieve_reply, start_reply,
};
use std::io::{BufRead, BufReader};
use std::path::Path;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

pub struct Server {
    child: Child,
    pub address: String,
    lines: Arc<Mutex<Vec<String>>>,
}

pub fn command(data: &Path) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_bkes-server"));
    command
        .env_clear()
        .env("DATA_PATH", data)
        .env("API_PORT", "0")
        .env("NO_COLOR", "1")
        .env("BKES_ADMIN_LISTEN", "127.0.0.1:0");
    command
}

impl Server {
    /// Starts a server and waits for the line that names its port.
    pub fn start(command: Command) -> Server {
        Server::start_that_says(command, "serving on ")
    }

    /// Starts a standby and waits for the line that names its port.
    pub fn start_standby(command: Command) -> Server {
        Server::start_that_says(command, "standby: only health is served on ")
    }

    fn start_that_says(command: Command, words: &str) -> Server {
        let mut server = Server::start_silent(command);
        let line = server.wait_for(words);
        server.address = line.split(words).nth(1).expect("just found").trim().to_owned();
        server
    }

    /// Starts a server that may serve nothing.
    pub fn start_silent(mut command: Command) -> Server {
        let mut child = command.stderr(Stdio::piped()).spawn().expect("the server starts");
        let reader = BufReader::new(child.stderr.take().expect("its messages"));
        let lines = Arc::new(Mutex::new(Vec::new()));
        let rest = Arc::clone(&lines);
        std::thread::spawn(move || {
            reader.lines().map_while(Result::ok).for_each(|line| rest.lock().expect("no panic").push(line))
        });
        Server { child, address: String::new(), lines }
    }

    /// Waits until it says something; the line.
    pub fn wait_for(&self, words: &str) -> String {
        let until = Instant::now() + Duration::from_secs(60);
        loop {
            let found =
                self.lines.lock().expect("no panic").iter().find(|line| line.contains(words)).cloned();
            if let Some(line) = found {
                return line;
            }
            assert!(Instant::now() < until, "it does not say {words:?}: {}", self.log());
            std::thread::sleep(Duration::from_millis(5));
        }
    }

    pub fn log(&self) -> String {
        self.lines.lock().expect("no panic").join("\n")
    }

    pub async fn client(&self) -> Client {
        Client(BkesClient::connect(format!("http://{}", self.address)).await.expect("it connects"))
    }

    pub fn signal(&self, name: &str) {
        let sent = Command::new("kill").args([&format!("-{name}"), &self.child.id().to_string()]).status();
        assert!(sent.expect("kill runs").success());
    }

    pub fn kill(mut self) {
        self.child.kill().expect("it is killed");
        self.child.wait().expect("it ended");
    }

    /// What it takes of memory, and what it took at most, as the system counts it.
    pub fn memory(&self) -> String {
        let path = format!("/proc/{}/status", self.child.id());
        let status = std::fs::read_to_string(path).unwrap_or_default();
        let of = |name: &str| status.lines().find_map(|line| line.strip_prefix(name)).unwrap_or(" not told");
        format!("resident{}, at most{}", of("VmRSS:").trim_end(), of("VmHWM:").trim_end())
    }

    /// What it took of memory at most, in bytes, as the system counts it.
    pub fn memory_max(&self) -> u64 {
        let path = format!("/proc/{}/status", self.child.id());
        let status = std::fs::read_to_string(path).expect("it runs");
        let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:")).expect("the system counts it");
        line.trim().trim_end_matches(" kB").parse::<u64>().expect("a number") * 1024
    }

    /// How it ended, if it did.
    pub fn ended(&mut self) -> Option<ExitStatus> {
        self.child.try_wait().expect("it is ours")
    }

    /// Waits for the end.
    pub fn wait(mut self) -> ExitStatus {
        self.child.wait().expect("it ended")
    }

    /// Sends SIGTERM and waits for the end. This test's clients go on meanwhile: one that cannot say that it heard of the stop holds it
    /// up for as long as a stop may take.
    pub async fn terminate(mut self) -> (ExitStatus, Duration) {
        let began = Instant::now();
        self.signal("TERM");
        loop {
            match self.ended() {
                Some(status) => return (status, began.elapsed()),
                None => tokio::time::sleep(Duration::from_millis(10)).await,
            }
        }
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        if std::thread::panicking() {
            eprintln!("the server said:\n{}", self.log());
        }
        drop(self.child.kill());
        drop(self.child.wait());
    }
}

pub struct Client(pub BkesClient<Channel>);

/// A status is no answer: it is printed, so that a test that fails because of it says which.
fn told<T>(answer: Result<T, impl std::fmt::Debug>) -> Option<T> {
    answer.inspect_err(|status| eprintln!("not answered: {status:?}")).ok()
}

impl Client {
    pub async fn start(&mut self, key: &str, value: &str) -> Result<StoreSuccess, Error> {
        self.try_start(key, value).await.expect("answered")
    }

    /// `None` when the call broke: the server died.
    pub async fn try_start(&mut self, key: &str, value: &str) -> Option<Result<StoreSuccess, Error>> {
        let request = StartRequest { key: key.to_owned().into(), value: value.to_owned().into() };
        Some(match told(self.0.start(request).await)?.into_inner().reply.expect("a reply") {
            start_reply::Reply::Success(stored) => Ok(stored),
            start_reply::Reply::Error(error) => Err(error),
        })
    }

    pub async fn add(&mut self, key: &str, order: u32, value: &str) -> Result<StoreSuccess, Error> {
        self.try_add(key, order, value).await.expect("answered")
    }

    /// `None` when the call broke: the server died.
    pub async fn try_add(
        &mut self,
        key: &str,
        order: u32,
        value: &str,
    ) -> Option<Result<StoreSuccess, Error>> {
        let request = AddRequest { key: key.to_owned().into(), value: value.to_owned().into(), order };
        Some(match told(self.0.add(request).await)?.into_inner().reply.expect("a reply") {
            add_reply::Reply::Success(stored) => Ok(stored),
            add_reply::Reply::Error(error) => Err(error),
        })
    }

    pub async fn retrieve(&mut self, key: &str) -> Result<Vec<Record>, Error> {
        let request = RetrieveRequest { key: key.to_owned().into(), ..RetrieveRequest::default() };
        match self.0.retrieve(request).await.expect("answered").into_inner().reply.expect("a reply") {
            retrieve_reply::Reply::Success(found) => Ok(found.records),
            retrieve_reply::Reply::Error(error) => Err(error),
        }
    }

    /// An aggregate's events, none of one that does not exist; `None` when the call broke: the server died.
    pub async fn try_retrieve(&mut self, key: &str) -> Option<Result<Vec<Record>, Error>> {
        let request = RetrieveRequest { key: key.to_owned().into(), ..RetrieveRequest::default() };
        Some(match told(self.0.retrieve(request).await)?.into_inner().reply.expect("a reply") {
            retrieve_reply::Reply::Success(found) => Ok(found.records),
            retrieve_reply::Reply::Error(error) if error.reason() == Reason::NoSuchAggregate => {
                Ok(Vec::new())
            }
            retrieve_reply::Reply::Error(error) => Err(error),
        })
    }

    pub async fn values(&mut self, key: &str) -> Vec<String> {
        match self.retrieve(key).await {
            Ok(records) => {
                records.iter().map(|record| String::from_utf8_lossy(&record.value).into_owned()).collect()
            }
            Err(error) if error.reason() == Reason::NoSuchAggregate => Vec::new(),
            Err(error) => panic!("{error:?}"),
        }
    }

    /// Starts an aggregate as soon as the server is ready.
    pub async fn start_when_ready(&mut self, key: &str, value: &str) -> StoreSuccess {
        let until = Instant::now() + Duration::from_secs(60);
        loop {
            match self.start(key, value).await {
                Ok(stored) => return stored,
                Err(error) if error.outcome() == Outcome::Unavailable && Instant::now() < until => {
                    tokio::time::sleep(Duration::from_millis(20)).await;
                }
                Err(error) => panic!("{error:?}"),
            }
        }
    }

    /// Waits until reads are answered.
    pub async fn ready(&mut self) {
        let until = Instant::now() + Duration::from_secs(60);
        while matches!(self.retrieve("nothing").await, Err(error) if error.outcome() == Outcome::Unavailable)
        {
            assert!(Instant::now() < until, "it does not become ready");
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }
}
