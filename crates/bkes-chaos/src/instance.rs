//! One instance: a process with a data directory and a port of its own, and everything that can be done to it.

use crate::memory::{self, Peak};
use crate::proxy::Proxy;
use anyhow::{Context, bail};
use bkes_check::InstanceId;
use rustix::process::{Pid, Signal, kill_process};
use std::fs::{self, File};
use std::io::Write;
use std::os::unix::process::CommandExt;
use std::path::PathBuf;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

/// A stop in order may take this long; the server's own limit is shorter.
const STOP_MAX: Duration = Duration::from_secs(60);

/// The exit code of a server whose data directory cannot be used.
const REFUSES_DATA: i32 = 4;

/// Kills the process when we end in any way.
const WATCHDOG: &str = r#"trap '' INT TERM HUP; read -r line || kill -KILL "$0""#;

/// What kind of process it is.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Kind {
    /// `bkes-server`, called over gRPC.
    Server,
    /// This program with an embedded engine, called by lines.
    Worker,
}

/// How an instance is started.
#[derive(Clone, Debug)]
pub struct Start {
    /// What it is.
    pub kind: Kind,
    /// The server's program.
    pub server: PathBuf,
    /// Where it finds the brokers; perhaps proxies before them.
    pub brokers: String,
    /// The topic.
    pub topic: String,
    /// Its data directory.
    pub data: PathBuf,
    /// Where it listens.
    pub port: u16,
}

/// An instance.
pub struct Instance {
    /// Its number.
    pub id: InstanceId,
    /// How it is started.
    pub start: Start,
    /// The proxy before it.
    pub proxy: Proxy,
    log: PathBuf,
    process: Mutex<Option<Process>>,
    /// The most memory that any of its lives took; 0 when it was never told.
    peak_bytes: AtomicU64,
}

struct Process {
    child: Child,
    watchdog: Child,
}

impl Instance {
    /// A new instance, not running. What it says goes to a file beside its data.
    pub async fn new(id: InstanceId, start: Start) -> anyhow::Result<Instance> {
        fs::create_dir_all(&start.data)?;
        let log = start.data.with_extension("log");
        let proxy = Proxy::start(0, start.port).await?;
        Ok(Instance { id, start, proxy, log, process: Mutex::new(None), peak_bytes: AtomicU64::new(0) })
    }

    /// Starts the process.
    pub fn run(&self) -> anyhow::Result<()> {
        let mut process = self.process();
        if process.is_some() {
            bail!("{} is running", self.id);
        }
        let log = File::options().create(true).append(true).open(&self.log)?;
        let mut command = self.command()?;
        let child = command.stdin(Stdio::null()).stdout(log.try_clone()?).stderr(log).process_group(0);
        let child = child.spawn().with_context(|| format!("{} cannot be started", self.id))?;
        let mut watchdog = Command::new("sh");
        watchdog.args(["-c", WATCHDOG, &child.id().to_string()]).stdin(Stdio::piped()).process_group(0);
        *process = Some(Process { child, watchdog: watchdog.spawn().context("sh")? });
        Ok(())
    }

    fn command(&self) -> anyhow::Result<Command> {
        let Start { kind, server, brokers, topic, data, port } = &self.start;
        Ok(match kind {
            Kind::Server => {
                let mut command = Command::new(server);
                command
                    .env_clear()
                    .env("DATA_PATH", data)
                    .env("API_PORT", port.to_string())
                    .env("BKES_ADMIN_LISTEN", "off");
                command.env("KAFKA_BROKERS", brokers).env("KAFKA_TOPIC", topic).env("NO_COLOR", "1");
                command.env("MESSAGE_TIMEOUT_MS", "2000").env("CACHE_MIB", "16");
                command
            }
            Kind::Worker => {
                let mut command = Command::new(std::env::current_exe()?);
                command.args(["worker", "--brokers", brokers, "--topic", topic, "--port", &port.to_string()]);
                command.arg("--data").arg(self.store());
                command
            }
        })
    }

    /// The folder of its store.
    pub fn store(&self) -> PathBuf {
        self.start.data.join("bkes").join("store")
    }

    /// What it has said in all its runs.
    pub fn said(&self) -> String {
        fs::read(&self.log).map(|bytes| String::from_utf8_lossy(&bytes).into_owned()).unwrap_or_default()
    }

    /// Kills it; whether it ran.
    pub fn kill(&self) -> anyhow::Result<bool> {
        let Some(mut process) = self.process().take() else { return Ok(false) };
        self.note_memory(&process);
        let ended = process.ended()?;
        process.child.kill()?;
        process.child.wait()?;
        process.dismiss();
        self.was_not_expected(ended)?;
        Ok(true)
    }

    /// Stops it in order and waits; that must work.
    pub fn stop(&self) -> anyhow::Result<()> {
        let Some(mut process) = self.process().take() else { return Ok(()) };
        let early = process.ended()?;
        if early.is_none() {
            process.signal(Signal::TERM)?;
        }
        let began = Instant::now();
        let status = loop {
            self.note_memory(&process);
            if let Some(status) = process.ended()? {
                break status;
            }
            if began.elapsed() > STOP_MAX {
                process.child.kill()?;
                process.child.wait()?;
                process.dismiss();
                bail!("{} did not stop within {STOP_MAX:?}", self.id);
            }
            std::thread::sleep(Duration::from_millis(10));
        };
        process.dismiss();
        self.was_not_expected(early)?;
        if !status.success() {
            bail!("{} was stopped in order and ended with {status}:\n{}", self.id, self.last_said());
        }
        Ok(())
    }

    /// Freezes it.
    pub fn pause(&self) -> anyhow::Result<()> {
        self.process().as_mut().map_or(Ok(()), |process| process.signal(Signal::STOP))
    }

    /// Lets it go on.
    pub fn resume(&self) -> anyhow::Result<()> {
        self.process().as_mut().map_or(Ok(()), |process| process.signal(Signal::CONT))
    }

    /// An error when it has ended by itself; told once, and it is started again.
    pub fn is_as_expected(&self) -> anyhow::Result<()> {
        let Some(status) = self.take_ended()? else { return Ok(()) };
        self.run()?;
        self.was_not_expected(Some(status))
    }

    /// Starts it again when it has ended because its disk was full at its start, which is refused and not waited out; whether
    /// it had. Any other end is an error.
    pub fn run_with_room_again(&self) -> anyhow::Result<bool> {
        let Some(status) = self.take_ended()? else { return Ok(false) };
        self.run()?;
        let was_full = self.last_said().lines().any(|line| line.contains("No space left on device"));
        match status.code() {
            Some(REFUSES_DATA) if was_full => Ok(true),
            _ => self.was_not_expected(Some(status)).map(|()| false),
        }
    }

    /// The most memory that any of its lives took, up to now.
    pub fn memory(&self) -> Peak {
        if let Some(process) = self.process().as_ref() {
            self.note_memory(process);
        }
        let bytes = Some(self.peak_bytes.load(Ordering::Acquire)).filter(|bytes| *bytes > 0);
        Peak { instance: Some(self.id), bytes }
    }

    /// The system keeps the high-water mark of a process as long as it lives.
    fn note_memory(&self, process: &Process) {
        if let Some(bytes) = memory::peak_bytes(process.child.id()) {
            self.peak_bytes.fetch_max(bytes, Ordering::AcqRel);
        }
    }

    fn take_ended(&self) -> anyhow::Result<Option<ExitStatus>> {
        let mut process = self.process();
        let ended = process.as_mut().map_or(Ok(None), Process::ended)?;
        if let Some(mut process) = ended.and_then(|_| process.take()) {
            process.dismiss();
        }
        Ok(ended)
    }

    fn was_not_expected(&self, ended: Option<ExitStatus>) -> anyhow::Result<()> {
        match ended {
            None => Ok(()),
            Some(status) => bail!("{} ended by itself with {status}:\n{}", self.id, self.last_said()),
        }
    }

    fn last_said(&self) -> String {
        let said = self.said();
        let lines: Vec<&str> = said.lines().collect();
        lines[lines.len().saturating_sub(12)..].join("\n")
    }

    /// Nothing is left half done by a panic that would matter here.
    fn process(&self) -> MutexGuard<'_, Option<Process>> {
        self.process.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Process {
    fn ended(&mut self) -> anyhow::Result<Option<ExitStatus>> {
        Ok(self.child.try_wait()?)
    }

    fn signal(&self, signal: Signal) -> anyhow::Result<()> {
        let pid =
            i32::try_from(self.child.id()).ok().and_then(Pid::from_raw).context("a process has an id")?;
        Ok(kill_process(pid, signal)?)
    }

    /// Tells the watchdog that there is nothing to watch any more.
    fn dismiss(&mut self) {
        if let Some(mut pipe) = self.watchdog.stdin.take() {
            // It may have ended already; then there is nothing to tell.
            let _ = pipe.write_all(b"done\n");
        }
        let _ = self.watchdog.wait();
    }
}

impl Drop for Instance {
    fn drop(&mut self) {
        // What it ended with was looked at before, where it matters.
        let _ = self.kill();
    }
}
