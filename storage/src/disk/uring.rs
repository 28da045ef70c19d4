//! io_uring: writes from registered, aligned buffers with `O_DIRECT`.
//!
//! tokio-uring registers any `IoBufMut`; a `Vec` is not aligned, so the registry holds
//! [`AlignedBuffer`]s. If the kernel refuses to pin them (`RLIMIT_MEMLOCK`), the same buffers are
//! used unregistered.

use super::AlignedBuffer;
use std::cell::RefCell;
use std::io;
use std::ops::{Deref, DerefMut};
use std::rc::Rc;
use tokio_uring::buf::BoundedBuf;
use tokio_uring::buf::fixed::{FixedBuf, FixedBufRegistry};
use tokio_uring::fs::File;

pub(super) type UringFile = Rc<File>;
type Home = Rc<RefCell<Vec<AlignedBuffer>>>;

enum Memory {
    Registered(FixedBuf),
    Aligned(AlignedBuffer),
}

/// A buffer for the disk; a pooled one returns to its pool when dropped.
pub struct Buffer {
    /// `None` only while the kernel uses it.
    memory: Option<Memory>,
    home: Option<Home>,
}

impl Buffer {
    /// Larger than the pool's buffers, freed after use.
    pub(super) fn single(bytes: usize) -> Self {
        Self {
            memory: Some(Memory::Aligned(AlignedBuffer::new(bytes))),
            home: None,
        }
    }

    /// Takes the memory out for plain I/O, which needs it on another thread.
    pub(super) fn take_aligned(&mut self) -> Option<AlignedBuffer> {
        match self.memory.take() {
            Some(Memory::Aligned(buffer)) => Some(buffer),
            other => {
                self.memory = other;
                None
            }
        }
    }

    pub(super) fn put_aligned(&mut self, buffer: AlignedBuffer) {
        self.memory = Some(Memory::Aligned(buffer));
    }
}

impl Deref for Buffer {
    type Target = [u8];
    fn deref(&self) -> &[u8] {
        match &self.memory {
            Some(Memory::Registered(buffer)) => buffer,
            Some(Memory::Aligned(buffer)) => buffer,
            None => &[],
        }
    }
}

impl DerefMut for Buffer {
    fn deref_mut(&mut self) -> &mut [u8] {
        match &mut self.memory {
            Some(Memory::Registered(buffer)) => buffer,
            Some(Memory::Aligned(buffer)) => buffer,
            None => &mut [],
        }
    }
}

impl Drop for Buffer {
    fn drop(&mut self) {
        if let (Some(home), Some(Memory::Aligned(buffer))) = (&self.home, self.memory.take()) {
            home.borrow_mut().push(buffer);
        }
    }
}

/// The writer's fixed set of buffers.
pub(super) enum Pool {
    Registered {
        registry: FixedBufRegistry<AlignedBuffer>,
        buffers: usize,
    },
    Plain(Home),
}

impl Pool {
    /// Must be called within the io_uring runtime.
    pub(super) fn registered(buffers: usize, bytes: usize) -> io::Result<Self> {
        let registry = FixedBufRegistry::new((0..buffers).map(|_| AlignedBuffer::new(bytes)));
        registry.register()?;
        Ok(Self::Registered { registry, buffers })
    }

    pub(super) fn plain(buffers: usize, bytes: usize) -> Self {
        Self::Plain(Rc::new(RefCell::new(
            (0..buffers).map(|_| AlignedBuffer::new(bytes)).collect(),
        )))
    }

    pub(super) fn take(&self) -> Option<Buffer> {
        match self {
            Self::Registered { registry, buffers } => {
                let buffer = (0..*buffers).find_map(|index| registry.check_out(index))?;
                Some(Buffer {
                    memory: Some(Memory::Registered(buffer)),
                    home: None,
                })
            }
            Self::Plain(home) => {
                let buffer = home.borrow_mut().pop()?;
                Some(Buffer {
                    memory: Some(Memory::Aligned(buffer)),
                    home: Some(Rc::clone(home)),
                })
            }
        }
    }
}

pub(super) async fn write(
    file: UringFile,
    mut buffer: Buffer,
    bytes: usize,
    offset: u64,
) -> (io::Result<()>, Buffer) {
    let Some(memory) = buffer.memory.take() else {
        return (Err(io::Error::other("the buffer is in use")), buffer);
    };
    let (result, memory) = match memory {
        Memory::Registered(memory) => {
            let (result, slice) = file.write_fixed_all_at(memory.slice(..bytes), offset).await;
            (result, Memory::Registered(slice.into_inner()))
        }
        Memory::Aligned(memory) => {
            let (result, slice) = file.write_all_at(memory.slice(..bytes), offset).await;
            (result, Memory::Aligned(slice.into_inner()))
        }
    };
    buffer.memory = Some(memory);
    (result, buffer)
}
