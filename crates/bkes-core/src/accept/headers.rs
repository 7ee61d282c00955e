//! A cut head that only unmarked records show: the original numbered its events in an `order` header too.
//!
//! Where `order` counts, it is as far above the number of a key's events here at one record of the key as at the next: by 0 if
//! the key began here, by what was cut off otherwise. A header of the same name that means something else does not keep
//! that distance, and one record that breaks it refutes all; a forwarded record says nothing. One that counts from 1 keeps
//! a distance of 1 for every key, so 1 alone is no cut either. Only a fold that starts above the first offset asks.
//!
//! What is gathered is kept in memory alone: a fold that was resumed gathers anew, from any later record of the same keys.

use crate::marker::unmarked_order;
use crate::{Order, Record};
use bytes::Bytes;
use std::collections::BTreeMap;

/// Records that kept the distance of the one before them in their key, until `order` is taken to count.
const KEPT: u32 = 2;

/// Keys whose distance is remembered: enough to meet some of them again, and at most some 100 KiB with keys of usual length.
const KEYS_MAX: usize = 1_024;

/// What unmarked records of one partition say of their orders.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub(super) struct OrderHeaders {
    distances: BTreeMap<Bytes, u64>,
    kept: u32,
    /// Whether a key lay at 0, at 1, and farther.
    seen: [bool; 3],
    refuted: bool,
}

impl OrderHeaders {
    /// Takes in a foreign record, of a key with that next order. Says whether keys of the partition were cut off.
    pub fn show_cut(&mut self, record: &Record, next: Option<Order>) -> bool {
        if self.refuted {
            return false;
        }
        let (Some(order), Some(key)) = (unmarked_order(&record.headers), &record.key) else { return false };
        let Some(distance) = order.0.checked_sub(next.unwrap_or(Order::FIRST).0) else {
            self.refute();
            return false;
        };
        match self.distances.get(key) {
            Some(known) if *known != distance => {
                self.refute();
                return false;
            }
            Some(_) => self.kept = self.kept.saturating_add(1),
            None if self.distances.len() < KEYS_MAX => drop(self.distances.insert(key.clone(), distance)),
            None => {}
        }
        self.seen[distance.min(2) as usize] = true;
        let [zero, one, more] = self.seen;
        self.kept >= KEPT && (more || (one && zero))
    }

    fn refute(&mut self) {
        *self = OrderHeaders { refuted: true, ..OrderHeaders::default() };
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Header, Offset, Partition};
    use std::collections::HashMap;

    /// Whether a cut is shown by rows of `key order`, and at which; `-` is a record without the header, `fwd` a forwarded one.
    fn shown(rows: &str) -> Option<usize> {
        let (mut headers, mut counts) = (OrderHeaders::default(), HashMap::new());
        rows.split(',').map(str::trim).position(|row| {
            let (key, order) = row.split_once(' ').expect("key order");
            let header = |name: &'static str, value: &str| Header {
                name: name.into(),
                value: Some(value.to_owned().into()),
            };
            let list = match order {
                "-" => vec![],
                "fwd" => vec![header("order", "7"), header("bkes", "1;of another record")],
                order => vec![header("order", order)],
            };
            let key = Some(Bytes::from(key.to_owned()));
            let (partition, offset) = (Partition(0), Offset(0));
            let record =
                Record { partition, offset, timestamp: None, key: key.clone(), value: None, headers: list };
            let count = counts.entry(key).or_insert(0u64);
            let next = Some(Order(*count)).filter(|_| *count > 0);
            *count += 1;
            headers.show_cut(&record, next)
        })
    }

    #[test]
    fn keys_that_begin_above_0_and_count_up_show_a_cut() {
        assert_eq!(shown("a 7, a 8, a 9"), Some(2));
        assert_eq!(shown("a 0, a 1, b 5, b 6"), Some(3));
        assert_eq!(shown("a 0, a 1, a 2, b 5"), Some(3), "that the header counts is known");
        assert_eq!(shown("a 1, a 2, b 0, b 1"), Some(3));
        assert_eq!(
            shown("a 7, a -, a 9, a fwd, a 11"),
            Some(4),
            "events without an order of their own count too"
        );
    }

    #[test]
    fn a_header_that_means_something_else_shows_none() {
        assert_eq!(shown("a 1001, a 1001, a 1001, b 1002, b 1002"), None, "the number of a purchase order");
        assert_eq!(shown("a 5, b 7, a 3, a 9, b 8"), None, "a rank");
        assert_eq!(shown("a 1001, a 1001, b 5, b 6, b 7, b 8"), None, "refuted once and for good");
        assert_eq!(shown("a 1, a 2, a 3, b 1, b 2, c 1"), None, "it counts from 1");
        assert_eq!(shown("a 0, a 1, a 2, b 0, b 1"), None, "nothing is cut off");
        assert_eq!(shown("a 9, b 8, c 7"), None, "no key is seen twice");
        assert_eq!(shown("a x, a 8, a +9, a 09"), None);
        assert_eq!(shown("a fwd, a fwd, a fwd, a fwd"), None);
        assert_eq!(shown("a 3, a 4, a 2, a 3, a 4"), None);
    }

    #[test]
    fn what_is_remembered_is_bounded() {
        let mut headers = OrderHeaders::default();
        for number in 0..5_000 {
            let order = Header { name: "order".into(), value: Some("3".into()) };
            let key = Some(Bytes::from(format!("key {number}")));
            let (partition, offset) = (Partition(0), Offset(number));
            let record =
                Record { partition, offset, timestamp: None, key, value: None, headers: vec![order] };
            assert!(!headers.show_cut(&record, None));
        }
        assert_eq!(headers.distances.len(), KEYS_MAX);
    }
}
