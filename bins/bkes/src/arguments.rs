//! The arguments: what every verb has, and which verbs there are.

use crate::address::ServerArgs;
use crate::manual;
use crate::verbs::append::AppendArgs;
use crate::verbs::bench::BenchArgs;
use crate::verbs::completions::CompletionsArgs;
use crate::verbs::context::ContextVerb;
use crate::verbs::export::ExportArgs;
use crate::verbs::follow::FollowArgs;
use crate::verbs::head::HeadArgs;
use crate::verbs::import::ImportArgs;
use crate::verbs::keys::KeysArgs;
use crate::verbs::man::ManArgs;
use crate::verbs::read::ReadArgs;
use crate::verbs::status::StatusArgs;
use crate::verbs::wait::WaitArgs;
#[cfg(feature = "kafka")]
use crate::verbs::{doctor::DoctorArgs, verify::VerifyArgs};
use clap::{Parser, Subcommand, ValueEnum};

/// Append to and read from an event store on a Kafka topic
#[derive(Debug, Parser)]
#[command(name = "bkes", version, after_long_help = manual::everywhere(), max_term_width = 100)]
pub struct Arguments {
    /// Which server.
    #[command(flatten)]
    pub server: ServerArgs,

    /// When to colour tables and errors: auto (on terminals, unless NO_COLOR is set), always or never
    #[arg(long, global = true, value_enum, value_name = "WHEN", default_value_t = Color::Auto, hide_possible_values = true)]
    #[arg(help_heading = "Options of every verb")]
    pub color: Color,

    /// What to do.
    #[command(subcommand)]
    pub verb: Verb,
}

/// When to colour.
#[derive(Clone, Copy, PartialEq, Eq, Debug, ValueEnum)]
pub enum Color {
    /// On terminals, unless NO_COLOR is set
    Auto,
    /// Always
    Always,
    /// Never
    Never,
}

impl Color {
    /// Whether to colour a stream. `no_color` is the variable of that name, which counts if it has content.
    pub fn is_on(self, is_terminal: bool, no_color: bool) -> bool {
        match self {
            Color::Auto => is_terminal && !no_color,
            Color::Always => true,
            Color::Never => false,
        }
    }
}

/// What to do.
#[derive(Debug, Subcommand)]
pub enum Verb {
    /// With a server.
    #[command(flatten)]
    OnStore(StoreVerb),
    /// With a topic, beside a server or alone.
    #[cfg(feature = "kafka")]
    #[command(flatten)]
    OnTopic(TopicVerb),
    #[command(subcommand)]
    Context(ContextVerb),
    Completions(CompletionsArgs),
    Man(ManArgs),
    /// Write docs/cli.md
    #[command(hide = true)]
    Reference,
}

/// What to do with a store.
#[derive(Debug, Subcommand)]
pub enum StoreVerb {
    Append(Box<AppendArgs>),
    Read(Box<ReadArgs>),
    Head(HeadArgs),
    Keys(KeysArgs),
    Follow(Box<FollowArgs>),
    Wait(WaitArgs),
    Status(StatusArgs),
    Export(ExportArgs),
    Import(ImportArgs),
    Bench(Box<BenchArgs>),
}

/// What to do with a topic.
#[cfg(feature = "kafka")]
#[derive(Debug, Subcommand)]
pub enum TopicVerb {
    Verify(Box<VerifyArgs>),
    Doctor(Box<DoctorArgs>),
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::CommandFactory;

    #[test]
    fn the_arguments_are_consistent() {
        Arguments::command().debug_assert();
    }

    #[test]
    fn color_is_for_terminals_unless_asked_for() {
        let table = [
            (Color::Auto, true, false, true),
            (Color::Auto, true, true, false),
            (Color::Auto, false, false, false),
            (Color::Always, false, true, true),
            (Color::Never, true, false, false),
        ];
        for (color, is_terminal, no_color, expected) in table {
            assert_eq!(color.is_on(is_terminal, no_color), expected, "{color:?} {is_terminal} {no_color}");
        }
    }
}
