//! Feeding those who follow the log with what the machines decided.

use super::Owner;
use crate::feed::Period;
use bkes_core::Partition;
use bkes_core::machine::Accepted;

impl Owner {
    /// Adds what a machine has accepted to the ring of its partition, if somebody follows.
    pub(super) fn feed(&self, partition: Partition, accepted: &[Accepted]) {
        let period = self.context.feed.period();
        if period == Period::NONE {
            return;
        }
        let hosted = &self.partitions[&partition];
        // Each owner has as many, within one.
        let partitions = self.partitions.len() * self.context.owners.len();
        let bytes_max = self.context.options.feed_bytes_max / partitions.max(1);
        hosted.board.ring.add((period, hosted.machine.fold()), accepted, bytes_max);
    }

    /// Ends a step for those who follow: what was decided in it is seen. Says whether there may be something new for them. The first time
    /// that somebody follows, the rings of all partitions are begun, and emptied when nobody does.
    pub(super) fn publish_rings(&mut self) -> bool {
        let period = self.context.feed.period();
        let is_other = period != self.fed_in;
        if period == Period::NONE && !is_other {
            return false;
        }
        self.fed_in = period;
        let mut is_news = false;
        for hosted in self.partitions.values().filter(|hosted| is_other || hosted.is_news) {
            is_news = true;
            hosted.board.ring.publish((period, hosted.machine.fold()), hosted.machine.position());
        }
        is_news
    }
}
