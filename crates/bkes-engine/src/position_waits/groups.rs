//! The consumer groups that are waited for, and when each is asked what it has committed.
//!
//! A group is asked by one question at a time, however many wait for it: at once when somebody comes, then with pauses that grow while
//! nothing comes of it. One whose coordinator did not answer is *silent*: of those one at a time is asked, so that they leave an asker
//! to the others.

use super::{Answers, PositionWaits, State, WaitEnd, WaitId};
use crate::limits::{GROUP_PAUSE_MS_MAX, GROUP_PAUSE_MS_MIN, GROUPS_WAITED_MAX, RETRY_MS};
use crate::lock::lock;
use bkes_core::append::{Unit, Unready};
use bkes_core::sequence::NowMs;
use bkes_core::{Cause, Partition, Position};
use bkes_log::LogError;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

/// The groups that somebody waits for, and those that are being asked.
#[derive(Default)]
pub(super) struct Groups(BTreeMap<Arc<str>, Group>);

struct Group {
    waiting: BTreeSet<WaitId>,
    /// When it is asked next.
    due: NowMs,
    /// When it was asked last; `None` before the first time.
    begun: Option<NowMs>,
    pause_ms: u64,
    /// Those below this came before the question that is being asked.
    asked: Option<WaitId>,
    /// What came instead of the last answer.
    silence: Option<Cause>,
}

/// What a group has committed, `None` where nothing.
pub type Commits = BTreeMap<Partition, Option<Position>>;

impl Groups {
    pub(super) fn has_room(&self, group: &Arc<str>) -> Result<(), Unready> {
        if self.0.len() < GROUPS_WAITED_MAX || self.0.contains_key(group) {
            return Ok(());
        }
        let queue = "the list of consumer groups that are waited for";
        Err(Unready::Overloaded { queue, limit: GROUPS_WAITED_MAX as u64, unit: Unit::Groups })
    }

    /// Somebody waits for a group from now on: it is asked at once, unless that was done a moment ago.
    pub(super) fn join(&mut self, group: &Arc<str>, id: WaitId, now: NowMs) {
        let fresh = || Group {
            waiting: BTreeSet::new(),
            due: now,
            begun: None,
            pause_ms: GROUP_PAUSE_MS_MIN,
            asked: None,
            silence: None,
        };
        let group = self.0.entry(Arc::clone(group)).or_insert_with(fresh);
        group.waiting.insert(id);
        if group.silence.is_none() {
            group.pause_ms = GROUP_PAUSE_MS_MIN;
            group.due = group.due.min(group.begun.map_or(now, |begun| now.max(begun + GROUP_PAUSE_MS_MIN)));
        }
    }

    pub(super) fn leave(&mut self, name: &Arc<str>, id: WaitId) {
        if let Some(group) = self.0.get_mut(name) {
            group.waiting.remove(&id);
            // One that is being asked goes with its answer.
            if group.waiting.is_empty() && group.asked.is_none() {
                self.0.remove(name);
            }
        }
    }

    pub(super) fn silence(&self, name: &Arc<str>) -> Option<Cause> {
        self.0.get(name).and_then(|group| group.silence.clone())
    }

    /// Those that may be asked as soon as they are due.
    fn askable(&self) -> impl Iterator<Item = (&Arc<str>, &Group)> {
        let is_silent = |group: &Group| group.silence.is_some();
        let silent_asked = self.0.values().any(|group| group.asked.is_some() && is_silent(group));
        self.0.iter().filter(move |(_, group)| group.asked.is_none() && !(silent_asked && is_silent(group)))
    }
}

impl PositionWaits {
    /// A group to be asked now, if there is one: whoever takes it asks, and says what came of it.
    pub fn take_group(&self, now: NowMs) -> Option<Arc<str>> {
        let mut state = lock(&self.state);
        let due = state.groups.askable().filter(|(_, group)| group.due <= now);
        let name = due.min_by_key(|(_, group)| (group.silence.is_some(), group.due)).map(|(name, _)| name);
        let name = Arc::clone(name?);
        let below = state.next;
        let group = state.groups.0.get_mut(&name).expect("it was just found");
        (group.asked, group.begun) = (Some(below), Some(now));
        Some(name)
    }

    /// When a group is due next.
    pub fn group_due(&self) -> Option<NowMs> {
        lock(&self.state).groups.askable().map(|(_, group)| group.due).min()
    }

    /// Whether the engine stops.
    pub fn is_closed(&self) -> bool {
        lock(&self.state).closed
    }

    /// What came of asking a group.
    pub fn group_answered(&self, name: &Arc<str>, now: NowMs, answer: Result<Commits, LogError>) {
        self.change(|state, answers| state.group_answered(name, now, answer, answers));
    }
}

impl State {
    fn group_answered(
        &mut self,
        name: &Arc<str>,
        now: NowMs,
        answer: Result<Commits, LogError>,
        answers: &mut Answers,
    ) {
        // It is not there if the engine stopped meanwhile.
        let Some(group) = self.groups.0.get_mut(name) else { return };
        let below = group.asked.take().unwrap_or_default();
        group.silence = None;
        let waiting = group.waiting.clone();
        match answer {
            // A refusal is of those who came before the question: what it says may be over since.
            Ok(commits) if commits.values().all(Option::is_none) => {
                let end = WaitEnd::NoCommits { group: Arc::clone(name) };
                waiting.range(..below).for_each(|id| self.answer(*id, Err(end.clone()), answers));
            }
            Ok(commits) => waiting.iter().for_each(|id| self.committed(*id, &commits, answers)),
            Err(refused @ (LogError::Denied { .. } | LogError::Unsupported { .. })) => {
                let end = WaitEnd::Refused(refused);
                waiting.range(..below).for_each(|id| self.answer(*id, Err(end.clone()), answers));
            }
            Err(error) => group.silence = Some(Cause::of(error)),
        }
        let Some(group) = self.groups.0.get_mut(name) else { return };
        if group.waiting.is_empty() {
            self.groups.0.remove(name);
        } else if group.silence.is_some() {
            group.due = now + RETRY_MS;
        } else {
            group.due = now + group.pause_ms;
            group.pause_ms = (group.pause_ms * 2).min(GROUP_PAUSE_MS_MAX);
        }
    }

    /// The group of one who waits has committed so far. A partition in which it has committed nothing is waited for: it commits there
    /// when it has read something.
    fn committed(&mut self, id: WaitId, commits: &Commits, answers: &mut Answers) {
        let Some(wait) = self.waits.get_mut(&id) else { return };
        let is_far_enough = |(board, position): &super::Place| {
            let committed = commits.get(&board.partition).copied().flatten();
            committed.unwrap_or(Position::START) >= *position
        };
        if !wait.places.iter().all(is_far_enough) {
            return;
        }
        let is_applied = wait.missing.is_none();
        if let Some(group) = wait.group.take() {
            self.groups.leave(&group, id);
        }
        if is_applied {
            self.answer(id, Ok(()), answers);
        }
    }
}
