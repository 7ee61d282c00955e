//! A small client for people:
//!
//! ```text
//! cargo run --example client -- start KEY VALUE
//! cargo run --example client -- add KEY ORDER VALUE
//! cargo run --example client -- retrieve KEY
//! ```
//!
//! `BKES` names another server than `http://127.0.0.1:50030`.

use bkes_grpc::api::bkes_client::BkesClient;
use bkes_grpc::api::{
    AddRequest, Error, RetrieveRequest, StartRequest, add_reply, retrieve_reply, start_reply,
};
use std::process::ExitCode;

const USAGE: &str = "usage: client start KEY VALUE | add KEY ORDER VALUE | retrieve KEY";

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<ExitCode, Box<dyn std::error::Error>> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
    let server = std::env::var("BKES").unwrap_or_else(|_| "http://127.0.0.1:50030".into());
    let mut client = BkesClient::connect(server).await?;
    let stored = match arguments[..] {
        ["start", key, value] => {
            let request = StartRequest { key: key.to_owned().into(), value: value.to_owned().into() };
            match client.start(request).await?.into_inner().reply {
                Some(start_reply::Reply::Success(stored)) => stored,
                Some(start_reply::Reply::Error(error)) => return Ok(refused(&error)),
                None => return Err("an empty reply".into()),
            }
        }
        ["add", key, order, value] => {
            let order = order.parse()?;
            let request = AddRequest { key: key.to_owned().into(), value: value.to_owned().into(), order };
            match client.add(request).await?.into_inner().reply {
                Some(add_reply::Reply::Success(stored)) => stored,
                Some(add_reply::Reply::Error(error)) => return Ok(refused(&error)),
                None => return Err("an empty reply".into()),
            }
        }
        ["retrieve", key] => {
            let request = RetrieveRequest { key: key.to_owned().into(), ..RetrieveRequest::default() };
            match client.retrieve(request).await?.into_inner().reply {
                Some(retrieve_reply::Reply::Success(found)) => {
                    for record in found.records {
                        println!(
                            "{}\t{}",
                            record.order.unwrap_or_default(),
                            String::from_utf8_lossy(&record.value)
                        );
                    }
                    return Ok(ExitCode::SUCCESS);
                }
                Some(retrieve_reply::Reply::Error(error)) => return Ok(refused(&error)),
                None => return Err("an empty reply".into()),
            }
        }
        _ => return Err(USAGE.into()),
    };
    println!(
        "order {} at offset {} of partition {}",
        stored.order.unwrap_or_default(),
        stored.offset,
        stored.partition
    );
    Ok(ExitCode::SUCCESS)
}

fn refused(error: &Error) -> ExitCode {
    eprintln!("{} ({}): {}", error.error, error.reason().as_str_name(), error.cause);
    ExitCode::FAILURE
}
