//! Damage to the file of a store while no server runs.

use super::{Client, Server};
use bkes_grpc::api::error::Outcome;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

const KEYS: usize = 200;

/// The store's file.
fn store_file(data: &Path) -> PathBuf {
    let folder = data.join("bkes").join("store");
    let files = std::fs::read_dir(&folder).expect("the store's folder").flatten();
    let mut files: Vec<_> =
        files.map(|entry| (entry.metadata().map_or(0, |m| m.len()), entry.path())).collect();
    files.sort();
    files.pop().expect("it has a file").1
}

/// Fills a store, damages its file in several ways, and each time a server that starts on it shows everything.
pub async fn is_survived(data: &Path, serve: impl AsyncFn() -> (Server, Client)) {
    let (server, mut client) = serve().await;
    for n in 0..KEYS {
        client.start(&format!("key-{n}"), &format!("value-{n}")).await.expect("it is new");
    }
    let (status, _) = server.terminate().await;
    assert!(status.success(), "{status}");
    let file = store_file(data);
    let whole = std::fs::read(&file).expect("it is readable");
    type Damage = Box<dyn Fn(&mut Vec<u8>)>;
    let damages: [(&str, Damage); 4] = [
        (
            "garbage in the middle",
            Box::new(|bytes| {
                let middle = bytes.len() / 3;
                bytes[middle..].iter_mut().take(65_536).for_each(|byte| *byte = 0xa5);
            }),
        ),
        ("no header", Box::new(|bytes| bytes[..512].fill(0))),
        ("cut short", Box::new(|bytes| bytes.truncate(bytes.len() / 2))),
        ("empty", Box::new(|bytes| bytes.clear())),
    ];
    for (what, damage) in damages {
        let mut bytes = whole.clone();
        damage(&mut bytes);
        std::fs::write(&file, bytes).expect("it is writable");
        let (server, mut client) = serve().await;
        for n in 0..KEYS {
            let key = format!("key-{n}");
            // Damage that shows only when it is read is answered as unavailable until the rebuild is through.
            let until = Instant::now() + Duration::from_secs(60);
            let values = loop {
                match client.retrieve(&key).await {
                    Ok(records) => break records,
                    Err(error) if error.outcome() == Outcome::Unavailable && Instant::now() < until => {
                        tokio::time::sleep(Duration::from_millis(10)).await;
                    }
                    Err(error) => panic!("{what}: {key}: {error:?}\n{}", server.log()),
                }
            };
            assert_eq!(values.len(), 1, "{what}: {key}");
            assert_eq!(values[0].value, format!("value-{n}").as_bytes(), "{what}: {key}");
        }
        let (status, _) = server.terminate().await;
        assert!(status.success(), "{what}: {status}");
    }
}
