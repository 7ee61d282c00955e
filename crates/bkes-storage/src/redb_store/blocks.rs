//! Blocks: events of the log table, packed into values that fill a page of redb.
//!
//! A block is a sequence of rows, each with its length before it. Rows are only ever added at the end of the last block, which the
//! writer keeps in mind; a row that does not fit begins a new one, and a row larger than a block has one for itself. So a page
//! is full, and a write touches few of them, however small the events are. redb makes a page as large as what stands in it: four
//! times its smallest one costs the writer little more than that does, and a read that has to get it from the disk waits as long.
//!
//! Behind the rows stand their *runs*: which partitions they are of, and how many bytes. When a partition is dropped its runs are
//! cut out of the block, and what stands there of them says how long they were, so that the rows of others keep their places.

use super::layout::{OFFSET_BITS, Place};
use super::varint::{Garbled, number, number_bytes, put_number};
use bkes_core::Partition;

/// What fits into a page of redb of 16 KiB beside the bookkeeping of a leaf with one pair: 4 bytes of head, 8 of key and 4 of length.
pub const BLOCK_BYTES_MAX: usize = 16 * 1024 - 16;

/// A run: the partition, and how many bytes its rows have, little-endian.
const RUN_BYTES: usize = 8;

/// The number of runs, at the very end.
const COUNT_BYTES: usize = 2;

/// Set in the bytes of a run that was cut out.
const CUT: u32 = 1 << 31;

const _: () = assert!(BLOCK_BYTES_MAX <= 1 << OFFSET_BITS);

/// Rows of one partition, side by side in a block.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
struct Run {
    partition: Partition,
    bytes: usize,
    is_cut: bool,
}

impl Run {
    fn get(bytes: &[u8; RUN_BYTES]) -> Run {
        let [partition, length] =
            [0, 4].map(|at| u32::from_le_bytes(bytes[at..at + 4].try_into().expect("four bytes of eight")));
        Run { partition: Partition(partition), bytes: (length & !CUT) as usize, is_cut: length & CUT != 0 }
    }

    fn put(self, out: &mut Vec<u8>) {
        let length = self.bytes as u32 | if self.is_cut { CUT } else { 0 };
        out.extend_from_slice(&self.partition.0.to_le_bytes());
        out.extend_from_slice(&length.to_le_bytes());
    }
}

/// A block's rows and its runs.
fn split(block: &[u8]) -> Result<(&[u8], &[[u8; RUN_BYTES]]), Garbled> {
    let (rest, count) = block.split_last_chunk::<COUNT_BYTES>().ok_or(Garbled)?;
    let bytes = usize::from(u16::from_le_bytes(*count)) * RUN_BYTES;
    let (rows, runs) = rest.split_at_checked(rest.len().wrapping_sub(bytes)).ok_or(Garbled)?;
    Ok((rows, runs.as_chunks().0))
}

/// The row that begins at `place` in its block, without its length.
pub fn row(block: &[u8], place: Place) -> Result<&[u8], Garbled> {
    let (rows, runs) = split(block)?;
    let at = match runs {
        // Nothing can be cut out: the block would be gone.
        [_] => place.offset(),
        runs => in_rows(runs, place.offset())?,
    };
    let mut rest = rows.get(at..).ok_or(Garbled)?;
    let length = usize::try_from(number(&mut rest)?).map_err(|_| Garbled)?;
    rest.get(..length).ok_or(Garbled)
}

/// Where in the rows that are left lies what lay here in all of them.
fn in_rows(runs: &[[u8; RUN_BYTES]], offset: usize) -> Result<usize, Garbled> {
    let (mut start, mut cut) = (0, 0);
    for run in runs.iter().map(Run::get) {
        if offset < start + run.bytes {
            return if run.is_cut { Err(Garbled) } else { Ok(offset - cut) };
        }
        start += run.bytes;
        cut += if run.is_cut { run.bytes } else { 0 };
    }
    Err(Garbled)
}

/// What is left of a block without the rows of some partitions.
#[derive(PartialEq, Eq, Debug)]
pub enum Rest {
    /// It has none of them.
    All,
    /// Other rows.
    Some(Vec<u8>),
    /// Nothing.
    Nothing,
}

/// Takes the rows of partitions out of a block, and hands each of them to `cut`.
pub fn without(
    block: &[u8],
    is_dropped: impl Fn(Partition) -> bool,
    mut cut: impl FnMut(&[u8]) -> Result<(), Garbled>,
) -> Result<Rest, Garbled> {
    let (mut rows, runs) = split(block)?;
    let (mut left, mut left_runs) = (Vec::new(), Vec::new());
    let (mut changed, mut empty) = (false, true);
    for mut run in runs.iter().map(Run::get) {
        if !run.is_cut {
            let (mut of_run, behind) = rows.split_at_checked(run.bytes).ok_or(Garbled)?;
            rows = behind;
            run.is_cut = is_dropped(run.partition);
            changed |= run.is_cut;
            if !run.is_cut {
                left.extend_from_slice(of_run);
                empty = false;
            }
            while run.is_cut && !of_run.is_empty() {
                let length = usize::try_from(number(&mut of_run)?).map_err(|_| Garbled)?;
                let (row, behind) = of_run.split_at_checked(length).ok_or(Garbled)?;
                cut(row)?;
                of_run = behind;
            }
        }
        left_runs.push(run);
    }
    if !rows.is_empty() {
        return Err(Garbled);
    }
    Ok(match (changed, empty) {
        (false, _) => Rest::All,
        (true, true) => Rest::Nothing,
        (true, false) => {
            put_runs(&mut left, &left_runs);
            Rest::Some(left)
        }
    })
}

fn put_runs(out: &mut Vec<u8>, runs: &[Run]) {
    runs.iter().for_each(|run| run.put(out));
    out.extend_from_slice(&(runs.len() as u16).to_le_bytes());
}

/// The end of the log table: the last block, which takes more rows.
#[derive(Clone, Debug, Default)]
pub struct Tail {
    block: u64,
    rows: Vec<u8>,
    runs: Vec<Run>,
}

impl Tail {
    /// The tail of a table that has had so many blocks and still has the last one; that goes on, unless something was cut out of
    /// it.
    pub fn resume(blocks: u64, last: &[u8]) -> Result<Tail, Garbled> {
        let (rows, runs) = split(last)?;
        let runs: Vec<Run> = runs.iter().map(Run::get).collect();
        if runs.iter().any(|run| run.is_cut) {
            return Ok(Tail::behind(blocks));
        }
        if runs.iter().map(|run| run.bytes).sum::<usize>() != rows.len() {
            return Err(Garbled);
        }
        Ok(Tail { block: blocks - 1, rows: rows.to_vec(), runs })
    }

    /// The tail of a table that has had so many blocks: a new block.
    pub fn behind(blocks: u64) -> Tail {
        Tail { block: blocks, ..Tail::default() }
    }

    /// Whether a row fills the block, or more than that: it takes no other.
    pub fn is_full(&self) -> bool {
        self.rows.len() + RUN_BYTES + COUNT_BYTES >= BLOCK_BYTES_MAX
    }

    /// The block as it is takes no more rows.
    pub fn end_block(&mut self) {
        *self = Tail::behind(self.blocks());
    }

    /// Where the next row of `length` bytes, its own length included, will lie. Hands a block that is full to `full`.
    pub fn place<E>(
        &mut self,
        partition: Partition,
        length: usize,
        full: impl FnOnce(u64, &[u8]) -> Result<(), E>,
    ) -> Result<Place, E> {
        let is_of_last = self.runs.last().is_some_and(|run| run.partition == partition);
        let runs = self.runs.len() + usize::from(!is_of_last);
        let bytes = self.rows.len() + length + runs * RUN_BYTES + COUNT_BYTES;
        if !self.rows.is_empty() && bytes > BLOCK_BYTES_MAX {
            self.whole(full)?;
            self.block += 1;
            self.rows.clear();
            self.runs.clear();
        }
        Ok(Place::new(self.block, self.rows.len()))
    }

    /// Adds a row at the place just given.
    pub fn push(&mut self, partition: Partition, row: &[u8]) {
        let before = self.rows.len();
        put_number(&mut self.rows, row.len() as u64);
        self.rows.extend_from_slice(row);
        let bytes = self.rows.len() - before;
        match self.runs.last_mut() {
            Some(run) if run.partition == partition => run.bytes += bytes,
            _ => self.runs.push(Run { partition, bytes, is_cut: false }),
        }
    }

    /// How many blocks there are, the last one counted.
    pub fn blocks(&self) -> u64 {
        self.block + u64::from(!self.rows.is_empty())
    }

    /// The number of the last block.
    pub fn number(&self) -> u64 {
        self.block
    }

    /// Does something with the last block as it is now.
    pub fn whole<T>(&mut self, work: impl FnOnce(u64, &[u8]) -> T) -> T {
        let Tail { block, rows, runs } = self;
        let bytes = rows.len();
        put_runs(rows, runs);
        let done = work(*block, rows);
        rows.truncate(bytes);
        done
    }
}

/// What a row of `length` bytes takes in a block.
pub fn in_block(length: usize) -> usize {
    number_bytes(length as u64) + length
}

#[cfg(test)]
mod tests {
    use super::*;
    use fastrand::Rng;

    type Placed = (Place, Partition, Vec<u8>);

    /// Rows of three partitions, and the blocks that they made.
    fn filled(random: &mut Rng, count: usize) -> (Vec<Vec<u8>>, Vec<Placed>) {
        let (mut tail, mut blocks, mut rows) = (Tail::default(), Vec::new(), Vec::new());
        let mut partition = Partition(0);
        for _ in 0..count {
            let length = if random.u8(..50) == 0 { random.usize(4_000..20_000) } else { random.usize(..400) };
            if random.u8(..30) == 0 {
                partition = Partition(random.u32(..3));
            }
            let row = vec![random.u8(..); length];
            let place = tail
                .place(partition, in_block(length), |number, block| {
                    assert_eq!(number, blocks.len() as u64);
                    blocks.push(block.to_vec());
                    Ok::<_, ()>(())
                })
                .expect("nothing fails");
            tail.push(partition, &row);
            rows.push((place, partition, row));
        }
        blocks.push(tail.whole(|_, block| block.to_vec()));
        (blocks, rows)
    }

    #[test]
    fn rows_are_found_where_they_were_put_and_blocks_fill_a_page() {
        let (blocks, rows) = filled(&mut Rng::with_seed(3), 2_000);
        for (place, _, expected) in &rows {
            assert_eq!(row(&blocks[place.block() as usize], *place), Ok(&expected[..]));
        }
        assert!(rows.is_sorted_by(|a, b| a.0 < b.0));
        let large = |block: &[u8]| block.len() > BLOCK_BYTES_MAX;
        let alone =
            |number: usize| rows.iter().filter(|(place, ..)| place.block() == number as u64).count() == 1;
        assert!(blocks.iter().enumerate().all(|(number, block)| !large(block) || alone(number)));
    }

    #[test]
    fn rows_of_dropped_partitions_are_cut_out_and_the_others_keep_their_places() {
        let (mut blocks, rows) = filled(&mut Rng::with_seed(8), 3_000);
        let mut gone = vec![false; blocks.len()];
        let (mut cut, mut emptied) = (0, 0);
        for dropped in [1, 2] {
            let blocks_left = (0..).zip(blocks.iter_mut()).zip(&mut gone);
            for ((number, block), gone) in blocks_left.filter(|(_, gone)| !**gone) {
                let of_block =
                    rows.iter().filter(|(place, p, _)| place.block() == number && *p == Partition(dropped));
                let mut expected = of_block.map(|(_, _, row)| &row[..]);
                let rest = without(
                    block,
                    |partition| partition == Partition(dropped),
                    |row| {
                        assert_eq!(Some(row), expected.next());
                        Ok(())
                    },
                );
                assert_eq!(expected.next(), None, "all of them are handed out");
                match rest.expect("it is a block") {
                    Rest::All => {}
                    Rest::Some(left) => {
                        assert!(left.len() < block.len());
                        assert_eq!(Tail::resume(7, &left).expect("it is a block").number(), 7, "a new one");
                        *block = left;
                        cut += 1;
                    }
                    Rest::Nothing => {
                        *gone = true;
                        emptied += 1;
                    }
                }
            }
            for (place, partition, expected) in &rows {
                let number = place.block() as usize;
                let found = if gone[number] { Err(Garbled) } else { row(&blocks[number], *place) };
                let is_left = partition.0 == 0 || partition.0 > dropped;
                assert_eq!(found, if is_left { Ok(&expected[..]) } else { Err(Garbled) });
            }
        }
        assert!(cut > 20 && emptied > 20, "{cut} were cut, {emptied} emptied");
    }

    #[test]
    fn a_block_that_is_taken_up_again_goes_on_as_it_was() {
        let mut tail = Tail::default();
        let add = |tail: &mut Tail, partition, row: &[u8]| {
            let place = tail.place(Partition(partition), in_block(row.len()), |_, _| Err(()));
            tail.push(Partition(partition), row);
            place.expect("it fits")
        };
        let places = [(1, b"one"), (1, b"two"), (4, b"six")].map(|(p, row)| add(&mut tail, p, row));
        let mut again = tail.whole(|_, block| Tail::resume(1, block)).expect("it is a block");
        let last = add(&mut again, 4, b"ten");
        let block = again.whole(|_, block| block.to_vec());
        let found = places.into_iter().chain([last]).map(|place| row(&block, place));
        assert_eq!(found.collect::<Result<Vec<_>, _>>(), Ok(vec![&b"one"[..], b"two", b"six", b"ten"]));
        again.end_block();
        assert_eq!((again.number(), again.blocks()), (1, 1), "the next row begins a block");
    }

    #[test]
    fn bytes_that_are_no_block_give_no_row() {
        let mut random = Rng::with_seed(4);
        for _ in 0..20_000 {
            let mut block: Vec<u8> = (0..random.usize(..60)).map(|_| random.u8(..)).collect();
            if random.bool() {
                block.extend_from_slice(&random.u16(..4).to_le_bytes());
            }
            let place = Place(random.u64(..64));
            if let Ok(row) = row(&block, place) {
                assert!(row.len() < block.len());
            }
            let _ = without(&block, |partition| partition.0.is_multiple_of(2), |_| Ok(()));
            let _ = Tail::resume(1, &block);
        }
        assert_eq!(row(&[0xff; 10], Place(0)), Err(Garbled));
    }
}
