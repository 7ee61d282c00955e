//! The format of Java's properties, in UTF-8: `name=value`, `name: value` or `name value`, a line each.
//!
//! Lines that begin with `#` or `!` are comments. A backslash at the end of a line goes on with the next one, without the blanks it
//! begins with. `\t`, `\n`, `\r`, `\f` and `\uXXXX` are what they are in Java; any other sign after a backslash stands for itself.
//! Blanks at the end of a value belong to it. A byte order mark is skipped.

use std::iter::Peekable;
use std::str::Chars;

const BLANKS: [char; 3] = [' ', '\t', '\x0c'];

/// Line, name and value.
type Entry = (usize, String, String);

/// All properties in their order; or the line that is wrong, and why.
pub fn read(text: &str) -> Result<Vec<Entry>, (usize, &'static str)> {
    let text = text.strip_prefix('\u{feff}').unwrap_or(text).replace("\r\n", "\n").replace('\r', "\n");
    let mut lines = (1..).zip(text.split('\n'));
    let mut found = Vec::new();
    while let Some((number, line)) = lines.next() {
        let line = line.trim_start_matches(BLANKS);
        if line.is_empty() || line.starts_with(['#', '!']) {
            continue;
        }
        let mut whole = line.to_owned();
        while goes_on(&whole) {
            whole.pop();
            let Some((_, next)) = lines.next() else { break };
            whole.push_str(next.trim_start_matches(BLANKS));
        }
        let (name, value) = entry(&whole).map_err(|reason| (number, reason))?;
        found.push((number, name, value));
    }
    Ok(found)
}

/// Whether a line ends with a backslash that stands for no other one.
fn goes_on(line: &str) -> bool {
    line.bytes().rev().take_while(|byte| *byte == b'\\').count() % 2 == 1
}

fn entry(line: &str) -> Result<(String, String), &'static str> {
    let (mut name, mut value) = (String::new(), String::new());
    let mut chars = line.chars().peekable();
    while let Some(char) = chars.next_if(|char| !BLANKS.contains(char) && !['=', ':'].contains(char)) {
        push(&mut name, char, &mut chars)?;
    }
    while chars.next_if(|char| BLANKS.contains(char)).is_some() {}
    if chars.next_if(|char| ['=', ':'].contains(char)).is_some() {
        while chars.next_if(|char| BLANKS.contains(char)).is_some() {}
    }
    while let Some(char) = chars.next() {
        push(&mut value, char, &mut chars)?;
    }
    Ok((name, value))
}

/// Adds a sign, or what an escape stands for.
fn push(text: &mut String, char: char, chars: &mut Peekable<Chars<'_>>) -> Result<(), &'static str> {
    if char != '\\' {
        text.push(char);
        return Ok(());
    }
    match chars.next() {
        Some('t') => text.push('\t'),
        Some('n') => text.push('\n'),
        Some('r') => text.push('\r'),
        Some('f') => text.push('\x0c'),
        Some('u') => {
            let mut units = vec![unit(chars)?];
            // What does not fit into one escape takes two.
            if (0xd800..0xdc00).contains(&units[0]) && chars.next_if_eq(&'\\').is_some() {
                chars.next_if_eq(&'u').ok_or(HALF)?;
                units.push(unit(chars)?);
            }
            text.push_str(&String::from_utf16(&units).map_err(|_| HALF)?);
        }
        Some(char) => text.push(char),
        // The last line went on with one that is not there.
        None => {}
    }
    Ok(())
}

const HALF: &str = "an escape is half of a character";

/// The four digits after `\u`.
fn unit(chars: &mut Peekable<Chars<'_>>) -> Result<u16, &'static str> {
    let mut unit = 0;
    for _ in 0..4 {
        let digit =
            chars.next().and_then(|char| char.to_digit(16)).ok_or("\\u needs four hexadecimal digits")?;
        unit = unit << 4 | digit as u16;
    }
    Ok(unit)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn listed(text: &str) -> Vec<Entry> {
        read(text).unwrap_or_else(|error| panic!("{text:?}: {error:?}"))
    }

    #[test]
    fn a_file_is_read_as_java_reads_it() {
        for (text, name, value) in [
            ("a=b", "a", "b"),
            ("  a = b ", "a", "b "),
            ("a:b", "a", "b"),
            ("a b", "a", "b"),
            ("a\t= b=c:d", "a", "b=c:d"),
            ("a", "a", ""),
            ("a=", "a", ""),
            ("a==b", "a", "=b"),
            ("a = = b", "a", "= b"),
            ("a=b\\\n   c", "a", "bc"),
            ("a=b\\\\", "a", "b\\"),
            ("a=b\\", "a", "b"),
            ("a\\ b\\=c=d", "a b=c", "d"),
            ("a=\\u0041\\t\\q\\\"", "a", "A\tq\""),
            ("a=\\uD83D\\uDE00", "a", "\u{1f600}"),
            ("a=b#c!", "a", "b#c!"),
            ("a=b;c=d", "a", "b;c=d"),
            ("\u{feff}a=b\r", "a", "b"),
            ("a=b\\\r\n\tc\r\n", "a", "bc"),
            ("a=b\\\n#c", "a", "b#c"),
        ] {
            assert_eq!(listed(text), [(1, name.to_owned(), value.to_owned())], "{text:?}");
        }
    }

    #[test]
    fn comments_and_empty_lines_are_skipped_and_lines_are_counted() {
        let text = "# one\\\n\n  ! two\na=b\\\nc\nd=e\n \t\n";
        let found = [(4, "a".to_owned(), "bc".to_owned()), (6, "d".to_owned(), "e".to_owned())];
        assert_eq!(listed(text), found);
        for (text, line) in [("a=b\nc=\\u12", 2), ("c=\\uD83D", 1), ("c=\\uD83D\\n", 1), ("c=\\uDE00", 1)] {
            assert_eq!(read(text).map_err(|(line, _)| line), Err(line), "{text:?}");
        }
    }

    /// `BKES_CASES` sets the number of cases; a failure names the seed of its case.
    #[test]
    fn any_value_is_read_back_as_it_was_escaped() {
        let cases = std::env::var("BKES_CASES").map_or(20_000, |cases| cases.parse().expect("a number"));
        for seed in 0..cases {
            let random = &mut fastrand::Rng::with_seed(seed);
            let signs = ['\\', '=', ':', '#', '!', ' ', '\t', '\n', '\r', '\x0c', ';', '"', 'u', '\u{1f600}'];
            let value: String =
                (0..random.usize(..10))
                    .map(|_| {
                        if random.u8(..8) == 0 { random.char(..) } else { signs[random.usize(..signs.len())] }
                    })
                    .collect();
            let mut escaped = String::new();
            for char in value.chars() {
                match char {
                    '\\' => escaped.push_str("\\\\"),
                    '\n' => escaped.push_str("\\n"),
                    '\r' => escaped.push_str("\\r"),
                    ' ' | '\t' | '\x0c' => escaped.extend([
                        "\\",
                        if char == ' ' {
                            " "
                        } else if char == '\t' {
                            "t"
                        } else {
                            "f"
                        },
                    ]),
                    char if random.u8(..4) == 0 => {
                        let mut units = [0; 2];
                        escaped.extend(
                            char.encode_utf16(&mut units).iter().map(|unit| format!("\\u{unit:04x}")),
                        );
                    }
                    char => escaped.push(char),
                }
                if random.u8(..6) == 0 {
                    escaped.push_str("\\\n  ");
                }
            }
            let separator = ["=", ":", " = ", " : "][random.usize(..4)];
            let text = format!("name{separator}{escaped}\nother=1");
            let found = [(1, "name".to_owned(), value)];
            assert_eq!(read(&text).as_deref().map(|all| &all[..1]), Ok(&found[..]), "seed {seed}: {text:?}");
        }
    }
}
