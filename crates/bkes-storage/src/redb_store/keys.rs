//! Listing: the keys of aggregates in the order of their bytes.
//!
//! Rows lie in groups, and each group is sorted by key: a page of keys is a merge over the groups, and over the rows that are not
//! settled. Those are looked at first and the snapshot second, as in [reading](super::read), so that no row is missed that moves from
//! here to there; a row that is in both counts as it is here.

use super::codec;
use super::failure::Failure;
use super::layout::{Dropped, Part};
use super::read::{Tables, garbled_row, heads_of};
use super::row_grouping::GROUP_BYTES;
use super::varint::Garbled;
use super::write_back::{WriteBack, locked};
use crate::contract::{Heads, KeyRange};
use bkes_core::Key;
use bytes::Bytes;
use redb::AccessGuard;
use std::cmp::Reverse;
use std::collections::BinaryHeap;
use std::ops::Bound;
use std::sync::{Arc, RwLock};

/// A key and where it stands.
type Listed = (Key, Heads);

/// The next keys of a range. `tables` opens the snapshot.
pub fn keys(
    unsettled: &RwLock<WriteBack>,
    tables: impl Fn() -> Result<Arc<Tables>, Failure>,
    range: KeyRange<'_>,
    out: &mut Vec<Listed>,
) -> Result<(), Failure> {
    let (mut left, mut after) = (range.keys_max, range.after.cloned());
    while left > 0 {
        let begin = Begin { prefix: range.prefix, after: after.as_ref() };
        let changed = locked(unsettled).next_rows(|key| begin.is_in(key), left);
        let end = changed.is_cut.then(|| changed.rows.last().map(|(key, _)| key.clone())).flatten();
        let tables = tables()?;
        let before = out.len();
        merge(&tables, begin, Changed::of(&tables.dropped, changed.rows)?, (end.as_deref(), left), out)?;
        left -= out.len() - before;
        match end {
            // What is not settled and lies above was not looked at. The page may not be full: some aggregates were dropped.
            Some(end) => after = Some(Key::new(end).expect("a key is not empty")),
            None => return Ok(()),
        }
    }
    Ok(())
}

/// Where a page begins.
#[derive(Clone, Copy)]
struct Begin<'a> {
    prefix: &'a [u8],
    after: Option<&'a Key>,
}

impl Begin<'_> {
    fn is_in(&self, key: &[u8]) -> bool {
        key.starts_with(self.prefix) && self.after.is_none_or(|after| key > after.as_ref())
    }

    /// The first row of a group that may be in the page.
    fn bound(&self, group: u16) -> Bound<Vec<u8>> {
        let row_key = |key: &[u8]| [&group.to_be_bytes()[..], key].concat();
        match self.after.filter(|after| after.as_ref() >= self.prefix) {
            Some(after) => Bound::Excluded(row_key(after.as_ref())),
            None => Bound::Included(row_key(self.prefix)),
        }
    }
}

/// Rows that are not settled, in the order of their keys, as they come.
struct Changed(std::iter::Peekable<std::vec::IntoIter<Listed>>);

impl Changed {
    fn of(dropped: &Dropped, rows: Vec<(Vec<u8>, Vec<u8>)>) -> Result<Changed, Failure> {
        let listed = |(key, row): (Vec<u8>, Vec<u8>)| {
            let key = Key::new(key).expect("a key is not empty");
            let mut parts = Vec::new();
            codec::get_parts(&row, &mut parts).map_err(|Garbled| garbled_row(&key))?;
            dropped.retain_alive(&mut parts);
            Ok((key, heads_of(&parts)))
        };
        let listed: Result<Vec<Listed>, Failure> = rows.into_iter().map(listed).collect();
        Ok(Changed(listed?.into_iter().peekable()))
    }
}

type Row = (AccessGuard<'static, &'static [u8]>, AccessGuard<'static, &'static [u8]>);

/// Merges what is settled with what is not, up to `end` and to so many keys.
fn merge(
    tables: &Tables,
    begin: Begin<'_>,
    Changed(mut changed): Changed,
    (end, keys_max): (Option<&[u8]>, usize),
    out: &mut Vec<Listed>,
) -> Result<(), Failure> {
    let full = out.len() + keys_max;
    let mut groups = Groups::open(tables, begin)?;
    while out.len() < full {
        let settled = groups.peek().map(|key| key.to_vec());
        let is_changed = match (&settled, changed.peek()) {
            (None, None) => return Ok(()),
            (Some(settled), Some((key, _))) => key.as_ref() <= &settled[..],
            (settled, _) => settled.is_none(),
        };
        if is_changed {
            let (key, heads) = changed.next().expect("it was looked at");
            if settled.as_deref() == Some(key.as_ref()) {
                groups.next()?;
            }
            if heads != Heads::None {
                out.push((key, heads));
            }
            continue;
        }
        let key = settled.expect("one of both is there");
        if end.is_some_and(|end| &key[..] > end) {
            return Ok(());
        }
        let key = Key::new(Bytes::from(key)).expect("a key is not empty");
        let parts = groups.next()?.parts(&key, &tables.dropped)?;
        if !parts.is_empty() {
            out.push((key, heads_of(&parts)));
        }
    }
    Ok(())
}

/// The settled rows of all groups, in the order of their keys.
struct Groups<'t> {
    ranges: Vec<redb::Range<'static, &'static [u8], &'static [u8]>>,
    /// Of each group that has one, the next row: its key, and the group.
    heap: BinaryHeap<Reverse<(Vec<u8>, u16)>>,
    rows: Vec<Option<Row>>,
    begin: Begin<'t>,
}

/// A settled row.
struct Settled(Row);

impl Settled {
    fn parts(&self, key: &Key, dropped: &Dropped) -> Result<Vec<Part>, Failure> {
        let mut parts = Vec::new();
        codec::unseal_parts(self.0.1.value(), key.as_ref(), &mut parts)
            .map_err(|Garbled| garbled_row(key))?;
        dropped.retain_alive(&mut parts);
        Ok(parts)
    }
}

impl<'t> Groups<'t> {
    fn open(tables: &Tables, begin: Begin<'t>) -> Result<Groups<'t>, Failure> {
        let groups = tables.grouping.groups();
        let mut all = Groups {
            ranges: Vec::with_capacity(groups.len()),
            heap: BinaryHeap::with_capacity(groups.len()),
            rows: groups.clone().map(|_| None).collect(),
            begin,
        };
        for group in groups {
            let from = begin.bound(group);
            let from = from.as_ref().map(|key| &key[..]);
            all.ranges.push(tables.streams.range::<&[u8]>((from, Bound::Unbounded))?);
            all.advance(group)?;
        }
        Ok(all)
    }

    /// The key of the next row.
    fn peek(&self) -> Option<&[u8]> {
        self.heap.peek().map(|Reverse((key, _))| &key[..])
    }

    /// Takes it.
    fn next(&mut self) -> Result<Settled, Failure> {
        let Reverse((_, group)) = self.heap.pop().expect("it was looked at");
        let row = self.rows[usize::from(group)].take().expect("it is in the heap");
        self.advance(group)?;
        Ok(Settled(row))
    }

    /// Looks at the next row of a group, if it has one in the range.
    fn advance(&mut self, group: u16) -> Result<(), Failure> {
        let Some(row) = self.ranges[usize::from(group)].next().transpose()? else { return Ok(()) };
        let row_key = row.0.value();
        let Some(key) = row_key.strip_prefix(&group.to_be_bytes()) else { return Ok(()) };
        if self.begin.is_in(key) {
            assert!(row_key.len() > GROUP_BYTES, "a key is not empty");
            self.heap.push(Reverse((key.to_vec(), group)));
            self.rows[usize::from(group)] = Some(row);
        }
        Ok(())
    }
}
