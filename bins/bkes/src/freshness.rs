//! The flags that say how fresh an answer has to be.

use crate::positions;
use bkes_api::{Freshness, Positions};

/// How fresh an answer has to be.
#[derive(Clone, Debug, Default, clap::Args)]
pub struct FreshnessArgs {
    /// Take in all that anyone was told of on any instance before this call began
    #[arg(long)]
    pub latest: bool,

    /// Take in at least everything below these positions: PARTITION:OFFSET,... as append shows them
    #[arg(long, value_name = "POSITIONS", value_parser = positions::parse, conflicts_with = "latest")]
    pub at_least: Option<Positions>,
}

impl FreshnessArgs {
    /// The same as the store is asked.
    pub fn freshness(&self) -> Freshness {
        match &self.at_least {
            Some(positions) => Freshness::AtLeast(positions.clone()),
            None if self.latest => Freshness::Latest,
            None => Freshness::Local,
        }
    }
}
