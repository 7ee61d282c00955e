//! The format of `-f`: what kcat's has, and the order.

use crate::escape::{self, Escape};
use bkes_api::{Event, Header, Key};
use std::str::FromStr;

/// What `--help` says of it.
pub const TOKENS: &str = "The format of -f is as kcat's; nothing ends a line but \\n:
  %k key      %s value         %n order    %p partition  %o offset  %T timestamp in milliseconds, or -1
  %K bytes of the key          %S bytes of the value, or -1 of a tombstone
  %h headers, as NAME=VALUE,NAME=VALUE; NAME alone for a null value
  %% a percent sign            \\n \\r \\t \\\\ \\xHH a byte";

/// A format, read.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Format {
    parts: Vec<Part>,
    /// As it was typed.
    text: String,
}

#[derive(Clone, PartialEq, Eq, Debug)]
enum Part {
    Literal(Vec<u8>),
    Token(Token),
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Token {
    Key,
    Value,
    Order,
    Partition,
    Offset,
    Timestamp,
    Headers,
    KeyBytes,
    ValueBytes,
}

impl FromStr for Format {
    type Err = String;

    fn from_str(text: &str) -> Result<Format, String> {
        let mut parts = Vec::new();
        let mut literal = Vec::new();
        let mut chars = text.chars();
        while let Some(c) = chars.next() {
            match c {
                '%' => {
                    let Some(token) = token(chars.next())? else {
                        literal.push(b'%');
                        continue;
                    };
                    if !literal.is_empty() {
                        parts.push(Part::Literal(std::mem::take(&mut literal)));
                    }
                    parts.push(Part::Token(token));
                }
                '\\' => literal.push(escaped(&mut chars)?),
                _ => literal.extend(c.encode_utf8(&mut [0; 4]).as_bytes()),
            }
        }
        if !literal.is_empty() {
            parts.push(Part::Literal(literal));
        }
        Ok(Format { parts, text: text.to_owned() })
    }
}

/// The token of this letter; `None` is a percent sign.
fn token(letter: Option<char>) -> Result<Option<Token>, String> {
    Ok(Some(match letter {
        Some('k') => Token::Key,
        Some('s') => Token::Value,
        Some('n') => Token::Order,
        Some('p') => Token::Partition,
        Some('o') => Token::Offset,
        Some('T') => Token::Timestamp,
        Some('h') => Token::Headers,
        Some('K') => Token::KeyBytes,
        Some('S') => Token::ValueBytes,
        Some('%') => return Ok(None),
        Some(other) => return Err(format!("%{other} is not known; there are %k %s %n %p %o %T %h %K %S %%")),
        None => return Err("a % at the end; write %% for the sign".to_owned()),
    }))
}

/// The byte after a backslash.
fn escaped(chars: &mut std::str::Chars<'_>) -> Result<u8, String> {
    match chars.next() {
        Some('n') => Ok(b'\n'),
        Some('r') => Ok(b'\r'),
        Some('t') => Ok(b'\t'),
        Some('\\') => Ok(b'\\'),
        Some('x') => {
            let mut digit = || chars.next().and_then(|c| c.to_digit(16));
            let byte = digit().zip(digit()).and_then(|(high, low)| u8::try_from(high * 16 + low).ok());
            byte.ok_or_else(|| "\\x needs two hexadecimal digits".to_owned())
        }
        Some(other) => Err(format!("\\{other} is not known; there are \\n \\r \\t \\\\ \\xHH")),
        None => Err("a backslash at the end; write \\\\ for the sign".to_owned()),
    }
}

impl Format {
    /// As it was typed.
    pub fn text(&self) -> &str {
        &self.text
    }

    /// Writes an event so. What comes of the event is escaped if `escape` says how; the format's own bytes never are.
    pub fn write(&self, out: &mut Vec<u8>, key: &Key, event: &Event, escape: Option<Escape>) {
        let put = |out: &mut Vec<u8>, bytes: &[u8]| match escape {
            None => out.extend(bytes),
            Some(escape) => out.extend(escape::bytes(bytes, escape).into_bytes()),
        };
        for part in &self.parts {
            let token = match part {
                Part::Literal(bytes) => {
                    out.extend(bytes);
                    continue;
                }
                Part::Token(token) => token,
            };
            let number = match token {
                Token::Key => {
                    put(out, key.bytes());
                    continue;
                }
                Token::Value => {
                    put(out, event.value_bytes());
                    continue;
                }
                Token::Headers => {
                    put(out, &headers(&event.headers));
                    continue;
                }
                Token::Order => event.order.to_string(),
                Token::Partition => event.partition.to_string(),
                Token::Offset => event.offset.to_string(),
                Token::Timestamp => {
                    event.timestamp.map_or("-1".to_owned(), |timestamp| timestamp.to_string())
                }
                Token::KeyBytes => key.bytes().len().to_string(),
                Token::ValueBytes => {
                    event.value.as_ref().map_or("-1".to_owned(), |value| value.len().to_string())
                }
            };
            out.extend(number.into_bytes());
        }
    }
}

/// Headers, as `NAME=VALUE,NAME=VALUE`.
pub fn headers(headers: &[Header]) -> Vec<u8> {
    let one = |Header { name, value }: &Header| match value {
        Some(value) => [name, &b"="[..], value].concat(),
        None => name.to_vec(),
    };
    headers.iter().map(one).collect::<Vec<_>>().join(&b","[..])
}

#[cfg(test)]
mod tests {
    use super::*;
    use bkes_api::{Offset, Order, Origin, Partition, TimestampMs};
    use bytes::Bytes;

    fn event() -> Event {
        let header = |name: &'static str, value: Option<&'static str>| Header {
            name: Bytes::from(name),
            value: value.map(Bytes::from),
        };
        Event {
            order: Order(3),
            partition: Partition(1),
            offset: Offset(17),
            timestamp: Some(TimestampMs(5)),
            value: Some(Bytes::from("v\x1b[0m\n")),
            headers: vec![header("a", Some("1")), header("b", None), header("c", Some(""))],
            origin: Origin::Foreign,
        }
    }

    fn written(format: &str, event: &Event, escape: Option<Escape>) -> Vec<u8> {
        let mut out = Vec::new();
        let key = Key::new("k\x07").expect("not empty");
        format.parse::<Format>().expect("it is right").write(&mut out, &key, event, escape);
        out
    }

    #[test]
    fn every_token_and_escape_means_what_kcat_means() {
        let table: [(&str, &[u8]); 6] = [
            ("%n %p %o %T %K %S", b"3 1 17 5 2 6"),
            ("%k=%s", b"k\x07=v\x1b[0m\n"),
            ("%h", b"a=1,b,c="),
            ("100%%\\n\\r\\t\\\\\\x00\\xfF", b"100%\n\r\t\\\x00\xff"),
            ("\u{e9}%n\u{e9}", "\u{e9}3\u{e9}".as_bytes()),
            ("", b""),
        ];
        for (format, expected) in table {
            assert_eq!(written(format, &event(), None), expected, "{format}");
        }
        let tombstone = Event { value: None, timestamp: None, ..event() };
        assert_eq!(written("[%s] %S %T", &tombstone, None), b"[] -1 -1");
    }

    #[test]
    fn on_a_terminal_the_formats_own_bytes_stay_and_the_datas_are_escaped() {
        let shown = written("\\x1b[1m%k\\x1b[0m %s", &event(), Some(Escape::AllButLines));
        assert_eq!(shown, b"\x1b[1mk\\u{7}\x1b[0m v\\u{1b}[0m\n");
    }

    #[test]
    fn what_is_not_known_is_refused() {
        for format in ["%x", "%", "\\q", "\\", "\\x1", "\\xg0", "% k"] {
            assert!(format.parse::<Format>().is_err(), "{format}");
        }
    }
}
