//! `sasl.jaas.config` of Java's client: the part of it that says what `sasl.username` and `sasl.password` say.
//!
//! A configuration is one login module, a flag, options, and a semicolon:
//! `org.apache.kafka.common.security.plain.PlainLoginModule required username="me" password="hush";`. What is not understood
//! to the last letter is refused: a password that was read in another way than Java reads it would be refused by the brokers,
//! and nobody would know why.

/// The modules that take a user name and a password.
const MODULES: [&str; 2] = [
    "org.apache.kafka.common.security.plain.PlainLoginModule",
    "org.apache.kafka.common.security.scram.ScramLoginModule",
];

const FLAGS: [&str; 4] = ["required", "requisite", "sufficient", "optional"];

/// User name and password. What is wrong is told without any part of the configuration.
pub fn credentials(config: &str) -> Result<(String, String), &'static str> {
    let mut rest = config;
    let module = word(&mut rest).ok_or("it does not begin with a login module")?;
    if !MODULES.contains(&module) {
        return Err(
            "only PlainLoginModule and ScramLoginModule are translated; librdkafka takes what others say by its own \
                    properties, such as sasl.oauthbearer.config",
        );
    }
    if !word(&mut rest).is_some_and(|flag| FLAGS.iter().any(|known| known.eq_ignore_ascii_case(flag))) {
        return Err("a flag such as `required` must follow the login module");
    }
    let (mut username, mut password) = (None, None);
    while let Some(option) = word(&mut rest) {
        let (true, Some(value)) = (take(&mut rest, '='), value(&mut rest)?) else {
            return Err("an option is not name=\"value\"");
        };
        let place = match option {
            "username" => &mut username,
            "password" => &mut password,
            _ => return Err("only the options username and password are translated"),
        };
        if place.replace(value).is_some() {
            return Err("an option is there twice");
        }
    }
    if !take(&mut rest, ';') || !rest.trim_start().is_empty() {
        return Err("it must end with one `;`, after options that are name=\"value\"");
    }
    username.zip(password).ok_or("it needs both username and password")
}

/// Letters, digits and what stands in names of classes.
fn is_plain(char: char) -> bool {
    char.is_ascii_alphanumeric() || "._$-".contains(char)
}

fn word<'t>(rest: &mut &'t str) -> Option<&'t str> {
    let text = rest.trim_start();
    let end = text.find(|char| !is_plain(char)).unwrap_or(text.len());
    let (word, after) = text.split_at(end);
    *rest = after;
    (!word.is_empty()).then_some(word)
}

fn take(rest: &mut &str, wanted: char) -> bool {
    let text = rest.trim_start();
    *rest = text.strip_prefix(wanted).unwrap_or(text);
    rest.len() < text.len()
}

/// A value, in quotes or plain; `None` where none begins.
fn value(rest: &mut &str) -> Result<Option<String>, &'static str> {
    let text = rest.trim_start();
    let Some(quote) = text.chars().next().filter(|char| ['"', '\''].contains(char)) else {
        // Java reads plain digits as a number, and forgets how they were written.
        let plain = word(rest).map(str::to_owned);
        return match plain {
            Some(plain) if plain.starts_with(|char: char| !char.is_ascii_alphabetic()) => {
                Err("a value that does not begin with a letter must be in quotes")
            }
            plain => Ok(plain),
        };
    };
    let (mut value, mut chars) = (String::new(), text[1..].chars());
    loop {
        match chars.next() {
            None | Some('\n' | '\r') => return Err("a quote is not closed"),
            Some('\\') => match chars.next() {
                Some(char @ ('\\' | '"' | '\'')) => value.push(char),
                _ => return Err("an escape other than \\\\, \\\" and \\' is not translated"),
            },
            Some(char) if char == quote => break,
            Some(char) => value.push(char),
        }
    }
    *rest = chars.as_str();
    Ok(Some(value))
}

#[cfg(test)]
mod tests {
    use super::*;

    const PLAIN: &str = "org.apache.kafka.common.security.plain.PlainLoginModule";

    fn read(options: &str) -> Result<(String, String), &'static str> {
        credentials(&format!("{PLAIN} required {options}"))
    }

    fn pair(username: &str, password: &str) -> Result<(String, String), &'static str> {
        Ok((username.to_owned(), password.to_owned()))
    }

    #[test]
    fn the_credentials_of_plain_and_scram_are_read() {
        assert_eq!(read(r#"username="me" password="hush";"#), pair("me", "hush"));
        assert_eq!(read(" password='it\"s; a = b'\n  username = me ; "), pair("me", "it\"s; a = b"));
        assert_eq!(read(r#"username="a\"b" password="\\";"#), pair("a\"b", "\\"));
        let scram = format!("{} Sufficient\n username=\"me\"\n password=\"\";", MODULES[1]);
        assert_eq!(credentials(&scram), pair("me", ""));
        let azure = r#"username="$ConnectionString" password="Endpoint=sb://x.net/;SharedAccessKey=a+b/c=";"#;
        assert_eq!(read(azure), pair("$ConnectionString", "Endpoint=sb://x.net/;SharedAccessKey=a+b/c="));
    }

    #[test]
    fn what_is_not_understood_to_the_last_letter_is_refused() {
        for options in [
            "",
            ";",
            r#"username="me" password="hush""#,
            r#"username="me";"#,
            r#"username="me" password="hush;"#,
            r#"username="me" password="hush"; more"#,
            r#"username="me" password="hush" tokenauth="true";"#,
            r#"username="me" username="you" password="hush";"#,
            r#"username="me" password=0123;"#,
            r#"username="me" password="\u0041";"#,
            r#"username="me" password=hu+sh;"#,
            r#"username="me" password hush;"#,
        ] {
            assert!(read(options).is_err(), "{options}");
        }
        for config in ["", "required", "com.example.Module required username=\"me\" password=\"hush\";"] {
            assert!(credentials(config).is_err(), "{config}");
        }
        assert!(credentials(&format!("{PLAIN} username=\"me\" password=\"hush\";")).is_err());
    }

    /// `BKES_CASES` sets the number of cases; a failure names the seed of its case.
    #[test]
    fn any_credentials_in_quotes_are_read_back() {
        let cases = std::env::var("BKES_CASES").map_or(5_000, |cases| cases.parse().expect("a number"));
        for seed in 0..cases {
            let random = &mut fastrand::Rng::with_seed(seed);
            let mut text = || {
                let chars = "\"'\\;= #ab0\u{e9}{}";
                let chars: Vec<char> = chars.chars().collect();
                (0..random.usize(..9)).map(|_| chars[random.usize(..chars.len())]).collect::<String>()
            };
            let (username, password) = (text(), text());
            let quoted = |text: &str| format!("\"{}\"", text.replace('\\', r"\\").replace('"', "\\\""));
            let options = format!("username={} password={};", quoted(&username), quoted(&password));
            assert_eq!(read(&options), Ok((username, password)), "seed {seed}: {options}");
        }
    }
}
