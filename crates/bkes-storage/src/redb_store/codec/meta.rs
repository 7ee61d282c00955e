//! The rows of `meta`: which log this is, how rows are grouped, and what was dropped.

use super::cursor::{Cursor, put_bytes, seal, unseal};
use crate::contract::StoreIdentity;
use crate::redb_store::layout::{Dead, Dropped, Swept};
use crate::redb_store::row_grouping::RowGrouping;
use crate::redb_store::varint::{Decoded, Garbled, put_number};
use bkes_core::{Partition, Partitioner};
use std::num::NonZeroU32;

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

pub fn put_grouping(grouping: RowGrouping) -> Vec<u8> {
    let mut out = vec![0; 4];
    put_placing(&mut out, grouping.partitions, Some(grouping.partitioner));
    seal(b"spread", &mut out);
    out
}

pub fn get_grouping(row: &[u8]) -> Decoded<RowGrouping> {
    let mut cursor = Cursor::new(unseal(b"spread", row)?);
    let (partitions, partitioner) = get_placing(&mut cursor)?;
    cursor.end()?;
    Ok(RowGrouping { partitions, partitioner: partitioner.ok_or(Garbled)? })
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
