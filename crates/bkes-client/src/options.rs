//! How a client speaks.

use bkes_api::RetryPolicy;
use std::time::Duration;

/// Settings of a client. `Default` gives what most want.
#[derive(Clone, Debug)]
pub struct ClientOptions {
    /// How long connecting may take.
    pub connect_timeout: Duration,
    /// How long an append may take with all its tries, if it does not say so itself. A server answers "outcome unknown" after 15 s.
    pub append_timeout: Duration,
    /// How long heads, lists and the status may take, and each page of a read. Answers that must be fresh may take a server 10 s.
    pub read_timeout: Duration,
    /// How appends are tried again, and calls that change nothing: as far as that is safe, and within the times above.
    pub retry: RetryPolicy,
    /// How often the server is asked whether it is still there, while there are calls.
    pub keepalive_interval: Duration,
    /// How long it may take to say so. Then the connection is given up, and made again for the next call.
    pub keepalive_timeout: Duration,
    /// The largest message that is taken. A page has 1 MiB, or one event however large.
    pub message_bytes_max: usize,
    /// Metadata of every call: names in lower case, and text.
    pub metadata: Vec<(String, String)>,
}

impl Default for ClientOptions {
    fn default() -> ClientOptions {
        ClientOptions {
            connect_timeout: Duration::from_secs(5),
            append_timeout: Duration::from_secs(30),
            read_timeout: Duration::from_secs(30),
            retry: RetryPolicy::default(),
            keepalive_interval: Duration::from_secs(10),
            keepalive_timeout: Duration::from_secs(10),
            message_bytes_max: 64 * 1024 * 1024,
            metadata: Vec::new(),
        }
    }
}

/// Why there is no client.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ConnectError {
    /// No address.
    #[error("a client needs the address of a server")]
    NoAddress,
    /// The address is none.
    #[error("{address:?} is no address of a server, as http://host:port is")]
    Address {
        /// What was given.
        address: String,
        /// What is wrong with it.
        source: tonic::transport::Error,
    },
    /// The address asks for something else than plain HTTP, such as TLS: it is not spoken to without.
    #[error("{address:?} does not begin with http://, and this client speaks nothing else: no TLS")]
    Scheme {
        /// What was given.
        address: String,
    },
    /// Metadata that cannot be sent.
    #[error(
        "metadata {name:?} cannot be sent: its name has other than lower-case letters, or its value other than printable text"
    )]
    Metadata {
        /// Its name.
        name: String,
    },
}
