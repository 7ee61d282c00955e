//! The list of an instance's aggregates, and their events summed up, against what a pass has kept of the topic.

use crate::event_view::Tally;
use crate::finding::{Finding, Findings};
use crate::instance::Judged;
use crate::limits::{HEADS_ALL, HEADS_BITS, READ_KEYS};
use crate::options::{AuditError, Options, Progress};
use crate::report::Compared;
use crate::shown::{ByPlace, Shown, Stopped};
use crate::tally_pass::{Part, Shared};
use bkes_api::{ErrorClass, Failure, ListedKey};
use bkes_consumer::{KeyHash, KeyTable};
use bkes_core::{Key, Order, Partition};
use std::collections::HashMap;

/// An aggregate that differs, or that the list has not shown: it is compared event by event.
#[derive(Clone, Debug)]
pub struct Suspect {
    pub hash: KeyHash,
    /// Where the list has shown it.
    pub key: Option<Key>,
    pub is_split: bool,
}

/// What is compared with the instance, over all passes.
pub struct Comparison<'a> {
    pub judged: Judged<'a>,
    pub compared: Compared,
    pub suspects: Vec<Suspect>,
    suspects_max: usize,
}

impl<'a> Comparison<'a> {
    /// Nothing compared yet.
    pub fn new(judged: Judged<'a>, options: &Options) -> Comparison<'a> {
        let findings = Findings::new(options.findings_max);
        let compared = Compared { aggregates: 0, events: 0, newer: 0, heads: 0, findings };
        Comparison { judged, compared, suspects: Vec::new(), suspects_max: options.suspects_max }
    }

    /// Compares one part of all keys. The table knows afterwards what was shown.
    pub fn compare(
        &mut self,
        part: Part,
        table: &mut KeyTable<Tally>,
        shared: &mut Shared<'_>,
    ) -> Result<(), AuditError> {
        let (mut after, mut group): (Option<Key>, Vec<ListedKey>) = (None, Vec::new());
        loop {
            let list = self.judged.keys(after.clone())?;
            let more = list.more;
            let before = after.clone();
            for listed in list.keys {
                if after.as_ref().is_some_and(|after| listed.key <= *after) {
                    self.add(Finding::ListDisorder { after: after.clone() });
                    continue;
                }
                after = Some(listed.key.clone());
                if part.has(shared.keys.hash(listed.key.as_ref())) {
                    group.push(listed);
                }
                if group.len() >= READ_KEYS {
                    self.compare_group(&mut group, table, shared)?;
                }
            }
            if !more {
                break;
            }
            if after == before {
                self.add(Finding::ListDisorder { after });
                break;
            }
        }
        self.compare_group(&mut group, table, shared)?;
        for (partition, hash, tally) in table.iter() {
            let is_lowest = table.of_key(hash).all(|(other, _)| other >= partition);
            if !tally.is_shown() && is_lowest {
                self.suspect(Suspect { hash, key: None, is_split: table.is_elsewhere(partition, hash) });
            }
        }
        Ok(())
    }

    fn add(&mut self, finding: Finding) {
        self.compared.findings.add(finding);
    }

    fn suspect(&mut self, suspect: Suspect) {
        if self.suspects.len() < self.suspects_max {
            self.suspects.push(suspect);
        } else {
            self.compared.findings.more_aggregates += 1;
        }
    }

    /// Reads the aggregates of a group, and compares each.
    fn compare_group(
        &mut self,
        group: &mut Vec<ListedKey>,
        table: &mut KeyTable<Tally>,
        shared: &mut Shared<'_>,
    ) -> Result<(), AuditError> {
        let is_split = |listed: &ListedKey| {
            listed.partitions.len() > 1 || table.of_key(shared.keys.hash(listed.key.as_ref())).count() > 1
        };
        let (mut alone, together): (Vec<_>, Vec<_>) = group.drain(..).partition(is_split);
        // What makes a call fail may be one of its aggregates: those that it did not show are read alone.
        let outcome = match together.is_empty() {
            true => Ok(HashMap::new()),
            false => self.judged.repeated(|| self.read_together(&together, table, shared)),
        };
        let mut shown = outcome.unwrap_or_default();
        for listed in together {
            match shown.remove(&listed.key) {
                Some(shown) => self.judge(&listed, &shown, table, shared)?,
                None => alone.push(listed),
            }
        }
        for listed in alone {
            match self.judged.repeated(|| self.read_alone(&listed.key, table, shared)) {
                Ok(shown) => self.judge(&listed, &shown, table, shared)?,
                Err(failure) => self.unreadable(&listed, failure, table, shared)?,
            }
        }
        let aggregates = self.compared.aggregates;
        (shared.progress)(Progress::Comparing { aggregates });
        Ok(())
    }

    /// Those that were shown to their ends.
    fn read_together(
        &self,
        listed: &[ListedKey],
        table: &KeyTable<Tally>,
        shared: &Shared<'_>,
    ) -> Result<HashMap<Key, Shown>, Failure> {
        let keys: Vec<Key> = listed.iter().map(|listed| listed.key.clone()).collect();
        let mut shown: HashMap<Key, Shown> = HashMap::new();
        let outcome = self.judged.read_many(keys, |key, page| {
            let of_key = shown.entry(key.clone()).or_insert_with(|| {
                let topic = table.of_key(shared.keys.hash(key.as_ref()));
                Shown::of(topic.map(|(_, tally)| tally.events()).sum(), Vec::new())
            });
            of_key.take(page, &self.judged, shared)
        });
        shown.retain(|_, shown| shown.end.is_some());
        if shown.is_empty() {
            outcome?;
        }
        Ok(shown)
    }

    fn read_alone(&self, key: &Key, table: &KeyTable<Tally>, shared: &Shared<'_>) -> Result<Shown, Failure> {
        let topic: Vec<(Partition, Tally)> = table.of_key(shared.keys.hash(key.as_ref())).collect();
        let in_topic = topic.iter().map(|(_, tally)| tally.events()).sum();
        let by_place = topic.iter().map(|(partition, tally)| ByPlace::of(*partition, tally)).collect();
        let mut shown = Shown::of(in_topic, by_place);
        self.judged.read(key.clone(), |page| shown.take(page, &self.judged, shared))?;
        Ok(shown)
    }

    /// One that is refused is a finding; an instance that does not answer ends the audit.
    fn unreadable(
        &mut self,
        listed: &ListedKey,
        failure: Failure,
        table: &mut KeyTable<Tally>,
        shared: &Shared<'_>,
    ) -> Result<(), AuditError> {
        if failure.class() != ErrorClass::Rejected {
            return Err(AuditError::Instance(failure));
        }
        self.compared.aggregates += 1;
        mark_shown(table, shared.keys.hash(listed.key.as_ref()));
        self.add(Finding::Unreadable { key: listed.key.clone(), failure });
        Ok(())
    }

    fn judge(
        &mut self,
        listed: &ListedKey,
        shown: &Shown,
        table: &mut KeyTable<Tally>,
        shared: &Shared<'_>,
    ) -> Result<(), AuditError> {
        self.judged.check_log()?;
        let key = &listed.key;
        let hash = shared.keys.hash(key.as_ref());
        self.compared.aggregates += 1;
        self.compared.newer += shown.newer;
        self.compared.events += shown.events - shown.newer;
        let topic: Vec<(Partition, Tally)> = table.of_key(hash).collect();
        mark_shown(table, hash);
        if shown.is_wrongly_listed(listed, &topic) {
            self.add(Finding::wrongly_listed(listed));
        }
        match shown.stopped {
            Some(Stopped::TooManyNewer) => {
                self.add(Finding::TooManyNewer { key: key.clone(), shown: shown.newer });
                return Ok(());
            }
            // What of it is wrong is looked for event by event.
            Some(Stopped::Nowhere(event)) if topic.len() > 1 => {
                self.add(Finding::Extra { key: key.clone(), event });
                return Ok(());
            }
            Some(Stopped::Nowhere(_) | Stopped::TooMany) => {}
            None => self.judge_frame(key, shown, &topic, hash)?,
        }
        let is_split = shown.is_split(&topic);
        let orders = shown.orders(is_split);
        let is_same = |(partition, tally): &(Partition, Tally)| {
            tally.is_same_as(&shown.tally(*partition, is_split), orders)
        };
        let is_known = |(partition, _): &(Partition, Tally)| topic.iter().any(|(of, _)| of == partition);
        if shown.stopped.is_none() && topic.iter().all(is_same) && shown.parts.iter().all(is_known) {
            return Ok(());
        }
        if topic.len() > 1 {
            let part = |(partition, tally): &(Partition, Tally)| {
                (*partition, tally.events(), shown.tally(*partition, is_split).events())
            };
            let mut partitions: Vec<(Partition, u64, u64)> = topic.iter().map(part).collect();
            let extra = shown.parts.iter().filter(|part| !is_known(part));
            partitions.extend(extra.map(|(partition, tally)| (*partition, 0, tally.events())));
            partitions.sort_unstable();
            self.add(Finding::SplitDiffers { key: key.clone(), partitions });
            return Ok(());
        }
        self.suspect(Suspect { hash, key: Some(key.clone()), is_split: false });
        Ok(())
    }

    /// What is said around the events of an aggregate that was read to its end: their orders, the end and the head.
    fn judge_frame(
        &mut self,
        key: &Key,
        shown: &Shown,
        topic: &[(Partition, Tally)],
        hash: KeyHash,
    ) -> Result<(), AuditError> {
        if let Some((after, order)) = shown.disorder() {
            self.add(Finding::Disorder { key: key.clone(), after, shown: order });
        }
        if shown.is_wrong_end() {
            let next = shown.end.as_ref().map_or(Order::FIRST, |end| end.next);
            self.add(Finding::WrongEnd { key: key.clone(), next });
        }
        if shown.is_wrong_layout(topic) {
            self.add(Finding::WrongLayout { key: key.clone(), is_split: shown.is_split(topic) });
        }
        if self.compared.aggregates > HEADS_ALL && !hash.is_in(HEADS_BITS, 0) {
            return Ok(());
        }
        self.compared.heads += 1;
        match self.judged.head(key) {
            Ok(head) => {
                if shown.is_wrong_head(head.as_ref(), &self.judged) {
                    let next = head.map(|head| head.next);
                    self.add(Finding::WrongHead { key: key.clone(), next });
                }
                self.judged.check_log()
            }
            Err(failure) if failure.class() == ErrorClass::Rejected => {
                self.add(Finding::Unreadable { key: key.clone(), failure });
                Ok(())
            }
            Err(failure) => Err(AuditError::Instance(failure)),
        }
    }
}

fn mark_shown(table: &mut KeyTable<Tally>, hash: KeyHash) {
    let all: Vec<(Partition, Tally)> = table.of_key(hash).collect();
    for (partition, tally) in all {
        table.set(partition, hash, tally.shown()).expect("it has its room");
    }
}
