//! What a verb reads from and writes to: data on the output, talk on the error stream.

use crate::byte_argument::ByteArgument;
use crate::escape;
use crate::exit::{Code, Ended};
use crate::interrupt::Interrupt;
use crate::limits::VALUE_BYTES_MAX;
use bkes_api::Key;
use bytes::Bytes;
use std::fmt::Display;
use std::fs::File;
use std::io::{BufRead, Read, Write};

/// How output may look.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Looks {
    /// The input is a terminal: somebody can be asked.
    pub input_is_terminal: bool,
    /// The output is a terminal.
    pub output_is_terminal: bool,
    /// The error stream is a terminal.
    pub talk_is_terminal: bool,
    /// Characters in a row of the terminal, if the output is one.
    pub width: Option<usize>,
    /// Tables on the output are coloured.
    pub has_colors: bool,
    /// Errors are coloured.
    pub talk_has_colors: bool,
}

/// The streams of a run.
pub struct Console<'a> {
    input: &'a mut dyn BufRead,
    input_is_taken: bool,
    output: &'a mut dyn Write,
    talk: &'a mut dyn Write,
    /// How output may look.
    pub looks: Looks,
    /// Where Ctrl-C is told.
    pub interrupt: Interrupt,
    /// What the commands of an advice begin with: the program, and the server it was told.
    pub program: String,
}

impl<'a> Console<'a> {
    /// Of these streams.
    pub fn new(
        input: &'a mut dyn BufRead,
        output: &'a mut dyn Write,
        talk: &'a mut dyn Write,
        looks: Looks,
    ) -> Console<'a> {
        let (interrupt, program) = (Interrupt::new(), "bkes".to_owned());
        Console { input, input_is_taken: false, output, talk, looks, interrupt, program }
    }

    /// Writes data.
    pub fn write(&mut self, bytes: &[u8]) -> Result<(), Ended> {
        self.output.write_all(bytes).map_err(Ended::output)
    }

    /// Writes a line of data.
    pub fn line(&mut self, text: impl Display) -> Result<(), Ended> {
        writeln!(self.output, "{text}").map_err(Ended::output)
    }

    /// Hands on what was written.
    pub fn flush(&mut self) -> Result<(), Ended> {
        self.output.flush().map_err(Ended::output)
    }

    /// Says something to who sits there. Whatever a terminal would obey is escaped.
    pub fn say(&mut self, words: impl Display) {
        // Where the error stream cannot be written, there is no other to say so on.
        drop(writeln!(self.talk, "{}", escape::text(&words.to_string())));
    }

    /// Says why the run ends.
    pub fn say_end(&mut self, ended: &Ended) {
        let Ended::With { message, advice, .. } = ended else { return };
        let (red, plain) = if self.looks.talk_has_colors { ("\x1b[1;31m", "\x1b[0m") } else { ("", "") };
        drop(writeln!(self.talk, "{red}bkes:{plain} {}", escape::text(message)));
        for line in advice {
            self.say(format_args!("  {line}"));
        }
    }

    /// Standard input, for who reads it whole. Once.
    pub fn take_input(&mut self) -> Result<&mut dyn BufRead, Ended> {
        if self.input_is_taken {
            return Err(Ended::usage("standard input can be read once: only one - may be given"));
        }
        self.input_is_taken = true;
        Ok(self.input)
    }

    /// The bytes that an argument means.
    pub fn bytes(&mut self, argument: &ByteArgument) -> Result<Bytes, Ended> {
        match argument {
            ByteArgument::Bytes(bytes) => Ok(bytes.clone()),
            ByteArgument::File(path) => {
                let mut file = File::open(path).map_err(|error| Ended::file(path, error))?;
                let name = path.display().to_string();
                read_whole(&mut file, &name, VALUE_BYTES_MAX)
            }
            ByteArgument::StandardInput => {
                read_whole(&mut self.take_input()?, "standard input", VALUE_BYTES_MAX)
            }
        }
    }

    /// The key that an argument means.
    pub fn key(&mut self, argument: &ByteArgument) -> Result<Key, Ended> {
        Key::new(self.bytes(argument)?).ok_or_else(|| Ended::usage("a key has at least one byte"))
    }
}

fn read_whole(input: &mut dyn Read, name: &str, bytes_max: u64) -> Result<Bytes, Ended> {
    let mut bytes = Vec::new();
    let read = input.take(bytes_max + 1).read_to_end(&mut bytes);
    read.map_err(|error| Ended::new(Code::InputOutput, format_args!("{name}: {error}")))?;
    if bytes.len() as u64 > bytes_max {
        return Err(Ended::new(Code::InputOutput, format_args!("{name}: larger than {bytes_max} bytes")));
    }
    Ok(bytes.into())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn standard_input_is_read_whole_and_once() {
        let mut input = &b"a\n\0b\n"[..];
        let (mut output, mut talk) = (Vec::new(), Vec::new());
        let mut console = Console::new(&mut input, &mut output, &mut talk, Looks::default());
        assert_eq!(console.bytes(&ByteArgument::StandardInput), Ok(Bytes::from("a\n\0b\n")));
        let again = console.bytes(&ByteArgument::StandardInput).expect_err("it is gone");
        assert!(matches!(again, Ended::With { code: Code::Usage, .. }));
    }

    #[test]
    fn a_file_is_read_to_the_last_byte_and_a_missing_one_is_named() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("value");
        std::fs::write(&path, b"v\n\xff").expect("it is ours");
        let (mut input, mut output, mut talk) = (&b""[..], Vec::new(), Vec::new());
        let mut console = Console::new(&mut input, &mut output, &mut talk, Looks::default());
        assert_eq!(console.bytes(&ByteArgument::File(path)), Ok(Bytes::from_static(b"v\n\xff")));
        let missing =
            console.bytes(&ByteArgument::File(folder.path().join("none"))).expect_err("it is not there");
        let Ended::With { code: Code::InputOutput, message, .. } = missing else { panic!("{missing:?}") };
        assert!(message.contains("none"), "{message}");
        assert!(read_whole(&mut std::io::repeat(0), "x", 10).is_err());
        assert_eq!(read_whole(&mut &b"0123456789"[..], "x", 10), Ok(Bytes::from("0123456789")));
    }

    #[test]
    fn what_is_said_has_nothing_that_a_terminal_obeys() {
        let (mut input, mut output, mut talk) = (&b""[..], Vec::new(), Vec::new());
        let mut console = Console::new(&mut input, &mut output, &mut talk, Looks::default());
        console.say("\x1b[2J");
        console.say_end(&Ended::usage("a\x07").advise("b\r"));
        assert_eq!(String::from_utf8_lossy(&talk), "\\u{1b}[2J\nbkes: a\\u{7}\n  b\\r\n");
    }
}
