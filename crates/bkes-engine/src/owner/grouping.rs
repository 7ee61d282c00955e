//! Grouping: appends that came while others of their partition are on the way to the log go out together.
//!
//! The log stores what it is handed at once as one batch, so ten records in one request cost little more than one. A lone append
//! never waits: with nothing on the way it is sent at once. While as many records are in flight as the log has under way together, a
//! partition's appends are grouped until a report arrives: requests grow with the load. Where as many are in flight to all partitions
//! together, small groups wait a moment too, so that those of several partitions go side by side. The aggregates of a group are looked up
//! together.

use super::lookup::{Standing, locate, stand_all};
use super::{Hosted, Owner};
use crate::limits::{GROUP_LARGE, GROUP_MS_MAX, GROUP_OTHERS_MS};
use crate::owner_inbox::Waiting;
use bkes_core::sequence::NowMs;
use bkes_core::{Key, Partition};
use bkes_log::AppenderState;

/// Appends that wait to be sent together.
#[derive(Default)]
pub struct Group {
    queue: Vec<Waiting>,
    since: NowMs,
}

impl Owner {
    /// Takes an append in. Its partition is guessed by its hash: where the aggregate lives is looked up when it is sent.
    pub(super) fn group(&mut self, append: Waiting, now: NowMs) {
        let group = self.groups.entry(append.ticket.guess).or_default();
        if group.queue.is_empty() {
            group.since = now;
        }
        self.grouped.add(append.load);
        group.queue.push(append);
    }

    /// Sends the groups that are due.
    pub(super) fn send_groups(&mut self, now: NowMs) {
        self.let_in(now);
        let is_up = matches!(self.appender.as_ref().map(|a| a.state()), Some(AppenderState::Up));
        let at_once = self.stopping.is_some() || !is_up;
        let is_due = |(partition, group): &(&Partition, &Group)| {
            !group.queue.is_empty() && (at_once || now >= self.due(**partition, group))
        };
        let due: Vec<Partition> =
            self.groups.iter().filter(is_due).map(|(partition, _)| *partition).collect();
        for partition in due {
            let mut queue = std::mem::take(&mut self.groups.get_mut(&partition).expect("just found").queue);
            let keys: Vec<Key> = queue.iter().map(|append| append.request.key.clone()).collect();
            let standings = stand_all(&self.context, self.epoch, &keys, None);
            for (append, standing) in queue.drain(..).zip(standings) {
                self.grouped.sub(append.load);
                let of = |standing: &Standing| locate(&self.context, &append.request, standing);
                match standing.and_then(|standing| of(&standing)) {
                    Ok(located) => self.admit(append, located, now),
                    Err(error) => self.refuse(append, error),
                }
            }
            // Its room is used again.
            if let Some(group) = self.groups.get_mut(&partition).filter(|group| group.queue.is_empty()) {
                group.queue = queue;
            }
        }
    }

    /// When a group is to be sent, should nothing be reported before.
    fn due(&self, partition: Partition, group: &Group) -> NowMs {
        let in_flight_max = self.appender.as_ref().map_or(0, |appender| appender.in_flight_max());
        let under_way = self.partitions.get(&partition).map_or(0, |hosted: &Hosted| hosted.machine.sent());
        if under_way >= in_flight_max {
            group.since + GROUP_MS_MAX
        } else if self.sent.records >= in_flight_max && group.queue.len() < GROUP_LARGE {
            group.since + GROUP_OTHERS_MS
        } else {
            group.since
        }
    }

    /// When a group is due for the time alone.
    pub(super) fn groups_deadline(&self) -> Option<NowMs> {
        let waiting = self.groups.iter().filter(|(_, group)| !group.queue.is_empty());
        waiting.map(|(partition, group)| self.due(*partition, group)).min()
    }
}
