//! Keys and values as they are typed, and bytes as they would have to be typed.

use crate::escape::is_plain;
use base64::Engine;
use base64::alphabet;
use base64::engine::{DecodePaddingMode, GeneralPurpose, GeneralPurposeConfig};
use bytes::Bytes;
use std::fmt::Write;
use std::path::PathBuf;
use std::str::FromStr;

/// What `--help` says of them.
pub const FORMS: &str = "Keys and values are written as
  WORDS          text, as it is
  text:WORDS     text that begins like one of the others
  hex:00FF       bytes by their digits
  base64:AP8=    bytes in Base64, with or without padding
  json:{\"a\":1}   text that is checked to be JSON, and kept as it is written
  @FILE          what a file holds, to the last byte
  -              what standard input holds, to the last byte; once";

const BASE64: GeneralPurpose = GeneralPurpose::new(
    &alphabet::STANDARD,
    GeneralPurposeConfig::new().with_decode_padding_mode(DecodePaddingMode::Indifferent),
);

/// Bytes, or where they are.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum ByteArgument {
    /// These.
    Bytes(Bytes),
    /// What a file holds.
    File(PathBuf),
    /// What standard input holds.
    StandardInput,
}

impl FromStr for ByteArgument {
    type Err = String;

    fn from_str(text: &str) -> Result<ByteArgument, String> {
        if text == "-" {
            return Ok(ByteArgument::StandardInput);
        }
        if let Some(path) = text.strip_prefix('@') {
            if path.is_empty() {
                return Err("@ needs the name of a file; write text:@ for the sign".to_owned());
            }
            return Ok(ByteArgument::File(path.into()));
        }
        let bytes = match text.split_once(':') {
            Some(("text", rest)) => Bytes::copy_from_slice(rest.as_bytes()),
            Some(("hex", digits)) => hex(digits)?,
            Some(("base64", rest)) => {
                BASE64.decode(rest).map_err(|error| format!("not Base64: {error}"))?.into()
            }
            Some(("json", json)) => {
                serde_json::from_str::<serde_json::Value>(json)
                    .map_err(|error| format!("not JSON: {error}"))?;
                Bytes::copy_from_slice(json.as_bytes())
            }
            _ => Bytes::copy_from_slice(text.as_bytes()),
        };
        Ok(ByteArgument::Bytes(bytes))
    }
}

/// A header as it is typed: `NAME=VALUE`, or `NAME` alone for a null value.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct HeaderArgument {
    /// Its name.
    pub name: Bytes,
    /// Its value, or where it is.
    pub value: Option<ByteArgument>,
}

impl FromStr for HeaderArgument {
    type Err = String;

    fn from_str(text: &str) -> Result<HeaderArgument, String> {
        let written_out = || "the name of a header is written out: text, text: or hex:".to_owned();
        // What these forms mean may have the sign at which a name ends.
        if text.starts_with("base64:") || text.starts_with("json:") {
            return Err(written_out());
        }
        let (name, value) = match text.split_once('=') {
            Some((name, value)) => (name, Some(value.parse()?)),
            None => (text, None),
        };
        match name.parse()? {
            ByteArgument::Bytes(name) => Ok(HeaderArgument { name, value }),
            _ => Err(written_out()),
        }
    }
}

fn hex(digits: &str) -> Result<Bytes, String> {
    let digit = |byte: u8| char::from(byte).to_digit(16).and_then(|value| u8::try_from(value).ok());
    let pair = |pair: &[u8]| match pair {
        [high, low] => Some(digit(*high)? << 4 | digit(*low)?),
        _ => None,
    };
    let bytes: Option<Vec<u8>> = digits.as_bytes().chunks(2).map(pair).collect();
    bytes.map(Bytes::from).ok_or_else(|| "not hexadecimal: two digits for each byte".to_owned())
}

/// Bytes as an argument that means them, in quotes where a shell needs them.
pub fn spelled(bytes: &[u8]) -> String {
    let text = std::str::from_utf8(bytes).ok().filter(|text| text.chars().all(is_plain));
    let Some(text) = text else {
        return bytes.iter().fold("hex:".to_owned(), |mut out, byte| {
            write!(out, "{byte:02x}").expect("writing to a string cannot fail");
            out
        });
    };
    let is_itself = text.parse() == Ok(ByteArgument::Bytes(Bytes::copy_from_slice(bytes)));
    // What begins with a dash would be taken for a flag.
    let prefix = if is_itself && !text.starts_with('-') { "" } else { "text:" };
    quoted(&format!("{prefix}{text}"))
}

/// A word of a command, in quotes where a shell needs them.
pub fn quoted(word: &str) -> String {
    let is_safe = |c: char| c.is_ascii_alphanumeric() || "_-./:,@+%=".contains(c);
    if !word.is_empty() && word.chars().all(is_safe) {
        return word.to_owned();
    }
    format!("'{}'", word.replace('\'', r"'\''"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn bytes(content: &[u8]) -> Option<ByteArgument> {
        Some(ByteArgument::Bytes(Bytes::copy_from_slice(content)))
    }

    #[test]
    fn arguments_mean_text_bytes_or_where_they_are() {
        let table = [
            ("account-7", bytes(b"account-7")),
            ("", bytes(b"")),
            ("text:hex:00", bytes(b"hex:00")),
            ("text:", bytes(b"")),
            ("text:-", bytes(b"-")),
            ("other:thing", bytes(b"other:thing")),
            ("HEX:00", bytes(b"HEX:00")),
            ("hex:00fFa1", bytes(b"\x00\xff\xa1")),
            ("hex:", bytes(b"")),
            ("hex:0", None),
            ("hex:0g", None),
            ("hex:+1", None),
            ("hex:\u{e9}", None),
            ("base64:AP8=", bytes(b"\x00\xff")),
            ("base64:AP8", bytes(b"\x00\xff")),
            ("base64:AP_=", None),
            ("json:{\"b\": 1, \"a\": 2}", bytes(b"{\"b\": 1, \"a\": 2}")),
            ("json:{", None),
            ("json:1 2", None),
            ("json:", None),
            ("@some/file", Some(ByteArgument::File("some/file".into()))),
            ("@", None),
            ("-", Some(ByteArgument::StandardInput)),
            ("--", bytes(b"--")),
        ];
        for (text, expected) in table {
            assert_eq!(text.parse().ok(), expected, "{text}");
        }
    }

    #[test]
    fn headers_have_a_value_or_null() {
        let header =
            |name: &'static [u8], value| Some(HeaderArgument { name: Bytes::from_static(name), value });
        let table = [
            ("trace=abc", header(b"trace", bytes(b"abc"))),
            ("trace=", header(b"trace", bytes(b""))),
            ("trace", header(b"trace", None)),
            ("a=b=c", header(b"a", bytes(b"b=c"))),
            ("hex:ff=hex:00", header(b"\xff", bytes(b"\x00"))),
            ("a=@f", header(b"a", Some(ByteArgument::File("f".into())))),
            ("=x", header(b"", bytes(b"x"))),
            ("@f=x", None),
            ("-=x", None),
            ("base64:YQ==v", None),
            ("base64:YQ===v", None),
            ("base64:YWFh", None),
            ("json:1=v", None),
            ("text:base64:YQ=v", header(b"base64:YQ", bytes(b"v"))),
        ];
        for (text, expected) in table {
            assert_eq!(text.parse().ok(), expected, "{text}");
        }
    }

    #[test]
    fn what_is_spelled_means_the_same_bytes() {
        let table: [(&[u8], &str); 9] = [
            (b"account-7", "account-7"),
            (b"it's", r"'it'\''s'"),
            (b"hex:00", "text:hex:00"),
            (b"@f", "text:@f"),
            (b"-", "text:-"),
            (b"-x", "text:-x"),
            (b"a b$c", "'a b$c'"),
            (b"\x1b[31m", "hex:1b5b33316d"),
            (b"\xff", "hex:ff"),
        ];
        for (given, expected) in table {
            assert_eq!(spelled(given), expected);
            let unquoted = spelled(given).replace(r"'\''", "\"").replace('\'', "").replace('"', "'");
            assert_eq!(unquoted.parse().ok(), bytes(given), "{unquoted}");
        }
    }
}
