//! Kills in the middle of writes: what was acknowledged is there, once, whatever dies; `cargo xtask integration` runs this.

mod support;

use std::time::{Duration, Instant};
use support::kafka::{broker, make_topic, rebuilt_agrees, serve};
use support::load::Load;
use tempfile::TempDir;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_kill_in_the_middle_of_writes_loses_nothing_and_doubles_nothing() {
    let (data, topic) = (TempDir::new().expect("a directory"), make_topic(3, &[]).await);
    let load = Load::on(24);
    for round in 0..5 {
        let (server, mut client) = serve(data.path(), &topic).await;
        load.check(&mut client).await;
        load.run(server, async |server| {
            server.kill();
            None
        })
        .await;
        if round == 3 {
            std::fs::remove_dir_all(data.path().join("bkes")).expect("the store is removed");
        }
    }
    let (_server, mut client) = serve(data.path(), &topic).await;
    let acknowledged = load.check(&mut client).await;
    assert!(acknowledged > 1_000, "only {acknowledged} appends were acknowledged");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_broker_killed_and_paused_under_load_costs_time_only() {
    let (data, topic) = (TempDir::new().expect("a directory"), make_topic(3, &[]).await);
    let load = Load::on(16);
    let (mut server, _client) = serve(data.path(), &topic).await;
    for words in [["kill", "start"], ["pause", "resume"], ["stop", "start"]] {
        let running = load.run(server, async |server| {
            broker(words[0]);
            tokio::time::sleep(Duration::from_secs(3)).await;
            broker(words[1]);
            tokio::time::sleep(Duration::from_secs(4)).await;
            Some(server)
        });
        server = running.await.expect("it runs on");
    }
    let mut client = server.client().await;
    client.ready().await;
    let acknowledged = load.check(&mut client).await;
    assert!(acknowledged > 500, "only {acknowledged} appends were acknowledged");
    for key in load.keys() {
        let until = Instant::now() + Duration::from_secs(60);
        loop {
            let order = client.values(key).await.len() as u32;
            if client.add(key, order, "after").await.is_ok() {
                break;
            }
            assert!(Instant::now() < until, "{key} does not come back");
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    }
    rebuilt_agrees(&mut client, &topic, load.keys()).await;
}
