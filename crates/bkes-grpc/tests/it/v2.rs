//! The second contract, through real connections: with our client, and with what no client of ours would do.

mod append_streams;
mod calls;
mod conformance;
mod limits;
mod round_trips;
mod streams;

use crate::support::shelf::Shelf;
use crate::support::{Server, soon};
use bkes_api::{Append, EventStore, Key, Order, RetryPolicy, TaggedAppend};
use bkes_client::{Client, ClientOptions};
use bkes_grpc::{Channel, Gate, ServeOptions};
use bkes_wire::v2::event_store_client::EventStoreClient;
use std::sync::Arc;

fn gate_to(store: impl EventStore) -> Gate {
    let gate = Gate::new();
    gate.open_store(Arc::new(store));
    gate
}

async fn serve(store: impl EventStore) -> (Server, Client) {
    serve_with(store, ServeOptions::default()).await
}

async fn serve_with(store: impl EventStore, options: ServeOptions) -> (Server, Client) {
    let server = Server::start(gate_to(store), options).await;
    // What the server answers is told as it is.
    let options = ClientOptions { retry: RetryPolicy::never(), ..ClientOptions::default() };
    let address = format!("http://{}", server.address);
    let client = Client::connect_with(&address, options).expect("an address");
    (server, client)
}

/// The generated client, without ours.
async fn wire(server: &Server) -> EventStoreClient<Channel> {
    EventStoreClient::new(server.channel().await).max_decoding_message_size(64 * 1024 * 1024)
}

fn key(name: impl Into<String>) -> Key {
    Key::new(name.into()).expect("it has bytes")
}

fn tagged(tag: u64, append: Append) -> TaggedAppend {
    TaggedAppend { tag, append, stands_alone: false }
}

/// Appends this many events of so many bytes, a few at a time.
async fn fill(shelf: &Shelf, name: &str, events: u64, bytes: usize) {
    for order in 0..events {
        let append = Append::at(key(name), Order(order)).event(vec![7; bytes]);
        soon("it is stored", shelf.append(append)).await.expect("it is stored");
    }
}
