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

fn marked(number: u64, order: u64, place: Option<(u32, u32)>) -> RecordClass {
    RecordClass::Marked(Marker { stamp: stamp(number, place), order: Order(order) })
}

#[test]
fn the_longest_marker_takes_just_the_room_that_is_made_for_it() {
    let marker = Marker { stamp: stamp(u64::MAX, Some((1000, 1000))), order: Order(u64::MAX - 1) };
    let headers = marker.headers();
    let bytes: usize = headers.iter().map(|header| header.value.as_ref().map_or(0, Bytes::len)).sum();
    assert_eq!(bytes, MARKER_TEXT_BYTES_MAX);
    assert_eq!(classify(&headers), RecordClass::Marked(marker));
}

#[test]
fn headers_are_classified_as_the_format_says() {
    let b = |rest: &str| format!("1;{INCARNATION};{rest}");
    let one = |bkes: &str, order: &str| classify(&headers(&[("order", Some(order)), ("bkes", Some(bkes))]));
    assert_eq!(one(&b("42"), "17"), marked(42, 17, None));
    assert_eq!(one(&b("0"), "0"), marked(0, 0, None));
    assert_eq!(one(&b("42;2/3"), "17"), marked(42, 17, Some((2, 3))));
    assert_eq!(one(&b("42;1000/1000"), "17"), marked(42, 17, Some((1000, 1000))));
    assert_eq!(one(&b("18446744073709551615"), "1"), marked(u64::MAX, 1, None));
    for order in
        ["", "-1", "+1", "01", " 1", "1 ", "1.0", "18446744073709551616", "18446744073709551615", "x"]
    {
        assert_eq!(one(&b("42"), order), RecordClass::Broken(Some(stamp(42, None))), "order {order:?}");
    }
    for rest in [
        "",
        "01",
        "42;",
        "42;0/2",
        "42;3/2",
        "42;1/1",
        "42;1/1001",
        "42;1/2;",
        "42;1",
        "42;01/2",
        "-1",
        "42;1/2/3",
    ] {
        assert_eq!(one(&b(rest), "17"), RecordClass::Broken(None), "number {rest:?}");
    }
    for bkes in ["1;", "1;00FF00FF00FF00FF;1", "1;00ff00ff00ff00f;1", "1;00ff00ff00ff00ff0;1", "1;;1"] {
        assert_eq!(one(bkes, "17"), RecordClass::Broken(None), "bkes {bkes:?}");
    }
    for bkes in ["", "1", "01;x", "0;x", "x;y", ";", "1:00ff00ff00ff00ff:1", "-2;x", "99999999999999999999;x"]
    {
        assert_eq!(one(bkes, "17"), RecordClass::Foreign, "bkes {bkes:?}");
    }
    assert_eq!(one("2;anything", "17"), RecordClass::Newer { format: 2 });
}

#[test]
fn the_last_header_of_a_name_counts_and_a_null_one_is_no_value() {
    let good = format!("1;{INCARNATION};7");
    let last =
        [("bkes", Some("nonsense")), ("order", Some("x")), ("order", Some("3")), ("bkes", Some(&good))];
    assert_eq!(classify(&headers(&last)), marked(7, 3, None));
    assert_eq!(
        classify(&headers(&[("bkes", Some(&good)), ("order", Some("3")), ("bkes", None)])),
        RecordClass::Foreign
    );
    assert_eq!(classify(&headers(&[("bkes", Some(&good))])), RecordClass::Broken(Some(stamp(7, None))));
    assert_eq!(classify(&headers(&[("order", Some("3"))])), RecordClass::Foreign);
    assert_eq!(classify(&[]), RecordClass::Foreign);
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
        incarnation: u64, number: u64, order in 0..u64::MAX, place in proptest::option::of((2u32..=1000, 0u32..1000)),
    ) {
        let place = place.map(|(count, i)| BatchPlace { i: i % count + 1, count });
        let marker = Marker { stamp: Stamp { incarnation: Incarnation(incarnation), number, place }, order: Order(order) };
        prop_assert_eq!(classify(&marker.headers()), RecordClass::Marked(marker));
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
        let _ = classify(&list);
    }
}
