//! JSON, written field by field: one object on one line.
//!
//! Whatever is not plain on a terminal is escaped in strings, which changes nothing for who reads the JSON.

use crate::escape::is_plain;
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use std::fmt::Display;
use std::io::Write;

/// An object that is being written.
pub struct Object<'a> {
    out: &'a mut Vec<u8>,
    is_first: bool,
}

impl<'a> Object<'a> {
    /// Begins an object.
    pub fn begin(out: &'a mut Vec<u8>) -> Object<'a> {
        out.push(b'{');
        Object { out, is_first: true }
    }

    /// A field whose value, which is JSON, is written by the caller.
    pub fn field(&mut self, name: &str) -> &mut Vec<u8> {
        if !self.is_first {
            self.out.push(b',');
        }
        self.is_first = false;
        write_string(self.out, name);
        self.out.push(b':');
        self.out
    }

    /// A number, or `true` or `false`.
    pub fn plain(&mut self, name: &str, value: impl Display) {
        write!(self.field(name), "{value}").expect("writing to a vector cannot fail");
    }

    /// A number that may be missing: then the field is left out.
    pub fn optional(&mut self, name: &str, value: Option<impl Display>) {
        if let Some(value) = value {
            self.plain(name, value);
        }
    }

    /// Text.
    pub fn text(&mut self, name: &str, value: &str) {
        write_string(self.field(name), value);
    }

    /// Bytes: as a string if they are UTF-8, or else in Base64 under the name with `_base64` after it. `null` if there are none.
    pub fn bytes(&mut self, name: &str, value: Option<&[u8]>) {
        match value.map(|bytes| (bytes, std::str::from_utf8(bytes))) {
            None => self.field(name).extend(b"null"),
            Some((_, Ok(text))) => self.text(name, text),
            Some((bytes, Err(_))) => self.text(&format!("{name}_base64"), &STANDARD.encode(bytes)),
        }
    }

    /// Numbers.
    pub fn list<T: Display>(&mut self, name: &str, values: impl IntoIterator<Item = T>) {
        let texts: Vec<_> = values.into_iter().map(|value| value.to_string()).collect();
        self.plain(name, format_args!("[{}]", texts.join(",")));
    }

    /// Objects, each with what `write` puts into it.
    pub fn list_of<'i, T: 'i>(
        &mut self,
        name: &str,
        items: impl IntoIterator<Item = &'i T>,
        mut write: impl FnMut(&mut Object<'_>, &'i T),
    ) {
        let out = self.field(name);
        out.push(b'[');
        for (index, item) in items.into_iter().enumerate() {
            if index > 0 {
                out.push(b',');
            }
            let mut object = Object::begin(out);
            write(&mut object, item);
            object.end();
        }
        out.push(b']');
    }

    /// Ends it.
    pub fn end(self) {
        self.out.push(b'}');
    }
}

/// Writes text as a JSON string.
pub fn write_string(out: &mut Vec<u8>, text: &str) {
    out.push(b'"');
    for c in text.chars() {
        match c {
            '"' => out.extend(b"\\\""),
            '\\' => out.extend(b"\\\\"),
            '\n' => out.extend(b"\\n"),
            '\r' => out.extend(b"\\r"),
            '\t' => out.extend(b"\\t"),
            _ if is_plain(c) => out.extend(c.encode_utf8(&mut [0; 4]).as_bytes()),
            _ => {
                for unit in c.encode_utf16(&mut [0; 2]) {
                    write!(out, "\\u{unit:04x}").expect("writing to a vector cannot fail");
                }
            }
        }
    }
    out.push(b'"');
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn any_text_comes_back_and_has_nothing_that_a_terminal_obeys() {
        for c in (0..=0x10_ffff).filter_map(char::from_u32) {
            let text = format!("a{c}\"\\");
            let mut out = Vec::new();
            write_string(&mut out, &text);
            let written = String::from_utf8(out).expect("JSON is UTF-8");
            assert!(written.chars().all(is_plain), "{written:?}");
            assert_eq!(serde_json::from_str::<String>(&written).expect("it is JSON"), text);
        }
    }

    #[test]
    fn bytes_are_text_base64_or_null() {
        let mut out = Vec::new();
        let mut object = Object::begin(&mut out);
        object.bytes("a", Some(b"x"));
        object.bytes("b", Some(b"\xff"));
        object.bytes("c", None);
        object.bytes("d", Some(b""));
        object.list("e", [1, 2]);
        object.optional("f", None::<u8>);
        object.list_of("g", &[1, 2], |object, item| object.plain("n", item));
        object.list_of("h", &[0; 0], |object, item| object.plain("n", item));
        object.end();
        assert_eq!(
            out,
            br#"{"a":"x","b_base64":"/w==","c":null,"d":"","e":[1,2],"g":[{"n":1},{"n":2}],"h":[]}"#
        );
    }
}
