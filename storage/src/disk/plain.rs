//! Plain I/O: `pwrite` through the page cache and `fdatasync`, on the runtime's blocking threads so
//! that writes overlap with intake.

use super::uring::Buffer;
use std::io;
use std::os::unix::fs::FileExt;
use std::sync::Arc;

pub(super) type PlainFile = Arc<std::fs::File>;

/// Runs a blocking call off the writer's thread. Returns an error if it panics or the runtime is
/// shutting down.
pub(super) async fn blocking<T: Send + 'static>(
    call: impl FnOnce() -> io::Result<T> + Send + 'static,
) -> io::Result<T> {
    tokio::task::spawn_blocking(call)
        .await
        .unwrap_or_else(|error| Err(io::Error::other(error)))
}

pub(super) async fn write(
    file: PlainFile,
    mut buffer: Buffer,
    bytes: usize,
    offset: u64,
) -> (io::Result<()>, Buffer) {
    let Some(memory) = buffer.take_aligned() else {
        return (Err(io::Error::other("the buffer is in use")), buffer);
    };
    let task =
        tokio::task::spawn_blocking(move || (file.write_all_at(&memory[..bytes], offset), memory));
    match task.await {
        Ok((result, memory)) => {
            buffer.put_aligned(memory);
            (result, buffer)
        }
        Err(error) => (Err(io::Error::other(error)), buffer),
    }
}

pub(super) async fn sync(file: PlainFile) -> io::Result<()> {
    blocking(move || file.sync_data()).await
}
