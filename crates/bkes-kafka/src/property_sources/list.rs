//! `KAFKA_PROPERTIES`: name=value, separated by semicolons.
//!
//! A value that begins with `"` or `'` is quoted: it goes to the next such quote that is not doubled, and a doubled one stands for
//! itself. Everything else in it is as it stands, `;`, blanks and backslashes too. A value without quotes goes to the next `;`, and
//! loses the blanks around it. Entries without content are none.

/// An entry that is wrong: its number from 1, what stands where its name should, and why. Only a name that is known may be shown.
type Wrong = (usize, String, &'static str);

const NO_ENTRY: &str = "it is not name=value; a value with `;` in it stands in quotes: name=\"a;b\"";

/// Names and values, in their order.
pub fn read(text: &str) -> Result<Vec<(String, String)>, Wrong> {
    let (mut entries, mut rest) = (Vec::new(), text);
    loop {
        rest = rest.trim_start_matches(|char: char| char.is_whitespace() || char == ';');
        if rest.is_empty() {
            return Ok(entries);
        }
        let number = entries.len() + 1;
        let Some((name, value)) = rest.split_once('=').filter(|(name, _)| !name.contains(';')) else {
            return Err((number, String::new(), NO_ENTRY));
        };
        let (name, value) = (name.trim().to_owned(), value.trim_start());
        let (value, after) = match value.chars().next().filter(|char| ['"', '\''].contains(char)) {
            Some(quote) => match quoted(&value[1..], quote) {
                Some(found) => found,
                None => return Err((number, name, "its quote is not closed")),
            },
            None => {
                let end = value.find(';').unwrap_or(value.len());
                (value[..end].trim_end().to_owned(), &value[end..])
            }
        };
        rest = after.trim_start();
        if !rest.is_empty() && !rest.starts_with(';') {
            return Err((
                number,
                name,
                "something follows the end of its quotes; a quote within them is doubled",
            ));
        }
        entries.push((name, value));
    }
}

/// The value up to the quote that ends it, and what comes after that.
fn quoted(text: &str, quote: char) -> Option<(String, &str)> {
    let (mut value, mut rest) = (String::new(), text);
    loop {
        let (part, after) = rest.split_once(quote)?;
        value.push_str(part);
        let Some(doubled) = after.strip_prefix(quote) else { return Some((value, after)) };
        value.push(quote);
        rest = doubled;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn listed(text: &str) -> Result<Vec<(String, String)>, (usize, String)> {
        read(text).map_err(|(number, name, _)| (number, name))
    }

    #[test]
    fn a_list_is_read_with_and_without_quotes() {
        for (text, entries) in [
            ("", &[][..]),
            (" ; ;", &[]),
            ("a=b;c=d=e; ", &[("a", "b"), ("c", "d=e")]),
            ("a = b ;\n c=", &[("a", "b"), ("c", "")]),
            (r#"a="b;c=d";e=f"#, &[("a", "b;c=d"), ("e", "f")]),
            (r#"a= "b" ; c='d"e;f'"#, &[("a", "b"), ("c", "d\"e;f")]),
            (r#"a="b""c""#, &[("a", "b\"c")]),
            ("a=''''", &[("a", "'")]),
            ("a=\"\";b=''", &[("a", ""), ("b", "")]),
            (r#"a=b"c;d=e'f"#, &[("a", "b\"c"), ("d", "e'f")]),
            (r#"a="  b\ ""#, &[("a", "  b\\ ")]),
            (r#"a"b="c;d""#, &[("a\"b", "c;d")]),
        ] {
            let entries: Vec<_> =
                entries.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect();
            assert_eq!(listed(text), Ok(entries), "{text}");
        }
    }

    #[test]
    fn what_is_no_list_is_refused_with_the_number_of_its_entry() {
        for (text, number, name) in [
            ("nonsense", 1, ""),
            ("a=b;nonsense", 2, ""),
            (";a=b;;c=\"d", 2, "c"),
            ("a='b\"", 1, "a"),
            ("a=\"b\"c", 1, "a"),
            ("a=\"b\"\"", 1, "a"),
        ] {
            assert_eq!(listed(text), Err((number, name.to_owned())), "{text}");
        }
    }

    /// `BKES_CASES` sets the number of cases; a failure names the seed of its case.
    #[test]
    fn any_value_is_read_back_as_it_was_quoted() {
        let cases = std::env::var("BKES_CASES").map_or(20_000, |cases| cases.parse().expect("a number"));
        for seed in 0..cases {
            let random = &mut fastrand::Rng::with_seed(seed);
            let mut text = String::new();
            let mut entries = Vec::new();
            for number in 0..random.usize(1..5) {
                let signs = [';', '"', '\'', '=', ' ', '\\', '\n', 'a', '\u{e9}', '\0'];
                let value: String = (0..random.usize(..10))
                    .map(|_| {
                        if random.u8(..8) == 0 { random.char(..) } else { signs[random.usize(..signs.len())] }
                    })
                    .collect();
                let is_plain =
                    !value.contains(';') && value.trim() == value && !value.starts_with(['"', '\'']);
                let written = match random.u8(..3) {
                    0 if is_plain => value.clone(),
                    1 => format!("'{}'", value.replace('\'', "''")),
                    _ => format!("\"{}\"", value.replace('"', "\"\"")),
                };
                let blank = ["", " ", "\n"][random.usize(..3)];
                text.push_str(&format!("{blank}name.{number}{blank}={blank}{written}{blank};"));
                entries.push((format!("name.{number}"), value));
            }
            if random.bool() {
                text.pop();
            }
            assert_eq!(listed(&text), Ok(entries), "seed {seed}: {text:?}");
        }
    }
}
