//! What the librdkafka of this build can do.

use super::{sys, text};
use std::ffi::c_char;

/// The names of its features, as `builtin.features` has them.
fn builtin_features() -> Vec<String> {
    // SAFETY: the configuration is ours and destroyed here; the words are as long as they are said to be.
    let listed = unsafe {
        let mut words: [c_char; 1_024] = [0; 1_024];
        let mut size = words.len();
        let conf = sys::rd_kafka_conf_new();
        let result =
            sys::rd_kafka_conf_get(conf, c"builtin.features".as_ptr(), words.as_mut_ptr(), &mut size);
        sys::rd_kafka_conf_destroy(conf);
        if result == sys::rd_kafka_conf_res_t::RD_KAFKA_CONF_OK {
            text(words.as_ptr())
        } else {
            String::new()
        }
    };
    listed.split(',').filter(|name| !name.is_empty()).map(str::to_owned).collect()
}

/// The mechanisms that `sasl.mechanisms` may name.
pub fn sasl_mechanisms() -> Vec<&'static str> {
    let features = builtin_features();
    let known: [(&str, &[&str]); 4] = [
        ("sasl_plain", &["PLAIN"]),
        ("sasl_scram", &["SCRAM-SHA-256", "SCRAM-SHA-512"]),
        ("sasl_oauthbearer", &["OAUTHBEARER"]),
        ("sasl_gssapi", &["GSSAPI"]),
    ];
    let has = |feature: &str| features.iter().any(|name| name == feature);
    known.into_iter().filter(|(feature, _)| has(feature)).flat_map(|(_, names)| names).copied().collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_build_has_plain_and_those_with_tls_the_others() {
        let mechanisms = sasl_mechanisms();
        assert!(mechanisms.contains(&"PLAIN"), "{mechanisms:?} of {:?}", builtin_features());
        for name in ["SCRAM-SHA-256", "SCRAM-SHA-512", "OAUTHBEARER"] {
            assert_eq!(mechanisms.contains(&name), cfg!(feature = "tls"), "{name}: {mechanisms:?}");
        }
    }
}
