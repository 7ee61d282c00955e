//! Blocks: events of the log table, packed into values that fill a page of redb.
//!
//! A block is a sequence of rows, each with its length before it. Rows are only ever added at the end of the last block, which the
//! writer keeps in mind; a row that does not fit begins a new one, and a row larger than a block has one for itself. So a page
//! is full, and a write touches few of them, however small the events are. redb makes a page as large as what stands in it: four
//! times its smallest one costs the writer little more than that does, and a read that has to get it from the disk waits as long.

use super::codec::{Garbled, number, number_bytes, put_number};

/// What fits into a page of redb of 16 KiB beside the bookkeeping of a leaf with one pair: 4 bytes of head, 8 of key and 4 of length.
pub const BLOCK_BYTES_MAX: usize = 16 * 1024 - 16;

/// A row's place is its block's number and, in the lowest bits, where in the block it begins.
const OFFSET_BITS: u32 = 14;

const _: () = assert!(BLOCK_BYTES_MAX <= 1 << OFFSET_BITS);

/// Where a row lies in the log table. Places rise in the order of writing.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub struct Place(pub u64);

impl Place {
    fn new(block: u64, offset: usize) -> Place {
        Place(block << OFFSET_BITS | offset as u64)
    }

    /// The block's number.
    pub fn block(self) -> u64 {
        self.0 >> OFFSET_BITS
    }

    fn offset(self) -> usize {
        (self.0 & ((1 << OFFSET_BITS) - 1)) as usize
    }
}

/// The row that begins at `place` in its block, without its length.
pub fn row(block: &[u8], place: Place) -> Result<&[u8], Garbled> {
    let mut rest = block.get(place.offset()..).ok_or(Garbled)?;
    let length = usize::try_from(number(&mut rest)?).map_err(|_| Garbled)?;
    rest.get(..length).ok_or(Garbled)
}

/// The end of the log table: the last block, which takes more rows.
#[derive(Clone, Debug, Default)]
pub struct Tail {
    block: u64,
    bytes: Vec<u8>,
}

impl Tail {
    /// The tail of a table whose last block is this one.
    pub fn resume(block: u64, bytes: &[u8]) -> Tail {
        Tail { block, bytes: bytes.to_vec() }
    }

    /// Where the next row of `length` bytes, its own length included, will lie. Hands a block that is full to `full`.
    pub fn place<E>(
        &mut self,
        length: usize,
        full: impl FnOnce(u64, &[u8]) -> Result<(), E>,
    ) -> Result<Place, E> {
        if !self.bytes.is_empty() && self.bytes.len() + length > BLOCK_BYTES_MAX {
            full(self.block, &self.bytes)?;
            self.block += 1;
            self.bytes.clear();
        }
        Ok(Place::new(self.block, self.bytes.len()))
    }

    /// Adds a row at the place just given.
    pub fn push(&mut self, row: &[u8]) {
        put_number(&mut self.bytes, row.len() as u64);
        self.bytes.extend_from_slice(row);
    }

    /// How many blocks there are, the last one counted.
    pub fn blocks(&self) -> u64 {
        self.block + u64::from(!self.bytes.is_empty())
    }

    /// The last block as it is now.
    pub fn last(&self) -> (u64, &[u8]) {
        (self.block, &self.bytes)
    }
}

/// What a row of `length` bytes takes in a block.
pub fn in_block(length: usize) -> usize {
    number_bytes(length as u64) + length
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rows_are_found_where_they_were_put_and_blocks_fill_a_page() {
        let mut random = fastrand::Rng::with_seed(3);
        let (mut tail, mut blocks, mut rows) = (Tail::default(), Vec::new(), Vec::new());
        for _ in 0..2_000 {
            let length = if random.u8(..50) == 0 { random.usize(4_000..20_000) } else { random.usize(..400) };
            let row = vec![random.u8(..); length];
            let place = tail
                .place(in_block(length), |number, block| {
                    assert_eq!(number, blocks.len() as u64);
                    blocks.push(block.to_vec());
                    Ok::<_, ()>(())
                })
                .expect("nothing fails");
            tail.push(&row);
            rows.push((place, row));
        }
        blocks.push(tail.last().1.to_vec());
        for (place, expected) in &rows {
            assert_eq!(row(&blocks[place.block() as usize], *place), Ok(&expected[..]));
        }
        assert!(rows.is_sorted_by(|a, b| a.0 < b.0));
        let large = |block: &[u8]| block.len() > BLOCK_BYTES_MAX;
        let alone =
            |number: usize| rows.iter().filter(|(place, _)| place.block() == number as u64).count() == 1;
        assert!(blocks.iter().enumerate().all(|(number, block)| !large(block) || alone(number)));
    }

    #[test]
    fn bytes_that_are_no_block_give_no_row() {
        let mut random = fastrand::Rng::with_seed(4);
        for _ in 0..10_000 {
            let block: Vec<u8> = (0..random.usize(..40)).map(|_| random.u8(..)).collect();
            let place = Place(random.u64(..64));
            if let Ok(row) = row(&block, place) {
                assert!(row.len() < block.len());
            }
        }
        assert_eq!(row(&[0xff; 10], Place(0)), Err(Garbled));
    }
}
