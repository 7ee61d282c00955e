//! Events as JSON lines: what `read`, `follow` and `export` write, and what `append` and `import` read.

use crate::json_object;
use crate::json_writer::Object;
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use bkes_api::{AppendId, BatchPlace, Event, EventContent, Header, Key, Order, Origin};
use bkes_core::limits::BATCH_EVENTS_MAX;
use bytes::Bytes;
use serde_json::{Map, Value};

/// What `--help` says of them.
pub const FIELDS: &str = "Events as JSON, one object a line:
  key            the aggregate's key
  order          the event's place in its aggregate, from 0
  partition, offset, timestamp_ms
                 where it lies in the topic, and when it came there; import and append do not look at them
  value          the value; null of a tombstone
  headers        a list of {\"name\":...,\"value\":...}, value null of a null one; left out when there are none
  append_id      the id of its append, on the append's first event, if it has one
  batch          {\"index\":1,\"count\":3} on each event of an append of three
  foreign        true if another program than BKES wrote it
Bytes are a string if they are UTF-8; if not, the field is called key_base64, value_base64, name_base64 or append_id_base64 \
and has them in Base64.";

const KNOWN: [&str; 13] = [
    "key",
    "key_base64",
    "order",
    "partition",
    "offset",
    "timestamp_ms",
    "value",
    "value_base64",
    "headers",
    "append_id",
    "append_id_base64",
    "batch",
    "foreign",
];

/// Writes an event, without the end of the line.
pub fn write(out: &mut Vec<u8>, key: &Key, event: &Event) {
    let mut object = Object::begin(out);
    object.bytes("key", Some(key.bytes()));
    object.plain("order", event.order);
    object.plain("partition", event.partition);
    object.plain("offset", event.offset);
    object.optional("timestamp_ms", event.timestamp);
    object.bytes("value", event.value.as_deref());
    if !event.headers.is_empty() {
        let out = object.field("headers");
        for (index, header) in event.headers.iter().enumerate() {
            out.push(if index == 0 { b'[' } else { b',' });
            let mut header_object = Object::begin(out);
            header_object.bytes("name", Some(&header.name));
            header_object.bytes("value", header.value.as_deref());
            header_object.end();
        }
        out.push(b']');
    }
    match &event.origin {
        Origin::Foreign => object.plain("foreign", true),
        Origin::Bkes { batch, append_id } => {
            if let Some(id) = append_id {
                object.bytes("append_id", Some(id.bytes()));
            }
            if let Some(BatchPlace { i, count }) = batch {
                let mut place = Object::begin(object.field("batch"));
                place.plain("index", i);
                place.plain("count", count);
                place.end();
            }
        }
    }
    object.end();
}

/// An event that was read from a line.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct LineEvent {
    /// Its aggregate, if the line names it.
    pub key: Option<Key>,
    /// Its order, if the line names it.
    pub order: Option<Order>,
    /// Its value and headers.
    pub content: EventContent,
    /// The id of its append.
    pub append_id: Option<AppendId>,
    /// Its place in its append.
    pub batch: Option<BatchPlace>,
}

/// The end of an export.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct ExportEnd {
    /// The aggregates that were written.
    pub aggregates: u64,
    /// Their events.
    pub events: u64,
    /// The aggregates that were left out.
    pub left_out: u64,
}

/// A line of an export.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum ExportLine {
    /// An event.
    Event(LineEvent),
    /// The last line.
    End(ExportEnd),
}

/// Writes the end of an export, without the end of the line.
pub fn write_end(out: &mut Vec<u8>, end: &ExportEnd) {
    let mut object = Object::begin(out);
    let mut part = Object::begin(object.field("end"));
    part.plain("aggregates", end.aggregates);
    part.plain("events", end.events);
    part.optional("left_out", (end.left_out > 0).then_some(end.left_out));
    part.end();
    object.end();
}

/// What a line of an export is.
pub fn read_of_export(line: &[u8]) -> Result<ExportLine, String> {
    let mut fields = json_object::read(line)?;
    let Some(end) = fields.remove("end") else { return of_fields(fields).map(ExportLine::Event) };
    refuse_unknown(&fields, &[])?;
    let Value::Object(end) = end else { return Err("end: not an object".to_owned()) };
    refuse_unknown(&end, &["aggregates", "events", "left_out"])?;
    let field = |name| end.get(name).map(|value| number(name, value)).transpose();
    let (aggregates, events) = (field("aggregates")?, field("events")?);
    let missing = || "end: aggregates and events are needed".to_owned();
    let (aggregates, events) = aggregates.zip(events).ok_or_else(missing)?;
    Ok(ExportLine::End(ExportEnd { aggregates, events, left_out: field("left_out")?.unwrap_or_default() }))
}

/// The event of a line. A field that is not known is refused: it is a slip, and what it has would be lost.
pub fn read(line: &[u8]) -> Result<LineEvent, String> {
    of_fields(json_object::read(line)?)
}

fn of_fields(mut fields: Map<String, Value>) -> Result<LineEvent, String> {
    refuse_unknown(&fields, &KNOWN)?;
    let key = match bytes(&mut fields, "key")? {
        None => None,
        Some(bytes) => Some(bytes.and_then(Key::new).ok_or("key: a key has at least one byte")?),
    };
    let append_id = match bytes(&mut fields, "append_id")? {
        None => None,
        Some(bytes) => Some(bytes.and_then(AppendId::new).ok_or("append_id: an id has 1 to 64 bytes")?),
    };
    let value = bytes(&mut fields, "value")?.ok_or("value is missing; a tombstone has a null value")?;
    let order = fields.remove("order").map(|order| number("order", &order).map(Order)).transpose()?;
    let batch = fields.remove("batch").map(batch).transpose()?;
    let headers = match fields.remove("headers") {
        None => Vec::new(),
        Some(Value::Array(headers)) => headers.into_iter().map(header).collect::<Result<_, _>>()?,
        Some(_) => return Err("headers: not a list".to_owned()),
    };
    Ok(LineEvent { key, order, content: EventContent { value, headers }, append_id, batch })
}

fn refuse_unknown(fields: &Map<String, Value>, known: &[&str]) -> Result<(), String> {
    match fields.keys().find(|name| !known.contains(&name.as_str())) {
        Some(name) => Err(format!("field {name:?} is not known")),
        None => Ok(()),
    }
}

/// The bytes of a field in either of its forms: `None` if there is neither, `Some(None)` if they are null.
fn bytes(fields: &mut Map<String, Value>, name: &str) -> Result<Option<Option<Bytes>>, String> {
    let encoded = format!("{name}_base64");
    match (fields.remove(name), fields.remove(&encoded)) {
        (None, None) => Ok(None),
        (Some(_), Some(_)) => Err(format!("{name} and {encoded} exclude each other")),
        (Some(Value::Null), None) => Ok(Some(None)),
        (Some(Value::String(text)), None) => Ok(Some(Some(text.into()))),
        (Some(_), None) => Err(format!("{name}: not a string")),
        (None, Some(Value::String(text))) => {
            let bytes = STANDARD.decode(text).map_err(|error| format!("{encoded}: {error}"))?;
            Ok(Some(Some(bytes.into())))
        }
        (None, Some(_)) => Err(format!("{encoded}: not a string")),
    }
}

fn number(name: &str, value: &Value) -> Result<u64, String> {
    value.as_u64().ok_or_else(|| format!("{name}: not a whole number from 0 on"))
}

fn batch(value: Value) -> Result<BatchPlace, String> {
    let Value::Object(fields) = value else { return Err("batch: not an object".to_owned()) };
    refuse_unknown(&fields, &["index", "count"])?;
    let field = |name| {
        let value = fields.get(name).and_then(Value::as_u64).and_then(|number| u32::try_from(number).ok());
        value.ok_or_else(|| format!("batch: {name} is no number, or missing"))
    };
    let (i, count) = (field("index")?, field("count")?);
    if !(2..=BATCH_EVENTS_MAX).contains(&count) || !(1..=count).contains(&i) {
        return Err(format!(
            "batch: {i} of {count} is no place: an append has 2 to {BATCH_EVENTS_MAX} events here"
        ));
    }
    Ok(BatchPlace { i, count })
}

fn header(value: Value) -> Result<Header, String> {
    let Value::Object(mut fields) = value else { return Err("headers: not objects".to_owned()) };
    refuse_unknown(&fields, &["name", "name_base64", "value", "value_base64"])?;
    let name = bytes(&mut fields, "name")?.flatten().ok_or("headers: a name is missing")?;
    let value =
        bytes(&mut fields, "value")?.ok_or("headers: a value is missing; a null one is written null")?;
    Ok(Header { name, value })
}

#[cfg(test)]
mod tests {
    use super::*;
    use bkes_api::{Offset, Partition, TimestampMs};

    fn event(value: Option<&'static [u8]>, headers: Vec<Header>, origin: Origin) -> Event {
        Event {
            order: Order(u64::MAX),
            partition: Partition(2),
            offset: Offset(9),
            timestamp: Some(TimestampMs(-1)),
            value: value.map(Bytes::from_static),
            headers,
            origin,
        }
    }

    #[test]
    fn what_is_written_is_read_the_same() {
        let header = |name: &'static [u8], value: Option<&'static [u8]>| Header {
            name: Bytes::from_static(name),
            value: value.map(Bytes::from_static),
        };
        let id = AppendId::new(&b"\x00\xff"[..]);
        let batch = Some(BatchPlace { i: 1, count: 3 });
        let headers = vec![header(b"a", Some(b"1")), header(b"a", None), header(b"\xff", Some(b"\xfe"))];
        let table: [(&[u8], Event); 5] = [
            (b"text", event(Some(b"v"), Vec::new(), Origin::Foreign)),
            (b"\xff", event(None, headers.clone(), Origin::Bkes { batch: None, append_id: None })),
            (b"\x1b[31m", event(Some(b""), headers, Origin::Bkes { batch, append_id: id.clone() })),
            ("\u{202e}".as_bytes(), event(Some(b"\x00\xff"), Vec::new(), Origin::Foreign)),
            (
                b"\"\\\n",
                event(Some(b"\"\\\n"), Vec::new(), Origin::Bkes { batch, append_id: AppendId::new("x") }),
            ),
        ];
        for (key, event) in table {
            let key = Key::new(key).expect("not empty");
            let mut line = Vec::new();
            write(&mut line, &key, &event);
            assert!(!line.contains(&b'\n') && !line.contains(&0x1b), "{line:?}");
            let (append_id, batch) = match event.origin {
                Origin::Foreign => (None, None),
                Origin::Bkes { batch, append_id } => (append_id, batch),
            };
            let content = EventContent { value: event.value, headers: event.headers };
            let expected = LineEvent { key: Some(key), order: Some(event.order), content, append_id, batch };
            assert_eq!(read(&line), Ok(expected));
        }
    }

    #[test]
    fn an_event_is_one_line_with_these_fields() {
        let key = Key::new("k").expect("not empty");
        let mut line = Vec::new();
        write(&mut line, &key, &event(None, Vec::new(), Origin::Foreign));
        let expected = r#"{"key":"k","order":18446744073709551615,"partition":2,"offset":9,"timestamp_ms":-1,"value":null,"foreign":true}"#;
        assert_eq!(String::from_utf8(line).expect("JSON is UTF-8"), expected);
    }

    #[test]
    fn the_end_of_an_export_is_read_as_it_is_written_and_is_no_event() {
        let table = [
            (ExportEnd { aggregates: 3, events: 7, left_out: 0 }, r#"{"end":{"aggregates":3,"events":7}}"#),
            (
                ExportEnd { aggregates: 0, events: u64::MAX, left_out: 1 },
                r#"{"end":{"aggregates":0,"events":18446744073709551615,"left_out":1}}"#,
            ),
        ];
        for (end, expected) in table {
            let mut line = Vec::new();
            write_end(&mut line, &end);
            assert_eq!(String::from_utf8_lossy(&line), expected);
            assert_eq!(read_of_export(&line), Ok(ExportLine::End(end)));
            assert!(read(&line).expect_err("it is no event").contains("\"end\""));
        }
        for wrong in [
            r#"{"end":{"aggregates":3}}"#,
            r#"{"end":{"aggregates":3,"events":-1}}"#,
            r#"{"end":{"aggregates":3,"events":1,"more":1}}"#,
            r#"{"end":1}"#,
            r#"{"end":{"aggregates":3,"events":1},"value":"v"}"#,
        ] {
            assert!(read_of_export(wrong.as_bytes()).is_err(), "{wrong}");
        }
        assert!(matches!(read_of_export(br#"{"value":"v"}"#), Ok(ExportLine::Event(_))));
    }

    #[test]
    fn slips_are_refused_by_name() {
        let table = [
            ("", "not JSON"),
            ("[]", "not a JSON object"),
            ("{}", "value is missing"),
            (r#"{"value":1}"#, "value: not a string"),
            (r#"{"vlaue":"x","value":"x"}"#, "\"vlaue\""),
            (r#"{"value":"x","value_base64":"eA=="}"#, "exclude"),
            (r#"{"value_base64":"?"}"#, "value_base64"),
            (r#"{"value_base64":null}"#, "value_base64"),
            (r#"{"value":"x","order":-1}"#, "order"),
            (r#"{"value":"x","order":1.5}"#, "order"),
            (r#"{"value":"x","key":""}"#, "key"),
            (r#"{"value":"x","key":null}"#, "key"),
            (r#"{"value":"x","append_id":""}"#, "append_id"),
            (r#"{"value":"x","headers":{"a":"b"}}"#, "headers"),
            (r#"{"value":"x","headers":[{"name":"a"}]}"#, "a value is missing"),
            (r#"{"value":"x","headers":[{"value":"a"}]}"#, "a name is missing"),
            (r#"{"value":"x","headers":[{"name":"a","value":"b","x":1}]}"#, "\"x\""),
            (r#"{"value":"x","batch":{"index":0,"count":2}}"#, "batch"),
            (r#"{"value":"x","batch":{"index":3,"count":2}}"#, "batch"),
            (r#"{"value":"x","batch":{"index":1,"count":1001}}"#, "batch"),
            (r#"{"value":"x","batch":[1,2]}"#, "batch"),
            (r#"{"value":"\ud800"}"#, "not JSON"),
            (r#"{"value":"a","value":"b"}"#, "\"value\" is there twice"),
            (r#"{"value":"a","headers":[{"name":"a","name":"b","value":null}]}"#, "\"name\" is there twice"),
        ];
        for (line, expected) in table {
            let error = read(line.as_bytes()).expect_err(line);
            assert!(error.contains(expected), "{line}: {error}");
        }
    }
}
