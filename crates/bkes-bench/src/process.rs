//! A server in a process of its own, and what it costs.

use anyhow::{Context, bail};
use std::io::{BufRead, BufReader};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

/// A running server. Dropping it kills it.
pub struct Server {
    child: Child,
    /// Where it serves.
    pub address: String,
    /// When it was started.
    pub began: Instant,
    /// From then until it said what was waited for.
    pub after: Duration,
}

/// Clock ticks of a second in /proc, on every Linux there is.
const TICKS: f64 = 100.0;

impl Server {
    /// Starts one and waits until it is ready.
    pub fn start(command: Command) -> anyhow::Result<Server> {
        Server::until(command, "ready: ")
    }

    /// Starts one and waits until its port is open: it may still have to catch up.
    pub fn open(command: Command) -> anyhow::Result<Server> {
        Server::until(command, "serving on ")
    }

    /// Starts one and waits for a line that holds `wanted`.
    fn until(mut command: Command, wanted: &str) -> anyhow::Result<Server> {
        let began = Instant::now();
        let mut child = command.stderr(Stdio::piped()).spawn().context("the server cannot be started")?;
        let mut lines = BufReader::new(child.stderr.take().context("its messages")?).lines();
        let (mut address, mut said) = (None, Vec::new());
        for line in lines.by_ref() {
            let line = line?;
            if let Some((_, rest)) = line.split_once("serving on ") {
                address = Some(rest.trim().to_owned());
            }
            let is_there = line.contains(wanted);
            said.push(line);
            if is_there {
                break;
            }
        }
        let after = began.elapsed();
        let is_there = said.last().is_some_and(|line| line.contains(wanted));
        let Some(address) = address.filter(|_| is_there) else {
            bail!("the server did not start:\n{}", said.join("\n"))
        };
        std::thread::spawn(move || lines.for_each(drop));
        Ok(Server { child, address, began, after })
    }

    /// The usual command on a topic.
    pub fn command(program: &Path, data: &Path, brokers: &str, topic: &str) -> Command {
        let mut command = Command::new(program);
        command.env_clear().env("DATA_PATH", data).env("API_PORT", "0").env("KAFKA_BROKERS", brokers);
        command.env("BKES_ADMIN_LISTEN", "off");
        command.env("KAFKA_TOPIC", topic).env("NO_COLOR", "1");
        command
    }

    /// Seconds of processor time so far.
    pub fn cpu_seconds(&self) -> f64 {
        let stat = std::fs::read_to_string(format!("/proc/{}/stat", self.child.id())).unwrap_or_default();
        let fields = stat.rsplit(')').next().unwrap_or_default().split_whitespace();
        fields.skip(11).take(2).filter_map(|ticks| ticks.parse::<f64>().ok()).sum::<f64>() / TICKS
    }

    /// Seconds of processor time for each 100,000 of so many calls, since a time when it had spent `before` seconds.
    pub fn cpu_per_100_000(&self, before: f64, calls: u64) -> f64 {
        (self.cpu_seconds() - before) * 1e5 / calls as f64
    }

    /// Most memory it ever had, in MB.
    pub fn peak_mb(&self) -> f64 {
        let status = std::fs::read_to_string(format!("/proc/{}/status", self.child.id())).unwrap_or_default();
        let line = status.lines().find(|line| line.starts_with("VmHWM:")).unwrap_or_default();
        let kb = line.split_whitespace().nth(1).and_then(|kb| kb.parse::<f64>().ok());
        kb.map_or(f64::NAN, |kb| kb * 1024.0 / 1e6)
    }

    /// Stops it in order.
    pub fn stop(mut self) -> anyhow::Result<()> {
        let sent = Command::new("kill").args(["-TERM", &self.child.id().to_string()]).status()?;
        anyhow::ensure!(sent.success(), "kill failed");
        let status = self.child.wait()?;
        anyhow::ensure!(status.success(), "the server ended with {status}");
        Ok(())
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        // It may have ended already.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Writes everything out and has the system forget the files it read. Says whether that is allowed here.
pub fn forget_files() -> bool {
    let written = Command::new("sync").status().is_ok_and(|status| status.success());
    written && std::fs::write("/proc/sys/vm/drop_caches", "3").is_ok()
}

/// Bytes of disk blocks under a folder.
pub fn disk_bytes(folder: &Path) -> u64 {
    use std::os::unix::fs::MetadataExt;
    let entries = std::fs::read_dir(folder).into_iter().flatten().flatten();
    entries
        .map(|entry| match entry.metadata() {
            Ok(found) if found.is_dir() => disk_bytes(&entry.path()),
            Ok(found) => found.blocks() * 512,
            Err(_) => 0,
        })
        .sum()
}
