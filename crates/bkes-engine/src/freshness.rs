//! Freshness: what an answer takes in is applied before anything is looked up for it, and is still there when that was looked up.
//!
//! A fold that begins anew between the two takes its partition's events away. A look-up tells that of the partitions in which it found
//! the aggregate, and of all where it found nothing. Where an aggregate is split, it finds the other parts and knows nothing of the one
//! that is gone. So each answer asks at its end whether the folds that were waited for still count.

use crate::api::ReadError;
use crate::board::Version;
use crate::handle::EngineHandle;
use crate::limits::LOCATE_TRIES;
use bkes_api::{Freshness, Positions};
use bkes_core::machine::Scope;
use bkes_core::{Key, Offset, Partition, Position};

/// What an answer takes in: it is applied, as long as these folds count.
pub(crate) struct Fresh {
    since: Version,
    of: Of,
}

enum Of {
    Nothing,
    These(Vec<Partition>),
    All,
}

impl EngineHandle {
    /// Has everything applied that an answer is to take in, about one aggregate or about any.
    pub(crate) async fn fresh(&self, freshness: &Freshness, key: Option<&Key>) -> Result<Fresh, ReadError> {
        let board = &self.context().board;
        let of = match freshness {
            Freshness::Local => return Ok(Fresh { since: board.version(), of: Of::Nothing }),
            Freshness::AtLeast(positions) => {
                Of::These(positions.of.iter().map(|(partition, _)| *partition).collect())
            }
            Freshness::Latest => Of::All,
        };
        for _ in 0..LOCATE_TRIES {
            let since = board.version();
            self.wait_until_fresh(freshness, key).await?;
            // What was waited for may have been applied by a fold that does not count any more.
            if board.version() == since {
                return Ok(Fresh { since, of });
            }
        }
        Err(ReadError::Unavailable(board.overtaken()))
    }

    /// An error if what was looked up meanwhile may lack something of what an answer is to take in.
    pub(crate) fn check_fresh(&self, fresh: &Fresh) -> Result<(), ReadError> {
        let board = &self.context().board;
        let holds = match &fresh.of {
            Of::Nothing => true,
            Of::These(partitions) => board.is_as_in(fresh.since, partitions.iter().copied()),
            Of::All => board.version() == fresh.since,
        };
        if holds { Ok(()) } else { Err(ReadError::Unavailable(board.overtaken())) }
    }

    async fn wait_until_fresh(&self, freshness: &Freshness, key: Option<&Key>) -> Result<(), ReadError> {
        match freshness {
            Freshness::Local => Ok(()),
            Freshness::AtLeast(positions) => self.at_least(positions).await,
            Freshness::Latest => {
                let scope = match key {
                    Some(key) => self.scope_of(key).await?,
                    None => Scope::All,
                };
                self.verify(scope).await.map_err(ReadError::Unavailable)
            }
        }
    }

    /// Has everything decided that lies at an offset of a partition or below it.
    pub(crate) async fn decided(&self, partition: Partition, offset: Offset) -> Result<Fresh, ReadError> {
        let position = Position(offset.0.saturating_add(1));
        let of = vec![(partition, position)];
        self.fresh(&Freshness::AtLeast(Positions { topic: None, of }), None).await
    }

    /// Where an aggregate may have events: in its partition, or anywhere if it is not known, or not in one partition.
    async fn scope_of(&self, key: &Key) -> Result<Scope, ReadError> {
        match self.locate(key.clone(), true).await {
            Ok(located) => Ok(match located.heads[..] {
                [head] => Scope::One(head.partition),
                _ => Scope::All,
            }),
            Err(ReadError::NoSuchAggregate { .. }) => Ok(Scope::All),
            Err(error) => Err(error),
        }
    }
}
