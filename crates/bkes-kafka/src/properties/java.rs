//! Names that Java's client has and librdkafka has not: translated where both say the same, left out where they mean nothing here,
//! and otherwise refused with librdkafka's way.

use super::{PropertyError, jaas};

/// What becomes of a name.
#[derive(Clone, Copy)]
enum Java {
    /// It has another name here.
    Renamed(&'static str),
    /// It has another name, and -1 (what the system chooses) is 0.
    Buffer(&'static str),
    /// User name and password.
    Jaas,
    /// It says what kind of file another property names.
    StoreType,
    /// A file of certificates, read where it is PEM.
    Truststore,
    /// It means nothing here.
    LeftOut,
    /// librdkafka has another way.
    Explained(&'static str),
}

use Java::{Buffer, Explained, Jaas, LeftOut, Renamed, StoreType, Truststore};

const TLS_CHOICE: &str = "librdkafka has no such choice: ssl.cipher.suites, ssl.curves.list and ssl.sigalgs.list narrow what OpenSSL \
                          offers";
const CLASS: &str = "it names a Java class, and there is no Java here";
const TRUSTSTORE: &str = "librdkafka reads certificates in PEM only: write them with `keytool -exportcert -rfc -keystore FILE -alias \
                          NAME`, and name that file as ssl.ca.location. (A file that is PEM already is taken with \
                          ssl.truststore.type=PEM)";
const KEYSTORE: &str = "librdkafka reads keys from PKCS#12 (ssl.keystore.location and ssl.keystore.password) or from PEM \
                        (ssl.key.location and ssl.certificate.location): `keytool -importkeystore -deststoretype PKCS12` converts";

static NAMES: &[(&str, Java)] = &[
    ("sasl.jaas.config", Jaas),
    ("ssl.truststore.type", StoreType),
    ("ssl.truststore.location", Truststore),
    ("ssl.truststore.certificates", Renamed("ssl.ca.pem")),
    ("ssl.truststore.password", Explained(TRUSTSTORE)),
    ("ssl.keystore.type", StoreType),
    ("ssl.keystore.key", Renamed("ssl.key.pem")),
    ("ssl.keystore.certificate.chain", Renamed("ssl.certificate.pem")),
    ("fetch.max.wait.ms", Renamed("fetch.wait.max.ms")),
    ("send.buffer.bytes", Buffer("socket.send.buffer.bytes")),
    ("receive.buffer.bytes", Buffer("socket.receive.buffer.bytes")),
    ("ssl.protocol", Explained(TLS_CHOICE)),
    ("ssl.enabled.protocols", Explained(TLS_CHOICE)),
    ("ssl.provider", Explained("use ssl.providers, which names those of OpenSSL")),
    ("ssl.engine.factory.class", Explained(CLASS)),
    ("ssl.keymanager.algorithm", Explained(CLASS)),
    ("ssl.trustmanager.algorithm", Explained(CLASS)),
    ("ssl.secure.random.implementation", Explained(CLASS)),
    ("security.providers", Explained(CLASS)),
    ("sasl.login.class", Explained(CLASS)),
    ("sasl.login.callback.handler.class", Explained(CLASS)),
    ("sasl.client.callback.handler.class", Explained(CLASS)),
    ("interceptor.classes", Explained(CLASS)),
    ("partitioner.class", Explained("keys are placed by BKES itself: use --partitioner")),
    ("max.request.size", Explained("the topic's max.message.bytes decides")),
    ("buffer.memory", Explained("use --max-in-flight")),
    ("max.block.ms", Explained("use --message-timeout-ms")),
    ("key.serializer", LeftOut),
    ("value.serializer", LeftOut),
    ("key.deserializer", LeftOut),
    ("value.deserializer", LeftOut),
    ("max.poll.records", LeftOut),
    ("default.api.timeout.ms", LeftOut),
    ("exclude.internal.topics", LeftOut),
    ("metadata.max.idle.ms", LeftOut),
    ("metric.reporters", LeftOut),
    ("metrics.num.samples", LeftOut),
    ("metrics.recording.level", LeftOut),
    ("metrics.sample.window.ms", LeftOut),
    ("auto.include.jmx.reporter", LeftOut),
    ("schema.registry.url", LeftOut),
    ("basic.auth.credentials.source", LeftOut),
    ("basic.auth.user.info", LeftOut),
    ("schema.registry.basic.auth.user.info", LeftOut),
];

/// The names that are translated, left out or explained.
pub fn names() -> impl Iterator<Item = &'static str> {
    NAMES.iter().map(|(name, _)| *name)
}

/// The list in librdkafka's names, in its order.
pub fn translate(
    given: Vec<(&'static str, String)>,
    remarks: &mut Vec<String>,
) -> Result<Vec<(&'static str, String)>, PropertyError> {
    let last = |wanted: &str| {
        given.iter().rfind(|(name, _)| *name == wanted).map(|(_, value)| value.trim().to_owned())
    };
    let (truststore, keystore) = (last("ssl.truststore.type"), last("ssl.keystore.type"));
    let is = |kind: &Option<String>, wanted: &str| {
        kind.as_ref().is_some_and(|kind| kind.eq_ignore_ascii_case(wanted))
    };
    let (has_pem, has_pkcs12) = (is(&truststore, "PEM"), is(&keystore, "PKCS12"));
    let mut list = Vec::new();
    for (name, value) in given {
        let refused = |reason: &str| Err(PropertyError { name, reason: reason.to_owned() });
        let java = NAMES.iter().find(|(java, _)| *java == name).map(|(_, java)| *java);
        match java {
            Some(Renamed(here)) => list.push((here, value)),
            Some(Buffer(here)) => {
                list.push((here, if value.trim() == "-1" { "0".to_owned() } else { value }));
            }
            Some(Jaas) => match jaas::credentials(&value) {
                Ok((username, password)) => {
                    list.extend([("sasl.username", username), ("sasl.password", password)]);
                }
                Err(reason) => return refused(reason),
            },
            Some(Truststore) if has_pem => list.push(("ssl.ca.location", value)),
            Some(Truststore) => return refused(TRUSTSTORE),
            Some(StoreType) if name == "ssl.truststore.type" && has_pem => {}
            Some(StoreType) if name == "ssl.keystore.type" && has_pkcs12 => {}
            Some(StoreType) if name == "ssl.truststore.type" => return refused(TRUSTSTORE),
            Some(StoreType) => return refused(KEYSTORE),
            Some(LeftOut) => {
                remarks.push(format!("property {name} of Java's client is left out: it means nothing here"))
            }
            Some(Explained(reason)) => return refused(reason),
            // Java's client does not look at the brokers' names when nothing is said here.
            None if name == "ssl.endpoint.identification.algorithm" && value.trim().is_empty() => {
                list.push((name, "none".to_owned()));
            }
            None => list.push((name, value)),
        }
    }
    Ok(list)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::properties::table::TABLE;

    fn translated(list: &[(&'static str, &str)]) -> Result<Vec<(&'static str, String)>, PropertyError> {
        translate(list.iter().map(|(name, value)| (*name, (*value).to_owned())).collect(), &mut Vec::new())
    }

    fn listed(list: &[(&'static str, &str)]) -> Vec<(&'static str, String)> {
        list.iter().map(|(name, value)| (*name, (*value).to_owned())).collect()
    }

    #[test]
    fn names_that_say_the_same_are_translated() {
        for (java, here) in [
            (
                &[(
                    "sasl.jaas.config",
                    "org.apache.kafka.common.security.scram.ScramLoginModule required username=me password='a;b';",
                )][..],
                &[("sasl.username", "me"), ("sasl.password", "a;b")][..],
            ),
            (
                &[("ssl.truststore.location", "ca.pem"), ("ssl.truststore.type", "pem")],
                &[("ssl.ca.location", "ca.pem")],
            ),
            (&[("ssl.truststore.certificates", "PEM")], &[("ssl.ca.pem", "PEM")]),
            (&[("ssl.keystore.key", "PEM")], &[("ssl.key.pem", "PEM")]),
            (
                &[("ssl.keystore.type", "PKCS12"), ("ssl.keystore.location", "k.p12")],
                &[("ssl.keystore.location", "k.p12")],
            ),
            (&[("send.buffer.bytes", "-1")], &[("socket.send.buffer.bytes", "0")]),
            (&[("receive.buffer.bytes", "65536")], &[("socket.receive.buffer.bytes", "65536")]),
            (
                &[("ssl.endpoint.identification.algorithm", "")],
                &[("ssl.endpoint.identification.algorithm", "none")],
            ),
            (&[("client.id", "me"), ("max.poll.records", "1")], &[("client.id", "me")]),
        ] {
            assert_eq!(translated(java), Ok(listed(here)), "{java:?}");
        }
    }

    #[test]
    fn names_without_a_counterpart_are_explained_and_no_value_is_repeated() {
        for (name, part) in [
            ("ssl.truststore.location", "ssl.ca.location"),
            ("ssl.truststore.password", "keytool -exportcert"),
            ("ssl.keystore.type", "PKCS#12"),
            ("sasl.jaas.config", "PlainLoginModule"),
            ("sasl.login.callback.handler.class", "Java class"),
            ("partitioner.class", "--partitioner"),
        ] {
            let said = translated(&[(name, "QZXJ")]).expect_err("it is refused").to_string();
            assert!(said.contains(name) && said.contains(part) && !said.contains("QZXJ"), "{said}");
        }
    }

    #[test]
    fn a_name_is_either_of_java_or_of_librdkafka() {
        for name in names() {
            assert!(!TABLE.iter().any(|row| row.name == name), "{name}");
        }
    }
}
