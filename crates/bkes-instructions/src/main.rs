//! Runs one hot path a number of times, so that `cargo xtask bench --instructions` can have its instructions counted.
//!
//! `bkes-instructions list` prints each path with two counts; `bkes-instructions NAME COUNT` runs it. The counter runs it
//! with both counts: everything that is prepared is prepared for the larger one, so the difference is the work of the
//! operations alone. Nothing here is random and nothing waits for a clock, as far as the paths allow.
//!
//! Only what the crates show to everyone is called.

#![forbid(unsafe_code)]

mod engine;
mod rules;
mod store;

use anyhow::Context;

/// A hot path.
struct Path {
    /// Its name in the budget.
    name: &'static str,
    /// The two numbers of operations.
    counts: (u64, u64),
    /// Prepares for the second number, carries out the first.
    run: fn(u64, u64) -> anyhow::Result<()>,
}

const PATHS: &[Path] = &[
    Path { name: "decide-an-append", counts: (1_000, 11_000), run: rules::decide },
    Path { name: "apply-a-record", counts: (1_000, 11_000), run: rules::apply_single },
    Path { name: "apply-a-member-of-a-batch-of-10", counts: (1_000, 11_000), run: rules::apply_member },
    Path { name: "encode-a-marker", counts: (1_000, 11_000), run: rules::encode },
    Path { name: "classify-a-record", counts: (1_000, 11_000), run: rules::classify_records },
    Path { name: "place-a-key", counts: (1_000, 11_000), run: rules::place },
    Path { name: "store-an-event", counts: (20_000, 60_000), run: store::commit },
    Path { name: "look-up-a-count-in-the-store", counts: (1_000, 5_000), run: store::heads },
    Path { name: "read-10-events-from-the-store", counts: (500, 2_500), run: store::read },
    Path { name: "answer-with-a-page-of-1000-events", counts: (20, 120), run: store::page },
    Path { name: "catch-up-a-record", counts: (10_000, 50_000), run: engine::catch_up },
    Path { name: "append-through-the-engine", counts: (500, 2_500), run: engine::append },
    Path { name: "read-10-events-through-the-engine", counts: (500, 2_500), run: engine::read },
];

fn main() -> anyhow::Result<()> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    match &arguments[..] {
        [list] if list == "list" => {
            for Path { name, counts: (few, many), .. } in PATHS {
                println!("{name} {few} {many}");
            }
            Ok(())
        }
        [name, count] => {
            let path = PATHS.iter().find(|path| path.name == name).context("there is no such path")?;
            (path.run)(count.parse()?, path.counts.1)
        }
        _ => anyhow::bail!("list, or a name and a count"),
    }
}
