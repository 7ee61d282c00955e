//! Which orders a read shows, by what it asks for and what there is.

use bkes_api::{Direction, Order, Read};

/// The orders that a read shows: from `low` on, below `high`.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Shown {
    pub low: Order,
    pub high: Order,
    /// Whether nothing lies beyond them in the direction of the read.
    pub is_complete: bool,
}

/// What a read shows of an aggregate whose events have the orders from `base` on, below `end`.
pub fn shown(read: &Read, base: Order, end: Order) -> Shown {
    match read.direction {
        Direction::Forwards => {
            let low = read.from.map_or(base, |from| from.max(base)).min(end);
            let to = read.to.map_or(end, |to| Order(to.0.saturating_add(1)).min(end));
            let high = to.min(Order(low.0.saturating_add(read.limit))).max(low);
            Shown { low, high, is_complete: high == end }
        }
        Direction::Backwards => {
            let high = read.from.map_or(end, |from| Order(from.0.saturating_add(1)).min(end)).max(base);
            let to = read.to.map_or(base, |to| to.max(base));
            let low = to.max(Order(high.0.saturating_sub(read.limit))).min(high);
            Shown { low, high, is_complete: low == base }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use bkes_api::Key;

    /// Every read of every small aggregate, against the events picked one by one.
    #[test]
    fn every_read_of_a_small_aggregate_shows_what_picking_one_by_one_shows() {
        let orders = || (0..6).map(|order| Some(Order(order))).chain([None, Some(Order(u64::MAX))]);
        let all = Read::all(Key::new("key").expect("not empty"));
        for (base, end) in [(0, 0), (0, 1), (0, 4), (2, 2), (2, 5)] {
            for direction in [Direction::Forwards, Direction::Backwards] {
                for (from, to) in orders().flat_map(|from| orders().map(move |to| (from, to))) {
                    for limit in [0, 1, 2, 4, u64::MAX] {
                        let read = Read { direction, from, to, limit, ..all.clone() };
                        let Shown { low, high, is_complete } = shown(&read, Order(base), Order(end));
                        let (picked, is_last) = pick(&read, base, end);
                        let found: Vec<u64> = (low.0..high.0).collect();
                        assert_eq!((found, is_complete), (picked, is_last), "{base}..{end}: {read:?}");
                    }
                }
            }
        }
    }

    /// The orders shown, lowest first, and whether none lies beyond them.
    fn pick(read: &Read, base: u64, end: u64) -> (Vec<u64>, bool) {
        let mut there: Vec<u64> = (base..end).collect();
        let is_back = read.direction == Direction::Backwards;
        if is_back {
            there.reverse();
        }
        let is_before = |order: u64, other: Order| if is_back { order > other.0 } else { order < other.0 };
        let is_after = |order: u64, other: Order| if is_back { order < other.0 } else { order > other.0 };
        let reached: Vec<u64> =
            there.into_iter().filter(|order| read.from.is_none_or(|from| !is_before(*order, from))).collect();
        let wanted = reached.iter().copied().filter(|order| read.to.is_none_or(|to| !is_after(*order, to)));
        let mut picked: Vec<u64> = wanted.take(usize::try_from(read.limit).unwrap_or(usize::MAX)).collect();
        let is_last = picked.len() == reached.len();
        picked.sort_unstable();
        (picked, is_last)
    }
}
