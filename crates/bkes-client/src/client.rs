//! The client: a connection to each instance, one of them in use, and the trait's calls over it.

use crate::instances::{Instances, Wire};
use crate::limits::{
    CONNECTION_WINDOW_BYTES, HEADERS_BYTES_MAX, SERVER_GRACE, STREAM_WINDOW_BYTES, WAIT_SLICE,
};
use crate::options::{ClientOptions, ConnectError};
use crate::span::{EMPTY, traced};
use crate::streams::{FollowTurn, Messages, ReadManyTurn, ReadTurn};
use crate::succession::Succession;
use crate::wait::in_slices;
use async_trait::async_trait;
use bkes_api::{
    Append, AppendFailure, Appended, BoxStream, EventStore, Failure, Follow, FollowItem, Freshness, Head,
    Key, KeyList, KeyedPage, KeysRequest, ListedKey, Page, Read, ReadMany, RetryBudget, Status, TaggedAnswer,
    TaggedAppend, WaitFor,
};
use bkes_wire::v2::event_store_client::EventStoreClient;
use bkes_wire::{BadField, from_wire, to_wire, v2};
use std::sync::Arc;
use std::time::Duration;
use tonic::metadata::{Ascii, MetadataKey, MetadataValue};
use tonic::transport::Endpoint;
use tracing::debug_span;

/// A client of a server, or of several instances of one topic. Cheap to clone; all clones share their connections.
#[derive(Clone, Debug)]
pub struct Client {
    pub(crate) instances: Arc<Instances>,
    pub(crate) options: Arc<ClientOptions>,
    pub(crate) metadata: Arc<[(MetadataKey<Ascii>, MetadataValue<Ascii>)]>,
    pub(crate) budget: Arc<RetryBudget>,
}

impl Client {
    /// A client of the server at an address, `http://host:port`, with the usual options. It connects with the first call.
    ///
    /// # Panics
    ///
    /// Outside of a Tokio runtime.
    pub fn connect(address: &str) -> Result<Client, ConnectError> {
        Client::connect_with(address, ClientOptions::default())
    }

    /// The same with options.
    ///
    /// # Panics
    ///
    /// Outside of a Tokio runtime.
    pub fn connect_with(address: &str, options: ClientOptions) -> Result<Client, ConnectError> {
        Client::connect_to(&[address], options)
    }

    /// A client of several instances of one topic. One of them is called, until it cannot be reached or says that it does not serve: then
    /// the next one is. A deadline of the caller's own that passes is no reason to turn.
    ///
    /// *Local* is what the instance that is called has read. After a turn that is another one, which may not have read yet what the one
    /// before had shown: reads that must not go back are [at least](Freshness::AtLeast) as fresh as what was seen, or the latest.
    ///
    /// # Panics
    ///
    /// Outside of a Tokio runtime.
    pub fn connect_to(addresses: &[&str], options: ClientOptions) -> Result<Client, ConnectError> {
        if addresses.is_empty() {
            return Err(ConnectError::NoAddress);
        }
        let wires = addresses.iter().map(|address| wire(address, &options));
        let instances = Instances::new(wires.collect::<Result<_, ConnectError>>()?);
        let metadata = options.metadata.iter().map(|(name, value)| {
            let bad = || ConnectError::Metadata { name: name.clone() };
            let key = MetadataKey::from_bytes(name.as_bytes()).map_err(|_| bad())?;
            Ok((key, value.parse().map_err(|_| bad())?))
        });
        let metadata = metadata.collect::<Result<_, ConnectError>>()?;
        let (instances, budget) = (Arc::new(instances), Arc::default());
        Ok(Client { instances, options: Arc::new(options), metadata, budget })
    }
}

/// What addresses begin with.
const HTTP: &str = "http://";

/// The calls to a server that is connected to when it is first called.
fn wire(address: &str, options: &ClientOptions) -> Result<Wire, ConnectError> {
    let wrong = |source| ConnectError::Address { address: address.to_owned(), source };
    let endpoint = Endpoint::from_shared(address.to_owned()).map_err(wrong)?;
    if !address.get(..HTTP.len()).is_some_and(|start| start.eq_ignore_ascii_case(HTTP)) {
        return Err(ConnectError::Scheme { address: address.to_owned() });
    }
    let endpoint = endpoint
        .connect_timeout(options.connect_timeout)
        .tcp_nodelay(true)
        .http2_keep_alive_interval(options.keepalive_interval)
        .keep_alive_timeout(options.keepalive_timeout)
        .keep_alive_while_idle(false)
        .initial_stream_window_size(STREAM_WINDOW_BYTES)
        .initial_connection_window_size(CONNECTION_WINDOW_BYTES)
        .http2_max_header_list_size(HEADERS_BYTES_MAX);
    Ok(EventStoreClient::new(endpoint.connect_lazy()).max_decoding_message_size(options.message_bytes_max))
}

fn refused(bad: BadField) -> Failure {
    bad.in_request()
}

fn misread(bad: BadField) -> Failure {
    bad.in_answer()
}

/// A list makes sense if its keys rise, above the one that was named, are those asked for, and whoever goes on after them comes farther.
fn check_list(request: &KeysRequest, list: &KeyList) -> Result<(), BadField> {
    if list.keys.len() > request.keys_max.max(1) {
        return Err(BadField::new("keys", "are more than were asked for"));
    }
    if list.keys.is_empty() && list.more {
        return Err(BadField::new("keys", "are none, and there are more"));
    }
    let mut after = request.after.as_ref();
    for (index, ListedKey { key, .. }) in list.keys.iter().enumerate() {
        if after.is_some_and(|after| key <= after) || !key.bytes().starts_with(&request.prefix) {
            return Err(BadField::new(format!("keys[{index}].key"), "is not one that comes next"));
        }
        after = Some(key);
    }
    Ok(())
}

/// The page, no longer than asked for: the wire has one bound on the bytes of keys for all.
fn cut(mut list: KeyList, bytes_max: usize) -> KeyList {
    let mut bytes = 0;
    let whole = list.keys.iter().position(|listed| {
        bytes += listed.key.bytes().len();
        bytes >= bytes_max
    });
    if let Some(last) = whole.filter(|last| last + 1 < list.keys.len()) {
        list.keys.truncate(last + 1);
        list.more = true;
    }
    list
}

#[async_trait]
impl EventStore for Client {
    async fn append(&self, append: Append) -> Result<Appended, AppendFailure> {
        self.append_until_answered(append).await
    }

    fn tries_again(&self) -> bool {
        true
    }

    async fn append_stream(
        &self,
        appends: BoxStream<TaggedAppend>,
    ) -> Result<BoxStream<TaggedAnswer>, Failure> {
        traced(debug_span!("append_stream", outcome = EMPTY), self.begin_append_stream(appends)).await
    }

    async fn read(&self, read: Read) -> Result<BoxStream<Result<Page, Failure>>, Failure> {
        let span = debug_span!("read", key_bytes = read.key.bytes().len(), outcome = EMPTY);
        traced(span, async {
            let turn = ReadTurn::new(Succession::of(&read));
            let message = to_wire::read(read).map_err(refused)?;
            let begin = |mut wire: Wire, _| {
                let request = self.request(message.clone(), None);
                async move { wire.read(request).await }
            };
            let pages = self.safely(self.options.read_timeout, begin).await?;
            Ok(Box::pin(Messages::new(pages, turn, Some(self.options.read_timeout))) as BoxStream<_>)
        })
        .await
    }

    async fn read_many(&self, read: ReadMany) -> Result<BoxStream<Result<KeyedPage, Failure>>, Failure> {
        traced(debug_span!("read_many", keys = read.keys.len(), outcome = EMPTY), async {
            let message = to_wire::read_many(&read).map_err(refused)?;
            let begin = |mut wire: Wire, _| {
                let request = self.request(message.clone(), None);
                async move { wire.read_many(request).await }
            };
            let pages = self.safely(self.options.read_timeout, begin).await?;
            let of_each = Succession::of_each(&read);
            let turn = ReadManyTurn::new(read.keys, of_each);
            Ok(Box::pin(Messages::new(pages, turn, Some(self.options.read_timeout))) as BoxStream<_>)
        })
        .await
    }

    async fn head(&self, key: Key, freshness: Freshness) -> Result<Option<Head>, Failure> {
        let span = debug_span!("head", key_bytes = key.bytes().len(), outcome = EMPTY);
        traced(span, async {
            let message = to_wire::head_request(&key, &freshness).map_err(refused)?;
            let call = |mut wire: Wire, left| {
                let request = self.request(message.clone(), Some(left));
                async move { wire.head(request).await }
            };
            let reply = self.safely(self.options.read_timeout, call).await?;
            from_wire::head(reply).map_err(misread)
        })
        .await
    }

    async fn keys(&self, request: KeysRequest) -> Result<KeyList, Failure> {
        traced(debug_span!("list_keys", outcome = EMPTY), async {
            let message = to_wire::keys_request(&request).map_err(refused)?;
            let call = |mut wire: Wire, left| {
                let request = self.request(message.clone(), Some(left));
                async move { wire.list_keys(request).await }
            };
            let reply = self.safely(self.options.read_timeout, call).await?;
            let list = from_wire::key_list(reply).map_err(misread)?;
            check_list(&request, &list).map_err(misread)?;
            Ok(cut(list, request.bytes_max))
        })
        .await
    }

    async fn follow(&self, follow: Follow) -> Result<BoxStream<Result<FollowItem, Failure>>, Failure> {
        traced(debug_span!("follow", outcome = EMPTY), async {
            let message = to_wire::follow(&follow).map_err(refused)?;
            let begin = |mut wire: Wire, _| {
                let request = self.request(message.clone(), None);
                async move { wire.follow(request).await }
            };
            let items = self.safely(self.options.read_timeout, begin).await?;
            // Silence is nothing new to show: whether the server is there is known by keepalive.
            Ok(Box::pin(Messages::new(items, FollowTurn, None)) as BoxStream<_>)
        })
        .await
    }

    async fn wait_for(&self, wait: WaitFor) -> Result<(), Failure> {
        traced(debug_span!("wait_for", outcome = EMPTY), async {
            let message = to_wire::wait_for(&wait).map_err(refused)?;
            let call = |mut wire: Wire, left: Duration| {
                // It is the server that says that the time is over.
                let timeout_ms =
                    message.timeout_ms.map(|all| all.min(u32::try_from(left.as_millis()).unwrap_or(all)));
                let message = v2::WaitForRequest { timeout_ms, ..message.clone() };
                let request = self.request(message, Some(left.saturating_add(SERVER_GRACE)));
                async move { wire.wait_for(request).await }
            };
            in_slices(wait.timeout, WAIT_SLICE, async |slice| {
                let v2::WaitForReply {} = self.safely(slice, call).await?;
                Ok(())
            })
            .await
        })
        .await
    }

    async fn status(&self) -> Result<Status, Failure> {
        traced(debug_span!("status", outcome = EMPTY), async {
            let call = |mut wire: Wire, left| {
                let request = self.request(v2::StatusRequest {}, Some(left));
                async move { wire.status(request).await }
            };
            from_wire::status(self.safely(self.options.read_timeout, call).await?).map_err(misread)
        })
        .await
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use bkes_api::Order;

    fn list(lengths: &[usize]) -> KeyList {
        let listed = |length: &usize| {
            let key = Key::new(vec![b'k'; *length]).expect("it has bytes");
            ListedKey { key, next: Order(1), partitions: Vec::new() }
        };
        KeyList { keys: lengths.iter().map(listed).collect(), more: false }
    }

    #[test]
    fn a_list_ends_with_the_key_that_reaches_the_bytes_asked_for() {
        for (bytes_max, count, more) in
            [(0, 1, true), (3, 1, true), (4, 2, true), (6, 2, true), (7, 3, false), (99, 3, false)]
        {
            let cut = cut(list(&[3, 3, 3]), bytes_max);
            assert_eq!((cut.keys.len(), cut.more), (count, more), "{bytes_max}");
        }
    }

    #[test]
    fn a_list_is_of_keys_that_rise_from_where_it_was_asked_for() {
        let key = |name: &&str| Key::new((*name).to_owned()).expect("it has bytes");
        let request = KeysRequest {
            prefix: "b".into(),
            after: Some(key(&"b2")),
            keys_max: 3,
            ..KeysRequest::default()
        };
        let is_right = |names: &[&str], more| {
            let listed = |name| ListedKey { key: key(name), next: Order(1), partitions: Vec::new() };
            check_list(&request, &KeyList { keys: names.iter().map(listed).collect(), more }).is_ok()
        };
        assert!(is_right(&["b3", "b4", "b5"], true) && is_right(&["b3"], false) && is_right(&[], false));
        assert!(!is_right(&[], true), "whoever goes on after that comes no farther");
        for names in [&["b2"][..], &["b1"], &["b4", "b3"], &["b3", "b3"], &["c"], &["b3", "b4", "b5", "b6"]] {
            assert!(!is_right(names, false), "{names:?}");
        }
    }

    #[tokio::test]
    async fn what_is_no_address_and_no_metadata_is_refused_before_any_call() {
        assert!(matches!(Client::connect("not an address"), Err(ConnectError::Address { .. })));
        // What is meant for TLS is not sent in plain text.
        for address in [
            "https://localhost:1",
            "HTTPS://localhost:1",
            "unix:///socket",
            "grpc://localhost:1",
            "localhost:1",
        ] {
            assert!(matches!(Client::connect(address), Err(ConnectError::Scheme { .. })), "{address}");
        }
        assert!(Client::connect("HTTP://localhost:1").is_ok());
        for (name, value) in [("Upper Case", "x"), ("name", "line\nbreak"), ("bytes-bin", "x")] {
            let metadata = vec![(name.to_owned(), value.to_owned())];
            let options = ClientOptions { metadata, ..ClientOptions::default() };
            let refused = Client::connect_with("http://localhost:1", options);
            assert!(matches!(refused, Err(ConnectError::Metadata { .. })), "{name}");
        }
    }
}
