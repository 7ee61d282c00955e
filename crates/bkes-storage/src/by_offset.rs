//! Events by their place in the log: offsets rise with orders, so the first event at an offset or above it is searched for among the
//! orders.

use bkes_core::{Offset, Order};
use std::cmp::Ordering;
use std::ops::Range;

/// The lowest of these orders whose event lies at `wanted` or above it; the end of the range if none does. `offset_of` says where the event
/// of an order in the range lies. A guess that is right costs one look, and one that is nearly right few.
pub fn first_at<E>(
    orders: Range<Order>,
    guess: Option<Order>,
    wanted: Offset,
    mut offset_of: impl FnMut(Order) -> Result<Offset, E>,
) -> Result<Order, E> {
    // The answer is in `low..=high`.
    let (mut low, mut high) = (orders.start.0, orders.end.0);
    let mut look = |order: u64| offset_of(Order(order)).map(|offset| offset.cmp(&wanted));
    if let (Some(Order(guess)), true) = (guess, low < high) {
        let mut at = guess.clamp(low, high - 1);
        // Away from the guess in growing steps, until the answer lies between two looks.
        let mut step = 1;
        let first = look(at)?;
        loop {
            let found = if step == 1 { first } else { look(at)? };
            match found {
                Ordering::Equal => return Ok(Order(at)),
                Ordering::Less => low = at + 1,
                Ordering::Greater => high = at,
            }
            let is_passed = (found == Ordering::Less) != (first == Ordering::Less);
            if is_passed || low >= high {
                break;
            }
            at = match found {
                Ordering::Less => (at + step).min(high - 1),
                _ => at.saturating_sub(step).max(low),
            };
            step *= 2;
        }
    }
    while low < high {
        let middle = low + (high - low) / 2;
        match look(middle)? {
            Ordering::Equal => return Ok(Order(middle)),
            Ordering::Less => low = middle + 1,
            Ordering::Greater => high = middle,
        }
    }
    Ok(Order(low))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::convert::Infallible;

    /// Every length, base, guess and offset that a small aggregate can have.
    #[test]
    fn the_first_event_at_an_offset_is_found_from_any_guess() {
        for (base, length) in [(0u64, 0u64), (0, 1), (3, 2), (0, 9), (5, 40)] {
            let orders = Order(base)..Order(base + length);
            let offset_of = |order: Order| Offset((order.0 - base) * 3 + 10);
            let guesses =
                (0..base + length + 3).map(|guess| Some(Order(guess))).chain([None, Some(Order(u64::MAX))]);
            for guess in guesses {
                for wanted in 0..(length * 3 + 15) {
                    let expected = (base..base + length)
                        .find(|order| offset_of(Order(*order)).0 >= wanted)
                        .unwrap_or(base + length);
                    let look = |order: Order| {
                        assert!(orders.contains(&order), "nothing else may be looked at");
                        Ok::<_, Infallible>(offset_of(order))
                    };
                    let found = first_at(orders.clone(), guess, Offset(wanted), look);
                    assert_eq!(found, Ok(Order(expected)), "{orders:?} from {guess:?} for {wanted}");
                }
            }
        }
    }

    #[test]
    fn a_right_guess_costs_one_look_and_a_near_one_few() {
        let looks = |guess: u64, wanted: u64| {
            let mut looks = 0;
            let offset_of = |Order(order)| {
                looks += 1;
                Ok::<_, Infallible>(Offset(order * 2))
            };
            let found = first_at(Order(0)..Order(1_000_000), Some(Order(guess)), Offset(wanted), offset_of);
            assert_eq!(found, Ok(Order(wanted.div_ceil(2))));
            looks
        };
        assert_eq!(looks(500_000, 1_000_000), 1);
        assert!(looks(500_000, 1_000_005) <= 5);
        assert!(looks(500_003, 1_000_001) <= 5);
        assert!(looks(0, 1_999_999) <= 45, "and a wrong one no more than twice a search");
    }
}
