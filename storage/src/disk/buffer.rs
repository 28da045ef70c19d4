//! Owned memory, aligned for `O_DIRECT`, that io_uring can use. The only file of the crate with
//! `unsafe` code.
#![allow(
    unsafe_code,
    reason = "aligned allocation and tokio-uring's IoBuf contracts need it; every block states its \
              invariant"
)]

use crate::format::BLOCK_BYTES;
use std::alloc::{Layout, alloc_zeroed, dealloc, handle_alloc_error};
use std::ops::{Deref, DerefMut};
use std::ptr::NonNull;
use tokio_uring::buf::{IoBuf, IoBufMut};

/// A fixed number of bytes, aligned to a block boundary and initialized from the start.
#[derive(Debug)]
pub struct AlignedBuffer {
    start: NonNull<u8>,
    layout: Layout,
}

// SAFETY: the buffer owns its memory alone; nothing else points to it.
unsafe impl Send for AlignedBuffer {}
// SAFETY: shared access only reads.
unsafe impl Sync for AlignedBuffer {}

impl AlignedBuffer {
    /// Zeroed memory of at least `bytes`, rounded up to whole blocks and at least one.
    ///
    /// # Panics
    /// `bytes` is absurd (beyond `isize::MAX`); aborts when memory runs out, as every allocation
    /// does.
    #[must_use]
    pub fn new(bytes: usize) -> Self {
        let Ok(layout) =
            Layout::from_size_align(bytes.max(1).next_multiple_of(BLOCK_BYTES), BLOCK_BYTES)
        else {
            panic!("a buffer of {bytes} bytes is beyond the address space");
        };
        // SAFETY: the layout's size is at least one block, so not zero.
        let start = unsafe { alloc_zeroed(layout) };
        let Some(start) = NonNull::new(start) else {
            handle_alloc_error(layout)
        };
        Self { start, layout }
    }
}

impl Drop for AlignedBuffer {
    fn drop(&mut self) {
        // SAFETY: `start` came from `alloc_zeroed` with this same layout and is freed only here.
        unsafe { dealloc(self.start.as_ptr(), self.layout) }
    }
}

impl Deref for AlignedBuffer {
    type Target = [u8];
    fn deref(&self) -> &[u8] {
        // SAFETY: `start` points to `size` initialized bytes that are valid as long as `self`;
        // `&self` excludes writers.
        unsafe { std::slice::from_raw_parts(self.start.as_ptr(), self.layout.size()) }
    }
}

impl DerefMut for AlignedBuffer {
    fn deref_mut(&mut self) -> &mut [u8] {
        // SAFETY: as in `deref`; `&mut self` makes this the only access.
        unsafe { std::slice::from_raw_parts_mut(self.start.as_ptr(), self.layout.size()) }
    }
}

// SAFETY: the memory is on the heap and stays in place when the `AlignedBuffer` moves; all of it is
// initialized.
unsafe impl IoBuf for AlignedBuffer {
    fn stable_ptr(&self) -> *const u8 {
        self.start.as_ptr()
    }

    fn bytes_init(&self) -> usize {
        self.layout.size()
    }

    fn bytes_total(&self) -> usize {
        self.layout.size()
    }
}

// SAFETY: as for `IoBuf`; `&mut self` gives the only pointer that writes.
unsafe impl IoBufMut for AlignedBuffer {
    fn stable_mut_ptr(&mut self) -> *mut u8 {
        self.start.as_ptr()
    }

    unsafe fn set_init(&mut self, _init_bytes: usize) {
        // All bytes are initialized from the start.
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn is_aligned_zeroed_and_rounded_up() {
        for bytes in [0, 1, 4096, 4097, 1 << 20] {
            let mut buffer = AlignedBuffer::new(bytes);
            assert_eq!(buffer.as_ptr() as usize % BLOCK_BYTES, 0);
            assert!(
                buffer.len() >= bytes
                    && buffer.len().is_multiple_of(BLOCK_BYTES)
                    && !buffer.is_empty()
            );
            assert!(buffer.iter().all(|byte| *byte == 0));
            buffer.fill(7);
            assert_eq!(buffer[buffer.len() - 1], 7);
        }
    }
}
