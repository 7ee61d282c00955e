//! Waiting until something is seen.

use crate::positions::Positions;
use std::time::Duration;

/// What is waited for.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct WaitFor {
    /// Everything below these positions is applied by this instance.
    pub positions: Positions,
    /// And this consumer group has committed up to them, or further. It is asked of the log's group coordinator; the group is not joined.
    pub group: Option<String>,
    /// How long.
    pub timeout: Duration,
}
