//! A pass that compares some aggregates event by event, to tell what differs.
//!
//! The topic's events of an aggregate come one after the other; beside them a *window* of what the instance shows moves along. The two are
//! matched by where an event lies. What the window has before a match is kept: either a later event of the topic is matched with it, or it is
//! none. What the topic has without a match is missing. What lies elsewhere and is alike, at the same order, is the same event with a
//! false offset.

use crate::compare::Suspect;
use crate::event_view::EventView;
use crate::finding::{Field, Finding, Findings, Place};
use crate::instance::{Age, Judged};
use crate::limits::{
    AHEAD_BYTES, AHEAD_EVENTS, EXTRAS_AFTER_MAX, EXTRAS_BYTES_MAX, EXTRAS_MAX, VOIDS_MAX, WINDOW_EVENTS,
};
use crate::options::{AuditError, Progress};
use crate::tally_pass::Shared;
use crate::topic::Pass;
use bkes_api::{ErrorClass, Event};
use bkes_consumer::{Decided, KeyHash};
use bkes_core::{Key, Offset, Order, Partition, Record, StoredEvent, VoidReason};
use std::collections::{HashMap, VecDeque};

/// What the instance shows of an aggregate, from where the comparison stands.
#[derive(Default)]
struct Window {
    events: VecDeque<Event>,
    next: Order,
    is_complete: bool,
    /// How many events were shown in all, without newer ones.
    shown: u64,
    /// How many events were taken, with them.
    taken: u64,
    newer: u64,
    partition: Option<Partition>,
    /// A newer event made the aggregate split: then it is read by the index over all its partitions.
    is_by_index: bool,
}

impl Window {
    /// Whether another page belongs in: that events which were shown a little late are there too.
    fn is_short(&self) -> bool {
        let bytes = || self.events.iter().map(Event::content_bytes).sum::<usize>();
        self.events.is_empty() || self.events.len() < AHEAD_EVENTS && bytes() < AHEAD_BYTES
    }

    /// Has an event, unless there is none left.
    fn fill(&mut self, key: &Key, judged: &Judged<'_>) -> Result<(), bkes_api::Failure> {
        while !self.is_complete && self.is_short() {
            let (events, is_complete) = judged.window(key, self.next, WINDOW_EVENTS)?;
            for event in &events {
                self.is_by_index |= *self.partition.get_or_insert(event.partition) != event.partition;
            }
            self.taken += events.len() as u64;
            let next = events.last().and_then(|last| match self.is_by_index {
                true => Some(Order(self.taken)),
                false => last.order.plus(1),
            });
            // One that does not go on is at its end.
            self.is_complete = is_complete || next.is_none_or(|next| next <= self.next);
            self.next = next.unwrap_or(self.next);
            judged.look_up(events.iter().map(|event| (event.partition, event.offset)));
            let (all, before) = (events.len(), self.events.len());
            let is_newer = |event: &Event| judged.age(event.partition, event.offset) == Age::Newer;
            self.events.extend(events.into_iter().filter(|event| !is_newer(event)));
            let shown = self.events.len() - before;
            self.shown += shown as u64;
            self.newer += (all - shown) as u64;
            self.is_complete |= !judged.can_be_newer(self.newer);
        }
        Ok(())
    }
}

/// One aggregate.
struct Detail {
    suspect: Suspect,
    window: Window,
    voids: VecDeque<(Partition, Offset, VoidReason)>,
    /// What is shown and is no event. Whether it is a void record may turn out later: a batch is void where it breaks.
    extras: VecDeque<Event>,
    extras_bytes: usize,
    events: u64,
    findings: u64,
    /// Whether the instance refused to show it.
    is_refused: bool,
}

/// The pass.
pub struct DetailPass<'p, 'a> {
    shared: &'p mut Shared<'a>,
    judged: &'p Judged<'p>,
    findings: &'p mut Findings,
    details: HashMap<KeyHash, Detail>,
    counts: HashMap<(Partition, KeyHash), Order>,
    left: usize,
}

impl<'p, 'a> DetailPass<'p, 'a> {
    pub fn new(
        shared: &'p mut Shared<'a>,
        judged: &'p Judged<'p>,
        findings: &'p mut Findings,
        suspects: Vec<Suspect>,
        left: usize,
    ) -> DetailPass<'p, 'a> {
        let detail = |suspect: Suspect| {
            let (window, voids, extras) = (Window::default(), VecDeque::new(), VecDeque::new());
            let (extras_bytes, events, findings, is_refused) = (0, 0, 0, false);
            (
                suspect.hash,
                Detail { suspect, window, voids, extras, extras_bytes, events, findings, is_refused },
            )
        };
        let details = suspects.into_iter().map(detail).collect();
        DetailPass { shared, judged, findings, details, counts: HashMap::new(), left }
    }

    /// What is left in the windows when the topic has ended.
    pub fn finish(mut self) -> Result<(), AuditError> {
        let mut details: Vec<Detail> = self.details.drain().map(|(_, detail)| detail).collect();
        details.sort_by(|one, other| one.suspect.key.cmp(&other.suspect.key));
        for mut detail in details {
            let mut told = Told { judged: self.judged, findings: self.findings };
            detail.finish(&mut told)?;
        }
        Ok(())
    }
}

/// Where a detail looks, and tells.
struct Told<'t, 'j> {
    judged: &'t Judged<'j>,
    findings: &'t mut Findings,
}

impl Detail {
    fn tell(&mut self, finding: Finding, told: &mut Told<'_, '_>) {
        self.findings += 1;
        told.findings.add(finding);
    }

    /// Has an event in the window, unless there is none left. That the instance refuses is a finding, once.
    fn fill(&mut self, key: &Key, told: &mut Told<'_, '_>) -> Result<(), AuditError> {
        if self.is_refused {
            return Ok(());
        }
        match self.window.fill(key, told.judged) {
            Ok(()) => told.judged.check_log(),
            Err(failure) if failure.class() == ErrorClass::Rejected => {
                (self.is_refused, self.window.is_complete) = (true, true);
                self.tell(Finding::Unreadable { key: key.clone(), failure }, told);
                Ok(())
            }
            Err(failure) => Err(AuditError::Instance(failure)),
        }
    }

    /// The topic has this event.
    fn on_event(
        &mut self,
        key: &Key,
        event: &StoredEvent,
        told: &mut Told<'_, '_>,
    ) -> Result<(), AuditError> {
        self.events += 1;
        if self.suspect.is_split {
            return Ok(());
        }
        self.fill(key, told)?;
        if self.is_refused || self.window.shown == 0 {
            return Ok(());
        }
        let is_there = |shown: &Event| (shown.partition, shown.offset) == (event.partition, event.offset);
        let place = Place { order: event.order, partition: event.partition, offset: event.offset };
        let view = EventView::of_topic(event);
        if let Some(index) = self.window.events.iter().position(is_there) {
            for _ in 0..index {
                self.drop_extra(key, told);
            }
            if let Some(shown) = self.window.events.pop_front() {
                self.compare(key, (&view, place), &shown, told);
            }
            return Ok(());
        }
        // It was shown before others that come before it.
        if let Some(shown) = self.extras.iter().position(is_there).and_then(|index| self.extras.remove(index))
        {
            self.extras_bytes -= shown.content_bytes();
            self.compare(key, (&view, place), &shown, told);
            return Ok(());
        }
        let elsewhere = self.window.events.front().filter(|shown| shown.order == event.order);
        let fields = elsewhere.map(|shown| view.differences(&EventView::of_shown(shown)));
        let is_alike = |fields: &Vec<Field>| {
            fields.iter().all(|field| matches!(field, Field::Partition | Field::Offset))
        };
        match fields.filter(is_alike) {
            Some(fields) => {
                self.window.events.pop_front();
                self.tell(Finding::Differs { key: key.clone(), event: place, fields }, told);
            }
            None => self.tell(Finding::Missing { key: key.clone(), event: place }, told),
        }
        Ok(())
    }

    /// An event and what is shown at its place.
    fn compare(
        &mut self,
        key: &Key,
        (view, event): (&EventView<'_>, Place),
        shown: &Event,
        told: &mut Told<'_, '_>,
    ) {
        let fields = view.differences(&EventView::of_shown(shown));
        if !fields.is_empty() {
            self.tell(Finding::Differs { key: key.clone(), event, fields }, told);
        }
        if shown.order != event.order {
            self.tell(Finding::WrongOrder { key: key.clone(), event, shown: shown.order }, told);
        }
    }

    /// The window's first event is none of the topic's so far.
    fn drop_extra(&mut self, key: &Key, told: &mut Told<'_, '_>) {
        let Some(shown) = self.window.events.pop_front() else { return };
        self.extras_bytes += shown.content_bytes();
        self.extras.push_back(shown);
        if self.extras.len() >= EXTRAS_MAX || self.extras_bytes > EXTRAS_BYTES_MAX {
            self.tell_extras(key, told);
        }
    }

    fn tell_extras(&mut self, key: &Key, told: &mut Told<'_, '_>) {
        self.extras_bytes = 0;
        for Event { order, partition, offset, .. } in std::mem::take(&mut self.extras) {
            let event = Place { order, partition, offset };
            let is_it = |(partition, offset, _): &&(Partition, Offset, VoidReason)| {
                (*partition, *offset) == (event.partition, event.offset)
            };
            let void = self.voids.iter().find(is_it).map(|(.., reason)| *reason);
            let key = key.clone();
            self.tell(
                match void {
                    Some(reason) => Finding::VoidShown { key, event, reason },
                    None => Finding::Extra { key, event },
                },
                told,
            );
        }
    }

    fn on_void(&mut self, partition: Partition, offset: Offset, reason: VoidReason) {
        if self.voids.len() == VOIDS_MAX {
            self.voids.pop_front();
        }
        self.voids.push_back((partition, offset, reason));
    }

    fn finish(&mut self, told: &mut Told<'_, '_>) -> Result<(), AuditError> {
        // One that was neither listed nor met is in no log that was read twice alike.
        let Some(key) = self.suspect.key.clone() else { return Ok(()) };
        self.fill(&key, told)?;
        let before = self.findings;
        if !self.is_refused && self.window.shown == 0 && self.events > 0 {
            self.tell(Finding::MissingAggregate { key, events: self.events }, told);
            return Ok(());
        }
        if !self.suspect.is_split {
            let mut left = EXTRAS_AFTER_MAX;
            while !self.window.events.is_empty() && left > 0 {
                self.drop_extra(&key, told);
                self.fill(&key, told)?;
                left -= 1;
            }
            self.tell_extras(&key, told);
        }
        if self.events == 0 && self.findings > before {
            self.tell(Finding::ExtraAggregate { key: key.clone(), shown: self.window.shown }, told);
        }
        if self.findings == 0 {
            self.tell(Finding::Unsteady { key }, told);
        }
        Ok(())
    }
}

impl Pass for DetailPass<'_, '_> {
    fn next(&mut self, record: &Record) -> Result<Option<Order>, AuditError> {
        let Some(key) = record.aggregate() else { return Ok(None) };
        let hash = self.shared.keys.hash(key.as_ref());
        let Some(detail) = self.details.get_mut(&hash) else { return Ok(Some(Order(u64::MAX))) };
        if detail.suspect.key.is_none() {
            // The list of all did not have it.
            let mut told = Told { judged: self.judged, findings: self.findings };
            detail.suspect.key = Some(key.clone());
            detail.fill(&key, &mut told)?;
            if detail.window.shown > 0 {
                detail.tell(Finding::NotListed { key }, &mut told);
            }
        }
        Ok(self.counts.get(&(record.partition, hash)).copied())
    }

    fn decided(&mut self, partition: Partition, decided: Decided) -> Result<(), AuditError> {
        match decided {
            Decided::Events(decision) => {
                let hash = self.shared.keys.hash(decision.key.as_ref());
                let Some(detail) = self.details.get_mut(&hash) else { return Ok(()) };
                let mut told = Told { judged: self.judged, findings: self.findings };
                for event in decision.events.as_slice() {
                    self.counts.insert((partition, hash), Order(event.order.0.wrapping_add(1)));
                    detail.on_event(&decision.key, event, &mut told)?;
                }
            }
            Decided::Void(void) => {
                let hash = self.shared.keys.hash(void.key.as_ref());
                if let Some(detail) = self.details.get_mut(&hash) {
                    detail.on_void(partition, void.offset, void.reason);
                }
            }
            Decided::Skipped { .. } | Decided::Gap { .. } | Decided::Cut { .. } => {}
        }
        Ok(())
    }

    fn progress(&mut self, _records: u64, _offsets_left: u64) {
        (self.shared.progress)(Progress::Detailing { left: self.left });
    }
}
