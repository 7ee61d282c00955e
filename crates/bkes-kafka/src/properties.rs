//! The properties of librdkafka that a user gives: which are passed on, which are refused and why, and whose values may be shown.
//!
//! No error and no remark of this module repeats a value: whoever mistypes a list of properties may have cut a secret in two, and
//! its rest then stands where another value is expected.

mod jaas;
mod java;
// librdkafka's list can be read there only.
#[cfg(all(test, target_os = "linux"))]
mod page_tests;
mod row;
mod table;

use crate::native;
use row::{Kind, Row, Side};
use table::TABLE;

/// Parts of names whose values are nobody's business, whatever the table says.
const SECRET_PARTS: [&str; 11] = [
    "password",
    "passphrase",
    "secret",
    "token",
    "key",
    "pem",
    "jaas",
    "username",
    "credential",
    "assertion",
    "auth.",
];

/// A property that is not passed on. Its value is not told: it may be, or hold a part of, a secret.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
#[error("property {name} is refused: {reason}")]
pub struct PropertyError {
    /// A name that librdkafka or Java's client knows.
    pub name: &'static str,
    /// Why.
    pub reason: String,
}

/// What a user's properties come to.
#[derive(Clone, Default, PartialEq, Eq)]
pub struct Properties {
    /// What is passed on, by librdkafka's names, each once.
    pub list: Vec<(String, String)>,
    /// The brokers to begin with, where they were given among the properties.
    pub brokers: Option<String>,
    /// What the user should know. No value is in it.
    pub remarks: Vec<String>,
}

impl std::fmt::Debug for Properties {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let shown = self.list.iter().map(|(name, value)| (name, shown_value(name, value)));
        f.debug_map().entries(shown).finish()
    }
}

/// Translates Java's names, leaves the last of each name, and checks every value. What is later in the list wins.
///
/// Brokers among them are told apart rather than refused: a file for Java's client names them.
pub fn resolve(given: Vec<(&'static str, String)>) -> Result<Properties, PropertyError> {
    let mut found = Properties::default();
    let mut list: Vec<(&'static str, String)> = Vec::new();
    for (name, value) in java::translate(given, &mut found.remarks)? {
        if canonical(name) == "metadata.broker.list" {
            found.brokers = Some(value.trim().to_owned()).filter(|brokers| !brokers.is_empty());
            continue;
        }
        list.retain(|(other, _)| canonical(other) != canonical(name));
        list.push((name, value));
    }
    for (name, value) in &list {
        check(name, value)?;
        let warning = row(name).and_then(|row| row.warning(value));
        found.remarks.extend(warning.map(|words| format!("property {name}: {words}")));
    }
    found.list = list.into_iter().map(|(name, value)| (name.to_owned(), value)).collect();
    Ok(found)
}

/// Refuses what BKES or librdkafka does not take.
pub fn check(name: &str, value: &str) -> Result<(), PropertyError> {
    let Some(row) = TABLE.iter().find(|row| row.name == name) else {
        // The name is not repeated either: it may be a piece of a list that was cut in the middle of a secret.
        let reason = format!("librdkafka {} documents no property of this name", native::version());
        return Err(PropertyError { name: "(unknown)", reason });
    };
    let refused = |reason| Err(PropertyError { name: row.name, reason });
    if let Some(reason) = self::row(name).and_then(|row| row.refusal(value)) {
        return refused(reason);
    }
    if canonical(name) == "sasl.mechanisms" && value.trim().eq_ignore_ascii_case("GSSAPI") {
        return refused("no build of BKES has Kerberos: use SCRAM, PLAIN or OAUTHBEARER".to_owned());
    }
    let is_tls = canonical(name) == "security.protocol" && value.trim().to_ascii_lowercase().ends_with("ssl");
    if is_tls && !cfg!(feature = "tls") {
        return refused("this build has no TLS: build with --features tls".to_owned());
    }
    if value.contains('\0') {
        return refused("its value has a zero byte".to_owned());
    }
    let is_cut = value.starts_with([' ', '\t', '\n', '\r', '\x0b', '\x0c']);
    if is_cut && !is_shown(name) && !name.ends_with(".pem") {
        return refused("its value begins with a blank, and librdkafka takes that away".to_owned());
    }
    native::check_property(name, value).or_else(refused)
}

/// Refuses a SASL mechanism that this build lacks, with those that it has.
pub fn check_mechanism(name: &str, value: &str) -> Result<(), PropertyError> {
    let mechanisms = native::sasl_mechanisms();
    let is_there = mechanisms.iter().any(|known| known.eq_ignore_ascii_case(value.trim()));
    if canonical(name) != "sasl.mechanisms" || is_there {
        return Ok(());
    }
    let more =
        if cfg!(feature = "tls") { "" } else { "; one with --features tls has SCRAM and OAUTHBEARER too" };
    let reason = format!("this build has {}{more}", mechanisms.join(", "));
    Err(PropertyError { name: "sasl.mechanisms", reason })
}

/// The name of a property of librdkafka or of Java's client, as it is known here.
pub fn known_property(name: &str) -> Option<&'static str> {
    known_properties().find(|known| *known == name)
}

/// Every name that [`resolve`] takes or explains.
pub fn known_properties() -> impl Iterator<Item = &'static str> {
    TABLE.iter().map(|row| row.name).chain(java::names())
}

/// The known name that is most like this one, if any is.
pub fn similar_property(name: &str) -> Option<&'static str> {
    let name = name.to_ascii_lowercase().replace(['_', '-'], ".");
    let distances = known_properties().map(|known| (distance(&name, known), known));
    distances
        .min_by_key(|(distance, _)| *distance)
        .filter(|(distance, _)| *distance <= 2)
        .map(|(_, known)| known)
}

/// How many letters are to be changed, added or left out.
fn distance(one: &str, other: &str) -> usize {
    let mut row: Vec<usize> = (0..=other.len()).collect();
    for (i, a) in one.bytes().enumerate() {
        let mut diagonal = std::mem::replace(&mut row[0], i + 1);
        for (j, b) in other.bytes().enumerate() {
            let changed = diagonal + usize::from(a != b);
            diagonal = row[j + 1];
            row[j + 1] = changed.min(diagonal + 1).min(row[j] + 1);
        }
    }
    row[other.len()]
}

/// A value as it may be shown: itself where no secret can be in it, or `********`.
pub fn shown_value<'v>(name: &str, value: &'v str) -> &'v str {
    if value.is_empty() || is_shown(name) { value } else { "********" }
}

/// Whether a value of this property may be shown: only where the table says so, and never by the names of secrets.
fn is_shown(name: &str) -> bool {
    let lower = name.to_ascii_lowercase();
    row(name).is_some_and(|row| row.is_shown) && !SECRET_PARTS.iter().any(|part| lower.contains(part))
}

/// The name behind an alias: librdkafka has two for some properties.
pub fn canonical(name: &str) -> &str {
    row(name).map_or(name, |row| row.name)
}

/// What the table says of a property, or of what it is an alias of.
fn row(name: &str) -> Option<&'static Row> {
    let row = TABLE.iter().find(|row| row.name == name)?;
    match row.kind {
        Kind::Alias(of) => TABLE.iter().find(|row| row.name == of),
        _ => Some(row),
    }
}

/// Whether a handle of this kind knows the property: the others would warn of it.
pub(crate) fn is_for(name: &str, kind: native::Kind) -> bool {
    let side = row(name).map_or(Side::Both, |row| row.side);
    match kind {
        native::Kind::Questions | native::Kind::Reader => side != Side::Writing,
        native::Kind::Producer => side != Side::Reading,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn given(list: &[(&'static str, &str)]) -> Vec<(&'static str, String)> {
        list.iter().map(|(name, value)| (*name, (*value).to_owned())).collect()
    }

    fn listed(list: &[(&str, &str)]) -> Vec<(String, String)> {
        list.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect()
    }

    /// `delivery.report.only.error=true` was passed on: no append that succeeded was ever answered, and after 1,000 of them the
    /// instance stopped.
    #[test]
    fn what_safety_or_liveness_rests_on_is_refused() {
        for (name, value) in [
            ("isolation.level", "read_uncommitted"),
            ("enable.idempotence", "false"),
            ("acks", "1"),
            ("request.required.acks", "0"),
            ("max.in.flight", "6"),
            ("max.in.flight.requests.per.connection", "0x10"),
            ("transactional.id", "x"),
            ("auto.offset.reset", "earliest"),
            ("enable.auto.commit", "true"),
            ("enable.partition.eof", "false"),
            ("partitioner", "random"),
            ("check.crcs", "false"),
            ("delivery.report.only.error", "true"),
            ("delivery.report.only.error", "T"),
            ("enabled_events", "2"),
            ("log.queue", "true"),
            ("internal.termination.signal", "9"),
            ("api.version.request", "false"),
            ("enable.gapless.guarantee", "true"),
            ("queue.buffering.max.messages", "1"),
            ("retries", "0"),
            ("queuing.strategy", "lifo"),
            ("socket.max.fails", "0"),
            ("topic.metadata.refresh.interval.ms", "-1"),
            ("allow.auto.create.topics", "true"),
            ("plugin.library.paths", "x.so"),
            ("topic.blacklist", "events"),
            ("sasl.mechanism", "GSSAPI"),
            ("dr_msg_cb", "0"),
            // Not in librdkafka's list, and what it would do is worse than an error.
            ("test.mock.num.brokers", "3"),
            ("ut_handle_ProduceResponse", "1"),
            ("topic.acks", "1"),
        ] {
            assert!(check(name, value).is_err(), "{name}={value}");
        }
        for (name, value) in [
            ("max.in.flight", "5"),
            ("sasl.password", "x"),
            ("compression.type", "gzip"),
            ("acks", "all"),
            ("acks", "-1"),
            ("enable.idempotence", "TRUE"),
            ("isolation.level", "read_committed"),
            ("linger.ms", "5"),
            ("client.id", " me"),
        ] {
            assert_eq!(check(name, value), Ok(()), "{name}={value}");
        }
    }

    #[test]
    fn no_refusal_repeats_a_value() {
        for row in TABLE {
            for value in
                ["QZXJQZXJ", "QZXJ,QZXJ", "9153915391539153", "-91539153", " QZXJ", "QZXJ\0", "QZXJ=QZXJ;"]
            {
                let said = check(row.name, value).map_or_else(|error| error.to_string(), |()| String::new());
                let repeats = ["QZXJ", "9153"].iter().any(|piece| said.contains(piece));
                assert!(!repeats, "{}: {said}", row.name);
            }
        }
    }

    #[test]
    fn a_refused_value_is_told_what_would_be_taken() {
        let said = |name: &str, value| check(name, value).expect_err("it is refused").to_string();
        if cfg!(target_os = "linux") {
            assert!(said("batch.size", "many").ends_with("librdkafka takes 1 .. 2147483647"));
            assert!(
                said("compression.codec", "zip").ends_with("librdkafka takes none, gzip, snappy, lz4, zstd")
            );
        }
        assert!(said("retry.backoff.ms", "90000").contains("from 1 to 10000"));
        assert!(
            said("acks", "1").contains("it is always all, since an acknowledged event is on all replicas")
        );
        assert!(said("socket.max.fails", "5").contains("it is always 1"));
    }

    /// What a build does not have is said in librdkafka's words, which name what is missing.
    #[test]
    fn what_the_build_lacks_is_named() {
        if cfg!(feature = "tls") {
            return;
        }
        let said = |name, value| check(name, value).expect_err("no TLS").to_string();
        assert!(said("security.protocol", "SASL_SSL").contains("--features tls"));
        let words = said("ssl.key.password", "hush");
        assert!(words.contains("OpenSSL not available at build time") && !words.contains("hush"), "{words}");
    }

    #[test]
    fn the_last_of_a_name_wins_and_an_alias_is_the_same_name() {
        let found = resolve(given(&[
            ("sasl.mechanism", "PLAIN"),
            ("client.id", "one"),
            ("sasl.mechanisms", "SCRAM-SHA-256"),
            ("client.id", "two"),
        ]));
        let list = listed(&[("sasl.mechanisms", "SCRAM-SHA-256"), ("client.id", "two")]);
        assert_eq!(found.expect("it is right").list, list);
    }

    #[test]
    fn brokers_among_the_properties_are_told_apart() {
        let found =
            resolve(given(&[("bootstrap.servers", "one:9092"), ("acks", "all")])).expect("it is right");
        assert_eq!((found.brokers.as_deref(), found.list), (Some("one:9092"), listed(&[("acks", "all")])));
        assert!(check("bootstrap.servers", "one:9092").is_err(), "a list that is passed on has none");
    }

    #[test]
    fn a_secret_that_begins_with_a_blank_is_refused_as_librdkafka_would_change_it() {
        assert!(check("sasl.password", " hush").is_err());
        assert_eq!(check("sasl.password", "hush "), Ok(()));
    }

    #[test]
    fn what_is_dangerous_and_passed_on_leaves_a_remark() {
        let remarks = |name, value| resolve(given(&[(name, value)])).map(|found| found.remarks);
        let name = "ssl.endpoint.identification.algorithm";
        if cfg!(feature = "tls") {
            assert_eq!(remarks(name, "none").map(|all| all.len()), Ok(1));
            assert_eq!(remarks(name, "").map(|all| all.len()), Ok(1), "as Java's client switches it off");
        }
        assert!(row(name).and_then(|row| row.warning("NONE")).is_some());
        assert_eq!(remarks("client.id", "none"), Ok(Vec::new()));
    }

    #[test]
    fn values_are_shown_by_a_list_of_harmless_names_and_never_by_the_names_of_secrets() {
        for name in [
            "sasl.password",
            "sasl.username",
            "ssl.key.pem",
            "ssl.key.location",
            "sasl.oauthbearer.config",
            "sasl.oauthbearer.client.credentials.client.secret",
            "sasl.jaas.config",
            "SASL.PASSWORD",
            "nobody.knows.this",
            "",
        ] {
            assert_eq!(shown_value(name, "hush"), "********", "{name}");
        }
        for name in ["client.id", "sasl.mechanism", "ssl.ca.location", "batch.size", "acks"] {
            assert_eq!(shown_value(name, "me"), "me", "{name}");
        }
        let all = Properties {
            list: listed(&[("sasl.password", "hush"), ("client.id", "me")]),
            ..Properties::default()
        };
        assert_eq!(format!("{all:?}"), r#"{"sasl.password": "********", "client.id": "me"}"#);
    }

    #[test]
    fn a_mistyped_name_is_known_by_the_one_that_is_like_it() {
        assert_eq!(similar_property("sasl.pasword"), Some("sasl.password"));
        assert_eq!(similar_property("SASL_USERNAME"), Some("sasl.username"));
        assert_eq!(similar_property("sasl.jass.config"), Some("sasl.jaas.config"));
        assert_eq!(similar_property("SharedAccessKeyName"), None);
    }

    #[test]
    fn a_handle_is_given_what_it_knows() {
        use native::Kind::{Producer, Reader as Consumer};
        for (name, consumer, producer) in
            [("client.id", true, true), ("acks", false, true), ("fetch.max.bytes", true, false)]
        {
            assert_eq!((is_for(name, Consumer), is_for(name, Producer)), (consumer, producer), "{name}");
        }
    }
}
