//! A loopback address through which a program that we started does things to our nodes: a line per connection, a word and the
//! number of a node (1 when it is left out), answered with `ok` or with what went wrong. The word `set` takes a property of the first
//! node instead, or none.

use super::Cluster;
use std::io::{BufRead, BufReader, Write};
use std::net::{TcpListener, TcpStream};
use std::sync::{Arc, Mutex};

/// A cluster that can be controlled from outside. Dropping it ends the cluster.
pub struct Controlled {
    // The thread that answers holds the cluster too, and would outlive us: taking it out of there is what ends it.
    cluster: Arc<Mutex<Option<Cluster>>>,
    /// Where it takes words.
    pub address: String,
}

impl Controlled {
    /// Takes words for a cluster from now on. The thread that does ends with the process.
    pub fn new(cluster: Cluster) -> anyhow::Result<Controlled> {
        let listener = TcpListener::bind("127.0.0.1:0")?;
        let address = listener.local_addr()?.to_string();
        let cluster = Arc::new(Mutex::new(Some(cluster)));
        let held = Arc::clone(&cluster);
        std::thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                if let Err(error) = answer(stream, &held) {
                    eprintln!("broker control: {error:#}");
                }
            }
        });
        Ok(Controlled { cluster, address })
    }
}

impl Drop for Controlled {
    fn drop(&mut self) {
        drop(lock(&self.cluster).take());
    }
}

fn answer(stream: TcpStream, cluster: &Mutex<Option<Cluster>>) -> anyhow::Result<()> {
    let mut line = String::new();
    BufReader::new(&stream).read_line(&mut line)?;
    let reply = match lock(cluster).as_mut() {
        Some(cluster) => match line.trim().strip_prefix("set") {
            Some(property) => cluster.set(property.trim()),
            None => {
                let (word, number) = parse(&line);
                cluster.act(word, number)
            }
        },
        None => Err(anyhow::anyhow!("the cluster has ended")),
    };
    match reply {
        Ok(()) => writeln!(&stream, "ok")?,
        Err(error) => writeln!(&stream, "{}", format!("{error:#}").replace('\n', " "))?,
    }
    Ok(())
}

/// A word and a node; node 0, which is none, when the number is nonsense.
fn parse(line: &str) -> (&str, usize) {
    match line.trim().split_once(' ') {
        Some((word, number)) => (word, number.parse().unwrap_or(0)),
        None => (line.trim(), 1),
    }
}

/// Nothing is left half done by a panic here that the next word could trip over.
fn lock<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(std::sync::PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_is_a_word_and_a_node() {
        for (line, expected) in
            [("kill\n", ("kill", 1)), ("pause 3\n", ("pause", 3)), ("kill x", ("kill", 0))]
        {
            assert_eq!(parse(line), expected);
        }
    }
}
