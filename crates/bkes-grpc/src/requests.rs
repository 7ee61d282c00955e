//! Requests of the wire in the engine's words: the one place where they are turned and checked.

use crate::api::{AddRequest, RetrieveRequest, StartRequest};
use crate::errors::Failure;
use bkes_core::{Key, Order};
use bkes_engine::{AppendRequest, Expected};
use bytes::Bytes;

/// What a retrieve asks for.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Retrieval {
    /// The aggregate.
    pub key: Key,
    /// The part wanted; `None` asks for everything or an error.
    pub page: Option<Page>,
    /// Whether pending events are to be shown.
    pub include_pending: bool,
}

/// A part of an aggregate.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Page {
    /// The first event wanted.
    pub from: Order,
    /// The most events wanted.
    pub events_max: usize,
}

/// The append a start asks for.
pub fn start(request: StartRequest) -> Result<AppendRequest, Failure> {
    let StartRequest { key, value } = request;
    Ok(AppendRequest { key: self::key(key)?, expected: Expected::New, values: vec![value] })
}

/// The append an add asks for.
pub fn add(request: AddRequest) -> Result<AppendRequest, Failure> {
    let AddRequest { key, value, order } = request;
    let expected = Expected::At(Order(u64::from(order)));
    Ok(AppendRequest { key: self::key(key)?, expected, values: vec![value] })
}

/// The read a retrieve asks for.
pub fn retrieve(request: RetrieveRequest) -> Result<Retrieval, Failure> {
    let RetrieveRequest { key, from_order, limit, include_pending } = request;
    let key = self::key(key)?;
    if limit == Some(0) {
        return Err(Failure::Invalid { field: "limit", why: "must be at least 1" });
    }
    let page = (from_order.is_some() || limit.is_some()).then(|| Page {
        from: Order(from_order.unwrap_or(0)),
        events_max: limit.map_or(usize::MAX, |limit| limit as usize),
    });
    Ok(Retrieval { key, page, include_pending })
}

fn key(bytes: Bytes) -> Result<Key, Failure> {
    Key::new(bytes).ok_or(Failure::EmptyKey)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn asking(from_order: Option<u64>, limit: Option<u32>) -> RetrieveRequest {
        RetrieveRequest { key: Bytes::from_static(b"k"), from_order, limit, include_pending: false }
    }

    #[test]
    fn a_request_without_paging_fields_asks_for_everything() {
        let page = |from_order, limit| retrieve(asking(from_order, limit)).expect("it is valid").page;
        assert_eq!(page(None, None), None);
        assert_eq!(page(Some(0), None), Some(Page { from: Order(0), events_max: usize::MAX }));
        assert_eq!(page(None, Some(7)), Some(Page { from: Order(0), events_max: 7 }));
        assert_eq!(page(Some(u64::MAX), Some(1)), Some(Page { from: Order(u64::MAX), events_max: 1 }));
        assert!(matches!(retrieve(asking(None, Some(0))), Err(Failure::Invalid { field: "limit", .. })));
    }

    #[test]
    fn no_call_takes_an_empty_key() {
        assert!(matches!(start(StartRequest::default()), Err(Failure::EmptyKey)));
        assert!(matches!(add(AddRequest::default()), Err(Failure::EmptyKey)));
        assert!(matches!(retrieve(RetrieveRequest::default()), Err(Failure::EmptyKey)));
    }

    #[test]
    fn an_add_names_its_order_and_a_start_none() {
        let key = Bytes::from_static(b"k");
        let added =
            add(AddRequest { key: key.clone(), value: Bytes::new(), order: u32::MAX }).expect("valid");
        assert_eq!(added.expected, Expected::At(Order(4_294_967_295)));
        let started = start(StartRequest { key, value: Bytes::new() }).expect("valid");
        assert_eq!((started.expected, started.values), (Expected::New, vec![Bytes::new()]));
    }
}
