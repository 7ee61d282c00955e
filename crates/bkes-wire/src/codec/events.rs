//! Replies that are mostly events, written as protobuf has them and not by the library: it clones each value to write it, which is two
//! atomic operations, puts each number byte by byte, and asks each event once more how long it is.
//!
//! Here the small fields of an event are put together on the stack, around its value, and the length that stands before them is known
//! then. Which fields there are the compiler checks, and tests that every byte is the library's.

use crate::{v1, v2};
use bytes::BufMut;
use prost::Message;
use prost::encoding::{self, WireType};

/// A number takes ten bytes at most, and its field's tag one.
const NUMBER_BYTES_MAX: usize = 11;

/// Fields of numbers in a row, or a length with them.
struct Numbers {
    bytes: [u8; 5 * NUMBER_BYTES_MAX],
    count: usize,
}

impl Numbers {
    fn new() -> Numbers {
        Numbers { bytes: [0; 5 * NUMBER_BYTES_MAX], count: 0 }
    }

    /// A field of a number, unless that is what is meant where there is none.
    fn field(&mut self, tag: u8, number: u64) {
        if number != 0 {
            self.present(tag, number);
        }
    }

    /// A field of a number that may be none.
    fn optional(&mut self, tag: u8, number: Option<u64>) {
        if let Some(number) = number {
            self.present(tag, number);
        }
    }

    fn present(&mut self, tag: u8, number: u64) {
        self.tag(tag, WireType::Varint);
        self.number(number);
    }

    /// The beginning of a field of so many bytes.
    fn length(&mut self, tag: u8, length: usize) {
        self.tag(tag, WireType::LengthDelimited);
        self.number(length as u64);
    }

    fn tag(&mut self, tag: u8, wire: WireType) {
        self.byte(tag << 3 | wire as u8);
    }

    fn number(&mut self, mut number: u64) {
        while number >= 0x80 {
            self.byte(number as u8 | 0x80);
            number >>= 7;
        }
        self.byte(number as u8);
    }

    fn byte(&mut self, byte: u8) {
        self.bytes[self.count] = byte;
        self.count += 1;
    }

    fn bytes(&self) -> &[u8] {
        &self.bytes[..self.count]
    }
}

/// A field of this tag with an event in it.
fn put_event(tag: u8, event: &v2::Event, buf: &mut impl BufMut) {
    let v2::Event {
        order,
        partition,
        offset,
        timestamp_ms,
        value,
        headers,
        foreign,
        batch_index,
        batch_count,
        append_id,
    } = event;
    let (mut before, mut after) = (Numbers::new(), Numbers::new());
    before.field(1, *order);
    before.field(2, *partition as u64);
    before.field(3, *offset as u64);
    before.optional(4, timestamp_ms.map(|time| time as u64));
    if let Some(value) = value {
        before.length(5, value.len());
    }
    after.field(7, u64::from(*foreign));
    after.field(8, u64::from(*batch_index));
    after.field(9, u64::from(*batch_count));
    if !append_id.is_empty() {
        after.length(10, append_id.len());
    }
    let value = value.as_deref().unwrap_or_default();
    let of_headers = match &headers[..] {
        [] => 0,
        headers => encoding::message::encoded_len_repeated(6, headers),
    };
    let mut start = Numbers::new();
    start.length(tag, before.count + value.len() + of_headers + after.count + append_id.len());
    buf.put_slice(start.bytes());
    buf.put_slice(before.bytes());
    buf.put_slice(value);
    if !headers.is_empty() {
        encoding::message::encode_repeated(6, headers, buf);
    }
    buf.put_slice(after.bytes());
    buf.put_slice(append_id);
}

/// A page of an aggregate.
pub fn put_page(page: &v2::ReadReply, buf: &mut impl BufMut) {
    let v2::ReadReply { events, end } = page;
    events.iter().for_each(|event| put_event(1, event, buf));
    if let Some(end) = end {
        encoding::message::encode(2, end, buf);
    }
}

/// A page of one of several aggregates.
pub fn put_page_of_many(page: &v2::ReadManyReply, buf: &mut impl BufMut) {
    let v2::ReadManyReply { index, events, end } = page;
    let mut first = Numbers::new();
    first.field(1, u64::from(*index));
    buf.put_slice(first.bytes());
    events.iter().for_each(|event| put_event(2, event, buf));
    if let Some(end) = end {
        encoding::message::encode(3, end, buf);
    }
}

/// The answer to a read of the first contract.
pub fn put_retrieved(reply: &v1::RetrieveReply, buf: &mut impl BufMut) {
    let Some(v1::retrieve_reply::Reply::Success(found)) = &reply.reply else {
        return reply.encode(buf).expect("there is room for all of it");
    };
    let v1::StoredRecords { records, more, next_order, continue_from, split } = found;
    let (mut start, mut after) = (Numbers::new(), Numbers::new());
    start.length(1, found.encoded_len());
    buf.put_slice(start.bytes());
    records.iter().for_each(|record| put_record(1, record, buf));
    after.field(2, u64::from(*more));
    after.optional(3, *next_order);
    after.optional(4, *continue_from);
    after.field(5, u64::from(*split));
    buf.put_slice(after.bytes());
}

/// A field of this tag with an event of the first contract in it.
fn put_record(tag: u8, record: &v1::Record, buf: &mut impl BufMut) {
    let v1::Record { value, partition, offset, timestamp, order, tombstone, pending } = record;
    let (mut before, mut after) = (Numbers::new(), Numbers::new());
    if !value.is_empty() {
        before.length(1, value.len());
    }
    after.field(2, *partition as u64);
    after.field(3, *offset as u64);
    after.field(4, *timestamp as u64);
    after.optional(5, *order);
    after.field(6, u64::from(*tombstone));
    after.field(7, u64::from(*pending));
    let mut start = Numbers::new();
    start.length(tag, before.count + value.len() + after.count);
    buf.put_slice(start.bytes());
    buf.put_slice(before.bytes());
    buf.put_slice(value);
    buf.put_slice(after.bytes());
}

#[cfg(test)]
mod tests {
    use super::*;
    use bytes::Bytes;
    use fastrand::Rng;

    /// Few bits or many, and none quite often: every length that a number may have.
    fn number(random: &mut Rng) -> u64 {
        random.u64(..) >> random.u32(..64) >> random.u32(..2)
    }

    fn bytes(random: &mut Rng) -> Bytes {
        let count = if random.bool() { random.usize(..3) } else { random.usize(..300) };
        vec![random.u8(..); count].into()
    }

    fn some<T>(random: &mut Rng, make: impl FnOnce(&mut Rng) -> T) -> Option<T> {
        random.bool().then(|| make(random))
    }

    fn event(random: &mut Rng) -> v2::Event {
        let headers = if random.bool() { 0 } else { random.usize(..4) };
        let header = |random: &mut Rng| v2::Header { name: bytes(random), value: some(random, bytes) };
        v2::Event {
            order: number(random),
            partition: number(random) as i32,
            offset: number(random) as i64,
            timestamp_ms: some(random, |random| number(random) as i64),
            value: some(random, bytes),
            headers: (0..headers).map(|_| header(random)).collect(),
            foreign: random.bool(),
            batch_index: number(random) as u32,
            batch_count: number(random) as u32,
            append_id: bytes(random),
        }
    }

    fn end(random: &mut Rng) -> v2::ReadEnd {
        let (exists, next_order, complete) = (random.bool(), number(random), random.bool());
        v2::ReadEnd { exists, next_order, complete, ..v2::ReadEnd::default() }
    }

    fn record(random: &mut Rng) -> v1::Record {
        v1::Record {
            value: bytes(random),
            partition: number(random) as i32,
            offset: number(random) as i64,
            timestamp: number(random) as i64,
            order: some(random, number),
            tombstone: random.bool(),
            pending: random.bool(),
        }
    }

    fn written(put: impl FnOnce(&mut Vec<u8>)) -> Vec<u8> {
        let mut written = Vec::new();
        put(&mut written);
        written
    }

    #[test]
    fn every_byte_is_the_librarys() {
        let random = &mut Rng::with_seed(8);
        for _ in 0..2_000 {
            let events: Vec<_> = (0..random.usize(..5)).map(|_| event(random)).collect();
            let page = v2::ReadReply { events: events.clone(), end: some(random, end) };
            assert_eq!(written(|buf| put_page(&page, buf)), page.encode_to_vec(), "{page:?}");
            let index = number(random) as u32;
            let page = v2::ReadManyReply { index, events, end: some(random, end) };
            assert_eq!(written(|buf| put_page_of_many(&page, buf)), page.encode_to_vec(), "{page:?}");
            let found = v1::StoredRecords {
                records: (0..random.usize(..5)).map(|_| record(random)).collect(),
                more: random.bool(),
                next_order: some(random, number),
                continue_from: some(random, number),
                split: random.bool(),
            };
            let reply = match random.u8(..8) {
                0 => None,
                1 => Some(v1::retrieve_reply::Reply::Error(v1::Error::default())),
                _ => Some(v1::retrieve_reply::Reply::Success(found)),
            };
            let reply = v1::RetrieveReply { reply };
            assert_eq!(written(|buf| put_retrieved(&reply, buf)), reply.encode_to_vec(), "{reply:?}");
        }
    }

    #[test]
    fn the_largest_numbers_have_room() {
        let event = v2::Event {
            order: u64::MAX,
            partition: -1,
            offset: -1,
            timestamp_ms: Some(-1),
            value: Some(vec![7; 3_000_000].into()),
            batch_index: u32::MAX,
            batch_count: u32::MAX,
            append_id: vec![1; 64].into(),
            foreign: true,
            ..v2::Event::default()
        };
        let page = v2::ReadReply { events: vec![event], end: None };
        assert_eq!(written(|buf| put_page(&page, buf)), page.encode_to_vec());
        let (partition, offset, timestamp, order) = (-1, -1, -1, Some(u64::MAX));
        let record = v1::Record {
            value: vec![7; 3_000_000].into(),
            partition,
            offset,
            timestamp,
            order,
            tombstone: true,
            pending: true,
        };
        let found = v1::StoredRecords {
            records: vec![record],
            more: true,
            next_order: Some(u64::MAX),
            continue_from: Some(u64::MAX),
            split: true,
        };
        let reply = v1::RetrieveReply { reply: Some(v1::retrieve_reply::Reply::Success(found)) };
        assert_eq!(written(|buf| put_retrieved(&reply, buf)), reply.encode_to_vec());
    }
}
