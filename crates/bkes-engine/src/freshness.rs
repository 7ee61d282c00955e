//! Freshness: what an answer takes in is applied before anything is looked up for it.

use crate::api::ReadError;
use crate::handle::EngineHandle;
use bkes_api::{Failure, Freshness, Reason};
use bkes_core::Key;
use bkes_core::machine::Scope;

impl EngineHandle {
    /// Has everything applied that an answer is to take in, about one aggregate or about any.
    pub(crate) async fn fresh(&self, freshness: &Freshness, key: Option<&Key>) -> Result<(), ReadError> {
        match freshness {
            Freshness::Local => Ok(()),
            Freshness::AtLeast(_) => {
                let why = "an answer of at least given positions is not supported";
                Err(ReadError::NotFresh(Failure::new(Reason::Unsupported, why)))
            }
            Freshness::Latest => {
                let scope = match key {
                    Some(key) => self.scope_of(key).await?,
                    None => Scope::All,
                };
                self.verify(scope).await.map_err(ReadError::Unavailable)
            }
        }
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
