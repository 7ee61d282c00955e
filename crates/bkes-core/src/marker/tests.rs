//! The grammar of the marker as tables, and as properties.

use super::*;
use proptest::prelude::*;

const INCARNATION: &str = "00ff00ff00ff00ff";

fn headers(list: &[(&str, Option<&str>)]) -> Vec<Header> {
    let header = |(name, value): &(&str, Option<&str>)| Header {
        name: Bytes::copy_from_slice(name.as_bytes()),
        value: value.map(|value| Bytes::copy_from_slice(value.as_bytes())),
    };
    list.iter().map(header).collect()
}

fn stamp(number: u64, place: Option<(u32, u32)>) -> Stamp {
    let incarnation = Incarnation(0x00ff_00ff_00ff_00ff);
    Stamp { incarnation, number, place: place.map(|(i, count)| BatchPlace { i, count }) }
}

const KEY: &str = "book-42";

fn record(value: Option<&str>, headers: Vec<Header>) -> Record {
    let (partition, offset) = (crate::Partition(0), crate::Offset(5));
    let value = value.map(|value| Bytes::copy_from_slice(value.as_bytes()));
    Record { partition, offset, timestamp: None, key: Some(KEY.into()), value, headers }
}

fn payload(value: Option<&str>) -> PayloadSum {
    PayloadSum::of(Some(KEY.as_bytes()), value.map(str::as_bytes))
}

fn marker(number: u64, order: u64, place: Option<(u32, u32)>) -> Marker {
    Marker { stamp: stamp(number, place), order: Order(order), base: Position(1_200) }
}

/// The last field of a `bkes` that begins with `text`, on a record with this value and order.
fn sum(value: Option<&str>, order: Option<&str>, text: &str) -> String {
    let mut sum = PartsSum::after(payload(value));
    sum.part(order.map(str::as_bytes));
    sum.part(Some(text.as_bytes()));
    format!("{:08x}", sum.finish())
}

/// What a record is whose `bkes` is this text with a sum that fits.
fn summed(order: Option<&str>, text: &str) -> RecordClass {
    let bkes = format!("{text}{}", sum(Some("rented"), order, text));
    let order = order.map(|order| ("order", Some(order)));
    let list: Vec<_> = order.into_iter().chain([("bkes", Some(&bkes[..]))]).collect();
    classify(&record(Some("rented"), headers(&list)))
}

/// docs/formats.md gives two records and their headers: they are these.
#[test]
fn the_examples_of_the_format_are_what_is_written() {
    let formats = include_str!("../../../../docs/formats.md");
    let incarnation = Incarnation(0x9f86_d081_884c_7d65);
    let examples = [("rented", 3, 1), ("returned", 4, 2)].map(|(value, order, i)| {
        let place = Some(BatchPlace { i, count: 2 });
        let stamp = Stamp { incarnation, number: 12, place };
        let marker = Marker { stamp, order: Order(order), base: Position(1_200) };
        let [order, bkes] = marker.headers(payload(Some(value)));
        let text = |header: &Header| {
            String::from_utf8_lossy(header.value.as_deref().unwrap_or_default()).into_owned()
        };
        assert_eq!(
            classify(&record(Some(value), vec![order.clone(), bkes.clone()])),
            RecordClass::Marked(marker)
        );
        format!("order:{},bkes:{}   {KEY}   {value}", text(&order), text(&bkes))
    });
    for example in examples {
        assert!(formats.contains(&example), "docs/formats.md does not show {example}");
    }
}

#[test]
fn the_longest_marker_takes_just_the_room_that_is_made_for_it() {
    let stamp = stamp(u64::MAX, Some((1000, 1000)));
    let marker = Marker { stamp, order: Order(ORDER_MAX), base: Position(u64::MAX) };
    let headers = marker.headers(payload(None));
    let bytes: usize = headers.iter().map(|header| header.value.as_ref().map_or(0, Bytes::len)).sum();
    assert_eq!(bytes, MARKER_TEXT_BYTES_MAX);
    assert_eq!(classify(&record(None, headers.into())), RecordClass::Marked(marker));
}

#[test]
fn headers_are_classified_as_the_format_says() {
    let one = |rest: &str, order: &str| summed(Some(order), &format!("1;{INCARNATION};{rest};"));
    let marked = |number, order, place| RecordClass::Marked(marker(number, order, place));
    assert_eq!(one("42;1200", "17"), marked(42, 17, None));
    assert_eq!(one("0;1200", "0"), marked(0, 0, None));
    assert_eq!(one("42;1200;2/3", "17"), marked(42, 17, Some((2, 3))));
    assert_eq!(one("42;1200;1000/1000", "17"), marked(42, 17, Some((1000, 1000))));
    assert_eq!(one("18446744073709551615;1200", "1"), marked(u64::MAX, 1, None));
    assert_eq!(one("42;1200", "9223372036854775807"), marked(42, ORDER_MAX, None));
    let top = Marker { base: Position(u64::MAX), ..marker(42, 17, None) };
    assert_eq!(one("42;18446744073709551615", "17"), RecordClass::Marked(top));
    for order in ["", "-1", "+1", "01", " 1", "1 ", "1.0", "18446744073709551616", "9223372036854775808", "x"]
    {
        assert_eq!(one("42;1200", order), RecordClass::Forwarded, "order {order:?}");
    }
    assert_eq!(summed(None, &format!("1;{INCARNATION};42;1200;")), RecordClass::Forwarded);
    for rest in [
        "",
        "42",
        "01;1200",
        "42;01200",
        "42;",
        ";1200",
        "-1;1200",
        "42;-1",
        "42;1200;",
        "42;1200;0/2",
        "42;1200;3/2",
        "42;1200;1/1",
        "42;1200;1/1001",
        "42;1200;1/2;",
        "42;1200;1/2;3",
        "42;1200;1",
        "42;1200;01/2",
        "42;1200;1/2/3",
        "42;18446744073709551616",
    ] {
        assert_eq!(one(rest, "17"), RecordClass::Forwarded, "rest {rest:?}");
    }
    for text in [
        "",
        ";",
        "1;",
        "1;;1;2;",
        "1;00FF00FF00FF00FF;1;2;",
        "1;00ff00ff00ff00f;1;2;",
        "x;y;",
        "1;00ff00ff00ff00ff0;1;2;",
        "01;00ff00ff00ff00ff;1;2;",
        "0;00ff00ff00ff00ff;1;2;",
        "-2;x;",
        "1:00ff00ff00ff00ff:1:2;",
        "99999999999999999999;x;",
        "2;x",
    ] {
        assert_eq!(summed(Some("17"), text), RecordClass::Forwarded, "text {text:?}");
    }
}

/// A record of a newer format that somebody forwarded stopped its partition for good.
#[test]
fn a_newer_format_is_obeyed_only_where_its_sum_fits() {
    assert_eq!(summed(Some("17"), "2;anything;"), RecordClass::Newer { format: 2 });
    assert_eq!(summed(None, "3;"), RecordClass::Newer { format: 3 });
    for bkes in ["2;anything", "2;anything;", "2;anything;00000000", "2;00000000"] {
        let class =
            classify(&record(Some("rented"), headers(&[("order", Some("17")), ("bkes", Some(bkes))])));
        assert_eq!(class, RecordClass::Forwarded, "{bkes}");
    }
}

/// Kafka Streams and others forward headers by default: an event that answers one of ours carried its marker along, was judged
/// as a copy, and was void without a word.
#[test]
fn a_marker_on_another_record_is_forwarded() {
    let [order, bkes] = marker(42, 17, Some((2, 3))).headers(payload(Some("rented")));
    let ours = record(Some("rented"), vec![order.clone(), bkes.clone()]);
    assert_eq!(classify(&ours), RecordClass::Marked(marker(42, 17, Some((2, 3)))));
    let traced = Header { name: "trace".into(), value: Some("x".into()) };
    let more = Record { headers: vec![traced.clone(), order.clone(), traced, bkes.clone()], ..ours.clone() };
    assert_eq!(classify(&more), classify(&ours), "other headers are not covered");
    let own = |value: &str| Header {
        name: ORDER_HEADER.into(),
        value: Some(Bytes::copy_from_slice(value.as_bytes())),
    };
    let no_value = Header { name: BKES_HEADER.into(), value: None };
    let mut cased = bkes.value.as_deref().unwrap_or_default().to_ascii_uppercase();
    cased[..2].copy_from_slice(b"1;");
    let cased = Header { name: BKES_HEADER.into(), value: Some(cased.into()) };
    let forwarded = [
        Record { key: Some("book-43".into()), ..ours.clone() },
        Record { key: None, ..ours.clone() },
        Record { value: Some("returned".into()), ..ours.clone() },
        Record { value: Some("".into()), ..ours.clone() },
        Record { value: None, ..ours.clone() },
        Record { headers: vec![bkes.clone()], ..ours.clone() },
        Record { headers: vec![own("18"), bkes.clone()], ..ours.clone() },
        Record { headers: vec![own("17"), order.clone(), bkes.clone()], ..ours.clone() },
        Record { headers: vec![order.clone(), bkes.clone(), own("5")], ..ours.clone() },
        Record { headers: vec![order.clone(), bkes.clone(), bkes.clone()], ..ours.clone() },
        Record { headers: vec![order.clone(), no_value.clone(), bkes.clone()], ..ours.clone() },
        Record { headers: vec![order.clone(), bkes.clone(), no_value], ..ours.clone() },
        Record { headers: vec![order.clone(), cased], ..ours.clone() },
    ];
    for record in forwarded {
        assert_eq!(classify(&record), RecordClass::Forwarded, "{record:?}");
    }
    assert_eq!(classify(&Record { headers: vec![order, own("3")], ..ours.clone() }), RecordClass::Foreign);
    assert_eq!(classify(&Record { headers: vec![], ..ours }), RecordClass::Foreign);
}

/// Names are bytes, and C strings end at a NUL: a name that only begins like ours is another one.
#[test]
fn a_name_that_only_begins_like_ours_is_another_one() {
    let [order, bkes] = marker(42, 17, None).headers(payload(Some("rented")));
    let named =
        |name: &'static [u8], header: &Header| Header { name: Bytes::from_static(name), ..header.clone() };
    let tailed = record(Some("rented"), vec![order.clone(), named(b"bkes\0tail", &bkes)]);
    assert_eq!(classify(&tailed), RecordClass::Foreign);
    let tailed = record(Some("rented"), vec![named(b"order\0tail", &order), order, bkes]);
    assert_eq!(classify(&tailed), RecordClass::Marked(marker(42, 17, None)));
}

#[test]
fn a_member_has_its_appends_stamp_at_another_place() {
    assert_eq!(stamp(7, Some((1, 3))).of_member(2), stamp(7, Some((2, 3))));
    assert_eq!(stamp(7, None).of_member(1), stamp(7, None));
}

#[test]
fn two_header_names_are_reserved() {
    let reserved = |name: &'static [u8]| is_reserved(&Header { name: Bytes::from_static(name), value: None });
    assert!(reserved(b"bkes") && reserved(b"order"));
    assert!(!reserved(b"") && !reserved(b"Bkes") && !reserved(b"orders") && !reserved(b"trace"));
}

proptest! {
    #[test]
    fn a_written_marker_reads_back_as_itself(
        incarnation: u64, number: u64, base: u64, order in 0..=ORDER_MAX, value in proptest::option::of(".{0,400}"),
        place in proptest::option::of((2u32..=1000, 0u32..1000)),
    ) {
        let place = place.map(|(count, i)| BatchPlace { i: i % count + 1, count });
        let stamp = Stamp { incarnation: Incarnation(incarnation), number, place };
        let marker = Marker { stamp, order: Order(order), base: Position(base) };
        let headers = marker.headers(payload(value.as_deref()));
        prop_assert_eq!(classify(&record(value.as_deref(), headers.into())), RecordClass::Marked(marker));
    }

    #[test]
    fn any_bytes_are_classified_without_a_panic(
        list in proptest::collection::vec((any::<bool>(), proptest::option::of("[0-9a-f;/12]{0,40}")), 0..6),
    ) {
        let list: Vec<Header> = list
            .into_iter()
            .map(|(order, value)| Header {
                name: Bytes::from_static(if order { ORDER_HEADER } else { BKES_HEADER }),
                value: value.map(Bytes::from),
            })
            .collect();
        let _ = classify(&record(None, list));
    }
}
