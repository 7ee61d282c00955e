//! Positions that cannot be waited for.

use bkes_api::{Failure, Reason, TopicId};
use bkes_core::{Partition, Position};

/// Why positions are refused: waiting for them makes no sense.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
pub enum PositionsError {
    /// They are of another topic.
    #[error("the positions are of topic id {given}, and this topic has id {own}")]
    Foreign {
        /// The topic they are of.
        given: TopicId,
        /// This topic.
        own: TopicId,
    },
    /// The topic has no such partition.
    #[error("the topic has no partition {partition}")]
    NoSuchPartition {
        /// The partition.
        partition: Partition,
    },
    /// The log ends below.
    #[error("partition {partition} ends at {high}, below position {position}")]
    AboveEnd {
        /// The partition.
        partition: Partition,
        /// Where it was to be.
        position: Position,
        /// The high watermark.
        high: Position,
    },
}

impl From<PositionsError> for Failure {
    fn from(error: PositionsError) -> Failure {
        let reason = match error {
            PositionsError::Foreign { .. } => Reason::ForeignPositions,
            PositionsError::NoSuchPartition { .. } | PositionsError::AboveEnd { .. } => Reason::OutOfRange,
        };
        Failure::new(reason, error.to_string())
    }
}
