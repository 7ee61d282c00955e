//! Reading: one walk through the file serves all partitions of a reader.
//!
//! Invariant: everything of an assigned partition below its place was given out, and the walk stands at or before the first
//! record that was not. Only what is synced is read.

use crate::frame::{self, HEAD_BYTES};
use crate::group::{self, HEADER_BYTES};
use crate::index;
use crate::limits::READ_BYTES;
use crate::shared::Shared;
use bkes_core::{Offset, Partition, Position};
use bkes_log::{LogReader, ReadEvent, ReadFailure};
use bytes::Bytes;
use std::collections::BTreeMap;
use std::sync::Arc;

struct Place {
    next: Offset,
    told_end: bool,
    failed: bool,
}

pub struct EmbeddedReader {
    shared: Arc<Shared>,
    places: BTreeMap<Partition, Place>,
    /// Where the walk stands in the file, and what was read from there.
    at: u64,
    chunk: Bytes,
}

impl EmbeddedReader {
    pub fn new(shared: Arc<Shared>) -> EmbeddedReader {
        EmbeddedReader { shared, places: BTreeMap::new(), at: u64::MAX, chunk: Bytes::new() }
    }

    /// The next frame before `end`, checked; `None` at the end. A record that was synced and no longer reads is damage.
    fn next_frame(&mut self, end: u64) -> Result<Option<Bytes>, String> {
        while self.at < end {
            let is_header = group::begins(&self.chunk);
            let wanted = match frame::length(&self.chunk) {
                Some(_) if is_header => HEADER_BYTES,
                Some(length) => length,
                None => HEAD_BYTES,
            };
            if wanted > self.chunk.len() {
                self.read(wanted as u64, end)?;
            } else if is_header {
                self.check_header()?;
            } else {
                frame::check(&self.chunk).map_err(|broken| format!("{broken:?} at byte {}", self.at))?;
                self.at += wanted as u64;
                return Ok(Some(self.chunk.split_to(wanted)));
            }
        }
        Ok(None)
    }

    /// Reads on from where the walk stands.
    fn read(&mut self, wanted: u64, end: u64) -> Result<(), String> {
        let available = end - self.at;
        if wanted > available {
            return Err(format!(
                "{wanted} bytes are expected at byte {} where {available} are left",
                self.at
            ));
        }
        let mut chunk = vec![0; available.min(wanted.max(READ_BYTES)) as usize];
        self.shared.file.read_exact_at(&mut chunk, self.at).map_err(|error| error.to_string())?;
        self.chunk = Bytes::from(chunk);
        Ok(())
    }

    /// Passes the header of a group.
    fn check_header(&mut self) -> Result<(), String> {
        match group::get(&self.chunk, self.shared.header.mark) {
            Some(header) if header.position == self.at => {}
            _ => return Err(format!("no group at byte {}", self.at)),
        }
        self.at += HEADER_BYTES as u64;
        drop(self.chunk.split_to(HEADER_BYTES));
        Ok(())
    }

    fn seek(&mut self, position: u64) {
        self.at = position;
        self.chunk = Bytes::new();
    }
}

impl LogReader for EmbeddedReader {
    fn assign(&mut self, partition: Partition, from: Position) {
        let published = self.shared.published();
        let index = index::of(&published.index, partition);
        let failed = index.is_none_or(|index| from.offset() > index.next());
        let start = index.and_then(|index| index.locate(from.offset())).unwrap_or(published.end);
        drop(published);
        self.places.insert(partition, Place { next: from.offset(), told_end: false, failed });
        if start < self.at {
            self.seek(start.max(self.shared.start));
        }
    }

    fn poll(&mut self, records_max: usize, out: &mut Vec<ReadEvent>) {
        let limit = out.len() + records_max;
        for (partition, place) in self.places.iter_mut().filter(|(_, place)| place.failed && !place.told_end)
        {
            place.told_end = true;
            let failure = ReadFailure::OutOfRange { position: Position(place.next.0) };
            out.push(ReadEvent::Failed { partition: Some(*partition), failure });
        }
        let published = self.shared.published();
        let end = published.end;
        let ends: Vec<(Partition, Offset)> = self
            .places
            .keys()
            .filter_map(|partition| Some((*partition, index::of(&published.index, *partition)?.next())))
            .collect();
        drop(published);
        while out.len() < limit {
            let frame = match self.next_frame(end) {
                Ok(Some(frame)) => frame,
                Ok(None) => break,
                Err(detail) => return self.fail(detail, out),
            };
            let (partition, offset) = frame::place(&frame);
            let Some(place) =
                self.places.get_mut(&partition).filter(|place| !place.failed && place.next <= offset)
            else {
                continue;
            };
            match frame::get(&frame) {
                Ok(record) => {
                    place.next = Offset(offset.0 + 1);
                    place.told_end = false;
                    // A file has no leaders.
                    out.push(ReadEvent::Record { record, epoch: None });
                }
                Err(broken) => return self.fail(format!("{broken:?} before byte {}", self.at), out),
            }
        }
        for (partition, next) in ends {
            let place = self.places.get_mut(&partition).expect("it is assigned");
            if place.next == next && !place.told_end && !place.failed {
                place.told_end = true;
                out.push(ReadEvent::End { partition, position: Position(next.0) });
            }
        }
    }
}

impl EmbeddedReader {
    /// The file no longer reads as it was written: no partition goes on.
    fn fail(&mut self, detail: String, out: &mut Vec<ReadEvent>) {
        // What was read is not kept: the next attempt asks the disk.
        self.seek(self.at);
        for (partition, place) in self.places.iter_mut().filter(|(_, place)| !place.failed) {
            place.failed = true;
            place.told_end = true;
            let failure = ReadFailure::Damaged { position: Position(place.next.0), detail: detail.clone() };
            out.push(ReadEvent::Failed { partition: Some(*partition), failure });
        }
    }
}
