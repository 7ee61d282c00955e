//! What is wrong with the whole engine, for good: no partition is served, and none that comes.

use bkes_log::LogIdentity;

/// A fault that only an operator can end.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
pub enum Fault {
    /// The topic is another one under the same name.
    #[error(
        "topic {} is another one now (id {} became {}): stop, and start with another data directory",
        known.topic, known.topic_id, found.topic_id
    )]
    AnotherTopic { known: LogIdentity, found: LogIdentity },
    /// A thread is gone.
    #[error("thread {thread} panicked, restart the service: {message}")]
    Panicked { thread: String, message: String },
}

impl Fault {
    /// A higher one is shown instead of a lower one.
    pub fn rank(&self) -> u8 {
        match self {
            Fault::AnotherTopic { .. } => 0,
            Fault::Panicked { .. } => 1,
        }
    }
}
