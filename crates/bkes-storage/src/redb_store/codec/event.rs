//! The row of an event in the log table.

use super::contents::Contents;
use super::cursor::{Cursor, SEAL_BYTES, put_headers, put_signed, unseal, zigzag};
use crate::contract::StoredEvent;
use crate::redb_store::layout::{Large, Slot};
use crate::redb_store::varint::{Decoded, Garbled, number, number_bytes, put_number};
use bkes_core::marker::ID_HEADER;
use bkes_core::{BatchPlace, Header, Incarnation, Offset, Partition, Stamp, TimestampMs};
use bytes::Bytes;

const TOMBSTONE: u8 = 1;
const TIMESTAMP: u8 = 2;
const STAMP: u8 = 4;
const PLACE: u8 = 8;
const HEADERS: u8 = 16;
const LARGE: u8 = 32;

/// How far back an event lies: what such a number takes at most.
const BACK_BYTES_MAX: usize = 10;

/// Where the rest of an event is, beside its row.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Links {
    /// How far back the event before it in its stream lies, 0 for the first.
    pub back: u64,
    /// The short number of its incarnation.
    pub name: Option<u64>,
    /// Its value, unless that is in the row.
    pub large: Option<Large>,
}

/// An event's row, written in `out`. The partition is its aggregate's to know.
pub fn put_event<'o>(out: &'o mut Vec<u8>, slot: Slot, event: &StoredEvent, links: Links) -> &'o [u8] {
    let Links { back, name, large } = links;
    let place = event.stamp.and_then(|stamp| stamp.place);
    let flag = |set: bool, flag: u8| if set { flag } else { 0 };
    out.clear();
    let context = slot.context();
    out.extend_from_slice(&context);
    out.push(
        flag(event.tombstone, TOMBSTONE)
            | flag(event.timestamp.is_some(), TIMESTAMP)
            | flag(event.stamp.is_some(), STAMP)
            | flag(place.is_some(), PLACE)
            | flag(!event.headers.is_empty(), HEADERS)
            | flag(large.is_some(), LARGE),
    );
    put_number(out, back);
    if let Some(Large { block, bytes, sum }) = large {
        put_number(out, block);
        put_number(out, bytes);
        put_number(out, u64::from(sum));
    }
    put_number(out, event.offset.0);
    if let Some(timestamp) = event.timestamp {
        put_signed(out, timestamp.0);
    }
    if let (Some(stamp), Some(name)) = (event.stamp, name) {
        put_number(out, name);
        put_number(out, stamp.number);
    }
    if let Some(place) = place {
        put_number(out, u64::from(place.i));
        put_number(out, u64::from(place.count));
    }
    if !event.headers.is_empty() {
        put_headers(out, &event.headers);
    }
    if large.is_none() {
        out.extend_from_slice(&event.value);
    }
    // Sealed with its context in place: one call of the checksum costs half of what two do.
    let crc = crc32c::crc32c(out);
    let row = &mut out[context.len() - SEAL_BYTES..];
    row[..SEAL_BYTES].copy_from_slice(&crc.to_le_bytes());
    row
}

/// What an event's row takes at most: all of it but how far back the event before it lies is known.
pub fn event_bytes_max(event: &StoredEvent, Links { name, large, .. }: Links) -> usize {
    let timestamp = event.timestamp.map_or(0, |timestamp| number_bytes(zigzag(timestamp.0)));
    let stamp = event.stamp.map_or(0, |stamp| {
        let place =
            stamp.place.map_or(0, |p| number_bytes(u64::from(p.i)) + number_bytes(u64::from(p.count)));
        number_bytes(name.unwrap_or(0)) + number_bytes(stamp.number) + place
    });
    let header = |header: &Header| {
        let value = header.value.as_ref().map_or(0, Bytes::len);
        number_bytes(header.name.len() as u64) + header.name.len() + number_bytes(value as u64 + 1) + value
    };
    let headers = match &event.headers[..] {
        [] => 0,
        headers => number_bytes(headers.len() as u64) + headers.iter().map(header).sum::<usize>(),
    };
    SEAL_BYTES
        + 1
        + BACK_BYTES_MAX
        + number_bytes(event.offset.0)
        + timestamp
        + stamp
        + headers
        + match large {
            Some(Large { block, bytes, sum }) => {
                number_bytes(block) + number_bytes(bytes) + number_bytes(u64::from(sum))
            }
            None => event.value.len(),
        }
}

/// How far back the event before this one lies, read without a look at the checksum: whoever goes there finds the wrong event,
/// and says so, if it is wrong.
pub fn get_back(row: &[u8]) -> Decoded<u64> {
    number(&mut row.get(SEAL_BYTES + 1..).ok_or(Garbled)?)
}

/// Where its value lies, if that is not in the row; read without a look at the checksum.
pub fn get_large(row: &[u8]) -> Decoded<Option<Large>> {
    let mut cursor = Cursor::new(row.get(SEAL_BYTES..).ok_or(Garbled)?);
    let flags = cursor.byte()?;
    cursor.number()?;
    get_large_place(&mut cursor, flags)
}

/// How much of an event is read.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Content {
    /// All.
    Whole,
    /// What its outline says: no value, and of the headers an append's id only. The same is verified, but for a value that is large.
    Outline,
}

/// What is known of an event beside its row, how much of it is read, and where that is copied to.
pub struct Copying<'c> {
    pub partition: Partition,
    pub content: Content,
    pub contents: &'c mut Contents,
}

/// Reads an event's row; `name` finds the incarnation of a short number. Besides the event: how far back the one before it lies,
/// and where its value is if it has none yet.
#[inline]
pub fn get_event(
    row: &[u8],
    slot: Slot,
    Copying { partition, content, contents }: Copying<'_>,
    name: impl FnOnce(u64) -> Option<Incarnation>,
) -> Decoded<(StoredEvent, u64, Option<Large>)> {
    let mut cursor = Cursor::new(unseal(&slot.context(), row)?);
    let flags = cursor.byte()?;
    let has = |flag: u8| flags & flag != 0;
    let back = cursor.number()?;
    let large = get_large_place(&mut cursor, flags)?;
    let offset = Offset(cursor.number()?);
    let timestamp = if has(TIMESTAMP) { Some(TimestampMs(cursor.signed()?)) } else { None };
    let stamp = if has(STAMP) {
        let incarnation = name(cursor.number()?).ok_or(Garbled)?;
        let number = cursor.number()?;
        let place =
            if has(PLACE) { Some(BatchPlace { i: cursor.small()?, count: cursor.small()? }) } else { None };
        Some(Stamp { incarnation, number, place })
    } else {
        None
    };
    let is_whole = content == Content::Whole;
    contents.next_event();
    let headers = if !has(HEADERS) {
        Vec::new()
    } else if is_whole {
        cursor.headers_by(|bytes| contents.copy(bytes))?
    } else {
        cursor.headers_named(ID_HEADER)?
    };
    if large.is_some() {
        cursor.end()?;
    }
    let value = if is_whole { contents.copy(cursor.rest()) } else { Bytes::new() };
    let (order, tombstone) = (slot.order, has(TOMBSTONE));
    Ok((StoredEvent { order, partition, offset, timestamp, value, tombstone, stamp, headers }, back, large))
}

fn get_large_place(cursor: &mut Cursor<'_>, flags: u8) -> Decoded<Option<Large>> {
    if flags & LARGE == 0 {
        return Ok(None);
    }
    Ok(Some(Large { block: cursor.number()?, bytes: cursor.number()?, sum: cursor.small()? }))
}
