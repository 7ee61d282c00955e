//! The server: settings in, log, store, engine and interface wired together, wait, stop. No rules here.

#![forbid(unsafe_code)]

mod data_path;
mod exit;
mod kafka;
mod kafka_properties;
mod open;
mod progress;
mod settings;
mod stop;

use crate::exit::{Ended, Reason};
use crate::settings::Settings;
use crate::stop::Stop;
use bkes_engine::Engine;
use bkes_grpc::{Drained, Gate, ServeOptions, check_health, run};
use std::process::ExitCode;
use std::time::{Duration, Instant};
use tokio::net::TcpListener;
use tracing_subscriber::EnvFilter;

fn main() -> ExitCode {
    let settings = match Settings::of_this_process() {
        Ok(settings) => settings,
        Err(error) => {
            eprintln!("bkes-server: {error}");
            return Ended::new(Reason::Usage, error).code();
        }
    };
    tracing_subscriber::fmt().with_env_filter(log_filter()).with_writer(std::io::stderr).init();
    match start(&settings) {
        Ok(()) => ExitCode::SUCCESS,
        Err(ended) => {
            eprintln!("bkes-server: {ended}");
            ended.code()
        }
    }
}

/// What is logged: `RUST_LOG`, or `info` where that says nothing that can be read.
fn log_filter() -> EnvFilter {
    let asked = std::env::var(EnvFilter::DEFAULT_ENV).ok().filter(|asked| !asked.is_empty());
    asked.and_then(|asked| EnvFilter::try_new(asked).ok()).unwrap_or_else(|| EnvFilter::new("info"))
}

fn start(settings: &Settings) -> Result<(), Ended> {
    if settings.version {
        let (version, commit) = (env!("CARGO_PKG_VERSION"), env!("BKES_COMMIT"));
        println!("bkes-server {version} (git {commit}, librdkafka {})", bkes_kafka::librdkafka_version());
        return Ok(());
    }
    if settings.print_config {
        print!("{}", settings.print());
        return Ok(());
    }
    for remark in &settings.kafka.remarks {
        tracing::warn!("{remark}");
    }
    let runtime =
        tokio::runtime::Builder::new_multi_thread().worker_threads(interface_threads()).enable_all().build();
    let runtime = runtime.map_err(|error| Ended::new(Reason::Unexpected, error))?;
    let ended = runtime.block_on(async {
        if settings.health {
            let ready = check_health(&settings.address().to_string()).await;
            return ready.map_err(|error| Ended::new(Reason::NotReady, error));
        }
        serve(settings).await
    });
    // What a connection left behind that would not end must not hold the process.
    runtime.shutdown_background();
    ended
}

/// Half of the processors are for the interface. The engine, the log's client and the store need the others, and a thread that
/// wakes another to share what is ready spends more than it saves.
fn interface_threads() -> usize {
    let processors = std::thread::available_parallelism().map_or(1, usize::from);
    (processors / 2).max(1)
}

async fn serve(settings: &Settings) -> Result<(), Ended> {
    let stop = Stop::on_signals().map_err(|error| Ended::new(Reason::Unexpected, error))?;
    let gate = Gate::new();
    let grace = Duration::from_millis(settings.shutdown_ms);
    // The port is taken first, so that a mistake shows at once; calls are answered "starting" until the gate opens.
    let listener = listen(settings).await?;
    let options = ServeOptions {
        reply_bytes_max: settings.reply_limit as usize,
        requests_max: settings.max_requests.get(),
        connections_max: settings.max_connections.get(),
        drain: grace / 2,
        standby: settings.standby,
        ..ServeOptions::default()
    };
    let (interface_gate, interface_stop) = (gate.clone(), stop.clone());
    let interface =
        tokio::spawn(async move { run(listener, interface_gate, options, interface_stop.asked()).await });
    let engine = open_engine(settings, &stop).await?;
    let Some(engine) = engine else { return Ok(()) };
    gate.open(engine.handle());
    let showing = tokio::spawn(progress::show(engine.handle()));
    stop.asked().await;
    showing.abort();
    let began = Instant::now();
    match interface.await {
        Ok(Ok(Drained::Whole)) => {}
        Ok(Ok(Drained::Cut)) => tracing::warn!("some connections did not end in time and are cut"),
        Ok(Err(error)) => tracing::error!("serving failed: {error}"),
        Err(error) => tracing::error!("serving failed: {error}"),
    }
    progress::counts(&engine.handle().status());
    let left = grace.saturating_sub(began.elapsed());
    let stopped = tokio::task::spawn_blocking(move || engine.stop(left)).await;
    stopped
        .map_err(|error| Ended::new(Reason::Unexpected, error))?
        .map_err(|error| Ended::new(Reason::Data, format!("the store was not closed cleanly: {error}")))?;
    tracing::info!("stopped");
    Ok(())
}

async fn listen(settings: &Settings) -> Result<TcpListener, Ended> {
    let address = settings.address();
    let listener = TcpListener::bind(address).await.map_err(|error| {
        Ended::new(
            Reason::Address,
            format!("cannot serve on {address}: {error}; choose another with --bind and --api-port"),
        )
    })?;
    let bound = listener.local_addr().map_err(|error| Ended::new(Reason::Address, error))?;
    if settings.standby {
        tracing::info!("standby: only health is served on {bound}");
    } else {
        tracing::info!("serving on {bound}");
    }
    Ok(listener)
}

/// Opens the engine off the runtime, where it may block; a stop in the meantime ends the wait.
async fn open_engine(settings: &Settings, stop: &Stop) -> Result<Option<Engine>, Ended> {
    let for_thread = settings.clone();
    let opening = tokio::task::spawn_blocking(move || open::engine(&for_thread));
    tokio::select! {
        opened = opening => opened.map_err(|error| Ended::new(Reason::Unexpected, error))?.map(Some),
        () = stop.asked() => Ok(None),
    }
}
