//! Where aggregates stand.

use crate::{Order, Partition};

/// One partition's share of an aggregate: the orders `base..next`.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Head {
    /// The partition.
    pub partition: Partition,
    /// The order of its first event there: 0 but in a cut partition.
    pub base: Order,
    /// The order its next event takes.
    pub next: Order,
}

/// Where an aggregate stands.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub enum Heads {
    /// It has no events.
    #[default]
    None,
    /// It lives in one partition, as it should.
    One(Head),
    /// It was found in several partitions; ascending.
    Split(Vec<Head>),
}

/// Where a key stands in one partition.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Count {
    /// Its share there; `None` while it has no events there.
    pub head: Option<Head>,
    /// Whether it has events in another partition; for a key that has some here too this may be left open.
    pub elsewhere: bool,
}

impl Count {
    /// Adds what a further source says. Sources are asked in order: the one that is ahead of the others comes first.
    pub fn add(&mut self, partition: Partition, heads: impl IntoIterator<Item = Head>) {
        for head in heads {
            if head.partition != partition {
                self.elsewhere = true;
            } else if self.head.is_none() {
                self.head = Some(head);
            }
        }
    }
}
