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
pub fn run(args: &CompletionsArgs, command: Command, console: &mut Console<'_>) -> Result<(), Ended> {
    console.write(&script(args.shell, &command))
}

fn script(shell: Shell, command: &Command) -> Vec<u8> {
    // Hidden verbs would be offered as well.
    let verbs = command.get_subcommands().filter(|verb| !verb.is_hide_set()).cloned();
    let about = command.get_about().cloned().unwrap_or_default();
    let arguments = command.get_arguments().cloned();
    let mut shown = Command::new("bkes").about(about).version(env!("CARGO_PKG_VERSION"));
    shown = shown.args(arguments).subcommands(verbs);
    let mut script = Vec::new();
    clap_complete::generate(shell, &mut shown, "bkes", &mut script);
    script
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::arguments::Arguments;
    use clap::CommandFactory;

    #[test]
    fn hidden_verbs_are_not_offered_and_all_others_are() {
        let command = Arguments::command();
        for shell in [Shell::Bash, Shell::Zsh, Shell::Fish, Shell::Elvish, Shell::PowerShell] {
            let script = String::from_utf8(script(shell, &command)).expect("it is text");
            for verb in command.get_subcommands() {
                let is_offered = script.contains(verb.get_name());
                assert_eq!(is_offered, !verb.is_hide_set(), "{shell}: {}", verb.get_name());
            }
            assert!(script.contains("server") && script.contains("from-beginning"), "{shell}");
        }
    }
}
