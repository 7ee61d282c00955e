//! Reading: one walk through the file serves all partitions of a reader.
//!
//! Invariant: everything of an assigned partition below its place was given out, and the walk stands at or before the first
//! record that was not. Only what is synced is read.

use crate::file;
use crate::frame::{self, HEAD_BYTES};
use crate::log::Shared;
use bkes_core::{Offset, Partition, Position};
use bkes_log::{LogReader, ReadEvent, ReadFailure};
use bytes::Bytes;
use std::collections::BTreeMap;
use std::os::unix::fs::FileExt;
use std::sync::Arc;

/// How much is read at a time: large enough that system calls do not count, small enough for many readers.
const CHUNK_BYTES: u64 = 1024 * 1024;

struct Place {
    next: Offset,
    told_end: bool,
    failed: bool,
}

pub(crate) struct EmbeddedReader {
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
        if self.at >= end {
            return Ok(None);
        }
        loop {
            let whole = frame::length(&self.chunk).filter(|length| *length <= self.chunk.len());
            if let Some(length) = whole {
                frame::check(&self.chunk).map_err(|broken| format!("{broken:?} at byte {}", self.at))?;
                self.at += length as u64;
                return Ok(Some(self.chunk.split_to(length)));
            }
            let wanted = frame::length(&self.chunk).unwrap_or(HEAD_BYTES) as u64;
            let available = end - self.at;
            if wanted > available {
                return Err(format!(
                    "a record of {wanted} bytes at byte {} where {available} are left",
                    self.at
                ));
            }
            let mut chunk = vec![0; available.min(wanted.max(CHUNK_BYTES)) as usize];
            self.shared.file.read_exact_at(&mut chunk, self.at).map_err(|error| error.to_string())?;
            self.chunk = Bytes::from(chunk);
        }
    }

    fn seek(&mut self, position: u64) {
        self.at = position;
        self.chunk = Bytes::new();
    }
}

impl LogReader for EmbeddedReader {
    fn assign(&mut self, partition: Partition, from: Position) {
        let published = self.shared.published();
        let index = file::of(&published.index, partition);
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
            .filter_map(|partition| Some((*partition, file::of(&published.index, *partition)?.next())))
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
                    out.push(ReadEvent::Record(record));
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
        for (partition, place) in self.places.iter_mut().filter(|(_, place)| !place.failed) {
            place.failed = true;
            place.told_end = true;
            let failure = ReadFailure::Damaged { position: Position(place.next.0), detail: detail.clone() };
            out.push(ReadEvent::Failed { partition: Some(*partition), failure });
        }
    }
}
