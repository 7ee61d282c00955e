//! The server: settings in, log, store, engine and interface wired together, wait, stop. No rules here.

#![forbid(unsafe_code)]

mod admin;
mod data_path;
mod exit;
mod kafka;
mod log_filter;
mod logging;
mod open;
mod open_files;
mod progress;
mod settings;
mod shutdown;
mod stop;

use crate::admin::Admin;
use crate::exit::{Ended, Reason};
use crate::logging::LogQueue;
use crate::settings::Settings;
use crate::stop::Stop;
use bkes_admin::Instance;
use bkes_engine::Engine;
use bkes_grpc::{Gate, ServeOptions, check_health, run};
use std::io::{self, Write};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::process::ExitCode;
use std::time::Duration;
use tokio::net::TcpListener;
use tokio::sync::oneshot;

fn main() -> ExitCode {
    let log = match logging::start() {
        Ok(log) => log,
        // There is nobody to tell but whoever looks at the exit code, if standard error is no help either.
        Err(error) => {
            return end(Ended::new(Reason::Unexpected, format!("no thread for the log: {error}")), None);
        }
    };
    // The words of a panic are logged by then: a runtime without threads to be had panics, for one.
    let panicked =
        |_| Err(Ended::new(Reason::Unexpected, "ended by a panic; please report what was logged of it"));
    match catch_unwind(AssertUnwindSafe(|| start(&log))).unwrap_or_else(panicked) {
        Ok(()) => {
            log.flush();
            ExitCode::SUCCESS
        }
        Err(ended) => end(ended, Some(&log)),
    }
}

/// Says why the process ends; its exit code.
fn end(ended: Ended, log: Option<&LogQueue>) -> ExitCode {
    let words = format!("bkes-server: {ended}");
    match log {
        Some(log) => {
            log.line(&words);
            log.flush();
        }
        None => drop(writeln!(io::stderr(), "{words}")),
    }
    ended.code()
}

fn start(log: &LogQueue) -> Result<(), Ended> {
    let settings = &Settings::of_this_process().map_err(|error| Ended::new(Reason::Usage, error))?;
    if settings.version {
        let (version, commit) = (env!("CARGO_PKG_VERSION"), env!("BKES_COMMIT"));
        return show(&format!("bkes-server {version} (git {commit}, {})\n", kafka::client()));
    }
    if settings.print_config {
        return show(&settings.print());
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
        serve(settings, log).await
    });
    // What a connection left behind that would not end must not hold the process.
    runtime.shutdown_background();
    ended
}

/// Writes what was asked for to standard output. Who reads no further has read enough.
fn show(text: &str) -> Result<(), Ended> {
    let mut output = io::stdout();
    match output.write_all(text.as_bytes()).and_then(|()| output.flush()) {
        Err(error) if error.kind() != io::ErrorKind::BrokenPipe => {
            Err(Ended::new(Reason::Unexpected, format!("standard output cannot be written: {error}")))
        }
        _ => Ok(()),
    }
}

/// Half of the processors are for the interface. The engine, the log's client and the store need the others, and a thread that
/// wakes another to share what is ready spends more than it saves.
fn interface_threads() -> usize {
    let processors = std::thread::available_parallelism().map_or(1, usize::from);
    (processors / 2).max(1)
}

async fn serve(settings: &Settings, log: &LogQueue) -> Result<(), Ended> {
    let stop = Stop::on_signals(log.clone()).map_err(|error| Ended::new(Reason::Unexpected, error))?;
    let gate = Gate::new();
    let grace = Duration::from_millis(settings.shutdown_ms);
    let connections_max = open_files::connections(settings)?.get();
    // The port is taken first, so that a mistake shows at once; calls are answered "starting" until the gate opens.
    let listener = listen(settings).await?;
    let admin_listener = admin::listen(settings.admin_listen).await?;
    let instance = if settings.standby { Instance::starting_standby() } else { Instance::starting() };
    let admin = Admin::serve(admin_listener, instance);
    let options = ServeOptions {
        reply_bytes_max: settings.reply_limit as usize,
        requests_max: settings.max_requests.get(),
        connections_max,
        drain: grace / 2,
        standby: settings.standby,
        ..ServeOptions::default()
    };
    let (interface_gate, interface_stop) = (gate.clone(), stop.clone());
    let serving = async move { run(listener, interface_gate, options, interface_stop.asked()).await };
    let interface = shutdown::watched(serving, stop.clone());
    let engine = open_engine(settings, &stop).await?;
    if let Some(engine) = &engine {
        gate.open(engine.handle());
        admin.instance().open(engine.handle());
        let showing = tokio::spawn(progress::show(engine.handle()));
        stop.asked().await;
        showing.abort();
    }
    admin.instance().stopping();
    shutdown::shut_down(interface, admin, engine, gate, grace).await
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
    let opening = on_a_thread("bkes-start", move || open::engine(&for_thread))?;
    tokio::select! {
        opened = opening => {
            opened.map_err(|_| Ended::new(Reason::Unexpected, "the start panicked"))?.map(Some)
        }
        () = stop.asked() => Ok(None),
    }
}

/// Runs `work` on a thread of its own; what it comes to. (The runtime panics where it gets no thread for what blocks.)
fn on_a_thread<T: Send + 'static>(
    name: &str,
    work: impl FnOnce() -> T + Send + 'static,
) -> Result<oneshot::Receiver<T>, Ended> {
    let (tell, told) = oneshot::channel();
    // Who has stopped waiting is told nothing.
    let run = move || drop(tell.send(work()));
    let started = std::thread::Builder::new().name(name.to_owned()).spawn(run);
    started
        .map_err(|error| Ended::new(Reason::Unexpected, format!("a thread could not be started: {error}")))?;
    Ok(told)
}
