//! `bkes wait`: until something is seen.

use crate::exit::Ended;
use crate::{duration, positions};
use bkes_api::{EventStore, Positions, WaitFor};
use std::time::Duration;

const EXAMPLES: &str = "Examples:
  bkes wait 0:120
  bkes wait 0:120,1:80 --timeout 1m
  bkes wait \"$(bkes append account-7 --at 3 closed -o json | jq -r .position)\" --group billing

Ends with code 0 when it is seen, and with 5 when that takes longer than --timeout.";

/// Wait until the server, and a consumer group, have seen everything below positions
#[derive(Clone, Debug, clap::Args)]
#[command(after_help = EXAMPLES)]
pub struct WaitArgs {
    /// PARTITION:OFFSET,... as append shows them: everything below is waited for
    #[arg(value_parser = positions::parse)]
    pub positions: Positions,

    /// Wait for this consumer group too, until it has committed as far
    #[arg(long, value_name = "NAME")]
    pub group: Option<String>,

    /// How long, as in 500ms or 10s
    #[arg(long, value_name = "TIME", value_parser = duration::parse, default_value = "10s")]
    pub timeout: Duration,
}

/// Waits.
pub async fn run(args: &WaitArgs, store: &dyn EventStore) -> Result<(), Ended> {
    let WaitArgs { positions, group, timeout } = args.clone();
    Ok(store.wait_for(WaitFor { positions, group, timeout }).await?)
}
