//! The one place that knows how a server is called.

use crate::exit::{Code, Ended};
use bkes_api::{EventStore, RetryPolicy};
use bkes_client::{Client, ClientOptions};
use std::sync::Arc;

/// The event store of the server at this address; several addresses, with commas between them, are instances of one topic. Nothing is
/// sent yet.
pub fn connect(addresses: &str) -> Result<Arc<dyn EventStore>, Ended> {
    let with_scheme = |address: &str| match address {
        address if address.contains("://") => address.to_owned(),
        address => format!("http://{address}"),
    };
    let addresses: Vec<String> = addresses.split(',').map(with_scheme).collect();
    let addresses: Vec<&str> = addresses.iter().map(String::as_str).collect();
    // Somebody waits for the answer: a server that is not there is said to be away after a moment.
    let retry = RetryPolicy { tries_max: 4, ..RetryPolicy::default() };
    let client = Client::connect_to(&addresses, ClientOptions { retry, ..ClientOptions::default() });
    Ok(Arc::new(client.map_err(|error| Ended::new(Code::Usage, error))?))
}
