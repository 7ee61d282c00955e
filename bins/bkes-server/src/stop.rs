//! Signals: the first asks for a graceful stop, the second ends the process at once.

use std::sync::Arc;
use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::sync::watch;

/// Tells everyone who asks that the server is to stop.
#[derive(Clone)]
pub struct Stop(Arc<watch::Sender<bool>>);

impl Stop {
    /// Listens to SIGTERM and SIGINT from now on.
    pub fn on_signals() -> std::io::Result<Stop> {
        let (terminate, interrupt) = (signal(SignalKind::terminate())?, signal(SignalKind::interrupt())?);
        let stop = Stop(Arc::new(watch::Sender::new(false)));
        tokio::spawn(listen(terminate, interrupt, stop.clone()));
        Ok(stop)
    }

    /// Waits until the server is to stop.
    pub async fn asked(&self) {
        // The sender lives in `self`, so waiting cannot fail.
        let _ = self.0.subscribe().wait_for(|asked| *asked).await;
    }
}

async fn listen(mut terminate: Signal, mut interrupt: Signal, stop: Stop) {
    let mut next = async || {
        tokio::select! {
            _ = terminate.recv() => "SIGTERM",
            _ = interrupt.recv() => "SIGINT",
        }
    };
    let name = next().await;
    tracing::info!("{name}: stopping; a second signal ends the process at once");
    stop.0.send_replace(true);
    let name = next().await;
    tracing::warn!("{name} again: ending at once");
    std::process::exit(1);
}
