//! Waiting until positions are applied here, and until a consumer group has committed as far.

use crate::at_least::Missed;
use crate::face::{in_field, of_unready};
use crate::handle::EngineHandle;
use crate::limits::{GROUP_NAME_BYTES_MAX, RETRY_LATER, WAIT_FOR_MS_MAX};
use crate::position_waits::Late;
use bkes_api::{Failure, Reason, WaitFor};
use bkes_core::sequence::NowMs;
use bkes_log::LogError;
use std::sync::Arc;

impl EngineHandle {
    /// Returns when everything below these positions is applied here and may be read, and the group, if one is named, has committed up
    /// to them. At the end of its time, a minute at most, it fails with [`Reason::DeadlineExceeded`]. Dropping the future ends the
    /// waiting.
    ///
    /// A group is asked of the log, by one question at a time for all that wait for it, and is not joined. One that has committed
    /// nothing in this topic is told at once, by [`Reason::NoSuchGroup`]; one that has committed in other partitions only is waited
    /// for.
    pub async fn wait_for(&self, wait: WaitFor) -> Result<(), Failure> {
        let WaitFor { positions, group, timeout } = wait;
        if group.as_deref().is_some_and(|name| name.is_empty() || name.contains('\0')) {
            return Err(in_field("group", "a name has at least a byte, and no zero byte"));
        }
        if group.as_ref().is_some_and(|name| name.len() > GROUP_NAME_BYTES_MAX) {
            return Err(in_field("group", format!("a name has at most {GROUP_NAME_BYTES_MAX} bytes")));
        }
        let timeout_ms = NowMs::try_from(timeout.as_millis()).unwrap_or(NowMs::MAX).min(WAIT_FOR_MS_MAX);
        let deadline = self.now().saturating_add(timeout_ms);
        let group = group.map(Arc::from);
        self.reach(&positions, group, deadline).await.map_err(|missed| missed.into_failure(timeout_ms))
    }
}

impl Missed {
    fn into_failure(self, waited_ms: u64) -> Failure {
        match self {
            Missed::Positions(error) => error.into(),
            Missed::Unready(unready) => of_unready(&unready),
            Missed::Late { late, unanswered } => {
                let what = match late {
                    Late::Applying { partition, applied, position, .. } => {
                        format!("partition {partition} is applied up to {applied}, and not to {position}")
                    }
                    Late::Committing { group, silence: None } => {
                        format!("consumer group {group} has not committed as far")
                    }
                    Late::Committing { group, silence: Some(cause) } => {
                        format!("what consumer group {group} has committed is not known: {cause}")
                    }
                };
                let why = unanswered
                    .map_or_else(String::new, |cause| format!("; whether the log holds as much: {cause}"));
                Failure::new(Reason::DeadlineExceeded, format!("after {waited_ms} ms {what}{why}"))
            }
            Missed::NoCommits { group } => {
                let words = format!("consumer group {group} has committed nothing in this topic");
                Failure::new(Reason::NoSuchGroup, words)
            }
            Missed::Group(error) => group_failure(&error),
        }
    }
}

fn group_failure(error: &LogError) -> Failure {
    match error {
        LogError::Denied { .. } => {
            let words = format!("{error}: BKES needs the right to describe the consumer group");
            Failure::new(Reason::PermissionDenied, words)
        }
        LogError::Unsupported { .. } => Failure::new(Reason::Unsupported, error.to_string()),
        error => Failure::new(Reason::LogDown, error.to_string()).after(RETRY_LATER),
    }
}
