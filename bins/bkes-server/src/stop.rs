//! Signals: the first asks for a graceful stop, the second ends the process at once.

use crate::logging::LogQueue;
use std::sync::Arc;
use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::sync::watch;

/// Tells everyone who asks that the server is to stop.
#[derive(Clone, Default)]
pub struct Stop(Arc<watch::Sender<bool>>);

impl Stop {
    /// Listens to SIGTERM and SIGINT from now on.
    pub fn on_signals(log: LogQueue) -> std::io::Result<Stop> {
        let (terminate, interrupt) = (signal(SignalKind::terminate())?, signal(SignalKind::interrupt())?);
        let stop = Stop::default();
        tokio::spawn(listen(terminate, interrupt, stop.clone(), log));
        Ok(stop)
    }

    /// Asks for the stop, as a signal does.
    pub fn ask(&self) {
        self.0.send_replace(true);
    }

    /// Whether the server is to stop.
    pub fn is_asked(&self) -> bool {
        *self.0.borrow()
    }

    /// Waits until the server is to stop.
    pub async fn asked(&self) {
        // The sender lives in `self`, so waiting cannot fail.
        let _ = self.0.subscribe().wait_for(|asked| *asked).await;
    }
}

async fn listen(mut terminate: Signal, mut interrupt: Signal, stop: Stop, log: LogQueue) {
    let mut next = async || {
        tokio::select! {
            _ = terminate.recv() => "SIGTERM",
            _ = interrupt.recv() => "SIGINT",
        }
    };
    let name = next().await;
    // First of all: whatever else fails, the stop was asked for.
    stop.ask();
    tracing::info!("{name}: stopping; a second signal ends the process at once");
    let name = next().await;
    tracing::warn!("{name} again: ending at once");
    log.flush();
    std::process::exit(1);
}
