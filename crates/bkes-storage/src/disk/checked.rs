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
//! durable commit has reached. In a block of sums that is torn, the sums of all other blocks are the same in both halves.
//! Block 0 is redb's header, which it checks itself and writes in parts; the place of its sum says what kind of file this is.

use super::DiskFile;
use hashbrown::HashMap;
use std::collections::VecDeque;
use std::io;
use std::sync::{Mutex, MutexGuard, PoisonError};

/// A block: a page of redb.
pub const BLOCK: usize = 4096;
const BLOCK_BYTES: u64 = BLOCK as u64;

/// Blocks of content in a group.
const GROUP: u64 = BLOCK_BYTES / 4;

/// Blocks of sums that are kept in memory: 4 MiB, for 4 GiB of content. What lies beyond costs one more read, of a block that
/// the system is likely to have.
const SUMS_MAX: usize = 1_024;

/// So many are asked at a time whether they can go.
const ASKED_MAX: usize = 16;

/// In the place of the sum of block 0.
const KIND: [u8; 4] = *b"BKS1";

/// How a file of redb begins.
const REDB: &[u8] = b"redb";

/// A file of checked blocks.
#[derive(Debug)]
pub struct Checked {
    file: Box<dyn DiskFile>,
    /// Held for look-ups in memory alone, never while the disk works.
    sums: Mutex<Sums>,
    sums_max: usize,
}

/// The blocks of sums in memory. One that is not here is in the file, and is not being written.
#[derive(Debug, Default)]
struct Sums {
    groups: HashMap<u64, Group>,
    /// The order in which they are asked whether they were used: each is in it once.
    queue: VecDeque<u64>,
    /// How often one went, or the file was cut: what was read from the file before that may be old.
    forgotten: u64,
}

#[derive(Debug)]
struct Group {
    sums: Box<[u8; BLOCK]>,
    /// It differs from the file.
    dirty: bool,
    /// It is being written.
    is_written: bool,
    /// It was used since it was last asked.
    used: bool,
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
        Ok((Checked { file, sums: Mutex::default(), sums_max: SUMS_MAX }, kind))
    }

    fn sums(&self) -> MutexGuard<'_, Sums> {
        self.sums.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Looks at the sums of a group. Those that have to be read for it are kept if there is room.
    fn look<T>(&self, number: u64, look: impl FnOnce(&Group) -> T) -> io::Result<T> {
        if let Some(group) = self.sums().find(number) {
            return Ok(look(group));
        }
        let (mut sums, read) = self.fetch(number)?;
        let Some(read) = read else { return Ok(look(sums.find(number).expect("it is there"))) };
        let found = look(&read);
        if sums.make_room(self.sums_max) {
            sums.insert(number, read);
        }
        Ok(found)
    }

    /// Changes the sums of a group. There is one writer.
    fn change(&self, number: u64, change: impl FnOnce(&mut Group)) -> io::Result<()> {
        if let Some(group) = self.sums().find(number) {
            change(group);
            return Ok(());
        }
        // What differs from the file has to be written before it goes. It would be at the next sync, and a crash before that
        // leaves no more of it than one in the middle of a sync.
        loop {
            let oldest = self.sums().without_room(self.sums_max);
            let Some(oldest) = oldest else { break };
            self.write_sums(oldest)?;
        }
        let (mut sums, read) = self.fetch(number)?;
        if let Some(read) = read {
            sums.insert(number, read);
        }
        change(sums.find(number).expect("it is there"));
        Ok(())
    }

    /// Reads the sums of a group, unless they are there by now.
    fn fetch(&self, number: u64) -> io::Result<(MutexGuard<'_, Sums>, Option<Group>)> {
        let at = number * (GROUP + 1) * BLOCK_BYTES;
        loop {
            let before = self.sums().forgotten;
            let mut read = Box::new([0; BLOCK]);
            if at < self.file.length()? {
                self.file.read(at, &mut read[..])?;
            }
            let sums = self.sums();
            if sums.groups.contains_key(&number) {
                return Ok((sums, None));
            }
            if sums.forgotten == before {
                let group = Group { sums: read, dirty: false, is_written: false, used: true };
                return Ok((sums, Some(group)));
            }
        }
    }

    /// Writes the sums of a group, if they differ from the file.
    fn write_sums(&self, number: u64) -> io::Result<()> {
        let copy = {
            let mut sums = self.sums();
            let Some(group) = sums.groups.get_mut(&number).filter(|group| group.dirty && !group.is_written)
            else {
                return Ok(());
            };
            (group.dirty, group.is_written) = (false, true);
            group.sums.clone()
        };
        let written = self.file.write(number * (GROUP + 1) * BLOCK_BYTES, &copy[..]);
        let mut sums = self.sums();
        if let Some(group) = sums.groups.get_mut(&number) {
            group.is_written = false;
            group.dirty |= written.is_err();
        }
        written
    }

    /// Whether these whole blocks, from this one on, are what was written.
    fn check(&self, first: u64, blocks: &[u8]) -> io::Result<()> {
        for (from, part) in runs(first, blocks.len()) {
            let blocks = &blocks[part];
            let wrong = self.look(from / GROUP, |group| {
                let mut blocks = (from..).zip(blocks.chunks(BLOCK)).filter(|(block, _)| *block != 0);
                blocks.find(|(block, bytes)| {
                    let sum = group.sum(*block);
                    // A block that was never written is zeros without a sum.
                    let is_blank = || sum == [0; 4] && bytes.iter().all(|byte| *byte == 0);
                    sum != sum_of(bytes) && !is_blank()
                })
            })?;
            if let Some((block, _)) = wrong {
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
            self.change(block / GROUP, |group| group.set(block, sum))?;
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

impl Sums {
    fn find(&mut self, number: u64) -> Option<&mut Group> {
        let group = self.groups.get_mut(&number)?;
        group.used = true;
        Some(group)
    }

    fn insert(&mut self, number: u64, group: Group) {
        self.groups.insert(number, group);
        self.queue.push_back(number);
    }

    /// Whether there is room for one more; for that another one may go that does not differ from the file.
    fn make_room(&mut self, sums_max: usize) -> bool {
        for _ in 0..ASKED_MAX {
            if self.groups.len() < sums_max {
                return true;
            }
            let Some(number) = self.queue.pop_front() else { return false };
            let group = self.groups.get_mut(&number).expect("each in the queue is here");
            if std::mem::take(&mut group.used) || group.dirty || group.is_written {
                self.queue.push_back(number);
                continue;
            }
            self.groups.remove(&number);
            self.forgotten += 1;
        }
        self.groups.len() < sums_max
    }

    /// If there is no room for one more: one that has to be written for it.
    fn without_room(&mut self, sums_max: usize) -> Option<u64> {
        while !self.make_room(sums_max) {
            let dirty = self.queue.iter().find(|number| self.groups[*number].dirty);
            if dirty.is_some() {
                return dirty.copied();
            }
        }
        None
    }

    /// The file has so many groups from here on.
    fn cut(&mut self, groups: u64) {
        self.forgotten += 1;
        self.groups.retain(|number, _| *number < groups);
        self.queue.retain(|number| *number < groups);
    }
}

impl Group {
    fn sum(&self, block: u64) -> [u8; 4] {
        let at = (block % GROUP) as usize * 4;
        self.sums[at..at + 4].try_into().expect("four bytes")
    }

    fn set(&mut self, block: u64, sum: [u8; 4]) {
        let at = (block % GROUP) as usize * 4;
        self.dirty |= self.sums[at..at + 4] != sum;
        self.sums[at..at + 4].copy_from_slice(&sum);
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
        self.sums().cut(groups);
        for block in blocks..before.min(groups * GROUP) {
            self.change(block / GROUP, |group| group.set(block, [0; 4]))?;
        }
        if before == 0 && blocks > 0 {
            // Known for what it is from the beginning, so that a process killed here has not left a damaged file.
            self.file.write(0, &KIND)?;
            self.change(0, |group| group.set(0, KIND))?;
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
        let is_dirty = |(number, group): (&u64, &Group)| group.dirty.then_some(*number);
        let mut dirty: Vec<u64> = self.sums().groups.iter().filter_map(is_dirty).collect();
        dirty.sort_unstable();
        dirty.into_iter().try_for_each(|number| self.write_sums(number))?;
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
