//! Bytes of others as text that a terminal shows and does not obey.
//!
//! Control characters, which begin the sequences that move a cursor, name a window or answer for whoever sits there, are shown by their
//! numbers. So are characters that are not seen and change how others are: marks of writing direction, line separators, tags.

use std::fmt::Write;

/// What is escaped.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Escape {
    /// Everything that is not plain: what is shown stays on one line.
    All,
    /// Line feeds and tabs are kept.
    AllButLines,
}

/// Whether a terminal shows this character as itself and nothing else happens.
pub fn is_plain(c: char) -> bool {
    if c.is_ascii() {
        return !c.is_ascii_control();
    }
    let is_hidden = matches!(c,
        '\u{ad}' | '\u{61c}' | '\u{115f}' | '\u{1160}' | '\u{180e}' | '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}'
        | '\u{2060}'..='\u{206f}' | '\u{3164}' | '\u{feff}' | '\u{ffa0}' | '\u{fff9}'..='\u{fffb}' | '\u{1bca0}'..='\u{1bca3}'
        | '\u{1d173}'..='\u{1d17a}' | '\u{e0000}'..='\u{e0fff}');
    !c.is_control() && !is_hidden
}

/// Text on one line.
pub fn text(text: &str) -> String {
    bytes(text.as_bytes(), Escape::All)
}

/// Bytes as text; those that are no UTF-8 by their numbers.
pub fn bytes(bytes: &[u8], escape: Escape) -> String {
    let mut out = String::with_capacity(bytes.len());
    for chunk in bytes.utf8_chunks() {
        for c in chunk.valid().chars() {
            let is_kept = escape == Escape::AllButLines && matches!(c, '\n' | '\t');
            if is_plain(c) || is_kept {
                out.push(c);
            } else {
                // Names for \n, \r, \t and \0, numbers for the rest.
                let escaped = c.escape_debug();
                if escaped.len() > 1 {
                    out.extend(escaped);
                } else {
                    out.extend(c.escape_unicode());
                }
            }
        }
        for byte in chunk.invalid() {
            write!(out, "\\x{byte:02x}").expect("writing to a string cannot fail");
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_terminal_would_obey_is_shown_by_its_number() {
        let table: [(&[u8], &str); 12] = [
            (b"plain text", "plain text"),
            ("Gr\u{fc}\u{df}e, \u{1f980} e\u{301}".as_bytes(), "Gr\u{fc}\u{df}e, \u{1f980} e\u{301}"),
            (br#"{"a":"x\\n"}"#, r#"{"a":"x\\n"}"#),
            (b"\x1b[31mred", "\\u{1b}[31mred"),
            (b"\x1b]0;title\x07", "\\u{1b}]0;title\\u{7}"),
            (b"a\nb\tc\rd\0", "a\\nb\\tc\\rd\\0"),
            (b"\x7f", "\\u{7f}"),
            ("\u{9b}31m".as_bytes(), "\\u{9b}31m"),
            ("\u{202e}abc".as_bytes(), "\\u{202e}abc"),
            ("a\u{2028}b".as_bytes(), "a\\u{2028}b"),
            (b"\xff\xfe", "\\xff\\xfe"),
            (b"\xc3(", "\\xc3("),
        ];
        for (given, expected) in table {
            assert_eq!(bytes(given, Escape::All), expected, "{given:?}");
        }
        assert_eq!(bytes(b"a\nb\tc\r\x1b", Escape::AllButLines), "a\nb\tc\\r\\u{1b}");
    }

    #[test]
    fn no_bytes_leave_a_control_character() {
        for first in 0..=255_u8 {
            for second in 0..=255_u8 {
                let shown = bytes(&[first, second, b'm'], Escape::All);
                assert!(shown.chars().all(is_plain), "{first} {second}");
            }
        }
        for c in (0..=0x10_ffff).filter_map(char::from_u32) {
            assert!(text(&c.to_string()).chars().all(is_plain), "{c:?}");
        }
    }
}
