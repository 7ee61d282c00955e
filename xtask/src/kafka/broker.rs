//! One node, broker and controller in one: started, signalled, restarted on the same ports and data, and ended in every case.
//!
//! The process is a child in a process group of its own. Beside it sleeps a watchdog, a shell that reads from a pipe we
//! hold: when we end in any way, the pipe closes, and the watchdog kills the broker and removes its data.

use super::jars;
use anyhow::{Context, bail};
use std::fs::{self, File};
use std::hash::{BuildHasher, RandomState};
use std::io::Write;
use std::net::TcpListener;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

/// It starts within 4 s on an idle machine; a busy one may take its time.
const START_MAX: Duration = Duration::from_secs(120);

/// A broker that has not stopped by itself after this long is killed.
const STOP_MAX: Duration = Duration::from_secs(30);

/// What the log says when the broker takes requests.
const STARTED: &str = "Kafka Server started";

const WATCHDOG: &str = r#"trap '' INT TERM HUP; read -r line || { kill -KILL "$0"; rm -rf "$1"; }"#;

/// What can be done to a running broker from outside.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Signal {
    /// Stop in order.
    Term,
    /// Die at once.
    Kill,
    /// Freeze: connections stay open, and nothing is answered.
    Pause,
    /// Go on after a freeze.
    Resume,
}

impl Signal {
    fn name(self) -> &'static str {
        match self {
            Signal::Term => "TERM",
            Signal::Kill => "KILL",
            Signal::Pause => "STOP",
            Signal::Resume => "CONT",
        }
    }
}

/// A KRaft node on loopback. Dropping it kills it and removes its data.
pub struct Broker {
    address: String,
    dir: PathBuf,
    jars: PathBuf,
    running: Option<Running>,
    detached: bool,
}

struct Running {
    java: Child,
    watchdog: Child,
    /// How often the log of earlier runs says that it started.
    started_before: usize,
}

/// What a node is, beside its directory.
pub struct Node {
    /// Its number, from 1.
    pub id: usize,
    /// Where clients find it.
    pub port: u16,
    /// Where the controllers of all nodes are found; the one of node 1 first.
    pub controller_ports: Vec<u16>,
    /// More ways in, for clients that come through a proxy.
    pub proxied: Vec<Proxied>,
}

/// A listener behind a proxy.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Proxied {
    /// Where the node listens.
    pub port: u16,
    /// Where the proxy does, which is what the node tells clients.
    pub proxy_port: u16,
}

impl Broker {
    /// A new, empty broker in a directory of its own.
    pub fn start() -> anyhow::Result<Broker> {
        Broker::start_in(&super::cache().join(format!("run-{}", std::process::id())))
    }

    /// A new, empty broker whose data lie in `dir`; what lay there is removed.
    pub fn start_in(dir: &Path) -> anyhow::Result<Broker> {
        let [port, controller_port] = free_ports()?;
        let node = Node { id: 1, port, controller_ports: vec![controller_port], proxied: Vec::new() };
        let mut broker = Broker::new(dir, &node, &cluster_id())?;
        broker.restart()?;
        Ok(broker)
    }

    /// A new, empty node of a cluster, not running yet.
    pub fn new(dir: &Path, node: &Node, cluster: &str) -> anyhow::Result<Broker> {
        jars::needs("java", "it runs the broker (version 17 or newer, package `default-jre-headless`)")?;
        let jars = jars::jars(&super::cache())?;
        if dir.exists() {
            fs::remove_dir_all(dir)?;
        }
        fs::create_dir_all(dir)?;
        let dir = dir.canonicalize()?;
        let address = format!("127.0.0.1:{}", node.port);
        let broker = Broker { address, dir, jars, running: None, detached: false };
        fs::write(broker.properties(), properties(&broker.dir, node))?;
        broker.format(cluster)?;
        Ok(broker)
    }

    /// What clients take as bootstrap servers; the same after a restart.
    pub fn address(&self) -> &str {
        &self.address
    }

    /// Where the partitions lie, each in a folder named for topic and number.
    pub fn data(&self) -> PathBuf {
        self.dir.join("data")
    }

    /// The process, 0 when none runs.
    pub fn pid(&self) -> u32 {
        self.running.as_ref().map_or(0, |running| running.java.id())
    }

    /// Starts the process again, on the same ports and data, and returns when it takes requests.
    pub fn restart(&mut self) -> anyhow::Result<()> {
        self.launch()?;
        self.await_started()
    }

    /// Restarts it with one more property in place of the one that was set before; an empty one takes that away.
    pub fn set(&mut self, property: &str) -> anyhow::Result<()> {
        let file = self.properties();
        let text = with_property(&fs::read_to_string(&file)?, property);
        if self.running.is_some() {
            self.signal(Signal::Term)?;
        }
        fs::write(&file, text)?;
        self.restart()
    }

    /// Starts the process and does not wait: the nodes of a cluster need each other to come up.
    pub fn launch(&mut self) -> anyhow::Result<()> {
        if self.running.is_some() {
            bail!("the broker is running");
        }
        let log = self.log();
        let started_before = count_started(&log);
        let output = File::options().create(true).append(true).open(&log)?;
        let mut java = self.java(&["kafka.Kafka"]);
        java.arg(self.properties()).stdin(Stdio::null()).stdout(output.try_clone()?).stderr(output);
        let java = java.process_group(0).spawn().context("java")?;
        let watchdog = Command::new("sh")
            .args(["-c", WATCHDOG, &java.id().to_string()])
            .arg(&self.dir)
            .stdin(Stdio::piped())
            .process_group(0)
            .spawn()
            .context("sh")?;
        self.running = Some(Running { java, watchdog, started_before });
        Ok(())
    }

    /// Returns when a launched process takes requests.
    pub fn await_started(&mut self) -> anyhow::Result<()> {
        let log = self.log();
        let running = self.running.as_mut().context("the broker is not running")?;
        let start = Instant::now();
        while count_started(&log) == running.started_before {
            let ended = running.java.try_wait()?;
            if ended.is_some() || start.elapsed() > START_MAX {
                let said = fs::read_to_string(&log).unwrap_or_default();
                let from = said.lines().count().saturating_sub(30);
                let tail: Vec<_> = said.lines().skip(from).collect();
                self.signal(Signal::Kill)?;
                bail!("the broker did not start; it said:\n{}", tail.join("\n"));
            }
            std::thread::sleep(Duration::from_millis(20));
        }
        Ok(())
    }

    /// Sends a signal; for those that end the process, returns when it has ended.
    pub fn signal(&mut self, signal: Signal) -> anyhow::Result<()> {
        let running = self.running.as_mut().context("the broker is not running")?;
        send(running.java.id(), signal)?;
        if matches!(signal, Signal::Pause | Signal::Resume) {
            return Ok(());
        }
        let start = Instant::now();
        while running.java.try_wait()?.is_none() {
            if start.elapsed() > STOP_MAX {
                running.java.kill()?;
            }
            std::thread::sleep(Duration::from_millis(5));
        }
        if let Some(running) = self.running.take() {
            dismiss(running.watchdog);
        }
        Ok(())
    }

    /// Leaves the process running when we end.
    pub fn detach(mut self) {
        self.detached = true;
        if let Some(running) = self.running.take() {
            dismiss(running.watchdog);
        }
    }

    /// Writes what makes the data directory a part of a cluster.
    fn format(&self, cluster: &str) -> anyhow::Result<()> {
        let mut java = self.java(&["kafka.tools.StorageTool", "format", "-t", cluster, "-c"]);
        let output = java.arg(self.properties()).output().context("java")?;
        if !output.status.success() {
            bail!("the data directory could not be formatted: {}", String::from_utf8_lossy(&output.stderr));
        }
        Ok(())
    }

    fn java(&self, args: &[&str]) -> Command {
        let mut java = Command::new("java");
        java.args(["-Xms128m", "-Xmx512m", "-XX:+UseG1GC", "-Djava.awt.headless=true"])
            .arg("-Dorg.slf4j.simpleLogger.defaultLogLevel=warn")
            .arg("-Dorg.slf4j.simpleLogger.log.kafka.server.KafkaRaftServer=info")
            .arg("-cp")
            .arg(self.jars.join("*"))
            .args(args)
            .current_dir(&self.dir);
        java
    }

    fn log(&self) -> PathBuf {
        self.dir.join("broker.log")
    }

    fn properties(&self) -> PathBuf {
        self.dir.join("server.properties")
    }
}

impl Drop for Broker {
    fn drop(&mut self) {
        if self.detached {
            return;
        }
        if self.running.is_some()
            && let Err(error) = self.signal(Signal::Kill)
        {
            eprintln!("the broker could not be stopped: {error:#}");
        }
        if let Err(error) = fs::remove_dir_all(&self.dir) {
            eprintln!("cannot remove {}: {error}", self.dir.display());
        }
    }
}

/// Tells the watchdog that there is nothing to watch any more.
fn dismiss(mut watchdog: Child) {
    if let Some(mut pipe) = watchdog.stdin.take() {
        // It may have ended already; then there is nothing to tell.
        let _ = pipe.write_all(b"done\n");
    }
    let _ = watchdog.wait();
}

/// Whether the process of a detached broker is there.
pub fn is_running(pid: u32) -> bool {
    shell_kill("0", pid).unwrap_or(false)
}

/// Stops a broker that was detached, and returns when it has ended.
pub fn stop_detached(pid: u32) -> anyhow::Result<()> {
    let start = Instant::now();
    let mut signal = Signal::Term;
    while is_running(pid) {
        send(pid, signal)?;
        if start.elapsed() > STOP_MAX {
            signal = Signal::Kill;
        }
        std::thread::sleep(Duration::from_millis(200));
    }
    Ok(())
}

fn send(pid: u32, signal: Signal) -> anyhow::Result<()> {
    // It may have ended by itself in between: then whoever waits for that sees it.
    shell_kill(signal.name(), pid).map(drop)
}

fn shell_kill(signal: &str, pid: u32) -> anyhow::Result<bool> {
    let mut kill = Command::new("sh");
    kill.args(["-c", r#"kill -"$0" "$1" 2>/dev/null"#, signal, &pid.to_string()]);
    Ok(kill.status().context("sh")?.success())
}

fn count_started(log: &Path) -> usize {
    let said = fs::read(log).unwrap_or_default();
    String::from_utf8_lossy(&said).lines().filter(|line| line.contains(STARTED)).count()
}

/// Free ports below the range that the system gives to clients: a client that keeps trying to reach a dead broker would
/// otherwise, sooner or later, be given the broker's own port and connect to itself.
pub fn free_ports<const COUNT: usize>() -> anyhow::Result<[u16; COUNT]> {
    let mut held = Vec::new();
    for _ in 0..1_000 {
        let port = 20_000 + (random() % 12_000) as u16;
        if let Ok(listener) = TcpListener::bind(("127.0.0.1", port)) {
            held.push((port, listener));
        }
        if held.len() == COUNT {
            return Ok(std::array::from_fn(|i| held[i].0));
        }
    }
    bail!("no {COUNT} free ports were found")
}

/// 22 letters that Kafka reads as 128 bits.
pub fn cluster_id() -> String {
    let letter = |_| char::from(b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdef"[(random() % 32) as usize]);
    (0..21).map(letter).chain(['A']).collect()
}

/// The standard library's source of random hash keys; good enough for names and ports.
fn random() -> u64 {
    RandomState::new().hash_one(0)
}

/// Rules of rights, and everybody may do what none is about.
const RIGHTS: &str = "\
authorizer.class.name=org.apache.kafka.metadata.authorizer.StandardAuthorizer
allow.everyone.if.no.acl.found=true
";

/// The properties of a node. With three nodes or more every topic is on three of them and a write on two at least.
///
/// On a node that is alone rights are those of everybody until somebody makes a rule for a resource; then what the rules of that
/// resource do not allow is denied. The node talks to itself as the same nobody as clients, so a rule for the cluster itself
/// would lock it out: tests make rules for their own topics only. Several nodes have no rules: their controllers would refuse
/// each other's votes, because rules are not known before one of them is elected.
fn properties(dir: &Path, node: &Node) -> String {
    let Node { id, port, controller_ports, proxied } = node;
    let voters: Vec<String> =
        (1..).zip(controller_ports).map(|(id, port)| format!("{id}@127.0.0.1:{port}")).collect();
    let controller_port = controller_ports[id - 1];
    // By default a leader that is dead is replaced after 9 s, by when one that was killed has mostly come back and leads on.
    let (replicas, in_sync, dead_ms) =
        if controller_ports.len() >= 3 { (3, 2, 3_000) } else { (1, 1, 9_000) };
    let rights = if controller_ports.len() == 1 { RIGHTS } else { "" };
    let each = |form: &dyn Fn(usize, &Proxied) -> String| -> String {
        proxied.iter().enumerate().map(|(i, listener)| form(i, listener)).collect()
    };
    let (dir, voters) = (dir.display(), voters.join(","));
    let listeners = each(&|i, proxied| format!(",PROXIED{i}://127.0.0.1:{}", proxied.port));
    let advertised = each(&|i, proxied| format!(",PROXIED{i}://127.0.0.1:{}", proxied.proxy_port));
    let protocols = each(&|i, _| format!(",PROXIED{i}:PLAINTEXT"));
    format!(
        "\
process.roles=broker,controller
node.id={id}
controller.quorum.voters={voters}
controller.listener.names=CONTROLLER
inter.broker.listener.name=PLAINTEXT
listeners=PLAINTEXT://127.0.0.1:{port},CONTROLLER://127.0.0.1:{controller_port}{listeners}
advertised.listeners=PLAINTEXT://127.0.0.1:{port}{advertised}
listener.security.protocol.map=PLAINTEXT:PLAINTEXT,CONTROLLER:PLAINTEXT{protocols}
log.dirs={dir}/data
auto.create.topics.enable=false
broker.heartbeat.interval.ms=500
broker.session.timeout.ms={dead_ms}
default.replication.factor={replicas}
min.insync.replicas={in_sync}
offsets.topic.num.partitions=1
offsets.topic.replication.factor={replicas}
transaction.state.log.num.partitions=1
transaction.state.log.replication.factor={replicas}
transaction.state.log.min.isr={in_sync}
share.coordinator.state.topic.replication.factor={replicas}
share.coordinator.state.topic.min.isr={in_sync}
transaction.abort.timed.out.transaction.cleanup.interval.ms=500
group.initial.rebalance.delay.ms=0
log.index.size.max.bytes=1048576
log.segment.delete.delay.ms=1000
log.cleaner.dedupe.buffer.size=8388608
num.network.threads=2
num.io.threads=4
controlled.shutdown.enable=true
{rights}"
    )
}

/// What stands after it is not a part of every node.
const SET: &str = "# set while running\n";

fn with_property(text: &str, property: &str) -> String {
    let own = text.split(SET).next().unwrap_or_default();
    format!("{own}{SET}{property}\n")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_property_that_is_set_takes_the_place_of_the_one_before() {
        let once = with_property("a=1\n", "b=2");
        assert!(once.starts_with("a=1\n") && once.ends_with("\nb=2\n"), "{once}");
        let twice = with_property(&once, "");
        assert!(twice.starts_with("a=1\n") && !twice.contains("b=2"), "{twice}");
    }

    #[test]
    fn ports_differ_and_cluster_ids_are_read_as_128_bits() {
        let [first, second, third] = free_ports().expect("some are free");
        assert!(first != second && second != third && third != first);
        let id = cluster_id();
        assert_eq!(id.len(), 22);
        assert_ne!(id, cluster_id());
    }

    #[test]
    fn a_node_of_three_replicates_and_tells_proxied_clients_the_proxy() {
        let proxied = vec![Proxied { port: 7, proxy_port: 8 }];
        let node = Node { id: 2, port: 5, controller_ports: vec![1, 2, 3], proxied };
        let text = properties(Path::new("/d"), &node);
        for line in [
            "node.id=2",
            "controller.quorum.voters=1@127.0.0.1:1,2@127.0.0.1:2,3@127.0.0.1:3",
            "listeners=PLAINTEXT://127.0.0.1:5,CONTROLLER://127.0.0.1:2,PROXIED0://127.0.0.1:7",
            "advertised.listeners=PLAINTEXT://127.0.0.1:5,PROXIED0://127.0.0.1:8",
            "default.replication.factor=3",
            "min.insync.replicas=2",
            "broker.session.timeout.ms=3000",
        ] {
            assert!(text.lines().any(|found| found == line), "{line} is missing in\n{text}");
        }
        let alone = Node { id: 1, port: 5, controller_ports: vec![1], proxied: Vec::new() };
        let alone = properties(Path::new("/d"), &alone);
        assert!(alone.contains("\nmin.insync.replicas=1\n"), "{alone}");
        assert!(alone.contains("\nauthorizer.class.name=") && !text.contains("authorizer"), "{alone}");
    }

    #[test]
    fn a_watchdog_kills_when_its_pipe_closes_and_not_when_it_is_dismissed() {
        let sleeper =
            || Command::new("sleep").arg("600").process_group(0).spawn().expect("sleep can be started");
        let watch = |pid: u32| {
            let mut command = Command::new("sh");
            command.args(["-c", WATCHDOG, &pid.to_string(), "/nonexistent/bkes"]).stdin(Stdio::piped());
            command.spawn().expect("sh can be started")
        };
        let mut killed = sleeper();
        let mut watchdog = watch(killed.id());
        drop(watchdog.stdin.take());
        assert!(!killed.wait().expect("it ends").success());
        watchdog.wait().expect("it ends too");

        let mut kept = sleeper();
        dismiss(watch(kept.id()));
        assert!(kept.try_wait().expect("it is ours").is_none());
        kept.kill().expect("it is there");
        kept.wait().expect("it ends");
    }
}
