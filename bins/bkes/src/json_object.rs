//! Objects of JSON in which no name comes twice: of two values of one name one would be lost.

use serde::Deserialize;
use serde::de::{Deserializer, Error, MapAccess, SeqAccess, Visitor};
use serde_json::{Map, Value};
use std::fmt;

/// A value whose objects have each name once.
struct Once(Value);

/// The object that this text is.
pub fn read(text: &[u8]) -> Result<Map<String, Value>, String> {
    let Once(value) = serde_json::from_slice(text).map_err(|error| format!("not JSON: {error}"))?;
    match value {
        Value::Object(fields) => Ok(fields),
        _ => Err("not a JSON object".to_owned()),
    }
}

impl<'de> Deserialize<'de> for Once {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Once, D::Error> {
        deserializer.deserialize_any(OnceVisitor)
    }
}

struct OnceVisitor;

impl<'de> Visitor<'de> for OnceVisitor {
    type Value = Once;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("any JSON")
    }

    fn visit_unit<E: Error>(self) -> Result<Once, E> {
        Ok(Once(Value::Null))
    }

    fn visit_bool<E: Error>(self, value: bool) -> Result<Once, E> {
        Ok(Once(value.into()))
    }

    fn visit_u64<E: Error>(self, value: u64) -> Result<Once, E> {
        Ok(Once(value.into()))
    }

    fn visit_i64<E: Error>(self, value: i64) -> Result<Once, E> {
        Ok(Once(value.into()))
    }

    fn visit_f64<E: Error>(self, value: f64) -> Result<Once, E> {
        Ok(Once(value.into()))
    }

    fn visit_str<E: Error>(self, value: &str) -> Result<Once, E> {
        Ok(Once(value.into()))
    }

    fn visit_string<E: Error>(self, value: String) -> Result<Once, E> {
        Ok(Once(value.into()))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut members: A) -> Result<Once, A::Error> {
        let mut all = Vec::new();
        while let Some(Once(member)) = members.next_element()? {
            all.push(member);
        }
        Ok(Once(Value::Array(all)))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut fields: A) -> Result<Once, A::Error> {
        let mut all = Map::new();
        while let Some((name, Once(value))) = fields.next_entry::<String, Once>()? {
            if all.contains_key(&name) {
                return Err(A::Error::custom(format_args!("{name:?} is there twice")));
            }
            all.insert(name, value);
        }
        Ok(Once(Value::Object(all)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn an_object_is_read_as_it_is() {
        let text = r#"{"a":[null,true,-1,18446744073709551615,1.5,"\u0041",{"a":1}],"b":{"a":{}}}"#;
        let expected = json!({"a": [null, true, -1, u64::MAX, 1.5, "A", {"a": 1}], "b": {"a": {}}});
        assert_eq!(read(text.as_bytes()).map(Value::Object), Ok(expected));
    }

    #[test]
    fn a_name_that_comes_twice_and_what_is_no_object_are_refused() {
        let table = [
            (r#"{"a":1,"a":1}"#, "\"a\" is there twice"),
            (r#"{"a":[{"b":1,"\u0062":2}]}"#, "\"b\" is there twice"),
            ("[]", "not a JSON object"),
            ("", "not JSON"),
            ("{} {}", "not JSON"),
            (r#"{"a":"\ud800"}"#, "not JSON"),
        ];
        for (text, expected) in table {
            let error = read(text.as_bytes()).expect_err(text);
            assert!(error.contains(expected), "{text}: {error}");
        }
    }
}
