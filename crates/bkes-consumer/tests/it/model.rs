//! The rule as docs/formats.md says it, once more and slowly: what each record of a partition is.

use bkes_core::marker::classify;
use bkes_core::{Incarnation, Marker, Offset, Order, Record, RecordClass};
use bytes::Bytes;
use std::collections::{BTreeMap, HashMap};

/// What a record is.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Is {
    Event { key: Bytes, order: u64 },
    Taken,
    Copy,
    Broken,
    Late,
    Skipped,
    Open,
}

#[derive(Default)]
struct Writer {
    top: u64,
    last: u64,
    open: Vec<(Offset, Marker, Bytes)>,
}

#[derive(Default)]
struct Model {
    is: BTreeMap<Offset, Is>,
    writers: HashMap<Incarnation, Writer>,
    counts: HashMap<Bytes, u64>,
}

/// What each record is, of a partition that is read from offset 0.
pub fn judge(records: &[Record]) -> BTreeMap<Offset, Is> {
    let mut model = Model::default();
    for record in records {
        model.apply(record);
    }
    model.is
}

impl Model {
    fn apply(&mut self, record: &Record) {
        let Offset(offset) = record.offset;
        for writer in self.writers.values_mut() {
            if writer.open.first().is_some_and(|(first, ..)| offset - first.0 >= 100_000) {
                close(&mut self.is, writer, &Is::Broken);
            }
        }
        self.writers.retain(|_, writer| offset - writer.last < 1_000_000);
        let key = record.key.clone().unwrap_or_default();
        let is = match classify(record) {
            _ if key.is_empty() => Is::Skipped,
            RecordClass::Foreign | RecordClass::Forwarded => self.event(&key),
            RecordClass::Marked(marker) => self.judge(record, marker, &key),
            RecordClass::Newer { .. } => unreachable!("none is written"),
        };
        self.is.insert(record.offset, is);
    }

    fn event(&mut self, key: &Bytes) -> Is {
        let count = self.counts.entry(key.clone()).or_default();
        *count += 1;
        Is::Event { key: key.clone(), order: *count - 1 }
    }

    fn judge(&mut self, record: &Record, marker: Marker, key: &Bytes) -> Is {
        let Marker { stamp, order, base } = marker;
        let is_known = self.writers.contains_key(&stamp.incarnation);
        let mut writer = self.writers.remove(&stamp.incarnation).unwrap_or_default();
        let is_next_member =
            stamp.number == writer.top && !writer.open.is_empty() && stamp.i() as usize > writer.open.len();
        let is = if is_known && stamp.number <= writer.top && !is_next_member {
            Is::Copy
        } else {
            if stamp.number > writer.top {
                close(&mut self.is, &mut writer, &Is::Broken);
            }
            writer.top = stamp.number;
            if record.offset.0.saturating_sub(base.0) >= 1_000_000 {
                close(&mut self.is, &mut writer, &Is::Broken);
                Is::Late
            } else if stamp.place.is_none() {
                if order == Order(self.counts.get(key).copied().unwrap_or(0)) {
                    self.event(key)
                } else {
                    Is::Taken
                }
            } else {
                self.join(&mut writer, record.offset, marker, key)
            }
        };
        writer.last = record.offset.0;
        self.writers.insert(stamp.incarnation, writer);
        is
    }

    fn join(&mut self, writer: &mut Writer, offset: Offset, marker: Marker, key: &Bytes) -> Is {
        let seen = writer.open.len() as u64;
        let fits = match writer.open.first() {
            None => marker.stamp.i() == 1,
            Some((_, first, of)) => {
                u64::from(marker.stamp.i()) == seen + 1
                    && marker.stamp.count() == first.stamp.count()
                    && marker.order.0 == first.order.0 + seen
                    && of == key
            }
        };
        if !fits {
            close(&mut self.is, writer, &Is::Broken);
            return Is::Broken;
        }
        writer.open.push((offset, marker, key.clone()));
        if writer.open.len() < marker.stamp.count() as usize {
            return Is::Open;
        }
        let (_, first, _) = writer.open[0];
        if first.order != Order(self.counts.get(key).copied().unwrap_or(0)) {
            close(&mut self.is, writer, &Is::Taken);
            return Is::Taken;
        }
        let members: Vec<_> = writer.open.drain(..).collect();
        for (offset, ..) in members {
            let event = self.event(key);
            self.is.insert(offset, event);
        }
        self.is[&offset].clone()
    }
}

fn close(is: &mut BTreeMap<Offset, Is>, writer: &mut Writer, what: &Is) {
    for (offset, ..) in writer.open.drain(..) {
        is.insert(offset, what.clone());
    }
}
