//! Reads of ten events through gRPC against a bare echo of the same reply.

use crate::Settings;
use crate::appends::{PARTITIONS, VALUE_BYTES, channels, grpc_loop, relay, topic};
use crate::load::{Achieved, closed_loop};
use crate::process::Server;
use crate::report::{Rounds, Table};
use anyhow::bail;
use bkes_grpc::api::bkes_client::BkesClient;
use bkes_grpc::api::{AddRequest, RetrieveRequest, StartRequest, retrieve_reply};
use std::time::Duration;

const KEYS: u64 = 1_000;

fn key(number: u64) -> String {
    format!("read-{number}")
}

async fn fill(address: &str) -> anyhow::Result<()> {
    let mut client = BkesClient::new(channels(address, 1).await?.remove(0));
    let value = bytes::Bytes::from(vec![b'x'; VALUE_BYTES]);
    for number in 0..KEYS {
        client.start(StartRequest { key: key(number).into(), value: value.clone() }).await?;
        for order in 1..10 {
            let request = AddRequest { key: key(number).into(), value: value.clone(), order };
            client.add(request).await?;
        }
    }
    Ok(())
}

async fn read_loop(address: &str, callers: usize, span: Duration) -> anyhow::Result<Achieved> {
    let channels = channels(address, callers).await?;
    let mut turn = 0;
    closed_loop(callers, span, || {
        turn += 1;
        let client = BkesClient::new(channels[turn % channels.len()].clone());
        let mut number = turn as u64 * 7;
        move || {
            number += 1;
            let (mut client, key) = (client.clone(), key(number % KEYS));
            async move {
                let request = RetrieveRequest { key: key.into(), ..RetrieveRequest::default() };
                match client.retrieve(request).await?.into_inner().reply {
                    Some(retrieve_reply::Reply::Success(found)) if found.records.len() == 10 => Ok(()),
                    other => bail!("{other:?}"),
                }
            }
        }
    })
    .await
}

/// Reads, and appends among reads.
pub async fn reads(settings: &Settings) -> anyhow::Result<Table> {
    let title = "Reads of 10 events through gRPC against a bare echo";
    let columns = ["callers", "reads/s", "echo/s", "ratio", "p50 ms", "p50 ratio"];
    let mut table = Table::new(title, &columns);
    let ours = topic(settings, PARTITIONS).await?;
    let data = tempfile::tempdir()?;
    let server = Server::start(Server::command(&settings.server, data.path(), &settings.brokers, &ours))?;
    let relay = relay(settings, &ours)?;
    fill(&server.address).await?;
    // The first loop of either would pay for what starting left behind.
    grpc_loop(&server.address, 1, Duration::from_millis(300)).await?;
    for callers in [1, 16, 64] {
        let mut all: [Rounds; 5] = Default::default();
        for _ in 0..settings.rounds {
            let echo = read_loop(&relay.address, callers, settings.span()).await?;
            let mine = read_loop(&server.address, callers, settings.span()).await?;
            let values =
                [mine.rate, echo.rate, mine.rate / echo.rate, mine.p50_ms, mine.p50_ms / echo.p50_ms];
            all.iter_mut().zip(values).for_each(|(rounds, value)| rounds.0.push(value));
        }
        let mut row = vec![callers.to_string()];
        row.extend(all.iter().zip([0, 0, 2, 3, 2]).map(|(rounds, decimals)| rounds.show(decimals)));
        table.rows.push(row);
    }
    server.stop()?;
    Ok(table)
}
