//! The program as another process.

use std::process::{Command, Stdio};

/// What the program looks at in its environment.
const LOOKED_AT: [&str; 8] = [
    "BKES_SERVER",
    "BKES_CONTEXT_FILE",
    "XDG_CONFIG_HOME",
    "HOME",
    "NO_COLOR",
    "KAFKA_PROPERTIES",
    "KAFKA_BROKERS",
    "KAFKA_TOPIC",
];

/// The program with these words, without anything of this machine's environment that it looks at.
pub fn program(words: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_bkes"));
    command.args(words).stdin(Stdio::null());
    LOOKED_AT.iter().for_each(|name| {
        command.env_remove(name);
    });
    command
}
