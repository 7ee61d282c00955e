//! Writing: what gathers while one group is being synced becomes the next group.
//!
//! Invariants:
//! * a group is written only when everything before it is synced, so at most one group of the file is not;
//! * a record is reported stored only after the `fdatasync` that covers it has returned, and is readable from then on;
//! * offsets of a partition have no gaps;
//! * after a write that failed the file is cut back to what is synced, and that is synced, before anything else is written;
//! * after a sync that failed, or a cut, nothing is written until the log is opened anew: the system may have dropped what it
//!   could not write, and would not say so again.

use crate::frame;
use crate::group::{GroupHeader, HEADER_BYTES};
use crate::index::Index;
use crate::limits::{BUFFER_BYTES, GROUP_BYTES_MAX, PROBE_BYTES, RETRY, SEAL_AFTER};
use crate::queue::{Queued, WriteState, report};
use crate::shared::{Published, Shared};
use bkes_core::{Offset, Partition, TimestampMs};
use bkes_log::Delivery;
use std::any::Any;
use std::io;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::{Arc, PoisonError};
use std::time::SystemTime;

/// What the writer does next.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Next {
    /// Write, or refuse, what was handed over.
    Write,
    /// See whether writing works again.
    Recover,
    /// Say on disk that the last group is.
    Seal,
    /// End.
    Stop,
}

/// The one that writes the file.
pub struct Writer {
    shared: Arc<Shared>,
    /// Whether the last group of the file is a seal, or there is none.
    sealed: bool,
    group: Vec<Queued>,
    buffer: Vec<u8>,
}

impl Writer {
    pub fn new(shared: Arc<Shared>, sealed: bool) -> Writer {
        Writer { shared, sealed, group: Vec::new(), buffer: Vec::new() }
    }

    /// The writer thread: ends when it is told to and the queue is empty.
    ///
    /// After a panic nothing is written any more, and that is what everyone is told who asks for it.
    pub fn run(mut self) {
        while let Err(panic) = catch_unwind(AssertUnwindSafe(|| self.work())) {
            let was_broken = matches!(self.shared.queue().state, WriteState::Broken(_));
            self.panicked(&*panic);
            if was_broken {
                // Not even refusing works.
                return;
            }
        }
    }

    fn work(&mut self) {
        loop {
            match self.next() {
                Next::Write => self.write(),
                Next::Recover => self.recover(),
                Next::Seal => self.seal(),
                Next::Stop => return,
            }
        }
    }

    fn panicked(&mut self, panic: &(dyn Any + Send)) {
        let words = panic.downcast_ref::<&str>().map(ToString::to_string);
        let words = words.or_else(|| panic.downcast_ref::<String>().cloned()).unwrap_or_default();
        let detail = format!("writing the log panicked, restart to see what was kept: {words}");
        tracing::error!("{detail}");
        self.shared.set_state(WriteState::Broken(detail.clone()));
        report(&mut self.group, |_| Delivery::Unknown { detail: detail.clone() });
    }

    /// Waits until there is something to do.
    fn next(&self) -> Next {
        let mut queue = self.shared.queue();
        loop {
            if !queue.is_empty() {
                return Next::Write;
            }
            let works = queue.state == WriteState::Works;
            let timeout = match queue.state {
                WriteState::Works if !self.sealed => Some((SEAL_AFTER, Next::Seal)),
                WriteState::Failing(_) => Some((RETRY, Next::Recover)),
                WriteState::Works | WriteState::Broken(_) => None,
            };
            if queue.stop {
                return if works && !self.sealed { Next::Seal } else { Next::Stop };
            }
            let idle = |queue: &mut crate::queue::Queue| queue.is_empty() && !queue.stop;
            let Some((time, then)) = timeout else {
                queue = self.shared.queued.wait_while(queue, idle).unwrap_or_else(PoisonError::into_inner);
                continue;
            };
            let waited = self.shared.queued.wait_timeout_while(queue, time, idle);
            let (back, timed) = waited.unwrap_or_else(PoisonError::into_inner);
            if timed.timed_out() {
                return then;
            }
            queue = back;
        }
    }

    /// Writes what was handed over as one group, and reports what became of it.
    pub fn write(&mut self) {
        let mut queue = self.shared.queue();
        queue.drain(&mut self.group);
        if let Some(detail) = queue.state.trouble().cloned() {
            drop(queue);
            return report(&mut self.group, |_| Delivery::NotStored { detail: detail.clone() });
        }
        drop(queue);
        self.write_group();
    }

    /// Writes a group without records, which shows that everything before it is on disk: what does not read there later is
    /// damage, although no record came after it.
    pub fn seal(&mut self) {
        assert!(self.group.is_empty(), "what was handed over is written first");
        self.write_group();
    }

    fn write_group(&mut self) {
        let timestamp = now();
        let shared = &*self.shared;
        let (start, places) = put_group(shared, &self.group, &mut self.buffer, timestamp);
        if let Err(error) = shared.file.write_all_at(&self.buffer, start) {
            let detail = format!("writing the log failed: {error}");
            tracing::error!("{detail}");
            return match cut(shared, start) {
                Ok(()) => {
                    shared.set_state(WriteState::Failing(detail.clone()));
                    report(&mut self.group, |_| Delivery::NotStored { detail: detail.clone() });
                }
                Err(_) => {
                    shared.set_state(WriteState::Broken(detail.clone()));
                    report(&mut self.group, |_| Delivery::Unknown { detail: detail.clone() });
                }
            };
        }
        if let Err(error) = shared.file.sync_data() {
            let detail = format!("syncing the log failed, restart to see what was kept: {error}");
            tracing::error!("{detail}");
            shared.set_state(WriteState::Broken(detail.clone()));
            return report(&mut self.group, |_| Delivery::Unknown { detail: detail.clone() });
        }
        publish(shared, &places, start + self.buffer.len() as u64);
        self.sealed = self.group.is_empty();
        let mut offsets = places.iter().map(|(_, offset, _)| *offset);
        report(&mut self.group, |_| Delivery::Stored { offset: offsets.next(), timestamp: Some(timestamp) });
        shared.wake_readers();
        self.buffer.shrink_to(BUFFER_BYTES);
    }

    /// Sees whether there is space again: by writing a group's worth of nothing and cutting it off.
    pub fn recover(&mut self) {
        let shared = &*self.shared;
        let end = shared.published().end;
        let tried = shared.file.write_all_at(&[0; PROBE_BYTES], end).and_then(|()| cut(shared, end));
        if tried.is_ok() {
            tracing::info!("the log can be written again");
            shared.set_state(WriteState::Works);
        }
    }
}

/// A record's partition, its offset, and where it lies.
type Place = (Partition, Offset, u64);

/// Puts the group into the buffer; where it goes, and where its records do.
fn put_group(
    shared: &Shared,
    group: &[Queued],
    buffer: &mut Vec<u8>,
    timestamp: TimestampMs,
) -> (u64, Vec<Place>) {
    let published = shared.published();
    let start = published.end;
    let mut next: Vec<Offset> = published.index.iter().map(Index::next).collect();
    drop(published);
    buffer.clear();
    buffer.resize(HEADER_BYTES, 0);
    let mut places = Vec::with_capacity(group.len());
    for Queued { record, .. } in group {
        let offset = &mut next[record.partition.0 as usize];
        places.push((record.partition, *offset, start + buffer.len() as u64));
        frame::put(buffer, record, *offset, timestamp);
        *offset = Offset(offset.0 + 1);
    }
    assert!(buffer.len() as u64 <= GROUP_BYTES_MAX, "the queue is bounded");
    let header = GroupHeader::of(start, &buffer[HEADER_BYTES..], group.len());
    buffer[..HEADER_BYTES].copy_from_slice(&header.to_bytes(shared.header.mark));
    (start, places)
}

fn publish(shared: &Shared, places: &[Place], end: u64) {
    let mut published = shared.published_mut();
    let Published { end: known, index } = &mut *published;
    for (partition, offset, position) in places {
        index[partition.0 as usize].note(*offset, *position);
    }
    *known = end;
}

/// Puts the file back to what is synced.
fn cut(shared: &Shared, end: u64) -> io::Result<()> {
    shared.file.set_length(end)?;
    shared.file.sync_all()
}

fn now() -> TimestampMs {
    let since = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
    TimestampMs(since.as_millis() as i64)
}
