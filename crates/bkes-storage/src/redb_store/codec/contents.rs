//! Where the contents of events are copied to when they are read: many small ones lie side by side in one piece of memory, which is gone
//! when the last of them is. So a small value costs no allocation of its own, neither when it is read nor when it is cloned.

use bytes::{Bytes, BytesMut};

/// What is larger has memory of its own: so a piece has no more than that unused at its end, and a value that is kept holds little
/// beside itself in proportion.
const SMALL_BYTES_MAX: usize = 4 * 1024;

/// Bytes of a piece at most. A value that is kept alone holds so much. With 16 small ones and more in it, their allocations cost a
/// sixteenth at most; above 128 KiB the system's allocator asks the kernel for each.
const PIECE_BYTES_MAX: usize = 64 * 1024;

/// Copies the contents of the events of one read.
#[derive(Default)]
pub struct Contents {
    piece: BytesMut,
    /// How many more events are read.
    events_left: usize,
}

impl Contents {
    /// Of a read of so many events.
    pub fn of(events: u64) -> Contents {
        Contents { piece: BytesMut::new(), events_left: usize::try_from(events).unwrap_or(usize::MAX) }
    }

    /// The next event is read; what is copied until the next call is its content.
    pub fn next_event(&mut self) {
        self.events_left = self.events_left.saturating_sub(1);
    }

    /// Copies some content.
    pub fn copy(&mut self, content: &[u8]) -> Bytes {
        if content.is_empty() {
            return Bytes::new();
        }
        let is_alone = self.events_left == 0 && self.piece.capacity() < content.len();
        if is_alone || content.len() > SMALL_BYTES_MAX {
            return Bytes::copy_from_slice(content);
        }
        if self.piece.capacity() < content.len() {
            // As much as the others will take if they are like this one.
            let all = content.len().saturating_mul(self.events_left.saturating_add(1));
            self.piece = BytesMut::with_capacity(all.min(PIECE_BYTES_MAX));
        }
        self.piece.extend_from_slice(content);
        self.piece.split().freeze()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use fastrand::Rng;

    #[test]
    fn contents_are_copied_whatever_their_sizes_and_however_many_were_announced() {
        let random = &mut Rng::with_seed(5);
        for _ in 0..2_000 {
            let mut contents = Contents::of(random.u64(..40));
            let parts: Vec<Vec<u8>> = (0..random.usize(..60))
                .map(|_| {
                    let length = match random.u8(..20) {
                        0 => random.usize(..3 * SMALL_BYTES_MAX),
                        1 => 0,
                        _ => random.usize(..300),
                    };
                    vec![random.u8(..); length]
                })
                .collect();
            let copied: Vec<Bytes> = parts
                .iter()
                .map(|part| {
                    if random.bool() {
                        contents.next_event();
                    }
                    contents.copy(part)
                })
                .collect();
            assert!(copied.iter().zip(&parts).all(|(copied, part)| copied == part));
        }
    }

    #[test]
    fn small_contents_share_a_piece_and_a_large_one_or_a_lone_one_does_not() {
        let mut contents = Contents::of(10);
        let first = contents.copy(&[1; 200]);
        let beside = contents.copy(&[2; 200]);
        assert_eq!(beside.as_ptr(), first.as_ptr().wrapping_add(200), "side by side");
        // As large as eleven of the first.
        let piece_end = first.as_ptr().wrapping_add(11 * 200);
        let large = contents.copy(&[3; SMALL_BYTES_MAX + 1]);
        assert!(!(first.as_ptr()..piece_end).contains(&large.as_ptr()));
        assert_eq!(contents.copy(&[4; 200]).as_ptr(), first.as_ptr().wrapping_add(400), "the piece goes on");

        let mut contents = Contents::of(1);
        contents.next_event();
        assert!(contents.copy(&[1; 200]).is_unique());
        assert_eq!(contents.piece.capacity(), 0, "nothing is held for events that do not come");
    }

    /// The bound of what an event that is kept can hold.
    #[test]
    fn a_piece_has_its_bytes_at_most() {
        let mut contents = Contents::of(u64::MAX);
        let all: Vec<Bytes> = (0..1_000).map(|_| contents.copy(&[7; 1_000])).collect();
        let pieces = all.windows(2).filter(|two| two[1].as_ptr() != two[0].as_ptr().wrapping_add(1_000));
        assert!(pieces.count() >= 1_000 * 1_000 / PIECE_BYTES_MAX);
    }
}
