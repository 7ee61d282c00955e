//! A file whose blocks are checked: what is read is what was written, or an error.
//!
//! redb has checksums of its own and looks at them when it repairs a file, not when it reads a page, and it panics on garbage: on
//! some, twice, which ends the process. Here every block of 4 KiB has a CRC-32C beside it. The file is groups of one block of
//! sums and 1,024 blocks of content.
//!
//! ```text
//!  | sums 0 | block 0 | block 1 | … | block 1023 | sums 1 | block 1024 | …
//! ```
//!
//! Sums are written when the file is synced, before the sync: a block that was synced has its sum. One that was written after the
//! last sync may lie there with an old sum when the machine stops, and is refused if it is read then; redb reads only what a
//! lasting commit has reached. In a block of sums that is torn, the sums of all other blocks are the same in both halves.
//! Block 0 is redb's header, which it checks itself and writes in parts; the place of its sum says what kind of file this is.

use super::DiskFile;
use std::io;
use std::sync::{Mutex, MutexGuard, PoisonError};

/// A block: a page of redb.
pub const BLOCK: usize = 4096;
const BLOCK_BYTES: u64 = BLOCK as u64;

/// Blocks of content in a group.
const GROUP: u64 = BLOCK_BYTES / 4;

/// In the place of the sum of block 0.
const KIND: [u8; 4] = *b"BKS1";

/// How a file of redb begins.
const REDB: &[u8] = b"redb";

/// A file of checked blocks.
#[derive(Debug)]
pub struct Checked {
    file: Box<dyn DiskFile>,
    groups: Mutex<Vec<Group>>,
}

#[derive(Debug, Default)]
struct Group {
    /// As in the file, once they were read or are to be written.
    sums: Option<Box<[u8; BLOCK]>>,
    dirty: bool,
}

/// What a file is that is no file of checked blocks.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Kind {
    /// Empty, or of checked blocks.
    Checked,
    /// A bare file of redb, as earlier formats were.
    Bare,
    /// Neither.
    Other,
}

impl Checked {
    /// Takes a file into use, and says what it is.
    pub fn new(file: Box<dyn DiskFile>) -> io::Result<(Checked, Kind)> {
        let mut head = [0; KIND.len()];
        let kind = match file.length()? {
            0 => Kind::Checked,
            length if length < BLOCK_BYTES => Kind::Other,
            _ => {
                file.read(0, &mut head)?;
                match head {
                    KIND => Kind::Checked,
                    head if head == REDB => Kind::Bare,
                    _ => Kind::Other,
                }
            }
        };
        Ok((Checked { file, groups: Mutex::default() }, kind))
    }

    fn groups(&self) -> MutexGuard<'_, Vec<Group>> {
        self.groups.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Does something with the sums of a group, which are read first if they are not there.
    fn with_sums<T>(&self, number: u64, work: impl FnOnce(&mut Group) -> T) -> io::Result<T> {
        let mut groups = self.groups();
        let index = number as usize;
        if groups.len() <= index {
            groups.resize_with(index + 1, Group::default);
        }
        let group = &mut groups[index];
        if group.sums.is_none() {
            let mut sums = Box::new([0; BLOCK]);
            let at = number * (GROUP + 1) * BLOCK_BYTES;
            if at < self.file.length()? {
                self.file.read(at, &mut sums[..])?;
            }
            group.sums = Some(sums);
        }
        Ok(work(group))
    }

    /// Whether these whole blocks, from this one on, are what was written.
    fn check(&self, first: u64, blocks: &[u8]) -> io::Result<()> {
        for (block, bytes) in (first..).zip(blocks.chunks(BLOCK)).filter(|(block, _)| *block != 0) {
            let sum = self.with_sums(block / GROUP, |group| group.sum(block))?;
            // A block that was never written is zeros without a sum.
            let is_blank = || sum == [0; 4] && bytes.iter().all(|byte| *byte == 0);
            if sum != sum_of(bytes) && !is_blank() {
                let detail = format!("block {block} of the store is not what was written");
                return Err(io::Error::new(io::ErrorKind::InvalidData, detail));
            }
        }
        Ok(())
    }

    /// Reads whole blocks.
    fn read_blocks(&self, first: u64, out: &mut [u8]) -> io::Result<()> {
        for (block, part) in runs(first, out.len()) {
            self.file.read(place(block), &mut out[part])?;
        }
        self.check(first, out)
    }

    /// Writes whole blocks.
    fn write_blocks(&self, first: u64, data: &[u8]) -> io::Result<()> {
        for (block, part) in runs(first, data.len()) {
            self.file.write(place(block), &data[part])?;
        }
        for (block, bytes) in (first..).zip(data.chunks(BLOCK)) {
            let sum = if block == 0 { KIND } else { sum_of(bytes) };
            self.with_sums(block / GROUP, |group| group.set(block, sum))?;
        }
        Ok(())
    }

    /// The blocks that a range touches, as they are.
    fn around(&self, offset: u64, length: usize) -> io::Result<(u64, usize, Vec<u8>)> {
        let first = offset / BLOCK_BYTES;
        let within = (offset % BLOCK_BYTES) as usize;
        let mut blocks = vec![0; (within + length).div_ceil(BLOCK) * BLOCK];
        let there = self.length()?.saturating_sub(first * BLOCK_BYTES).div_ceil(BLOCK_BYTES) as usize * BLOCK;
        let there = there.min(blocks.len());
        self.read_blocks(first, &mut blocks[..there])?;
        Ok((first, within, blocks))
    }
}

impl Group {
    fn sum(&self, block: u64) -> [u8; 4] {
        let at = (block % GROUP) as usize * 4;
        let sums = self.sums.as_ref().expect("they were read");
        sums[at..at + 4].try_into().expect("four bytes")
    }

    fn set(&mut self, block: u64, sum: [u8; 4]) {
        let at = (block % GROUP) as usize * 4;
        let sums = self.sums.as_mut().expect("they were read");
        self.dirty |= sums[at..at + 4] != sum;
        sums[at..at + 4].copy_from_slice(&sum);
    }
}

impl DiskFile for Checked {
    fn length(&self) -> io::Result<u64> {
        let blocks = self.file.length()? / BLOCK_BYTES;
        let (groups, rest) = (blocks / (GROUP + 1), blocks % (GROUP + 1));
        Ok((groups * GROUP + rest.saturating_sub(1)) * BLOCK_BYTES)
    }

    fn read(&self, offset: u64, out: &mut [u8]) -> io::Result<()> {
        if offset.is_multiple_of(BLOCK_BYTES) && out.len().is_multiple_of(BLOCK) {
            return self.read_blocks(offset / BLOCK_BYTES, out);
        }
        if offset + out.len() as u64 > self.length()? {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        let (_, within, blocks) = self.around(offset, out.len())?;
        out.copy_from_slice(&blocks[within..within + out.len()]);
        Ok(())
    }

    /// A length that is no whole number of blocks is made one.
    fn set_length(&self, length: u64) -> io::Result<()> {
        let blocks = length.div_ceil(BLOCK_BYTES);
        let before = self.length()? / BLOCK_BYTES;
        let groups = blocks.div_ceil(GROUP);
        self.file.set_length((blocks + groups) * BLOCK_BYTES)?;
        // What is cut off is blank if it comes back.
        self.groups().truncate(groups as usize);
        for block in blocks..before.min(groups * GROUP) {
            self.with_sums(block / GROUP, |group| group.set(block, [0; 4]))?;
        }
        if before == 0 && blocks > 0 {
            // Known for what it is from the beginning, so that a process killed here has not left a damaged file.
            self.file.write(0, &KIND)?;
            self.with_sums(0, |group| group.set(0, KIND))?;
        }
        Ok(())
    }

    fn write(&self, offset: u64, data: &[u8]) -> io::Result<()> {
        if offset.is_multiple_of(BLOCK_BYTES) && data.len().is_multiple_of(BLOCK) {
            return self.write_blocks(offset / BLOCK_BYTES, data);
        }
        let (first, within, mut blocks) = self.around(offset, data.len())?;
        blocks[within..within + data.len()].copy_from_slice(data);
        self.write_blocks(first, &blocks)
    }

    fn sync(&self) -> io::Result<()> {
        for (number, group) in (0..).zip(self.groups().iter_mut()).filter(|(_, group)| group.dirty) {
            let sums = group.sums.as_ref().expect("what is dirty is there");
            self.file.write(number * (GROUP + 1) * BLOCK_BYTES, &sums[..])?;
            group.dirty = false;
        }
        self.file.sync()
    }
}

fn sum_of(block: &[u8]) -> [u8; 4] {
    // No block but a blank one has the sum of none.
    crc32c::crc32c(block).max(1).to_le_bytes()
}

/// Where a block lies in the file.
fn place(block: u64) -> u64 {
    (block + block / GROUP + 1) * BLOCK_BYTES
}

/// Whole blocks from one on, as runs that lie side by side in the file: the first block of each, and the part of the bytes.
fn runs(first: u64, length: usize) -> impl Iterator<Item = (u64, std::ops::Range<usize>)> {
    let mut done = 0;
    std::iter::from_fn(move || {
        if done >= length {
            return None;
        }
        let block = first + (done / BLOCK) as u64;
        let side_by_side = (GROUP - block % GROUP) as usize * BLOCK;
        let part = done..length.min(done + side_by_side);
        done = part.end;
        Some((block, part))
    })
}

#[cfg(test)]
mod tests;
