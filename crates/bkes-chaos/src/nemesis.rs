//! Whoever makes the faults happen: one task for each group of them, each with its own random numbers, one fault at a time
//! and healed before the next. When a task has ended, what it broke is whole again.

use crate::disk::{self, SmallDisk};
use crate::faults::{Diary, Fault, Plan};
use crate::foreign::Foreign;
use crate::instance::Instance;
use crate::proxy::{Direction, Proxy, Trouble};
use crate::topic;
use anyhow::{Context, bail};
use fastrand::Rng;
use std::io::{Read, Write};
use std::net::TcpStream;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

/// Everything that faults are done to.
pub struct Arena {
    /// The instances.
    pub instances: Arc<Vec<Instance>>,
    /// The place of the instance that has a small disk, and the disk; an error says why none has.
    pub disk: Result<(usize, SmallDisk), String>,
    /// The proxies before brokers.
    pub ways: Vec<Proxy>,
    /// Where nodes are controlled.
    pub control: String,
    /// How many nodes there are.
    pub nodes: usize,
    /// Others who write.
    pub foreign: Foreign,
    /// What happened.
    pub diary: Diary,
    /// Whether it is time to end.
    pub stop: AtomicBool,
}

impl Arena {
    fn goes_on(&self) -> bool {
        !self.stop.load(Ordering::Acquire)
    }
}

/// A pause of this many milliseconds.
async fn pause(random: &mut Rng, range: std::ops::Range<u64>) {
    tokio::time::sleep(Duration::from_millis(random.u64(range))).await;
}

/// Does the faults of a group until told to stop.
pub async fn run(arena: Arc<Arena>, group: &'static [Fault], mut random: Rng) {
    let mut plan = Plan::new(group);
    pause(&mut random, 200..1_500).await;
    while arena.goes_on() {
        let fault = plan.next(&mut random);
        arena.diary.write(format_args!("{fault} begins"));
        let done = match group {
            _ if Fault::INSTANCES.contains(&fault) => instance(&arena, fault, &mut random).await,
            _ if Fault::LEADERS.contains(&fault) => node(&arena, fault, &mut random).await,
            _ if Fault::CONNECTIONS.contains(&fault) => connections(&arena, fault, &mut random).await,
            _ => foreign(&arena, fault, &mut random),
        };
        match done {
            Ok(true) => arena.diary.count(fault),
            Ok(false) => {}
            // Others may fail while brokers are away; instances and nodes must do what they are told.
            Err(error) if group == Fault::FOREIGN => arena.diary.write(format_args!("{fault}: {error:#}")),
            Err(error) => arena.diary.found(format_args!("{fault}: {error:#}")),
        }
        arena.diary.write(format_args!("{fault} has ended"));
        pause(&mut random, 300..1_500).await;
    }
}

/// Something happens to an instance; whether it did.
async fn instance(arena: &Arena, fault: Fault, random: &mut Rng) -> anyhow::Result<bool> {
    let place = random.usize(..arena.instances.len());
    let (instance, folder) = (&arena.instances[place], arena.instances[place].store());
    instance.is_as_expected()?;
    match fault {
        Fault::InstancePaused => {
            instance.pause()?;
            pause(random, 100..8_000).await;
            instance.resume()?;
        }
        Fault::InstanceStopped => {
            tokio::task::block_in_place(|| instance.stop())?;
            pause(random, 0..500).await;
            instance.run()?;
        }
        Fault::DiskFull => {
            let Ok((place, disk)) = &arena.disk else { return Ok(false) };
            let taken = tokio::task::block_in_place(|| disk.fill())?;
            arena.diary.write(format_args!("{taken} bytes taken on {}", arena.instances[*place].id));
            pause(random, 1_000..5_000).await;
            disk.free()?;
            if arena.instances[*place].run_with_room_again()? {
                arena.diary.write("it would not start without room and was started again");
            }
        }
        _ => {
            instance.kill()?;
            let did = match fault {
                Fault::StoreDeleted => disk::delete(&folder)?,
                Fault::StoreFlipped => disk::flip(&folder, random)?,
                Fault::StoreTruncated => disk::truncate(&folder, random)?,
                _ => true,
            };
            pause(random, 0..2_000).await;
            instance.run()?;
            return Ok(did);
        }
    }
    Ok(true)
}

/// Something happens to a node: to the leader, when there are others to follow.
async fn node(arena: &Arena, fault: Fault, random: &mut Rng) -> anyhow::Result<bool> {
    let (brokers, name) = (&arena.foreign.brokers, &arena.foreign.topic);
    let partition = random.u32(..arena.foreign.partitions.get());
    let number = match arena.nodes {
        1 => 1,
        nodes => {
            let leader = tokio::task::block_in_place(|| topic::leader(brokers, name, partition));
            leader.unwrap_or_else(|_| random.usize(1..=nodes))
        }
    };
    arena.diary.write(format_args!("it is node {number}"));
    let say = |word, number| tokio::task::block_in_place(|| command(&arena.control, word, number));
    let followers = || (1..=arena.nodes).filter(|other| *other != number);
    let mut happened = true;
    match fault {
        Fault::LeaderLost => {
            followers().try_for_each(|follower| say("pause", follower))?;
            pause(random, 100..1_500).await;
            say("kill", number)?;
            followers().try_for_each(|follower| say("resume", follower))?;
            let successor =
                tokio::task::block_in_place(|| topic::successor(brokers, name, partition, number));
            match successor {
                Some(node) => arena.diary.write(format_args!("node {node} leads now")),
                None => {
                    arena.diary.write("nobody else took the lead");
                    happened = false;
                }
            }
        }
        Fault::NodeKilled => say("kill", number)?,
        Fault::NodePaused => say("pause", number)?,
        _ => say("stop", number)?,
    }
    // A leader that is gone is replaced after three seconds; one that is lost was waited for until it was.
    pause(random, if fault == Fault::LeaderLost { 200..2_000 } else { 200..6_000 }).await;
    say(if fault == Fault::NodePaused { "resume" } else { "start" }, number)?;
    // Some time in which work gets done: of a single node, nobody takes the place.
    pause(random, if arena.nodes == 1 { 4_000..9_000 } else { 1_000..4_000 }).await;
    Ok(happened)
}

/// Something happens to connections.
async fn connections(arena: &Arena, fault: Fault, random: &mut Rng) -> anyhow::Result<bool> {
    let is_client = matches!(fault, Fault::ClientDelayed | Fault::ClientCut | Fault::ClientHalfClosed);
    let proxy = if is_client {
        &arena.instances[random.usize(..arena.instances.len())].proxy
    } else {
        &arena.ways[random.usize(..arena.ways.len())]
    };
    let direction = if random.bool() { Direction::In } else { Direction::Out };
    proxy.set(match fault {
        Fault::BrokerDelayed | Fault::ClientDelayed => {
            Trouble::Delay(Duration::from_millis(random.u64(5..300)))
        }
        Fault::BrokerCut | Fault::ClientCut => Trouble::Cut,
        Fault::BrokerHeld => Trouble::Hold,
        _ => Trouble::HalfClose(direction),
    });
    pause(random, 200..5_000).await;
    proxy.set(Trouble::None);
    Ok(true)
}

/// Others do something to the topic.
fn foreign(arena: &Arena, fault: Fault, random: &mut Rng) -> anyhow::Result<bool> {
    let open = Duration::from_millis(random.u64(..2_500));
    tokio::task::block_in_place(|| match fault {
        Fault::ForeignWritten => arena.foreign.plain(random),
        Fault::ForeignCommitted => arena.foreign.transaction(true, open, random),
        _ => arena.foreign.transaction(false, open, random),
    })?;
    Ok(true)
}

/// Has something done to a node; returns when it is done.
fn command(control: &str, word: &str, node: usize) -> anyhow::Result<()> {
    let mut stream = TcpStream::connect(control).context("the control of the nodes")?;
    writeln!(stream, "{word} {node}")?;
    let mut said = String::new();
    stream.read_to_string(&mut said)?;
    match said.trim() {
        "ok" => Ok(()),
        other => bail!("{word} node {node}: {other}"),
    }
}
