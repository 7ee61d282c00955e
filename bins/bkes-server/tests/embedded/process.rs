//! The process and what surrounds it: a log that cannot be written, an output that nobody reads, and limits of the system.

use crate::support::{Client, Server, command};
use bkes_grpc::api::bkes_client::BkesClient;
use std::fs::File;
use std::io::{BufRead, BufReader, Read};
use std::net::TcpStream;
use std::path::Path;
use std::process::{Child, Command, ExitStatus, Output, Stdio};
use std::time::{Duration, Instant};
use tempfile::TempDir;

/// A server whose log the test does not read. It ends with this.
struct Process(Child);

impl Drop for Process {
    fn drop(&mut self) {
        // One that has ended already cannot be killed.
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

impl Process {
    fn start(mut command: Command, log: Stdio) -> Process {
        Process(command.stdin(Stdio::null()).stderr(log).spawn().expect("it starts"))
    }

    /// Sends SIGTERM and waits for the end; this test's clients go on meanwhile.
    async fn terminate(&mut self) -> ExitStatus {
        let sent = Command::new("kill").args(["-TERM", &self.0.id().to_string()]).status();
        assert!(sent.expect("kill runs").success());
        self.ends_within(Duration::from_secs(30)).await.expect("it ends when it is told to")
    }

    async fn ends_within(&mut self, time: Duration) -> Option<ExitStatus> {
        let until = Instant::now() + time;
        loop {
            match self.0.try_wait().expect("it is ours") {
                None if Instant::now() < until => tokio::time::sleep(Duration::from_millis(10)).await,
                ended => return ended,
            }
        }
    }
}

/// A server on a port that is known before it says so.
fn on_a_free_port(data: &Path) -> (Command, String) {
    let free = std::net::TcpListener::bind("127.0.0.1:0").expect("a free port");
    let address = free.local_addr().expect("an address");
    let mut server = command(data);
    server.env("API_PORT", address.port().to_string());
    (server, address.to_string())
}

/// A client, as soon as the server takes it.
async fn client(address: &str) -> Client {
    let until = Instant::now() + Duration::from_secs(60);
    loop {
        match BkesClient::connect(format!("http://{address}")).await {
            Ok(client) => return Client(client),
            Err(error) => assert!(Instant::now() < until, "it does not serve: {error}"),
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

fn dev_full() -> Stdio {
    File::options().write(true).open("/dev/full").expect("a device of Linux").into()
}

/// What ends as soon as it has said its words to `output`.
fn said_to(output: Stdio, arguments: &[&str]) -> Output {
    let mut program = Command::new(env!("CARGO_BIN_EXE_bkes-server"));
    program.env_clear().args(arguments).stdin(Stdio::null()).stdout(output).stderr(Stdio::piped());
    program.spawn().expect("it starts").wait_with_output().expect("it ends")
}

/// The first line after the reader was gone ended the task that listens to signals: the server went on, and SIGTERM did nothing.
#[tokio::test]
async fn a_log_whose_reader_is_gone_costs_lines_and_nothing_else() {
    let data = TempDir::new().expect("a directory");
    let (server, address) = on_a_free_port(data.path());
    let mut server = Process::start(server, Stdio::piped());
    let log = BufReader::new(server.0.stderr.take().expect("its log"));
    let ready = log.lines().map_while(Result::ok).any(|line| line.contains("of all records so far"));
    assert!(ready, "it ended before it was ready");
    let mut client = client(&address).await;
    client.start_when_ready("book", "bought").await;
    assert_eq!(client.values("book").await, ["bought"]);
    let status = server.terminate().await;
    assert!(status.success(), "{status}");
}

/// The disk of the log was full when it started, and it did not.
#[tokio::test]
async fn a_log_that_is_full_from_the_start_on_costs_lines_and_nothing_else() {
    let data = TempDir::new().expect("a directory");
    let (server, address) = on_a_free_port(data.path());
    let mut server = Process::start(server, dev_full());
    let mut client = client(&address).await;
    client.start_when_ready("book", "bought").await;
    let status = server.terminate().await;
    assert!(status.success(), "{status}");
}

/// Without a broker librdkafka logs on a thread of its own, and a panic there aborted the process.
#[tokio::test]
async fn lines_of_librdkafka_that_cannot_be_written_do_not_abort_the_process() {
    let data = TempDir::new().expect("a directory");
    let (mut server, _) = on_a_free_port(data.path());
    server.env("KAFKA_BROKERS", "127.0.0.1:1");
    let mut server = Process::start(server, dev_full());
    let ended = server.ends_within(Duration::from_secs(3)).await;
    assert_eq!(ended, None, "it waits for a broker");
    let status = server.terminate().await;
    assert!(status.success(), "{status}");
}

/// Nobody reads, and the pipe is full: every thread that logged waited for the reader.
#[tokio::test]
async fn a_reader_of_the_log_that_stands_still_holds_up_nobody() {
    let data = TempDir::new().expect("a directory");
    let (mut server, address) = on_a_free_port(data.path());
    server.env("RUST_LOG", "trace");
    let mut server = Process::start(server, Stdio::piped());
    let (mut client, calls) = (client(&address).await, 200);
    let patience = Duration::from_secs(60);
    let appending = async {
        client.start_when_ready("book", "0").await;
        for order in 1..calls {
            client.add("book", order, "x").await.expect("accepted");
        }
    };
    tokio::time::timeout(patience, appending).await.expect("nobody waits for the log's reader");
    let status = server.terminate().await;
    assert!(status.success(), "{status}");
    let mut log = Vec::new();
    server.0.stderr.take().expect("its log").read_to_end(&mut log).expect("it is readable");
    assert!(log.len() >= 60_000, "the pipe was full: {} bytes", log.len());
}

#[test]
fn who_reads_no_further_ends_nothing_with_a_panic() {
    for arguments in [["--help"], ["--version"], ["--print-config"]] {
        let (reader, writer) = std::io::pipe().expect("a pipe");
        drop(reader);
        let output = said_to(writer.into(), &arguments);
        let said = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success() && said.is_empty(), "{arguments:?}: {} {said}", output.status);
    }
    for arguments in [["--version"], ["--print-config"]] {
        let output = said_to(dev_full(), &arguments);
        let said = String::from_utf8_lossy(&output.stderr);
        assert_eq!(output.status.code(), Some(1), "{arguments:?}: {said}");
        assert!(said.contains("standard output cannot be written") && !said.contains("panicked"), "{said}");
    }
}

#[test]
fn a_log_that_is_no_terminal_has_no_colours() {
    let data = TempDir::new().expect("a directory");
    let mut plain = command(data.path());
    plain.env_remove("NO_COLOR");
    let server = Server::start(plain);
    server.wait_for("ready:");
    assert!(!server.log().contains('\u{1b}'), "{}", server.log());
}

#[test]
fn a_mistyped_rust_log_is_told_of_and_means_info() {
    for wrong in ["", "inof", "bkes_engine=debgu"] {
        let data = TempDir::new().expect("a directory");
        let mut server = command(data.path());
        server.env("RUST_LOG", wrong);
        let server = Server::start(server);
        server.wait_for("ready:");
        let told = server.wait_for(&format!("RUST_LOG={wrong:?}"));
        assert!(told.contains("\"info\" is logged instead"), "{told}");
    }
}

/// A server that may have so many files open, and may raise that to `hard`.
fn with_open_files(data: &Path, soft: u32, hard: u32) -> Command {
    let usual = command(data);
    let mut shell = Command::new("sh");
    let limits = format!("ulimit -S -n {soft} && ulimit -H -n {hard} && exec \"$0\"");
    shell.env_clear().args(["-c", &limits]).arg(usual.get_program());
    shell.env("PATH", "/usr/bin:/bin");
    shell.envs(usual.get_envs().filter_map(|(name, value)| value.map(|value| (name, value))));
    shell
}

fn connections(address: &str, count: usize) -> Vec<TcpStream> {
    (0..count).map(|_| TcpStream::connect(address).expect("the system takes it")).collect()
}

#[tokio::test]
async fn the_limit_of_open_files_is_raised_as_far_as_the_system_lets_it() {
    let data = TempDir::new().expect("a directory");
    let mut server = with_open_files(data.path(), 64, 1_000);
    server.env("MAX_CONNECTIONS", "200");
    let server = Server::start(server);
    let _idle = connections(&server.address, 150);
    server.client().await.start_when_ready("book", "bought").await;
    assert!(!server.log().contains("could not be accepted"), "{}", server.log());
    assert!(!server.log().contains("ulimit"), "200 connections fit: {}", server.log());
}

#[tokio::test]
async fn connections_leave_descriptors_for_the_store_where_the_limit_is_low() {
    let data = TempDir::new().expect("a directory");
    let server = Server::start(with_open_files(data.path(), 100, 100));
    let told = server.wait_for("ulimit -n");
    for part in ["100 open files", "64 are kept", "36 connections", "instead of 10000", "to 10064"] {
        assert!(told.contains(part), "{part:?} is missing: {told}");
    }
    let mut first = server.client().await;
    first.start_when_ready("book", "bought").await;
    let _idle = connections(&server.address, 60);
    server.wait_for("there are 36 connections");
    first.add("book", 1, "rented").await.expect("accepted");
    assert!(!server.log().contains("could not be accepted"), "{}", server.log());
    let (status, _) = server.terminate().await;
    assert!(status.success(), "{status}");
}

#[test]
fn a_limit_of_open_files_that_is_too_low_is_named() {
    let data = TempDir::new().expect("a directory");
    let output = with_open_files(data.path(), 50, 50).stdin(Stdio::null()).output().expect("it runs");
    let said = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(1), "{said}");
    assert!(said.contains("50 open files (ulimit -n)") && said.contains("to 72 at least"), "{said}");
}
