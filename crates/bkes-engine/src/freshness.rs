//! Freshness: what an answer takes in is applied before anything is looked up for it.

use crate::api::ReadError;
use crate::handle::EngineHandle;
use bkes_api::{Freshness, Positions};
use bkes_core::machine::Scope;
use bkes_core::{Key, Offset, Partition, Position};

impl EngineHandle {
    /// Has everything applied that an answer is to take in, about one aggregate or about any.
    pub(crate) async fn fresh(&self, freshness: &Freshness, key: Option<&Key>) -> Result<(), ReadError> {
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
    pub(crate) async fn decided(&self, partition: Partition, offset: Offset) -> Result<(), ReadError> {
        let position = Position(offset.0.saturating_add(1));
        let is_applied = self
            .context()
            .board
            .partition(partition)
            .is_some_and(|board| board.state().current().is_some_and(|seen| seen.applied >= position));
        if is_applied {
            return Ok(());
        }
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
