//! The server as a new user runs it: on the embedded log, killed, stopped, started wrongly.

mod support;

use bkes_grpc::api::error::{Reason, Type};
use std::net::TcpStream;
use std::process::Stdio;
use std::time::Duration;
use support::{Server, command};
use tempfile::TempDir;

#[tokio::test]
async fn events_are_there_after_a_kill() {
    let data = TempDir::new().expect("a directory");
    let server = Server::start(command(data.path()));
    let mut client = server.client().await;
    let stored = client.start_when_ready("book", "bought").await;
    assert_eq!((stored.order, stored.partition, stored.offset), (Some(0), 0, 0));
    client.add("book", 1, "rented").await.expect("accepted");
    let stale = client.add("book", 1, "rented too").await.expect_err("the order is taken");
    assert_eq!(
        (stale.r#type(), stale.reason(), stale.current_order),
        (Type::Concurrency, Reason::Conflict, Some(2))
    );
    let empty = client.start("", "x").await.expect_err("no key");
    assert_eq!((empty.r#type(), empty.reason()), (Type::User, Reason::EmptyKey));
    assert!(server.log().contains("running on the embedded log"), "{}", server.log());
    server.kill();
    let server = Server::start(command(data.path()));
    let mut client = server.client().await;
    client.ready().await;
    assert_eq!(client.values("book").await, ["bought", "rented"]);
}

#[tokio::test]
async fn one_connection_more_than_the_setting_allows_is_closed() {
    let data = TempDir::new().expect("a directory");
    let mut command = command(data.path());
    command.args(["--max-connections", "1"]).env("MAX_REQUESTS", "1");
    let server = Server::start(command);
    let mut first = server.client().await;
    first.start_when_ready("book", "bought").await;
    let mut second = TcpStream::connect(&server.address).expect("the system takes it");
    second.set_read_timeout(Some(Duration::from_secs(20))).expect("a timeout");
    let closed = std::io::Read::read(&mut second, &mut [0; 1]);
    assert!(
        matches!(closed, Ok(0)) || closed.is_err_and(|e| e.kind() == std::io::ErrorKind::ConnectionReset)
    );
    assert_eq!(first.values("book").await, ["bought"]);
}

/// Deployments of the original set these variables; they find everything where they put it.
#[tokio::test]
async fn defect_8_the_originals_variables_keep_working() {
    let data = TempDir::new().expect("a directory");
    let free = std::net::TcpListener::bind("127.0.0.1:0").expect("a free port");
    let port = free.local_addr().expect("an address").port().to_string();
    drop(free);
    let mut original = command(data.path());
    original
        .env("API_PORT", &port)
        .env("MAX_CONSUMER_THREADS", "3")
        .env("KAFKA_TOPIC", "books")
        .env("RUST_LOG", "info");
    let server = Server::start(original);
    assert_eq!(server.address, format!("127.0.0.1:{port}"));
    server.client().await.start_when_ready("book", "bought").await;
    assert!(data.path().join("bkes").is_dir(), "ours lie in a folder of their own");
}

#[tokio::test]
async fn a_stop_ends_in_time_with_idle_and_half_open_connections() {
    let data = TempDir::new().expect("a directory");
    let mut command = command(data.path());
    command.env("SHUTDOWN_MS", "3000");
    let server = Server::start(command);
    let mut idle = server.client().await;
    idle.start_when_ready("book", "bought").await;
    let half_open = TcpStream::connect(&server.address).expect("it connects");
    let (status, took) = server.terminate();
    assert!(status.success(), "{status}");
    assert!(took < Duration::from_secs(10), "{took:?}");
    drop((idle, half_open));
}

fn refused(mut command: std::process::Command) -> (Option<i32>, String) {
    let output = command.stdin(Stdio::null()).output().expect("it runs");
    (output.status.code(), String::from_utf8_lossy(&output.stderr).into_owned())
}

#[test]
fn a_second_process_on_the_same_data_is_refused() {
    let data = TempDir::new().expect("a directory");
    let _server = Server::start(command(data.path()));
    std::thread::sleep(Duration::from_millis(500));
    let (code, said) = refused(command(data.path()));
    assert_eq!(code, Some(4), "{said}");
    assert!(said.contains("another process uses"), "{said}");
}

#[test]
fn a_port_in_use_and_a_directory_that_cannot_be_used_are_named() {
    let taken = std::net::TcpListener::bind("127.0.0.1:0").expect("a port");
    let port = taken.local_addr().expect("an address").port();
    let data = TempDir::new().expect("a directory");
    let mut wrong = command(data.path());
    wrong.env("API_PORT", port.to_string());
    let (code, said) = refused(wrong);
    assert_eq!(code, Some(5), "{said}");
    assert!(said.contains(&format!("cannot serve on 127.0.0.1:{port}")), "{said}");
    let file = data.path().join("file");
    std::fs::write(&file, "x").expect("a file");
    let (code, said) = refused(command(&file));
    assert_eq!(code, Some(4), "{said}");
    assert!(said.contains("cannot use"), "{said}");
}

#[test]
fn files_of_the_original_are_left_alone_and_named() {
    let data = TempDir::new().expect("a directory");
    std::fs::write(data.path().join("original.db"), "theirs").expect("a file");
    let server = Server::start(command(data.path()));
    std::thread::sleep(Duration::from_millis(300));
    assert!(server.log().contains("original.db"), "{}", server.log());
    server.terminate();
    assert_eq!(std::fs::read(data.path().join("original.db")).expect("it is there"), b"theirs");
}

#[test]
fn wrong_usage_shows_and_secrets_do_not() {
    let data = TempDir::new().expect("a directory");
    let mut wrong = command(data.path());
    wrong.arg("--no-such-flag");
    assert_eq!(refused(wrong).0, Some(2));
    let mut print = command(data.path());
    print.args(["--print-config", "-X", "sasl.password=hush"]);
    let output = print.output().expect("it runs");
    let shown = String::from_utf8_lossy(&output.stdout);
    assert!(shown.contains("API_PORT=0") && !shown.contains("hush"), "{shown}");
}
