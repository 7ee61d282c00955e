//! A server on the embedded log that is killed, stopped or frozen under load, or finds its store damaged.

use crate::support::load::Load;
use crate::support::{Client, Server, command, damage};
use std::io::Write;
use std::net::TcpStream;
use std::path::Path;
use std::time::Duration;
use tempfile::TempDir;

fn directory() -> TempDir {
    TempDir::new().expect("a directory")
}

async fn serve(data: &Path) -> (Server, Client) {
    let server = Server::start(command(data));
    let mut client = server.client().await;
    client.ready().await;
    (server, client)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_embedded_server_killed_under_load_loses_nothing_and_doubles_nothing() {
    let (data, load) = (directory(), Load::on(16));
    for round in 0..4 {
        let (server, mut client) = serve(data.path()).await;
        load.check(&mut client).await;
        load.run(server, async |server| {
            server.kill();
            None
        })
        .await;
        if round == 2 {
            std::fs::remove_dir_all(data.path().join("bkes").join("store")).expect("the store is removed");
        }
    }
    let (server, mut client) = serve(data.path()).await;
    let acknowledged = load.check(&mut client).await;
    println!("resumed, {acknowledged} acknowledged: {}", server.memory());
    assert!(acknowledged >= 1_200, "only {acknowledged} appends were acknowledged");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_server_told_to_stop_under_load_answers_truly_and_ends_in_order() {
    let (data, load) = (directory(), Load::on(16));
    for _ in 0..3 {
        let (server, mut client) = serve(data.path()).await;
        load.check(&mut client).await;
        load.run(server, async |server| {
            println!("under load: {}", server.memory());
            let (status, _) = server.terminate().await;
            assert!(status.success(), "{status}");
            None
        })
        .await;
    }
    let (_server, mut client) = serve(data.path()).await;
    load.check(&mut client).await;
}

/// Longer than the reports, looks and gathers of the engine take; the time does not matter beyond that.
const FROZEN: Duration = Duration::from_secs(2);

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_server_that_stands_still_under_load_goes_on_with_true_answers() {
    let frozen = std::env::var("BKES_TEST_FROZEN_S").ok().and_then(|text| text.parse().ok());
    let frozen = frozen.map_or(FROZEN, Duration::from_secs);
    let (data, load) = (directory(), Load::on(16));
    let (server, _) = serve(data.path()).await;
    let server = load.run(server, async |server| {
        server.signal("STOP");
        tokio::time::sleep(frozen).await;
        server.signal("CONT");
        load.wait_for_more(300).await;
        Some(server)
    });
    let server = server.await.expect("it runs on");
    let mut client = server.client().await;
    client.ready().await;
    let acknowledged = load.check(&mut client).await;
    println!("frozen for {frozen:?}, {acknowledged} acknowledged: {}", server.memory());
    for key in load.keys() {
        let order = client.values(key).await.len() as u32;
        client.add(key, order, "after").await.expect("every key is free");
    }
}

#[tokio::test]
async fn a_second_signal_ends_the_process_at_once() {
    let data = directory();
    let mut slow = command(data.path());
    slow.env("SHUTDOWN_MS", "120000");
    let server = Server::start(slow);
    // Speaks, and then answers nothing: the stop would wait for it.
    let mut dead = TcpStream::connect(&server.address).expect("it connects");
    dead.write_all(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n").expect("written");
    // So that the server has taken it.
    server.client().await.start_when_ready("book", "bought").await;
    server.signal("TERM");
    server.wait_for("a second signal ends the process at once");
    server.signal("TERM");
    assert_eq!(server.wait().code(), Some(1));
    let (_server, mut client) = serve(data.path()).await;
    assert_eq!(client.values("book").await, ["bought"]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_damaged_store_beside_the_embedded_log_is_rebuilt() {
    let data = directory();
    damage::is_survived(data.path(), async || serve(data.path()).await).await;
}

#[test]
fn a_store_that_cannot_be_opened_ends_the_server_with_its_path() {
    let data = directory();
    let store = data.path().join("bkes").join("store");
    std::fs::create_dir_all(store.join("store.redb")).expect("something is in the way");
    let output = command(data.path()).output().expect("it runs");
    let said = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(4), "{said}");
    assert!(said.contains(&store.display().to_string()), "{said}");
}
