//! The stop, within its deadline whatever the brokers, the disk and the clients do.
//!
//! First the interface ends, then the engine: what was sent is awaited, the store closed, the log let go. Each step has what the one
//! before it left of the time, so that the whole ends in it. Who overruns is left behind, and ends with the process: the log's client, which
//! may wait for a broker that is dead, and at last the store too, which then resumes as after a kill.

use crate::admin::Admin;
use crate::exit::{Ended, Reason};
use crate::on_a_thread;
use crate::progress;
use crate::stop::Stop;
use bkes_engine::Engine;
use bkes_grpc::{Drained, Gate};
use std::fmt::Display;
use std::time::Duration;
use tokio::sync::oneshot;
use tokio::task::JoinHandle;
use tokio::time::{Instant, timeout_at};

/// What the store and the log get at least, however little is left: closing takes some 100 ms on a disk that is well.
const CLOSING_MIN: Duration = Duration::from_secs(2);

/// The part of the time left that is kept for closing, when sent appends and questions are awaited: a quarter.
const CLOSING_PART: u32 = 4;

/// What becomes of the interface.
pub type Interface = JoinHandle<Result<Drained, Ended>>;

/// Runs the interface. Its end is seen: where nobody asked for it, nobody is served any more, and the server stops.
pub fn watched<E: Display + Send + 'static>(
    serving: impl Future<Output = Result<Drained, E>> + Send + 'static,
    stop: Stop,
) -> Interface {
    let serving = tokio::spawn(serving);
    let failed = |why: String| Err(Ended::new(Reason::Unexpected, format!("serving ended: {why}")));
    tokio::spawn(async move {
        let ended = match serving.await {
            Ok(Ok(drained)) if stop.is_asked() => Ok(drained),
            Ok(Ok(_)) => failed("nobody had asked for it".to_owned()),
            Ok(Err(error)) => failed(error.to_string()),
            Err(error) => failed(error.to_string()),
        };
        if let Err(ended) = &ended {
            tracing::error!("{ended}; the server stops");
        }
        stop.ask();
        ended
    })
}

/// Stops everything; `None` for an engine that was not opened yet.
pub async fn shut_down(
    interface: Interface,
    admin: Admin,
    engine: Option<Engine>,
    gate: Gate,
    grace: Duration,
) -> Result<(), Ended> {
    let until = Instant::now() + grace;
    let served = match timeout_at(until, interface).await {
        Ok(Ok(Ok(Drained::Whole))) => Ok(()),
        Ok(Ok(Ok(Drained::Cut))) | Err(_) => {
            tracing::warn!("some connections did not end in time and are cut");
            Ok(())
        }
        Ok(Ok(Err(ended))) => Err(ended),
        Ok(Err(error)) => Err(Ended::new(Reason::Unexpected, error)),
    };
    // It holds the engine's handle, so it ends before the engine does.
    admin.end().await;
    let Some(engine) = engine else { return served };
    progress::counts(&engine.handle().status());
    close(engine, gate, until).await?;
    tracing::info!("stopped");
    served
}

async fn close(engine: Engine, gate: Gate, until: Instant) -> Result<(), Ended> {
    let until = until.max(Instant::now() + CLOSING_MIN);
    let left = until.saturating_duration_since(Instant::now());
    let grace = left - left / CLOSING_PART;
    let (tell, closed) = oneshot::channel();
    // Whoever holds a handle holds the log.
    let handles = (engine.handle(), gate);
    let closing = on_a_thread("bkes-stop", move || {
        // Who has no more time does not listen.
        let _ = tell.send(engine.stop(grace));
        drop(handles);
    })?;
    let in_time = timeout_at(until, closed).await.map_err(|_| {
        let words = "the store was not closed in the time for stopping (--shutdown-ms): its disk does not answer. The next start resumes \
                     at its last durable commit, as after a kill";
        Ended::new(Reason::Data, words)
    })?;
    in_time
        .map_err(|_| Ended::new(Reason::Unexpected, "the stop of the engine panicked"))?
        .map_err(|error| Ended::new(Reason::Data, format!("the store was not closed cleanly: {error}")))?;
    if timeout_at(until, closing).await.is_err() {
        tracing::warn!("the log's client still waits for the brokers, and ends with the process");
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::convert::Infallible;

    async fn ended(serving: impl Future<Output = Result<Drained, Infallible>> + Send + 'static) -> String {
        let stop = Stop::default();
        let interface = watched(serving, stop.clone());
        tokio::time::timeout(Duration::from_secs(20), stop.asked()).await.expect("the stop is asked for");
        interface.await.expect("it does not panic").expect_err("nobody had asked for it").to_string()
    }

    /// The server stood there for ever, ready by its own account, and served nobody.
    #[tokio::test]
    async fn an_interface_that_ends_by_itself_stops_the_server() {
        let said = ended(async { Ok(Drained::Whole) }).await;
        assert!(said.contains("nobody had asked"), "{said}");
        let said = ended(async {
            assert!(std::hint::black_box(false), "on purpose");
            Ok(Drained::Whole)
        });
        let said = said.await;
        assert!(said.contains("panicked"), "{said}");
    }

    #[tokio::test]
    async fn an_interface_that_ends_when_it_is_asked_to_is_no_failure() {
        let stop = Stop::default();
        let asked = stop.clone();
        let serving = async move {
            asked.asked().await;
            Ok::<_, Infallible>(Drained::Cut)
        };
        let interface = watched(serving, stop.clone());
        stop.ask();
        assert_eq!(interface.await.expect("it does not panic").expect("it was asked"), Drained::Cut);
    }
}
