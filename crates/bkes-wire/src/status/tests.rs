//! Statuses: the table of the contract, their size, and those that others make.

use super::*;
use crate::limits::STATUS_BYTES_MAX;
use bkes_api::{Detail, ErrorClass, Key, Offset, Order, Partition};
use tonic::codegen::http::HeaderMap;

const CONTRACT: &str = include_str!("../../../../proto/bkes/v2/event_store.proto");

/// The table at the head of the contract: each code with the reasons that stand beside it, and what may be concluded.
fn table() -> Vec<(ErrorClass, String, String)> {
    let (mut class, mut code, mut lines) = (None, String::new(), Vec::new());
    let comment = CONTRACT.lines().take_while(|line| line.starts_with("//"));
    for line in comment.map(|line| line.trim_start_matches('/')) {
        class = match line.trim_start().split(':').next() {
            Some("rejected") => Some(ErrorClass::Rejected),
            Some("unavailable") => Some(ErrorClass::Unavailable),
            Some("unknown") => Some(ErrorClass::Unknown),
            _ if line.trim().is_empty() => None,
            _ => class,
        };
        let Some(class) = class else { continue };
        let mut rest = line;
        if line.starts_with("     ") && !line.starts_with("      ") {
            let (name, after) = line.trim_start().split_once(' ').expect("a code and its reasons");
            (code, rest) = (name.to_owned(), after);
        }
        let words = rest.split(|c: char| !c.is_ascii_uppercase() && c != '_').filter(|word| word.len() > 2);
        let reasons = words.filter(|word| Reason::of_name(word).is_some());
        lines.extend(reasons.map(|reason| (class, code.clone(), reason.to_owned())));
    }
    lines
}

#[test]
fn every_reason_has_the_code_and_the_class_of_the_contracts_table() {
    let table = table();
    for reason in Reason::ALL {
        // Those of a client's own are not in it.
        if matches!(reason, Reason::Unreachable | Reason::AnswerLost) {
            continue;
        }
        let code = format!("{:?}", of(&Failure::new(*reason, "")).code());
        let screaming: String = code.chars().enumerate().fold(String::new(), |text, (at, c)| {
            let gap = if at > 0 && c.is_uppercase() { "_" } else { "" };
            text + gap + &c.to_uppercase().to_string()
        });
        let told = (reason.class(), screaming, reason.name().to_owned());
        assert!(table.contains(&told), "{told:?} is not in the table: {table:?}");
    }
}

/// Header bytes as HTTP/2 counts them.
fn header_bytes(status: &Status) -> usize {
    let mut headers = HeaderMap::new();
    status.add_header(&mut headers).expect("it can be written");
    headers.iter().map(|(name, value)| name.as_str().len() + value.len() + 32).sum()
}

#[test]
fn no_status_is_larger_than_2_kib_whatever_it_tells() {
    let id = AppendId::new(vec![0xff; 64]).expect("64 bytes");
    let key = Key::new(vec![0x00; 1_000_000]).expect("it has bytes");
    let messages = [
        "x".repeat(100_000),
        "\u{1F980}%".repeat(100_000),
        " ".repeat(100_000),
        key.to_string(),
        format!("{key:?}\u{e9}"),
    ];
    let rest = Some(Duration::MAX);
    let mut largest = 0;
    for message in &messages {
        for reason in Reason::ALL {
            let details = [
                None,
                Some(Detail::Field("\u{1F980}".repeat(1_000_000))),
                Some(Detail::Size { bytes: u64::MAX, bytes_max: u64::MAX }),
                Some(Detail::LookedFrom(Order(u64::MAX))),
            ];
            for detail in details {
                let failure =
                    Failure { reason: *reason, message: message.clone(), retry_after: rest, detail };
                largest = largest.max(header_bytes(&of(&failure)));
                let unknown = AppendFailure::Unknown { id: Some(id.clone()), failure };
                largest = largest.max(header_bytes(&of_append(&unknown)));
            }
        }
    }
    let (first, partition, offset) = (Order(u64::MAX), Partition(u32::MAX), Offset(u64::MAX));
    let used = AppendFailure::IdUsed { id, first, partition, offset };
    largest = largest.max(header_bytes(&of_append(&used)));
    assert!(largest <= STATUS_BYTES_MAX, "{largest} bytes");
    assert!(largest > STATUS_BYTES_MAX / 2, "the bound is tried: {largest} bytes");
}

#[test]
fn a_message_is_cut_between_characters_and_a_short_one_is_whole() {
    assert_eq!(cut("a short one \u{1F980}"), "a short one \u{1F980}");
    let long = "\u{1F980}".repeat(1_000);
    let kept = cut(&long);
    assert!(!kept.is_empty() && kept.len() < long.len() && kept.chars().all(|c| c == '\u{1F980}'));
    assert_eq!(at_most("\u{e9}\u{e9}", 3), "\u{e9}");
}

#[test]
fn a_status_without_our_details_leaves_an_append_unknown_whatever_its_code() {
    let id = AppendId::new("id").expect("it has bytes");
    for number in 1..=16 {
        let code = Code::from_i32(number);
        let mut foreign = ErrorDetails::new();
        foreign.set_error_info("CONFLICT", "example.com", std::collections::HashMap::new());
        let statuses = [
            Status::new(code, "from a proxy"),
            Status::with_error_details(code, "from another service", foreign),
            Status::with_details(code, "from nobody", vec![0xff; 40].into()),
        ];
        for status in statuses {
            let appended = append_failure(&status, Some(id.clone()));
            let other = failure(&status);
            if code == Code::Unimplemented {
                assert_eq!((appended.reason(), other.reason), (Reason::Unsupported, Reason::Unsupported));
                continue;
            }
            assert!(
                matches!(&appended, AppendFailure::Unknown { id: Some(of), .. } if *of == id),
                "{status:?}"
            );
            assert_eq!(
                (appended.reason(), other.reason),
                (Reason::AnswerLost, Reason::Unreachable),
                "{status:?}"
            );
        }
    }
}

#[test]
fn an_append_for_which_there_was_no_connection_was_not_sent() {
    let refused = std::io::Error::from(std::io::ErrorKind::ConnectionRefused);
    let status = Status::from_error(Box::new(ConnectError(Box::new(refused))));
    let failure = append_failure(&status, None);
    assert_eq!((failure.class(), failure.reason()), (ErrorClass::Unavailable, Reason::Unreachable));
}

/// A server stored an append, and answered in an encoding that our library does not know. The library made that `UNIMPLEMENTED`, and the
/// append was told as rejected.
#[test]
fn an_answer_that_cannot_be_decoded_leaves_an_append_unknown() {
    let mut status = Status::unimplemented("Content is compressed with `x` which isn't supported");
    status.metadata_mut().insert("grpc-accept-encoding", "identity".parse().expect("text"));
    let (appended, other) = (append_failure(&status, None), failure(&status));
    assert_eq!((appended.class(), appended.reason()), (ErrorClass::Unknown, Reason::AnswerLost));
    assert_eq!(other.reason, Reason::Unreachable);
}

#[test]
fn a_deadline_of_the_callers_own_is_told_from_what_a_server_says() {
    let own = Status::from_error(Box::new(tonic::TimeoutExpired(())));
    assert!(is_timed_out(&own) && append_failure(&own, None).class() == ErrorClass::Unknown);
    assert!(!is_timed_out(&Status::new(own.code(), own.message())));
}

#[test]
fn a_rest_is_believed_for_a_day_at_most() {
    let asks = Failure::new(Reason::LogDown, "down").after(Duration::MAX);
    for failure in [failure(&of(&asks)), from_message(to_message(&asks))] {
        assert_eq!(failure.retry_after, Some(RETRY_AFTER_MAX));
    }
}

#[test]
fn a_reason_of_a_newer_server_goes_by_its_code() {
    let told = |code| {
        let mut details = ErrorDetails::new();
        details.set_error_info("NEW_ONE", DOMAIN, std::collections::HashMap::new());
        append_failure(&Status::with_error_details(code, "new", details), None)
    };
    for (code, class) in [
        (Code::InvalidArgument, ErrorClass::Rejected),
        (Code::Aborted, ErrorClass::Rejected),
        (Code::NotFound, ErrorClass::Rejected),
        (Code::FailedPrecondition, ErrorClass::Rejected),
        (Code::Unavailable, ErrorClass::Unavailable),
        (Code::ResourceExhausted, ErrorClass::Unavailable),
        (Code::DeadlineExceeded, ErrorClass::Unavailable),
        (Code::Unknown, ErrorClass::Unknown),
        (Code::Internal, ErrorClass::Unknown),
    ] {
        let failure = told(code);
        assert_eq!(failure.class(), class, "{code:?}");
        assert!(failure.to_string().contains("NEW_ONE"), "{failure}");
    }
}

#[test]
fn our_statuses_carry_what_standard_tools_look_for() {
    let failure = Failure::new(Reason::InvalidRequest, "limit must be at least 1")
        .about(Detail::Field("limit".into()))
        .after(Duration::from_millis(1_500));
    let status = of(&failure);
    let details = status.get_error_details();
    let violations = &details.bad_request().expect("it names the field").field_violations;
    assert_eq!(
        (violations[0].field.as_str(), violations[0].description.as_str()),
        ("limit", "must be at least 1")
    );
    let rest = details.retry_info().and_then(|info| info.retry_delay);
    assert_eq!(rest, Some(Duration::from_millis(1_500)));
    assert!(is_ours(&status) && !is_ours(&Status::invalid_argument("x")));
}
