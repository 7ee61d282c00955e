//! The bytes of the store's rows: variable-length integers, and a checksum wherever a row carries content.
//!
//! Decoding trusts nothing: whatever the file holds, the answer is a value or `Garbled`, never a panic.

use super::blocks::Place;
use super::dropping::{Dead, Dropped, Swept};
use super::spread::Spread;
use super::values::Large;
use crate::contract::{Checkpoint, Counters, Fingerprint, StoreIdentity, StoredEvent, Unread};
use bkes_core::{
    BatchPlace, Header, Incarnation, IncarnationState, Key, LeaderEpoch, Offset, OpenBatch, Order, Partition,
    Partitioner, Position, Record, Stamp, TimestampMs,
};
use bytes::Bytes;
use std::num::NonZeroU32;

/// Stored bytes that no writer of this format wrote.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Garbled;

type Decoded<T> = Result<T, Garbled>;

pub fn put_number(out: &mut Vec<u8>, mut number: u64) {
    while number >= 0x80 {
        out.push(number as u8 | 0x80);
        number >>= 7;
    }
    out.push(number as u8);
}

/// What a number takes.
pub fn number_bytes(number: u64) -> usize {
    (u64::BITS - (number | 1).leading_zeros()).div_ceil(7) as usize
}

fn zigzag(number: i64) -> u64 {
    ((number << 1) ^ (number >> 63)) as u64
}

fn put_signed(out: &mut Vec<u8>, number: i64) {
    put_number(out, zigzag(number));
}

fn put_bytes(out: &mut Vec<u8>, bytes: &[u8]) {
    put_number(out, bytes.len() as u64);
    out.extend_from_slice(bytes);
}

/// Null is 0, otherwise the length plus one.
fn put_optional(out: &mut Vec<u8>, bytes: Option<&[u8]>) {
    put_number(out, bytes.map_or(0, |bytes| bytes.len() as u64 + 1));
    out.extend_from_slice(bytes.unwrap_or_default());
}

fn put_headers(out: &mut Vec<u8>, headers: &[Header]) {
    put_number(out, headers.len() as u64);
    for header in headers {
        put_bytes(out, &header.name);
        put_optional(out, header.value.as_deref());
    }
}

/// Takes a number from the front of `rest`.
pub fn number(rest: &mut &[u8]) -> Decoded<u64> {
    let mut number = 0u64;
    for shift in (0..64).step_by(7) {
        let (byte, behind) = rest.split_first().ok_or(Garbled)?;
        *rest = behind;
        let bits = u64::from(byte & 0x7f);
        if shift == 63 && bits > 1 {
            return Err(Garbled);
        }
        number |= bits << shift;
        if byte & 0x80 == 0 {
            return Ok(number);
        }
    }
    Err(Garbled)
}

/// Reads a row from the front; content is copied out of it.
pub struct Cursor<'a> {
    rest: &'a [u8],
}

impl<'a> Cursor<'a> {
    pub fn new(row: &'a [u8]) -> Cursor<'a> {
        Cursor { rest: row }
    }

    pub fn number(&mut self) -> Decoded<u64> {
        number(&mut self.rest)
    }

    fn small(&mut self) -> Decoded<u32> {
        u32::try_from(self.number()?).map_err(|_| Garbled)
    }

    fn signed(&mut self) -> Decoded<i64> {
        let number = self.number()?;
        Ok((number >> 1) as i64 ^ -((number & 1) as i64))
    }

    fn byte(&mut self) -> Decoded<u8> {
        let (byte, rest) = self.rest.split_first().ok_or(Garbled)?;
        self.rest = rest;
        Ok(*byte)
    }

    fn take(&mut self, length: u64) -> Decoded<Bytes> {
        let length = usize::try_from(length).map_err(|_| Garbled)?;
        let (bytes, rest) = self.rest.split_at_checked(length).ok_or(Garbled)?;
        self.rest = rest;
        Ok(Bytes::copy_from_slice(bytes))
    }

    fn bytes(&mut self) -> Decoded<Bytes> {
        let length = self.number()?;
        self.take(length)
    }

    fn optional(&mut self) -> Decoded<Option<Bytes>> {
        match self.number()? {
            0 => Ok(None),
            length => self.take(length - 1).map(Some),
        }
    }

    fn headers(&mut self) -> Decoded<Vec<Header>> {
        let count = self.number()?;
        if count > self.rest.len() as u64 {
            return Err(Garbled);
        }
        (0..count).map(|_| Ok(Header { name: self.bytes()?, value: self.optional()? })).collect()
    }

    fn large(&mut self, flags: u8) -> Decoded<Option<Large>> {
        if flags & LARGE == 0 {
            return Ok(None);
        }
        Ok(Some(Large { block: self.number()?, bytes: self.number()?, sum: self.small()? }))
    }

    /// All that is left.
    fn rest(self) -> Bytes {
        Bytes::copy_from_slice(self.rest)
    }

    pub fn end(&self) -> Decoded<()> {
        if self.rest.is_empty() { Ok(()) } else { Err(Garbled) }
    }
}

/// The checksum in front of a row.
const SEAL_BYTES: usize = 4;

/// Puts a CRC-32C, of `context` and the row, in front of a row.
fn seal(context: &[u8], row: &mut [u8]) {
    let (head, rest) = row.split_at_mut(SEAL_BYTES);
    let crc = crc32c::crc32c_append(crc32c::crc32c(context), rest);
    head.copy_from_slice(&crc.to_le_bytes());
}

/// What a seal covers, if it is whole.
fn unseal<'a>(context: &[u8], row: &'a [u8]) -> Decoded<&'a [u8]> {
    let (head, rest) = row.split_at_checked(SEAL_BYTES).ok_or(Garbled)?;
    let crc = crc32c::crc32c_append(crc32c::crc32c(context), rest);
    if head == crc.to_le_bytes() { Ok(rest) } else { Err(Garbled) }
}

const TOMBSTONE: u8 = 1;
const TIMESTAMP: u8 = 2;
const STAMP: u8 = 4;
const PLACE: u8 = 8;
const HEADERS: u8 = 16;
const LARGE: u8 = 32;

/// How far back an event lies: what such a number takes at most.
const BACK_BYTES_MAX: usize = 10;

/// Which event a row of the log table is: it goes into the checksum, so that a row in the wrong place is noticed.
#[derive(Clone, Copy)]
pub struct Slot {
    pub stream: u64,
    pub order: Order,
}

impl Slot {
    pub fn context(self) -> [u8; 16] {
        let mut context = [0; 16];
        context[..8].copy_from_slice(&self.stream.to_le_bytes());
        context[8..].copy_from_slice(&self.order.0.to_le_bytes());
        context
    }
}

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
    cursor.large(flags)
}

/// Reads an event's row; `name` finds the incarnation of a short number. Besides the event: how far back the one before it lies,
/// and where its value is if it has none yet.
pub fn get_event(
    row: &[u8],
    slot: Slot,
    partition: Partition,
    name: impl FnOnce(u64) -> Option<Incarnation>,
) -> Decoded<(StoredEvent, u64, Option<Large>)> {
    let mut cursor = Cursor::new(unseal(&slot.context(), row)?);
    let flags = cursor.byte()?;
    let has = |flag: u8| flags & flag != 0;
    let back = cursor.number()?;
    let large = cursor.large(flags)?;
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
    let headers = if has(HEADERS) { cursor.headers()? } else { Vec::new() };
    let value = cursor.rest();
    if large.is_some() && !value.is_empty() {
        return Err(Garbled);
    }
    let (order, tombstone) = (slot.order, has(TOMBSTONE));
    Ok((StoredEvent { order, partition, offset, timestamp, value, tombstone, stamp, headers }, back, large))
}

/// One partition's share of an aggregate, and where its last event lies in the log table.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Part {
    pub partition: Partition,
    pub stream: u64,
    pub base: Order,
    pub next: Order,
    /// The place of the last event.
    pub last: Place,
    /// Events, and bytes of their rows, since the last mark.
    pub unmarked: u64,
    pub unmarked_bytes: u64,
}

/// Writes the parts of an aggregate over `out`, as they are in memory: without a seal.
pub fn put_parts(out: &mut Vec<u8>, parts: &[Part]) {
    out.clear();
    for part in parts {
        put_number(out, u64::from(part.partition.0));
        put_number(out, part.stream);
        put_number(out, part.base.0);
        put_number(out, part.next.0 - part.base.0);
        put_number(out, part.last.0);
        put_number(out, part.unmarked);
        put_number(out, part.unmarked_bytes);
    }
}

/// Writes what they are in the file over `out`: the row of the key.
pub fn seal_parts(out: &mut Vec<u8>, key: &[u8], parts: &[u8]) {
    out.clear();
    out.extend_from_slice(&[0; SEAL_BYTES]);
    out.extend_from_slice(parts);
    seal(key, out);
}

/// Reads them from the key's row.
pub fn unseal_parts(row: &[u8], key: &[u8], out: &mut Vec<Part>) -> Decoded<()> {
    get_parts(unseal(key, row)?, out)
}

/// Reads them as they are in memory.
pub fn get_parts(mut rest: &[u8], out: &mut Vec<Part>) -> Decoded<()> {
    while !rest.is_empty() {
        let partition = Partition(u32::try_from(number(&mut rest)?).map_err(|_| Garbled)?);
        let stream = number(&mut rest)?;
        let base = Order(number(&mut rest)?);
        let count = number(&mut rest)?;
        let next = base.plus(count).ok_or(Garbled)?;
        let last = Place(number(&mut rest)?);
        let (unmarked, unmarked_bytes) = (number(&mut rest)?, number(&mut rest)?);
        if count == 0 || unmarked > count {
            return Err(Garbled);
        }
        out.push(Part { partition, stream, base, next, last, unmarked, unmarked_bytes });
    }
    Ok(())
}

pub fn put_checkpoint(partition: Partition, checkpoint: &Checkpoint) -> Vec<u8> {
    let mut out = vec![0; 4];
    let Checkpoint { position, fold_start, fingerprint, unread, cut, counters } = *checkpoint;
    let behind = unread.and_then(|unread| unread.behind);
    put_number(&mut out, position.0);
    put_number(&mut out, fold_start.0);
    let flags = [cut, fingerprint.is_some(), unread.is_some(), behind.is_some()];
    out.push(flags.into_iter().enumerate().map(|(bit, flag)| u8::from(flag) << bit).sum());
    put_fingerprint(fingerprint, &mut out);
    if let Some(Unread { sum, .. }) = unread {
        put_number(&mut out, sum);
    }
    put_fingerprint(behind, &mut out);
    let Counters { events, void, foreign, forwarded, split, skipped } = counters;
    [events, void, foreign, forwarded, split, skipped]
        .into_iter()
        .for_each(|count| put_number(&mut out, count));
    seal(&partition.0.to_le_bytes(), &mut out);
    out
}

fn put_fingerprint(fingerprint: Option<Fingerprint>, out: &mut Vec<u8>) {
    let Some(Fingerprint { offset, crc32c, epoch }) = fingerprint else { return };
    put_number(out, offset.0);
    put_number(out, u64::from(crc32c));
    put_number(out, epoch.map_or(0, |LeaderEpoch(epoch)| u64::from(epoch) + 1));
}

pub fn get_checkpoint(partition: Partition, row: &[u8]) -> Decoded<Checkpoint> {
    let mut cursor = Cursor::new(unseal(&partition.0.to_le_bytes(), row)?);
    let position = Position(cursor.number()?);
    let fold_start = Position(cursor.number()?);
    let flags = cursor.number()?;
    let has = |bit: u64| flags & bit != 0;
    let fingerprint = has(2).then(|| get_fingerprint(&mut cursor)).transpose()?;
    let sum = has(4).then(|| cursor.number()).transpose()?;
    let behind = has(8).then(|| get_fingerprint(&mut cursor)).transpose()?;
    let unread = sum.map(|sum| Unread { behind, sum });
    let mut count = || cursor.number();
    let counters = Counters {
        events: count()?,
        void: count()?,
        foreign: count()?,
        forwarded: count()?,
        split: count()?,
        skipped: count()?,
    };
    cursor.end()?;
    Ok(Checkpoint { position, fold_start, fingerprint, unread, cut: has(1), counters })
}

fn get_fingerprint(cursor: &mut Cursor) -> Decoded<Fingerprint> {
    let (offset, crc32c) = (Offset(cursor.number()?), cursor.small()?);
    let epoch = cursor.number()?.checked_sub(1).map(u32::try_from).transpose();
    Ok(Fingerprint { offset, crc32c, epoch: epoch.map_err(|_| Garbled)?.map(LeaderEpoch) })
}

fn put_record(out: &mut Vec<u8>, record: &Record) {
    put_number(out, record.offset.0);
    put_number(out, u64::from(record.timestamp.is_some()));
    put_signed(out, record.timestamp.map_or(0, |timestamp| timestamp.0));
    put_optional(out, record.key.as_deref());
    put_optional(out, record.value.as_deref());
    put_headers(out, &record.headers);
}

fn get_record(cursor: &mut Cursor<'_>, partition: Partition) -> Decoded<Record> {
    let offset = Offset(cursor.number()?);
    let has_timestamp = cursor.number()? == 1;
    let timestamp = Some(TimestampMs(cursor.signed()?)).filter(|_| has_timestamp);
    Ok(Record {
        partition,
        offset,
        timestamp,
        key: cursor.optional()?,
        value: cursor.optional()?,
        headers: cursor.headers()?,
    })
}

fn incarnation_context(partition: Partition, incarnation: Incarnation) -> [u8; 12] {
    let mut context = [0; 12];
    context[..4].copy_from_slice(&partition.0.to_le_bytes());
    context[4..].copy_from_slice(&incarnation.0.to_le_bytes());
    context
}

pub fn put_incarnation(partition: Partition, incarnation: Incarnation, state: &IncarnationState) -> Vec<u8> {
    let mut out = vec![0; 4];
    put_number(&mut out, state.top);
    put_number(&mut out, state.last_offset.0);
    put_number(&mut out, u64::from(state.open.is_some()));
    if let Some(OpenBatch { key, first, count, bytes, members }) = &state.open {
        put_bytes(&mut out, key.as_ref());
        put_number(&mut out, first.0);
        put_number(&mut out, u64::from(*count));
        put_number(&mut out, *bytes as u64);
        put_number(&mut out, members.len() as u64);
        members.iter().for_each(|member| put_record(&mut out, member));
    }
    seal(&incarnation_context(partition, incarnation), &mut out);
    out
}

pub fn get_incarnation(
    partition: Partition,
    incarnation: Incarnation,
    row: &[u8],
) -> Decoded<IncarnationState> {
    let mut cursor = Cursor::new(unseal(&incarnation_context(partition, incarnation), row)?);
    let top = cursor.number()?;
    let last_offset = Offset(cursor.number()?);
    let open = match cursor.number()? {
        0 => None,
        _ => {
            let key = Key::new(cursor.bytes()?).ok_or(Garbled)?;
            let first = Order(cursor.number()?);
            let count = cursor.small()?;
            let bytes = usize::try_from(cursor.number()?).map_err(|_| Garbled)?;
            let members = cursor.number()?;
            if members == 0 || members > u64::from(count) {
                return Err(Garbled);
            }
            let members =
                (0..members).map(|_| get_record(&mut cursor, partition)).collect::<Decoded<Vec<Record>>>()?;
            Some(OpenBatch { key, first, count, bytes, members })
        }
    };
    cursor.end()?;
    Ok(IncarnationState { top, last_offset, open })
}

pub fn put_identity(identity: &StoreIdentity) -> Vec<u8> {
    let mut out = vec![0; 4];
    for text in [&identity.cluster, &identity.topic, &identity.topic_id] {
        put_bytes(&mut out, text.as_bytes());
    }
    put_placing(&mut out, identity.partitions, identity.partitioner);
    seal(b"identity", &mut out);
    out
}

pub fn get_identity(row: &[u8]) -> Decoded<StoreIdentity> {
    let mut cursor = Cursor::new(unseal(b"identity", row)?);
    let mut text = || String::from_utf8(cursor.bytes()?.to_vec()).map_err(|_| Garbled);
    let (cluster, topic, topic_id) = (text()?, text()?, text()?);
    let (partitions, partitioner) = get_placing(&mut cursor)?;
    cursor.end()?;
    Ok(StoreIdentity { cluster, topic, topic_id, partitions, partitioner })
}

pub fn put_spread(spread: Spread) -> Vec<u8> {
    let mut out = vec![0; 4];
    put_placing(&mut out, spread.partitions, Some(spread.partitioner));
    seal(b"spread", &mut out);
    out
}

pub fn get_spread(row: &[u8]) -> Decoded<Spread> {
    let mut cursor = Cursor::new(unseal(b"spread", row)?);
    let (partitions, partitioner) = get_placing(&mut cursor)?;
    cursor.end()?;
    Ok(Spread { partitions, partitioner: partitioner.ok_or(Garbled)? })
}

pub fn put_dropped(dropped: &Dropped) -> Vec<u8> {
    let mut out = vec![0; 4];
    put_number(&mut out, dropped.0.len() as u64);
    for (partition, Dead { streams, blocks, swept }) in &dropped.0 {
        put_number(&mut out, u64::from(partition.0));
        put_number(&mut out, *streams);
        put_number(&mut out, *blocks);
        match swept {
            Swept::Rows(last) => {
                out.push(0);
                put_bytes(&mut out, last);
            }
            Swept::Blocks(from) => {
                out.push(1);
                put_number(&mut out, *from);
            }
        }
    }
    seal(b"dropped", &mut out);
    out
}

pub fn get_dropped(row: &[u8]) -> Decoded<Dropped> {
    let mut cursor = Cursor::new(unseal(b"dropped", row)?);
    let count = cursor.number()?;
    let dropped = (0..count).map(|_| {
        let partition = Partition(cursor.small()?);
        let (streams, blocks) = (cursor.number()?, cursor.number()?);
        let swept = match cursor.byte()? {
            0 => Swept::Rows(cursor.bytes()?.into()),
            1 => Swept::Blocks(cursor.number()?),
            _ => return Err(Garbled),
        };
        Ok((partition, Dead { streams, blocks, swept }))
    });
    let dropped = dropped.collect::<Decoded<_>>()?;
    cursor.end()?;
    Ok(Dropped(dropped))
}

fn put_placing(out: &mut Vec<u8>, partitions: NonZeroU32, partitioner: Option<Partitioner>) {
    put_number(out, u64::from(partitions.get()));
    out.push(match partitioner {
        None => 0,
        Some(Partitioner::Murmur2) => 1,
        Some(Partitioner::Crc32) => 2,
        Some(Partitioner::Fnv1a) => 3,
    });
}

fn get_placing(cursor: &mut Cursor<'_>) -> Decoded<(NonZeroU32, Option<Partitioner>)> {
    let partitions = NonZeroU32::new(cursor.small()?).ok_or(Garbled)?;
    let partitioner = match cursor.number()? {
        0 => None,
        1 => Some(Partitioner::Murmur2),
        2 => Some(Partitioner::Crc32),
        3 => Some(Partitioner::Fnv1a),
        _ => return Err(Garbled),
    };
    Ok((partitions, partitioner))
}

#[cfg(test)]
mod tests;
