//! Finds out at the start whether io_uring and `O_DIRECT` work here: seccomp profiles, old kernels and some filesystems refuse them.

use super::{AlignedBuffer, IoChoice};
use crate::format::BLOCK_BYTES;
use rustix::fs::{Mode, OFlags};
use std::io;
use std::path::Path;

/// What the writer will use.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Choice {
    Uring,
    /// With the reason where it was not asked for.
    Plain(Option<String>),
}

pub(super) fn choose(choice: IoChoice, dir: &Path) -> io::Result<Choice> {
    if choice == IoChoice::Plain {
        return Ok(Choice::Plain(None));
    }
    match (probe(dir), choice) {
        (Ok(()), _) => Ok(Choice::Uring),
        (Err(why), IoChoice::Uring) => Err(io::Error::new(io::ErrorKind::Unsupported, why)),
        (Err(why), _) => Ok(Choice::Plain(Some(why))),
    }
}

/// Writes one block to a scratch file the way the writer would. Runs on a thread of its own, because a runtime cannot be started within another.
fn probe(dir: &Path) -> Result<(), String> {
    let path = dir.join(".probe");
    let thread = std::thread::Builder::new().name("holdfast-probe".to_owned());
    let written = thread.spawn({
        let path = path.clone();
        move || write_block(&path)
    });
    let result = match written.map(std::thread::JoinHandle::join) {
        Ok(Ok(result)) => result,
        Ok(Err(_panic)) => Err("io_uring cannot be set up".to_owned()),
        Err(error) => Err(format!("no thread for the probe: {error}")),
    };
    if let Err(error) = std::fs::remove_file(&path)
        && error.kind() != io::ErrorKind::NotFound
    {
        tracing::warn!(path = %path.display(), %error, "the probe's scratch file stays behind");
    }
    result
}

fn write_block(path: &Path) -> Result<(), String> {
    let flags = OFlags::CREATE | OFlags::WRONLY | OFlags::DIRECT | OFlags::CLOEXEC;
    let file = rustix::fs::open(path, flags, Mode::from_raw_mode(0o600))
        .map_err(|error| format!("O_DIRECT is refused by this filesystem: {error}"))?;
    let runtime = tokio_uring::Runtime::new(&tokio_uring::builder())
        .map_err(|error| format!("io_uring is refused by this kernel or sandbox: {error}"))?;
    runtime.block_on(async {
        let file = tokio_uring::fs::File::from_std(std::fs::File::from(file));
        let (written, _buffer) = file.write_all_at(AlignedBuffer::new(BLOCK_BYTES), 0).await;
        written.map_err(|error| format!("a direct write through io_uring is refused: {error}"))?;
        file.sync_data().await.map_err(|error| format!("fdatasync through io_uring is refused: {error}"))?;
        file.close().await.map_err(|error| format!("close through io_uring is refused: {error}"))
    })
}
