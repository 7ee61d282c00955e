//! Where the server is in its life.

use tokio::sync::watch;

/// Where the server is in its life; only ever goes forward.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub enum Phase {
    /// Connections are taken.
    Serving,
    /// Connections end by themselves; those that never spoke are closed.
    Stopping,
    /// Whatever is left is closed.
    Cut,
}

/// Resolves when the server's life has reached `wanted`; a server that is gone has.
pub async fn reaches(mut phase: watch::Receiver<Phase>, wanted: Phase) {
    let _ = phase.wait_for(|phase| *phase >= wanted).await;
}
