//! The rows of a partition: its checkpoint, and its incarnations with their open batches.

use super::cursor::{Cursor, put_bytes, put_headers, put_optional, put_signed, seal, unseal};
use crate::contract::{Checkpoint, Counters, Fingerprint, Unread};
use crate::redb_store::varint::{Decoded, Garbled, put_number};
use bkes_core::{
    Incarnation, IncarnationState, Key, LeaderEpoch, Offset, OpenBatch, Order, Partition, Position, Record,
    TimestampMs,
};

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

pub fn incarnation_context(partition: Partition, incarnation: Incarnation) -> [u8; 12] {
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
