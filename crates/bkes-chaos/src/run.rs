//! One run, from the empty topic to the verdict.

use crate::RunArgs;
use crate::calls::Recorder;
use crate::disk::{self, SmallDisk};
use crate::ending::{self, READY_MAX};
use crate::faults::{Diary, Fault};
use crate::follower::{self, Follower};
use crate::foreign::Foreign;
use crate::instance::{Instance, Kind, Start};
use crate::load::{Client, Scene};
use crate::memory::Peak;
use crate::nemesis::{self, Arena};
use crate::proxy::Proxy;
use crate::store_client::{Common, StoreClient};
use crate::stream_client::StreamClient;
use crate::summary::{self, Ended};
use crate::topic;
use anyhow::Context;
use bkes_check::{Call, Content, ContentOf, History, InstanceId, LogRecord};
use bkes_core::{Key, Partition, Position};
use bkes_foreign::Cluster;
use fastrand::Rng;
use std::collections::BTreeSet;
use std::fs;
use std::net::TcpListener;
use std::num::NonZeroU32;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};
use tokio::sync::watch;
use tokio::task::JoinHandle;

/// Partitions of the topic on one node.
const PARTITIONS: NonZeroU32 = NonZeroU32::new(4).expect("not zero");

/// With several nodes one leads everything. With more partitions clients would soon all wait for those led by frozen followers,
/// and a leader that is lost would have next to nothing that the others do not have.
fn partitions(args: &RunArgs) -> NonZeroU32 {
    if args.nodes() > 1 { NonZeroU32::MIN } else { PARTITIONS }
}

/// The data directory that lies on a small disk.
const SMALL: &str = "instance-1";

/// The client that appends by streams.
const STREAM_CLIENT: u32 = 3;

/// The numbers of followers begin here, above those of clients.
const FOLLOWERS: u32 = 100;

/// Load goes on this long after the last fault: appends must succeed again.
const CALM: Duration = Duration::from_secs(4);

/// Runs faults under load and checks; whether nothing was found.
pub async fn run(args: RunArgs) -> anyhow::Result<bool> {
    let seed = args.seed.unwrap_or_else(|| fastrand::u64(..));
    println!("seed {seed}, {} s of faults, nodes: {}", args.seconds, args.nodes());
    let mut random = Rng::with_seed(seed);
    let arena = arena(&args).await?;
    let recorder = Arc::new(Recorder::default());

    let load = Load::begin(&args, &arena, &recorder, &mut random)?;
    let nemeses = Fault::groups(args.nodes())
        .map(|group| tokio::spawn(nemesis::run(Arc::clone(&arena), group, random.fork())));
    tokio::time::sleep(Duration::from_secs(args.seconds)).await;

    arena.stop.store(true, Ordering::Release);
    for nemesis in nemeses {
        nemesis.await.context("a task of faults does not panic")?;
    }
    arena.diary.write("the faults have ended");
    heal(&arena).await?;
    arena.diary.write("nothing of the faults is left");
    tokio::time::sleep(CALM).await;
    let (common, followers) = load.end().await?;
    let mut slowest = Duration::ZERO;
    for instance in arena.instances.iter() {
        match ending::appends(instance, &recorder).await {
            Ok(after) => slowest = slowest.max(after),
            Err(error) => arena.diary.found(format_args!("{error:#}")),
        }
    }
    let calls = recorder.take();
    let at = recorder.elapsed().as_secs_f64();
    println!(
        "{at:.0} s: {} calls, all instances append after {slowest:.1?}; reading everything",
        calls.len()
    );

    let (mut history, ready_after, rebuilt) = finish(&args, &arena, calls, &followers.ends).await?;
    history.follows = followers.end(&arena.diary).await?;
    let memory = arena.instances.iter().map(Instance::memory).chain([rebuilt]).collect();
    let began = Instant::now();
    let violations = bkes_check::check(&history);
    let checked_in = began.elapsed();
    for instance in arena.instances.iter() {
        let said = instance.said();
        // redb panics on a garbage page of a store whose bytes were flipped. That is caught, said, and the store rebuilt.
        let is_ours = |line: &&str| line.contains("panicked at") && !line.contains("/redb-");
        for line in said.lines().filter(is_ours) {
            arena.diary.found(format_args!("{}: {line}", instance.id));
        }
    }
    let passed = summary::print(
        &args,
        &arena,
        Ended { history, violations, ready_after, checked_in, memory, coverage: common.coverage },
    )?;
    drop(arena);
    if passed {
        fs::remove_dir_all(&args.folder).with_context(|| args.folder.display().to_string())?;
    }
    Ok(passed)
}

/// Clients and followers at work.
struct Load {
    stop: Arc<AtomicBool>,
    clients: Vec<JoinHandle<()>>,
    common: Common,
    followers: Followers,
}

/// Followers at work, who end where the topic does when that is known.
struct Followers {
    tasks: Vec<JoinHandle<(bkes_check::Follower, anyhow::Result<()>)>>,
    ends: watch::Sender<Option<Vec<(Partition, Position)>>>,
}

impl Load {
    /// Two in four clients speak the first contract.
    fn begin(
        args: &RunArgs,
        arena: &Arena,
        recorder: &Arc<Recorder>,
        random: &mut Rng,
    ) -> anyhow::Result<Load> {
        let (stop, common) = (Arc::new(AtomicBool::new(false)), Common::default());
        let scene = Scene {
            recorder: Arc::clone(recorder),
            instances: Arc::clone(&arena.instances),
            keys: Arc::clone(&arena.foreign.keys),
        };
        let mut clients = Vec::new();
        for number in 0..args.clients {
            let (random, scene, stop) = (random.fork(), scene.clone(), Arc::clone(&stop));
            clients.push(match number % 4 {
                0 | 1 => tokio::spawn(Client::new(number, random, scene).run(stop)),
                _ if number == STREAM_CLIENT => {
                    tokio::spawn(StreamClient::new(number, random, scene, common.clone())?.run(stop))
                }
                _ => tokio::spawn(StoreClient::new(number, random, scene, common.clone())?.run(stop)),
            });
        }
        let (ends, known) = watch::channel(None);
        let mut tasks = Vec::new();
        for (number, followed) in (FOLLOWERS..).zip(follower::followed()) {
            let shared = (scene.clone(), common.clone());
            let follower = Follower::new(number, random.fork(), shared, followed)?;
            tasks.push(tokio::spawn(follower.run(known.clone(), READY_MAX)));
        }
        Ok(Load { stop, clients, common, followers: Followers { tasks, ends } })
    }

    /// Clients end their last calls; followers go on.
    async fn end(self) -> anyhow::Result<(Common, Followers)> {
        self.stop.store(true, Ordering::Release);
        for client in self.clients {
            client.await.context("a client does not panic")?;
        }
        Ok((self.common, self.followers))
    }
}

impl Followers {
    /// What each was shown. One that has not come to the end is a finding.
    async fn end(self, diary: &Diary) -> anyhow::Result<Vec<bkes_check::Follower>> {
        let mut follows = Vec::new();
        for follower in self.tasks {
            let (shown, came) = follower.await.context("a follower does not panic")?;
            follows.push(shown);
            if let Err(error) = came {
                diary.found(format_args!("{error:#}"));
            }
        }
        Ok(follows)
    }
}

/// The topic, the proxies, the instances, all running.
async fn arena(args: &RunArgs) -> anyhow::Result<Arc<Arena>> {
    if args.folder.exists() {
        disk::unmount_left(&args.folder.join(SMALL));
        fs::remove_dir_all(&args.folder)?;
    }
    fs::create_dir_all(&args.folder)?;
    let folder = args.folder.canonicalize()?;
    let replicas = if args.nodes() >= 3 { 3 } else { 1 };
    let in_sync = if args.nodes() >= 3 { "2" } else { "1" };
    let topic = "chaos".to_owned();
    let settings = [("retention.ms", "-1"), ("min.insync.replicas", in_sync)];
    Cluster::new(&args.brokers).create_topic(&topic, partitions(args).get(), replicas, &settings).await?;
    let (mut ways, mut brokers) = (Vec::new(), vec![args.brokers.clone()]);
    for way in &args.ways {
        let mut addresses = Vec::new();
        for pair in way.split(',') {
            let (proxy_port, port) = pair.split_once(':').context("a way is PROXY-PORT:PORT")?;
            ways.push(Proxy::start(proxy_port.parse()?, port.parse()?).await?);
            addresses.push(format!("127.0.0.1:{proxy_port}"));
        }
        brokers.push(addresses.join(","));
    }
    let disk =
        SmallDisk::mount(&folder.join(SMALL)).map(|disk| (1, disk)).map_err(|error| format!("{error:#}"));
    let mut instances = Vec::new();
    // Each with its way to the nodes; the first goes straight.
    let kinds = [(Kind::Server, 0), (Kind::Server, 1), (Kind::Server, 2), (Kind::Worker, 1)];
    for (number, (kind, way)) in (0..).zip(kinds) {
        let brokers = brokers.get(way).context("there are two ways through proxies")?.clone();
        let data = folder.join(format!("instance-{number}"));
        let (server, topic, port) = (args.server.clone(), topic.clone(), free_port()?);
        let start = Start { kind, server, brokers, topic, data, port };
        instances.push(Instance::new(InstanceId(number), start).await?);
    }
    for instance in &instances {
        instance.run()?;
    }
    let foreign =
        Foreign { brokers: args.brokers.clone(), topic, partitions: partitions(args), keys: Arc::default() };
    let arena = Arena {
        instances: Arc::new(instances),
        disk,
        ways,
        control: args.control.clone(),
        nodes: args.nodes(),
        foreign,
        diary: Diary::new(&folder.join("diary.txt"))?,
        stop: AtomicBool::new(false),
    };
    Ok(Arc::new(arena))
}

/// A free port below the range that the system gives to clients: a client that keeps trying to reach an instance that is down
/// would otherwise, sooner or later, be given the instance's own port and connect to itself.
fn free_port() -> anyhow::Result<u16> {
    let ports = std::iter::repeat_with(|| fastrand::u16(20_000..32_000)).take(1_000);
    let free = |port: &u16| TcpListener::bind(("127.0.0.1", *port)).is_ok();
    ports.into_iter().find(free).context("no free port was found")
}

/// What faults may have left behind is put right; that everything then works again is for BKES to show.
async fn heal(arena: &Arena) -> anyhow::Result<()> {
    if let Ok((_, disk)) = &arena.disk {
        disk.free()?;
    }
    let began = Instant::now();
    while let Err(error) = tokio::task::block_in_place(|| arena.foreign.end_transactions()) {
        anyhow::ensure!(began.elapsed() < READY_MAX, "foreign transactions cannot be ended: {error:#}");
    }
    Ok(())
}

/// Waits for everyone and reads everything: the history, how long the slowest instance took to be ready, and the memory of the
/// one that was built from nothing.
async fn finish(
    args: &RunArgs,
    arena: &Arena,
    calls: Vec<Call>,
    ends: &watch::Sender<Option<Vec<(Partition, Position)>>>,
) -> anyhow::Result<(History, Duration, Peak)> {
    let diary = &arena.diary;
    let sentinels = tokio::task::block_in_place(|| arena.foreign.sentinels())?;
    let topic = &arena.foreign.topic;
    let log = tokio::task::block_in_place(|| topic::read(&args.brokers, topic, partitions(args).get()))?;
    // Each partition ends with its sentinel.
    let is_sentinel = |record: &&LogRecord| record.key.as_ref().is_some_and(|key| sentinels.contains(key));
    let last = log.iter().filter(is_sentinel).map(|record| (record.partition, record.offset.next()));
    ends.send_replace(Some(last.collect()));
    let keys = keys(&calls, &log);
    let mut contents = Vec::new();
    let mut slowest = Duration::ZERO;
    for instance in arena.instances.iter() {
        match ending::caught_up(instance, &sentinels).await {
            Ok(after) => slowest = slowest.max(after),
            Err(error) => diary.found(format_args!("{error:#}")),
        }
    }
    for instance in arena.instances.iter() {
        keep(ending::content(instance, ContentOf::Instance(instance.id), &keys).await, diary, &mut contents);
    }
    let instances = &arena.instances;
    tokio::task::block_in_place(|| {
        if let Err(error) = instances[0].stop() {
            diary.found(format_args!("{error:#}"));
        }
        instances[3].kill()
    })?;
    for instance in [&instances[0], &instances[3]] {
        instance.run()?;
        match ending::caught_up(instance, &sentinels).await {
            Ok(after) => slowest = slowest.max(after),
            Err(error) => diary.found(format_args!("{error:#}")),
        }
        keep(ending::content(instance, ContentOf::Resumed(instance.id), &keys).await, diary, &mut contents);
    }
    let rebuilt = rebuilt(args, arena).await?;
    match ending::caught_up(&rebuilt, &sentinels).await {
        Ok(after) => slowest = slowest.max(after),
        Err(error) => diary.found(format_args!("{error:#}")),
    }
    keep(ending::content(&rebuilt, ContentOf::Rebuilt, &keys).await, diary, &mut contents);
    let memory = Peak { instance: None, ..rebuilt.memory() };
    Ok((History { calls, log, contents, ..History::default() }, slowest, memory))
}

async fn rebuilt(args: &RunArgs, arena: &Arena) -> anyhow::Result<Instance> {
    let data = arena.instances[0].start.data.with_file_name("rebuilt");
    let start =
        Start { data, port: free_port()?, brokers: args.brokers.clone(), ..arena.instances[0].start.clone() };
    let instance = Instance::new(InstanceId(u32::MAX), start).await?;
    instance.run()?;
    Ok(instance)
}

fn keep(content: anyhow::Result<Content>, diary: &Diary, contents: &mut Vec<Content>) {
    match content {
        Ok(content) => contents.push(content),
        Err(error) => diary.found(format_args!("{error:#}")),
    }
}

/// Every key that anyone called about or that lies in the log.
fn keys(calls: &[Call], log: &[LogRecord]) -> BTreeSet<Key> {
    let in_log = log.iter().filter_map(|record| record.key.clone());
    calls.iter().map(|call| call.key.clone()).chain(in_log).collect()
}
