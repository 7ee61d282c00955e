//! Gathering: appends that came while others of their partition are on the way to the log go out together.
//!
//! The log stores what it is handed at once as one batch, so ten records in one request cost little more than one. A lone append
//! never waits: with nothing on the way it is sent at once. Behind as much as the log has under way together, a partition's appends
//! are gathered until it was reported: requests grow with the load. Where as much is on the way to all partitions together, small
//! groups wait a moment too, so that those of several partitions go side by side. The aggregates of a group are looked up together.

use super::room::Load;
use super::{Owner, Waiting};
use crate::api::AppendError;
use crate::limits::{GATHER_LARGE, GATHER_MS_MAX, GATHER_OTHERS_MS, LOCATE_TRIES};
use crate::read::merge_heads;
use bkes_core::sequence::NowMs;
use bkes_core::{Key, Partition};
use bkes_log::AppenderState;
use bkes_storage::{Head, Heads};

/// Appends that wait to be sent together.
#[derive(Default)]
pub struct Gathered {
    queue: Vec<Waiting>,
    since: NowMs,
}

/// Where an aggregate stands, and how often the overlay had dropped something before it was looked up.
pub struct Located {
    pub heads: Heads,
    pub cleared: u64,
}

impl Owner {
    /// Takes an append in. Its partition is guessed by its hash: where the aggregate lives is looked up when it is sent.
    pub(super) fn gather(&mut self, waiting: Waiting, now: NowMs) {
        let guess = self.context.board.placing().guess(&waiting.request.key);
        let gathered = self.gathered.entry(guess).or_default();
        if gathered.queue.is_empty() {
            gathered.since = now;
        }
        self.gathered_load.add(Load::of(&waiting));
        gathered.queue.push(waiting);
    }

    /// Sends the groups that are due.
    pub(super) fn launch(&mut self, now: NowMs) {
        self.let_in(now);
        let is_up = matches!(self.appender.as_ref().map(|a| a.state()), Some(AppenderState::Up));
        let at_once = self.stopping.is_some() || !is_up;
        let is_due = |(partition, gathered): &(&Partition, &Gathered)| {
            !gathered.queue.is_empty() && (at_once || now >= self.due(**partition, gathered))
        };
        let due = self.gathered.iter().filter(is_due);
        let due: Vec<Partition> = due.map(|(partition, _)| *partition).collect();
        for partition in due {
            let gathered = self.gathered.get_mut(&partition).expect("just found");
            let mut group = std::mem::take(&mut gathered.queue);
            let keys: Vec<Key> = group.iter().map(|waiting| waiting.request.key.clone()).collect();
            for (waiting, located) in group.drain(..).zip(self.locate(&keys)) {
                self.gathered_load.sub(Load::of(&waiting));
                match located {
                    Ok(located) => self.admit(waiting, &located, now),
                    Err(error) => self.refuse(waiting, error),
                }
            }
            // Its room is used again.
            if let Some(gathered) =
                self.gathered.get_mut(&partition).filter(|gathered| gathered.queue.is_empty())
            {
                gathered.queue = group;
            }
        }
    }

    /// When a group is to be sent, should nothing be reported before.
    fn due(&self, partition: Partition, gathered: &Gathered) -> NowMs {
        let under_way_max = self.appender.as_ref().map_or(0, |appender| appender.under_way_max());
        let on_the_way = self.partitions.get(&partition).map_or(0, |owned| owned.unreported);
        if on_the_way >= under_way_max {
            gathered.since + GATHER_MS_MAX
        } else if self.sent.len() >= under_way_max && gathered.queue.len() < GATHER_LARGE {
            gathered.since + GATHER_OTHERS_MS
        } else {
            gathered.since
        }
    }

    /// When a group is due for the time alone.
    pub(super) fn launch_deadline(&self) -> Option<NowMs> {
        let waiting = self.gathered.iter().filter(|(_, gathered)| !gathered.queue.is_empty());
        waiting.map(|(partition, gathered)| self.due(*partition, gathered)).min()
    }

    /// Where aggregates stand: the overlay first, then the store, so that nothing is missed in between. Whether everything was read
    /// is asked before both: a partition of another owner that catches up meanwhile may hold the key. If a fold begins anew meanwhile, what
    /// was found is not of one state: they are looked up once more.
    fn locate(&self, keys: &[Key]) -> Vec<Result<Located, AppendError>> {
        let board = &self.context.board;
        for _ in 0..LOCATE_TRIES {
            let version = board.version();
            let located = self.locate_in(keys);
            if board.version() == version {
                return located;
            }
        }
        let unready = AppendError::Unavailable(board.still_catching_up());
        keys.iter().map(|_| Err(unready.clone())).collect()
    }

    fn locate_in(&self, keys: &[Key]) -> Vec<Result<Located, AppendError>> {
        let all_read = self.all_read();
        let overlay = &self.context.overlay;
        let cleared = overlay.cleared();
        let (mut applied, mut ends): (Vec<Head>, Vec<usize>) = (Vec::new(), Vec::with_capacity(keys.len()));
        for key in keys {
            overlay.heads(overlay.hash(key), key, &mut applied);
            ends.push(applied.len());
        }
        let mut stored = Vec::with_capacity(keys.len());
        if let Err(error) = self.context.store.heads(keys, &mut stored) {
            let error = self.store_trouble(&error);
            return keys.iter().map(|_| Err(error.clone())).collect();
        }
        let mut first = 0;
        let located = ends.into_iter().zip(stored).map(|(end, stored)| {
            let heads = merge_heads(&applied[first..end], stored);
            first = end;
            match (&heads, &all_read) {
                (Heads::None, Err(unready)) => Err(AppendError::Unavailable(unready.clone())),
                _ => Ok(Located { heads, cleared }),
            }
        });
        located.collect()
    }

    /// Where one aggregate stands.
    pub(super) fn locate_one(&self, key: &Key) -> Result<Located, AppendError> {
        self.locate(std::slice::from_ref(key)).pop().expect("one answer for each key")
    }
}
