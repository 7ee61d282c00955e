//! Events by where their appends lie in the log. An append *lies* where its last event does, and is decided there: so that place rises with
//! the order. Offsets by themselves do not. The first members of a batch may lie below an event of a lower order, where its writer
//! expected an event that came only after they did.

use bkes_core::{EventOutline, Offset, Order, StoredEvent};
use std::convert::Infallible;
use std::ops::Range;

/// An event, as far as it is needed to tell where its append lies.
pub trait Placed {
    /// Its order.
    fn order(&self) -> Order;

    /// Where its own record lies.
    fn offset(&self) -> Offset;

    /// The orders of the append that it is of.
    fn append(&self) -> Range<Order>;
}

impl Placed for StoredEvent {
    fn order(&self) -> Order {
        self.order
    }

    fn offset(&self) -> Offset {
        self.offset
    }

    fn append(&self) -> Range<Order> {
        self.append()
    }
}

impl Placed for EventOutline {
    fn order(&self) -> Order {
        self.order
    }

    fn offset(&self) -> Offset {
        self.offset
    }

    fn append(&self) -> Range<Order> {
        self.append()
    }
}

/// An append, as a look at one of its events tells it.
struct Append {
    orders: Range<u64>,
    lies_at: Offset,
}

/// The order of the first of the appends that lie at `wanted` or above it; the end of the range if none does. `event_at` gives the event of
/// an order in the range, which consists of whole appends. Each look asks it once, or twice for a batch. A guess that is right costs one
/// look, and one that is nearly right few.
pub fn first_at<T: Placed, E>(
    orders: Range<Order>,
    guess: Option<Order>,
    wanted: Offset,
    mut event_at: impl FnMut(Order) -> Result<T, E>,
) -> Result<Order, E> {
    // The answer is in `low..=high`.
    let (mut low, mut high) = (orders.start.0, orders.end.0);
    let mut look = |order: u64| -> Result<Append, E> {
        let event = event_at(Order(order))?;
        let Range { start, end } = event.append();
        // Whatever it says, the order is of the append, and the append in the range.
        let end = end.0.clamp(order + 1, orders.end.0);
        let lies_at = if end == order + 1 { event.offset() } else { event_at(Order(end - 1))?.offset() };
        Ok(Append { orders: start.0.clamp(orders.start.0, order)..end, lies_at })
    };
    if let (Some(Order(guess)), true) = (guess, low < high) {
        let mut at = guess.clamp(low, high - 1);
        // Away from the guess in growing steps, until the answer lies between two looks.
        let (mut step, mut first) = (1, None);
        loop {
            let found = look(at)?;
            let is_below = found.lies_at < wanted;
            if found.lies_at == wanted {
                return Ok(Order(found.orders.start));
            }
            if is_below {
                low = found.orders.end;
            } else {
                high = found.orders.start.max(low);
            }
            if *first.get_or_insert(is_below) != is_below || low >= high {
                break;
            }
            at = if is_below { (low + (step - 1)).min(high - 1) } else { high.saturating_sub(step).max(low) };
            step *= 2;
        }
    }
    while low < high {
        let found = look(low + (high - low) / 2)?;
        if found.lies_at < wanted {
            low = found.orders.end;
        } else {
            high = found.orders.start.max(low);
        }
    }
    Ok(Order(low))
}

/// Where, among all events of a key in a partition, those lie that [`first_at`] finds and what follows, up to so many: the append that
/// reaches them is whole.
pub fn range_from<T: Placed + Clone>(events: &[T], wanted: Offset, events_max: usize) -> Range<usize> {
    let base = events.first().map_or(0, |first| first.order().0);
    let orders = Order(base)..Order(base + events.len() as u64);
    let at = |order: Order| Ok::<_, Infallible>(events[(order.0 - base) as usize].clone());
    let Ok(Order(first)) = first_at(orders, None, wanted, at);
    let start = (first - base) as usize;
    let count = events_max.min(events.len() - start) + left_after(&events[start..], events_max);
    start..(start + count).min(events.len())
}

/// How many events are left of the append that the last of so many of these is of.
pub fn left_after<T: Placed>(events: &[T], events_max: usize) -> usize {
    let last = events_max.checked_sub(1).and_then(|last| events.get(last));
    last.map_or(0, |last| last.append().end.0.saturating_sub(last.order().0 + 1) as usize)
}

#[cfg(test)]
mod tests {
    use super::*;
    use bkes_core::{BatchPlace, Incarnation, Partition, Stamp};

    /// Of batches of these sizes, one after the other: the first members of each lie below the append before it, where there is room.
    fn interleaved(base: u64, sizes: &[u32]) -> Vec<EventOutline> {
        let mut outlines: Vec<EventOutline> = Vec::new();
        let mut lies_at = 10;
        for count in sizes {
            lies_at += 3 * u64::from(*count);
            for i in 1..=*count {
                let place = (*count > 1).then_some(BatchPlace { i, count: *count });
                let stamp = Some(Stamp { incarnation: Incarnation(1), number: 1, place });
                let offset = if i == *count {
                    lies_at
                } else {
                    (lies_at / 2).min(lies_at.saturating_sub(40)) + u64::from(i)
                };
                outlines.push(EventOutline {
                    order: Order(base + outlines.len() as u64),
                    partition: Partition(0),
                    offset: Offset(offset),
                    timestamp: None,
                    stamp,
                    append_id: None,
                });
            }
        }
        outlines
    }

    /// Those of the appends that lie at an offset or above it, looked at one by one.
    fn picked(outlines: &[EventOutline], wanted: u64) -> Vec<u64> {
        let lies_at = |outline: &EventOutline| {
            let last = |other: &&EventOutline| other.order.0 + 1 == outline.append().end.0;
            outlines.iter().find(last).expect("it is whole").offset.0
        };
        outlines.iter().filter(|outline| lies_at(outline) >= wanted).map(|outline| outline.order.0).collect()
    }

    const SIZES: [&[u32]; 6] =
        [&[], &[1], &[3], &[1, 1, 1, 1, 1, 1, 1, 1, 1], &[20, 1, 2], &[1, 2, 1, 7, 3, 1, 1, 40, 2, 5]];

    /// Every base, guess and offset that a small aggregate can have.
    #[test]
    fn the_first_append_at_an_offset_is_found_from_any_guess() {
        for (base, sizes) in [0u64, 5].into_iter().flat_map(|base| SIZES.map(|sizes| (base, sizes))) {
            let outlines = interleaved(base, sizes);
            let length = outlines.len() as u64;
            let orders = Order(base)..Order(base + length);
            let guesses =
                (0..base + length + 3).map(|guess| Some(Order(guess))).chain([None, Some(Order(u64::MAX))]);
            for guess in guesses {
                for wanted in 0..(length * 3 + 15) {
                    let expected = picked(&outlines, wanted).first().copied().unwrap_or(base + length);
                    let look = |order: Order| {
                        assert!(orders.contains(&order), "nothing else may be looked at");
                        Ok::<_, Infallible>(outlines[(order.0 - base) as usize].clone())
                    };
                    let found = first_at(orders.clone(), guess, Offset(wanted), look);
                    assert_eq!(found, Ok(Order(expected)), "{sizes:?} from {guess:?} for {wanted}");
                }
            }
        }
    }

    #[test]
    fn whole_appends_are_kept_from_any_offset() {
        for sizes in SIZES {
            let outlines = interleaved(4, sizes);
            for (wanted, events_max) in (0..200).flat_map(|wanted| (0..12).map(move |most| (wanted, most))) {
                let kept = &outlines[range_from(&outlines, Offset(wanted), events_max)];
                let orders: Vec<u64> = kept.iter().map(|outline| outline.order.0).collect();
                let all = picked(&outlines, wanted);
                let count = orders.len();
                assert_eq!(orders, all[..count], "{sizes:?} from {wanted}");
                let is_whole = kept.last().is_none_or(|last| last.append().end.0 == last.order.0 + 1);
                let without_last =
                    kept.last().map_or(0, |last| count - (last.order.0 + 1 - last.append().start.0) as usize);
                assert!(
                    is_whole && count >= events_max.min(all.len()),
                    "{sizes:?} from {wanted}: {orders:?}"
                );
                assert!(
                    without_last < events_max.max(1),
                    "no more than that: {sizes:?} from {wanted}: {orders:?}"
                );
            }
        }
    }

    #[test]
    fn a_right_guess_costs_one_look_and_a_near_one_few() {
        let looks = |guess: u64, wanted: u64| {
            let mut looks = 0;
            let alone = |order: Order| {
                looks += 1;
                let outline = interleaved(order.0, &[1]).remove(0);
                Ok::<_, Infallible>(EventOutline { offset: Offset(order.0 * 2), ..outline })
            };
            let found = first_at(Order(0)..Order(1_000_000), Some(Order(guess)), Offset(wanted), alone);
            assert_eq!(found, Ok(Order(wanted.div_ceil(2))));
            looks
        };
        assert_eq!(looks(500_000, 1_000_000), 1);
        assert!(looks(500_000, 1_000_005) <= 5);
        assert!(looks(500_003, 1_000_001) <= 5);
        assert!(looks(0, 1_999_999) <= 45, "and a wrong one no more than twice a search");
    }
}
