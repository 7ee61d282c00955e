//! The broker that `cargo xtask integration` started, and servers on it.

use super::{Client, Server, command};
use bkes_foreign::Cluster;
use std::io::{Read, Write};
use std::net::TcpStream;
use std::path::Path;
use std::process::Command;
use tempfile::TempDir;

pub fn variable(name: &str) -> String {
    std::env::var(name).unwrap_or_else(|_| panic!("{name} is not set: run `cargo xtask integration`"))
}

pub fn brokers() -> String {
    variable("BKES_KAFKA_BROKERS")
}

pub fn cluster() -> Cluster {
    Cluster::new(brokers())
}

/// A name no topic has.
pub fn topic() -> String {
    format!("server-{:016x}", fastrand::u64(..))
}

/// A topic that keeps its events, with these settings beside.
pub async fn make_topic(partitions: u32, settings: &[(&str, &str)]) -> String {
    let name = topic();
    let settings: Vec<(&str, &str)> = [("retention.ms", "-1")].iter().chain(settings).copied().collect();
    cluster().create_topic(&name, partitions, 1, &settings).await.expect("the topic is made");
    name
}

/// A server on a topic, which it makes when it is missing.
pub fn on_kafka(data: &Path, topic: &str) -> Command {
    let mut command = command(data);
    command.env("KAFKA_BROKERS", brokers()).env("KAFKA_TOPIC", topic).env("CREATE_TOPIC", "3");
    command
}

/// Does something to the broker.
pub fn broker(word: &str) {
    let mut control = TcpStream::connect(variable("BKES_KAFKA_CONTROL")).expect("the control answers");
    writeln!(control, "{word}").expect("it listens");
    let mut said = String::new();
    control.read_to_string(&mut said).expect("it answers");
    assert_eq!(said.trim(), "ok", "{word}");
}

/// A server and a client that is answered.
pub async fn serve(data: &Path, topic: &str) -> (Server, Client) {
    let server = Server::start(on_kafka(data, topic));
    let mut client = server.client().await;
    client.ready().await;
    (server, client)
}

/// Runs a server that ends by itself; its exit code and what it said.
pub fn refused(mut command: Command) -> (Option<i32>, String) {
    let output = command.output().expect("it runs");
    (output.status.code(), String::from_utf8_lossy(&output.stderr).into_owned())
}

/// A second instance that builds its store from nothing serves the same.
pub async fn rebuilt_agrees(client: &mut Client, topic: &str, keys: impl Iterator<Item = &String>) {
    let fresh = TempDir::new().expect("a directory");
    let (_server, mut other) = serve(fresh.path(), topic).await;
    for key in keys {
        assert_eq!(client.values(key).await, other.values(key).await, "{key}");
    }
}
