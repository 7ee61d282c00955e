//! The row of an aggregate.

use super::cursor::{SEAL_BYTES, seal, unseal};
use crate::redb_store::layout::{Part, Place};
use crate::redb_store::varint::{Decoded, Garbled, number, put_number};
use bkes_core::{Order, Partition};

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
