//! The list of an instance's aggregates, and their events summed up, against what a pass has kept of the topic.

use crate::event_view::{EventView, Tally};
use crate::finding::{Finding, Findings};
use crate::instance::Judged;
use crate::limits::READ_KEYS;
use crate::options::{AuditError, Options, Progress};
use crate::report::Compared;
use crate::tally_pass::{Part, Shared};
use bkes_api::{ErrorClass, Event, Failure, Layout, ListedKey, Page, PageEnd};
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

/// One aggregate as the instance shows it.
#[derive(Default)]
struct Shown {
    parts: Vec<(Partition, Tally)>,
    /// Of all that is shown.
    events: u64,
    newer: u64,
    last: Option<(Partition, Order)>,
    partitions: Vec<Partition>,
    /// Orders that do not follow each other in one partition.
    disorder: Option<(Order, Order)>,
    /// Orders, where they are indexes over all partitions, that do not follow each other, or that go back to a lower partition.
    disorder_of_parts: Option<(Order, Order)>,
    /// Of one that may be split: in each partition the order of the first event that the topic has, how many events are shown, and their
    /// sum at the orders that follow from their places.
    by_place: Vec<(Partition, u64, u64, Tally)>,
    end: Option<PageEnd>,
}

impl Shown {
    fn take(&mut self, page: Page, judged: &Judged<'_>, shared: &Shared<'_>) {
        for event in &page.events {
            self.take_event(event, judged, shared);
        }
        self.end = page.end.or(self.end.take());
    }

    fn take_event(&mut self, event: &Event, judged: &Judged<'_>, shared: &Shared<'_>) {
        if let Some((partition, last)) = self.last {
            let follows = last.plus(1) == Some(event.order);
            if partition == event.partition && !follows {
                self.disorder.get_or_insert((last, event.order));
            }
            if !follows || partition > event.partition {
                self.disorder_of_parts.get_or_insert((last, event.order));
            }
        }
        self.last = Some((event.partition, event.order));
        self.events += 1;
        if !self.partitions.contains(&event.partition) {
            self.partitions.push(event.partition);
        }
        let by_place = self.by_place.iter_mut().find(|(of, ..)| *of == event.partition);
        let by_place = by_place.map(|(_, first, shown, tally)| {
            *shown += 1;
            (Order(first.wrapping_add(*shown - 1)), tally)
        });
        if judged.is_newer(event) {
            self.newer += 1;
            return;
        }
        if let Some((order, tally)) = by_place {
            tally.add(&shared.events, &EventView::of_shown(event), order);
        }
        let known = self.parts.iter().position(|(partition, _)| *partition == event.partition);
        let index = known.unwrap_or(self.parts.len());
        if known.is_none() {
            self.parts.push((event.partition, Tally::default()));
        }
        self.parts[index].1.add(&shared.events, &EventView::of_shown(event), event.order);
    }

    fn is_by_order_headers(&self) -> bool {
        matches!(self.end, Some(PageEnd { layout: Layout::ByOrderHeaders(_), .. }))
    }

    fn is_part_by_part(&self) -> bool {
        matches!(self.end, Some(PageEnd { layout: Layout::PartByPart(_), .. }))
    }

    /// Two orders that should not follow each other as they do.
    fn disorder(&self) -> Option<(Order, Order)> {
        if self.is_part_by_part() { self.disorder_of_parts } else { self.disorder }
    }

    /// The sum over the events of a partition, at their orders in it. Orders of what is shown part by part are indexes over all
    /// partitions, so that the place in its part says an event's order.
    fn tally(&self, partition: Partition) -> Tally {
        if self.is_part_by_part() {
            let part = self.by_place.iter().find(|(of, ..)| *of == partition);
            return part.map_or_else(Tally::default, |(.., tally)| *tally);
        }
        let part = self.parts.iter().find(|(of, _)| *of == partition);
        part.map_or_else(Tally::default, |(_, tally)| *tally)
    }

    /// Whether the end says something else than was shown.
    fn is_wrong_end(&self) -> bool {
        let Some(end) = &self.end else { return true };
        let next = match &end.layout {
            Layout::OnePartition => self.last.map_or(Some(0), |(_, last)| last.0.checked_add(1)),
            Layout::PartByPart(_) => {
                let after = self.last.and_then(|(_, last)| last.0.checked_add(1));
                after.filter(|after| *after == self.events)
            }
            Layout::ByOrderHeaders(_) => Some(self.events),
        };
        end.exists != (self.events > 0) || !end.is_complete || next != Some(end.next.0)
    }
}

impl<'a> Comparison<'a> {
    /// Nothing compared yet.
    pub fn new(judged: Judged<'a>, options: &Options) -> Comparison<'a> {
        let findings = Findings::new(options.findings_max);
        let compared = Compared { aggregates: 0, events: 0, newer: 0, findings };
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
            false => self.judged.repeated(|| self.read_together(&together, shared)),
        };
        let mut shown = outcome.unwrap_or_default();
        for listed in together {
            match shown.remove(&listed.key) {
                Some(shown) => self.judge(&listed, &shown, table, shared),
                None => alone.push(listed),
            }
        }
        for listed in alone {
            let topic = table.of_key(shared.keys.hash(listed.key.as_ref()));
            // Orders in a partition have no gaps.
            let first = |tally: &Tally| tally.next.wrapping_sub(tally.events());
            let by_place: Vec<_> =
                topic.map(|(partition, tally)| (partition, first(&tally), 0, Tally::default())).collect();
            match self.judged.repeated(|| self.read_alone(&listed.key, &by_place, shared)) {
                Ok(shown) => self.judge(&listed, &shown, table, shared),
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
        shared: &Shared<'_>,
    ) -> Result<HashMap<Key, Shown>, Failure> {
        let keys: Vec<Key> = listed.iter().map(|listed| listed.key.clone()).collect();
        let mut shown: HashMap<Key, Shown> = HashMap::new();
        let outcome = self.judged.read_many(keys, |key, page| {
            shown.entry(key.clone()).or_default().take(page, &self.judged, shared);
        });
        shown.retain(|_, shown| shown.end.is_some());
        if shown.is_empty() {
            outcome?;
        }
        Ok(shown)
    }

    fn read_alone(
        &self,
        key: &Key,
        by_place: &[(Partition, u64, u64, Tally)],
        shared: &Shared<'_>,
    ) -> Result<Shown, Failure> {
        let mut shown = Shown { by_place: by_place.to_vec(), ..Shown::default() };
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

    fn judge(&mut self, listed: &ListedKey, shown: &Shown, table: &mut KeyTable<Tally>, shared: &Shared<'_>) {
        let key = &listed.key;
        let hash = shared.keys.hash(key.as_ref());
        self.compared.aggregates += 1;
        self.compared.newer += shown.newer;
        self.compared.events += shown.events - shown.newer;
        let topic: Vec<(Partition, Tally)> = table.of_key(hash).collect();
        mark_shown(table, hash);
        if let Some((after, order)) = shown.disorder() {
            self.add(Finding::Disorder { key: key.clone(), after, shown: order });
        }
        if shown.is_wrong_end() {
            let next = shown.end.as_ref().map_or(Order::FIRST, |end| end.next);
            self.add(Finding::WrongEnd { key: key.clone(), next });
        }
        if is_wrongly_listed(listed, shown, &topic) {
            let (next, partitions) = (listed.next, listed.partitions.clone());
            self.add(Finding::WronglyListed { key: key.clone(), next, partitions });
        }
        let with_orders = !shown.is_by_order_headers();
        let is_same =
            |(partition, tally): &(Partition, Tally)| tally.is_same_as(&shown.tally(*partition), with_orders);
        let is_known = |(partition, _): &(Partition, Tally)| topic.iter().any(|(of, _)| of == partition);
        if topic.iter().all(is_same) && shown.parts.iter().all(is_known) {
            return;
        }
        if topic.len() > 1 {
            let mut partitions: Vec<(Partition, u64, u64)> = topic
                .iter()
                .map(|(partition, tally)| (*partition, tally.events(), shown.tally(*partition).events()))
                .collect();
            let extra = shown.parts.iter().filter(|part| !is_known(part));
            partitions.extend(extra.map(|(partition, tally)| (*partition, 0, tally.events())));
            partitions.sort_unstable();
            self.add(Finding::SplitDiffers { key: key.clone(), partitions });
            return;
        }
        self.suspect(Suspect { hash, key: Some(key.clone()), is_split: false });
    }
}

fn mark_shown(table: &mut KeyTable<Tally>, hash: KeyHash) {
    let all: Vec<(Partition, Tally)> = table.of_key(hash).collect();
    for (partition, tally) in all {
        table.set(partition, hash, tally.shown()).expect("it has its room");
    }
}

/// Counts only grow, and the aggregate was read after it was listed.
fn is_wrongly_listed(listed: &ListedKey, shown: &Shown, topic: &[(Partition, Tally)]) -> bool {
    let in_topic = match topic {
        [(_, tally)] => tally.next,
        parts => parts.iter().map(|(_, tally)| tally.events()).sum(),
    };
    let read = shown.end.as_ref().map_or(0, |end| end.next.0);
    let lacks = topic.iter().any(|(partition, _)| !listed.partitions.contains(partition));
    let adds = listed.partitions.iter().any(|partition| !shown.partitions.contains(partition));
    listed.next.0 < in_topic || listed.next.0 > read || lacks || adds
}
