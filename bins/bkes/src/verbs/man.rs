//! `bkes man`: manual pages, one for each verb.

use crate::exit::Ended;
use clap::Command;
use clap_mangen::Man;
use std::fs;
use std::path::{Path, PathBuf};

const EXAMPLES: &str = "Examples:
  bkes man ~/.local/share/man/man1";

/// Write the manual pages
#[derive(Clone, Debug, clap::Args)]
#[command(after_help = EXAMPLES)]
pub struct ManArgs {
    /// The folder to write them to; it is made if it is missing
    pub folder: PathBuf,
}

/// Writes those of the program's command.
pub fn run(args: &ManArgs, command: Command) -> Result<(), Ended> {
    let failed = |error| Ended::file(&args.folder, error);
    fs::create_dir_all(&args.folder).map_err(failed)?;
    let mut command = command.disable_help_subcommand(true);
    command.build();
    write(&command, "bkes", &args.folder)
}

/// Writes the page of a command and those of its subcommands.
fn write(command: &Command, name: &str, folder: &Path) -> Result<(), Ended> {
    let path = folder.join(format!("{name}.1"));
    let mut page = Vec::new();
    let named = command.clone().display_name(name.to_owned());
    Man::new(named).render(&mut page).map_err(|error| Ended::file(&path, error))?;
    fs::write(&path, page).map_err(|error| Ended::file(&path, error))?;
    for verb in command.get_subcommands().filter(|verb| !verb.is_hide_set()) {
        write(verb, &format!("{name}-{}", verb.get_name()), folder)?;
    }
    Ok(())
}
