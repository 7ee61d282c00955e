//! The event store over a connection.
//!
//! [`Client`] is [`EventStore`](bkes_api::EventStore) as a client of a server: a service is written against the trait, and this is one of
//! its two implementations. It is cheap to clone, and all clones share one connection, which is made when it is first needed and made
//! again whenever it was lost.
//!
//! ```no_run
//! use bkes_api::{Append, EventStore, Key, Read};
//! use bkes_client::Client;
//! use tokio_stream::StreamExt;
//!
//! # async fn example() -> Result<(), Box<dyn std::error::Error>> {
//! let store = Client::connect("http://localhost:50030")?;
//! let account = Key::new("account-7").expect("a key has bytes");
//!
//! let opened = store.append(Append::start(account.clone()).event("opened")).await?;
//! store.append(Append::at(account.clone(), opened.next()).event("deposited 5")).await?;
//!
//! let mut pages = store.read(Read::all(account)).await?;
//! while let Some(page) = pages.next().await {
//!     for event in page?.events {
//!         println!("{}: {:?}", event.order, event.value);
//!     }
//! }
//! # Ok(())
//! # }
//! ```
//!
//! # What an error tells
//!
//! An append fails with an [`AppendFailure`](bkes_api::AppendFailure), and its [`class`](bkes_api::AppendFailure::class) says what may be
//! concluded:
//!
//! ```
//! use bkes_api::{AppendFailure, ErrorClass};
//!
//! fn what_now(failure: &AppendFailure) -> &'static str {
//!     match failure.class() {
//!         ErrorClass::Rejected => "not stored, and the same append never will be: read, and decide again",
//!         ErrorClass::Unavailable => "not stored: try again",
//!         ErrorClass::Unknown => "stored once or not at all: repeat it by `again` if it has an id, otherwise read",
//!     }
//! }
//! # use bkes_api::{Failure, Reason};
//! # let lost = Failure::new(Reason::AnswerLost, "the connection ended");
//! # let lost = AppendFailure::Unknown { id: None, failure: lost };
//! # assert!(what_now(&lost).starts_with("stored once"));
//! ```
//!
//! A connection that ends, a deadline that passes here, and whatever a proxy says leave an append unknown, since its request may have
//! arrived. Only where no connection could be made it was not sent. Give appends an [`AppendId`](bkes_api::AppendId), and they may be
//! tried again after anything: the client does so while there is time, and whoever goes on after that repeats the append by
//! [`again`](bkes_api::Append::again), which says that an earlier try may be stored.
//!
//! # Many appends
//!
//! One call costs a message each way. [`append_stream`](bkes_api::EventStore::append_stream) sends what is there in one message, without
//! waiting for more, and keeps up to 1,024 appends in flight:
//!
//! ```no_run
//! use bkes_api::{Append, EventStore, Key, TaggedAppend};
//! use bkes_client::Client;
//! use tokio_stream::StreamExt;
//!
//! # async fn example() -> Result<(), Box<dyn std::error::Error>> {
//! let store = Client::connect("http://localhost:50030")?;
//! let appends = tokio_stream::iter((0..10_000).map(|tag| {
//!     let key = Key::new(format!("sensor-{tag}")).expect("a key has bytes");
//!     TaggedAppend { tag, append: Append::start(key).event("installed"), stands_alone: false }
//! }));
//! let mut answers = store.append_stream(Box::pin(appends)).await?;
//! while let Some(answer) = answers.next().await {
//!     if let Err(failure) = answer.answer {
//!         eprintln!("append {}: {failure}", answer.tag);
//!     }
//! }
//! # Ok(())
//! # }
//! ```
//!
//! Every append that was taken from the stream is answered, also when the connection is lost: those under way are unknown then.
//!
//! # Options
//!
//! [`Client::connect_with`] takes [`ClientOptions`]: deadlines, keepalive, sizes, and metadata for every call.
//!
//! ```
//! # let runtime = tokio::runtime::Runtime::new().expect("a runtime");
//! # let _guard = runtime.enter();
//! use bkes_client::{Client, ClientOptions};
//! use std::time::Duration;
//!
//! let options = ClientOptions {
//!     append_timeout: Duration::from_secs(5),
//!     metadata: vec![("authorization".into(), "Bearer 7d1".into())],
//!     ..ClientOptions::default()
//! };
//! let store = Client::connect_with("http://localhost:50030", options);
//! assert!(store.is_ok(), "no connection is made before there is a call");
//! ```
//!
//! Each call is a `tracing` span at the level of debug, with the key's length and how it ended, and without keys or values.
//!
//! This crate knows no log, no store, and no rule.

#![forbid(unsafe_code)]

mod client;
mod instances;
mod limits;
mod options;

mod append;
mod append_stream;
mod call;
mod span;
mod streams;
mod succession;
mod wait;

pub use client::Client;
pub use options::{ClientOptions, ConnectError};
