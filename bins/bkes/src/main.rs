//! The command line: arguments in, a verb run on the store of a server, and an exit code.

#![forbid(unsafe_code)]

mod address;
mod arguments;
mod byte_argument;
mod connect;
mod console;
mod contexts;
mod duration;
mod escape;
mod exit;
mod format;
mod freshness;
mod interrupt;
mod json_event;
mod json_lines;
mod json_object;
mod json_writer;
mod limits;
mod manual;
mod moment;
mod pauses;
mod positions;
mod progress;
mod reference;
mod show;
#[cfg(feature = "kafka")]
mod topic_args;
mod verbs;

#[cfg(test)]
mod tests;

use crate::address::Environment;
#[cfg(feature = "kafka")]
use crate::arguments::TopicVerb;
use crate::arguments::{Arguments, StoreVerb, Verb};
use crate::console::{Console, Looks};
use crate::exit::{Code, Ended};
use crate::interrupt::Interrupt;
use bkes_api::EventStore;
use clap::{CommandFactory, Parser};
use std::io::{self, BufWriter, IsTerminal};
use std::process::ExitCode;
use std::sync::Arc;

/// What a shell says of a process that Ctrl-C has ended.
const INTERRUPTED: i32 = 130;

fn main() -> ExitCode {
    // Ends the process itself where the usage is wrong, with code 2, and where help was asked for.
    let arguments = Arguments::parse();
    let environment = Environment::of(|name| std::env::var_os(name));
    let mut input = io::stdin().lock();
    let mut output = BufWriter::with_capacity(64 * 1024, io::stdout());
    let mut talk = io::stderr();
    let mut console = Console::new(&mut input, &mut output, &mut talk, looks(&arguments));
    console.program = arguments.server.program();
    let ended = run(&arguments, &environment, &mut console);
    let flushed = console.flush();
    match ended.and(flushed) {
        Ok(()) | Err(Ended::OutputClosed) => ExitCode::SUCCESS,
        Err(ended @ Ended::With { code, .. }) => {
            console.say_end(&ended);
            ExitCode::from(code as u8)
        }
    }
}

fn looks(arguments: &Arguments) -> Looks {
    let no_color = std::env::var_os("NO_COLOR").is_some_and(|value| !value.is_empty());
    let (output_is_terminal, talk_is_terminal) = (io::stdout().is_terminal(), io::stderr().is_terminal());
    let width = output_is_terminal.then(console_width).flatten();
    Looks {
        input_is_terminal: io::stdin().is_terminal(),
        output_is_terminal,
        talk_is_terminal,
        width,
        has_colors: arguments.color.is_on(output_is_terminal, no_color),
        talk_has_colors: arguments.color.is_on(talk_is_terminal, no_color),
    }
}

fn console_width() -> Option<usize> {
    terminal_size::terminal_size().map(|(terminal_size::Width(width), _)| usize::from(width))
}

fn run(arguments: &Arguments, environment: &Environment, console: &mut Console<'_>) -> Result<(), Ended> {
    match &arguments.verb {
        Verb::OnStore(verb) => {
            run_on_store(verb, &address::resolve(&arguments.server, environment)?, console)
        }
        #[cfg(feature = "kafka")]
        Verb::OnTopic(verb) => run_on_topic(verb, arguments, environment, console),
        Verb::Context(verb) => verbs::context::run(verb, environment, console),
        Verb::Completions(args) => verbs::completions::run(args, Arguments::command(), console),
        Verb::Man(args) => verbs::man::run(args, Arguments::command()),
        Verb::Reference => console.write(reference::page(Arguments::command()).as_bytes()),
    }
}

fn run_on_store(verb: &StoreVerb, address: &str, console: &mut Console<'_>) -> Result<(), Ended> {
    let interrupt = console.interrupt.clone();
    // Callers that are measured must not wait for each other more than the server has them wait.
    let is_measured = matches!(verb, StoreVerb::Bench(_));
    let workers = if is_measured { std::thread::available_parallelism().map_or(1, usize::from) } else { 1 };
    on_threads(workers, interrupt, async {
        let store = connect::connect(address)?;
        call(verb, &store, console).await
    })
}

#[cfg(feature = "kafka")]
fn run_on_topic(
    verb: &TopicVerb,
    arguments: &Arguments,
    environment: &Environment,
    console: &mut Console<'_>,
) -> Result<(), Ended> {
    let (topic, no_server) = match verb {
        TopicVerb::Verify(args) => (&args.topic, args.no_server),
        TopicVerb::Doctor(args) => (&args.topic, args.no_server),
    };
    let to_reach = topic.to_reach(std::env::vars_os().collect())?;
    let is_needed = no_server || matches!(verb, TopicVerb::Verify(_));
    if is_needed && to_reach.is_none() {
        return Err(Ended::usage(
            "--brokers, KAFKA_BROKERS, or a file with bootstrap.servers, says where the topic is",
        ));
    }
    let remarks = to_reach.iter().flat_map(|to_reach| &to_reach.remarks);
    remarks.for_each(|remark| console.say(format_args!("bkes: {remark}")));
    let address = (!no_server).then(|| address::resolve(&arguments.server, environment)).transpose()?;
    let interrupt = console.interrupt.clone();
    on_threads(1, interrupt, async {
        let store = address.as_deref().map(connect::connect).transpose()?;
        match (verb, to_reach) {
            (TopicVerb::Verify(args), Some(to_reach)) => {
                let log = topic_args::connect(to_reach.options).await?;
                verbs::verify::run(args, Arc::new(log), store, console).await
            }
            (TopicVerb::Verify(_), None) => unreachable!("it was refused"),
            (TopicVerb::Doctor(args), to_reach) => {
                let topic = match to_reach {
                    Some(to_reach) => Some(verbs::doctor::TopicSide::connect(to_reach).await?),
                    None => None,
                };
                let side = |(address, store)| verbs::doctor::ServerSide { address, store };
                verbs::doctor::run(args, topic, address.zip(store).map(side), console).await
            }
        }
    })
}

/// Runs what a verb does, and hears of Ctrl-C meanwhile.
fn on_threads(
    workers: usize,
    interrupt: Interrupt,
    verb: impl Future<Output = Result<(), Ended>>,
) -> Result<(), Ended> {
    // This thread may be held by a slow reader of its output; the connection must be served meanwhile.
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(workers).enable_all().build();
    let runtime =
        runtime.map_err(|error| Ended::new(Code::InputOutput, format_args!("no threads: {error}")))?;
    let ended = runtime.block_on(async {
        tokio::spawn(interrupts(interrupt));
        verb.await
    });
    // What a connection leaves behind must not hold the process.
    runtime.shutdown_background();
    ended
}

async fn call(verb: &StoreVerb, store: &Arc<dyn EventStore>, console: &mut Console<'_>) -> Result<(), Ended> {
    match verb {
        StoreVerb::Append(args) => verbs::append::run(args, &**store, console).await,
        StoreVerb::Read(args) => verbs::read::run(args, &**store, console).await,
        StoreVerb::Head(args) => verbs::head::run(args, &**store, console).await,
        StoreVerb::Keys(args) => verbs::keys::run(args, &**store, console).await,
        StoreVerb::Follow(args) => verbs::follow::run(args, &**store, console).await,
        StoreVerb::Wait(args) => verbs::wait::run(args, &**store).await,
        StoreVerb::Status(args) => verbs::status::run(args, &**store, console).await,
        StoreVerb::Export(args) => verbs::export::run(args, &**store, console).await,
        StoreVerb::Import(args) => verbs::import::run(args, store, console).await,
        StoreVerb::Bench(args) => verbs::bench::run(args, store, console).await,
    }
}

/// Tells the verb of Ctrl-C, and ends the process if it does not listen, or was told before.
async fn interrupts(interrupt: Interrupt) {
    while tokio::signal::ctrl_c().await.is_ok() {
        if !interrupt.tell() {
            std::process::exit(INTERRUPTED);
        }
    }
}
