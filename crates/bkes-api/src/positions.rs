//! Positions: how far a topic is meant, and how fresh an answer has to be.

use bkes_core::{Partition, Position};
use std::fmt;
use std::sync::Arc;

/// The topic's own id, new whenever it is created again; empty where the log cannot tell.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct TopicId(Arc<str>);

impl TopicId {
    /// The id that is written so.
    pub fn new(id: &str) -> TopicId {
        TopicId(id.into())
    }

    /// It, as text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for TopicId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// How far: in each of these partitions, everything below its position. A batch lies where its last member lies: below a position are
/// all of its events or none.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Positions {
    /// The topic they are of. One that is given must be the store's, or they are refused as
    /// [foreign](crate::Reason::ForeignPositions).
    pub topic: Option<TopicId>,
    /// Each partition once.
    pub of: Vec<(Partition, Position)>,
}

impl Positions {
    /// The position of a partition, if it has one.
    pub fn get(&self, partition: Partition) -> Option<Position> {
        self.of.iter().find(|(of, _)| *of == partition).map(|(_, position)| *position)
    }

    /// Takes in other ones: in each partition the farther counts.
    pub fn advance(&mut self, other: &Positions) {
        for (partition, position) in &other.of {
            match self.of.iter_mut().find(|(of, _)| of == partition) {
                Some((_, mine)) => *mine = (*mine).max(*position),
                None => self.of.push((*partition, *position)),
            }
        }
        self.topic = self.topic.take().or_else(|| other.topic.clone());
    }
}

/// How much of what the log holds an answer takes in.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub enum Freshness {
    /// What the instance has applied: what it was itself told of, and what it has read of others.
    #[default]
    Local,
    /// At least everything below these positions. What is not applied yet is waited for, 10 s at most; positions above what the log
    /// holds are refused.
    AtLeast(Positions),
    /// All that anyone was told of, on any instance, before the call began: the log is asked how far it goes, and everything up to there
    /// applied first. Where that cannot be done in 10 s the answer is unavailable. What a leader that was deposed and does not know it
    /// says of the log's end is believed.
    Latest,
}
