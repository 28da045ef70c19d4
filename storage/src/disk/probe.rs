//! Tests at startup whether io_uring and `O_DIRECT` work here: seccomp profiles, old kernels and
//! some filesystems refuse them.

use super::{AlignedBuffer, IoChoice, Root};
use crate::format::BLOCK_BYTES;
use rustix::fs::OFlags;
use std::io;

/// What the writer will use.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Choice {
    Uring,
    /// With the reason, unless it was requested.
    Plain(Option<String>),
}

pub(super) fn choose(choice: IoChoice, root: &Root) -> io::Result<Choice> {
    if choice == IoChoice::Plain {
        return Ok(Choice::Plain(None));
    }
    match (probe(root), choice) {
        (Ok(()), _) => Ok(Choice::Uring),
        (Err(why), IoChoice::Uring) => Err(io::Error::new(io::ErrorKind::Unsupported, why)),
        (Err(why), _) => Ok(Choice::Plain(Some(why))),
    }
}

/// Writes one block to a scratch file as the writer would. Runs on its own thread, because a
/// runtime cannot be started within another.
fn probe(root: &Root) -> Result<(), String> {
    let path = root.path().join(".probe");
    let file = root
        .open_file(&path, OFlags::CREATE | OFlags::WRONLY | OFlags::DIRECT)
        .map_err(|error| format!("O_DIRECT is refused by this filesystem: {error}"));
    let thread = std::thread::Builder::new().name("holdfast-probe".to_owned());
    let written = thread.spawn(move || write_block(file?));
    let result = match written.map(std::thread::JoinHandle::join) {
        Ok(Ok(result)) => result,
        Ok(Err(_panic)) => Err("io_uring cannot be set up".to_owned()),
        Err(error) => Err(format!("no thread for the probe: {error}")),
    };
    if let Err(error) = root.remove(&path)
        && error.kind() != io::ErrorKind::NotFound
    {
        tracing::warn!(path = %path.display(), %error, "the probe's scratch file stays behind");
    }
    result
}

fn write_block(file: std::fs::File) -> Result<(), String> {
    let runtime = tokio_uring::Runtime::new(&tokio_uring::builder())
        .map_err(|error| format!("io_uring is refused by this kernel or sandbox: {error}"))?;
    runtime.block_on(async {
        let file = tokio_uring::fs::File::from_std(file);
        let (written, _buffer) = file.write_all_at(AlignedBuffer::new(BLOCK_BYTES), 0).await;
        written.map_err(|error| format!("a direct write through io_uring is refused: {error}"))?;
        file.sync_data()
            .await
            .map_err(|error| format!("fdatasync through io_uring is refused: {error}"))?;
        file.close()
            .await
            .map_err(|error| format!("close through io_uring is refused: {error}"))
    })
}
