//! Lines of JSON from a file or from standard input, one at a time, none longer than is held in memory.

use crate::exit::{Code, Ended};
use crate::json_event::{self, ExportLine, LineEvent};
use crate::limits::LINE_BYTES_MAX;
use std::fmt::Display;
use std::io::{BufRead, Read};

/// Where lines come from.
pub struct JsonLines<'a> {
    input: &'a mut dyn BufRead,
    /// What people know the input by.
    name: String,
    line: Vec<u8>,
    number: u64,
    bytes: u64,
    bytes_max: u64,
}

impl<'a> JsonLines<'a> {
    /// The lines of `input`, which people know by `name`.
    pub fn new(input: &'a mut dyn BufRead, name: impl Into<String>) -> JsonLines<'a> {
        JsonLines {
            input,
            name: name.into(),
            line: Vec::new(),
            number: 0,
            bytes: 0,
            bytes_max: LINE_BYTES_MAX,
        }
    }

    /// The event of the next line that is not blank; `None` after the last.
    pub fn next_event(&mut self) -> Result<Option<LineEvent>, Ended> {
        self.next(json_event::read)
    }

    /// The next line of an export, blank ones aside; `None` after the last.
    pub fn next_of_export(&mut self) -> Result<Option<ExportLine>, Ended> {
        self.next(json_event::read_of_export)
    }

    fn next<T>(&mut self, read_line: impl Fn(&[u8]) -> Result<T, String>) -> Result<Option<T>, Ended> {
        loop {
            self.line.clear();
            self.number += 1;
            let read = (&mut *self.input).take(self.bytes_max + 1).read_until(b'\n', &mut self.line);
            let read = read.map_err(|error| Ended::new(Code::InputOutput, self.place(error)))?;
            if read == 0 {
                return Ok(None);
            }
            self.bytes += read as u64;
            if read as u64 > self.bytes_max {
                let (error, bytes_max) = ("longer than", self.bytes_max);
                return Err(Ended::new(
                    Code::InputOutput,
                    self.place(format_args!("{error} {bytes_max} bytes")),
                ));
            }
            if !self.line.trim_ascii().is_empty() {
                return read_line(&self.line).map(Some).map_err(|error| self.wrong(error));
            }
        }
    }

    /// Bytes that were read so far.
    pub fn bytes(&self) -> u64 {
        self.bytes
    }

    /// That the last line is not what it should be.
    pub fn wrong(&self, error: impl Display) -> Ended {
        Ended::new(Code::InputOutput, self.place(error))
    }

    fn place(&self, error: impl Display) -> String {
        format!("{}, line {}: {error}", self.name, self.number)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn message(ended: Ended) -> String {
        match ended {
            Ended::With { code: Code::InputOutput, message, .. } => message,
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn blank_lines_are_skipped_and_counted_and_the_last_needs_no_end() {
        let mut input = &b"\n{\"value\":\"a\"}\r\n  \n{\"value\":\"b\"}"[..];
        let mut lines = JsonLines::new(&mut input, "events");
        for value in ["a", "b"] {
            let event = lines.next_event().expect("it is right").expect("there is one");
            assert_eq!(event.content.value.as_deref(), Some(value.as_bytes()));
        }
        assert_eq!(lines.next_event(), Ok(None));
        assert_eq!(lines.bytes(), 32);
        let mut input = &b"\n\n{\"value\":1}\n"[..];
        let error = JsonLines::new(&mut input, "events").next_event().expect_err("it is wrong");
        assert_eq!(message(error), "events, line 3: value: not a string");
    }

    #[test]
    fn a_line_that_is_cut_off_is_an_error_and_a_long_one_is_not_held() {
        let mut input = &b"{\"value\":\"a\"}\n{\"value\":\"b"[..];
        let mut lines = JsonLines::new(&mut input, "events");
        assert!(lines.next_event().is_ok());
        assert!(message(lines.next_event().expect_err("it is cut")).starts_with("events, line 2: not JSON"));

        let mut endless = std::io::BufReader::new(std::io::repeat(b'x'));
        let mut lines = JsonLines::new(&mut endless, "events");
        lines.bytes_max = 100;
        assert_eq!(
            message(lines.next_event().expect_err("it is long")),
            "events, line 1: longer than 100 bytes"
        );
        assert_eq!(lines.line.len(), 101);
    }
}
