//! Listing: the keys of aggregates in the order of their bytes.
//!
//! A page is the lowest keys of the rows that are not settled and of the groups of the snapshot. Those that are not settled are looked
//! at first and the snapshot second, as in [reading](super::read), so that no row is missed that moves from here to there; a row
//! that is in both counts as it is here.

use super::codec;
use super::failure::Failure;
use super::layout::Part;
use super::read::{Tables, garbled_row, heads_of};
use super::varint::Garbled;
use super::write_back::{WriteBack, locked};
use crate::contract::{KeyPage, KeyRange};
use crate::lowest_keys::LowestKeys;
use bkes_core::Key;
use bytes::Bytes;
use std::ops::Bound;
use std::sync::{Arc, RwLock};

/// Keys, each with the parts of its aggregate.
type Lowest<'r> = LowestKeys<'r, Vec<Part>>;

/// The next keys of a range. `tables` opens the snapshot.
pub fn keys(
    unsettled: &RwLock<WriteBack>,
    tables: impl FnOnce() -> Result<Arc<Tables>, Failure>,
    range: KeyRange<'_>,
) -> Result<KeyPage, Failure> {
    let mut lowest = unsettled_keys(unsettled, range)?;
    let tables = tables()?;
    if lowest.values().flatten().any(|part| tables.dropped.is_dead(part)) {
        // A partition was dropped meanwhile, and before that everything was settled: all of it is in the snapshot.
        lowest = LowestKeys::new(range);
    }
    for group in tables.grouping.groups() {
        add_group(&tables, group, range, &mut lowest)?;
    }
    let KeyPage { keys, more } = lowest.into_page();
    Ok(KeyPage { keys: keys.into_iter().map(|(key, parts)| (key, heads_of(&parts))).collect(), more })
}

/// The lowest keys among the rows that are not settled. The writer is let in after each piece of them.
fn unsettled_keys<'r>(unsettled: &RwLock<WriteBack>, range: KeyRange<'r>) -> Result<Lowest<'r>, Failure> {
    let mut lowest = LowestKeys::new(range);
    let mut walk = locked(unsettled).walk();
    while !walk.is_over() {
        let unsettled = locked(unsettled);
        let Some(rows) = unsettled.next_rows(&mut walk) else {
            // They were settled meanwhile: all of them are in the snapshot, which is opened after this.
            return Ok(LowestKeys::new(range));
        };
        for (key, row) in rows {
            if !lowest.takes(key) {
                continue;
            }
            let (key, mut parts) = (key_of(key)?, Vec::new());
            codec::get_parts(row, &mut parts).map_err(|Garbled| garbled_row(&key))?;
            // A row that comes twice has changed in between.
            if let Some(known) = lowest.entry(&key) {
                *known = parts;
            }
        }
    }
    Ok(lowest)
}

/// Adds the keys of one group, whose rows are sorted by key, until they are too high for the page. Of `n` keys and many groups some
/// `n` times the logarithm of the groups are looked at, and one page of the file is held at a time.
fn add_group(
    tables: &Tables,
    group: u16,
    range: KeyRange<'_>,
    lowest: &mut Lowest<'_>,
) -> Result<(), Failure> {
    let row_key = |key: &[u8]| [&group.to_be_bytes()[..], key].concat();
    let begin = match range.after.filter(|after| after.as_ref() >= range.prefix) {
        Some(after) => Bound::Excluded(row_key(after.as_ref())),
        None => Bound::Included(row_key(range.prefix)),
    };
    let begin = begin.as_ref().map(|row_key| &row_key[..]);
    for row in tables.streams.range::<&[u8]>((begin, Bound::Unbounded))? {
        let (row_key, row) = row?;
        let Some(key) = row_key.value().strip_prefix(&group.to_be_bytes()) else { break };
        let (key, mut parts) = (key_of(key)?, Vec::new());
        // Before the key ends anything: its row has the sum of both.
        codec::unseal_parts(row.value(), key.as_ref(), &mut parts).map_err(|Garbled| garbled_row(&key))?;
        tables.dropped.retain_alive(&mut parts);
        if !range.contains(key.as_ref()) {
            break;
        }
        if parts.is_empty() {
            continue;
        }
        match lowest.entry(&key) {
            Some(known) if known.is_empty() => *known = parts,
            // It is not settled, and taken from there.
            Some(_) => {}
            None => break,
        }
    }
    Ok(())
}

fn key_of(bytes: &[u8]) -> Result<Key, Failure> {
    let key = Key::new(Bytes::copy_from_slice(bytes));
    key.ok_or_else(|| Failure::Garbled("a row of an aggregate without a key".into()))
}
