//! One property, and what BKES does with it.

/// Which handles know a property.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Side {
    /// Those that read and those that write.
    Both,
    /// Consumers.
    Reading,
    /// Producers.
    Writing,
}

/// What a value can be.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Kind {
    /// A number or a word of librdkafka's: another value is refused, so that none can hold a secret.
    Word,
    /// Any text.
    Text,
    /// Something that only a program can set.
    Api,
    /// Another name of a property.
    Alias(&'static str),
}

/// What BKES does with a property that is given.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Rule {
    /// It is passed on.
    Passed,
    /// It is passed on; where none is given BKES sets this one.
    Set(&'static str),
    /// It is refused, unless it is one of these: they say what BKES does anyway. The first is how BKES sets it.
    Fixed(&'static [&'static str]),
    /// It is refused.
    Refused,
}

/// A property. Unless it is shown, nobody is told its value.
#[derive(Clone, Copy, Debug)]
pub struct Row {
    pub name: &'static str,
    pub side: Side,
    pub kind: Kind,
    pub rule: Rule,
    /// Why the rule is as it is, or what else there is to know.
    pub words: &'static str,
    /// The least and the most that is passed on, and why.
    pub range: Option<(i64, i64, &'static str)>,
    /// Values that are passed on with a warning.
    pub warning: Option<(&'static [&'static str], &'static str)>,
    /// Whether its value may be shown.
    pub is_shown: bool,
}

impl Row {
    const fn new(side: Side, name: &'static str, kind: Kind) -> Row {
        let is_shown = matches!(kind, Kind::Word);
        Row { name, side, kind, rule: Rule::Passed, words: "", range: None, warning: None, is_shown }
    }

    pub const fn word(side: Side, name: &'static str) -> Row {
        Row::new(side, name, Kind::Word)
    }

    pub const fn text(side: Side, name: &'static str) -> Row {
        Row::new(side, name, Kind::Text)
    }

    pub const fn api(side: Side, name: &'static str) -> Row {
        Row::new(side, name, Kind::Api)
    }

    pub const fn alias(name: &'static str, of: &'static str) -> Row {
        Row::new(Side::Both, name, Kind::Alias(of))
    }

    pub const fn note(self, words: &'static str) -> Row {
        Row { words, ..self }
    }

    pub const fn refused(self, words: &'static str) -> Row {
        Row { rule: Rule::Refused, words, ..self }
    }

    pub const fn set(self, value: &'static str, words: &'static str) -> Row {
        Row { rule: Rule::Set(value), words, ..self }
    }

    pub const fn fixed(self, values: &'static [&'static str], words: &'static str) -> Row {
        Row { rule: Rule::Fixed(values), words, ..self }
    }

    pub const fn within(self, least: i64, most: i64, words: &'static str) -> Row {
        Row { range: Some((least, most, words)), ..self }
    }

    pub const fn warned(self, values: &'static [&'static str], words: &'static str) -> Row {
        Row { warning: Some((values, words)), ..self }
    }

    pub const fn shown(self) -> Row {
        Row { is_shown: true, ..self }
    }

    /// Why this value is not passed on; it is not repeated.
    pub fn refusal(&self, value: &str) -> Option<String> {
        let value = value.trim();
        match self.rule {
            Rule::Refused => return Some(self.words.to_owned()),
            Rule::Fixed(values) if !is_one_of(value, values) => {
                return Some(format!("it is always {}, since {}", values[0], self.words));
            }
            _ => {}
        }
        let (least, most, words) = self.range?;
        let is_within = value.parse().is_ok_and(|number: i64| (least..=most).contains(&number));
        (!is_within).then(|| format!("BKES takes whole numbers from {least} to {most}: {words}"))
    }

    /// What to know of this value, though it is passed on.
    pub fn warning(&self, value: &str) -> Option<&'static str> {
        let (values, words) = self.warning?;
        is_one_of(value.trim(), values).then_some(words)
    }
}

fn is_one_of(value: &str, values: &[&str]) -> bool {
    values.iter().any(|one| value.eq_ignore_ascii_case(one))
}
