//! What was applied before it was read: reading must meet the same records, or the log is not the one we know.
//!
//! The fast path applies a record of our own when its place is reported, and reading comes after. Until then its fingerprint is
//! held here. What is held when a process dies is in its checkpoint as a sum, so that the next one reads from the last record
//! that was *confirmed*, which reading has met, and notices a log that lost its end and grew again anywhere after it.
//!
//! Invariant: no record is both applied and after `confirmed` without being in `earlier` or in `ahead`. So what reading meets there,
//! below the applied position, and is in neither, stands where nothing was when that was passed.

use crate::{Checkpoint, Fingerprint, Offset, Position, Unread};
use std::collections::VecDeque;

/// What reading met is not what was applied: this is not the log we know.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Divergence {
    /// Instead of this record there is another one, or none.
    Changed(Fingerprint),
    /// There is a record where there was none.
    Added(Offset),
}

impl Divergence {
    /// Where.
    pub fn offset(self) -> Offset {
        match self {
            Divergence::Changed(Fingerprint { offset, .. }) | Divergence::Added(offset) => offset,
        }
    }
}

impl std::fmt::Display for Divergence {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Divergence::Changed(mark) => write!(f, "applied {mark}"),
            Divergence::Added(offset) => write!(f, "met nothing at offset {offset}"),
        }
    }
}

/// One partition's records that were applied and not read.
#[derive(Clone, Debug, Default)]
pub struct Readback {
    /// The last record that reading met as it was applied.
    confirmed: Option<Fingerprint>,
    /// Whether reading has begun anew and has to meet it once more.
    reverify: bool,
    earlier: Option<Earlier>,
    /// Applied in this run, oldest first.
    ahead: VecDeque<Fingerprint>,
    /// The sum over all that is behind the confirmed record.
    sum: u64,
}

/// Records that an earlier run applied and did not read.
#[derive(Clone, Debug)]
struct Earlier {
    last: Fingerprint,
    sum: u64,
    /// What the records not met yet must come to; `None` where the log no longer holds all of them.
    left: Option<u64>,
}

impl Readback {
    /// What a checkpoint says.
    pub fn resume(checkpoint: &Checkpoint) -> Readback {
        let Some(last) = checkpoint.fingerprint else { return Readback::default() };
        let Some(Unread { behind, sum }) = checkpoint.unread else {
            return Readback { confirmed: Some(last), reverify: true, ..Readback::default() };
        };
        let (reverify, earlier) = (behind.is_some(), Some(Earlier { last, sum, left: None }));
        Readback { confirmed: behind, reverify, earlier, sum, ..Readback::default() }
    }

    /// Writes into a checkpoint what was not read, and of the last record, once it was, which leader took it.
    pub fn note_in(&self, checkpoint: &mut Checkpoint) {
        checkpoint.unread = self.is_behind().then_some(Unread { behind: self.confirmed, sum: self.sum });
        let last = checkpoint.fingerprint.map(|last| last.offset);
        if let Some(confirmed) = self.confirmed.filter(|confirmed| Some(confirmed.offset) == last) {
            checkpoint.fingerprint = Some(confirmed);
        }
    }

    /// Whether reading has met a record at `position` or after it.
    pub fn has_read(&self, position: Position) -> bool {
        self.confirmed.is_some_and(|confirmed| confirmed.offset >= position.offset())
    }

    /// Whether this is the log that an earlier run knew: what its checkpoint names of it was met, as far as it is still there.
    pub fn is_compared(&self) -> bool {
        !self.reverify && self.earlier.is_none()
    }

    /// Whether something that was applied was not read yet.
    pub fn is_behind(&self) -> bool {
        self.earlier.is_some() || !self.ahead.is_empty()
    }

    /// How many records of this run were not read yet.
    pub fn len(&self) -> usize {
        self.ahead.len()
    }

    /// Reading begins, or begins again: where, so that everything that was not read is met, and the record before it. What the
    /// log removed below `low` can no longer be met. `position` is behind all that was applied.
    pub fn begin(&mut self, fold_start: Position, position: Position, low: Position) -> Position {
        if let Some(removed) = self.earlier.take_if(|earlier| earlier.last.offset < low.offset()) {
            self.sum = self.sum.wrapping_sub(removed.sum);
            self.confirmed = Some(removed.last);
        }
        while let Some(removed) = self.ahead.pop_front_if(|ahead| ahead.offset < low.offset()) {
            self.confirm(removed);
        }
        self.reverify = self.confirmed.is_some_and(|confirmed| confirmed.offset >= low.offset());
        let behind = self.confirmed.map_or(fold_start, |confirmed| confirmed.offset.next());
        if let Some(earlier) = &mut self.earlier {
            earlier.left = (behind >= low).then_some(earlier.sum);
        }
        match (self.reverify, self.confirmed) {
            (true, Some(confirmed)) => Position(confirmed.offset.0),
            // What lies between what was read and the first of what was not held nothing when that was passed.
            _ if self.is_behind() => behind.max(low),
            _ => position,
        }
    }

    /// A record was applied without being read.
    pub fn applied_unread(&mut self, mark: Fingerprint) {
        self.sum = self.sum.wrapping_add(share(mark));
        self.ahead.push_back(mark);
    }

    /// A record was applied when reading met it; everything before it was met.
    pub fn applied(&mut self, mark: Fingerprint) {
        self.confirmed = Some(mark);
    }

    /// Reading met the record at `offset`, which has this `mark`; what is below `position` was applied or passed. Fails if it is not what
    /// was there then.
    pub fn on_record(
        &mut self,
        offset: Offset,
        mark: impl FnOnce() -> Fingerprint,
        position: Position,
    ) -> Result<(), Divergence> {
        if self.reverify
            && let Some(confirmed) = self.confirmed
        {
            if offset < confirmed.offset {
                return Ok(());
            }
            self.reverify = false;
            let is_same = mark().agrees_with(&confirmed);
            return if is_same { Ok(()) } else { Err(Divergence::Changed(confirmed)) };
        }
        if let Some(earlier) = &mut self.earlier {
            let mark = mark();
            earlier.left = earlier.left.map(|left| left.wrapping_sub(share(mark)));
            if mark.offset < earlier.last.offset {
                return Ok(());
            }
            if !mark.agrees_with(&earlier.last) || earlier.left.is_some_and(|left| left != 0) {
                return Err(Divergence::Changed(earlier.last));
            }
            self.sum = self.sum.wrapping_sub(earlier.sum);
            self.confirmed = Some(mark);
            self.earlier = None;
            return Ok(());
        }
        let Some(known) = self.ahead.pop_front_if(|known| known.offset <= offset) else {
            // Behind the confirmed record there was nothing but what is held here.
            let is_added = offset < position.offset();
            return if is_added { Err(Divergence::Added(offset)) } else { Ok(()) };
        };
        let mark = mark();
        self.confirm(Fingerprint { epoch: mark.epoch, ..known });
        if mark.agrees_with(&known) { Ok(()) } else { Err(Divergence::Changed(known)) }
    }

    /// Reading came to the end of the log, or past what holds no records, without meeting anything below `position`. Fails with
    /// a record that should have been met.
    pub fn on_end(&self, position: Position) -> Result<(), Divergence> {
        let reverify = self.confirmed.filter(|_| self.reverify);
        let next = reverify.or(self.earlier.as_ref().map(|earlier| earlier.last));
        let next = next.or(self.ahead.front().copied());
        next.filter(|known| known.offset < position.offset())
            .map_or(Ok(()), |known| Err(Divergence::Changed(known)))
    }

    fn confirm(&mut self, known: Fingerprint) {
        self.sum = self.sum.wrapping_sub(share(known));
        self.confirmed = Some(known);
    }
}

/// What a record gives to the sum: its checksum, times an odd number that depends on its offset.
fn share(mark: Fingerprint) -> u64 {
    let Offset(offset) = mark.offset;
    u64::from(mark.crc32c).wrapping_mul(offset.wrapping_mul(2).wrapping_add(1))
}

#[cfg(test)]
mod tests {
    use super::super::fingerprint::fingerprint;
    use super::*;
    use crate::{LeaderEpoch, Partition, Record};
    use bytes::Bytes;

    fn record(offset: u64, value: u8) -> Record {
        let (partition, offset, value) = (Partition(0), Offset(offset), Some(Bytes::from(vec![value])));
        Record {
            partition,
            offset,
            timestamp: None,
            key: Some(Bytes::from_static(b"key")),
            value,
            headers: vec![],
        }
    }

    /// A record, and who took it.
    type Logged = (Record, Option<LeaderEpoch>);

    /// Reads a log from where `readback` wants it, and says what it met instead, if anything.
    fn read_all(
        readback: &mut Readback,
        checkpoint: &mut Checkpoint,
        log: &[Logged],
        low: u64,
    ) -> Result<(), Divergence> {
        let start = readback.begin(checkpoint.fold_start, checkpoint.position, Position(low));
        for (record, epoch) in log.iter().filter(|(record, _)| record.offset >= start.offset()) {
            if record.offset < checkpoint.position.offset() {
                readback.on_record(record.offset, || fingerprint(record, *epoch), checkpoint.position)?;
            }
        }
        readback.on_end(checkpoint.position)?;
        readback.note_in(checkpoint);
        Ok(())
    }

    /// A log with gaps, applied up to the end, with its first records read and the rest not; an earlier run's checkpoint may lie in
    /// the middle of the unread ones.
    fn applied(random: &mut fastrand::Rng, log: &[Logged]) -> (Checkpoint, Readback, usize) {
        let read = random.usize(..=log.len());
        let crash = random.usize(read..=log.len());
        let (mut readback, mut checkpoint) = (Readback::default(), Checkpoint::default());
        for (index, (record, epoch)) in log.iter().enumerate() {
            if index == crash {
                readback = Readback::resume(&checkpoint);
                let _ = readback.begin(checkpoint.fold_start, checkpoint.position, Position(0));
            }
            let mark = fingerprint(record, epoch.filter(|_| index < read));
            if index < read {
                readback.applied(mark)
            } else {
                readback.applied_unread(mark)
            }
            checkpoint.position = record.offset.next();
            checkpoint.fingerprint = Some(mark);
            readback.note_in(&mut checkpoint);
        }
        (checkpoint, readback, read)
    }

    fn random_log(random: &mut fastrand::Rng) -> Vec<Logged> {
        let (mut offset, mut epoch) = (0, random.u32(..3));
        let mut next = || {
            offset += random.u64(1..3);
            epoch += random.u32(..2);
            // The oldest message formats do not tell.
            (record(offset, random.u8(..)), (epoch > 1).then_some(LeaderEpoch(epoch)))
        };
        (0..8).map(|_| next()).collect()
    }

    #[test]
    fn a_change_of_anything_that_was_not_read_is_noticed_and_nothing_else_is() {
        for seed in 0..20_000 {
            let random = &mut fastrand::Rng::with_seed(seed);
            let mut log = random_log(random);
            log.truncate(random.usize(1..8));
            let (mut checkpoint, mut running, read) = applied(random, &log);
            let mut resumed = Readback::resume(&checkpoint);
            let mut other = log.clone();
            // The record before the unread ones counts too: where the log lost more, it is another one.
            let changed = random.usize(read.saturating_sub(1)..log.len());
            let at = |index: usize| log[index].0.offset.0;
            // Before the first record as well, where none was read.
            let end_of = |index: usize| index.checked_sub(1).map_or(0, |before| at(before) + 1);
            let hole = (read..log.len()).find(|index| at(*index) > end_of(*index));
            match (random.u8(..3), hole) {
                (0, _) => other[changed].0.value = None,
                (1, Some(hole)) => other.insert(hole, (record(at(hole) - 1, 7), None)),
                _ => drop(other.remove(changed)),
            }
            assert!(read_all(&mut resumed, &mut checkpoint, &other, 0).is_err(), "seed {seed}");
            assert!(read_all(&mut running, &mut checkpoint, &other, 0).is_err(), "seed {seed}");

            let (checkpoint, mut running, _) = applied(random, &log);
            let mut resumed = Readback::resume(&checkpoint);
            // What retention removed cannot be compared, and everything else still is.
            let low = random.u64(..=log[log.len() - 1].0.offset.0 + 1);
            for readback in [&mut resumed, &mut running] {
                let mut checkpoint = checkpoint;
                for _ in 0..2 {
                    assert_eq!(read_all(readback, &mut checkpoint, &log, low), Ok(()), "seed {seed}");
                }
                assert_eq!(checkpoint.unread, None, "seed {seed}: everything was read");
                assert_eq!(readback.confirmed, checkpoint.fingerprint, "seed {seed}");
            }
        }
    }

    /// The last record that was read was lost with everything after it, something else was written, and a copy of that record came to
    /// its old offset: only its leader tells it from the one that was read.
    #[test]
    fn a_record_that_was_read_and_is_back_from_another_leader_is_noticed() {
        let mut noticed = 0;
        for seed in 0..20_000 {
            let random = &mut fastrand::Rng::with_seed(seed);
            let log = random_log(random);
            let (mut checkpoint, mut running, read) = applied(random, &log);
            let (last, known) = match random.bool() {
                true => {
                    // By and by everything is read, and a checkpoint says so.
                    assert_eq!(read_all(&mut running, &mut checkpoint, &log, 0), Ok(()), "seed {seed}");
                    (log.len() - 1, true)
                }
                false => (read.saturating_sub(1), read > 0),
            };
            let mut resumed = Readback::resume(&checkpoint);
            let mut other = log;
            let Some(epoch) = other[last].1.as_mut().filter(|_| known) else { continue };
            *epoch = LeaderEpoch(epoch.0 + 1);
            let met = read_all(&mut resumed, &mut checkpoint, &other, 0).map_err(Divergence::offset);
            assert_eq!(met, Err(other[last].0.offset), "seed {seed}");
            noticed += 1;
        }
        assert!(noticed > 10_000, "{noticed}");
    }
}
