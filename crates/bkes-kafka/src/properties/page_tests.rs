//! The table against librdkafka's own list, and the page against the table.

use super::is_shown;
use super::row::{Kind, Row, Rule, Side};
use super::table::TABLE;
use crate::native::{self, ListedProperty};
use crate::options::{self, KafkaOptions};
use std::collections::BTreeSet;
use std::fmt::Write;

/// The first lines of the page's table.
const HEADING: &str = "| property | handles | librdkafka takes | BKES |\n|---|---|---|---|\n";

/// librdkafka's list. Some names stand in it twice, for handles and for topics: the first is what a property sets.
fn listing() -> Vec<ListedProperty> {
    let mut names = BTreeSet::new();
    let listing = native::listed_properties().into_iter().filter(|listed| names.insert(listed.name.clone()));
    listing.collect()
}

#[test]
fn the_table_names_every_property_of_librdkafka_and_no_other() {
    let listing = listing();
    assert!(listing.len() > 150, "librdkafka lists {}", listing.len());
    let theirs: Vec<&str> = listing.iter().map(|listed| listed.name.as_str()).collect();
    let ours: Vec<&str> = TABLE.iter().map(|row| row.name).collect();
    let missing: Vec<_> = theirs.iter().filter(|name| !ours.contains(name)).collect();
    let unknown: Vec<_> = ours.iter().filter(|name| !theirs.contains(name)).collect();
    assert!(
        missing.is_empty() && unknown.is_empty(),
        "not in the table: {missing:?}; not in librdkafka: {unknown:?}"
    );
    assert_eq!(ours, theirs, "the order is librdkafka's, and each stands there once");
}

#[test]
fn the_table_says_of_each_property_what_librdkafka_says() {
    for (row, listed) in TABLE.iter().zip(listing()) {
        let name = row.name;
        let behind = match row.kind {
            Kind::Alias(of) => {
                assert_eq!(listed.alias_of.as_deref(), Some(of), "{name}");
                super::row(name).unwrap_or_else(|| panic!("{name} is an alias of what is not there"))
            }
            _ => row,
        };
        assert!(matches!(row.kind, Kind::Alias(_)) || listed.alias_of.is_none(), "{name}");
        let side = match listed.handles.as_str() {
            "*" => Side::Both,
            "C" => Side::Reading,
            "P" => Side::Writing,
            other => panic!("{name} is of {other:?}"),
        };
        assert_eq!(behind.side, side, "{name}");
        let kind = match listed.kind.as_str() {
            "string" | "pattern list" => Kind::Text,
            "see dedicated API" => Kind::Api,
            _ => Kind::Word,
        };
        assert_eq!(behind.kind, kind, "{name}: {}", listed.kind);
        assert!(kind != Kind::Api || behind.rule == Rule::Refused, "{name} cannot be set by text");
        // A text is shown only where the table says so, and what it says is not what the names of secrets say.
        assert!(!behind.is_shown || is_shown(name) || kind == Kind::Word, "{name}");
    }
}

/// What BKES sets itself is taken by librdkafka, and by BKES's own rule.
#[test]
fn the_values_that_bkes_sets_are_taken() {
    for row in TABLE {
        let values = match row.rule {
            Rule::Set(value) if !value.contains(' ') && value != "probe" => vec![value],
            Rule::Fixed(values) => values.to_vec(),
            _ => continue,
        };
        for value in values {
            assert_eq!(super::check(row.name, value), Ok(()), "{}={value}", row.name);
        }
    }
}

/// What the handles are made with is what the table says that BKES sets.
#[test]
fn the_handles_are_set_as_the_table_says() {
    let options = KafkaOptions::new("broker:9092", "events");
    let handles = [
        (Side::Reading, options::reader(&options, 1_048_588)),
        (Side::Writing, options::producer(&options, 1_048_588)),
    ];
    for (side, set) in &handles {
        for (name, value) in set {
            let row = super::row(name).unwrap_or_else(|| panic!("{name} is in the table"));
            match row.rule {
                Rule::Set(wanted) => assert!(value == wanted || wanted.contains(' '), "{name}={value}"),
                Rule::Fixed(values) => assert!(values.contains(&value.as_str()), "{name}={value}"),
                Rule::Refused | Rule::Passed => {}
            }
        }
        for row in TABLE.iter().filter(|row| row.side == Side::Both || row.side == *side) {
            // The certificates of the system are for TLS, and what a batch may take is for readers.
            let is_always = !["ssl.ca.location", "receive.message.max.bytes"].contains(&row.name);
            let is_set = set.iter().any(|(name, _)| super::canonical(name) == row.name);
            assert!(is_set || !matches!(row.rule, Rule::Set(_)) || !is_always, "{}", row.name);
        }
    }
}

/// `BKES_WRITE_PAGE=1` writes the table of the page.
#[test]
fn the_page_has_the_table_of_properties() {
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/../../docs/operating.md");
    let page = std::fs::read_to_string(path).expect("the page is there");
    let (before, rest) = page.split_once(HEADING).expect("the page has the table's heading");
    let length = rest.split_inclusive('\n').take_while(|line| line.starts_with('|')).map(str::len).sum();
    let (there, after) = rest.split_at(length);
    let mut wanted = String::new();
    for (row, listed) in TABLE.iter().zip(listing()) {
        let name = row.name;
        let handles = handles(super::row(name).unwrap_or(row).side);
        let range = listed.range.as_deref().unwrap_or("text");
        let range = if row.kind == Kind::Api { "" } else { range };
        let does = does(row);
        writeln!(wanted, "| `{name}` | {handles} | {range} | {does} |")
            .expect("writing to a string cannot fail");
    }
    if std::env::var_os("BKES_WRITE_PAGE").is_some() {
        std::fs::write(path, format!("{before}{HEADING}{wanted}{after}")).expect("the page can be written");
    } else {
        assert!(there == wanted, "docs/operating.md is stale: run this test with BKES_WRITE_PAGE=1");
    }
}

fn handles(side: Side) -> &'static str {
    match side {
        Side::Both => "all",
        Side::Reading => "reading",
        Side::Writing => "writing",
    }
}

/// The last cell of a row.
fn does(row: &Row) -> String {
    if let Kind::Alias(of) = row.kind {
        return format!("as `{of}`");
    }
    let Row { words, .. } = row;
    let mut does = match row.rule {
        Rule::Passed if words.is_empty() => "passed on".to_owned(),
        Rule::Passed => format!("passed on: {words}"),
        Rule::Set(value) => format!("set to `{value}`, unless given: {words}"),
        Rule::Fixed(values) => format!("always `{}`, another is refused: {words}", values[0]),
        Rule::Refused => format!("refused: {words}"),
    };
    if let Some((least, most, words)) = row.range {
        write!(does, "; taken from {least} to {most}: {words}").expect("writing to a string cannot fail");
    }
    if let Some((values, words)) = row.warning {
        write!(does, "; a warning for `{}`: {words}", values[0]).expect("writing to a string cannot fail");
    }
    if row.rule != Rule::Refused && !is_shown(row.name) {
        does.push_str(". Its value is never shown");
    }
    does
}
