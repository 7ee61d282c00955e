//! In the way of an assertion of librdkafka that would end the process after a damaged batch.
//!
//! When a batch fails its checksum, librdkafka 2.12 means to skip it and goes to the wrong place: as many bytes into the answer as
//! the batch is long, wherever the batch begins (`rd_kafka_buf_skip_to(rkbuf, crc_len)` in rdkafka_msgset_reader.c). What stands there
//! is taken for the head of a batch. Its length is any number; a negative one, as a size, passes the check of
//! `rd_slice_narrow_copy` by overflow, and the assertion after it aborts. Which bytes stand there is up to the records: a damaged
//! record may well end every process that reads it, again and again after each restart.
//!
//! A program that is linked with [`LINK_ARGUMENT`](crate::LINK_ARGUMENT) has such a length refused, as those are that are merely too
//! large: what follows in the answer is then left, and fetched again. Whatever else is read there has to pass a checksum of its own.

use std::ffi::{c_int, c_void};

/// librdkafka's `rd_slice_t` (rdbuf.h).
#[repr(C)]
#[derive(Clone, Copy)]
struct Slice {
    buffer: *const c_void,
    segment: *const c_void,
    offset_in_segment: usize,
    start: usize,
    end: usize,
}

unsafe extern "C" {
    /// Ends a slice this far behind its position, if it has so much, and keeps what it was.
    fn rd_slice_narrow_relative(slice: *mut Slice, before: *mut Slice, size: usize) -> c_int;
}

/// Takes the place of `rd_slice_narrow_copy_relative`: a copy of a slice that ends `size` bytes behind its position. Answers 1, or 0
/// if there is not so much.
///
/// # Safety
///
/// For librdkafka, whose promises are those of its own function: both are slices, and the first is initialised.
#[unsafe(no_mangle)]
unsafe extern "C" fn __wrap_rd_slice_narrow_copy_relative(
    from: *const Slice,
    to: *mut Slice,
    size: usize,
) -> c_int {
    // An answer has at most so many bytes.
    if size > i32::MAX as usize {
        return 0;
    }
    // SAFETY: promised by the caller; the copies are ours.
    unsafe {
        let (mut narrow, mut before) = (*from, *from);
        let fits = rd_slice_narrow_relative(&raw mut narrow, &raw mut before, size);
        if fits != 0 {
            *to = narrow;
        }
        fits
    }
}
