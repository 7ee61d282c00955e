//! `bkes completions`: what a shell needs to complete arguments.

use crate::console::Console;
use crate::exit::Ended;
use clap::Command;
use clap_complete::Shell;

const EXAMPLES: &str = "Examples:
  bkes completions bash > ~/.local/share/bash-completion/completions/bkes
  bkes completions zsh > ~/.zfunc/_bkes
  bkes completions fish > ~/.config/fish/completions/bkes.fish";

/// Write the completions of a shell
#[derive(Clone, Debug, clap::Args)]
#[command(after_help = EXAMPLES)]
pub struct CompletionsArgs {
    /// The shell
    #[arg(value_enum)]
    pub shell: Shell,
}

/// Writes those of the program's command.
pub fn run(args: &CompletionsArgs, mut command: Command, console: &mut Console<'_>) -> Result<(), Ended> {
    let mut script = Vec::new();
    clap_complete::generate(args.shell, &mut command, "bkes", &mut script);
    console.write(&script)
}
