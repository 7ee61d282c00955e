//! Pages of reads as messages: cut where they would be too large, and never without an end.

use super::pump::Feed;
use crate::limits::{PAGE_BYTES_MAX, SHORT_ANSWER_EVENTS};
use bkes_api::{Failure, Key, KeyedPage, Page, Reason};
use bkes_wire::{to_wire, v2};
use bytes::Bytes;
use prost::Message;

/// What the fields of an event take at most beside its bytes: eleven for each of three numbers, six for each of eight short ones and lengths,
/// and a bool.
const EVENT_FRAME_BYTES_MAX: usize = 3 * 11 + 8 * 6 + 2;

/// What the fields of a header take at most beside its bytes: its own length, and those of its name and its value.
const HEADER_FRAME_BYTES_MAX: usize = 3 * 6;

/// The pages of one aggregate.
#[derive(Default)]
pub struct ReadFeed {
    has_ended: bool,
}

impl Feed for ReadFeed {
    type Item = Page;
    type Message = v2::ReadReply;
    type Mark = ();

    fn messages(&mut self, page: Page) -> Result<Vec<(v2::ReadReply, ())>, Failure> {
        let page = to_wire::page(page).map_err(|bad| bad.in_answer())?;
        self.has_ended |= page.end.is_some();
        Ok(cut(page).into_iter().map(|part| (part, ())).collect())
    }

    fn beginning(&self) {}

    fn last_words(&self, (): &()) -> Option<v2::ReadReply> {
        None
    }

    fn end(&self) -> Result<(), Failure> {
        if self.has_ended { Ok(()) } else { Err(no_end()) }
    }

    const HAS_SHORT_ANSWERS: bool = true;

    fn is_short_answer(&self, page: &v2::ReadReply) -> bool {
        self.has_ended && page.events.len() <= SHORT_ANSWER_EVENTS
    }
}

/// The pages of several aggregates, one after the other.
pub struct ReadManyFeed {
    keys: Vec<Key>,
    /// The aggregate that is being read, as an index into the keys.
    at: usize,
}

impl ReadManyFeed {
    pub fn new(keys: Vec<Key>) -> ReadManyFeed {
        ReadManyFeed { keys, at: 0 }
    }
}

impl Feed for ReadManyFeed {
    type Item = KeyedPage;
    type Message = v2::ReadManyReply;
    type Mark = ();

    fn messages(&mut self, keyed: KeyedPage) -> Result<Vec<(v2::ReadManyReply, ())>, Failure> {
        if self.keys.get(self.at) != Some(&keyed.key) {
            return Err(Failure::new(
                Reason::Internal,
                "the store showed another aggregate than the next one",
            ));
        }
        let index = u32::try_from(self.at).expect("a request has at most a thousand keys");
        let page = to_wire::page(keyed.page).map_err(|bad| bad.in_answer())?;
        self.at += usize::from(page.end.is_some());
        let keyed = |v2::ReadReply { events, end }| (v2::ReadManyReply { index, events, end }, ());
        Ok(cut(page).into_iter().map(keyed).collect())
    }

    fn beginning(&self) {}

    fn last_words(&self, (): &()) -> Option<v2::ReadManyReply> {
        None
    }

    fn end(&self) -> Result<(), Failure> {
        if self.at == self.keys.len() { Ok(()) } else { Err(no_end()) }
    }
}

fn no_end() -> Failure {
    Failure::new(Reason::Internal, "the store broke off before the end of the read")
}

/// A page in as many messages as it takes: none of several events is larger than the limit.
fn cut(page: v2::ReadReply) -> Vec<v2::ReadReply> {
    let at_most: usize = page.events.iter().map(bytes_at_most).sum();
    let end = page.end.as_ref().map_or(0, Message::encoded_len);
    if at_most + end < PAGE_BYTES_MAX || page.encoded_len() <= PAGE_BYTES_MAX {
        return vec![page];
    }
    let v2::ReadReply { events, end } = page;
    let (mut parts, mut part, mut bytes) = (Vec::new(), v2::ReadReply::default(), 0);
    for event in events {
        let length = event.encoded_len();
        let framed = 1 + prost::length_delimiter_len(length) + length;
        if !part.events.is_empty() && bytes + framed > PAGE_BYTES_MAX {
            parts.push(std::mem::take(&mut part));
            bytes = 0;
        }
        bytes += framed;
        part.events.push(event);
    }
    part.end = end;
    parts.push(part);
    parts
}

/// What an event takes in a message at most; much cheaper to tell than what it takes.
fn bytes_at_most(event: &v2::Event) -> usize {
    let header = |header: &v2::Header| {
        HEADER_FRAME_BYTES_MAX + header.name.len() + header.value.as_ref().map_or(0, Bytes::len)
    };
    let headers: usize = event.headers.iter().map(header).sum();
    EVENT_FRAME_BYTES_MAX + event.value.as_ref().map_or(0, Bytes::len) + event.append_id.len() + headers
}

#[cfg(test)]
mod tests {
    use super::*;
    use bkes_api::{Event, Offset, Order, Origin, PageEnd, Partition};

    fn event(order: u64, bytes: usize) -> Event {
        Event {
            order: Order(order),
            partition: Partition(0),
            offset: Offset(order),
            timestamp: None,
            value: Some(vec![7; bytes].into()),
            headers: Vec::new(),
            origin: Origin::Foreign,
        }
    }

    fn end() -> Option<PageEnd> {
        let (first, next, layout) = (Order(0), Order(9), Default::default());
        Some(PageEnd { first, next, exists: true, is_complete: true, layout })
    }

    /// The story: a page has at most 1 MiB of content, and of empty events that would be any number.
    #[test]
    fn a_page_of_many_small_events_or_large_ones_is_cut_and_ends_once() {
        for (count, bytes) in [(200_000, 0), (1, 5 * 1024 * 1024), (40, 100_000), (3, 3 * 1024 * 1024)] {
            let mut feed = ReadFeed::default();
            assert!(feed.end().is_err(), "it did not end");
            let page = Page { events: (0..count).map(|order| event(order, bytes)).collect(), end: end() };
            let parts = feed.messages(page).expect("it fits");
            let fits =
                |part: &v2::ReadReply| part.encoded_len() <= PAGE_BYTES_MAX + 100 || part.events.len() == 1;
            assert!(parts.iter().all(|(part, ())| fits(part)), "{count} of {bytes}");
            let orders: Vec<u64> =
                parts.iter().flat_map(|(part, ())| &part.events).map(|event| event.order).collect();
            assert_eq!(orders, (0..count).collect::<Vec<_>>());
            let ends: Vec<bool> = parts.iter().map(|(part, ())| part.end.is_some()).collect();
            assert_eq!(ends.iter().position(|is_end| *is_end), Some(parts.len() - 1));
            assert_eq!(feed.end(), Ok(()));
        }
    }

    #[test]
    fn no_event_takes_more_in_a_message_than_is_reckoned_with() {
        let bytes = |count| Some(vec![7; count].into());
        let header = |count| v2::Header { name: vec![b'n'; count].into(), value: bytes(count) };
        let largest = v2::Event {
            order: u64::MAX,
            partition: i32::MAX,
            offset: i64::MAX,
            timestamp_ms: Some(-1),
            value: bytes(3_000_000),
            headers: vec![header(3_000_000), header(0), v2::Header::default()],
            foreign: true,
            batch_index: u32::MAX,
            batch_count: u32::MAX,
            append_id: vec![1; 64].into(),
        };
        for event in [largest, v2::Event::default(), v2::Event { value: bytes(0), ..v2::Event::default() }] {
            let page = v2::ReadReply { events: vec![event.clone()], end: None };
            assert!(page.encoded_len() <= bytes_at_most(&event), "{}", page.encoded_len());
        }
    }

    #[test]
    fn an_answer_is_short_with_its_end_and_few_events() {
        for (count, end, is_short) in [
            (0, end(), true),
            (SHORT_ANSWER_EVENTS as u64, end(), true),
            (SHORT_ANSWER_EVENTS as u64 + 1, end(), false),
            (1, None, false),
        ] {
            let mut feed = ReadFeed::default();
            let page = Page { events: (0..count).map(|order| event(order, 1)).collect(), end };
            let parts = feed.messages(page).expect("it fits");
            assert_eq!(feed.is_short_answer(&parts[0].0), is_short, "{count}");
        }
    }

    #[test]
    fn pages_of_several_aggregates_come_in_their_order_or_are_a_fault() {
        let key = |name: &'static str| Key::new(name).expect("it has bytes");
        let mut feed = ReadManyFeed::new(vec![key("a"), key("a"), key("b")]);
        let page = |name, end| KeyedPage { key: key(name), page: Page { events: Vec::new(), end } };
        let indexes: Vec<u32> = [("a", None), ("a", end()), ("a", end()), ("b", end())]
            .into_iter()
            .map(|(name, end)| feed.messages(page(name, end)).expect("it is the next one")[0].0.index)
            .collect();
        assert_eq!((indexes, feed.end()), (vec![0, 0, 1, 2], Ok(())));
        let mut feed = ReadManyFeed::new(vec![key("a"), key("b")]);
        assert!(feed.messages(page("b", None)).is_err());
        assert!(feed.end().is_err());
    }
}
