//! One node or several that make one cluster.

use super::broker::{Broker, Node, Proxied, Signal, cluster_id, free_ports};
use anyhow::{Context, bail};
use std::path::PathBuf;

/// Nodes of one cluster, all running when it is made. Dropping it kills them and removes their data.
pub struct Cluster {
    nodes: Vec<Broker>,
    /// Of each node, the listeners behind proxies.
    proxied: Vec<Vec<Proxied>>,
}

/// More than this would say nothing new.
const NODES_MAX: usize = 3;

/// Ways in through proxies, of each node.
const PROXIED: usize = 2;

impl Cluster {
    /// A new, empty cluster of so many nodes.
    pub fn start(count: usize) -> anyhow::Result<Cluster> {
        if count == 0 || count > NODES_MAX {
            bail!("a cluster has 1 to {NODES_MAX} nodes, not {count}");
        }
        let ports: [u16; NODES_MAX * (2 + 2 * PROXIED)] = free_ports()?;
        let mut ports = ports.into_iter();
        let mut next = move || ports.next().context("there are as many ports as a cluster may need");
        let controller_ports = (0..count).map(|_| next()).collect::<anyhow::Result<Vec<_>>>()?;
        let id = cluster_id();
        let dir = super::cache().join(format!("run-{}", std::process::id()));
        let (mut nodes, mut all_proxied) = (Vec::new(), Vec::new());
        for number in 1..=count {
            let proxied = (0..PROXIED).map(|_| anyhow::Ok(Proxied { port: next()?, proxy_port: next()? }));
            let proxied = proxied.collect::<anyhow::Result<Vec<_>>>()?;
            all_proxied.push(proxied.clone());
            let controller_ports = controller_ports.clone();
            let node = Node { id: number, port: next()?, controller_ports, proxied };
            nodes.push(Broker::new(&dir.with_extension(number.to_string()), &node, &id)?);
        }
        let mut cluster = Cluster { nodes, proxied: all_proxied };
        cluster.nodes.iter_mut().try_for_each(Broker::launch)?;
        cluster.nodes.iter_mut().try_for_each(Broker::await_started)?;
        Ok(cluster)
    }

    /// What clients take as bootstrap servers; the same after restarts.
    pub fn address(&self) -> String {
        self.nodes.iter().map(Broker::address).collect::<Vec<_>>().join(",")
    }

    /// Where the partitions of the first node lie, each in a folder named for topic and number.
    pub fn data(&self) -> PathBuf {
        self.nodes[0].data()
    }

    /// The ways in through proxies: for each way the listener of every node.
    pub fn ways(&self) -> Vec<Vec<Proxied>> {
        (0..PROXIED).map(|way| self.proxied.iter().map(|of_node| of_node[way]).collect()).collect()
    }

    /// Restarts the first node with one more property, such as `connections.max.idle.ms=2000`, in place of the one before; an empty
    /// one takes that away.
    pub fn set(&mut self, property: &str) -> anyhow::Result<()> {
        let node = self.nodes.first_mut().context("there is a node")?;
        node.set(property)
    }

    /// Does to node `number`, from 1, what a word says: `kill`, `stop`, `start`, `pause`, `resume`.
    pub fn act(&mut self, word: &str, number: usize) -> anyhow::Result<()> {
        let node = number.checked_sub(1).and_then(|place| self.nodes.get_mut(place));
        let node = node.with_context(|| format!("there is no node {number}"))?;
        match word {
            "kill" => node.signal(Signal::Kill),
            "stop" => node.signal(Signal::Term),
            "pause" => node.signal(Signal::Pause),
            "resume" => node.signal(Signal::Resume),
            "start" => node.restart(),
            _ => bail!("unknown word {word:?}: kill, stop, start, pause, resume"),
        }
    }
}
