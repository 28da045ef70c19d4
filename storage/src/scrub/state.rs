//! The scrub's state over a restart, in one small file. If it is lost or unreadable, the pass
//! begins again; nothing else is lost.

use super::plan::Pass;
use crate::Error;
use crate::damage::{DAMAGED_MAX, DamagedChunk};
use crate::disk::Disk;
use crate::layout::Layout;
use crate::time::Timestamp;
use serde::{Deserialize, Serialize};
use std::io;
use uuid::Uuid;

/// A file of another version is not read.
const STATE_VERSION: u16 = 1;

/// A longer file was not written by Holdfast: this is the size with a full register.
const STATE_BYTES_MAX: u64 = 1024 * (DAMAGED_MAX as u64 + 1);

#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Remembered {
    pub(crate) pass: Option<Pass>,
    /// Start and end of the last complete pass.
    pub(crate) last: Option<(Timestamp, Timestamp)>,
    pub(crate) damaged: Vec<DamagedChunk>,
}

#[derive(Serialize, Deserialize)]
struct File {
    version: u16,
    volume: Uuid,
    pass: Option<Pass>,
    last: Option<(Timestamp, Timestamp)>,
    damaged: Vec<DamagedChunk>,
}

impl Remembered {
    /// Loads the volume's file; the default state if there is no usable file.
    pub(crate) fn load(disk: &dyn Disk, layout: &Layout, volume: Uuid) -> Self {
        match load(disk, layout, volume) {
            Ok(remembered) => remembered,
            Err(error) if error.kind() == io::ErrorKind::NotFound => Self::default(),
            Err(error) => {
                tracing::warn!(
                    path = %layout.scrub().display(), %error,
                    "the scrub's state cannot be used; it begins a new pass"
                );
                Self::default()
            }
        }
    }
}

fn load(disk: &dyn Disk, layout: &Layout, volume: Uuid) -> io::Result<Remembered> {
    let file = disk.open_read(&layout.scrub())?;
    let bytes = file.bytes()?;
    if bytes > STATE_BYTES_MAX {
        return Err(io::Error::other(format!("it is {bytes} bytes long")));
    }
    let mut text = vec![0; bytes as usize];
    file.read_exact_at(&mut text, 0)?;
    let file: File = serde_json::from_slice(&text).map_err(io::Error::other)?;
    if (file.version, file.volume) != (STATE_VERSION, volume) {
        return Err(io::Error::other(
            "it is of another version or another volume",
        ));
    }
    Ok(Remembered {
        pass: file.pass,
        last: file.last,
        damaged: file.damaged,
    })
}

/// # Errors
/// It cannot be written.
pub(super) fn save(
    disk: &dyn Disk,
    layout: &Layout,
    volume: Uuid,
    remembered: &Remembered,
) -> Result<(), Error> {
    let Remembered {
        pass,
        last,
        damaged,
    } = remembered.clone();
    let path = layout.scrub();
    let file = File {
        version: STATE_VERSION,
        volume,
        pass,
        last,
        damaged,
    };
    let text = serde_json::to_vec(&file)
        .map_err(|error| Error::io("encode", &path)(io::Error::other(error)))?;
    disk.replace(&path, &text)
        .map_err(Error::io("write", &path))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::disk::{IoChoice, RealDisk};
    use crate::ids::SegmentId;

    #[test]
    fn comes_back_and_anything_else_is_nothing() {
        let dir = tempfile::tempdir().unwrap();
        let (disk, layout) = (
            RealDisk::new(IoChoice::Plain, dir.path()).unwrap(),
            Layout {
                root: dir.path().into(),
            },
        );
        let volume = Uuid::from_u128(1);
        assert_eq!(
            Remembered::load(&disk, &layout, volume),
            Remembered::default()
        );
        let pass = Pass {
            started_at: Timestamp(5),
            next: SegmentId(3),
            newest: SegmentId(9),
            done_bytes: 7,
            done_segments: 2,
        };
        let remembered = Remembered {
            pass: Some(pass),
            last: Some((Timestamp(1), Timestamp(2))),
            damaged: Vec::new(),
        };
        save(&disk, &layout, volume, &remembered).unwrap();
        assert_eq!(Remembered::load(&disk, &layout, volume), remembered);
        assert_eq!(
            Remembered::load(&disk, &layout, Uuid::from_u128(2)),
            Remembered::default()
        );
        let text = std::fs::read(layout.scrub()).unwrap();
        std::fs::write(layout.scrub(), &text[..text.len() / 2]).unwrap();
        assert_eq!(
            Remembered::load(&disk, &layout, volume),
            Remembered::default()
        );
    }
}
