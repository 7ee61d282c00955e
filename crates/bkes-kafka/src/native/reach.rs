//! Whether the brokers can be reached, by what librdkafka tried and what became of it.
//!
//! librdkafka says "all brokers are down" as soon as the last connection is closed, also when a broker closes it in order because
//! nobody used it for ten minutes. That is no outage: the next record opens it again. So the log counts as down when a connection
//! to every broker was *tried* since anything was heard of one, and each try failed.

use super::Code;
use std::collections::{BTreeMap, BTreeSet};

/// What is known of the brokers of one handle. There are few of them, and so are names here.
#[derive(Default, Debug)]
pub struct Reach {
    /// Brokers to which a try failed since the last sign of life, by host and port.
    failed: BTreeSet<String>,
    /// How many brokers librdkafka knew when no connection was left, if that was since then too: it may know more later.
    brokers: Option<usize>,
    /// Brokers that told where they are to be found, by their number: where that is, and what became of the try.
    advertised: BTreeMap<i32, (String, String)>,
}

impl Reach {
    /// librdkafka reported an error. Says why the brokers are down if they are, as far as was tried.
    pub fn error(&mut self, code: Code, words: &str) -> Option<String> {
        if code == Code::RD_KAFKA_RESP_ERR__ALL_BROKERS_DOWN {
            // "3/3 brokers are down"
            let count = words.split_once('/').and_then(|(_, rest)| rest.split(' ').next()?.parse().ok());
            self.brokers = count.or(self.brokers);
        } else if is_failed_try(code, words) {
            let name = words.split_once(": ").map_or(words, |(name, _)| name);
            let name = name.split_once('/').map_or(name, |(address, _)| address);
            self.failed.insert(name.to_owned());
            if let Some((number, address, cause)) = advertised(words) {
                self.advertised.insert(number, (address.to_owned(), cause.to_owned()));
            }
        }
        let all_failed = self.brokers.is_some_and(|count| self.failed.len() >= count.max(1));
        all_failed.then(|| {
            let names = self.failed.iter().map(String::as_str).collect::<Vec<_>>().join(", ");
            if self.failed.len() == 1 && is_failed_try(code, words) {
                words.to_owned()
            } else {
                format!("no broker can be reached: {names} were tried")
            }
        })
    }

    /// A broker answered: what was tried before counts for nothing.
    pub fn alive(&mut self) {
        self.failed.clear();
        self.brokers = None;
        self.advertised.clear();
    }

    /// Brokers that are not found where they told that they are. Whoever set that up thinks of the address that clients are given to
    /// begin with, which may well answer.
    pub fn misplaced(&self) -> Option<String> {
        let each = self.advertised.iter().map(|(number, (address, cause))| {
            format!("broker {number} advertises {address}, and there: {cause}")
        });
        let all = each.collect::<Vec<_>>().join("; ");
        (!all.is_empty()).then(|| format!("{all} (advertised.listeners of the broker)"))
    }

    /// Whether anything is held against the brokers since the last sign of life.
    pub fn is_in_doubt(&self) -> bool {
        !self.failed.is_empty() || self.brokers.is_some()
    }
}

/// The number, the address and the rest, where the words are about a broker that told its address itself.
fn advertised(words: &str) -> Option<(i32, &str, &str)> {
    let (name, cause) = words.split_once(": ")?;
    let (address, number) = name.rsplit_once('/')?;
    let cause = cause.split_once(" (after ").map_or(cause, |(cause, _)| cause);
    Some((number.parse().ok()?, address, cause)).filter(|_| address.contains(':'))
}

/// Whether this was an attempt to connect or to be answered. That a standing connection was closed is none: whoever needs one
/// opens it again, and that is the attempt.
fn is_failed_try(code: Code, words: &str) -> bool {
    match code {
        Code::RD_KAFKA_RESP_ERR__TRANSPORT => !words.contains("in state UP"),
        Code::RD_KAFKA_RESP_ERR__RESOLVE
        | Code::RD_KAFKA_RESP_ERR__TIMED_OUT
        | Code::RD_KAFKA_RESP_ERR__SSL
        | Code::RD_KAFKA_RESP_ERR__AUTHENTICATION => true,
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const ALL_DOWN: (Code, &str) = (Code::RD_KAFKA_RESP_ERR__ALL_BROKERS_DOWN, "2/2 brokers are down");
    const CLOSED: (Code, &str) =
        (Code::RD_KAFKA_RESP_ERR__TRANSPORT, "a:1/1: Disconnected (after 600123ms in state UP)");
    const REFUSED_BY_A: (Code, &str) = (
        Code::RD_KAFKA_RESP_ERR__TRANSPORT,
        "a:1/1: Connect to ipv4#1.2.3.4:1 failed: Connection refused (after 0ms in state CONNECT)",
    );
    const NO_ANSWER_OF_A: (Code, &str) = (
        Code::RD_KAFKA_RESP_ERR__TIMED_OUT,
        "a:1/1: 3 request(s) timed out: disconnect (after 9ms in state UP)",
    );
    const UNKNOWN_B: (Code, &str) = (
        Code::RD_KAFKA_RESP_ERR__RESOLVE,
        "b:1/bootstrap: Failed to resolve 'b:1' (after 5ms in state CONNECT)",
    );
    const B_AS_NODE: (Code, &str) =
        (Code::RD_KAFKA_RESP_ERR__RESOLVE, "b:1/2: Failed to resolve 'b:1' (after 5ms in state CONNECT)");
    const OTHER: (Code, &str) = (Code::RD_KAFKA_RESP_ERR_TOPIC_AUTHORIZATION_FAILED, "c:1/1: denied");

    fn is_down_after(errors: &[(Code, &str)]) -> bool {
        let mut reach = Reach::default();
        errors.iter().fold(false, |_, (code, words)| reach.error(*code, words).is_some())
    }

    /// The story: 5 of 40 appends on a quiet instance were refused, because a broker had closed connections that nobody used.
    #[test]
    fn brokers_are_down_when_each_was_tried_and_not_because_connections_are_closed() {
        assert!(!is_down_after(&[CLOSED, ALL_DOWN]));
        assert!(!is_down_after(&[ALL_DOWN, REFUSED_BY_A, REFUSED_BY_A]), "the other one may be there");
        assert!(!is_down_after(&[ALL_DOWN, UNKNOWN_B, B_AS_NODE]), "that is one broker");
        assert!(!is_down_after(&[REFUSED_BY_A, UNKNOWN_B]), "librdkafka may know more of them");
        assert!(!is_down_after(&[ALL_DOWN, REFUSED_BY_A, OTHER]));
        assert!(is_down_after(&[CLOSED, ALL_DOWN, REFUSED_BY_A, UNKNOWN_B]));
        assert!(is_down_after(&[REFUSED_BY_A, UNKNOWN_B, ALL_DOWN]), "in either order");
        assert!(is_down_after(&[ALL_DOWN, NO_ANSWER_OF_A, B_AS_NODE]));
    }

    /// The story: the only message was "timed out while waiting for controller".
    #[test]
    fn a_broker_that_is_not_where_it_says_is_named_with_that_address() {
        let mut reach = Reach::default();
        reach.error(UNKNOWN_B.0, UNKNOWN_B.1);
        assert_eq!(reach.misplaced(), None, "it told nothing yet");
        reach.error(Code::RD_KAFKA_RESP_ERR__TRANSPORT, "GroupCoordinator/1: a:1: Connect to a:1 failed");
        assert_eq!(reach.misplaced(), None, "that is a part, not a broker");
        reach.error(CLOSED.0, CLOSED.1);
        assert_eq!(reach.misplaced(), None, "it was there");
        reach.error(REFUSED_BY_A.0, REFUSED_BY_A.1);
        let told = reach.misplaced().expect("it refused");
        assert!(
            told.starts_with("broker 1 advertises a:1, and there: Connect to ipv4#1.2.3.4:1 failed"),
            "{told}"
        );
        assert!(told.contains("Connection refused (advertised.listeners"), "{told}");
        reach.error(B_AS_NODE.0, B_AS_NODE.1);
        assert!(reach.misplaced().is_some_and(|told| told.contains("broker 2 advertises b:1")));
        reach.alive();
        assert_eq!(reach.misplaced(), None);
    }

    #[test]
    fn an_answer_ends_it_and_the_next_tries_count_anew() {
        let mut reach = Reach::default();
        for (code, words) in [ALL_DOWN, REFUSED_BY_A] {
            assert_eq!(reach.error(code, words), None);
        }
        let down = reach.error(UNKNOWN_B.0, UNKNOWN_B.1).expect("both were tried");
        assert!(down.contains("a:1") && down.contains("b:1"), "{down}");
        reach.alive();
        assert!(!reach.is_in_doubt());
        for (code, words) in [REFUSED_BY_A, UNKNOWN_B] {
            assert_eq!(reach.error(code, words), None, "a third one may have answered");
        }
        assert!(reach.is_in_doubt());
        assert!(reach.error(ALL_DOWN.0, ALL_DOWN.1).is_some());
    }
}
