//! Where properties come from, and that nothing tells of a secret.

use super::*;
use std::collections::BTreeMap;

/// What sources come to.
fn read(sources: PropertySources<'_>) -> Result<Vec<(String, String)>, String> {
    sources.read().map(|found| found.list)
}

fn variables(list: &[(&str, &str)]) -> Vec<(OsString, OsString)> {
    list.iter().map(|(name, value)| (OsString::from(name), OsString::from(value))).collect()
}

fn listed(list: &[(&str, &str)]) -> Result<Vec<(String, String)>, String> {
    Ok(list.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect())
}

fn file(content: &str) -> tempfile::NamedTempFile {
    let file = tempfile::NamedTempFile::new().expect("a file");
    std::fs::write(file.path(), content).expect("it is ours");
    file
}

#[test]
fn a_variable_for_each_property_is_read() {
    let found = read(PropertySources {
        variables: variables(&[
            ("KAFKA_PROPERTY_SASL_PASSWORD", "a;b=c\"d'"),
            ("KAFKA_PROPERTY_LOG_LEVEL", "3"),
            ("KAFKA_PROPERTY_CLIENT_ID", ""),
            ("KAFKA_PROPERTIES", "not looked at here"),
            ("OTHER", "x"),
        ]),
        ..PropertySources::default()
    });
    assert_eq!(found, listed(&[("log_level", "3"), ("sasl.password", "a;b=c\"d'")]));
}

/// Each name has a variable of its own, and none is that of another one's file.
#[test]
fn the_variables_of_all_properties_differ() {
    let mut names = BTreeMap::new();
    for name in known_properties() {
        let other = names.insert(in_variable(name), name);
        assert_eq!(other, None, "{name}");
        assert_eq!(of_variable(&in_variable(name)), Some(name));
    }
    for (variable, name) in &names {
        assert!(!names.contains_key(&format!("{variable}{OF_FILE}")), "{name}");
    }
}

#[test]
fn a_variable_may_name_a_file_that_holds_the_value() {
    for (content, value) in [
        ("hush\n", "hush"),
        ("hush\r\n", "hush"),
        ("hush", "hush"),
        ("hu\nsh\n\n", "hu\nsh\n"),
        ("hush\r", "hush\r"),
    ] {
        let (file, name) = (file(content), "KAFKA_PROPERTY_SASL_PASSWORD_FILE");
        let path = file.path().to_str().expect("a path");
        let found =
            read(PropertySources { variables: variables(&[(name, path)]), ..PropertySources::default() });
        assert_eq!(found, listed(&[("sasl.password", value)]), "{content:?}");
        let twice = [(name, path), ("KAFKA_PROPERTY_SASL_PASSWORD", "QZXJ")];
        let error = read(PropertySources { variables: variables(&twice), ..PropertySources::default() })
            .expect_err("which?");
        assert!(error.contains(name) && !error.contains("QZXJ") && !error.contains("hush"), "{error}");
    }
    let missing = variables(&[("KAFKA_PROPERTY_SASL_PASSWORD_FILE", "/no/such/file")]);
    let error = read(PropertySources { variables: missing, ..PropertySources::default() })
        .expect_err("it is not there");
    assert!(error.contains("KAFKA_PROPERTY_SASL_PASSWORD_FILE: /no/such/file cannot be read"), "{error}");
}

/// Which of the two counted was a matter of the alphabet.
#[test]
fn two_names_of_one_property_are_not_set_by_two_variables() {
    let names = ["KAFKA_PROPERTY_SASL_MECHANISM", "KAFKA_PROPERTY_SASL_MECHANISMS"];
    let twice = variables(&[(names[0], "PLAIN"), (names[1], "SCRAM-SHA-256")]);
    let error = read(PropertySources { variables: twice, ..PropertySources::default() }).expect_err("which?");
    assert!(names.iter().all(|name| error.contains(name)) && error.contains("too many"), "{error}");
}

#[test]
fn a_variable_that_is_no_property_is_named() {
    for (name, part) in [
        ("KAFKA_PROPERTY_SASL_PASWORD", "KAFKA_PROPERTY_SASL_PASSWORD is like it"),
        ("KAFKA_PROPERTY_SASL_PASWORD_FILE", "KAFKA_PROPERTY_SASL_PASSWORD is like it"),
        ("KAFKA_PROPERTY_", "no property has this name"),
    ] {
        let error =
            read(PropertySources { variables: variables(&[(name, "QZXJ")]), ..PropertySources::default() });
        let error = error.expect_err("no such property");
        assert!(
            error.starts_with(&format!("{name}: ")) && error.contains(part) && !error.contains("QZXJ"),
            "{error}"
        );
    }
}

#[test]
fn the_file_yields_to_the_list_that_to_variables_and_those_to_flags() {
    let file = file("client.id=file\nbatch.size=1\nlinger.ms=1\nbatch.num.messages=1\n");
    let found = read(PropertySources {
        file: Some(file.path()),
        list: "client.id=list;linger.ms=2; batch.size=2",
        variables: variables(&[("KAFKA_PROPERTY_CLIENT_ID", "variable"), ("KAFKA_PROPERTY_BATCH_SIZE", "3")]),
        flags: &["client.id=flag".to_owned()],
    });
    let found: BTreeMap<String, String> = found.expect("it is right").into_iter().collect();
    let found: Vec<(&str, &str)> =
        found.iter().map(|(name, value)| (name.as_str(), value.as_str())).collect();
    let wanted =
        [("batch.num.messages", "1"), ("batch.size", "3"), ("client.id", "flag"), ("linger.ms", "2")];
    assert_eq!(found, wanted);
}

/// The file that a cloud's console offers for Java's clients.
#[test]
fn a_file_for_javas_client_is_taken_as_it_is() {
    let content = "# Required connection configs\n\
        bootstrap.servers=broker.example:9092\n\
        security.protocol=SASL_PLAINTEXT\n\
        sasl.jaas.config=org.apache.kafka.common.security.plain.PlainLoginModule required username='ME' password='hu;sh';\n\
        sasl.mechanism=PLAIN\n\
        client.dns.lookup=use_all_dns_ips\n\
        session.timeout.ms=45000\n\
        acks=all\n\
        key.serializer=org.apache.kafka.common.serialization.StringSerializer\n";
    let file = file(content);
    let found = PropertySources { file: Some(file.path()), ..PropertySources::default() }
        .read()
        .expect("it is right");
    assert_eq!(found.brokers.as_deref(), Some("broker.example:9092"));
    let wanted = [
        ("security.protocol", "SASL_PLAINTEXT"),
        ("sasl.username", "ME"),
        ("sasl.password", "hu;sh"),
        ("sasl.mechanism", "PLAIN"),
        ("client.dns.lookup", "use_all_dns_ips"),
        ("session.timeout.ms", "45000"),
        ("acks", "all"),
    ];
    assert_eq!(Ok(found.list), listed(&wanted));
    assert!(found.remarks.iter().any(|remark| remark.contains("key.serializer")), "{:?}", found.remarks);
}

#[cfg(unix)]
#[test]
fn a_file_with_secrets_that_everyone_may_read_is_told_of() {
    use std::os::unix::fs::PermissionsExt;
    for (content, mode, wanted) in
        [("sasl.password=hush\n", 0o644, 1), ("sasl.password=hush\n", 0o640, 0), ("client.id=me\n", 0o644, 0)]
    {
        let file = file(content);
        std::fs::set_permissions(file.path(), std::fs::Permissions::from_mode(mode)).expect("it is ours");
        let found = PropertySources { file: Some(file.path()), ..PropertySources::default() }
            .read()
            .expect("it is right");
        assert_eq!(found.remarks.len(), wanted, "{content:?} {mode:o}: {:?}", found.remarks);
    }
}

#[test]
fn what_is_wrong_is_told_with_its_place() {
    let file = file("client.id=me\n\n# comment\nacks=QZXJ\n");
    let path = file.path().display().to_string();
    let said = |sources: PropertySources<'_>| sources.read().expect_err("it is wrong");
    for (error, parts) in [
        (
            said(PropertySources { file: Some(file.path()), ..PropertySources::default() }),
            [&format!("{path}, line 4: property acks"), "always all"],
        ),
        (
            said(PropertySources { list: "client.id=me;acks=QZXJ", ..PropertySources::default() }),
            ["KAFKA_PROPERTIES, entry 2: property acks", "always all"],
        ),
        (
            said(PropertySources { list: "sasl.password=a;QZXJ=b", ..PropertySources::default() }),
            ["KAFKA_PROPERTIES, entry 2: its name, which is not shown", "in quotes"],
        ),
        (
            said(PropertySources { list: "sasl.password=\"a;QZXJ=b", ..PropertySources::default() }),
            ["KAFKA_PROPERTIES, entry 1 (sasl.password)", "not closed"],
        ),
        (
            said(PropertySources { flags: &["sasl.pasword=QZXJ".to_owned()], ..PropertySources::default() }),
            ["-X number 1", "sasl.password is like it"],
        ),
        (
            said(PropertySources { flags: &["QZXJ".to_owned()], ..PropertySources::default() }),
            ["-X number 1", "not name=value"],
        ),
        (
            said(PropertySources {
                variables: variables(&[("KAFKA_PROPERTY_ACKS", "QZXJ")]),
                ..PropertySources::default()
            }),
            ["KAFKA_PROPERTY_ACKS: property acks", "always all"],
        ),
        (
            said(PropertySources { file: Some(Path::new("/no/such/file")), ..PropertySources::default() }),
            ["--kafka-config: /no/such/file", "cannot be read"],
        ),
    ] {
        assert!(parts.iter().all(|part| error.contains(part)) && !error.contains("QZXJ"), "{error}");
    }
}

/// Every piece of four letters of a secret, those apart that any text may have.
pub fn pieces(secret: &str) -> impl Iterator<Item = String> {
    let letters: Vec<char> = secret.chars().collect();
    let pieces: Vec<String> = letters.windows(4).map(String::from_iter).collect();
    pieces.into_iter().filter(|piece| piece.chars().filter(|char| "QZXJ\u{416}".contains(*char)).count() >= 2)
}

/// What secrets are made of.
const SIGNS: [&str; 19] = [
    "Q", "Z", "X", "J", "\u{416}", "QZ", "XJ", "ZX", ";", "=", "\"", "'", "\\", " ", "#", "\n", "acks",
    "\\u00", "\0",
];

/// Names of properties, secret and not, well written and not.
const NAMES: [&str; 17] = [
    "sasl.password",
    "sasl.username",
    "ssl.key.pem",
    "sasl.oauthbearer.config",
    "sasl.jaas.config",
    "SASL.PASSWORD",
    "sasl.pasword",
    "ssl.truststore.password",
    "basic.auth.user.info",
    "acks",
    "retries",
    "batch.size",
    "compression.type",
    "retry.backoff.ms",
    "nobody.knows",
    "debug",
    "",
];

/// A password with a `;` in it, as every connection string of Azure Event Hubs has, was cut in two: `--print-config` and the error
/// showed its rest.
///
/// `BKES_CASES` sets the number of cases; a failure names the seed of its case.
#[test]
fn no_piece_of_a_secret_is_shown_however_it_is_given() {
    let cases = std::env::var("BKES_CASES").map_or(1_500, |cases| cases.parse().expect("a number"));
    let (mut taken, mut refused) = (0, 0);
    for seed in 0..cases {
        let random = &mut fastrand::Rng::with_seed(seed);
        let secret: String = (0..random.usize(4..12)).map(|_| SIGNS[random.usize(..SIGNS.len())]).collect();
        let name = NAMES[random.usize(..NAMES.len())];
        let given = match random.u8(..5) {
            0 => format!("{name}=\"{secret}\""),
            1 => format!("{name}='{secret}"),
            2 => format!("{name} {secret}"),
            3 => secret.clone(),
            _ => format!("{name}={secret}"),
        };
        let list = ["client.id=me;", ""][random.usize(..2)].to_owned()
            + &given
            + [";acks=all", "", ";;"][random.usize(..3)];
        let secret_file = file(&given);
        let flags = [given.clone()];
        let variable = variables(&[(&format!("{PREFIX}{}", in_variable(name)), &secret)]);
        for sources in [
            PropertySources { list: &list, ..PropertySources::default() },
            PropertySources { flags: &flags, ..PropertySources::default() },
            PropertySources {
                variables: if secret.contains('\0') { Vec::new() } else { variable },
                ..PropertySources::default()
            },
            PropertySources { file: Some(secret_file.path()), ..PropertySources::default() },
        ] {
            let shown = match sources.read() {
                Ok(found) => {
                    taken += 1;
                    let shown = found
                        .list
                        .iter()
                        .map(|(name, value)| format!("{name}={}\n", shown_value(name, value)));
                    shown.chain(found.remarks.clone()).chain([format!("{found:?}")]).collect::<String>()
                }
                Err(error) => {
                    refused += 1;
                    error
                }
            };
            for piece in pieces(&secret) {
                assert!(!shown.contains(&piece), "seed {seed}: {given:?} shows {piece:?}: {shown}");
            }
        }
    }
    println!("{taken} taken, {refused} refused");
    assert!(taken > cases / 4 && refused > cases / 4, "{taken} taken, {refused} refused");
}
