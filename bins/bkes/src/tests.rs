//! The verbs on a store in memory: arguments, input and streams as a process has them, without a process and without a server.

mod append;
mod bench;
#[cfg(feature = "kafka")]
mod doctor;
mod export_import;
mod follow;
mod memory;
mod others;
mod read;
#[cfg(feature = "kafka")]
mod topics;
#[cfg(feature = "kafka")]
mod verify;

use self::memory::MemoryStore;
use crate::arguments::{Arguments, Verb};
use crate::console::{Console, Looks};
use crate::exit::{Code, Ended};
use bkes_api::EventStore;
use clap::Parser;
use std::io::{self, Write};
use std::sync::Arc;

/// A terminal of 100 columns without colours.
const TERMINAL: Looks = Looks {
    input_is_terminal: true,
    output_is_terminal: true,
    talk_is_terminal: true,
    width: Some(100),
    has_colors: false,
    talk_has_colors: false,
};

/// What a run came to.
#[derive(Debug)]
struct Ran {
    /// `None` is success.
    code: Option<Code>,
    output: Vec<u8>,
    /// What was said, the error with its advice at the end.
    talk: String,
}

impl Ran {
    fn text(&self) -> &str {
        std::str::from_utf8(&self.output).expect("it is text")
    }

    /// The lines of the output as JSON.
    fn json(&self) -> Vec<serde_json::Value> {
        self.text().lines().map(|line| serde_json::from_str(line).expect(line)).collect()
    }

    /// That it had no error.
    #[track_caller]
    fn done(self) -> Ran {
        assert_eq!(self.code, None, "{self:?}");
        self
    }
}

/// A run with its streams.
struct Run<'a> {
    words: &'a [&'a str],
    input: &'a [u8],
    looks: Looks,
}

impl<'a> Run<'a> {
    fn of(words: &'a [&'a str]) -> Run<'a> {
        Run { words, input: b"", looks: Looks::default() }
    }

    fn on_a_terminal(self) -> Run<'a> {
        Run { looks: TERMINAL, ..self }
    }

    fn with_input(self, input: &'a [u8]) -> Run<'a> {
        Run { input, ..self }
    }

    async fn on(self, store: &Arc<MemoryStore>) -> Ran {
        let mut output = Vec::new();
        let (ended, talk) = self.to(store, &mut output, |_| {}).await;
        let code = match ended {
            Ok(()) => None,
            Err(Ended::OutputClosed) => panic!("this output does not close"),
            Err(Ended::With { code, .. }) => Some(code),
        };
        Ran { code, output, talk }
    }

    /// With an output of the caller's, who sees the console before.
    async fn to(
        self,
        store: &Arc<MemoryStore>,
        output: &mut dyn Write,
        before: impl FnOnce(&Console<'_>),
    ) -> (Result<(), Ended>, String) {
        let words = std::iter::once(&"bkes").chain(self.words);
        let arguments = Arguments::try_parse_from(words).unwrap_or_else(|error| panic!("{error}"));
        let Verb::OnStore(verb) = &arguments.verb else { panic!("{:?} is for no store", arguments.verb) };
        let (mut input, mut talk) = (self.input, Vec::new());
        let mut console = Console::new(&mut input, output, &mut talk, self.looks);
        before(&console);
        let store: Arc<dyn EventStore> = Arc::<MemoryStore>::clone(store);
        let ended = crate::call(verb, &store, &mut console).await;
        if let Err(ended) = &ended {
            console.say_end(ended);
        }
        (ended, String::from_utf8(talk).expect("it is text"))
    }
}

/// An output that is closed after so many bytes.
struct Closing(usize);

impl Write for Closing {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        if self.0 == 0 {
            return Err(io::ErrorKind::BrokenPipe.into());
        }
        let taken = bytes.len().min(self.0);
        self.0 -= taken;
        Ok(taken)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// Whether a terminal obeys nothing of this but line feeds.
fn is_harmless(output: &[u8]) -> bool {
    let text = String::from_utf8(output.to_vec()).expect("a terminal gets text");
    text.chars().all(|c| c == '\n' || crate::escape::is_plain(c))
}
