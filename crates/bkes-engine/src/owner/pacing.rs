//! Pacing: how soon the reader is to give what is new in the log.
//!
//! While all that comes is our own, the fast path applies it and reading only confirms it, and may do so much at a time. As soon
//! as anybody else writes, or anything has to be read to be decided, it is prompt again. Nothing that is promised rests on the
//! pace, except how soon another writer's event is seen.

use crate::limits::PACE_WINDOW_MS;
use bkes_core::sequence::NowMs;
use bkes_log::Pace;

/// What the pace rests on.
#[derive(Debug)]
pub struct Pacing {
    /// So many records of our own in a window are enough.
    from: u32,
    pace: Pace,
    since: NowMs,
    /// Records of our own that were applied since then.
    own: u32,
    /// Whether somebody else wrote.
    others: bool,
}

impl Pacing {
    /// Prompt until so many records of our own come in a window.
    pub fn new(from: u32) -> Pacing {
        Pacing { from, pace: Pace::Prompt, since: 0, own: 0, others: false }
    }

    /// Records were applied: so many that this owner wrote, and so many of others.
    pub fn applied(&mut self, own: u32, others: u32) {
        self.own = self.own.saturating_add(own);
        self.others |= others > 0;
    }

    /// The pace from here on; `urgent` when somebody waits for reading.
    pub fn next(&mut self, now: NowMs, urgent: bool) -> Pace {
        let others = std::mem::take(&mut self.others) || urgent;
        if others || now >= self.since + PACE_WINDOW_MS {
            let many = self.own >= self.from;
            self.pace = if many && !others { Pace::Gathering } else { Pace::Prompt };
            self.since = now;
            self.own = 0;
        }
        self.pace
    }

    /// When the pace is to be looked at again, should nothing happen before: what gathers while nothing comes costs for nothing.
    pub fn deadline(&self) -> Option<NowMs> {
        (self.pace == Pace::Gathering).then_some(self.since + PACE_WINDOW_MS)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const FROM: u32 = 50;

    #[test]
    fn it_gathers_under_load_of_our_own_and_is_prompt_as_soon_as_anything_else_happens() {
        let mut pacing = Pacing::new(FROM);
        let load = |pacing: &mut Pacing, count| pacing.applied(count, 0);
        load(&mut pacing, FROM);
        assert_eq!(pacing.next(PACE_WINDOW_MS - 1, false), Pace::Prompt, "not for less than a window");
        assert_eq!(pacing.next(PACE_WINDOW_MS, false), Pace::Gathering);
        assert_eq!(pacing.deadline(), Some(2 * PACE_WINDOW_MS));
        load(&mut pacing, FROM - 1);
        assert_eq!(pacing.next(2 * PACE_WINDOW_MS, false), Pace::Prompt, "there was little");
        assert_eq!(pacing.deadline(), None);
        for urgent in [false, true] {
            load(&mut pacing, FROM);
            let now = pacing.since + PACE_WINDOW_MS;
            assert_eq!(pacing.next(now, false), Pace::Gathering);
            if !urgent {
                pacing.applied(0, 1);
            }
            load(&mut pacing, FROM);
            assert_eq!(pacing.next(now + 1, urgent), Pace::Prompt);
            assert_eq!(pacing.next(now + PACE_WINDOW_MS, false), Pace::Prompt, "the window began anew");
        }
    }
}
