//! Headers as librdkafka keeps them: with the whole name, zero bytes included.
//!
//! The interface gives a header's name as a C string, whose length is unknown when the name holds a zero byte: `bkes\0tail` would
//! be read as `bkes`, and names are bytes. librdkafka keeps the length in the header itself, in front of the name
//! (`rd_kafka_header_t` in rdkafka_header.h), and its own look-ups compare it. So it is read from there. That the header is laid
//! out as written here is checked with a header of our own before the first handle is made; with a librdkafka that keeps headers
//! otherwise no handle is made at all.

use super::{Code, Slab, sys};
use std::ffi::{c_char, c_void};
use std::mem::offset_of;
use std::ptr;
use std::sync::OnceLock;

/// The head of librdkafka's `rd_kafka_header_t`; the name's other bytes follow.
#[repr(C)]
struct Kept {
    serialized_size: usize,
    value_size: usize,
    name_size: usize,
    value: *const c_char,
    name: [c_char; 1],
}

/// Names that hold zero bytes or none at all, with and without a value.
const PROBES: [(&[u8], Option<&[u8]>); 4] =
    [(b"bkes\0tail", Some(b"1")), (b"\0", None), (b"", Some(b"")), (b"a name that is longer\0\0", None)];

/// Whether the headers of this librdkafka are laid out as [`Kept`] says.
pub fn are_known() -> bool {
    static KNOWN: OnceLock<bool> = OnceLock::new();
    *KNOWN.get_or_init(|| {
        // SAFETY: the list is ours and destroyed here; adding copies name and value. In every librdkafka that has headers, a name lies
        // after the head of its allocation, which is larger than what is read of it here.
        unsafe {
            let list = sys::rd_kafka_headers_new(PROBES.len());
            for (name, value) in PROBES {
                let (data, size) =
                    value.map_or((ptr::null(), 0), |value| (value.as_ptr().cast(), value.len()));
                sys::rd_kafka_header_add(
                    list,
                    name.as_ptr().cast(),
                    name.len() as isize,
                    data,
                    size as isize,
                );
            }
            let known = PROBES.iter().enumerate().all(|(index, (name, _))| {
                let (mut found, mut value, mut size) = (ptr::null(), ptr::null(), 0);
                let code = sys::rd_kafka_header_get_all(list, index, &mut found, &mut value, &mut size);
                code == Code::RD_KAFKA_RESP_ERR_NO_ERROR && name_size(found) == name.len()
            });
            sys::rd_kafka_headers_destroy(list);
            known
        }
    })
}

/// How long a header's name is.
///
/// # Safety
///
/// `name` was given by `rd_kafka_header_get_all`, its list lives, and the layout is known.
unsafe fn name_size(name: *const c_char) -> usize {
    // SAFETY: the name lies in a `Kept`, at its place there.
    unsafe {
        name.byte_sub(offset_of!(Kept, name)).byte_add(offset_of!(Kept, name_size)).cast::<usize>().read()
    }
}

/// Adds name and value of each header of a message to the slab, and says how many there are; the words of librdkafka if it cannot
/// read them.
///
/// # Safety
///
/// `message` is live, and the layout is known.
pub unsafe fn add(message: *const sys::rd_kafka_message_t, slab: &mut Slab) -> Result<usize, Code> {
    // SAFETY: promised by the caller; what is handed on has the size that stands beside it.
    unsafe { each(message, |data, size| slab.add(data, size)) }
}

/// Hands on name and value of each header of a message, with their sizes, and says how many headers there are; the words of
/// librdkafka if it cannot read them.
///
/// # Safety
///
/// `message` is live, and the layout is known. What is handed on lives as long as the message.
pub unsafe fn each(
    message: *const sys::rd_kafka_message_t,
    mut part: impl FnMut(*const c_void, usize),
) -> Result<usize, Code> {
    let mut list = ptr::null_mut();
    // SAFETY: names and values live as long as the message.
    unsafe {
        match sys::rd_kafka_message_headers(message, &mut list) {
            Code::RD_KAFKA_RESP_ERR_NO_ERROR => {}
            Code::RD_KAFKA_RESP_ERR__NOENT => return Ok(0),
            code => return Err(code),
        }
        let (mut count, mut name, mut value, mut size) = (0, ptr::null(), ptr::null::<c_void>(), 0);
        while sys::rd_kafka_header_get_all(list, count, &mut name, &mut value, &mut size)
            == Code::RD_KAFKA_RESP_ERR_NO_ERROR
        {
            part(name.cast(), name_size(name));
            part(value, size);
            count += 1;
        }
        Ok(count)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The interface tells no lengths of names, so they are read from where librdkafka keeps them; another version may keep them
    /// elsewhere.
    #[test]
    fn the_bundled_librdkafka_keeps_headers_as_we_read_them() {
        assert!(are_known());
    }
}
