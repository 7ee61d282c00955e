//! An append out of a message with others, in memory of its own.
//!
//! What an append brings is kept long after its call, and counted by its own size. A message of many appends would be kept as a whole
//! for any of them.

use bkes_wire::v2;
use bytes::{Bytes, BytesMut};

/// Gives an append of a message of so many bytes memory of its own, unless it is most of the message.
pub fn take_apart(append: &mut v2::AppendRequest, message_bytes: usize) {
    let mut bytes = 0;
    each(append, |part| bytes += part.len());
    if bytes >= message_bytes / 2 {
        return;
    }
    let mut own = BytesMut::with_capacity(bytes);
    each(append, |part| {
        own.extend_from_slice(part);
        *part = own.split().freeze();
    });
}

/// Does this with everything that lies in the message.
fn each(append: &mut v2::AppendRequest, mut done: impl FnMut(&mut Bytes)) {
    done(&mut append.key);
    for event in &mut append.events {
        event.value.iter_mut().for_each(&mut done);
        for header in &mut event.headers {
            done(&mut header.name);
            header.value.iter_mut().for_each(&mut done);
        }
    }
    append.append_id.iter_mut().for_each(|id| done(&mut id.id));
}

#[cfg(test)]
mod tests {
    use super::*;
    use bkes_api::{Append, AppendId, Key};
    use bkes_wire::to_wire;

    fn append() -> v2::AppendRequest {
        let key = Key::new("key").expect("it has bytes");
        let id = AppendId::new("id").expect("it has bytes");
        to_wire::append(Append::start(key).event("value").header("name", "header").event("other").id(id))
    }

    #[test]
    fn a_small_append_of_a_large_message_has_memory_of_its_own_size_and_its_content() {
        let message = Bytes::from(vec![b'x'; 100_000]);
        let mut taken = append();
        each(&mut taken, |part| *part = message.slice(..part.len()));
        let content = taken.clone();
        take_apart(&mut taken, message.len());
        assert_eq!(taken, content);
        let there = message.as_ptr_range();
        let mut bytes = 0;
        each(&mut taken, |part| {
            assert!(!there.contains(&part.as_ptr()));
            bytes += part.len();
        });
        taken.events.clear();
        taken.append_id = None;
        let capacity = taken.key.try_into_mut().expect("nobody else has it").capacity();
        assert!(capacity <= bytes, "{capacity} for {bytes}");
    }

    #[test]
    fn an_append_that_is_most_of_its_message_stays_in_it() {
        let mut whole = append();
        let there = whole.key.as_ptr();
        take_apart(&mut whole, 40);
        assert_eq!(whole.key.as_ptr(), there);
    }
}
