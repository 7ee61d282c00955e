//! `cargo xtask`: the project's chores, one file each.

#![forbid(unsafe_code)]

mod ci;
mod codegen;
mod pictures;
mod tidy;

use clap::Parser;

/// The project's chores.
#[derive(Debug, Parser)]
#[command(name = "cargo xtask")]
enum Task {
    /// Everything that must hold before a change is good
    Ci(ci::CiArgs),
    /// Generate Rust from proto/
    Codegen,
    /// Draw the pictures of docs/pictures from their text
    Pictures,
    /// Check the rules that the compiler does not
    Tidy,
}

fn main() -> anyhow::Result<()> {
    match Task::parse() {
        Task::Ci(args) => ci::run(args),
        Task::Codegen => codegen::run(),
        Task::Pictures => pictures::run(),
        Task::Tidy => tidy::run(),
    }
}
