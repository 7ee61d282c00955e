//! `bkes context`: names for servers.

use crate::address::{Environment, with_port};
use crate::console::Console;
use crate::contexts::Contexts;
use crate::escape;
use crate::exit::Ended;
use crate::json_writer::Object;
use crate::show::{Shape, ShapeArgs};

const EXAMPLES: &str = "Examples:
  bkes context set test bkes.test:50030
  bkes context use test
  bkes context list
  bkes --context live status";

/// Name servers, and choose one
#[derive(Clone, Debug, clap::Subcommand)]
#[command(after_help = EXAMPLES)]
pub enum ContextVerb {
    /// List the contexts; the one in use has a star
    List {
        /// How to show them.
        #[command(flatten)]
        shape: ShapeArgs,
    },
    /// Use a context from now on
    Use {
        /// Its name
        name: String,
    },
    /// Name a server; the first one is in use at once
    Set {
        /// Its name
        name: String,
        /// The server, HOST:PORT
        address: String,
    },
    /// Forget a context
    Remove {
        /// Its name
        name: String,
    },
}

/// Reads or changes the file of contexts.
pub fn run(verb: &ContextVerb, environment: &Environment, console: &mut Console<'_>) -> Result<(), Ended> {
    let mut contexts = Contexts::load(&environment.contexts_path()?)?;
    match verb {
        ContextVerb::List { shape } => return list(&contexts, *shape, console),
        ContextVerb::Use { name } => contexts.switch_to(name)?,
        ContextVerb::Set { name, address } => {
            if name.is_empty() {
                return Err(Ended::usage("a context needs a name"));
            }
            contexts.set(name, &with_port(address)?);
        }
        ContextVerb::Remove { name } => contexts.remove(name)?,
    }
    contexts.save()
}

fn list(contexts: &Contexts, shape: ShapeArgs, console: &mut Console<'_>) -> Result<(), Ended> {
    let shape = shape.on(console);
    for name in contexts.without_server() {
        console.say(format_args!("bkes: context {name:?} has no server: bkes context remove forgets it"));
    }
    for (name, server) in contexts.list() {
        let is_current = contexts.current() == Some(name);
        if shape == Shape::Table {
            let star = if is_current { '*' } else { ' ' };
            console.line(format_args!("{star} {:<20} {}", escape::text(name), escape::text(server)))?;
            continue;
        }
        let mut line = Vec::new();
        let mut object = Object::begin(&mut line);
        object.text("name", name);
        object.text("server", server);
        object.plain("current", is_current);
        object.end();
        line.push(b'\n');
        console.write(&line)?;
    }
    Ok(())
}
