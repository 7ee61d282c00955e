//! What changed since the file was last *settled*.
//!
//! While a log is read, nearly every event changes the row of an aggregate, and that costs far more than the event itself: a look-up,
//! and pages that are copied. So a commit that need not last writes its events only. The rows, and all that must agree with them
//! (marks, checkpoints, incarnations, numbers), are gathered here, where every read sees them, and are written in the order of their
//! keys by the next durable commit, or when they have become many. What the file says of aggregates is as of that moment; the events
//! after it belong to nobody if the process dies, and are removed when the file is opened. Rows lie here without their seals, which
//! they get when they are settled.
//!
//! The writer commits first and changes this second; a reader looks here first and into its snapshot second. So the events of a
//! row are in the snapshot, and a row that is no longer here is.

use super::layout::Place;
use super::row_grouping::GROUP_BYTES;
use crate::contract::{Checkpoint, Loaded, StoreBatch};
use bkes_core::{Incarnation, IncarnationState, Order, Partition};
use hashbrown::{DefaultHashBuilder, HashTable};
use std::collections::BTreeMap;
use std::hash::BuildHasher;
use std::ops::Range;
use std::sync::{PoisonError, RwLock, RwLockReadGuard};

/// Three lengths stand before an entry: of its key, of the row, and of the room for the row.
const HEAD_BYTES: usize = 12;

/// Room for a row to grow in place: its numbers rise.
const SPARE_BYTES: usize = 6;

/// Changes of a row that make gathering worth it.
const CHANGES_MIN: usize = 3;

/// Bytes of entries that a walk passes under one lock, for which the writer may wait: some 1,000 rows, as many as the writer adds
/// under one.
const WALKED_AT_ONCE: usize = 64 * 1024;

/// A mark counts for so many bytes.
const MARK_BYTES: usize = 48;

/// Changed and not in the file.
#[derive(Default)]
pub struct WriteBack {
    /// Where the entry of a key begins.
    index: HashTable<u32>,
    hasher: DefaultHashBuilder,
    /// Entries: three lengths, the row's key, the row, spare room.
    entries: Vec<u8>,
    marks: BTreeMap<(u64, u64), u64>,
    /// As of the last commit, where it named them.
    pub checkpoints: BTreeMap<Partition, Checkpoint>,
    /// The same.
    pub incarnations: BTreeMap<(Partition, Incarnation), Option<IncarnationState>>,
    /// How often a row was added or changed.
    changes: usize,
    /// How often everything was taken out: what a walk was on is gone then.
    cleared: u64,
    /// Bytes of events that were committed since the file was last synced: redb keeps their pages.
    pub unsynced_bytes: usize,
}

/// Where an unsettled row is; until the rows are settled, and it may be put elsewhere by a commit that changes it.
#[derive(Clone, Copy, Debug)]
pub struct Found(u32);

/// A walk over the rows, which lets the writer in between two pieces.
#[derive(Clone, Copy, Debug)]
pub struct Walk {
    cleared: u64,
    next: usize,
    end: usize,
}

impl Walk {
    /// Whether all rows were met that were there when it began.
    pub fn is_over(self) -> bool {
        self.next >= self.end
    }
}

/// What one commit changes of aggregates.
#[derive(Default)]
pub struct Changes {
    bytes: Vec<u8>,
    rows: Vec<Change>,
    /// Events by stream and order, and where they lie.
    pub marks: Vec<((u64, u64), Place)>,
    /// Bytes of events that were added.
    pub event_bytes: usize,
}

/// Where a row's key begins, where its row begins, and where that ends; and where the unsettled row is that it changes.
struct Change {
    start: u32,
    middle: u32,
    end: u32,
    known: Option<Found>,
}

impl Changes {
    /// Adds a row. Its key is not among those added before.
    pub fn push(&mut self, row_key: &[u8], row: &[u8], known: Option<Found>) {
        let start = self.bytes.len() as u32;
        self.bytes.extend_from_slice(row_key);
        let middle = self.bytes.len() as u32;
        self.bytes.extend_from_slice(row);
        self.rows.push(Change { start, middle, end: self.bytes.len() as u32, known });
    }

    /// What was unsettled when they were made is no longer.
    pub fn forget_known(&mut self) {
        self.rows.iter_mut().for_each(|change| change.known = None);
    }

    /// How many of the rows are among those that are unsettled.
    fn known(&self) -> usize {
        self.rows.iter().filter(|change| change.known.is_some()).count()
    }

    /// How many rows there are.
    pub fn len(&self) -> usize {
        self.rows.len()
    }

    /// The rows, as they were added.
    pub fn rows(&self) -> impl Iterator<Item = (&[u8], &[u8])> {
        self.rows.iter().map(|change| self.row(change))
    }

    fn row(&self, change: &Change) -> (&[u8], &[u8]) {
        let Change { start, middle, end, .. } = *change;
        (&self.bytes[start as usize..middle as usize], &self.bytes[middle as usize..end as usize])
    }
}

/// What is unsettled, to be read.
pub fn locked(unsettled: &RwLock<WriteBack>) -> RwLockReadGuard<'_, WriteBack> {
    unsettled.read().unwrap_or_else(PoisonError::into_inner)
}

impl WriteBack {
    /// Bytes held.
    pub fn bytes(&self) -> usize {
        self.entries.len() + self.index.len() * 2 * size_of::<u32>() + self.marks.len() * MARK_BYTES
    }

    /// Whether it is time to settle, before this is added: much is held; or no little, which changed often and will hardly change
    /// again, since other aggregates have their turn.
    pub fn is_due(&self, changes: &Changes, bytes_max: usize) -> bool {
        let bytes = self.bytes();
        let changed_often = self.changes >= CHANGES_MIN * self.index.len();
        let others = changes.known() < changes.len() / 2;
        bytes >= bytes_max || (bytes >= bytes_max / 2 && changed_often && others)
    }

    /// The row of an aggregate, if it changed.
    pub fn row(&self, key: &[u8]) -> Option<&[u8]> {
        self.find(key).map(|found| self.row_at(found))
    }

    /// Where the rows of these aggregates are, if they changed. Each is some waits for memory: here, where nothing else is done, they
    /// overlap.
    pub fn find_all<'k>(&self, keys: impl Iterator<Item = &'k [u8]>) -> Vec<Option<Found>> {
        keys.map(|key| self.find(key)).collect()
    }

    /// A row that was found.
    pub fn row_at(&self, found: Found) -> &[u8] {
        self.entry(found.0).1
    }

    fn find(&self, key: &[u8]) -> Option<Found> {
        if self.index.is_empty() {
            return None;
        }
        self.index.find(self.hasher.hash_one(key), |at| self.key(*at) == key).copied().map(Found)
    }

    /// The first mark of a stream in a range.
    pub fn mark(&self, stream: u64, orders: Range<Order>) -> Option<(Order, Place)> {
        let mut marks = self.marks.range((stream, orders.start.0)..(stream, orders.end.0));
        marks.next().map(|((_, order), place)| (Order(*order), Place(*place)))
    }

    /// Every row, in the order of their keys.
    pub fn rows(&self) -> impl Iterator<Item = (&[u8], &[u8])> {
        let mut sorted: Vec<u32> = self.index.iter().copied().collect();
        sorted.sort_unstable_by_key(|at| self.entry(*at).0);
        sorted.into_iter().map(|at| self.entry(at))
    }

    /// Begins a walk over the rows that are here now.
    pub fn walk(&self) -> Walk {
        Walk { cleared: self.cleared, next: 0, end: self.entries.len() }
    }

    /// The next piece of a walk: some rows in no order, each with its key without the group. `None` if the rows that were here when
    /// the walk began are settled.
    ///
    /// Entries are only ever added, and stay where they are until all are settled. So each row comes as it was when the walk began
    /// or as it is now; one that did not fit its room any more comes twice, and the last time counts.
    pub fn next_rows(&self, walk: &mut Walk) -> Option<impl Iterator<Item = (&[u8], &[u8])>> {
        if walk.cleared != self.cleared {
            return None;
        }
        let piece_end = walk.end.min(walk.next + WALKED_AT_ONCE);
        Some(std::iter::from_fn(move || {
            let at = walk.next;
            if at >= piece_end {
                return None;
            }
            let at = at as u32;
            let [key, _, room] = lengths(&self.entries, at);
            walk.next += HEAD_BYTES + key + room;
            Some((self.key(at), self.entry(at).1))
        }))
    }

    /// Every mark.
    pub fn marks(&self) -> impl Iterator<Item = ((u64, u64), Place)> {
        self.marks.iter().map(|(at, place)| (*at, Place(*place)))
    }

    /// Takes the rows `range` of what was committed.
    pub fn add_rows(&mut self, changes: &Changes, range: Range<usize>) {
        self.changes += range.len();
        for change in &changes.rows[range] {
            let (row_key, row) = changes.row(change);
            self.put(row_key, row, change.known);
        }
    }

    /// Takes what else was committed.
    pub fn add_rest(&mut self, changes: &Changes, batch: &StoreBatch) {
        self.marks.extend(changes.marks.iter().map(|(at, place)| (*at, place.0)));
        self.checkpoints.extend(batch.checkpoints.iter().copied());
        let incarnations = batch.incarnations.iter();
        self.incarnations
            .extend(incarnations.map(|(p, incarnation, state)| ((*p, *incarnation), state.clone())));
    }

    /// Changes what the file says to what was committed.
    pub fn amend(&self, loaded: &mut Loaded) {
        for (partition, checkpoint) in &self.checkpoints {
            match loaded.checkpoints.binary_search_by_key(partition, |(partition, _)| *partition) {
                Ok(at) => loaded.checkpoints[at].1 = *checkpoint,
                Err(at) => loaded.checkpoints.insert(at, (*partition, *checkpoint)),
            }
        }
        let changed = |partition: &Partition, incarnation: &Incarnation| {
            self.incarnations.contains_key(&(*partition, *incarnation))
        };
        loaded.incarnations.retain(|(partition, incarnation, _)| !changed(partition, incarnation));
        let states = self.incarnations.iter();
        loaded.incarnations.extend(states.filter_map(|((partition, incarnation), state)| {
            Some((*partition, *incarnation, state.clone()?))
        }));
        loaded.incarnations.sort_unstable_by_key(|(partition, incarnation, _)| (*partition, *incarnation));
    }

    /// Everything is in the file, or the file is another one.
    pub fn clear(&mut self) {
        self.cleared += 1;
        self.changes = 0;
        self.index.clear();
        self.entries.clear();
        self.marks.clear();
        self.checkpoints.clear();
        self.incarnations.clear();
    }

    fn put(&mut self, row_key: &[u8], row: &[u8], known: Option<Found>) {
        let WriteBack { index, hasher, entries, .. } = self;
        if let Some(Found(at)) = known {
            let [_, _, room] = lengths(entries, at);
            if row.len() <= room {
                let (head, row_at) = (at as usize, at as usize + HEAD_BYTES + row_key.len());
                entries[head + 4..head + 8].copy_from_slice(&(row.len() as u32).to_le_bytes());
                entries[row_at..row_at + row.len()].copy_from_slice(row);
                return;
            }
        }
        let at = entries.len() as u32;
        for length in [row_key.len(), row.len(), row.len() + SPARE_BYTES] {
            entries.extend_from_slice(&(length as u32).to_le_bytes());
        }
        entries.extend_from_slice(row_key);
        entries.extend_from_slice(row);
        entries.extend_from_slice(&[0; SPARE_BYTES]);
        let hash = hasher.hash_one(&row_key[GROUP_BYTES..]);
        match known {
            Some(Found(before)) => {
                *index.find_mut(hash, |at| *at == before).expect("it was found by this key") = at;
            }
            None => {
                index.insert_unique(hash, at, |at| hasher.hash_one(key_of(entries, *at)));
            }
        }
    }

    fn key(&self, at: u32) -> &[u8] {
        key_of(&self.entries, at)
    }

    /// An entry's key, with the group, and its row.
    fn entry(&self, at: u32) -> (&[u8], &[u8]) {
        let [key, row, _] = lengths(&self.entries, at);
        let (row_key, rest) = self.entries[at as usize + HEAD_BYTES..].split_at(key);
        (row_key, &rest[..row])
    }
}

fn lengths(entries: &[u8], at: u32) -> [usize; 3] {
    let head = &entries[at as usize..at as usize + HEAD_BYTES];
    std::array::from_fn(|index| {
        let bytes = head[index * 4..index * 4 + 4].try_into().expect("four bytes");
        u32::from_le_bytes(bytes) as usize
    })
}

fn key_of(entries: &[u8], at: u32) -> &[u8] {
    let [key, ..] = lengths(entries, at);
    let start = at as usize + HEAD_BYTES;
    &entries[start + GROUP_BYTES..start + key]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_last_row_of_each_key_is_found_and_they_come_in_order() {
        let mut random = fastrand::Rng::with_seed(9);
        let mut unsettled = WriteBack::default();
        let mut expected: BTreeMap<Vec<u8>, Vec<u8>> = BTreeMap::new();
        for _ in 0..400 {
            let mut changes = Changes::default();
            let keys: std::collections::BTreeSet<u16> = (0..20).map(|_| random.u16(..300)).collect();
            for number in keys {
                let row_key = [&(number % 7).to_be_bytes()[..], &number.to_be_bytes()].concat();
                let row: Vec<u8> = (0..random.usize(..40)).map(|_| random.u8(..)).collect();
                changes.push(&row_key, &row, unsettled.find(&row_key[GROUP_BYTES..]));
                expected.insert(row_key, row);
            }
            unsettled.add_rows(&changes, 0..changes.len());
        }
        let wanted: Vec<(&[u8], &[u8])> = expected.iter().map(|(key, row)| (&key[..], &row[..])).collect();
        assert_eq!(unsettled.rows().collect::<Vec<_>>(), wanted);
        for (row_key, row) in wanted {
            assert_eq!(unsettled.row(&row_key[GROUP_BYTES..]), Some(row));
        }
        assert_eq!(unsettled.row(b"another"), None);
        unsettled.clear();
        assert_eq!((unsettled.rows().count(), unsettled.bytes()), (0, 0));
    }

    /// Adds or changes a row, which says how often that was done; it outgrows its room now and then.
    fn change(unsettled: &mut WriteBack, number: u16, version: u32) {
        let row_key = [&[0, 0][..], &number.to_be_bytes()].concat();
        let row = [&version.to_be_bytes()[..], &vec![0; version as usize * 7 % 40]].concat();
        let mut changes = Changes::default();
        changes.push(&row_key, &row, unsettled.find(&row_key[GROUP_BYTES..]));
        unsettled.add_rows(&changes, 0..1);
    }

    fn number_and_version((key, row): (&[u8], &[u8])) -> (u16, u32) {
        let number = u16::from_be_bytes(key.try_into().expect("two bytes"));
        (number, u32::from_be_bytes(row[..4].try_into().expect("four bytes")))
    }

    /// The story: all rows were looked at under one lock, for which the writer waited.
    #[test]
    fn a_walk_lets_the_writer_in_and_meets_every_row_whatever_it_changes() {
        const KEYS: u16 = 5_000;
        for seed in 0..20 {
            let mut random = fastrand::Rng::with_seed(seed);
            let mut unsettled = WriteBack::default();
            let mut latest: BTreeMap<u16, u32> = BTreeMap::new();
            let mut change_some = |unsettled: &mut WriteBack, latest: &mut BTreeMap<u16, u32>, count| {
                for _ in 0..count {
                    let number = random.u16(..KEYS);
                    let version = latest.entry(number).or_default();
                    *version += 1;
                    change(unsettled, number, *version);
                }
            };
            change_some(&mut unsettled, &mut latest, 20_000);
            let at_begin = latest.clone();
            let (mut walk, mut met, mut pieces) = (unsettled.walk(), BTreeMap::new(), 0);
            while !walk.is_over() {
                let rows = unsettled.next_rows(&mut walk).expect("nothing was settled");
                let rows: Vec<(u16, u32)> = rows.map(number_and_version).collect();
                assert!(rows.len() <= WALKED_AT_ONCE / (HEAD_BYTES + 4 + 4), "{} under one lock", rows.len());
                met.extend(rows);
                pieces += 1;
                change_some(&mut unsettled, &mut latest, 2_000);
            }
            assert!(pieces > 3, "seed {seed}: {pieces} pieces");
            for (number, version) in at_begin {
                let found = met.get(&number).copied();
                let is_right = found.is_some_and(|found| (version..=latest[&number]).contains(&found));
                assert!(is_right, "seed {seed}, key {number}: version {version} at first, {found:?} met");
            }
        }
    }

    #[test]
    fn a_walk_is_told_when_its_rows_were_settled() {
        let mut unsettled = WriteBack::default();
        (0..5_000).for_each(|number| change(&mut unsettled, number, 1));
        let mut walk = unsettled.walk();
        assert!(unsettled.next_rows(&mut walk).is_some_and(|rows| rows.count() > 0) && !walk.is_over());
        unsettled.clear();
        // Others lie where those were.
        (0..5_000).for_each(|number| change(&mut unsettled, number, 2));
        assert!(unsettled.next_rows(&mut walk).is_none());
    }
}
