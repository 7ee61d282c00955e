//! The large values of one commit on their way into the file.
//!
//! Each is copied once, into a buffer, and its sum is taken of what was just copied, while that is in the processor's cache. Much of it is
//! written past the system's cache: a copy into new memory of the system's would cost more than all else that is done with a value.
//! A commit with less goes through the system's cache: it is no load, and what it wrote may be asked for in a moment.

use super::{BLOCK_BYTES, Values};
use crate::disk::BLOCK;
use crate::redb_store::failure::Failure;
use crate::redb_store::layout::{Large, Slot};

/// What is written at once: what a commit has that does not wait for more. It takes a fast disk a millisecond.
pub const BUFFER_BYTES: usize = 2 * 1024 * 1024;

/// A commit with so many bytes of large values, when the first are written, writes them past the system's cache.
const MUCH_BYTES: usize = BUFFER_BYTES / 2;

/// Copied before it is summed: with what it is copied from it fits into the first two levels of any processor's cache, and it is a
/// multiple of what the sum takes in three ways at once.
const COPIED_BYTES: usize = 24 * 1024;

/// Room for [`BUFFER_BYTES`] that begins where a page of memory does, as a disk wants it.
#[derive(Debug)]
pub struct Buffer {
    bytes: Vec<u8>,
    start: usize,
}

impl Default for Buffer {
    fn default() -> Buffer {
        let bytes = vec![0; BUFFER_BYTES + BLOCK];
        let start = bytes.as_ptr().align_offset(BLOCK);
        // An offset that cannot be told costs the way past the cache, nothing else.
        Buffer { start: if start < BLOCK { start } else { 0 }, bytes }
    }
}

impl Buffer {
    fn part(&mut self, range: std::ops::Range<usize>) -> &mut [u8] {
        &mut self.bytes[self.start + range.start..self.start + range.end]
    }
}

/// The values that one commit adds after the others.
pub struct Adding<'a> {
    values: &'a Values,
    /// None until there is a value.
    buffer: Option<Buffer>,
    /// The block of the file that the buffer begins with.
    block: u64,
    filled: usize,
    /// Part of it was written past the system's cache.
    past_cache: bool,
}

impl<'a> Adding<'a> {
    /// Nothing yet.
    pub fn new(values: &'a Values) -> Adding<'a> {
        Adding { values, buffer: None, block: 0, filled: 0, past_cache: false }
    }

    /// Adds a value, in blocks of its own: a write never touches one that was synced. Moves the end.
    pub fn add(&mut self, slot: Slot, value: &[u8], end: &mut u64) -> Result<Large, Failure> {
        let block = end.div_ceil(BLOCK_BYTES);
        self.end_block()?;
        if self.filled == 0 {
            self.block = block;
        }
        let at = self.block + (self.filled / BLOCK) as u64;
        assert_eq!(at, block, "values of a commit lie one behind the other");
        let mut sum = crc32c::crc32c(&slot.context());
        let mut rest = value;
        while !rest.is_empty() {
            let length = rest.len().min(COPIED_BYTES).min(BUFFER_BYTES - self.filled);
            let (part, left) = rest.split_at(length);
            let copied = self.take(length);
            copied.copy_from_slice(part);
            sum = crc32c::crc32c_append(sum, copied);
            rest = left;
            if self.filled == BUFFER_BYTES {
                self.write()?;
            }
        }
        *end = block * BLOCK_BYTES + value.len() as u64;
        Ok(Large { block, bytes: value.len() as u64, sum })
    }

    /// Writes what is left.
    pub fn finish(mut self) -> Result<(), Failure> {
        self.end_block()?;
        if self.filled > 0 {
            self.write()?;
        }
        Ok(())
    }

    /// Room after what is there.
    fn take(&mut self, length: usize) -> &mut [u8] {
        let buffer = self.buffer.get_or_insert_with(|| self.values.spare().take().unwrap_or_default());
        let start = self.filled;
        self.filled += length;
        buffer.part(start..start + length)
    }

    /// Fills the last block with zeros.
    fn end_block(&mut self) -> Result<(), Failure> {
        let length = self.filled.next_multiple_of(BLOCK) - self.filled;
        if length > 0 {
            self.take(length).fill(0);
        }
        if self.filled == BUFFER_BYTES { self.write() } else { Ok(()) }
    }

    /// Writes the blocks that are there.
    fn write(&mut self) -> Result<(), Failure> {
        let Some(buffer) = &mut self.buffer else { return Ok(()) };
        self.past_cache |= self.filled >= MUCH_BYTES;
        self.values.write(self.block, buffer.part(0..self.filled), self.past_cache)?;
        self.block += (self.filled / BLOCK) as u64;
        self.filled = 0;
        Ok(())
    }
}

impl Drop for Adding<'_> {
    fn drop(&mut self) {
        if let Some(buffer) = self.buffer.take() {
            *self.values.spare() = Some(buffer);
        }
    }
}
